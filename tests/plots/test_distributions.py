"""What the small panels of units and their classes show."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from lightning_separation.plots import unit_distributions
from tests.plots.test_henze_penrose import FASHION, assert_legible, texts, title

ROWS = ["most significant", "least significant", "most normal", "least normal"]


def samples(units: int, classes: int, *, relu: bool = False) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    histograms, edges = np.zeros((units, classes, 32), int), np.zeros((units, 33))
    for unit in range(units):
        values = rng.normal(rng.normal(0, 2, (classes, 1)), 1, (classes, 200))
        values = np.maximum(values - 1, 0) if relu else values
        edges[unit] = np.histogram_bin_edges(values, 32)
        histograms[unit] = [np.histogram(row, edges[unit])[0] for row in values]
    return histograms, edges


def captions(units: int) -> list[str]:
    return [f"unit {i}\nq = 1e-12, effect 0.83" for i in range(units)]


def filled(figure: Figure) -> PolyCollection:
    """The collection of distributions: drawn on lines and below marks."""
    return next(c for c in figure.axes[0].collections if isinstance(c, PolyCollection) and c.get_zorder() == 2)


def shapes(figure: Figure) -> list[np.ndarray]:
    return [path.vertices for path in filled(figure).get_paths()]


def heights(shape: np.ndarray) -> np.ndarray:
    """Of the steps of one distribution, in pixels: y grows downward; the path ends where it began."""
    stairs = shape[: len(shape) // 2 * 2]
    return stairs[0, 1] - stairs[1:-1:2, 1]


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize(
    "units, rows, classes",
    [
        (1, ["one"], ["cat"]),
        (16, ROWS, ["cat", "dog"]),
        (8, ROWS, ["$1 to $5", "a very, very long name of a class", "dög"]),
        (16, ROWS, FASHION),
        (12, ROWS[:2], [f"a very, very long name of class number {i}" for i in range(100)]),
    ],
)
def test_texts_neither_overlap_nor_leave_the_figure(
    units: int, rows: list[str], classes: list[str], relu: bool
) -> None:
    histograms, edges = samples(units, len(classes), relu=relu)
    notes = [f"{text} and more than there is room for" for text in captions(units)]
    figure = unit_distributions(histograms, edges, notes, classes, rows=rows, title="a title " * 30)
    assert_legible(figure)
    for collection in figure.axes[0].collections:
        for path in collection.get_paths():
            assert (path.vertices >= -1e-6).all()
            assert (path.vertices <= figure.axes[0].bbox.size + 1e-6).all()


def test_panels_stand_row_by_row_below_their_names() -> None:
    histograms, edges = samples(4, 2)
    figure = unit_distributions(histograms, edges, list("abcd"), ["cat", "dog"], rows=ROWS[:2], title="epoch 7")
    assert title(figure) == "epoch 7"
    places = {text.get_text(): text.get_position() for text in figure.axes[0].texts if text.get_label() != "end"}
    assert places["a"][1] == places["b"][1] < places["c"][1] == places["d"][1]
    assert places["a"][0] == places["c"][0] < places["b"][0] == places["d"][0]
    assert places[ROWS[0]][1] < places["a"][1] < places[ROWS[1]][1] < places["c"][1]
    assert texts(figure, "legend") == ["cat", "dog"]


def test_densities_whatever_the_numbers_of_samples() -> None:
    histograms = np.array([[[1, 3, 0, 0], [0, 0, 300, 100]]])
    figure = unit_distributions(histograms, np.array([[0.0, 1, 2, 3, 4]]), ["u"], ["a", "b"], rows=["r"])
    one, other = (heights(shape) for shape in shapes(figure))
    np.testing.assert_allclose(one / one.max(), [1 / 3, 1, 0, 0])
    np.testing.assert_allclose(other / one.max(), [0, 0, 1, 1 / 3])


def test_bins_of_unequal_width_have_equal_areas() -> None:
    figure = unit_distributions(np.array([[[6, 6]]]), np.array([[0.0, 1.0, 4.0]]), ["u"], ["a"], rows=["r"])
    low, high = heights(shapes(figure)[0])
    assert low == pytest.approx(3 * high)


def test_two_and_three_classes_have_colors_of_their_own() -> None:
    for num in (2, 3):
        histograms, edges = samples(2, num)
        figure = unit_distributions(histograms, edges, captions(2), FASHION[:num], rows=["r"])
        colors = [tuple(color) for color in filled(figure).get_edgecolor()]
        assert len(set(colors)) == num
        assert colors[:num] == colors[num:]


def test_of_up_to_twelve_classes_each_stands_on_a_floor_of_its_own() -> None:
    histograms, edges = samples(4, 10)
    figure = unit_distributions(histograms, edges, captions(4), FASHION, rows=ROWS[:2])
    assert texts(figure, "class") == FASHION * 2
    assert texts(figure, "legend") == ["lowest mean", "highest mean", "other classes"]
    floors = [shape[0, 1] for shape in shapes(figure)]
    assert len(floors) == 40
    np.testing.assert_allclose(np.diff(floors[:10]), 15)
    names = [text.get_position()[1] for text in figure.axes[0].texts if text.get_label() == "class"][:10]
    assert all(floor - 15 < name < floor for name, floor in zip(names, floors, strict=False))
    centers = (edges[0, 1:] + edges[0, :-1]) / 2
    means = histograms[0] @ centers
    colors = filled(figure).get_edgecolor()[:10, :3]
    for k, word in ((means.argmin(), "blue"), (means.argmax(), "orange")):
        assert (colors[k] == colors[k]).all()
        assert (colors[k][2] > colors[k][0]) == (word == "blue")
    assert len({tuple(color) for color in colors}) == 3


def test_of_many_classes_two_are_named_and_the_others_are_lines() -> None:
    histograms, edges = samples(2, 100)
    names = [f"n{i:02d}" for i in range(100)]
    figure = unit_distributions(histograms, edges, captions(2), names, rows=["r"])
    means = [histograms[i] @ (edges[i, 1:] + edges[i, :-1]) for i in range(2)]
    assert texts(figure, "low") == [names[mean.argmin()] for mean in means]
    assert texts(figure, "high") == [names[mean.argmax()] for mean in means]
    assert len(shapes(figure)) == 4
    assert max(len(c.get_paths()) for c in figure.axes[0].collections if isinstance(c, LineCollection)) == 2 * 98
    low = next(text for text in figure.axes[0].texts if text.get_label() == "low")
    assert to_rgb(low.get_color()) in {tuple(color[:3]) for color in filled(figure).get_edgecolor()}


def test_classes_without_counts_are_left_out() -> None:
    for num in (3, 10, 20):
        histograms, edges = samples(2, num)
        histograms[0, 1:] = 0
        histograms[1, 0] = 0
        figure = unit_distributions(histograms, edges, captions(2), [str(i) for i in range(num)], rows=["r"])
        drawn = {3: 1 + 2, 10: 1 + 9, 20: 1 + 2}[num]
        assert len(shapes(figure)) == drawn
        assert_legible(figure)


def test_units_without_values_say_so() -> None:
    histograms, edges = samples(3, 2)
    histograms[0] = 0
    edges[1] = np.nan
    figure = unit_distributions(histograms, edges, captions(3), ["cat", "dog"], rows=["r"])
    assert texts(figure, "empty") == ["no values"] * 2
    assert len(shapes(figure)) == 2
    assert len(texts(figure, "end")) == 2


def test_range_and_zero_are_marked() -> None:
    histograms = np.ones((3, 1, 2))
    edges = np.array([[-1.5, 0.5, 2.5], [0.25, 1, 1234.5], [3, 3, 3]])
    figure = unit_distributions(histograms, edges, captions(3), ["a"], rows=["r"])
    assert texts(figure, "end") == ["−1.5", "2.5", "0.25", "1234", "3"]
    assert texts(figure, "zero") == ["0"]
    floors = next(c for c in figure.axes[0].collections if isinstance(c, LineCollection)).get_segments()
    zero = next(text for text in figure.axes[0].texts if text.get_label() == "zero").get_position()[0]
    left, right = floors[0][:, 0]
    assert zero == pytest.approx(left + (right - left) * 1.5 / 4)


def test_a_spike_does_not_flatten_all_else() -> None:
    spike = np.array([[[900, *[10] * 10], [0, *[100] * 10]]])
    edges = np.linspace(0, 11, 12)[None]
    figure = unit_distributions(spike, edges, ["u"], ["a", "b"], rows=["r"])
    assert "▲ peak higher than shown" in texts(figure, "legend")
    one, other = (heights(shape) for shape in shapes(figure))
    assert other[1] > 0.8 * one[0]
    plain = unit_distributions(spike[..., 1:], edges[:, 1:], ["u"], ["a", "b"], rows=["r"])
    assert texts(plain, "legend") == ["a", "b"]


def test_a_spike_that_is_almost_all_is_drawn_as_it_is() -> None:
    spike = np.array([[[990, *[1] * 10]]])
    figure = unit_distributions(spike, np.linspace(0, 11, 12)[None], ["u"], ["a"], rows=["r"])
    assert texts(figure, "legend") == ["a"]
    high = heights(shapes(figure)[0])
    np.testing.assert_allclose(high / high[0], spike[0, 0] / 990)


def test_a_peak_little_higher_than_its_neighbor_is_not_cut() -> None:
    narrow = np.array([[[360, 320, *[35] * 9], [0, 0, *[111] * 9]]])
    figure = unit_distributions(narrow, np.linspace(0, 11, 12)[None], ["u"], ["a", "b"], rows=["r"])
    assert texts(figure, "legend") == ["a", "b"]
    high = heights(shapes(figure)[0])
    np.testing.assert_allclose(high[:2] / high[0], [1, 320 / 360])


def test_equal_input_gives_equal_pixels() -> None:
    images = []
    for _ in range(2):
        histograms, edges = samples(4, 3)
        figure = unit_distributions(histograms, edges, captions(4), "abc", rows=["r"])
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        images.append(np.asarray(canvas.buffer_rgba()))
    np.testing.assert_array_equal(*images)


@pytest.mark.parametrize(
    "histograms, edges, rows, message",
    [
        (np.ones((2, 3, 4)), np.ones((2, 5)), ["r"], r"\[2, 2, bins\] for 2 captions and 2 classes, not \[2, 3, 4\]"),
        (np.ones((2, 2)), np.ones((2, 5)), ["r"], r"not \[2, 2\]"),
        (np.ones((2, 2, 0)), np.ones((2, 1)), ["r"], r"not \[2, 2, 0\]"),
        (np.ones((2, 2, 4)), np.ones((2, 4)), ["r"], r"\[2, 5\], not \[2, 4\]"),
        (np.ones((2, 2, 4)), np.ones((2, 5)), [], "into 0 rows"),
        (np.ones((2, 2, 4)), np.ones((2, 5)), ["a", "b", "c"], "2 units cannot be divided into 3 rows"),
        (-np.ones((2, 2, 4)), np.ones((2, 5)), ["r"], "not negative"),
        (np.full((2, 2, 4), np.nan), np.ones((2, 5)), ["r"], "finite"),
        (np.ones((2, 2, 4)), np.linspace([1, 1], [0, 0], 5, axis=1), ["r"], "from low to high"),
    ],
)
def test_what_raises(histograms: np.ndarray, edges: np.ndarray, rows: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        unit_distributions(histograms, edges, ["u", "v"], ["a", "b"], rows=rows)
