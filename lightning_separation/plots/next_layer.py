"""What the layers behind lose with units of a layer: a number for each pair, removed from x measured in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from numpy.typing import NDArray

from . import _layout as layout
from ._layout import GAP, SMALL, TEXT
from ._text import write

_LIMIT = 0.5
_MOST_VALUES = 120
_BETWEEN = 28.0  # pixels from one panel to the next


def follower_heatmap(
    panels: Mapping[str, Mapping[str, Mapping[str, float]]],
    followers: Sequence[str],
    *,
    title: str = "",
    value: str = "change of separation",
    signed: bool = True,
) -> Figure:
    """What becomes of the layers behind when units of a layer are removed: a row for each layer, a column behind.

    Blue is below zero: the classes are less separated there; red above. Zero is white and the colours mean the same in
    every figure, −0.5 to 0.5; beyond they are those of the ends. The panels stand side by side. Where a layer is not
    behind, nothing is drawn; cells behind without a value are hatched. Equal input gives equal figures.

    Args:
        panels: What was removed -> layer it was removed from -> layer behind -> value; NaN means no value. All have the
            same layers.
        followers: The layers behind, in order of execution.
        title: Title of the figure.
        value: What the values are, for the colour scale.
        signed: Whether they can be below zero; otherwise the colour scale begins there.

    Returns:
        A figure without a canvas; its first axes are the heatmaps, its second the colour scale.

    Raises:
        ValueError: If there is no panel, layer or follower, the panels' layers differ, or a layer behind is unknown.

    Example:
        >>> panels = {"without significant": {"fc1": {"fc2": -0.3, "fc3": -0.1}, "fc2": {"fc3": -0.2}}}
        >>> figure = follower_heatmap(panels, ["fc2", "fc3"])
        >>> [text.get_text() for text in figure.axes[0].texts if text.get_label() == "value"]
        ['−0.30', '−0.10', '−0.20']
    """
    rows = list(next(iter(panels.values()), {}))
    if not rows or not followers or any(list(panel) != rows for panel in panels.values()):
        raise ValueError(f"there are {len(panels)} panels and {len(followers)} followers, with layers {rows}")
    values = np.full((len(panels), len(rows), len(followers)), np.nan)
    behind = np.zeros(values.shape, bool)
    for i, panel in enumerate(panels.values()):
        for j, (layer, found) in enumerate(panel.items()):
            if unknown := found.keys() - set(followers):
                raise ValueError(f"unknown layers {sorted(unknown)} behind {layer!r}")
            for k, follower in enumerate(followers):
                if follower in found:
                    values[i, j, k], behind[i, j, k] = found[follower], True
    values[np.isinf(values)] = np.nan
    names = layout.shorten(rows), layout.shorten(followers, most=20)
    with matplotlib.rc_context(layout.STYLE):
        return _draw(values, behind, list(panels), *names, [title] if title else [], value, signed)


def _draw(
    values: NDArray[np.float64],
    behind: NDArray[np.bool_],
    panels: Sequence[str],
    layers: Sequence[str],
    followers: Sequence[str],
    lines: Sequence[str],
    value: str,
    signed: bool,
) -> Figure:
    num, rows, columns = values.shape
    cell_width = max(min(640 / num / columns, 64.0), 4.2)
    wide = layout.text_width(followers)
    if wide + GAP <= max(760 / num / columns, cell_width):  # then the names can lie
        cell_width = max(cell_width, wide + GAP)
    cell_width = max(cell_width, (layout.text_width(panels, weight="bold") + GAP) / columns)
    upright = wide + GAP > cell_width
    if upright:
        wide = layout.text_width(followers, layout.thinned(followers, 0.5, cell_width)[1])
    cell_height = max(min(600 / rows, 40.0), 110 / rows, 6.0)
    inner, height = columns * cell_width, rows * cell_height
    strip_height = min(max(height, 190), 240)
    labels, size = layout.thinned(layers, 0.5, cell_height)
    begin = GAP + layout.line_height(TEXT)
    left = begin + 2 * GAP + layout.text_width(labels.values(), size)
    top = layout.title_height(lines) + layout.line_height(TEXT) + GAP / 2
    width = num * inner + (num - 1) * _BETWEEN
    ends = {0.5: "0", 1.0: f"≥ {layout.number(_LIMIT)}"}
    ends = {0.0: f"≤ {layout.number(-_LIMIT)}", **ends} if signed else {0.0: "0", 1.0: ends[1.0]}
    right = 6 * GAP + 14 + layout.text_width(ends.values()) + layout.line_height(TEXT)
    down = 2 * GAP + (wide if upright else layout.pixels(TEXT))
    below = down + layout.line_height(TEXT) + GAP
    figure = layout.new_figure(
        max(left + width + right, layout.title_width(lines)), top + max(height + below, strip_height + 60)
    )

    axes = layout.add_axes(figure, left, top, width, height)
    colors = matplotlib.colormaps[layout.DIVERGING]
    step = columns + _BETWEEN / cell_width
    digits = np.where(
        np.isnan(values), "", [[[layout.number(x, ".2f") for x in row] for row in panel] for panel in values]
    )
    text_width = layout.text_width(["−0.00"], SMALL) + 4
    written = values[behind].size <= _MOST_VALUES and cell_width >= layout.pixels(SMALL)
    narrow = cell_width < text_width
    written = written and cell_height >= (text_width if narrow else layout.pixels(SMALL))
    missing = []
    for i, panel in enumerate(values):
        x = i * step
        axes.imshow(
            np.ma.masked_invalid(panel),
            cmap=colors,
            vmin=-_LIMIT,
            vmax=_LIMIT,
            aspect="auto",
            interpolation="none",
            extent=(x, x + columns, rows, 0),
        )
        names, column_size = layout.thinned(followers, x + 0.5, cell_width)
        layout.label_columns(axes, names, column_size, upright=upright)
        settings = {"label": "panel", "transform": axes.get_xaxis_transform(), "ha": "center", "va": "bottom"}
        write(axes, x + columns / 2, 1 + GAP / 2 / height, panels[i], weight="bold", fontsize=TEXT, **settings)
        if written:
            layout.write_values(axes, digits[i], colors(panel / (2 * _LIMIT) + 0.5), left=x, upright=narrow)
        missing += [_cell(x + k, j) for j, k in np.argwhere(behind[i] & np.isnan(panel)).tolist()]
    axes.set(xlim=(0, (num - 1) * step + columns), ylim=(rows, 0))
    around = [_cell(i * step + k, j) for i, j, k in np.argwhere(behind).tolist()]
    grey = "#b4b4b4" if min(cell_width, cell_height) >= 15 else "#e4e4e4"
    frames = PolyCollection(around, facecolors="none", edgecolors=grey, linewidths=0.6, clip_on=False, label="behind")
    axes.add_collection(frames, autolim=False)
    layout.label_rows(axes, labels, size)
    settings = {"transform": axes.transAxes, "fontsize": TEXT}
    write(axes, (GAP - left) / width, 0.5, "removed from", label="up", rotation=90, ha="left", va="center", **settings)
    write(axes, 0.5, -down / height, "layer behind", label="across", ha="center", va="top", **settings)
    layout.add_title(axes, lines, left)
    at, _ = axes.title.get_position()
    axes.title.set_position((at, 1 + (2 * GAP + layout.line_height(TEXT)) / height))

    strip = layout.add_axes(figure, left + width + 2 * GAP, top, 14, strip_height)
    layout.color_strip(strip, colors(np.linspace(0 if signed else 0.5, 1, 65)), ends)
    beside = 1 + (2 * GAP + layout.text_width(ends.values())) / 14
    write(strip, beside, 0.5, layout.fitted(value, strip_height), rotation=90, va="center", fontsize=TEXT)
    if missing:
        axes.add_collection(PolyCollection(missing, linewidths=0, **layout.HATCHED), autolim=False)
        write(strip, 0, -2 * GAP / strip_height, "hatched:\nno value", va="top", fontsize=SMALL)
    return figure


def _cell(x: float, y: float) -> list[tuple[float, float]]:
    return [(x, y), (x + 1, y), (x + 1, y + 1), (x, y + 1)]
