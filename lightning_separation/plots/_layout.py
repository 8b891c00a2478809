"""What the figures share: their style, and a layout in pixels worked out from the lengths of the texts.

Matplotlib's own layout engines measure every text before they draw it, and its axis ticks cost more than the labels
they carry. A figure that is drawn at every analysed epoch does without both: labels are plain texts at known places.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from heapq import nlargest
from io import BytesIO
from math import ceil
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ..tables import shorten as shorten
from ._text import DPI, font_families, width_of, write

GAP = 8  # pixels between a text and what it stands beside
TEXT = 12.0  # points; still read where a browser shows a figure of 1000 pixels at 500
SMALL = 9.5
HEADING = 13.0
INK = "#222222"
FAINT = "#8a8a8a"
PALE = "#e8e8e8"
HATCHED: dict[str, Any] = {"facecolor": PALE, "edgecolor": "#b4b4b4", "hatch": "///"}  # where there is no value
DIVERGING = "RdBu_r"  # blue below zero, red above; told apart by the colour-blind
SEQUENTIAL = "Blues"  # white at zero

# The user's own settings (a dark style, TeX) are meant for their figures. Fonts are left alone: names may need them.
STYLE: dict[str, Any] = {
    "axes.facecolor": "white",
    "axes.grid": False,
    "axes.titlecolor": INK,
    "axes.titleweight": "bold",
    "figure.facecolor": "white",
    "hatch.linewidth": 1.0,
    "text.color": INK,
    "text.parse_math": False,  # a class may be called "$1 to $5"
    "text.usetex": False,
}


def pixels(points: float) -> float:
    """Points as pixels."""
    return points * DPI / 72


def line_height(size: float) -> float:
    """Pixels from one line of text to the next, close but apart."""
    return 1.25 * pixels(size)


def text_width(texts: Iterable[str], size: float = TEXT, weight: str = "normal") -> float:
    """Width in pixels of the widest text; among many of almost equal length, about that."""
    longest = nlargest(5, texts, key=lambda text: len(text.encode()))  # in bytes: letters that take more are wider too
    return max((width_of(text, size, weight, font_families()) for text in longest), default=0.0)


def fitted(text: str, room: float, size: float = TEXT, weight: str = "normal") -> str:
    """The text on one line, cut in the middle where it is wider than so many pixels."""
    text = shorten([text], len(text))[0]
    short, most = text, len(text)
    while most > 8 and (width := text_width([short], size, weight)) > room:
        most = max(min(int(most * room / width), most - 1), 8)
        short = shorten([text], most)[0]
    return short


def number(value: float, digits: str = ".3g") -> str:
    """A number as people write it.

    Example:
        >>> number(-0.0), number(-1.5), number(1234.5), number(0.8251, ".2f")
        ('0', '−1.5', '1234', '0.83')
    """
    if digits == ".3g" and 1000 <= abs(value) < 1e5:
        digits = ".0f"
    text = format(value, digits)
    return (text if float(text) else text.lstrip("-")).replace("-", "−")


def spread(places: Sequence[float] | NDArray[Any], gap: float, low: float, high: float) -> NDArray[np.float64]:
    """Places at least ``gap`` apart and between ``low`` and ``high``, in the same order and as near as can be.

    Example:
        >>> spread([5.0, 5.0, 9.0], gap=2, low=0, high=10)
        array([4., 6., 9.])
    """
    wanted = np.asarray(places, dtype=np.float64)
    order = np.argsort(wanted, kind="stable")
    steps = gap * np.arange(len(wanted))
    blocks: list[tuple[float, int]] = []  # of places that stand as close as they may: mean and number
    for place in wanted[order] - steps:
        block = (float(place), 1)
        while blocks and blocks[-1][0] > block[0]:
            before, count = blocks.pop()
            total = count + block[1]
            block = ((before * count + block[0] * block[1]) / total, total)
        blocks.append(block)
    moved = np.repeat([mean for mean, _ in blocks], [count for _, count in blocks])
    result = np.empty_like(wanted)
    if len(wanted):
        result[order] = moved.clip(low, max(high - steps[-1], low)) + steps
    return result


def new_figure(width: float, height: float) -> Figure:
    """An empty white figure of so many pixels, which a notebook shows without pyplot."""
    figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI)
    figure.patch.set_in_layout(True)  # bbox_inches="tight", as pyplot in a notebook has it, does not see our texts
    # On the figure, not in a class: loggers know figures by their class's full name.
    figure._repr_png_ = partial(_as_png, figure)  # type: ignore[attr-defined]
    return figure


def _as_png(figure: Figure) -> bytes:
    content = BytesIO()
    figure.savefig(content, format="png")
    return content.getvalue()


def add_axes(figure: Figure, left: float, top: float, width: float, height: float) -> Axes:
    """Axes without axis lines, so many pixels from the figure's left and top."""
    across, down = figure.get_size_inches() * DPI
    axes = figure.add_axes((left / across, 1 - (top + height) / down, width / across, height / down))
    axes.xaxis.set_visible(False)
    axes.yaxis.set_visible(False)
    axes.spines[:].set_visible(False)
    return axes


def add_canvas(figure: Figure, top: float) -> Axes:
    """Axes over all of the figure from ``top`` down, whose coordinates are pixels from their left and top."""
    width, height = figure.get_size_inches() * DPI
    axes = add_axes(figure, 0, top, width, height - top)
    axes.set(xlim=(0, width), ylim=(height - top, 0))
    axes.set_facecolor("none")
    return axes


def add_title(axes: Axes, lines: Sequence[str], left: float) -> None:
    """Title of one or more lines above the axes, from the left edge of the figure, cut at its right edge.

    Args:
        axes: Axes whose title it is.
        lines: The title's lines.
        left: Pixels from the figure's left edge to the axes.
    """
    room = axes.figure.bbox.width - 3 * GAP
    fitting = [fitted(line, room, HEADING, "bold") for line in lines]
    x, y = (GAP - left) / axes.bbox.width, 1 + 2 * GAP / axes.bbox.height
    axes.set_title("\n".join(fitting), x=x, y=y, pad=0, ha="left", fontsize=HEADING)


def title_width(lines: Sequence[str]) -> float:
    """Width that a figure needs for its title; of a very long one, for so much that the rest may be cut."""
    return min(text_width(lines, HEADING, "bold"), 640.0) + 4 * GAP


def title_height(lines: Sequence[str]) -> float:
    """Pixels to leave above the axes for a title."""
    return 2 * GAP + (line_height(HEADING) * len(lines) + GAP if lines else 0)


def thinned(labels: Sequence[str], first: float, spacing: float) -> tuple[dict[float, str], float]:
    """Labels for ``first``, ``first + 1``, ..., as many as there is room for, and their size.

    Args:
        labels: All labels.
        first: Place of the first.
        spacing: Pixels from one place to the next.

    Example:
        >>> thinned(["a", "b", "c"], first=0.5, spacing=21)
        ({0.5: 'a', 1.5: 'b', 2.5: 'c'}, 12.0)
        >>> thinned(["a", "b", "c"], first=0.5, spacing=10)
        ({0.5: 'a', 2.5: 'c'}, 9.5)
    """
    size = TEXT if spacing >= line_height(TEXT) else SMALL
    return {first + i: labels[i] for i in range(0, len(labels), ceil(line_height(size) / spacing))}, size


def label_columns(axes: Axes, labels: dict[float, str], size: float, *, upright: bool) -> None:
    """Labels below the axes."""
    for at, label in labels.items():
        write(
            axes,
            at,
            -GAP / axes.bbox.height,
            label,
            label="column",
            transform=axes.get_xaxis_transform(),
            rotation=90 if upright else 0,
            ha="center",
            va="top",
            fontsize=size,
        )


def label_rows(axes: Axes, labels: dict[float, str], size: float, *, right: bool = False) -> None:
    """Labels left or right of the axes."""
    gap = GAP / axes.bbox.width
    for at, label in labels.items():
        write(
            axes,
            1 + gap if right else -gap,
            at,
            label,
            label="row",
            transform=axes.get_yaxis_transform(),
            ha="left" if right else "right",
            va="center",
            fontsize=size,
        )


def color_strip(axes: Axes, colors: NDArray[Any], labels: dict[float, str]) -> None:
    """Draws a scale of colours from the bottom up, with labels at its right (0 to 1)."""
    axes.pcolormesh([0, 1], [i / len(colors) for i in range(len(colors) + 1)], colors[:, None])
    label_rows(axes, labels, TEXT, right=True)


def write_values(axes: Axes, texts: NDArray[Any], faces: NDArray[Any], *, left: float = 0.0, upright: bool) -> None:
    """Writes into cells of width and height 1, in what is read on their colours.

    Args:
        axes: Axes of the cells.
        texts: ``[rows, columns]``; nothing is written for an empty one.
        faces: The cells' colours, ``[rows, columns, 4]``.
        left: Where the first column begins.
        upright: Whether the texts stand instead of lie.
    """
    bright = faces[..., :3] @ [0.299, 0.587, 0.114] >= 0.5
    for (row, column), text in np.ndenumerate(texts):
        if text:
            write(
                axes,
                left + column + 0.5,
                row + 0.5,
                text,
                label="value",
                color=INK if bright[row, column] else "white",
                rotation=90 if upright else 0,
                ha="center",
                va="center",
                fontsize=SMALL,
            )
