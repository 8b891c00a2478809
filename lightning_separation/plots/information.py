"""What layers tell about the input and the classes: over the epochs, and along the depth of the network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from numpy.typing import NDArray

from . import _layout as layout
from ._layout import FAINT, GAP, INK, PALE, SMALL, TEXT
from ._panels import BLUE, GREEN, GREY, MARK, ORANGE, Key, add_keys, place_keys, scale_of, ticks
from ._rows import Panel, add_bars, draw_rows
from ._text import write

# All dark enough to begin light and be seen; the first, that of the input, stands back.
_COLORS = ("#5f6b73", BLUE, ORANGE, GREEN, "#b0479c", "#5b4a9e", "#8a6d00", "#9e1b32")
_LIGHTEST = 0.3  # of the colour at the first epoch
_WIDTH, _HEIGHT = 520.0, 380.0
_MOST_DOTS = 20  # epochs; of more only the first and the last are marked
_HEADS = ("entropy", "with the layer before", "with the classes")


def information_plane(
    entropy: Mapping[int | str, Mapping[str, float]],
    information: Mapping[int | str, Mapping[str, float]],
    *,
    title: str = "",
    most_layers: int = 30,
) -> Figure:
    """The information plane: a path over the epochs for each layer, light at the first and dark at the last.

    To the right: entropy, which for a deterministic unit and distinct inputs is what its value tells about the input;
    up: what it tells about the classes. A square marks the first epoch of a path, a circle the last; the layers' names
    stand at the right, joined to the ends. Of more than ``most_layers`` so many are shown, evenly spaced from first to
    last. Epochs without a value leave a gap. Equal input gives equal figures.

    Args:
        entropy: Epoch number, or a label such as "before training" -> layer -> mean entropy of its units in nats, NaN
            for none. Epochs from early to late, layers in order of execution; they need not be the same in all epochs.
        information: Epoch -> layer -> mean information of its units with the classes in nats.
        title: Title of the figure.
        most_layers: So many layers are shown at most.

    Returns:
        A figure without a canvas, with one axes whose unit is the pixel.

    Raises:
        ValueError: If there is no epoch or no layer, the epochs differ, or ``most_layers`` is not positive.

    Example:
        >>> entropy = {0: {"fc": 1.0, "out": 0.8}, 1: {"fc": 1.2, "out": 0.9}}
        >>> information = {0: {"fc": 0.1, "out": 0.3}, 1: {"fc": 0.4, "out": 0.6}}
        >>> figure = information_plane(entropy, information)
        >>> [text.get_text() for text in figure.axes[0].texts if text.get_label() == "layer"]
        ['fc', 'out']
    """
    if list(entropy) != list(information):
        raise ValueError(f"entropy has epochs {list(entropy)}, information {list(information)}")
    layers, lines = _chosen(entropy, title, most_layers)
    x, y = _values(entropy, layers), _values(information, layers)
    known = np.isfinite(x) & np.isfinite(y)
    x, y = np.where(known, x, np.nan), np.where(known, y, np.nan)
    first, last = _epochs([next(iter(entropy)), list(entropy)[-1]])
    keys = [Key(f"first: {first}", GREY, "s"), Key(f"last: {last}", INK, "o")] if len(entropy) > 1 else []
    with matplotlib.rc_context(layout.STYLE):
        labels = "mean entropy of a unit, nats", "information with the classes, nats"
        scales = _tight(x), scale_of(y)
        across = {mark: layout.number(mark) for mark in ticks(*scales[0])}
        names = layout.shorten(layers, most=24)
        return _draw(names, x, y, scales, across, labels, keys=keys, lines=lines, lightest=_LIGHTEST)


def information_epochs(
    curves: Mapping[int | str, Mapping[str, float]],
    *,
    title: str = "",
    value: str = "mean entropy of a unit, nats",
    most_layers: int = 30,
) -> Figure:
    """One number of each layer over the epochs, a line for each layer, named at its end.

    Of more than ``most_layers`` so many are shown, evenly spaced from first to last. Epochs without a value leave a
    gap. Equal input gives equal figures.

    Args:
        curves: Epoch number, or a label such as "before training" -> layer -> value, NaN for none. Epochs from early
            to late, layers in order of execution; they need not be the same in all epochs.
        title: Title of the figure.
        value: What the values are, for the vertical scale.
        most_layers: So many layers are shown at most.

    Returns:
        A figure without a canvas, with one axes whose unit is the pixel.

    Raises:
        ValueError: If there is no epoch or no layer, or ``most_layers`` is not positive.

    Example:
        >>> figure = information_epochs({"before training": {"fc": 1.0}, 0: {"fc": 1.2}})
        >>> [text.get_text() for text in figure.axes[0].texts if text.get_label() == "column"]
        ['before training', 'epoch 0']
    """
    layers, lines = _chosen(curves, title, most_layers)
    y = _values(curves, layers)
    x = np.where(np.isfinite(y), np.arange(len(curves)), np.nan)
    margin = max(0.03 * (len(curves) - 1), 0.5 if len(curves) == 1 else 0.0)
    with matplotlib.rc_context(layout.STYLE):
        epochs = layout.shorten(_epochs(list(curves)), most=16)
        most = int(_WIDTH // (layout.text_width(epochs) + 2 * GAP))
        marks = np.unique(np.linspace(0, len(epochs) - 1, min(most, len(epochs), 6)).round().astype(int))
        across = {float(i): epochs[i] for i in marks.tolist()}
        scales = (-margin, len(epochs) - 1 + margin), _tight(y)
        names = layout.shorten(layers, most=24)
        return _draw(names, x, y, scales, across, ("", value), keys=[], lines=lines, lightest=1.0)


def information_depth(
    entropy: Mapping[str, float],
    previous: Mapping[str, float],
    classes: Mapping[str, float] | None = None,
    *,
    class_entropy: float = np.nan,
    title: str = "",
) -> Figure:
    """What the units of each layer tell, a row for each layer: as bars side by side, each panel with its own scale.

    The entropy of a unit, its information with the units of the layer before and, if given, with the classes. The most
    that a unit can tell about the classes, their entropy, is a dashed line; where the bars do not get near it, it is
    only named. Equal input gives equal figures.

    Args:
        entropy: Layer -> mean over its units in nats, NaN for none. Layers in order of execution.
        previous: Layer -> mean information of its units with those of the layer before, in nats; layers can be missing.
        classes: Layer -> mean information of its units with the classes, in nats.
        class_entropy: Entropy of the classes in nats.
        title: Title of the figure.

    Returns:
        A figure without a canvas, with one axes whose unit is the pixel.

    Raises:
        ValueError: If there is no layer, or an unknown one in ``previous`` or ``classes``.

    Example:
        >>> figure = information_depth({"input": 1.5, "fc": 1.2}, {"fc": 0.25}, {"input": 0.1, "fc": 0.5})
        >>> [text.get_text() for text in figure.axes[0].texts if text.get_label() == "text"]
        ['1.5', '1.2', '–', '0.25', '0.1', '0.5']
    """
    given = [entropy, previous] if classes is None else [entropy, previous, classes]
    if not entropy or any(set(values) - set(entropy) for values in given):
        raise ValueError(f"entropy needs layers, and all that the others have, not only {list(entropy)}")
    values = np.array([[part.get(layer, np.nan) for layer in entropy] for part in given], dtype=np.float64)
    values[np.isinf(values)] = np.nan
    panels, keys, lines = [], [], [title] if title else []
    for i, row in enumerate(values):
        texts = ["–" if np.isnan(x) else layout.number(x) for x in row]
        measure = "information" if i else "entropy"
        panels.append(Panel(scale_of(row), f"mean {measure} of a unit, nats", texts, head=_HEADS[i]))
    near = False
    if classes is not None and np.isfinite(class_entropy):
        told = "most that a unit can tell about the classes"
        near = bool(4 * np.nan_to_num(values[2]).max() >= class_entropy)
        if near:
            panels[2] = panels[2]._replace(scale=scale_of(np.append(values[2], class_entropy)))
            keys.append(Key(f"{told}: {layout.number(class_entropy)} nats", INK, "--"))
        else:
            lines.append(f"{told}: {layout.number(class_entropy)} nats, beyond the scale")
    with matplotlib.rc_context(layout.STYLE):
        names = layout.shorten(entropy)
        figure, rows = draw_rows(names, panels, keys=keys, lines=lines)
        for i, color in enumerate((GREY, BLUE, ORANGE)[: len(values)]):
            add_bars(rows, i, values[i], color)
        if near:
            x, half = rows.x(2, class_entropy).item(), rows.pitch / 2
            way = [(x, rows.middles[0] - half), (x, rows.middles[-1] + half)]
            most = LineCollection([way], colors=INK, linewidths=2, linestyles="--", zorder=3, label="class entropy")
            rows.axes.add_collection(most, autolim=False)
    return figure


def _chosen(curves: Mapping[int | str, Mapping[str, float]], title: str, most: int) -> tuple[list[str], list[str]]:
    """The layers shown, in order, and the lines of the title."""
    layers = list(dict.fromkeys(layer for curve in list(curves.values())[::-1] for layer in curve))
    if not layers or most < 1:
        raise ValueError(f"there are {len(curves)} epochs and {len(layers)} layers, and most_layers={most}")
    lines = [title] if title else []
    if len(layers) > most:
        lines.append(f"{most} of {len(layers)} layers, evenly spaced")
        layers = [layers[i] for i in np.linspace(0, len(layers) - 1, most).round().astype(int).tolist()]
    return layers, lines


def _values(curves: Mapping[int | str, Mapping[str, float]], layers: Sequence[str]) -> NDArray[np.float64]:
    """``[layers, epochs]``, NaN where there is no value."""
    values = np.array([[curve.get(layer, np.nan) for curve in curves.values()] for layer in layers], dtype=np.float64)
    values[np.isinf(values)] = np.nan
    return values


def _epochs(labels: Sequence[int | str]) -> list[str]:
    return [f"epoch {label}" if isinstance(label, int | np.integer) else str(label) for label in labels]


def _tight(values: NDArray[np.float64]) -> tuple[float, float]:
    """Where a scale in nats begins and ends that need not have zero: near the values, but noise must not fill it.

    Example:
        >>> _tight(np.array([1.0, 2.0])), _tight(np.array([np.nan, 1.0]))
        ((0.94, 2.06), (0.95, 1.05))
    """
    finite = values[np.isfinite(values)]
    if not len(finite):
        return 0.0, 1.0
    low, high = float(finite.min()), float(finite.max())
    missing = max(0.1 * max(abs(low), abs(high), 0.1) - 1.12 * (high - low), 0.0)
    margin = 0.06 * (high - low) + missing / 2
    return low - margin, high + margin


def _draw(
    names: Sequence[str],
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    scales: tuple[tuple[float, float], tuple[float, float]],
    across: Mapping[float, str],
    labels: tuple[str, str],
    *,
    keys: Sequence[Key],
    lines: Sequence[str],
    lightest: float,
) -> Figure:
    """A path for each layer, ``x`` and ``y`` ``[layers, epochs]``, on scales across and up."""
    size = TEXT if len(names) <= 12 else SMALL
    height = max(_HEIGHT, len(names) * layout.line_height(size))
    (low, high), (bottom, ceiling) = scales
    up = {mark: layout.number(mark) for mark in ticks(bottom, ceiling)}
    begin = GAP + layout.line_height(TEXT)  # the name of the vertical scale
    ends = layout.text_width(list(across.values())[:1]) / 2, layout.text_width(list(across.values())[-1:]) / 2
    left = begin + max(layout.text_width(up.values()) + 2 * GAP, ends[0])
    right = max(5 * GAP + layout.text_width(names, size, "bold"), ends[1])
    room = max(left + _WIDTH + right + GAP, layout.title_width(lines))
    places, keys_height = place_keys(keys, room)
    floor = keys_height + GAP + height

    top = layout.title_height(lines)
    below = 2 * GAP + layout.line_height(TEXT) * (2 if labels[0] else 1)
    figure = layout.new_figure(room, top + floor + below + GAP)
    axes = layout.add_canvas(figure, top)
    layout.add_title(axes, lines, 0)
    add_keys(axes, keys, places)
    grid: dict[str, list[list[tuple[float, float]]]] = {"pale": [], "strong": []}
    for mark, text in across.items():
        at = left + _WIDTH * (mark - low) / (high - low)
        grid["pale"].append([(at, floor - height), (at, floor)])
        write(axes, at, floor + 1.25 * GAP, text, label="column", ha="center", va="top", fontsize=TEXT)
    for mark, text in up.items():
        at = floor - height * (mark - bottom) / (ceiling - bottom)
        grid["pale" if mark else "strong"].append([(left, at), (left + _WIDTH, at)])
        write(axes, left - GAP, at, text, label="row", ha="right", va="center", fontsize=TEXT)
    for color, strokes in ((PALE, grid["pale"]), (FAINT, grid["strong"])):
        axes.add_collection(LineCollection(strokes, colors=color, linewidths=1, zorder=0), autolim=False)
    settings: dict[str, Any] = {"ha": "center", "fontsize": TEXT}
    write(axes, left + _WIDTH / 2, floor + below, labels[0], label="across", va="bottom", **settings)
    told = layout.fitted(labels[1], height)
    write(axes, GAP, floor - height / 2, told, label="up", rotation=90, ha="left", va="center", fontsize=TEXT)

    points = np.stack(
        [left + _WIDTH * (x - low) / (high - low), floor - height * (y - bottom) / (ceiling - bottom)], axis=2
    )
    _add_paths(axes, points, lightest)
    _name_paths(axes, points, names, size, left + _WIDTH, (floor - height, floor))
    return figure


def _add_paths(axes: Axes, points: NDArray[np.float64], lightest: float) -> None:
    """Paths from light to dark, the first and last of their points marked, between them dots if they are few.

    Args:
        axes: The canvas.
        points: ``[layers, epochs, 2]``, in its pixels; NaN for none.
        lightest: The share of the colour at the first epoch.
    """
    num = points.shape[1]
    shares = np.linspace(lightest if num > 1 else 1.0, 1.0, num)[:, None]
    for i, path in enumerate(points):
        colors = 1 - shares * (1 - np.array(to_rgb(_COLORS[i % len(_COLORS)])))
        known = np.flatnonzero(np.isfinite(path[:, 0]))
        joined = np.flatnonzero(np.diff(known) == 1)
        strokes = np.stack([path[known[joined]], path[known[joined] + 1]], axis=1)
        way = LineCollection(list(strokes), colors=colors[known[joined] + 1], linewidths=2, zorder=2, label="path")
        axes.add_collection(way, autolim=False)
        dots = known if num <= _MOST_DOTS else np.setdiff1d(known, [known[joined], known[joined] + 1])
        for chosen, marker, size in ((dots, "o", 0.45), (known[:1], "s", 1.1), (known[-1:], "o", 2.0)):
            x, y = path[chosen].T
            axes.scatter(x, y, s=size * MARK, c=colors[chosen], marker=marker, linewidths=0, zorder=3)


def _name_paths(
    axes: Axes,
    points: NDArray[np.float64],
    names: Sequence[str],
    size: float,
    right: float,
    reach: tuple[float, float],
) -> None:
    """Names at the right, each joined to the end of its path; none where a path has no point."""
    line = layout.line_height(size)
    named, ends = [], []
    for i, path in enumerate(points):
        known = path[np.isfinite(path[:, 0])]
        if len(known):
            named.append(i)
            ends.append(known[-1])
    heights = layout.spread([end[1] for end in ends], line, reach[0] + line / 2, reach[1] - line / 2)
    joints, colors = [], [_COLORS[i % len(_COLORS)] for i in named]
    for i, end, y, color in zip(named, ends, heights.tolist(), colors, strict=True):
        joints.append([tuple(end), (right + GAP, y), (right + 2 * GAP, y)])
        settings: dict[str, Any] = {"color": color, "weight": "bold", "va": "center", "fontsize": size}
        write(axes, right + 2.5 * GAP, y, names[i], label="layer", **settings)
    axes.add_collection(
        LineCollection(joints, colors=colors, linewidths=0.8, alpha=0.6, zorder=1, label="joints"), autolim=False
    )
    if not named:
        middle = right - _WIDTH / 2, sum(reach) / 2
        write(axes, *middle, "no values", label="empty", ha="center", va="center", fontsize=TEXT)
