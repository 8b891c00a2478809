"""What the figures of permuted features show."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cbook import boxplot_stats
from matplotlib.collections import LineCollection, PathCollection, PolyCollection
from matplotlib.figure import Figure

from lightning_separation.plots import permutation_repeats, permutation_share
from lightning_separation.plots._panels import scale_of
from lightning_separation.plots._rows import Panel, draw_rows
from tests.plots.test_henze_penrose import assert_legible, texts, title

FIGURES = (permutation_repeats, permutation_share)


def found(features: int, repeats: int = 20) -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.normal(rng.uniform(-0.1, 1, (features, 1)), 0.2, (features, repeats))


def named(num: int) -> list[str]:
    return [f"a feature with a very, very long name {i}" for i in range(num)]


def drawn(figure: Figure, kind: type, label: str):
    return next(c for c in figure.axes[0].collections if isinstance(c, kind) and c.get_label() == label)


def values_at(figure: Figure, pixels: np.ndarray) -> np.ndarray:
    """Places on the horizontal scale as values."""
    marks = [t for t in figure.axes[0].texts if t.get_label() == "column"]
    at = [t.get_position()[0] for t in marks]
    values = [float(t.get_text().replace("−", "-")) for t in marks]
    (slope, start) = np.polyfit(at, values, 1)
    return np.asarray(slope * np.asarray(pixels) + start)


def ends(figure: Figure, label: str = "bars 0") -> np.ndarray:
    """Beginning and end of every bar."""
    return values_at(figure, np.array(drawn(figure, LineCollection, label).get_segments())[:, :, 0])


@pytest.mark.parametrize("draw", FIGURES)
@pytest.mark.parametrize("scale", [1e-7, -3000.0, 1e12])
@pytest.mark.parametrize("num", [1, 4, 784])
def test_texts_neither_overlap_nor_leave_the_figure(draw, scale: float, num: int) -> None:
    assert_legible(draw(scale * found(num), named(num), title="a title " * 30))


@pytest.mark.parametrize("draw", FIGURES)
@pytest.mark.parametrize("values", [np.zeros((3, 5)), np.full((3, 5), np.nan), np.empty((3, 0)), np.empty((0, 4))])
def test_nothing_to_tell_is_drawn_all_the_same(draw, values: np.ndarray) -> None:
    figure = draw(values, named(len(values)))
    assert_legible(figure)
    assert (texts(figure, "empty") == ["no values"]) == (not np.isfinite(values).any())


@pytest.mark.parametrize("draw", FIGURES)
def test_features_are_sorted_by_their_mean_and_the_rest_is_said(draw) -> None:
    values = np.array([[0.1, 0.3], [0.9, 0.7], [np.nan, np.nan], [-0.1, -0.3], [0.5, np.inf]])
    figure = draw(values, ["a", "b", "c", "d", "e"], title="epoch 7")
    assert texts(figure, "row") == ["b", "e", "a", "d"]
    assert title(figure).startswith("epoch 7\n1 of 5 features have no values")
    figure = draw(values, ["a", "b", "c", "d", "e"], most_features=2)
    assert texts(figure, "row") == ["b", "e"]
    assert "the 2 of 4 features with the largest means" in title(figure)


def test_every_repeat_is_a_point_in_the_row_of_its_feature() -> None:
    values = found(5)
    values[2, 3] = np.nan
    figure = permutation_repeats(values, list("abcde"))
    points = np.asarray(drawn(figure, PathCollection, "repeats").get_offsets())
    assert len(points) == 99
    rows = {t.get_text(): t.get_position()[1] for t in figure.axes[0].texts if t.get_label() == "row"}
    pitch = np.diff(sorted(rows.values()))[0]
    for feature, row in zip("abcde", values, strict=True):
        mine = points[np.abs(points[:, 1] - rows[feature]) < pitch / 2]
        np.testing.assert_allclose(np.sort(values_at(figure, mine[:, 0])), np.sort(row[~np.isnan(row)]), atol=1e-9)
    assert np.isclose(float(texts(figure, "text")[0]), np.nanmean(values, axis=1).max(), rtol=0.01)


def test_boxes_are_those_of_matplotlib() -> None:
    values = np.concatenate([found(1, 30)[0], [9.0, -8.0]])
    (expected,) = boxplot_stats(values)
    figure = permutation_repeats(values[None], ["a"])
    (box,) = drawn(figure, PolyCollection, "boxes").get_paths()
    x = values_at(figure, box.vertices[:, 0])
    np.testing.assert_allclose([x.min(), x.max()], [expected["q1"], expected["q3"]])
    left, right, median = values_at(figure, np.array(drawn(figure, LineCollection, "whiskers").get_segments())[:, :, 0])
    np.testing.assert_allclose(left, [expected["whislo"], expected["q1"]])
    np.testing.assert_allclose(right, [expected["q3"], expected["whishi"]])
    np.testing.assert_allclose(median, expected["med"])


def test_the_zero_line_is_where_zero_is() -> None:
    for values in (found(3), -found(3) - 2, found(3) + 5):
        figure = permutation_repeats(values, list("abc"))
        (line,) = drawn(figure, LineCollection, "zero").get_segments()
        np.testing.assert_allclose(values_at(figure, line[:, 0]), 0, atol=1e-9)


def test_shares_are_of_the_positive_means_and_add_up() -> None:
    values = np.array([[1.0, 3.0], [-4.0, -1.0], [6.0, 6.0]])
    figure = permutation_share(values, ["a", "b", "c"])
    assert texts(figure, "row") == ["c", "a", "b"]
    assert texts(figure, "text") == ["75.0%", "25.0%", "0.0%"]
    np.testing.assert_allclose(ends(figure), [[0, 75], [0, 25], [0, 0]], atol=1e-9)
    assert title(figure) == "1 feature has a mean below 0, shown as 0"
    figure = permutation_share(values, ["a", "b", "c"], most_features=1)
    assert title(figure).splitlines()[0] == "the 1 of 3 features with the largest means: 75% of all"


def test_shares_of_numbers_near_the_largest_there_are() -> None:
    assert texts(permutation_share(np.full((3, 1), 1e308), list("abc")), "text") == ["33.3%"] * 3


def test_without_any_positive_mean_there_is_no_share() -> None:
    figure = permutation_share(np.array([[0.0], [-1.0]]), ["a", "b"])
    assert texts(figure, "text") == ["0.0%"] * 2
    assert "no feature has a mean above 0" in title(figure)


@pytest.mark.parametrize("panels", [1, 2, 3])
@pytest.mark.parametrize("num", [0, 1, 60])
def test_panels_of_rows_have_scales_of_their_own(panels: int, num: int) -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(panels, num)) * 10.0 ** np.arange(panels)[:, None]
    shown = [Panel(scale_of(row), "what it shows, at length", ["−0.00123"] * num, "a head", "text") for row in values]
    figure, rows = draw_rows(named(num), shown, lines=["a title"])
    assert_legible(figure)
    for i, (low, high) in enumerate(scale_of(row) for row in values):
        np.testing.assert_allclose(rows.x(i, [low, high]), [rows.left[i], rows.left[i] + rows.width])


def test_equal_input_gives_equal_figures() -> None:
    drawings = []
    for values in (found(5), found(5), 2 * found(5)):
        canvas = FigureCanvasAgg(permutation_repeats(values, list("abcde")))
        canvas.draw()
        drawings.append(bytes(canvas.buffer_rgba()))
    assert drawings[0] == drawings[1] != drawings[2]


@pytest.mark.parametrize("draw", FIGURES)
def test_what_raises(draw) -> None:
    with pytest.raises(ValueError, match="2 features"):
        draw(np.zeros((3, 4)), ["a", "b"])
    with pytest.raises(ValueError, match="importance must be"):
        draw(np.zeros(2), ["a", "b"])
    with pytest.raises(ValueError, match="most_features"):
        draw(np.zeros((1, 4)), ["a"], most_features=0)
