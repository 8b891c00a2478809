"""What the matrices of class pairs show, read off the figure itself."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from lightning_separation.plots import class_matrices
from lightning_separation.plots._heatmap import SEPARATION
from tests.plots.test_henze_penrose import FASHION, assert_legible, divergences, long_names, texts, title


def hatched(figure: Figure) -> list[Rectangle]:
    return [patch for patch in figure.axes[0].patches if patch.get_hatch()]


@pytest.mark.parametrize("layers", [1, 2, 3, 4, 5, 60])
@pytest.mark.parametrize("classes", [["a", "b"], FASHION[:6], FASHION, [f"a long name {i}" for i in range(50)]])
def test_texts_neither_overlap_nor_leave_the_figure(layers: int, classes: list[str]) -> None:
    found = divergences(len(classes), long_names(layers))
    found["input"][0, 1] = np.nan
    assert_legible(class_matrices(found, classes, title="a title " * 30))


def test_each_layer_has_its_cells_where_they_belong() -> None:
    found = divergences(3, ["input", "fc"])
    figure = class_matrices(found, ["cat", "dog", "emu"])
    assert texts(figure, "panel") == ["input", "fc"]
    assert texts(figure, "row") == texts(figure, "column") == ["cat", "dog", "emu"] * 2
    images = figure.axes[0].images
    apart = ~np.eye(3, dtype=bool)
    for image, matrix in zip(images, found.values(), strict=True):
        np.testing.assert_allclose(image.get_array()[apart], SEPARATION.faces(matrix)[apart])
        left, right, bottom, top = image.get_extent()
        assert right - left == bottom - top > 100
    assert images[0].get_extent()[1] < images[1].get_extent()[0]
    rows = [t.get_position()[1] for t in figure.axes[0].texts if t.get_label() == "row"][:3]
    np.testing.assert_allclose(np.diff(rows), (bottom - top) / 3)
    assert rows[0] < rows[2]  # down is up on the canvas


def test_the_diagonal_is_white_and_what_is_missing_hatched() -> None:
    found = divergences(3, ["input", "fc"])
    assert not hatched(class_matrices(found, "abc"))
    found["fc"][0, 2] = np.inf
    np.fill_diagonal(found["input"], np.nan)
    figure = class_matrices(found, "abc")
    assert len(hatched(figure)) == 1
    assert any("no value" in text.get_text() for text in figure.axes[1].texts)
    first, second = (image.get_array() for image in figure.axes[0].images)
    assert (first[np.eye(3, dtype=bool)] == 1).all()
    np.testing.assert_array_equal(second[..., 3] == 0, [[0, 0, 1], [0, 0, 0], [0, 0, 0]])


def test_values_are_written_for_up_to_six_classes_and_none_on_the_diagonal() -> None:
    found = {"fc": np.array([[1.0, 0.25], [-0.001, 1.0]])}
    assert texts(class_matrices(found, "ab"), "value") == ["0.25", "0.00"]
    assert len(texts(class_matrices(divergences(6, ["fc"]), FASHION[:6]), "value")) == 30
    assert not texts(class_matrices(divergences(7, ["fc"]), FASHION[:7]), "value")


def test_of_many_layers_twelve_are_shown() -> None:
    figure = class_matrices(divergences(2, [f"layer{i}" for i in range(30)]), "ab", title="epoch 3")
    assert title(figure) == "epoch 3\n12 of 30 layers, evenly spaced"
    assert len(figure.axes[0].images) == 12
    assert texts(figure, "panel")[-1] == "layer29"


def test_nothing_known_is_drawn_all_the_same() -> None:
    assert_legible(class_matrices({"fc": np.full((4, 4), np.nan)}, "abcd"))


@pytest.mark.parametrize(
    "found, classes, message",
    [
        ({}, "ab", "not 2 and 0"),
        ({"fc": np.zeros((1, 1))}, "a", "not 1 and 1"),
        ({"input": np.zeros((2, 2)), "fc": np.zeros((3, 3))}, "ab", r"\(3, 3\) in layer 'fc'"),
    ],
)
def test_what_raises(found: dict[str, np.ndarray], classes: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        class_matrices(found, classes)
