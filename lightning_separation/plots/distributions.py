"""How the values of single units are distributed in each class: one small panel for each unit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from numpy.typing import NDArray

from . import _layout as layout
from ._layout import FAINT, GAP, SMALL, TEXT
from ._text import write

_COLORS = ("#0072b2", "#e69f00", "#009e73")  # Okabe and Ito: told apart by the colour-blind
_LOW, _HIGH, _OTHER = "#0072b2", "#d55e00", "#b0b0b0"
_LINE = "#777777"
_MOST_COLORED = len(_COLORS)  # classes that have colours of their own
_MOST_RIDGES = 12  # classes that stand one above the other; of more, all but two are grey lines
_LANE = 15.0  # pixels from one ridge to the next
_OVERLAP = 2.0  # lanes that a ridge may reach up
_SPIKE = 3.0  # times as high as the rest is what is cut
_REST = 0.05  # of the samples; when fewer lie beside the peaks, the peaks say it all


class _Grid(NamedTuple):
    """Where the panels stand, in pixels of the canvas: their left edges, and their floors."""

    left: NDArray[np.float64]
    floor: NDArray[np.float64]
    width: float
    height: float

    def only(self, chosen: NDArray[np.bool_]) -> _Grid:
        return self._replace(left=self.left[chosen], floor=self.floor[chosen])


def unit_distributions(
    histograms: NDArray[np.integer] | NDArray[np.floating],
    edges: NDArray[np.floating],
    captions: Sequence[str],
    class_names: Sequence[str],
    *,
    rows: Sequence[str],
    title: str = "",
) -> Figure:
    """The distributions of the classes in single units, as many small panels.

    Every panel shows one unit over its own range of values; a dashed line marks zero. The areas of the classes are
    equal within a panel (densities), whatever their numbers of samples, and the panel is scaled to the highest. A peak
    that would flatten all else, such as the zeros of a ReLU, is cut and marked with a triangle.

    Up to three classes have colours of their own and lie on top of each other. Up to twelve stand one above the
    other, the one with the highest mean and the one with the lowest in colour. Of more, these two are filled and named
    above the panel and all others are thin grey lines. Equal input gives equal figures.

    Args:
        histograms: ``[S, K, B]``, counts of S units, K classes and B bins; a class without counts is left out.
        edges: ``[S, B + 1]``, the edges of each unit's bins, from low to high.
        captions: S texts of one or more lines, such as a unit's number above what was found.
        class_names: The K classes.
        rows: Names of the rows of panels. Each row has ``S / len(rows)`` panels.
        title: Title of the figure.

    Returns:
        A figure without a canvas, with one axes whose unit is the pixel.

    Raises:
        ValueError: If a shape does not fit, there is nothing to show, S cannot be divided into the rows, or counts are
            negative or not finite.

    Example:
        >>> import numpy as np
        >>> histograms = np.array([[[0, 2, 6], [5, 3, 0]], [[1, 4, 1], [1, 4, 1]]])
        >>> edges = np.array([[-1.0, 0.0, 1.0, 2.0]] * 2)
        >>> figure = unit_distributions(
        ...     histograms, edges, ["unit 3", "unit 0"], ["cat", "dog"], rows=["most significant", "least significant"]
        ... )
        >>> [text.get_text() for text in figure.axes[0].texts if text.get_label() in ("row", "caption")]
        ['most significant', 'unit 3', 'least significant', 'unit 0']
    """
    counts = np.asarray(histograms, dtype=np.float64)
    limits = np.array(edges, dtype=np.float64)
    num = len(captions)
    if counts.ndim != 3 or counts.shape[:2] != (num, len(class_names)) or not counts.size:
        raise ValueError(
            f"histograms must be [{num}, {len(class_names)}, bins] for {num} captions and {len(class_names)} classes, "
            f"not {list(counts.shape)}"
        )
    if limits.shape != (num, counts.shape[2] + 1):
        raise ValueError(f"edges must be {[num, counts.shape[2] + 1]}, not {list(limits.shape)}")
    if not rows or num % len(rows):
        raise ValueError(f"{num} units cannot be divided into {len(rows)} rows")
    if not (counts >= 0).all() or np.isinf(counts).any():
        raise ValueError("histograms must be finite and not negative")
    if (np.diff(limits) < 0).any():
        raise ValueError("edges must go from low to high")
    with matplotlib.rc_context(layout.STYLE):
        return _draw(counts, limits, captions, list(class_names), layout.shorten(rows, most=60), title)


def _draw(
    counts: NDArray[np.float64],
    edges: NDArray[np.float64],
    captions: Sequence[str],
    classes: list[str],
    rows: Sequence[str],
    title: str,
) -> Figure:
    num, num_classes, _ = counts.shape
    columns = num // len(rows)
    ridges = _MOST_COLORED < num_classes <= _MOST_RIDGES
    named = num_classes > _MOST_RIDGES  # above the panels

    texts = [[" ".join(line.split()) for line in caption.splitlines()] for caption in captions]
    width = min(max(layout.text_width([line for lines in texts for line in lines]), 160.0), 230.0)
    height = num_classes * _LANE + (_OVERLAP - 1) * _LANE if ridges else 100.0
    names = layout.shorten(classes, most=14)
    left = 2 * GAP + (layout.text_width(names, SMALL) + GAP if ridges else 0.0)
    legend = _legend(classes, num_classes)
    pitch = width + 3 * GAP
    heading = layout.line_height(TEXT) + GAP
    caption = layout.line_height(TEXT) * max(map(len, texts)) + (layout.line_height(SMALL) if named else 0.0)
    depth = heading + caption + GAP / 2 + height + layout.line_height(SMALL) + 2 * GAP

    heights, cut = _heights(counts, edges)
    if cut.any():
        legend.append("▲ peak higher than shown")
    across = max(left + columns * pitch, layout.title_width([title] if title else []), 480.0)
    keys = _flow([layout.text_width([text]) + 5 * GAP for text in legend], across - 2 * GAP)
    begin = keys[-1][1] + 2.5 * GAP
    lines = [title] if title else []
    top = layout.title_height(lines)
    figure = layout.new_figure(across, top + begin + len(rows) * depth)
    axes = layout.add_canvas(figure, top)
    layout.add_title(axes, lines, 0)

    at = np.arange(num)
    grid = _Grid(left + pitch * (at % columns), begin + depth * (at // columns) + depth - 2 * GAP, width, height)
    grid = grid._replace(floor=grid.floor - layout.line_height(SMALL))
    _add_keys(axes, legend, keys, num_classes)
    for row, name in enumerate(rows):
        y = begin + row * depth + heading / 2
        write(axes, 2 * GAP, y, name, label="row", weight="bold", va="center", fontsize=TEXT)
        for i in range(row * columns, (row + 1) * columns):
            y = grid.floor[i] - height - GAP / 2 - (layout.line_height(SMALL) if named else 0)
            text = "\n".join(layout.fitted(line, width) for line in texts[i])
            write(axes, grid.left[i], y, text, label="caption", va="bottom", fontsize=TEXT)
        if ridges:
            for k, name in enumerate(names):
                y = grid.floor[row * columns] - (num_classes - 1 - k + 0.4) * _LANE
                write(axes, left - GAP, y, name, label="class", ha="right", va="center", fontsize=SMALL)
    known = np.asarray(counts.any((1, 2)) & np.isfinite(edges).all(1))
    places = _places(edges)
    extremes = _extremes(counts, places)
    if named:
        room = (width - 2 * GAP) / 2
        wide = max(layout.text_width(names, SMALL), 1.0)
        _name_extremes(axes, extremes, known, layout.shorten(names, max(int(14 * min(room / wide, 1)), 5)), grid)
    _add_ranges(axes, edges, known, grid)
    _add_distributions(axes, heights[known], cut[known], places[known], extremes[known], grid.only(known))
    return figure


def _legend(classes: list[str], num_classes: int) -> list[str]:
    if num_classes <= _MOST_COLORED:
        return layout.shorten(classes, most=20)
    return ["lowest mean", "highest mean", "other classes"]


def _flow(widths: Sequence[float], room: float) -> list[tuple[float, float]]:
    """Places of texts of such widths, in as many lines as they need."""
    places, x, y = [], 0.0, GAP + layout.line_height(TEXT) / 2
    for width in widths:
        if x and x + width > room:
            x, y = 0.0, y + layout.line_height(TEXT) + GAP / 2
        places.append((2 * GAP + x, y))
        x += width
    return places


def _add_keys(axes: Axes, legend: Sequence[str], places: Sequence[tuple[float, float]], num_classes: int) -> None:
    """What the colours mean, and the triangles."""
    colors = _COLORS[:num_classes] if num_classes <= _MOST_COLORED else (_LOW, _HIGH, _OTHER)
    boxes = []
    for i, (text, (x, y)) in enumerate(zip(legend, places, strict=True)):
        if i < len(colors):
            boxes.append([(x, y - 6), (x + 14, y - 6), (x + 14, y + 6), (x, y + 6)])
            x += 20
        write(axes, x, y, text, label="legend", va="center", fontsize=TEXT)
    axes.add_collection(PolyCollection(boxes, facecolors=colors), autolim=False)


def _heights(counts: NDArray[np.float64], edges: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Densities in each panel relative to its height ``[S, K, B]``, NaN for a class without counts; and what is cut."""
    widths = np.diff(edges)[:, None]
    totals = counts.sum(2, keepdims=True)
    share = np.where(totals > 0, counts / np.where(totals > 0, totals, 1), np.nan)
    density = share / np.where(widths > 0, widths, np.inf)
    bad = ~np.isfinite(edges).all(1) | ~(edges[:, -1] > edges[:, 0])
    density[bad] = share[bad]  # a constant: its bins are drawn of equal width
    peak = np.nan_to_num(density).max((1, 2))
    # A class may have two peaks, one at either end of a sigmoid.
    order = np.argsort(np.nan_to_num(density), axis=2)[..., ::-1]
    rest = np.take_along_axis(density, order[..., 2:], 2)
    beside = np.take_along_axis(share, order[..., 2:], 2).sum(2)
    rest = np.where(beside[..., None] >= _REST, np.nan_to_num(rest), 0.0)
    most = rest.max((1, 2)) if rest.shape[2] else np.zeros(len(counts))
    limit = np.where(most > 0, _SPIKE * most, np.inf)[:, None, None]
    highest = np.where(density <= limit, density, 0.0).max((1, 2))
    gains = peak > 1.5 * highest  # else a cut hides more than it shows
    scale = np.where(gains, 1.1 * highest, np.where(peak > 0, peak, 1.0))
    heights = density / scale[:, None, None]
    return np.minimum(heights, 1.0), np.nan_to_num(heights) > 1 + 1e-9


def _places(edges: NDArray[np.float64]) -> NDArray[np.float64]:
    """Edges as places in the panel, from 0 to 1."""
    low, high = edges[:, :1], edges[:, -1:]
    good = np.isfinite(edges).all(1, keepdims=True) & (high > low)
    even = np.linspace(0, 1, edges.shape[1])[None]
    return np.where(good, (edges - low) / np.where(good, high - low, 1), even)


def _add_ranges(axes: Axes, edges: NDArray[np.float64], known: NDArray[np.bool_], grid: _Grid) -> None:
    """The floor of every panel, its smallest and largest value, and zero."""
    floors, zeros = [], []
    for i, (left, floor) in enumerate(zip(grid.left, grid.floor, strict=True)):
        right = left + grid.width
        floors.append([(left, floor), (right, floor)])
        low, high = edges[i, 0], edges[i, -1]
        if not known[i]:
            middle = (left + right) / 2, floor - grid.height / 2
            write(axes, *middle, "no values", label="empty", ha="center", va="center", fontsize=TEXT, color=FAINT)
            continue
        ends = [layout.number(low), layout.number(high)]
        y = floor + 3
        if high == low:
            write(axes, (left + right) / 2, y, ends[0], label="end", ha="center", va="top", fontsize=SMALL)
            continue
        for x, text, align in zip((left, right), ends, ("left", "right"), strict=True):
            write(axes, x, y, text, label="end", ha=align, va="top", fontsize=SMALL)
        if low <= 0 <= high:
            zero = left + grid.width * -low / (high - low)
            zeros.append([(zero, floor), (zero, floor - grid.height)])
            inner = [left + 8.0 * len(ends[0]) + 10, right - 8.0 * len(ends[1]) - 10]
            if inner[0] < zero < inner[1]:
                write(axes, zero, y, "0", label="zero", ha="center", va="top", fontsize=SMALL)
    axes.add_collection(LineCollection(floors, colors=FAINT, linewidths=1, zorder=0.5), autolim=False)
    axes.add_collection(
        LineCollection(zeros, colors="#555555", linewidths=1, linestyles="dashed", zorder=3), autolim=False
    )


def _extremes(counts: NDArray[np.float64], places: NDArray[np.float64]) -> NDArray[np.intp]:
    """The class with the lowest mean and the one with the highest ``[S, 2]``, of those that have counts."""
    middles = (places[:, 1:] + places[:, :-1])[:, None] / 2
    totals = counts.sum(2)
    means = (counts * middles).sum(2) / np.where(totals > 0, totals, 1)
    low = np.where(totals > 0, means, np.inf).argmin(1)
    high = np.where(totals > 0, means, -np.inf).argmax(1)
    return np.stack([low, high], axis=1)


def _add_distributions(
    axes: Axes,
    heights: NDArray[np.float64],
    cut: NDArray[np.bool_],
    places: NDArray[np.float64],
    extremes: NDArray[np.intp],
    grid: _Grid,
) -> None:
    num, num_classes, _ = heights.shape
    ridges = _MOST_COLORED < num_classes <= _MOST_RIDGES
    base = np.repeat(grid.floor[:, None], num_classes, axis=1)
    if ridges:
        base = base - _LANE * np.arange(num_classes)[::-1]
    reach = _OVERLAP * _LANE if ridges else grid.height
    x = grid.left[:, None] + grid.width * places
    stairs = np.zeros((num, num_classes, 2 * places.shape[1], 2))
    stairs[..., 0] = np.repeat(x, 2, axis=1)[:, None]
    stairs[..., 1] = base[..., None]
    stairs[..., 1:-1, 1] -= reach * np.repeat(heights, 2, axis=2)

    present = ~np.isnan(heights).any(2)
    role = np.full((num, num_classes), 2)
    if num_classes <= _MOST_COLORED:
        role[:] = np.arange(num_classes)
    else:
        role[np.arange(num), extremes[:, 0]] = 0
        role[np.arange(num), extremes[:, 1]] = 1
    filled = present if num_classes <= _MOST_RIDGES else present & (role < 2)
    if not filled.all():
        middle = stairs[:, :, 1:-1].reshape(num, num_classes, -1, 2, 2).mean(3)
        lines = LineCollection(middle[present & ~filled], colors=to_rgba(_LINE, 0.3), linewidths=0.7)
        axes.add_collection(lines, autolim=False)
    edges = np.array([to_rgba(color) for color in (_COLORS if num_classes <= _MOST_COLORED else (_LOW, _HIGH, _LINE))])
    faces = edges * (1, 1, 1, 0.35)
    if ridges:
        faces = np.array([to_rgba(color, 0.8) for color in (_LOW, _HIGH, "#cccccc")])
    axes.add_collection(
        PolyCollection(
            list(stairs[filled]),
            facecolors=faces[role[filled]],
            edgecolors=edges[role[filled]],
            linewidths=0.8 if ridges else 1.2,
            zorder=2,
        ),
        autolim=False,
    )
    unit, at = np.nonzero(cut.any(1))
    if len(unit):
        tip = np.stack([(x[unit, at] + x[unit, at + 1]) / 2, grid.floor[unit] - grid.height - 1], axis=1)
        triangles = tip[:, None] + [(0, 0), (-4, 8), (4, 8)]
        marks = PolyCollection(list(triangles), facecolors="#222222", edgecolors="white", linewidths=0.8, zorder=4)
        axes.add_collection(marks, autolim=False)


def _name_extremes(
    axes: Axes, extremes: NDArray[np.intp], known: NDArray[np.bool_], names: Sequence[str], grid: _Grid
) -> None:
    for i in np.flatnonzero(known):
        y = grid.floor[i] - grid.height - GAP / 2
        low, high = extremes[i]
        write(axes, grid.left[i], y, names[low], label="low", color=_LOW, va="bottom", fontsize=SMALL)
        if high != low:
            right = grid.left[i] + grid.width
            write(axes, right, y, names[high], label="high", color=_HIGH, va="bottom", ha="right", fontsize=SMALL)
