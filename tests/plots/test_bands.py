"""What the lines with bands show, read off the figures themselves."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.figure import Figure

from lightning_separation.plots import bayes_error_epochs, separation_bands, separation_over_epochs
from lightning_separation.plots._layout import shorten
from tests.plots.test_henze_penrose import assert_legible, curve, long_names, texts, title
from tests.plots.test_information import on_scale
from tests.plots.test_permutation import drawn

Curves = dict[str, dict[str, tuple[float, float, float]]]


def curves(num: int, layers: int) -> Curves:
    rng = np.random.default_rng(0)
    return {
        f"a run with a long name, number {i}": {
            name: tuple(np.sort(rng.uniform(-0.1, 1, 3)).tolist()) for name in long_names(layers)
        }
        for i in range(num)
    }


def over_epochs(epochs: int, layers: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    low, mean, high = np.sort(np.random.default_rng(0).uniform(0, 1, (3, epochs, layers)), axis=0)
    return mean, low, high


def outlines(figure: Figure, label: str) -> list[np.ndarray]:
    """Corners of each band, the closing one left out."""
    return [path.vertices[:-1] for path in drawn(figure, PolyCollection, label).get_paths()]


class TestDepth:
    @pytest.mark.parametrize("num", [1, 2, 6])
    @pytest.mark.parametrize("layers", [1, 3, 60])
    def test_texts_neither_overlap_nor_leave_the_figure(self, num: int, layers: int) -> None:
        assert_legible(separation_bands(curves(num, layers), title="a title " * 30, band="an interval " * 9))
        assert_legible(separation_bands(curves(num, layers), title="title"))

    def test_equal_ends_are_moved_apart(self) -> None:
        for end in (-0.1, 1.0, np.nan):
            assert_legible(separation_bands({str(i): {"a": (0, 0.5, 1), "b": (0, end, 1)} for i in range(6)}))

    def test_bands_reach_from_the_lowest_to_the_highest(self) -> None:
        given = curves(3, 5)
        figure = separation_bands(given, band="hardest to easiest pair")
        assert texts(figure, "epoch") == shorten(given)
        assert [t.get_text() for t in figure.axes[1].texts] == ["hardest to easiest pair"]
        for i, of_layer in enumerate(given.values()):
            low, mean, high = np.array(list(of_layer.values())).T
            np.testing.assert_array_equal(curve(figure, i), mean)
            (band,) = outlines(figure, f"band {i}")
            np.testing.assert_allclose(band[:5, 1], low)
            np.testing.assert_allclose(band[5:, 1], high[::-1])

    def test_runs_differ_in_colour_and_shape(self) -> None:
        lines = separation_bands(curves(6, 2)).axes[0].lines
        assert len({line.get_color() for line in lines}) == len({line.get_marker() for line in lines}) == 6

    def test_layers_of_all_curves_stand_in_order_and_missing_ones_are_gaps(self) -> None:
        some: Curves = {
            "one": {"a": (0.0, 0.1, 0.2), "c": (0.1, 0.2, 0.3), "d": (0.1, 0.3, 0.5)},
            "two": {"a": (0.0, 0.1, 0.2), "b": (0.1, 0.2, 0.3), "c": (np.nan, np.nan, np.nan), "d": (0.1, 0.3, 0.5)},
        }
        figure = separation_bands(some)
        assert texts(figure, "column") == ["a", "b", "c", "d"]
        np.testing.assert_array_equal(curve(figure, 0), [0.1, np.nan, 0.2, 0.3])
        assert [len(band) for band in outlines(figure, "band 0")] == [4, 4]  # "a" alone is a bar
        bar = outlines(figure, "band 0")[0]
        assert np.ptp(bar[:, 0]) > 0
        np.testing.assert_allclose([bar[:, 1].min(), bar[:, 1].max()], [0.0, 0.2])

    def test_bars_of_a_single_layer_stand_beside_each_other_and_are_joined_to_their_names(self) -> None:
        figure = separation_bands(curves(3, 1))
        reach = [(band[:, 0].min(), band[:, 0].max()) for i in range(3) for band in outlines(figure, f"band {i}")]
        assert reach[0][1] < reach[1][0]
        assert reach[1][1] < reach[2][0]
        joints = [c for c in figure.axes[0].collections if isinstance(c, LineCollection)][-1].get_segments()
        for joint, line in zip(joints, figure.axes[0].lines, strict=True):
            np.testing.assert_allclose(joint[0], [line.get_xdata()[0], line.get_ydata()[0]])

    def test_the_scale_is_the_same_in_every_figure(self) -> None:
        for value in (-5.0, 0.5):
            figure = separation_bands({"a": {"x": (value, value, value)}}, value="what it is")
            assert figure.axes[0].get_ylim() == (-0.1, 1.02)
            assert texts(figure, "up") == ["what it is"]

    def test_what_raises(self) -> None:
        for wrong in ({}, {"a": {}}, curves(7, 1)):
            with pytest.raises(ValueError, match=f"not {len(wrong)}"):
                separation_bands(wrong)


def panel_values(figure: Figure, pixels: np.ndarray) -> np.ndarray:
    """Heights in a single panel, as values."""
    return on_scale(figure, "row", 1, pixels)


class TestOverEpochs:
    @pytest.mark.parametrize("epochs, layers", [(1, 1), (2, 2), (30, 1), (12, 4), (200, 60)])
    def test_texts_neither_overlap_nor_leave_the_figure(self, epochs: int, layers: int) -> None:
        mean, low, high = over_epochs(epochs, layers)
        labels = ["before training", *range(epochs - 1)]
        assert_legible(separation_over_epochs(mean, low, high, long_names(layers), labels, title="a title " * 30))
        names = [f"checkpoint number {i}" for i in range(epochs)]
        assert_legible(bayes_error_epochs(low, high, long_names(layers), names, chance=0.9, title="a title " * 30))

    def test_a_line_with_its_band_is_in_each_panel(self) -> None:
        mean, low, high = over_epochs(6, 1)
        figure = separation_over_epochs(mean, low, high, ["fc"], range(6), band="what it is")
        assert texts(figure, "legend") == ["mean over class pairs", "what it is"]
        (line,) = figure.axes[0].lines
        np.testing.assert_allclose(panel_values(figure, line.get_ydata()), mean[:, 0], atol=1e-9)
        (band,) = outlines(figure, "band")
        np.testing.assert_allclose(panel_values(figure, band[:6, 1]), low[:, 0], atol=1e-9)
        np.testing.assert_allclose(panel_values(figure, band[6:, 1]), high[::-1, 0], atol=1e-9)
        assert (np.diff(line.get_xdata()) > 0).all()

    def test_epochs_stand_above_their_labels(self) -> None:
        mean, low, high = over_epochs(5, 1)
        figure = separation_over_epochs(mean, low, high, ["fc"], ["before", 0, 1, 2, 3])
        at = [t.get_position()[0] for t in figure.axes[0].texts if t.get_label() == "column"]
        assert texts(figure, "column") == ["before", "0", "1", "2", "3"]
        np.testing.assert_allclose(figure.axes[0].lines[0].get_xdata(), at)

    def test_panels_are_the_layers_in_order_of_many_twelve(self) -> None:
        assert texts(separation_over_epochs(*over_epochs(2, 3), ["a", "b", "c"], [0, 1]), "panel") == ["a", "b", "c"]
        names = [f"layer{i}" for i in range(60)]
        figure = separation_over_epochs(*over_epochs(3, 60), names, range(3), title="a run")
        assert title(figure) == "a run\n12 of 60 layers, evenly spaced"
        panels = texts(figure, "panel")
        assert (len(panels), panels[0], panels[-1]) == (12, "layer0", "layer59")

    def test_missing_epochs_are_gaps_and_what_is_alone_is_marked(self) -> None:
        mean, low, high = over_epochs(40, 1)
        for part in (mean, low, high):
            part[[10, 12]] = np.nan
        figure = separation_over_epochs(mean, low, high, ["fc"], range(40))
        assert [len(band) for band in outlines(figure, "band")] == [20, 4, 54]
        (dots,) = [c for c in figure.axes[0].collections if c.get_label().startswith("_")][-1:]
        assert len(dots.get_offsets()) == 1
        np.testing.assert_allclose(dots.get_offsets()[0, 0], figure.axes[0].lines[0].get_xdata()[11])

    @pytest.mark.parametrize("draw", ["separation", "bayes"])
    def test_nothing_known_is_drawn_all_the_same(self, draw: str) -> None:
        none = np.full((3, 2), np.nan)
        if draw == "separation":
            figure = separation_over_epochs(none, none, none, ["a", "b"], range(3))
        else:
            figure = bayes_error_epochs(none, none, ["a", "b"], range(3))
        assert_legible(figure)
        assert outlines(figure, "band") == []


class TestBayesError:
    def test_the_band_lies_between_the_bounds_on_a_scale_from_zero(self) -> None:
        lower = np.array([[0.3], [0.2], [0.05]])
        figure = bayes_error_epochs(lower, 1.5 * lower, ["fc"], range(3))
        (band,) = outlines(figure, "band")
        np.testing.assert_allclose(panel_values(figure, band[:3, 1]), lower[:, 0], atol=1e-9)
        np.testing.assert_allclose(panel_values(figure, band[3:, 1]), 1.5 * lower[::-1, 0], atol=1e-9)
        assert texts(figure, "row")[0] == "0"

    def test_chance_is_a_line_and_ends_the_scale(self) -> None:
        small = bayes_error_epochs(np.full((2, 1), 0.01), np.full((2, 1), 0.02), ["fc"], range(2), chance=0.9)
        (level,) = drawn(small, LineCollection, "chance").get_segments()
        np.testing.assert_allclose(panel_values(small, level[:, 1]), 0.9, atol=1e-9)
        large = bayes_error_epochs(np.full((2, 1), 0.5), np.full((2, 1), 0.9), ["fc"], range(2), chance=0.9)
        assert texts(small, "row") == texts(large, "row")
        assert "chance: 0.9" in texts(small, "legend")

    def test_no_error_at_all_is_drawn(self) -> None:
        zeros = np.zeros((2, 1))
        assert_legible(bayes_error_epochs(zeros, zeros, ["fc"], range(2)))
        assert_legible(bayes_error_epochs(zeros, zeros, ["fc"], range(2), chance=0.0))


def test_what_raises() -> None:
    two, three = np.zeros((2, 1)), np.zeros((3, 1))
    with pytest.raises(ValueError, match=r"\[2 epochs, 1 layers\]"):
        separation_over_epochs(two, three, two, ["a"], range(2))
    with pytest.raises(ValueError, match="at least one"):
        bayes_error_epochs(np.zeros((0, 1)), np.zeros((0, 1)), ["a"], [])
    with pytest.raises(ValueError, match="between 0 and 1"):
        bayes_error_epochs(two - 0.1, two, ["a"], range(2))
    with pytest.raises(ValueError, match="between 0 and 1"):
        bayes_error_epochs(two, two, ["a"], range(2), chance=1.5)
    with pytest.raises(ValueError, match="above the upper"):
        bayes_error_epochs(two + 0.2, two + 0.1, ["a"], range(2))
