"""Which classes each layer separates from which: a matrix of class pairs for every layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from . import _layout as layout
from ._heatmap import SEPARATION, two_digits
from ._labels import evenly_chosen
from ._layout import GAP, INK, SMALL, TEXT
from ._squares import Squares, draw_squares, square_size
from ._text import write

_MOST_PANELS = 12
_MOST_WRITTEN = 6  # classes; of more the numbers are too many to read
_STRIP = 14.0


def class_matrices(
    divergence: Mapping[str, NDArray[np.floating]], class_names: Sequence[str], *, title: str = ""
) -> Figure:
    """The Henze-Penrose divergence of all pairs of classes, a matrix for each layer.

    The colours mean the same in every figure, 0 to 1, so that epochs and runs can be compared by eye; values below 0
    (chance) have the colour of 0. Of up to six classes the values are written in. Pairs without a value are hatched,
    the diagonal is empty. Of more than twelve layers twelve are shown, evenly spaced from first to last. Equal input
    gives equal figures.

    Args:
        divergence: Layer -> ``[K, K]``, symmetric, the layers in order of execution; NaN means no value.
        class_names: The K classes; they are thinned where there is no room.
        title: Title of the figure.

    Returns:
        A figure without a canvas; its first axes, whose unit is the pixel, hold an image for each layer; its second
        are the colour scale.

    Raises:
        ValueError: If there is no layer, a matrix is not ``[K, K]``, or there are fewer than two classes.

    Example:
        >>> import numpy as np
        >>> figure = class_matrices({"input": np.full((2, 2), 0.1), "fc": np.full((2, 2), 0.9)}, ["cat", "dog"])
        >>> [text.get_text() for text in figure.axes[0].texts if text.get_label() == "value"]
        ['0.10', '0.10', '0.90', '0.90']
    """
    num = len(class_names)
    if num < 2 or not divergence:
        raise ValueError(f"at least two classes and one layer are needed, not {num} and {len(divergence)}")
    for layer, matrix in divergence.items():
        if np.shape(matrix) != (num, num):
            raise ValueError(
                f"divergence must be [{num}, {num}] for {num} classes, not {np.shape(matrix)} in layer {layer!r}"
            )
    chosen, lines = evenly_chosen(len(divergence), _MOST_PANELS, title)
    layers = [list(divergence)[i] for i in chosen]
    cells = np.array([divergence[layer] for layer in layers], dtype=np.float64)
    cells[np.isinf(cells)] = np.nan
    with matplotlib.rc_context(layout.STYLE):
        return _draw(cells, layout.shorten(layers, most=30), layout.shorten(class_names, most=14), lines)


def _draw(cells: NDArray[np.float64], layers: Sequence[str], classes: Sequence[str], lines: Sequence[str]) -> Figure:
    num = len(classes)
    apart = ~np.eye(num, dtype=bool)
    missing = bool(np.isnan(cells[:, apart]).any())
    cell = square_size(len(layers)) / num
    labels, size = layout.thinned(classes, 0.5, cell)
    width = layout.text_width(labels.values(), size)
    upright = layout.text_width(classes, size) + GAP > cell
    notes = ["hatched:", "no value"] if missing else []
    told = SEPARATION.label.split("\n")
    marks = 2 * GAP + layout.text_width(SEPARATION.marks.values())
    right = 2 * GAP + _STRIP + max(marks + len(told) * layout.line_height(TEXT), layout.text_width(notes, SMALL))
    figure, squares = draw_squares(
        layers,
        [""] * len(layers),
        beside=width + GAP,
        below=GAP + (width if upright else layout.line_height(size)),
        right=right,
        lines=lines,
    )
    faces = SEPARATION.faces(cells)
    faces[np.isnan(cells)] = 0  # what is behind is seen
    faces[:, ~apart] = 1
    for i in range(len(layers)):
        _add_matrix(squares, i, faces[i], labels, size, upright)
        if num <= _MOST_WRITTEN:
            _write_values(squares, i, np.where(apart, cells[i], np.nan), faces[i])

    end = squares.left.max() + squares.size
    top = figure.bbox.height - squares.axes.bbox.height + squares.top[0]
    height = 240.0
    strip = layout.add_axes(figure, end + 2 * GAP, top, _STRIP, height)
    colors = matplotlib.colormaps[SEPARATION.colors](np.linspace(0, 1, 64))
    layout.color_strip(strip, colors, dict(SEPARATION.marks))
    write(strip, 1 + marks / _STRIP, 0.5, SEPARATION.label, rotation=90, va="center", fontsize=TEXT)
    write(strip, 0, -2 * GAP / height, "\n".join(notes), label="note", va="top", fontsize=SMALL)
    return figure


def _add_matrix(
    squares: Squares, panel: int, faces: NDArray[np.float64], labels: Mapping[float, str], size: float, upright: bool
) -> None:
    """The cells ``[K, K, 4]`` of one panel, its frame, and the names of the classes at the left and below."""
    axes, left, top = squares.axes, squares.left[panel].item(), squares.top[panel].item()
    right, floor, cell = left + squares.size, top + squares.size, squares.size / len(faces)
    if not faces[..., 3].all():
        axes.add_patch(Rectangle((left, top), squares.size, squares.size, **layout.HATCHED, zorder=0))
    settings: dict[str, Any] = {"aspect": "auto", "interpolation": "none", "extent": (left, right, floor, top)}
    axes.imshow(faces, **settings, zorder=1)
    frame = Rectangle((left, top), squares.size, squares.size, facecolor="none", edgecolor="#b4b4b4", zorder=2)
    axes.add_patch(frame)
    for at, name in labels.items():
        y, x = top + at * cell, left + at * cell
        write(axes, left - GAP / 2, y, name, label="row", ha="right", va="center", fontsize=size)
        turned = 90 if upright else 0
        write(axes, x, floor + GAP / 2, name, label="column", rotation=turned, ha="center", va="top", fontsize=size)


def _write_values(squares: Squares, panel: int, cells: NDArray[np.float64], faces: NDArray[np.float64]) -> None:
    cell = squares.size / len(cells)
    bright = faces[..., :3] @ [0.299, 0.587, 0.114] >= 0.5
    for (row, column), text in np.ndenumerate(two_digits(cells)):
        if text:
            x, y = squares.left[panel] + (column + 0.5) * cell, squares.top[panel] + (row + 0.5) * cell
            color = INK if bright[row, column] else "white"
            write(squares.axes, x, y, text, label="value", color=color, ha="center", va="center", fontsize=SMALL)
