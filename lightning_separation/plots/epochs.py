"""Layers by epochs as heatmaps: separation, its difference to another, and how well it foretells confusion."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from numpy.typing import NDArray

from . import _layout as layout
from ._heatmap import SEPARATION, Scale, draw_heatmap, row_height, two_digits
from ._labels import epoch_labels
from ._layout import DIVERGING, GAP, INK, SMALL, TEXT

_MOST_VALUES = 240  # cells; more numbers than that nobody reads, and each costs time to draw
_WIDTH = 945.0
_NARROW = 14.0  # pixels of a cell, round which a thick line would hide the next
_PALE = 0.72  # of white over what is not significant
_LEAST_LIMIT = 0.05  # noise must not look like a difference
_CORRELATION = Scale(
    DIVERGING,
    -1.0,
    1.0,
    {0.0: "−1", 0.5: "0", 1.0: "1"},
    "rank correlation of low\nseparation with confusion",
)


def layers_by_epochs(
    values: NDArray[np.floating], layers: Sequence[str], epochs: Sequence[str | int], *, title: str = ""
) -> Figure:
    """Separation of every layer at every epoch, as colours; the values are written in where there is room.

    The colours mean the same in every figure, 0 to 1, so that runs can be compared by eye; values below 0 (chance) have
    the colour of 0. Cells without a value are hatched. Equal input gives equal figures.

    Args:
        values: ``[E, L]``, NaN for no value.
        layers: The L layers in order of execution; the first is on top.
        epochs: The E epochs from early to late, numbers or labels such as "before".
        title: Title of the figure.

    Returns:
        A figure without a canvas; its first axes are the heatmap, its second the colour scale.

    Raises:
        ValueError: If ``values`` is not ``[E, L]`` with at least one epoch and layer.

    Example:
        >>> import numpy as np
        >>> figure = layers_by_epochs(np.array([[0.2, 0.1], [0.3, np.nan]]), ["input", "fc"], ["before", 0])
        >>> [text.get_text() for text in figure.axes[0].texts if text.get_label() == "value"]
        ['0.20', '0.30', '0.10']
    """
    cells = _cells(values, layers, epochs, "values")
    with matplotlib.rc_context(layout.STYLE):
        figure, axes, lying = _draw(cells, layers, epochs, SEPARATION, title)
        _write(axes, cells, SEPARATION.faces(cells), lying)
    return figure


def difference_heatmap(
    effect: NDArray[np.floating],
    layers: Sequence[str],
    epochs: Sequence[str | int],
    *,
    significant: NDArray[np.bool_] | None = None,
    title: str = "",
    label: str = "difference in separation",
    limit: float | None = None,
) -> Figure:
    """A difference for every layer and epoch: red above zero, blue below, white where there is none.

    Where ``significant`` is given, what is significant has a dark outline and what is not is pale. Values beyond the
    limit have the colour of the limit. Cells without a value are hatched. Equal input gives equal figures.

    Args:
        effect: ``[E, L]``, NaN for no value.
        layers: The L layers in order of execution; the first is on top.
        epochs: The E epochs from early to late, numbers or labels such as "before".
        significant: ``[E, L]``, whether the difference is more than chance.
        title: Title of the figure.
        label: What the values are, for the colour scale.
        limit: Where the colours end on both sides; the largest of all absolute values, at least 0.05, if not given.
            Figures to be compared by eye need the same.

    Returns:
        A figure without a canvas; its first axes are the heatmap, its second the colour scale.

    Raises:
        ValueError: If ``effect`` is not ``[E, L]`` with at least one epoch and layer, ``significant`` has another
            shape, or ``limit`` is not positive and finite.

    Example:
        >>> import numpy as np
        >>> effect = np.array([[0.1, -0.2]])
        >>> figure = difference_heatmap(effect, ["input", "fc"], [3], significant=np.array([[False, True]]))
        >>> [text.get_text() for text in figure.axes[1].texts if text.get_label() == "row"]
        ['−0.2', '0', '0.2']
    """
    cells = _cells(effect, layers, epochs, "effect")
    if limit is not None and not 0 < limit < np.inf:
        raise ValueError(f"limit must be positive and finite, not {limit}")
    largest = float(np.nanmax(np.abs(cells), initial=0.0))
    end = float(limit or max(largest, _LEAST_LIMIT))
    beyond = largest > end
    marks = {
        0.0: f"{'≤ ' if beyond else ''}{layout.number(-end)}",
        0.5: "0",
        1.0: f"{'≥ ' if beyond else ''}{layout.number(end)}",
    }
    scale = Scale(DIVERGING, -end, end, marks, label)
    faces = scale.faces(cells)
    notes: list[str] = []
    muted = np.zeros(cells.shape, dtype=bool)
    if significant is not None:
        if np.shape(significant) != np.shape(effect):
            raise ValueError(f"significant must be {list(np.shape(effect))}, not {list(np.shape(significant))}")
        muted = ~np.asarray(significant, dtype=bool).T & np.isfinite(cells)
        notes = ["outlined: significant", "pale: not significant"]
        faces[muted] = (1 - _PALE) * faces[muted] + _PALE
    with matplotlib.rc_context(layout.STYLE):
        figure, axes, lying = _draw(cells, layers, epochs, scale, title, notes)
        if significant is not None:
            _mute(axes, muted)
            _outline(axes, ~muted & np.isfinite(cells))
        _write(axes, cells, faces, lying)
    return figure


def correlation_heatmap(
    values: NDArray[np.floating], layers: Sequence[str], epochs: Sequence[str | int], *, title: str = ""
) -> Figure:
    """How well low separation of two classes foretells that they are confused later, by layer and epoch.

    Red: pairs that are little separated here are confused later; white: nothing can be foretold; blue: the opposite.
    The colours mean the same in every figure, -1 to 1. Cells without a value are hatched. Equal input gives equal
    figures.

    Args:
        values: ``[E, L]``, rank correlations from -1 to 1, NaN for no value.
        layers: The L layers in order of execution; the first is on top.
        epochs: The E epochs from early to late, numbers or labels such as "before".
        title: Title of the figure.

    Returns:
        A figure without a canvas; its first axes are the heatmap, its second the colour scale.

    Raises:
        ValueError: If ``values`` is not ``[E, L]`` with at least one epoch and layer, or beyond -1 and 1.

    Example:
        >>> import numpy as np
        >>> figure = correlation_heatmap(np.array([[0.2, 0.7]]), ["input", "fc"], [0])
        >>> figure.axes[0].collections[0].get_clim()
        (-1.0, 1.0)
    """
    cells = _cells(values, layers, epochs, "values")
    if (np.abs(cells) > 1 + 1e-6).any():
        raise ValueError("correlations must be between -1 and 1")
    with matplotlib.rc_context(layout.STYLE):
        figure, axes, lying = _draw(cells, layers, epochs, _CORRELATION, title)
        _write(axes, cells, _CORRELATION.faces(cells), lying)
    return figure


def _cells(
    values: NDArray[np.floating], layers: Sequence[str], epochs: Sequence[str | int], name: str
) -> NDArray[np.float64]:
    """``[L, E]``, NaN where there is no value."""
    cells = np.array(values, dtype=np.float64)
    if cells.shape != (len(epochs), len(layers)) or not cells.size:
        raise ValueError(
            f"{name} must be [{len(epochs)} epochs, {len(layers)} layers], at least one of each, not "
            f"{list(cells.shape)}"
        )
    cells[np.isinf(cells)] = np.nan
    return np.ascontiguousarray(cells.T)


def _draw(
    cells: NDArray[np.float64],
    layers: Sequence[str],
    epochs: Sequence[str | int],
    scale: Scale,
    title: str,
    notes: Sequence[str] = (),
) -> tuple[Figure, Axes, bool]:
    """The figure, the axes of its cells, and whether numbers can lie in them."""
    rows, columns = cells.shape
    width = min(max(min(_WIDTH / columns, 64.0), 200.0 / columns), _WIDTH)
    wanted = layout.text_width(layout.shorten([str(epoch) for epoch in epochs[:20]], 14)) + GAP
    width = max(width, min(wanted, _WIDTH / columns))
    labels = {at + 0.5: text for at, text in epoch_labels(epochs, width).items()}
    numbered = any(isinstance(epoch, int | np.integer) for epoch in epochs)
    figure, axes = draw_heatmap(
        cells,
        layout.shorten(layers),
        (labels, TEXT),
        scale,
        cell=(width, row_height(rows)),
        named=("epoch" if numbered else "", ""),
        lines=[title] if title else [],
        notes=notes,
    )
    return figure, axes, width >= layout.text_width(["−0.00"], SMALL) + 4


def _write(axes: Axes, cells: NDArray[np.float64], faces: NDArray[np.float64], lying: bool) -> None:
    """The values, where there is room for all."""
    if lying and cells.size <= _MOST_VALUES:
        layout.write_values(axes, two_digits(cells), faces, upright=False)


def _mute(axes: Axes, muted: NDArray[np.bool_]) -> None:
    veil = np.ma.masked_array(np.zeros(muted.shape), ~muted)
    axes.pcolormesh(veil, cmap="gray_r", vmin=0, vmax=1, alpha=_PALE, label="muted")


def _outline(axes: Axes, cells: NDArray[np.bool_]) -> None:
    """Dark lines where cells that are and cells that are not meet."""
    around = np.pad(cells, 1)
    rows, columns = np.nonzero(around[1:, 1:-1] != around[:-1, 1:-1])
    level = np.stack([np.stack([columns, rows], 1), np.stack([columns + 1, rows], 1)], 1)
    rows, columns = np.nonzero(around[1:-1, 1:] != around[1:-1, :-1])
    upright = np.stack([np.stack([columns, rows], 1), np.stack([columns, rows + 1], 1)], 1)
    lines = list(np.concatenate([level, upright]).astype(np.float64))
    narrow = axes.bbox.width / cells.shape[1] < _NARROW
    settings: dict[str, Any] = {
        "linewidths": 0.8 if narrow else 1.8,
        "capstyle": "projecting",
        "clip_on": False,
        "zorder": 2,
        "label": "significant",
    }
    axes.add_collection(LineCollection(lines, colors=INK, **settings), autolim=False)
