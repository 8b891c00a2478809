"""Rows with names at the left and panels side by side, each with a scale of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from numpy.typing import NDArray

from . import _layout as layout
from ._layout import FAINT, GAP, INK, PALE, SMALL, TEXT
from ._panels import Key, add_keys, place_keys, ticks
from ._text import DPI, write

_WIDTHS = (480.0, 300.0, 210.0)  # pixels of one panel alone, of each of two, of each of more


class Panel(NamedTuple):
    """One panel of rows.

    Attributes:
        scale: Lowest and highest value.
        label: What the scale shows, below.
        texts: At the right of each row; "" for nothing.
        head: What stands above.
        texts_head: What stands above the texts.
    """

    scale: tuple[float, float]
    label: str
    texts: Sequence[str]
    head: str = ""
    texts_head: str = ""


class Rows(NamedTuple):
    """Where rows stand, in pixels of their canvas, and the horizontal scales of their panels.

    Attributes:
        axes: The canvas.
        left: ``[P]``, left edges of the panels.
        width: Of every panel.
        scales: ``[P, 2]``, lowest and highest value.
        middles: ``[n]``, from the top of the canvas to the middle of each row.
        pitch: From one row to the next.
    """

    axes: Axes
    left: NDArray[np.float64]
    width: float
    scales: NDArray[np.float64]
    middles: NDArray[np.float64]
    pitch: float

    def x(self, panel: int, value: Any) -> Any:
        """Pixels of values."""
        low, high = self.scales[panel]
        return self.left[panel] + self.width * ((np.asarray(value) - low) / (high - low))


def draw_rows(
    names: Sequence[str], panels: Sequence[Panel], *, keys: Sequence[Key] = (), lines: Sequence[str] = ()
) -> tuple[Figure, Rows]:
    """A figure with empty rows, whose names stand at the left of one or more panels; names can be long there.

    Args:
        names: The n rows, shortened.
        panels: Side by side, at least one.
        keys: What the marks mean.
        lines: The title.

    Returns:
        The figure, and where the rows stand.
    """
    num = len(names)
    pitch = min(max(600.0 / max(num, 1), 18.0), 40.0)
    size = TEXT if pitch >= layout.line_height(TEXT) else SMALL
    height = max(num, 1) * pitch
    width = _WIDTHS[min(len(panels), 3) - 1]
    beside = []
    for panel in panels:
        texts_width = max(layout.text_width(panel.texts, size), layout.text_width([panel.texts_head]))
        label_width = min(layout.text_width([panel.label]), 1.5 * width)
        beside.append(max(texts_width + 4 * GAP, label_width + 2 * GAP - width))
    margin = 3 * GAP + layout.text_width(names, size)
    left = margin + np.cumsum([0.0, *(width + more for more in beside[:-1])])
    room = max(left[-1] + width + beside[-1] + GAP, layout.title_width(lines))
    places, keys_height = place_keys(keys, room)
    heads = any(panel.head or panel.texts_head for panel in panels)
    begin = keys_height + (layout.line_height(TEXT) + GAP if heads else GAP)
    end = begin + height

    top = layout.title_height(lines)
    figure = layout.new_figure(room, top + end + 2 * layout.line_height(TEXT) + 2 * GAP)
    axes = layout.add_canvas(figure, top)
    layout.add_title(axes, lines, 0)
    add_keys(axes, keys, places)
    middles: NDArray[Any] = begin + pitch * (np.arange(num) + 0.5)
    rows = Rows(axes, left, width, np.array([panel.scale for panel in panels]), middles, pitch)

    for name, y in zip(names, middles.tolist(), strict=True):
        write(axes, margin - 1.5 * GAP, y, name, label="row", ha="right", va="center", fontsize=size)
    pale: list[list[tuple[float, float]]] = []
    strong: list[list[tuple[float, float]]] = []
    for i, panel in enumerate(panels):
        x, right = left[i].item(), left[i].item() + width
        head = layout.fitted(panel.head, width, TEXT, "bold")
        write(axes, x, begin - GAP, head, label="head", va="bottom", weight="bold", fontsize=TEXT)
        write(axes, right + GAP, begin - GAP, panel.texts_head, label="head", va="bottom", fontsize=TEXT)
        for text, y in zip(panel.texts, middles.tolist(), strict=True):
            write(axes, right + GAP, y, text, label="text", va="center", fontsize=size)
        for mark in ticks(*panel.scale, most=int(width // 90)):
            at = rows.x(i, mark).item()
            (pale if mark else strong).append([(at, begin), (at, end)])
            text = layout.number(mark)
            write(axes, at, end + GAP / 2, text, label="column", ha="center", va="top", fontsize=TEXT)
        pale += [[(x, begin + j * pitch), (right, begin + j * pitch)] for j in range(num + 1)]
        label = layout.fitted(panel.label, width + beside[i] - 2 * GAP)
        y = end + GAP + layout.line_height(TEXT)
        write(axes, x, y, label, label="across", va="top", fontsize=TEXT)
    axes.add_collection(LineCollection(pale, colors=PALE, linewidths=1, zorder=0), autolim=False)
    axes.add_collection(LineCollection(strong, colors=FAINT, linewidths=1.4, zorder=1, label="zero"), autolim=False)
    if not num:
        middle = left[0] + width / 2, (begin + end) / 2
        write(axes, *middle, "no values", label="empty", color=INK, ha="center", va="center", fontsize=TEXT)
    return figure, rows


def add_bars(rows: Rows, panel: int, values: NDArray[np.floating], color: str) -> None:
    """Bars from zero, one in each row, none where the value is NaN."""
    ends = rows.x(panel, np.stack([np.zeros(len(values)), values], axis=1))
    bars = [[(a, y), (b, y)] for (a, b), y in zip(ends.tolist(), rows.middles.tolist(), strict=True) if np.isfinite(b)]
    thick = 0.62 * rows.pitch * 72 / DPI
    settings: dict[str, Any] = {"colors": color, "linewidths": thick, "capstyle": "butt", "zorder": 2}
    rows.axes.add_collection(LineCollection(bars, label=f"bars {panel}", **settings), autolim=False)
