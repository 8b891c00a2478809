"""What a group of units is worth: the accuracy without significant units and without as many others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from numpy.typing import NDArray

from . import _layout as layout
from ._layout import FAINT, GAP, INK, PALE, SMALL, TEXT
from ._panels import BLUE, MARK, ORANGE, Key, add_keys, add_points, place_keys
from ._text import write

_WIDTH = 480.0  # pixels from 0 to 100%


def group_accuracy(
    without_significant: Mapping[str, NDArray[np.floating]],
    without_others: Mapping[str, NDArray[np.floating]],
    clean: Mapping[str, float],
    *,
    title: str = "",
    others: str = "as many others",
) -> Figure:
    """The accuracy without groups of units, a row for each layer: every repeat as a point, the mean as a line.

    Orange, above: without significant units; blue, below: without as many others. The accuracy of the whole network is
    a dashed line. At the right stands how much more the significant units are worth: the difference of the means, in
    percentage points. Accuracies go from 0 to 100% in every figure. Equal input gives equal figures.

    Args:
        without_significant: Layer -> ``[repeats]``, from 0 to 1; layers in order of execution; NaN means no value.
        without_others: The same.
        clean: Layer -> accuracy with all units.
        title: Title of the figure.
        others: What the others are called in the legend.

    Returns:
        A figure without a canvas, with one axes whose unit is the pixel.

    Raises:
        ValueError: If there is no layer, the layers differ, or values are not ``[repeats]``.

    Example:
        >>> import numpy as np
        >>> figure = group_accuracy({"fc": np.array([0.4, 0.6])}, {"fc": np.array([0.8, 0.9])}, {"fc": 0.95})
        >>> [text.get_text() for text in figure.axes[0].texts if text.get_label() == "difference"]
        ['35 points']
    """
    if not without_significant or not without_significant.keys() == without_others.keys() == clean.keys():
        raise ValueError("without_significant, without_others and clean must have the same layers, at least one")
    pairs = []
    for layer, values in without_significant.items():
        pairs.append((np.asarray(values, np.float64), np.asarray(without_others[layer], np.float64)))
        if any(array.ndim != 1 for array in pairs[-1]):
            raise ValueError(f"accuracies of layer {layer!r} must be [repeats]")
    whole = np.array([float(clean[layer]) for layer in without_significant])
    with matplotlib.rc_context(layout.STYLE):
        return _draw(layout.shorten(without_significant), pairs, whole, [title] if title else [], others)


def _draw(
    layers: Sequence[str],
    pairs: Sequence[tuple[NDArray[np.float64], NDArray[np.float64]]],
    whole: NDArray[np.float64],
    lines: Sequence[str],
    others: str,
) -> Figure:
    num = len(layers)
    pitch = min(max(600.0 / num, 18.0), 56.0)
    means = np.array([[_mean(values) for values in pair] for pair in pairs])
    told = ["no value" if np.isnan(row).any() else f"{_points(row[1] - row[0])}" for row in means]
    heads = ["the significant are", "worth more by"]
    keys = [
        Key("without significant units", ORANGE, "o"),
        Key(f"without {others}", BLUE, "o"),
        Key("with all units", INK, "--"),
    ]
    size = TEXT if pitch >= layout.line_height(TEXT) else SMALL
    left = 2 * GAP + layout.text_width(layers, size) + 2 * GAP
    right = max(layout.text_width(told, weight="bold"), layout.text_width(heads, SMALL)) + 5 * GAP
    room = max(left + _WIDTH + right, layout.title_width(lines))
    places, keys_height = place_keys(keys, room)
    begin = keys_height + 2 * layout.line_height(SMALL) + GAP
    height = num * pitch

    top = layout.title_height(lines)
    figure = layout.new_figure(room, top + begin + height + 2 * layout.line_height(TEXT) + 2 * GAP)
    axes = layout.add_canvas(figure, top)
    layout.add_title(axes, lines, 0)
    add_keys(axes, keys, places)

    end = begin + height
    write(axes, left + _WIDTH + 3 * GAP, begin - GAP, "\n".join(heads), label="head", va="bottom", fontsize=SMALL)
    marks = np.linspace(0, 1, 5)
    grid = [[(left + _WIDTH * mark, begin), (left + _WIDTH * mark, end)] for mark in marks]
    rules = [[(left, begin + i * pitch), (left + _WIDTH, begin + i * pitch)] for i in range(num + 1)]
    axes.add_collection(LineCollection(grid, colors=PALE, linewidths=1, zorder=0), autolim=False)
    axes.add_collection(LineCollection(rules, colors=FAINT, linewidths=0.6, zorder=0.5), autolim=False)
    for mark in marks:
        settings = {"label": "column", "ha": "center", "va": "top", "fontsize": TEXT}
        write(axes, left + _WIDTH * mark, end + GAP / 2, f"{mark:.0%}", **settings)
    write(
        axes,
        left + _WIDTH / 2,
        end + GAP + layout.line_height(TEXT),
        "accuracy",
        label="across",
        ha="center",
        va="top",
        fontsize=TEXT,
    )
    middles = begin + pitch * (np.arange(num) + 0.5)
    for name, text, y in zip(layers, told, middles, strict=True):
        write(axes, left - GAP, y, name, label="row", ha="right", va="center", fontsize=size)
        write(axes, left + _WIDTH + 3 * GAP, y, text, label="difference", va="center", weight="bold", fontsize=size)
    levels = [
        [(left + _WIDTH * x, y - pitch / 2), (left + _WIDTH * x, y + pitch / 2)]
        for x, y in zip(whole, middles, strict=True)
        if np.isfinite(x)
    ]
    axes.add_collection(
        LineCollection(levels, colors=INK, linewidths=1.5, linestyles="--", label="all units"), autolim=False
    )
    for group, key in enumerate(keys[:2]):
        y = middles + (group - 0.5) * pitch * 0.44
        repeats = [pair[group][np.isfinite(pair[group])] for pair in pairs]
        points = [np.stack([left + _WIDTH * x, np.full(len(x), at)], 1) for x, at in zip(repeats, y, strict=True)]
        add_points(axes, points, key, s=MARK * min(pitch / 40, 1), alpha=0.5, label=key.text)
        x = left + _WIDTH * means[:, group]
        bars = [[(a, b - 0.19 * pitch), (a, b + 0.19 * pitch)] for a, b in zip(x, y, strict=True) if np.isfinite(a)]
        axes.add_collection(
            LineCollection(bars, colors=key.color, linewidths=3.5, zorder=3, label=key.text), autolim=False
        )
    return figure


def _mean(values: NDArray[np.float64]) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else np.nan


def _points(difference: float) -> str:
    """A difference of accuracies in percentage points.

    Example:
        >>> _points(0.352), _points(-0.0004), _points(0.012)
        ('35 points', '0.0 points', '1.2 points')
    """
    return f"{layout.number(100 * difference, '.0f' if abs(difference) >= 0.0995 else '.1f')} points"
