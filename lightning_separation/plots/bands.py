"""Lines with bands: separation along the depth and over the epochs, and between what bounds the Bayes error lies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from . import _layout as layout
from ._colors import CATEGORIES, SHAPES
from ._depth import RANGE, band_shapes, draw_depth, name_curves
from ._labels import epoch_labels, evenly_chosen, merged
from ._layout import INK, SMALL
from ._panels import BLUE, GREY, ORANGE, Key, Panels, draw_panels

_MOST_CURVES = 6
_MOST_PANELS = 12
_MOST_DOTS = 20  # epochs; of more only those without neighbours are marked
_INSET = 0.06  # of a panel's width, before its first epoch and behind its last
_PALE_BLUE, _PALE_ORANGE = "#b3d4e8", "#f4c8a8"


def separation_bands(
    curves: Mapping[str, Mapping[str, tuple[float, float, float]]],
    *,
    title: str = "",
    band: str = "",
    value: str = "mean separation over class pairs",
) -> Figure:
    """Separation along the depth of the network with a band round it, for a few runs or states of one network.

    The y axis is the same in every figure. Layers without a value leave a gap. Equal input gives equal figures.

    Args:
        curves: Name of a run, or a label such as "before" -> layer -> lowest, mean and highest value, NaN for none; one
            to six. Layers in order of execution; they need not be the same in all curves.
        title: Title of the figure.
        band: What the band is, such as "hardest to easiest pair".
        value: What the values are, for the y axis.

    Returns:
        A figure without a canvas; the lines are in its first axes, one for each curve, in order.

    Raises:
        ValueError: If there is no curve or no layer, or there are more than six curves.

    Example:
        >>> curves = {"small": {"fc": (0.1, 0.3, 0.5)}, "wide": {"fc": (0.3, 0.5, 0.9)}}
        >>> figure = separation_bands(curves, band="hardest to easiest pair")
        >>> [text.get_text() for text in figure.axes[0].texts if text.get_label() == "epoch"]
        ['small', 'wide']
    """
    layers = merged([list(curve) for curve in curves.values()])
    if not layers or len(curves) > _MOST_CURVES:
        raise ValueError(f"one to {_MOST_CURVES} curves with layers are needed, not {len(curves)}")
    missing = (np.nan, np.nan, np.nan)
    found = np.array([[curve.get(layer, missing) for layer in layers] for curve in curves.values()], dtype=np.float64)
    found[np.isinf(found)] = np.nan
    keys = [Key(band, GREY, "s")] if band else []
    with matplotlib.rc_context(layout.STYLE):
        names, lines = layout.shorten(curves), [title] if title else []
        figure, axes = draw_depth(layout.shorten(layers), names, value=value, lines=lines, keys=keys)
        pixel = np.ptp(axes.get_xlim()) / axes.bbox.width
        apart = 14 * pixel if len(layers) == 1 else 0.0  # so that bars of one layer do not hide each other
        shifts = [apart * (i - (len(found) - 1) / 2) for i in range(len(found))]
        for i, (low, mean, high) in enumerate(found.transpose(0, 2, 1)):
            color = CATEGORIES[i]
            x = np.arange(len(layers)) + shifts[i]
            shapes = band_shapes(x, low.clip(*RANGE), high.clip(*RANGE), 4 * pixel)
            faces: dict[str, Any] = {
                "facecolors": [to_rgba(color, 0.3 / (1 + len(found)))],
                "edgecolors": [to_rgba(color, 0.7)],
            }
            bands = PolyCollection(shapes, **faces, linewidths=1, zorder=1, label=f"band {i}")
            axes.add_collection(bands, autolim=False)
            line = Line2D(x, mean, color=color, linewidth=2.4, zorder=3)
            line.set(marker=SHAPES[i], markersize=7, markeredgecolor="white")
            axes.add_line(line)
        colors = np.array([to_rgba(color) for color in CATEGORIES[: len(names)]])
        name_curves(axes, found[:, :, 1], colors, names, width=2.4, shifts=shifts)
    return figure


def separation_over_epochs(
    mean: NDArray[np.floating],
    low: NDArray[np.floating],
    high: NDArray[np.floating],
    layers: Sequence[str],
    epochs: Sequence[str | int],
    *,
    title: str = "",
    band: str = "95% interval over classes",
) -> Figure:
    """Separation over the epochs with its uncertainty, a panel for each layer.

    The y axis is the same in every panel and figure. Of more than twelve layers twelve are shown, evenly spaced from
    first to last. Epochs without a value leave a gap. Equal input gives equal figures.

    Args:
        mean: ``[E, L]``, NaN for no value.
        low: ``[E, L]``, the lower end of the band.
        high: ``[E, L]``, its upper end.
        layers: The L layers in order of execution.
        epochs: The E epochs from early to late, numbers or labels such as "before".
        title: Title of the figure.
        band: What the band is.

    Returns:
        A figure without a canvas, with one axes whose unit is the pixel.

    Raises:
        ValueError: If a shape is not ``[E, L]`` with at least one epoch and layer.

    Example:
        >>> import numpy as np
        >>> mean = np.array([[0.2, 0.3], [0.4, 0.6]])
        >>> figure = separation_over_epochs(mean, mean - 0.1, mean + 0.1, ["input", "fc"], ["before", 0])
        >>> [text.get_text() for text in figure.axes[0].texts if text.get_label() == "panel"]
        ['input', 'fc']
    """
    found = _found([mean, low, high], layers, epochs)
    chosen, lines = evenly_chosen(len(layers), _MOST_PANELS, title)
    keys = [Key("mean over class pairs", BLUE, "-"), Key(band, _PALE_BLUE, "s")]
    with matplotlib.rc_context(layout.STYLE):
        figure, panels, x = _panels(layers, epochs, chosen, RANGE, "separation", keys, lines)
        _add_bands(panels, x, found[1][:, chosen], found[2][:, chosen], _PALE_BLUE)
        _add_lines(panels, x, found[0][:, chosen], BLUE)
    return figure


def bayes_error_epochs(
    lower: NDArray[np.floating],
    upper: NDArray[np.floating],
    layers: Sequence[str],
    epochs: Sequence[str | int],
    *,
    chance: float | None = None,
    title: str = "",
) -> Figure:
    """Between what bounds the error of the best classifier lies, over the epochs, a panel for each layer.

    The y axis shows zero and is the same in all panels; with ``chance`` it also is in the figures of other runs
    with as many classes. Of more than twelve layers twelve are shown, evenly spaced from first to last. Epochs without
    a value leave a gap. Equal input gives equal figures.

    Args:
        lower: ``[E, L]``, lower bound of the Bayes error, 0 to 1, NaN for no value.
        upper: ``[E, L]``, its upper bound.
        layers: The L layers in order of execution.
        epochs: The E epochs from early to late, numbers or labels such as "before".
        chance: The error of guessing, (K - 1) / K for K classes of equal size; a dashed line.
        title: Title of the figure.

    Returns:
        A figure without a canvas, with one axes whose unit is the pixel.

    Raises:
        ValueError: If a shape is not ``[E, L]`` with at least one epoch and layer, an error is not between 0 and 1, or
            a lower bound is above the upper one.

    Example:
        >>> import numpy as np
        >>> lower = np.array([[0.2], [0.1]])
        >>> figure = bayes_error_epochs(lower, 2 * lower, ["fc"], ["before", 0], chance=0.5)
        >>> [text.get_text() for text in figure.axes[0].texts if text.get_label() == "legend"]
        ['between the bounds of the Bayes error', 'chance: 0.5']
    """
    found = _found([lower, upper], layers, epochs)
    if ((found < 0) | (found > 1)).any() or (chance is not None and not 0 <= chance <= 1):
        raise ValueError("errors and chance must be between 0 and 1")
    if (found[0] > found[1] + 1e-9).any():
        raise ValueError("a lower bound is above the upper one")
    chosen, lines = evenly_chosen(len(layers), _MOST_PANELS, title)
    keys = [Key("between the bounds of the Bayes error", _PALE_ORANGE, "s")]
    largest = max(np.nanmax(found, initial=0.0), chance or 0.0) or 1.0
    if chance is not None:
        keys.append(Key(f"chance: {layout.number(chance)}", INK, "--"))
    with matplotlib.rc_context(layout.STYLE):
        figure, panels, x = _panels(
            layers, epochs, chosen, (-0.06 * largest, 1.06 * largest), "Bayes error", keys, lines
        )
        _add_bands(panels, x, found[0][:, chosen], found[1][:, chosen], _PALE_ORANGE)
        for bound in found[:, :, chosen]:
            _add_lines(panels, x, bound, ORANGE)
        if chance is not None:
            level = [[(panels.x(i, 0.0), y), (panels.x(i, 1.0), y)] for i, y in enumerate(_heights(panels, chance))]
            dashed = LineCollection(level, colors=INK, linewidths=1.6, linestyles="--", zorder=4, label="chance")
            panels.axes.add_collection(dashed, autolim=False)
    return figure


def _found(
    parts: Sequence[NDArray[np.floating]], layers: Sequence[str], epochs: Sequence[str | int]
) -> NDArray[np.float64]:
    """``[parts, E, L]``, NaN where there is no value."""
    for part in parts:
        if np.shape(part) != (len(epochs), len(layers)) or not np.size(part):
            raise ValueError(
                f"values must be [{len(epochs)} epochs, {len(layers)} layers], at least one of each, not "
                f"{list(np.shape(part))}"
            )
    found = np.array(parts, dtype=np.float64)
    found[np.isinf(found)] = np.nan
    return found


def _panels(
    layers: Sequence[str],
    epochs: Sequence[str | int],
    chosen: Sequence[int],
    scale: tuple[float, float],
    label: str,
    keys: Sequence[Key],
    lines: Sequence[str],
) -> tuple[Figure, Panels, NDArray[np.float64]]:
    """Panels for the chosen layers, and the places of the epochs in each, from 0 to 1."""
    num = len(epochs)
    places = np.linspace(_INSET, 1 - _INSET, num) if num > 1 else np.array([0.5])
    width = 640.0 if len(chosen) == 1 else 290.0
    labels = epoch_labels(epochs, width * (1 - 2 * _INSET) / max(num - 1, 1), SMALL, most=9)
    names = layout.shorten([layers[i] for i in chosen], most=30)
    figure, panels = draw_panels(
        names,
        [""] * len(names),
        [scale] * len(names),
        across={places[i].item(): text for i, text in labels.items()},
        labels=("epoch" if any(isinstance(epoch, int | np.integer) for epoch in epochs) else "", label),
        keys=keys,
        lines=lines,
    )
    return figure, panels, places


def _heights(panels: Panels, value: float) -> list[float]:
    return [float(panels.y(i, value)) for i in range(len(panels.left))]


def _add_bands(
    panels: Panels, x: NDArray[np.float64], low: NDArray[np.float64], high: NDArray[np.float64], color: str
) -> None:
    """A band in each panel, between ``[E, P]`` and ``[E, P]``."""
    shapes = []
    for i, scale in enumerate(panels.scales):
        ends = panels.y(i, low[:, i].clip(*scale)), panels.y(i, high[:, i].clip(*scale))
        shapes += band_shapes(panels.x(i, x), *ends, 4.0)
    bands = PolyCollection(shapes, facecolors=color, linewidths=0, zorder=1, label="band")
    panels.axes.add_collection(bands, autolim=False)


def _add_lines(panels: Panels, x: NDArray[np.float64], values: NDArray[np.float64], color: str) -> None:
    """A line in each panel, ``[E, P]``, with dots where they are few and where both neighbours are missing."""
    known = np.pad(np.isfinite(values), ((1, 1), (0, 0)))
    dotted = known[1:-1] & (np.full(values.shape, len(x) <= _MOST_DOTS) | (~known[:-2] & ~known[2:]))
    for i, scale in enumerate(panels.scales):
        places, heights = panels.x(i, x), panels.y(i, values[:, i].clip(*scale))
        panels.axes.add_line(Line2D(places, heights, color=color, linewidth=2, zorder=3))
        dots = dotted[:, i]
        panels.axes.scatter(places[dots], heights[dots], s=16, c=color, linewidths=0, zorder=3)
