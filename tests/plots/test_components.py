"""What the scattered samples show, read off the figure itself."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure

from lightning_separation.plots import component_scatter
from tests.plots.test_henze_penrose import FASHION, assert_legible, long_names, texts, title
from tests.plots.test_permutation import drawn


def samples(classes: int, layers: int, num: int = 300) -> tuple[dict[str, np.ndarray], np.ndarray]:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, classes, num)
    middles = rng.normal(0, 5, (classes, 2))
    return {name: middles[labels] + rng.normal(0, 1, (num, 2)) for name in long_names(layers)}, labels


def offsets(figure: Figure, label: int) -> np.ndarray:
    points = np.ma.getdata(drawn(figure, PathCollection, f"class {label}").get_offsets())
    return points[np.isfinite(points[:, 0])]


@pytest.mark.parametrize("layers", [1, 2, 3, 4, 60])
@pytest.mark.parametrize("classes", [["a"], FASHION, [f"a class with a long name {i}" for i in range(50)]])
def test_texts_neither_overlap_nor_leave_the_figure(layers: int, classes: list[str]) -> None:
    points, labels = samples(len(classes), layers)
    explained = dict.fromkeys(points, np.array([0.123, 0.001]))
    assert_legible(component_scatter(points, labels, classes, explained=explained, title="a title " * 30))
    assert_legible(component_scatter(points, labels, classes))


def test_points_keep_their_shape_and_fill_their_panel() -> None:
    points = np.array([[0.0, 0.0], [4.0, 0.0], [4.0, 2.0], [1.0, 1.0]])
    figure = component_scatter({"fc": points, "out": 1e-9 * points - 3}, np.zeros(4, dtype=int), ["a"])
    placed = offsets(figure, 0).reshape(2, 4, 2)
    for panel in placed:
        steps = np.diff(panel, axis=0) * (1, -1)  # the canvas counts down
        np.testing.assert_allclose(steps / steps[0, 0], np.diff(points, axis=0) / 4, atol=1e-6)
        assert 300 < steps[0, 0] < 380
    assert placed[0, :, 0].max() < placed[1, :, 0].min()


def test_each_class_has_its_samples_its_colour_and_its_shape() -> None:
    points, labels = samples(10, 2)
    figure = component_scatter(points, labels, FASHION)
    assert texts(figure, "legend") == FASHION
    marks = [drawn(figure, PathCollection, f"class {i}") for i in range(10)]
    assert [len(mark.get_offsets()) for mark in marks] == (2 * np.bincount(labels)).tolist()
    assert len({tuple(mark.get_facecolor()[0]) for mark in marks}) == 10
    assert len({mark.get_paths()[0].vertices.tobytes() for mark in marks}) == 10


def test_of_more_classes_names_stand_at_the_medians() -> None:
    labels = np.repeat(np.arange(11), 5)
    middles = 100 * np.stack([np.arange(11) % 4, np.arange(11) // 4], axis=1)
    rng = np.random.default_rng(0)
    names = [str(i) for i in range(11)]
    figure = component_scatter({"fc": middles[labels] + rng.normal(0, 1, (55, 2))}, labels, names)
    assert not texts(figure, "legend")
    told = {t.get_text(): t.get_position() for t in figure.axes[0].texts if t.get_label() == "class"}
    assert sorted(told, key=int) == names
    for i in range(11):
        np.testing.assert_allclose(told[str(i)], np.median(offsets(figure, i), axis=0), atol=6)


def test_names_that_leave_no_room_give_way_to_those_at_the_edge() -> None:
    labels = np.arange(11)
    points = np.zeros((11, 2))
    points[8:] = [(-10, 0), (10, 0), (0.5, 0)]
    figure = component_scatter({"fc": points}, labels, [f"name {i}" for i in range(11)])
    assert set(texts(figure, "class")) == {"name 8", "name 9", "name 10"}


def test_what_a_component_explains_is_told_where_it_is_known() -> None:
    points, labels = samples(2, 3)
    explained = {"input": np.array([0.5, 0.004]), "model.encoder.layers.0.linear1": np.array([np.nan, 0.1])}
    figure = component_scatter(points, labels, "ab", explained=explained)
    assert texts(figure, "note") == ["50% + 0.4% of the variance"]


def test_of_many_samples_a_part_is_shown_the_same_in_every_layer_and_of_every_class() -> None:
    labels = np.arange(3999) % 2  # every second sample is of one class
    points = np.stack([np.arange(3999.0), np.zeros(3999)], axis=1)
    figure = component_scatter({"a": points, "b": points}, labels, "ab", title="a run")
    assert title(figure) == "a run\n2000 of 3999 samples, drawn at random"
    counts = [len(offsets(figure, i)) for i in range(2)]
    assert sum(counts) == 4000
    assert min(counts) > 1800
    first, second = offsets(figure, 0).reshape(2, -1, 2)
    np.testing.assert_allclose(np.diff(first, axis=0), np.diff(second, axis=0), atol=1e-9)


def test_samples_that_are_not_finite_are_left_out() -> None:
    points = np.array([[0.0, 1.0], [np.nan, 0.0], [np.inf, 2.0], [3.0, 3.0]])
    figure = component_scatter({"fc": points, "out": np.full((4, 2), np.nan)}, np.array([0, 0, 1, 1]), "ab")
    assert [len(offsets(figure, i)) for i in range(2)] == [1, 1]
    assert texts(figure, "empty") == ["no values"]
    assert_legible(figure)


def test_of_many_layers_some_are_shown() -> None:
    points, labels = samples(2, 20, 5)
    figure = component_scatter(points, labels, "ab", most=5)
    assert len(texts(figure, "panel")) == 5
    assert title(figure) == "5 of 20 layers, evenly spaced"


def test_what_raises() -> None:
    points = {"fc": np.zeros((3, 2))}
    with pytest.raises(ValueError, match="not 0, and most=12"):
        component_scatter({}, np.zeros(3, dtype=int), "a")
    with pytest.raises(ValueError, match="most=0"):
        component_scatter(points, np.zeros(3, dtype=int), "a", most=0)
    for wrong in (np.array([0, 1, 2]), np.array([0, -1, 0]), np.zeros((3, 1), dtype=int), np.zeros(3)):
        with pytest.raises(ValueError, match="numbers from 0 to 1"):
            component_scatter(points, wrong, "ab")
    with pytest.raises(ValueError, match=r"\[3, 2\], not \[2, 2\] in layer 'fc'"):
        component_scatter({"fc": np.zeros((2, 2))}, np.zeros(3, dtype=int), "a")
