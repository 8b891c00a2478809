"""What the confusion matrix shows, read off the figure itself."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.collections import PolyCollection

from lightning_separation.plots import confusion_matrix
from tests.plots.test_henze_penrose import FASHION, assert_legible, shown, texts
from tests.plots.test_permutation import drawn


def counts(num: int, most: int = 40) -> np.ndarray:
    return np.random.default_rng(0).integers(0, most, (num, num)) + 5 * most * np.eye(num, dtype=int)


@pytest.mark.parametrize("num", [1, 2, 10, 20, 21, 50, 300])
@pytest.mark.parametrize("most", [2, 10**7])
def test_texts_neither_overlap_nor_leave_the_figure(num: int, most: int) -> None:
    names = [f"a class with a long name {i}" for i in range(num)]
    found = counts(num, most)
    found[-1] = 0
    assert_legible(confusion_matrix(found, names, title="a title " * 30))
    assert_legible(confusion_matrix(found, [str(i) for i in range(num)]))


def test_true_classes_are_rows_and_colours_their_shares() -> None:
    found = counts(10)
    figure = confusion_matrix(found, FASHION)
    assert texts(figure, "row") == texts(figure, "column") == FASHION
    assert (texts(figure, "up"), texts(figure, "across")) == (["true class"], ["predicted class"])
    apart = ~np.eye(10, dtype=bool)
    np.testing.assert_allclose(shown(figure)[apart] ** 2, (found / found.sum(1, keepdims=True))[apart])
    assert figure.axes[0].collections[0].get_clim() == (0, 1)
    bottom, top = figure.axes[0].get_ylim()
    assert bottom > top


def test_the_scale_names_shares_where_their_colours_are() -> None:
    figure = confusion_matrix(np.array([[3, 1], [0, 4]]), "ab")
    marks = {t.get_text(): t.get_position()[1] for t in figure.axes[1].texts if t.get_label() == "row"}
    np.testing.assert_allclose(marks["25%"], shown(figure)[0, 1])
    assert list(marks) == ["0%", "1%", "10%", "25%", "50%", "100%"]


def test_what_is_correct_is_grey_and_mistakes_that_never_happened_are_empty() -> None:
    figure = confusion_matrix(np.array([[0, 2, 0], [0, 7, 0], [0, 0, 0]]), ["cat", "dog", "emu"])
    assert texts(figure, "value") == ["0", "2", "7"]
    grey = drawn(figure, PolyCollection, "right").get_paths()
    assert [path.vertices[0].tolist() for path in grey] == [[0, 0], [1, 1]]
    assert any("grey: correct" in text.get_text() for text in figure.axes[1].texts)


def test_classes_without_samples_are_hatched() -> None:
    figure = confusion_matrix(np.array([[3, 0], [0, 0]]), "ab")
    np.testing.assert_array_equal(np.ma.getmaskarray(shown(figure)), [[False, False], [True, True]])
    assert figure.axes[0].patch.get_hatch()
    assert confusion_matrix(counts(2), "ab").axes[0].patch.get_hatch() is None


def test_numbers_are_written_for_up_to_twenty_classes() -> None:
    assert len(texts(confusion_matrix(counts(20) + 1, [str(i) for i in range(20)]), "value")) == 400
    assert not texts(confusion_matrix(counts(21) + 1, [str(i) for i in range(21)]), "value")


def test_what_raises() -> None:
    for wrong, names in ((np.zeros((2, 3)), "ab"), (np.zeros((3, 3)), "ab"), (np.zeros((0, 0)), "")):
        with pytest.raises(ValueError, match=f"for {len(names)} classes"):
            confusion_matrix(wrong, names)
    for value in (-1, np.nan, np.inf):
        with pytest.raises(ValueError, match="finite and not negative"):
            confusion_matrix(np.array([[1, value], [0, 1]]), "ab")
