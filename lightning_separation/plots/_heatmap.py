"""Heatmaps with names at the left and below, and a scale of colours: what the figures of layers share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from . import _layout as layout
from ._layout import GAP, SMALL, TEXT
from ._text import write

_STRIP = 14  # pixels across


class Scale(NamedTuple):
    """What the colours mean.

    Attributes:
        colors: Name of a colour map.
        low: Value of its first colour; those below have it too.
        high: Value of its last colour.
        marks: Labels beside the colours, by their places from 0 to 1.
        label: What the values are, in one or two lines.
    """

    colors: str
    low: float
    high: float
    marks: Mapping[float, str]
    label: str

    def faces(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """The colours of values, ``[..., 4]``."""
        return np.asarray(matplotlib.colormaps[self.colors]((values - self.low) / (self.high - self.low)))


SEPARATION = Scale("viridis", 0.0, 1.0, {0.0: "≤ 0", 0.5: "0.5", 1.0: "1"}, "Henze–Penrose\ndivergence")


def two_digits(values: NDArray[np.float64]) -> NDArray[np.str_]:
    """Values as texts of the same shape, none for NaN."""
    texts = ["" if np.isnan(value) else layout.number(value, ".2f") for value in values.ravel().tolist()]
    return np.array(texts).reshape(values.shape)


def row_height(rows: int) -> float:
    """Pixels of each of so many rows: all have room for a name, unless they are very many."""
    return min(max(480 / rows, min(840 / rows, 21), 16.5), max(36, min(144 / rows, 60)), 3300 / rows)


def draw_heatmap(
    values: NDArray[np.float64],
    rows: Sequence[str],
    columns: tuple[Mapping[float, str], float],
    scale: Scale,
    *,
    cell: tuple[float, float],
    upright: bool = False,
    named: tuple[str, str] = ("", ""),
    lines: Sequence[str] = (),
    notes: Sequence[str] = (),
) -> tuple[Figure, Axes]:
    """A figure whose first axes are the cells, 1 wide and high with row 0 on top, and whose second are the colours.

    Args:
        values: ``[R, C]``; NaN is hatched.
        rows: The R names, shortened; they are thinned where there is no room.
        columns: Labels by their places, and their size in points.
        scale: What the colours mean.
        cell: Pixels of a cell from left to right, and from top to bottom.
        upright: Whether the labels of the columns stand instead of lie.
        named: What the columns are and what the rows are.
        lines: The title.
        notes: Lines below the scale of colours.

    Returns:
        The figure, and the axes of the cells.
    """
    labels, column_size = columns
    width, height = values.shape[1] * cell[0], values.shape[0] * cell[1]
    missing = bool(np.isnan(values).any())
    notes = [*notes, *(["hatched:", "no value"] if missing else [])]
    told = [layout.fitted(line, 240) for line in scale.label.split("\n")]
    strip_height = min(max(height, 120, layout.text_width(told)), 240)
    row_labels, row_size = layout.thinned(rows, 0.5, cell[1])
    label_width = layout.text_width(labels.values(), column_size)
    ends = (min(labels) * cell[0], width - max(labels) * cell[0]) if labels else (0.0, 0.0)
    begin = GAP + layout.line_height(TEXT) if named[1] else 0.0
    left = begin + 3 * GAP + layout.text_width(rows, row_size)
    right = 2.0 * GAP
    over = (layout.text_width(named[:1]) - width) / 2  # what is below may reach beyond the cells
    for_label = 0.0 if upright else label_width / 2
    left = max(left, over + GAP, for_label + GAP - ends[0])
    right = max(right, over + GAP, for_label + GAP - ends[1])
    foot = 1.5 * GAP + (label_width if upright else layout.line_height(column_size))
    below = foot + (layout.line_height(TEXT) if named[0] else 0.0) + 2 * GAP
    beside = 2 * GAP + layout.text_width(scale.marks.values())
    tail = _STRIP + max(beside + len(told) * layout.line_height(TEXT), layout.text_width(notes, SMALL) - _STRIP) + GAP
    strip_foot = strip_height + 3 * GAP + len(notes) * layout.line_height(SMALL)
    across = max(left + width + right + tail, layout.title_width(lines))

    top = layout.title_height(lines)
    figure = layout.new_figure(across, top + max(height + below, strip_foot))
    axes = layout.add_axes(figure, left, top, width, height)
    if missing:
        axes.patch.set(**layout.HATCHED)  # seen where no colour covers it
    colors = matplotlib.colormaps[scale.colors]
    axes.pcolormesh(np.ma.masked_invalid(values), cmap=colors, vmin=scale.low, vmax=scale.high)
    axes.set(xlim=(0, values.shape[1]), ylim=(values.shape[0], 0))
    layout.label_columns(axes, dict(labels), column_size, upright=upright)
    layout.label_rows(axes, row_labels, row_size)
    layout.add_title(axes, lines, left)
    inside = {"transform": axes.transAxes, "fontsize": TEXT}
    if named[0]:
        write(axes, 0.5, -foot / height, named[0], label="across", ha="center", va="top", **inside)
    if named[1]:
        at = (GAP - left) / width
        text = layout.fitted(named[1], height)
        write(axes, at, 0.5, text, label="up", rotation=90, ha="left", va="center", **inside)

    strip = layout.add_axes(figure, left + width + right, top, _STRIP, strip_height)
    layout.color_strip(strip, colors(np.linspace(0, 1, 64)), dict(scale.marks))
    write(strip, 1 + beside / _STRIP, 0.5, "\n".join(told), rotation=90, va="center", fontsize=TEXT)
    write(strip, 0, -2 * GAP / strip_height, "\n".join(notes), label="note", va="top", fontsize=SMALL)
    return figure, axes
