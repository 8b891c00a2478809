"""What the figure of single units that are removed shows."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from lightning_separation.plots import unit_ablation
from tests.plots.test_henze_penrose import assert_legible, texts, title


def losses(num: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.exponential(0.05, num) ** 1.5 - rng.exponential(0.004, num)


def bars(figure: Figure) -> LineCollection:
    return next(c for c in figure.axes[0].collections if c.get_label() == "bars")


def heights(figure: Figure) -> np.ndarray:
    """In pixels, upward."""
    return np.array([start[1] - end[1] for start, end in bars(figure).get_segments()])


@pytest.mark.parametrize("num", [0, 1, 2, 7, 42, 43, 128, 4096])
@pytest.mark.parametrize("scale", [1e-300, 1e-6, 1.0, 1e5])
def test_texts_neither_overlap_nor_leave_the_figure(num: int, scale: float) -> None:
    loss, exact = scale * losses(num), np.arange(num) % 2 == 0
    assert_legible(unit_ablation(loss, exact, title="a title " * 30, notes=["with all units: loss 0.4"], most_named=20))


def test_bars_stand_from_the_most_needed_down_and_are_as_high_as_the_loss_changes() -> None:
    loss = np.array([0.1, -0.2, 0.4, np.nan, 0.0])
    figure = unit_ablation(loss, title="epoch 7")
    np.testing.assert_allclose(heights(figure) / heights(figure)[0], [1, 0.25, 0, -0.5], atol=1e-9)
    assert texts(figure, "column") == ["2", "0", "4", "1"]
    places = [segment[0][0] for segment in bars(figure).get_segments()]
    assert places == sorted(places)
    numbers = [text.get_position()[0] for text in figure.axes[0].texts if text.get_label() == "column"]
    np.testing.assert_allclose(numbers, places)
    assert title(figure) == "epoch 7\n1 of 5 units have no values"


def test_the_scale_fits_the_bars() -> None:
    figure = unit_ablation(np.array([0.4, -0.2]))
    at = {text.get_text(): text.get_position()[1] for text in figure.axes[0].texts if text.get_label() == "row"}
    (zero, top), (_, bottom) = (segment[:, 1] for segment in bars(figure).get_segments())
    assert at["0"] == pytest.approx(zero)
    assert at["0.4"] == pytest.approx(top)
    assert at["−0.2"] == pytest.approx(bottom)


def test_units_that_help_and_units_that_harm_have_colors_and_are_named() -> None:
    figure = unit_ablation(np.array([0.11, 0.3, -0.02, -0.01, 0.2]), most_named=2)
    assert texts(figure, "legend") == ["worse without: 1 (+0.3), 4 (+0.2)", "better without: 2 (−0.02), 3 (−0.01)"]
    colors = bars(figure).get_edgecolor()
    assert (colors[:3] == colors[0]).all()
    assert (colors[3:] == colors[3]).all()
    assert colors[0][0] > colors[0][2]  # orange
    assert colors[3][2] > colors[3][0]  # blue
    assert texts(unit_ablation(np.array([0.0])), "legend") == ["worse without: no unit", "better without: no unit"]


def test_estimates_are_paler_and_the_legend_says_so_only_then() -> None:
    loss = np.array([0.4, 0.3, -0.1, -0.2])
    figure = unit_ablation(loss, np.array([True, False, True, False]))
    brightness = bars(figure).get_edgecolor()[:, :3].mean(1)
    assert brightness[1] > brightness[0] + 0.2
    assert brightness[3] > brightness[2] + 0.2
    assert texts(figure, "legend")[2] == "paler: estimated, not exact (2 of 4)"
    assert texts(unit_ablation(loss, np.zeros(4, bool)), "legend")[2].endswith("(all)")
    assert len(texts(unit_ablation(loss, np.ones(4, bool)), "legend")) == 2


def test_one_unit_of_thousands_is_seen() -> None:
    loss = np.zeros(4096)
    loss[1234] = 1.0
    figure = unit_ablation(loss)
    assert texts(figure, "column") == []
    assert texts(figure, "across") == ["4096 units, most needed first"]
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    x, y = np.mean(bars(figure).get_segments()[0], axis=0)
    pixels = np.asarray(canvas.buffer_rgba())[:, :, :3].astype(int)
    row = round(canvas.figure.bbox.height - figure.axes[0].bbox.y1 + y)
    assert (pixels[row, round(x) - 2 : round(x) + 3].min(1) < 120).any()


@pytest.mark.parametrize("loss", [np.zeros(0), np.full(3, np.nan), np.array([np.inf, -np.inf])])
def test_without_values_it_says_so(loss: np.ndarray) -> None:
    assert texts(unit_ablation(loss), "empty") == ["no values"]


def test_equal_input_gives_equal_pixels() -> None:
    images = []
    for _ in range(2):
        canvas = FigureCanvasAgg(unit_ablation(losses(100)))
        canvas.draw()
        images.append(np.asarray(canvas.buffer_rgba()))
    np.testing.assert_array_equal(*images)


def test_what_raises() -> None:
    with pytest.raises(ValueError, match=r"not \[2, 2\]"):
        unit_ablation(np.zeros((2, 2)))
    with pytest.raises(ValueError, match=r"\[2\] and \[3\]"):
        unit_ablation(np.zeros(2), np.ones(3, bool))
    with pytest.raises(ValueError, match="most_named"):
        unit_ablation(np.zeros(2), most_named=0)
