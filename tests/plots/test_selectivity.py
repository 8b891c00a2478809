"""What the figure of units and their preferred classes shows."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from lightning_separation.plots import selectivity_heatmap
from tests.plots.test_henze_penrose import FASHION, assert_legible, texts, title


def fractions(units: int, classes: int) -> np.ndarray:
    found = np.random.default_rng(0).uniform(0, 1, (units, classes))
    found[0], found[-1] = 0, 1
    return found


def cells(figure) -> np.ma.MaskedArray:
    return figure.axes[0].images[0].get_array()


@pytest.mark.parametrize(
    "units, classes",
    [
        (1, ["cat"]),
        (10, FASHION),
        (12, ["$1 to $5", "a very, very long name of a class"]),
        (36, ["cat", "dög", "emu"]),
        (512, FASHION),
        (4096, FASHION),
        (300, [f"class number {i}" for i in range(100)]),
    ],
)
def test_texts_neither_overlap_nor_leave_the_figure(units: int, classes: list[str]) -> None:
    found = fractions(units, len(classes))
    found[units // 2 :: 7] = np.nan
    assert_legible(selectivity_heatmap(found, classes, title="a title that is too long for a small figure " * 3))


def test_units_stand_by_preferred_class_and_by_how_much_they_prefer_it() -> None:
    found = np.array([[0.1, 0.5, 0.2], [0.9, 0.1, 0.1], [0.0, 0.0, 0.0], [1, 1, 1], [0.2, 0.8, 0.0], [0.5, 0.5, 0.4]])
    figure = selectivity_heatmap(found, ["cat", "dog", "emu"], title="epoch 7")
    assert texts(figure, "row") == ["1", "5", "4", "0", "3", "2"]
    np.testing.assert_array_equal(cells(figure), found[[1, 5, 4, 0, 3, 2]])
    assert texts(figure, "group") == ["2 prefer cat", "2 prefer dog", "1 always on", "1 never active"]
    assert texts(figure, "column") == ["cat", "dog", "emu"]
    assert texts(figure, "value")[:3] == ["0.90", "0.10", "0.10"]
    assert title(figure) == "epoch 7"
    bottom, top = figure.axes[0].get_ylim()
    assert bottom > top  # so that row 0 is on top


def test_always_on_is_not_almost_always_on() -> None:
    figure = selectivity_heatmap(np.array([[1.0, 0.999], [1.0, 1.0], [0.0, 1e-9]]), "ab")
    assert texts(figure, "group") == ["1 prefers a", "1 prefers b", "1 always on"]


def test_colors_mean_the_same_in_every_figure() -> None:
    for scale in (0.01, 1.0):
        assert selectivity_heatmap(np.full((3, 3), scale), "abc").axes[0].images[0].get_clim() == (0, 1)


def test_thin_lines_stand_between_the_groups() -> None:
    found = np.array([[0.9, 0.1], [0.8, 0.1], [0.1, 0.9], [0.0, 0.0]])
    lines = selectivity_heatmap(found, "ab").axes[0].collections[0].get_segments()
    assert [line[0][1] for line in lines] == [2, 3]


def test_units_are_named_only_where_there_is_room_for_all() -> None:
    named = selectivity_heatmap(fractions(30, 3), "abc", unit_names=[f"n{i}" for i in range(30)])
    assert sorted(texts(named, "row")) == sorted(f"n{i}" for i in range(30))
    many = selectivity_heatmap(fractions(512, 3), "abc")
    assert texts(many, "row") == []
    assert texts(many, "value") == []
    assert "512 units" in [text.get_text() for text in many.axes[0].texts]
    assert cells(many).shape == (512, 3)
    assert many.axes[0].bbox.height == pytest.approx(600)


def test_every_unit_has_a_row_of_pixels() -> None:
    figure = selectivity_heatmap(fractions(1024, 10), FASHION)
    assert figure.axes[0].bbox.height >= 1024


def test_of_too_many_units_the_most_selective_are_shown() -> None:
    found = np.array([[0.2, 0.1], [0.9, 0.1], [0.3, 0.9], [0.5, 0.1], [0, 0], [0, 0], [1, 1]])
    figure = selectivity_heatmap(found, ["cat", "dog"], most_units=2, title="epoch 7")
    assert texts(figure, "row") == ["1", "2"]
    assert texts(figure, "group") == ["1 of 3 prefer cat", "1 prefers dog"]
    assert title(figure) == "epoch 7\nthe most selective 2 of 7 units\nnot shown: 1 always on, 2 never active"


def test_units_without_values_are_counted_and_cells_without_are_hatched() -> None:
    found = fractions(6, 3)
    found[2] = np.nan
    figure = selectivity_heatmap(found, "abc")
    assert title(figure) == "1 of 6 units have no values"
    assert "2" not in texts(figure, "row")
    assert figure.axes[0].patch.get_hatch() is None
    found[3, 1] = np.nan
    figure = selectivity_heatmap(found, "abc")
    assert figure.axes[0].patch.get_hatch()
    assert cells(figure).mask.sum() == 1
    assert any("no value" in text.get_text() for text in figure.axes[1].texts)


def test_no_values_at_all() -> None:
    figure = selectivity_heatmap(np.full((4, 2), np.nan), "ab")
    assert title(figure) == "4 of 4 units have no values"
    assert_legible(figure)


def test_of_very_many_groups_the_largest_are_named() -> None:
    found = np.eye(100)[np.concatenate([np.arange(100), np.repeat([3, 50], 20)])]
    found[5] = 0
    figure = selectivity_heatmap(found, [f"n{i:02d}" for i in range(100)])
    named = texts(figure, "group")
    assert 20 < len(named) < 60
    assert {"21 prefer n03", "21 prefer n50", "1 never active"} <= set(named)
    assert_legible(figure)


def test_equal_input_gives_equal_pixels() -> None:
    images = []
    for _ in range(2):
        canvas = FigureCanvasAgg(selectivity_heatmap(fractions(64, 3), "abc"))
        canvas.draw()
        images.append(np.asarray(canvas.buffer_rgba()))
    np.testing.assert_array_equal(*images)


def test_input_is_left_alone() -> None:
    found = fractions(5, 2)
    before = found.copy()
    selectivity_heatmap(found, "ab")
    np.testing.assert_array_equal(found, before)


@pytest.mark.parametrize(
    "found, more, message",
    [
        (np.zeros((3, 2)), {}, r"\[units, 3\] for 3 classes, not \[3, 2\]"),
        (np.zeros((0, 3)), {}, r"not \[0, 3\]"),
        (np.zeros(3), {}, r"not \[3\]"),
        (np.full((2, 3), 1.1), {}, "between 0 and 1"),
        (np.full((2, 3), np.inf), {}, "between 0 and 1"),
        (np.zeros((2, 3)), {"unit_names": ["a"]}, "unit_names must be 2, not 1"),
        (np.zeros((2, 3)), {"most_units": 0}, "positive, not 0"),
    ],
)
def test_what_raises(found: np.ndarray, more: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        selectivity_heatmap(found, "abc", **more)
