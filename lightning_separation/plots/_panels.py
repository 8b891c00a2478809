"""Panels with scales of their own, and keys that say what marks mean: what the figures of interventions share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from numpy.typing import NDArray

from . import _layout as layout
from ._layout import FAINT, GAP, PALE, SMALL, TEXT
from ._text import write

ORANGE, BLUE, GREEN = "#d55e00", "#0072b2", "#009e73"  # Okabe and Ito: told apart by the colour-blind
GREY = "#9a9a9a"
MARK = 34.0  # square points of a point
_MARK_WIDTH = 26.0


class Key(NamedTuple):
    """What a mark means. The marker is one of ``Axes.scatter``, or ``"-"`` or ``"--"`` for a line."""

    text: str
    color: str
    marker: str


def place_keys(keys: Sequence[Key], room: float) -> tuple[list[tuple[float, float]], float]:
    """Places of the keys, from left to right in as many lines as they need, and the height of all."""
    places: list[tuple[float, float]] = []
    x, y = 0.0, GAP + layout.line_height(TEXT) / 2
    for key in keys:
        width = _MARK_WIDTH + layout.text_width([key.text]) + 3 * GAP
        if x and x + width > room - 2 * GAP:
            x, y = 0.0, y + layout.line_height(TEXT) + GAP / 2
        places.append((2 * GAP + x, y))
        x += width
    return places, y + layout.line_height(TEXT) / 2 + GAP if keys else 0.0


def add_keys(axes: Axes, keys: Sequence[Key], places: Sequence[tuple[float, float]]) -> None:
    """Draw the keys on a canvas."""
    for key, (x, y) in zip(keys, places, strict=True):
        if key.marker in ("-", "--"):
            line = LineCollection([[(x, y), (x + 20, y)]], colors=key.color, linewidths=2, linestyles=key.marker)
            axes.add_collection(line, autolim=False)
        else:
            axes.scatter([x + 10], [y], s=1.6 * MARK, c=key.color, marker=key.marker, linewidths=0)
        text = layout.fitted(key.text, axes.bbox.width - x - _MARK_WIDTH - GAP)
        write(axes, x + _MARK_WIDTH, y, text, label="legend", va="center", fontsize=TEXT)


def add_points(axes: Axes, points: Sequence[NDArray[np.float64]], key: Key, **settings: Any) -> None:
    """Draw points, arrays ``[n, 2]`` in pixels of a canvas, as their key says."""
    x, y = np.concatenate([np.empty((0, 2)), *points]).T
    axes.scatter(x, y, c=key.color, marker=key.marker, linewidths=0, **settings)


def ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Round numbers between two others, zero among them if it lies there.

    Example:
        >>> ticks(-0.02, 0.31)
        [0.0, 0.1, 0.2, 0.3]
    """
    rough = (high - low) / most
    power = float(10.0 ** np.floor(np.log10(rough)))
    step = next((factor * power for factor in (1, 2, 5) if factor * power >= rough), 10 * power)
    return [
        float(f"{i * step:.9g}") for i in range(int(np.ceil(low / step - 1e-9)), int(np.floor(high / step + 1e-9)) + 1)
    ]


def scale_of(values: NDArray[np.floating]) -> tuple[float, float]:
    """Where a scale of such values begins and ends: with zero, and with room at the ends.

    Example:
        >>> scale_of(np.array([2.0, np.nan, -1.0])), scale_of(np.array([]))
        ((-1.18, 2.18), (0.0, 1.0))
    """
    finite = np.append(values[np.isfinite(values)], 0.0)
    low, high = float(finite.min()), float(finite.max())
    if high - low < 1e-300:
        return 0.0, 1.0
    margin = 0.06 * (high - low)
    return low - margin * (low < 0), high + margin * (high > 0)


class Panels(NamedTuple):
    """Where the panels stand, in pixels of their canvas, and their vertical scales.

    Attributes:
        axes: The canvas.
        left: ``[P]``, left edges.
        floor: ``[P]``, lower edges.
        width: Of every panel.
        height: Of every panel.
        scales: ``[P, 2]``, lowest and highest value.
    """

    axes: Axes
    left: NDArray[np.float64]
    floor: NDArray[np.float64]
    width: float
    height: float
    scales: NDArray[np.float64]

    def x(self, panel: int, share: Any) -> Any:
        """Pixels of places from 0 (left) to 1."""
        return self.left[panel] + self.width * np.asarray(share)

    def y(self, panel: int, value: Any) -> Any:
        """Pixels of values."""
        low, high = self.scales[panel]
        return self.floor[panel] - self.height * (np.asarray(value) - low) / (high - low)


def draw_panels(
    names: Sequence[str],
    notes: Sequence[str],
    scales: Sequence[tuple[float, float]],
    *,
    across: Mapping[float, str],
    labels: tuple[str, str],
    keys: Sequence[Key],
    lines: Sequence[str],
    upright: bool = False,
) -> tuple[Figure, Panels]:
    """A figure with empty panels, up to three beside each other; a single one is large.

    Args:
        names: What stands above the P panels; "" for nothing.
        notes: What stands below the names, smaller.
        scales: Lowest and highest value of each panel.
        across: Labels below every panel, by their places from 0 (left) to 1.
        labels: What the horizontal and the vertical scale show.
        keys: What the marks mean.
        lines: The title.
        upright: Whether the labels below the panels stand instead of lie.

    Returns:
        The figure, and where the panels stand.
    """
    num = len(names)
    columns = 2 if num == 4 else min(num, 3)
    width, height = {1: (640.0, 300.0), 2: (400.0, 240.0), 3: (290.0, 200.0)}[columns]
    marks = [{value: layout.number(value) for value in ticks(*scale, most=4)} for scale in scales]
    margin = layout.text_width((text for texts in marks for text in texts.values()), SMALL) + 2 * GAP
    begin = GAP + layout.line_height(TEXT)  # the name of the vertical scale
    head = (layout.line_height(TEXT) if any(names) else 0) + (layout.line_height(SMALL) if any(notes) else 0) + GAP
    foot = GAP + (layout.text_width(across.values(), SMALL) if upright else layout.line_height(SMALL))
    widest = _MARK_WIDTH + layout.text_width(key.text for key in keys) + 6 * GAP
    room = max(begin + columns * (margin + width) + 3 * GAP, layout.title_width(lines), min(widest, 900.0))
    places, keys_height = place_keys(keys, room)
    pitch = head + height + foot + GAP

    top = layout.title_height(lines)
    rows = -(-num // columns)
    total = keys_height + rows * pitch + layout.line_height(TEXT) + GAP
    figure = layout.new_figure(room, top + total)
    axes = layout.add_canvas(figure, top)
    layout.add_title(axes, lines, 0)
    add_keys(axes, keys, places)
    at = np.arange(num)
    left: NDArray[Any] = begin + margin + (at % columns) * (margin + width)
    floor: NDArray[Any] = keys_height + (at // columns) * pitch + head + height
    panels = Panels(axes, left, floor, width, height, np.array(scales, dtype=np.float64))

    pale: list[list[tuple[float, float]]] = []
    strong: list[list[tuple[float, float]]] = []
    for i in range(num):
        x, right = left[i], left[i] + width
        y = floor[i] - height - GAP / 2
        if notes[i]:
            write(axes, x, y, layout.fitted(notes[i], width, SMALL), label="note", va="bottom", fontsize=SMALL)
            y -= layout.line_height(SMALL)
        name = layout.fitted(names[i], width, TEXT, "bold")
        write(axes, x, y, name, label="panel", weight="bold", va="bottom", fontsize=TEXT)
        for value, text in marks[i].items():
            place = float(panels.y(i, value))
            (pale if value else strong).append([(x, place), (right, place)])
            write(axes, x - GAP / 2, place, text, label="row", ha="right", va="center", fontsize=SMALL)
        for share, text in across.items():
            place = float(panels.x(i, share))
            write(
                axes,
                place,
                floor[i] + GAP / 2,
                text,
                label="column",
                rotation=90 if upright else 0,
                ha="center",
                va="top",
                fontsize=SMALL,
            )
    axes.add_collection(LineCollection(pale, colors=PALE, linewidths=1, zorder=0), autolim=False)
    axes.add_collection(LineCollection(strong, colors=FAINT, linewidths=1, zorder=0.5), autolim=False)
    middle = begin + (columns * (margin + width)) / 2
    write(axes, middle, total - GAP, labels[0], label="across", ha="center", va="bottom", fontsize=TEXT)
    middle = keys_height + rows * pitch / 2
    write(axes, GAP, middle, labels[1], label="up", rotation=90, ha="left", va="center", fontsize=TEXT)
    return figure, panels
