"""Axes from the first layer to the last, with separation from chance to 1: what the figures along the depth share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from numpy.typing import NDArray

from . import _layout as layout
from ._layout import FAINT, GAP, PALE, TEXT
from ._panels import Key, add_keys, place_keys
from ._text import write

RANGE = (-0.1, 1.02)


def draw_depth(
    layers: Sequence[str],
    names: Sequence[str],
    *,
    value: str,
    lines: Sequence[str],
    keys: Sequence[Key] = (),
    beside: float = 0.0,
) -> tuple[Figure, Axes]:
    """A figure with axes for curves, the layers at 0, 1, ... and values in ``RANGE``.

    Args:
        layers: Names of the layers, shortened; they are thinned where there is no room.
        names: Names of curves, for which there is room at the right.
        value: What the values are.
        lines: The title.
        keys: What the marks mean.
        beside: Pixels to leave at the right of the names.

    Returns:
        The figure, and its first axes.
    """
    depth = len(layers)
    width, height = min(max(75.0 * depth, 400), 1040), 340.0
    margin = 2 * GAP if depth > 1 else width / 2
    spacing = (width - 2 * margin) / (depth - 1) if depth > 1 else width
    column_labels, column_size = layout.thinned(layers, 0, spacing)
    layer_width = layout.text_width(layers, column_size)
    upright = layer_width + GAP > spacing
    left, right = 128.0, 5 * GAP + layout.text_width(names, weight="bold")
    room = left + width + right + beside
    places, keys_height = place_keys(keys, room)
    above = layout.title_height(lines)
    top = above + keys_height
    below = 3 * GAP + (layer_width if upright else layout.pixels(TEXT))
    figure = layout.new_figure(room, top + height + below)

    axes = layout.add_axes(figure, left, top, width, height)
    axes.set(xlim=(-margin / spacing, depth - 1 + margin / spacing), ylim=RANGE)
    _add_guides(axes, depth)
    layout.label_columns(axes, column_labels, column_size, upright=upright)
    told = layout.shorten([value], most=44)[0]
    settings: dict[str, Any] = {"transform": axes.transAxes, "rotation": 90, "ha": "center", "va": "center"}
    write(axes, (2 * GAP - left) / width, 0.5, told, label="up", fontsize=TEXT, **settings)
    if keys:
        canvas = layout.add_canvas(figure, above)
        add_keys(canvas, keys, places)
        layout.add_title(canvas, lines, 0)
    else:
        layout.add_title(axes, lines, left)
    return figure, axes


def _add_guides(axes: Axes, depth: int) -> None:
    """Pale lines at the layers and at round values, stronger ones at chance and at full separation."""
    labels = {0.0: "chance  0", 0.25: "0.25", 0.5: "0.5", 0.75: "0.75", 1.0: "1"}
    layout.label_rows(axes, labels, TEXT)
    left, right = axes.get_xlim()
    lines = [[(float(layer), RANGE[0]), (float(layer), RANGE[1])] for layer in range(depth)]
    lines += [[(left, y), (right, y)] for y in labels]
    colors = [PALE] * depth + [FAINT if y in (0, 1) else PALE for y in labels]
    axes.add_collection(LineCollection(lines, colors=colors, linewidths=1, zorder=0), autolim=False)


def name_curves(
    axes: Axes,
    values: NDArray[np.float64],
    colors: NDArray[np.float64],
    names: Sequence[str],
    *,
    bold: Iterable[int] = (),
    width: float = 1.0,
    shifts: Sequence[float] | None = None,
) -> None:
    """Names at the right of the axes, each joined to its curve if that gets so far.

    Args:
        axes: Axes of ``draw_depth``.
        values: ``[N, layers]``.
        colors: ``[N, 4]``.
        names: The N names.
        bold: Numbers of the names that stand out.
        width: Of the joining lines, in points.
        shifts: How far right of its layers each curve is drawn; not at all if not given.
    """
    depth = values.shape[1]
    low, high = axes.get_xlim()
    gap = (high - low) * GAP / axes.bbox.width
    line = (RANGE[1] - RANGE[0]) * layout.line_height(TEXT) / axes.bbox.height
    known = np.isfinite(values)
    last = depth - 1 - known[:, ::-1].argmax(1)
    ends = np.where(known.any(1), values[np.arange(len(values)), last], 0.0).clip(*RANGE)
    joints = []
    for i, (end, at) in enumerate(zip(ends, layout.spread(ends, line, *RANGE), strict=True)):
        start = (depth - 1 + (shifts[i] if shifts else 0.0), end) if known[i, -1] else (high + gap, at)
        joints.append([start, (high + 3 * gap, at)])
        weight = "bold" if i in bold else "normal"
        write(axes, high + 3.5 * gap, at, names[i], label="epoch", va="center", fontsize=TEXT, weight=weight)
    axes.add_collection(LineCollection(joints, colors=colors, linewidths=width, clip_on=False), autolim=False)


def band_shapes(
    x: NDArray[Any], low: NDArray[np.float64], high: NDArray[np.float64], half: float
) -> list[NDArray[np.float64]]:
    """The outlines of a band, one for each stretch without gaps; a place alone becomes a bar of twice ``half``."""
    known = np.flatnonzero(np.isfinite(low) & np.isfinite(high))
    shapes = []
    for stretch in np.split(known, np.flatnonzero(np.diff(known) > 1) + 1):
        if len(stretch) == 1:
            stretch = np.repeat(stretch, 2)
            places = x[stretch] + (-half, half)
        else:
            places = x[stretch].astype(np.float64)
        if len(stretch):
            across = np.concatenate([places, places[::-1]])
            shapes.append(np.stack([across, np.concatenate([low[stretch], high[stretch][::-1]])], axis=1))
    return shapes
