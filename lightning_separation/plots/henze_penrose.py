"""How far the layers separate the classes: every pair in one epoch, and the mean over many epochs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from . import _layout as layout
from ._depth import RANGE, band_shapes, draw_depth, name_curves
from ._heatmap import SEPARATION, draw_heatmap, row_height, two_digits
from ._labels import merged
from ._layout import GAP, SMALL
from ._panels import Key

_MOST_VALUES = 120  # cells; more numbers than that nobody reads, and each costs time to draw
_MOST_LABELS = 6  # epochs that are named one by one
_BAND = "#ddd3e3"  # a pale form of the last line's colour


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
        A figure without a canvas; its first axes are the heatmap, its second the colour scale.

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
    band: Mapping[str, tuple[float, float]] | None = None,
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
        band: Layer -> lower and upper end of the 95% interval over classes of the last line's value, a pale band below
            it; layers can be missing, NaN means none.

    Returns:
        A figure without a canvas; the lines are in its first axes, one for each epoch, in order.

    Raises:
        ValueError: If there is no epoch or no layer, or the band has another one.

    Example:
        >>> figure = separation_depth({"untrained": {"input": 0.4, "fc": 0.3}, 0: {"input": 0.4, "fc": 0.8}})
        >>> [text.get_text() for text in figure.axes[0].texts if text.get_label() == "epoch"]
        ['untrained', 'epoch 0']
    """
    layers = merged([list(curve) for curve in curves.values()])
    if not layers:
        raise ValueError("curves have no epochs or no layers")
    given = band or {}
    if unknown := given.keys() - set(layers):
        raise ValueError(f"the band has layers that no curve has: {sorted(unknown)}")
    ends = np.array([given.get(layer, (np.nan, np.nan)) for layer in layers], dtype=np.float64)
    values = np.array([[curve.get(layer, np.nan) for layer in layers] for curve in curves.values()], dtype=np.float64)
    epochs = [f"epoch {key}" if isinstance(key, int | np.integer) else str(key) for key in curves]
    with matplotlib.rc_context(layout.STYLE):
        return _depth(values, ends, layout.shorten(layers), layout.shorten(epochs), [title] if title else [], value)


def _hardest(values: NDArray[np.float64]) -> NDArray[np.intp]:
    """Pairs of ``values [layers, pairs]`` by the last layer that has any, the smallest first, those without last."""
    known = np.flatnonzero((~np.isnan(values)).any(1))
    return np.argsort(values[known[-1] if len(known) else -1], kind="stable")


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


def _heatmap(values: NDArray[np.float64], layers: Sequence[str], pairs: Sequence[str], lines: Sequence[str]) -> Figure:
    columns = values.shape[1]
    pair_width = layout.text_width(pairs)
    cell_width = min(max(min(945 / columns, 64), 360 / columns, 21), 4000 / columns)
    if cell_width < pair_width + GAP <= 945 / columns:  # then the names can lie
        cell_width = pair_width + GAP
    figure, axes = draw_heatmap(
        values,
        layers,
        layout.thinned(pairs, 0.5, cell_width),
        SEPARATION,
        cell=(cell_width, row_height(len(values))),
        upright=pair_width + GAP > cell_width,
        lines=lines,
    )
    if values.size <= _MOST_VALUES:
        narrow = cell_width < layout.text_width(["−0.00"], SMALL) + 4
        layout.write_values(axes, two_digits(values), SEPARATION.faces(values), upright=narrow)
    return figure


def _depth(
    values: NDArray[np.float64],
    ends: NDArray[np.float64],
    layers: Sequence[str],
    epochs: Sequence[str],
    lines: Sequence[str],
    value: str,
) -> Figure:
    num = len(values)
    keys = [Key("95% interval over classes", _BAND, "s")] if np.isfinite(ends).all(1).any() else []
    named = epochs if num <= _MOST_LABELS else epochs[-1:]
    marks = range(0) if len(named) == num else [round(i * (num - 1) / 4) for i in range(5)]
    strip_labels = {(i + 0.5) / num: epochs[i] for i in marks}
    strip_width = 14 + 3 * GAP + layout.text_width(strip_labels.values()) if strip_labels else 0.0
    figure, axes = draw_depth(layers, named, value=value, lines=lines, keys=keys, beside=strip_width)
    colors = matplotlib.colormaps["viridis_r"](np.linspace(0.15, 1, num) if num > 1 else [1.0])  # all seen on white
    if keys:
        low, high = ends.clip(*RANGE).T
        shapes = band_shapes(np.arange(len(layers)), low, high, 4 * np.ptp(axes.get_xlim()) / axes.bbox.width)
        band = PolyCollection(shapes, facecolors=_BAND, linewidths=0, zorder=0.5, label="band")
        axes.add_collection(band, autolim=False)
    _add_curves(axes, values, colors)
    name_curves(axes, values[-len(named) :], colors[-len(named) :], named, bold=[len(named) - 1])
    if strip_labels:
        top = figure.bbox.height - axes.bbox.y1
        strip = layout.add_axes(figure, figure.bbox.width - strip_width, top, 14, axes.bbox.height)
        layout.color_strip(strip, colors, strip_labels)
    return figure
