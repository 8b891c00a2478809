"""How far the layers separate the classes: every pair in one epoch, and the mean over many epochs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from . import _layout as layout
from ._layout import FAINT, GAP, INK, PALE, SMALL, TEXT
from ._text import write

_MOST_VALUES = 120  # cells; more numbers than that nobody reads, and each costs time to draw
_MOST_LABELS = 6  # epochs that are named one by one
_RANGE = (-0.1, 1.02)


def separation_heatmap(
    divergence: Mapping[str, NDArray[np.floating]],
    class_names: Sequence[str],
    *,
    most_pairs: int = 45,
    title: str = "",
) -> Figure:
    """Henze-Penrose divergence of every pair of classes in every layer, as colours.

    The colours mean the same in every figure, 0 to 1, so that epochs and runs can be compared by eye; values below 0
    (chance) have the colour of 0. Pairs stand in the order of the classes. Of more than ``most_pairs`` the hardest are
    shown, hardest first: those with the smallest values in the last layer that has values. Cells without a value are
    hatched. Equal input gives equal figures.

    Args:
        divergence: Layer name -> ``[K, K]``, symmetric, the layers in order of execution. Only the part above the
            diagonal is read; NaN means no value.
        class_names: The K classes.
        most_pairs: So many pairs are shown at most.
        title: Title of the figure.

    Returns:
        A figure without a canvas: its first axes are the heatmap, its second the colour scale.

    Raises:
        ValueError: If there is no layer, a matrix is not ``[K, K]``, there are fewer than two classes, or
            ``most_pairs`` is not positive.

    Example:
        >>> import numpy as np
        >>> figure = separation_heatmap({"input": np.eye(3), "fc": 1 - np.eye(3)}, ["cat", "dog", "emu"])
        >>> [text.get_text() for text in figure.axes[0].texts if text.get_label() == "column"]
        ['cat–dog', 'cat–emu', 'dog–emu']
    """
    num = len(class_names)
    if num < 2 or most_pairs < 1:
        raise ValueError(f"at least two classes and one pair are needed, not {num} classes and most_pairs={most_pairs}")
    if not divergence:
        raise ValueError("divergence has no layers")
    for layer, matrix in divergence.items():
        if np.shape(matrix) != (num, num):
            raise ValueError(
                f"divergence must be [{num}, {num}] for {num} classes, not {np.shape(matrix)} in layer {layer!r}"
            )
    first, second = np.triu_indices(num, 1)
    values = np.array([np.asarray(matrix, dtype=np.float64)[first, second] for matrix in divergence.values()])
    lines = [title] if title else []
    values[np.isinf(values)] = np.nan
    if len(first) > most_pairs:
        lines.append(f"the hardest {most_pairs} of {len(first)} pairs")
        hardest = _hardest(values)[:most_pairs]
        values, first, second = values[:, hardest], first[hardest], second[hardest]
    classes = layout.shorten(class_names, most=14)
    pairs = [f"{classes[i]}–{classes[j]}" for i, j in zip(first, second, strict=True)]
    with matplotlib.rc_context(layout.STYLE):
        return _heatmap(values, layout.shorten(list(divergence)), pairs, lines)


def separation_depth(
    curves: Mapping[int | str, Mapping[str, float]],
    *,
    title: str = "",
    value: str = "mean separation over class pairs",
) -> Figure:
    """Separation along the depth of the network, one line for each analysed epoch.

    The y axis is the same in every figure. Lines go from light (early) to dark (late); the last is bold. Up to six
    epochs are named at the ends of their lines; of more the last is named and a colour scale gives the others. Layers
    without a value in an epoch leave a gap in its line. Equal input gives equal figures.

    Args:
        curves: Epoch number, or a label such as "untrained" -> layer name -> value, NaN for none. Epochs from early to
            late, layers in order of execution; they need not be the same in all epochs.
        title: Title of the figure.
        value: What the values are, for the y axis.

    Returns:
        A figure without a canvas: the lines are in its first axes, one for each epoch, in order.

    Raises:
        ValueError: If there is no epoch or no layer.

    Example:
        >>> figure = separation_depth({"untrained": {"input": 0.4, "fc": 0.3}, 0: {"input": 0.4, "fc": 0.8}})
        >>> [text.get_text() for text in figure.axes[0].texts if text.get_label() == "epoch"]
        ['untrained', 'epoch 0']
    """
    layers = _merged([list(curve) for curve in curves.values()])
    if not layers:
        raise ValueError("curves have no epochs or no layers")
    values = np.array([[curve.get(layer, np.nan) for layer in layers] for curve in curves.values()], dtype=np.float64)
    epochs = [f"epoch {key}" if isinstance(key, int | np.integer) else str(key) for key in curves]
    with matplotlib.rc_context(layout.STYLE):
        return _depth(values, layout.shorten(layers), layout.shorten(epochs), [title] if title else [], value)


def _hardest(values: NDArray[np.float64]) -> NDArray[np.intp]:
    """Pairs of ``values [layers, pairs]`` by the last layer that has any, the smallest first, those without last."""
    known = np.flatnonzero((~np.isnan(values)).any(1))
    return np.argsort(values[known[-1] if len(known) else -1], kind="stable")


def _merged(sequences: Sequence[Sequence[str]]) -> list[str]:
    """All names once; a name that only some sequences have stands behind the one it follows there."""
    merged: list[str] = []
    for sequence in sequences:
        if set(sequence) <= set(merged):
            continue
        at = 0
        for name in sequence:
            if name in merged:
                at = merged.index(name)
            else:
                merged.insert(at, name)
            at += 1
    return merged


def _heatmap(values: NDArray[np.float64], layers: Sequence[str], pairs: Sequence[str], lines: Sequence[str]) -> Figure:
    rows, columns = values.shape
    pair_width = layout.text_width(pairs)
    cell_width = min(max(min(945 / columns, 64), 360 / columns, 21), 4000 / columns)
    if cell_width < pair_width + GAP <= 945 / columns:  # then the names can lie
        cell_width = pair_width + GAP
    upright = pair_width + GAP > cell_width
    cell_height = min(max(480 / rows, min(840 / rows, 21), 16.5), max(36, min(144 / rows, 60)), 3300 / rows)
    width, height = columns * cell_width, rows * cell_height
    strip_height = min(max(height, 120), 240)

    row_labels, row_size = layout.thinned(layers, 0.5, cell_height)
    column_labels, column_size = layout.thinned(pairs, 0.5, cell_width)
    left, top = 3 * GAP + layout.text_width(layers, row_size), layout.title_height(lines)
    below = 3 * GAP + (pair_width if upright else layout.pixels(TEXT))
    figure = layout.new_figure(left + width + 135, top + max(height + below, strip_height + 50))

    axes = layout.add_axes(figure, left, top, width, height)
    colors = matplotlib.colormaps["viridis"]
    axes.pcolormesh(np.ma.masked_invalid(values), cmap=colors, vmin=0, vmax=1)
    axes.set(xlim=(0, columns), ylim=(rows, 0))
    layout.label_columns(axes, column_labels, column_size, upright=upright)
    layout.label_rows(axes, row_labels, row_size)
    layout.add_title(axes, lines, left)
    if values.size <= _MOST_VALUES:
        _write_values(axes, values, cell_width)

    strip = layout.add_axes(figure, left + width + 2 * GAP, top, 14, strip_height)
    layout.color_strip(strip, colors(np.linspace(0, 1, 64)), {0.0: "≤ 0", 0.5: "0.5", 1.0: "1"})
    write(strip, 4.2, 0.5, "Henze–Penrose\ndivergence", rotation=90, va="center", fontsize=TEXT)
    if np.isnan(values).any():
        axes.patch.set(facecolor=PALE, edgecolor="#b4b4b4", hatch="///")  # seen where no colour covers it
        write(strip, 0, -2 * GAP / strip_height, "hatched:\nno value", va="top", fontsize=SMALL)
    return figure


def _write_values(axes: Axes, values: NDArray[np.float64], cell_width: float) -> None:
    brightness = matplotlib.colormaps["viridis"](values.clip(0, 1))[..., :3] @ [0.299, 0.587, 0.114]
    narrow = cell_width < layout.text_width(["−0.00"], SMALL) + 4
    for (row, column), value in np.ndenumerate(values):
        if not np.isnan(value):
            write(
                axes,
                column + 0.5,
                row + 0.5,
                f"{round(value, 2) + 0.0:.2f}".replace("-", "−"),
                label="value",
                color="white" if brightness[row, column] < 0.5 else INK,
                rotation=90 if narrow else 0,
                ha="center",
                va="center",
                fontsize=SMALL,
            )


def _depth(
    values: NDArray[np.float64], layers: Sequence[str], epochs: Sequence[str], lines: Sequence[str], value: str
) -> Figure:
    num, depth = values.shape
    named = epochs if num <= _MOST_LABELS else epochs[-1:]
    marks = range(0) if len(named) == num else [round(i * (num - 1) / 4) for i in range(5)]
    strip_labels = {(i + 0.5) / num: epochs[i] for i in marks}

    width, height = min(max(75.0 * depth, 400), 1040), 340.0
    margin = 2 * GAP if depth > 1 else width / 2
    spacing = (width - 2 * margin) / (depth - 1) if depth > 1 else width
    column_labels, column_size = layout.thinned(layers, 0, spacing)
    layer_width = layout.text_width(layers, column_size)
    upright = layer_width + GAP > spacing
    left, top = 128.0, layout.title_height(lines)
    right = 5 * GAP + layout.text_width(named, weight="bold")
    strip_width = 14 + 3 * GAP + layout.text_width(strip_labels.values()) if strip_labels else 0.0
    below = 3 * GAP + (layer_width if upright else layout.pixels(TEXT))
    figure = layout.new_figure(left + width + right + strip_width, top + height + below)

    axes = layout.add_axes(figure, left, top, width, height)
    axes.set(xlim=(-margin / spacing, depth - 1 + margin / spacing), ylim=_RANGE)
    _add_guides(axes, depth)
    colors = matplotlib.colormaps["viridis_r"](np.linspace(0.15, 1, num) if num > 1 else [1.0])  # all seen on white
    _add_curves(axes, values, colors)
    _name_curves(axes, values[-len(named) :], colors[-len(named) :], named)
    layout.label_columns(axes, column_labels, column_size, upright=upright)
    write(
        axes,
        (2 * GAP - left) / width,
        0.5,
        layout.shorten([value], most=44)[0],
        transform=axes.transAxes,
        rotation=90,
        ha="center",
        va="center",
        fontsize=TEXT,
    )
    layout.add_title(axes, lines, left)
    if strip_labels:
        strip = layout.add_axes(figure, left + width + right, top, 14, height)
        layout.color_strip(strip, colors, strip_labels)
    return figure


def _add_guides(axes: Axes, depth: int) -> None:
    """Pale lines at the layers and at round values, stronger ones at chance and at full separation."""
    labels = {0.0: "chance  0", 0.25: "0.25", 0.5: "0.5", 0.75: "0.75", 1.0: "1"}
    layout.label_rows(axes, labels, TEXT)
    left, right = axes.get_xlim()
    lines = [[(float(layer), _RANGE[0]), (float(layer), _RANGE[1])] for layer in range(depth)]
    lines += [[(left, y), (right, y)] for y in labels]
    colors = [PALE] * depth + [FAINT if y in (0, 1) else PALE for y in labels]
    axes.add_collection(LineCollection(lines, colors=colors, linewidths=1, zorder=0), autolim=False)


def _add_curves(axes: Axes, values: NDArray[np.float64], colors: NDArray[np.float64]) -> None:
    """A line for each row of ``values``, with dots where the lines are few and where both neighbours are missing."""
    few = len(values) <= _MOST_LABELS
    known = np.pad(np.isfinite(values), ((0, 0), (1, 1)))
    alone = known[:, 1:-1] & ~known[:, :-2] & ~known[:, 2:]
    for epoch, color in enumerate(colors):
        last = epoch == len(colors) - 1
        dots = np.flatnonzero(known[epoch, 1:-1] if few or last else alone[epoch]).tolist()
        line = Line2D(
            np.arange(values.shape[1]), values[epoch], color=color, linewidth=3.5 if last else 1.2 if few else 0.8
        )
        if dots:
            line.set(marker="o", markersize=7 if last else 4, markevery=dots)
            line.set_markeredgecolor("white" if last else color)  # seen in front of many dark lines
        axes.add_line(line)


def _name_curves(axes: Axes, values: NDArray[np.float64], colors: NDArray[np.float64], names: Sequence[str]) -> None:
    """Names at the right of the axes, each joined to its line if that gets so far; the last name is bold."""
    depth = values.shape[1]
    low, high = axes.get_xlim()
    gap = (high - low) * GAP / axes.bbox.width
    line = (_RANGE[1] - _RANGE[0]) * layout.line_height(TEXT) / axes.bbox.height
    known = np.isfinite(values)
    last = depth - 1 - known[:, ::-1].argmax(1)
    ends = np.where(known.any(1), values[np.arange(len(values)), last], 0.0).clip(*_RANGE)
    joints = []
    for end, at, name, joined in zip(ends, _spread(ends, line), names, known[:, -1], strict=True):
        start = (depth - 1, end) if joined else (high + gap, at)
        joints.append([start, (high + 3 * gap, at)])
        weight = "bold" if name is names[-1] else "normal"
        write(axes, high + 3.5 * gap, at, name, label="epoch", va="center", fontsize=TEXT, weight=weight)
    axes.add_collection(LineCollection(joints, colors=colors, linewidths=1, clip_on=False), autolim=False)


def _spread(heights: NDArray[np.float64], gap: float) -> NDArray[np.float64]:
    """The heights, moved so that they are at least ``gap`` apart, in the same order and below the top of the axes."""
    order = np.argsort(heights, kind="stable")
    steps = gap * np.arange(len(heights))
    spread = np.empty_like(heights)
    spread[order] = np.minimum(np.maximum.accumulate(heights[order] - steps), _RANGE[1] - steps[-1]) + steps
    return spread
