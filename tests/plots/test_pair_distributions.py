"""What the histograms of class pairs show, read off the figure itself."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.figure import Figure

from lightning_separation.plots import pair_histograms
from tests.plots.test_henze_penrose import assert_legible, long_names, texts, title
from tests.plots.test_information import on_scale
from tests.plots.test_permutation import drawn


def found(labels: int, layers: int, pairs: int = 45) -> dict[str, dict[str, np.ndarray]]:
    rng = np.random.default_rng(0)
    return {
        f"a label with a long name {i}": {name: rng.uniform(-0.3, 1, pairs) for name in long_names(layers)}
        for i in range(labels)
    }


def steps(figure: Figure, number: int) -> np.ndarray:
    """The corners of the only panel's histogram, as values and shares."""
    (path,) = drawn(figure, PolyCollection, f"histogram {number}").get_paths()
    x, y = path.vertices[:-1].T
    return np.stack([on_scale(figure, "column", 0, x), on_scale(figure, "row", 1, y)], axis=1)


@pytest.mark.parametrize("labels, layers", [(1, 1), (2, 2), (3, 3), (2, 12), (3, 60)])
def test_texts_neither_overlap_nor_leave_the_figure(labels: int, layers: int) -> None:
    assert_legible(pair_histograms(found(labels, layers), title="a title " * 30))
    assert_legible(pair_histograms(found(labels, layers, 1)))


@pytest.mark.parametrize("low", [-0.37, 0.2])
def test_shares_are_those_of_numpys_histogram(low: float) -> None:
    values = np.random.default_rng(1).uniform(low, 1, 300)
    figure = pair_histograms({"after": {"fc": values}})
    edges = np.arange(-8 if low < 0 else 0, 21) * 0.05
    expected = np.histogram(values, edges)[0] / 300
    corners = steps(figure, 0)
    np.testing.assert_allclose(corners[::2, 0], edges, atol=1e-9)
    np.testing.assert_allclose(corners[1:-1:2, 1], expected, atol=1e-9)
    np.testing.assert_allclose(corners[[0, -1], 1], 0, atol=1e-9)


def test_values_on_an_edge_fall_into_the_bin_above_and_one_into_the_last() -> None:
    values = np.array([0.15, 0.3, 0.35, 0.6, 1.0, 1.0 + 1e-9])
    shares = steps(pair_histograms({"after": {"fc": values}}), 0)[1:-1:2, 1]
    np.testing.assert_allclose(np.flatnonzero(shares > 1e-9), [3, 6, 7, 12, 19])


def test_very_low_values_are_in_the_first_bin() -> None:
    corners = steps(pair_histograms({"after": {"fc": np.array([-40.0, 0.5])}}), 0)
    np.testing.assert_allclose(corners[[0, 1], 0], [-1, -1], atol=1e-9)
    np.testing.assert_allclose(corners[1, 1], 0.5)


def test_means_are_lines_and_numbers() -> None:
    figure = pair_histograms({"before": {"fc": np.array([0.1, 0.2, np.nan])}, "after": {"fc": np.array([0.8, 0.9])}})
    assert texts(figure, "note") == ["mean 0.15 → 0.85"]
    assert texts(figure, "legend") == ["before", "after", "mean"]
    for number, mean in enumerate([0.15, 0.85]):
        (line,) = drawn(figure, LineCollection, f"mean {number}").get_segments()
        np.testing.assert_allclose(on_scale(figure, "column", 0, line[:, 0]), mean)


def test_all_layers_come_first_and_count_every_layer() -> None:
    given = found(1, 40)
    figure = pair_histograms(given, title="a run")
    assert title(figure) == "a run\n11 of 40 layers, evenly spaced"
    panels = texts(figure, "panel")
    assert (len(panels), panels[0], panels[1]) == (12, "all layers", "input")
    mean = np.concatenate(list(next(iter(given.values())).values())).mean()
    assert texts(figure, "note")[0] == f"mean {mean:.2f}"
    assert texts(pair_histograms(found(1, 1)), "panel") == ["input"]  # all layers would be the same again


def test_a_layer_that_a_label_lacks_has_only_the_others() -> None:
    given = {"before": {"a": np.array([0.1])}, "after": {"a": np.array([0.5]), "b": np.array([0.9])}}
    figure = pair_histograms(given)
    assert texts(figure, "note") == ["mean 0.10 → 0.70", "mean 0.10 → 0.50", "mean – → 0.90"]
    assert [len(drawn(figure, PolyCollection, f"histogram {i}").get_paths()) for i in range(2)] == [2, 3]


@pytest.mark.parametrize("values", [np.full(3, np.nan), np.empty(0), np.array([np.inf])])
def test_nothing_known_is_drawn_all_the_same(values: np.ndarray) -> None:
    figure = pair_histograms({"after": {"a": values, "b": values}})
    assert texts(figure, "note") == ["no values"] * 3
    assert_legible(figure)


def test_what_raises() -> None:
    for wrong in ({}, {"a": {}}, found(4, 1)):
        with pytest.raises(ValueError, match=f"not {len(wrong)}"):
            pair_histograms(wrong)
    with pytest.raises(ValueError, match=r"'after', layer 'fc' must be \[pairs\], not \[2, 2\]"):
        pair_histograms({"after": {"fc": np.zeros((2, 2))}})
    with pytest.raises(ValueError, match="above 1"):
        pair_histograms({"after": {"fc": np.array([1.1])}})
