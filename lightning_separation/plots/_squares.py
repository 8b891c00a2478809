"""Square panels, up to three beside each other: what the figures of matrices and of scattered samples share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from . import _layout as layout
from ._layout import GAP, SMALL, TEXT
from ._panels import Key, add_keys, place_keys
from ._text import write


class Squares(NamedTuple):
    """Where the panels stand, in pixels of their canvas.

    Attributes:
        axes: The canvas.
        left: ``[P]``, left edges.
        top: ``[P]``, upper edges.
        size: Of every panel.
    """

    axes: Axes
    left: NDArray[np.float64]
    top: NDArray[np.float64]
    size: float


def square_size(num: int) -> float:
    """Pixels of each of so many panels."""
    return {1: 480.0, 2: 380.0}.get(num, 290.0)


def draw_squares(
    names: Sequence[str],
    notes: Sequence[str],
    *,
    beside: float = 0.0,
    below: float = 0.0,
    right: float = 0.0,
    keys: Sequence[Key] = (),
    lines: Sequence[str] = (),
) -> tuple[Figure, Squares]:
    """A figure with empty square panels.

    Args:
        names: What stands above the P panels.
        notes: What stands below the names, smaller; "" for nothing.
        beside: Pixels to leave at the left of every panel.
        below: Pixels to leave below every panel.
        right: Pixels to leave at the right of the figure.
        keys: What the marks mean.
        lines: The title.

    Returns:
        The figure, and where the panels stand.
    """
    num = len(names)
    size, columns = square_size(num), 2 if num == 4 else min(num, 3)
    head = layout.line_height(TEXT) + (layout.line_height(SMALL) if any(notes) else 0.0) + GAP
    room = max(columns * (beside + size + 2 * GAP) + right + GAP, layout.title_width(lines))
    places, keys_height = place_keys(keys, room)
    pitch = head + size + below + GAP

    top = layout.title_height(lines)
    figure = layout.new_figure(room, top + keys_height + -(-num // columns) * pitch + GAP)
    axes = layout.add_canvas(figure, top)
    layout.add_title(axes, lines, 0)
    add_keys(axes, keys, places)
    at = np.arange(num)
    left: NDArray[Any] = 2 * GAP + beside + (at % columns) * (beside + size + 2 * GAP)
    upper: NDArray[Any] = keys_height + head + (at // columns) * pitch
    for i, (x, y) in enumerate(zip(left.tolist(), (upper - GAP / 2).tolist(), strict=True)):
        if notes[i]:
            write(axes, x, y, layout.fitted(notes[i], size, SMALL), label="note", va="bottom", fontsize=SMALL)
            y -= layout.line_height(SMALL)
        name = layout.fitted(names[i], size, TEXT, "bold")
        write(axes, x, y, name, label="panel", weight="bold", va="bottom", fontsize=TEXT)
    return figure, Squares(axes, left, upper, size)
