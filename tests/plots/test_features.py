"""What the figure of input features and classes shows."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from lightning_separation.plots import feature_heatmap
from tests.plots.test_henze_penrose import FASHION, assert_legible, texts, title

IRIS = ["sepal length (cm)", "sepal width (cm)", "petal length (cm)", "petal width (cm)"]


def contributions(classes: int, features: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.3, (classes, features))


@pytest.mark.parametrize("panels", [1, 2, 3])
@pytest.mark.parametrize(
    "features, classes",
    [
        (["x"], ["cat"]),
        (IRIS, ["setosa", "versicolor", "virginica"]),
        ([f"pixel {i // 28}, {i % 28}" for i in range(784)], FASHION),
        ([f"feature with a very, very long name {i}" for i in range(30)], ["$1 to $5", "dög"]),
        (["a", "b"], [f"class number {i}" for i in range(100)]),
    ],
)
def test_texts_neither_overlap_nor_leave_the_figure(panels: int, features: list[str], classes: list[str]) -> None:
    found = {f"classes as predicted {i}": contributions(len(classes), len(features), i) for i in range(panels)}
    found["classes as predicted 0"][0] = np.nan
    value = "change of the sum of the active units per standard deviation"
    assert_legible(feature_heatmap(found, features, classes, value=value, title="a title " * 30))


@pytest.mark.parametrize("scale", [1e-320, 1e-7, 1e-3, 0.1, 30.0, 1e3, 1e9])
def test_numbers_of_any_size_are_legible(scale: float) -> None:
    assert_legible(feature_heatmap({"true class": scale * contributions(4, 6)}, list("abcdef"), FASHION[:4]))


def test_features_are_rows_and_classes_columns_of_every_panel() -> None:
    found = {"true class": contributions(3, 4), "predicted class": contributions(3, 4, 1)}
    figure = feature_heatmap(found, IRIS, ["a", "b", "c"], title="epoch 7")
    assert texts(figure, "row") == IRIS
    assert texts(figure, "column") == ["a", "b", "c"] * 2
    assert texts(figure, "panel") == list(found)
    assert len(texts(figure, "value")) == 24
    assert title(figure) == "epoch 7"
    images = figure.axes[0].images
    for image, panel in zip(images, found.values(), strict=True):
        np.testing.assert_array_equal(image.get_array(), panel.T)
    left, right = images[0].get_extent(), images[1].get_extent()
    assert left[1] < right[0]
    assert left[2:] == [4, 0] or left[2:] == (4, 0)


def test_one_scale_symmetric_about_zero_and_rounded() -> None:
    figure = feature_heatmap({"a": np.array([[0.1, -0.31]]), "b": np.array([[0.2, 0.0]])}, "xy", ["k"])
    assert [image.get_clim() for image in figure.axes[0].images] == [(-0.5, 0.5)] * 2
    assert [text.get_text() for text in figure.axes[1].texts[:3]] == ["−0.5", "0", "0.5"]
    red, blue = figure.axes[0].images[0].to_rgba(np.array([0.5, -0.5]))
    assert red[0] > red[2]
    assert blue[2] > blue[0]
    fixed = feature_heatmap({"a": np.zeros((1, 2))}, "xy", ["k"], limit=3)
    assert fixed.axes[0].images[0].get_clim() == (-3, 3)


def test_of_many_features_the_strongest_are_shown_first() -> None:
    found = np.zeros((2, 784))
    found[0, 700], found[1, 5], found[1, 9] = 0.2, -0.9, np.nan
    figure = feature_heatmap({"true class": found}, [str(i) for i in range(784)], "ab", most_features=2, title="t")
    assert texts(figure, "row") == ["5", "700"]
    assert title(figure) == "t\nthe strongest 2 of 784 features"
    np.testing.assert_array_equal(figure.axes[0].images[0].get_array(), [[0, -0.9], [0.2, 0]])


def test_cells_without_value_are_hatched_and_the_figure_says_so() -> None:
    found = contributions(3, 4)

    def hatches(figure) -> int:
        return sum(len(c.get_paths()) for c in figure.axes[0].collections if c.get_hatch())

    assert hatches(feature_heatmap({"a": found}, IRIS, "abc")) == 0
    missing = found.copy()
    missing[1], missing[2, 0] = np.nan, np.inf
    figure = feature_heatmap({"a": found, "b": missing}, IRIS, "abc")
    assert hatches(figure) == 1
    np.testing.assert_array_equal(figure.axes[0].images[1].get_array().mask, ~np.isfinite(missing.T))
    assert any("no value" in text.get_text() for text in figure.axes[1].texts)
    assert len(texts(figure, "value")) == 24 - 5


def test_nothing_but_zeros_or_nans() -> None:
    for value in (0.0, np.nan):
        figure = feature_heatmap({"a": np.full((2, 3), value)}, "xyz", "ab")
        assert figure.axes[0].images[0].get_clim() == (-1, 1)
        assert_legible(figure)


def test_equal_input_gives_equal_pixels() -> None:
    images = []
    for _ in range(2):
        canvas = FigureCanvasAgg(feature_heatmap({"a": contributions(3, 4)}, IRIS, "abc"))
        canvas.draw()
        images.append(np.asarray(canvas.buffer_rgba()))
    np.testing.assert_array_equal(*images)


@pytest.mark.parametrize(
    "panels, more, message",
    [
        ({}, {}, "0 panels"),
        ({"a": np.zeros((2, 3)), "b": np.zeros((3, 2))}, {}, r"\[2, 3\], not \[3, 2\] in 'b'"),
        ({"a": np.zeros((2, 3))}, {"most_features": 0}, "most_features=0"),
        ({"a": np.zeros((2, 3))}, {"limit": 0.0}, "limit=0.0"),
        ({"a": np.zeros((2, 3))}, {"limit": np.nan}, "limit=nan"),
    ],
)
def test_what_raises(panels: dict[str, np.ndarray], more: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        feature_heatmap(panels, "xyz", "ab", **more)


def test_without_features_raises() -> None:
    with pytest.raises(ValueError, match="0 features"):
        feature_heatmap({"a": np.zeros((2, 0))}, [], "ab")
