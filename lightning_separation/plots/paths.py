"""The ways through a network along which the most flows: columns of nodes, and the strongest links between them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import CircleCollection, LineCollection, PolyCollection
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from numpy.typing import NDArray

from . import _layout as layout
from ._layout import FAINT, GAP, INK, PALE, SMALL, TEXT
from ._text import DPI, write

_ALL_DRAWN = 32  # nodes; of a larger column only so many as the next line says
_MOST_DRAWN = 24
_NEGATIVE, _POSITIVE = "#2166ac", "#b2182b"  # the ends of the scale of colours, not quite as dark
_WIDEST = 7.0  # points of the strongest link


@dataclass(frozen=True, eq=False)
class PathColumn:
    """One column of nodes: a layer, the features or the classes.

    Attributes:
        title: What stands above the column.
        labels: Names of its n nodes.
        values: ``[n]``, the nodes' values, of any sign; NaN means no value.
    """

    title: str
    labels: Sequence[str]
    values: NDArray[np.floating]


def path_diagram(
    columns: Sequence[PathColumn],
    edges: Sequence[NDArray[np.floating]],
    *,
    title: str = "",
    most_edges: int = 60,
    highlight: Mapping[int, Sequence[int]] | None = None,
    says: str = "circles: values, lines: contributions",
) -> Figure:
    """What contributes to what, from left to right: nodes as circles, contributions as lines.

    Blue is negative and red positive. A node's colour is its value relative to the largest of its column, a line's
    width and opacity its contribution relative to the largest between the same two columns. Of the links between two
    columns only the ``most_edges`` strongest are drawn.

    Columns of up to 32 nodes are drawn as they are. Of larger ones the 24 nodes with the largest sum of absolute
    contributions are drawn, in an order that keeps them near those they are linked to, and the column's title says so.
    Equal input gives equal figures.

    Args:
        columns: The columns from left to right.
        edges: The contributions from each column to the next, ``[n of the next, n of the column]``. What is not
            finite is not drawn.
        title: Title of the figure.
        most_edges: So many links between two columns are drawn at most.
        highlight: Column number -> numbers of the nodes that stand out and are drawn in any case. If not given, the
            node with the largest value in the last column, unless all are equal.
        says: What circles and lines mean, for the legend.

    Returns:
        A figure without a canvas, with one axes whose unit is the pixel. Its first collections are the links, one for
        each gap between columns.

    Raises:
        ValueError: If there is no column or one without nodes, labels, values or edges do not fit the columns,
            ``most_edges`` is not positive, or ``highlight`` names what does not exist.

    Example:
        >>> import numpy as np
        >>> columns = [
        ...     PathColumn("input", ["hue", "size"], np.array([0.5, -1.0])),
        ...     PathColumn("output", ["cat", "dog"], np.array([0.9, 0.1])),
        ... ]
        >>> figure = path_diagram(columns, [np.array([[0.3, -0.6], [0.0, 0.2]])])
        >>> [text.get_text() for text in figure.axes[0].texts if text.get_weight() == "bold"]
        ['input', 'cat', 'output']
        >>> len(figure.axes[0].collections[0].get_paths())
        3
    """
    weights = _checked(columns, edges, most_edges)
    marked = _marked(columns, highlight)
    shown = _shown(columns, weights, marked)
    lines = [title] if title else []
    with matplotlib.rc_context(layout.STYLE):
        return _draw(columns, weights, marked, shown, most_edges, lines, says)


def _checked(
    columns: Sequence[PathColumn], edges: Sequence[NDArray[np.floating]], most_edges: int
) -> list[NDArray[np.float64]]:
    """The edges, 0 where they are not finite."""
    if not columns:
        raise ValueError("there are no columns")
    if most_edges < 1:
        raise ValueError(f"most_edges must be positive, not {most_edges}")
    if len(edges) != len(columns) - 1:
        raise ValueError(f"{len(columns)} columns need {len(columns) - 1} edges, not {len(edges)}")
    sizes = [len(column.labels) for column in columns]
    for column, size in zip(columns, sizes, strict=True):
        if not size or np.shape(column.values) != (size,):
            shape = list(np.shape(column.values))
            raise ValueError(f"column {column.title!r} has {size} labels and values of shape {shape}")
    for i, edge in enumerate(edges):
        if np.shape(edge) != (sizes[i + 1], sizes[i]):
            raise ValueError(f"edges {i} must be {[sizes[i + 1], sizes[i]]}, not {list(np.shape(edge))}")
    return [np.nan_to_num(np.asarray(edge, dtype=np.float64), posinf=0.0, neginf=0.0) for edge in edges]


def _marked(columns: Sequence[PathColumn], highlight: Mapping[int, Sequence[int]] | None) -> list[list[int]]:
    """The nodes of each column that stand out."""
    marked: list[list[int]] = [[] for _ in columns]
    if highlight is None:
        values = np.asarray(columns[-1].values, dtype=np.float64)
        known = values[np.isfinite(values)]
        if len(known) and (len(values) == 1 or known.min() < known.max()):
            marked[-1] = [int(np.where(np.isfinite(values), values, -np.inf).argmax())]
        return marked
    for i, nodes in highlight.items():
        if not 0 <= i < len(columns) or not all(0 <= node < len(columns[i].labels) for node in nodes):
            raise ValueError(f"highlight names nodes {list(nodes)} of column {i}, which do not exist")
        marked[i] = sorted({int(node) for node in nodes})
    return marked


def _shown(
    columns: Sequence[PathColumn], weights: Sequence[NDArray[np.float64]], marked: Sequence[Sequence[int]]
) -> list[NDArray[np.intp]]:
    """The nodes of each column that are drawn, from the top down."""
    sizes = [len(column.labels) for column in columns]
    share = [np.abs(edge) / max(np.abs(edge).max(), 1e-300) for edge in weights]
    shown = []
    for i, size in enumerate(sizes):
        nodes = np.arange(size)
        if size > _ALL_DRAWN:
            total = np.zeros(size)
            if i:
                total += share[i - 1].sum(1)
            if i < len(weights):
                total += share[i].sum(0)
            total[list(marked[i])] = np.inf
            nodes = np.sort(np.argsort(-total, kind="stable")[: max(_MOST_DRAWN, len(marked[i]))])
        shown.append(nodes)
    for i in range(1, len(sizes)):
        if sizes[i] > _ALL_DRAWN:
            shown[i] = _beside(shown[i], share[i - 1][np.ix_(shown[i], shown[i - 1])])
    if sizes[0] > _ALL_DRAWN and weights:
        shown[0] = _beside(shown[0], share[0][np.ix_(shown[1], shown[0])].T)
    return shown


def _beside(nodes: NDArray[np.intp], share: NDArray[np.float64]) -> NDArray[np.intp]:
    """Nodes in the order of those they are linked to, ``share [nodes, those]``; the strong links count most."""
    pull = share**2
    place = (pull * np.arange(share.shape[1])).sum(1) / np.maximum(pull.sum(1), 1e-300)
    return nodes[np.argsort(place, kind="stable")]


def _draw(
    columns: Sequence[PathColumn],
    weights: Sequence[NDArray[np.float64]],
    marked: Sequence[Sequence[int]],
    shown: Sequence[NDArray[np.intp]],
    most_edges: int,
    lines: Sequence[str],
    says: str,
) -> Figure:
    most = max(map(len, shown))
    pitch = min(max(520 / most, 22.0), 46.0)
    radius = min(0.38 * pitch, 13.0)
    size = TEXT if pitch >= layout.line_height(TEXT) else SMALL
    height = pitch * max(most, 3)
    bold = [np.isin(nodes, marks) for nodes, marks in zip(shown, marked, strict=True)]
    ends = (0, len(columns) - 1)
    labels = [
        layout.shorten([column.labels[node] for node in nodes], most=20 if i in ends else 14)
        for i, (column, nodes) in enumerate(zip(columns, shown, strict=True))
    ]
    widths = [
        _widths(names, strong, size, each=i not in ends)
        for i, (names, strong) in enumerate(zip(labels, bold, strict=True))
    ]

    heads = [layout.fitted(column.title, 200.0, TEXT, "bold") for column in columns]
    parts = [
        f"{len(nodes)} of {len(column.labels)}" if len(nodes) < len(column.labels) else ""
        for column, nodes in zip(columns, shown, strict=True)
    ]
    half = [
        max(layout.text_width([head], TEXT, "bold"), layout.text_width([part], SMALL)) / 2
        for head, part in zip(heads, parts, strict=True)
    ]
    at, right = _across(widths, half, radius)
    legend = ["negative", "positive"]
    if weights:
        legend.append(says)
    if any(np.count_nonzero(edge) > most_edges for edge in _drawn(weights, shown)):
        legend.append(f"the strongest {most_edges} links of each gap")
    legend_width = 2 * GAP + sum(layout.text_width([text], SMALL) + 4 * GAP for text in legend)
    across = max(right, legend_width, layout.title_width(lines), 300.0)
    at += (across - right) / 2
    top = layout.title_height(lines)
    head = layout.line_height(TEXT) + (layout.line_height(SMALL) if any(parts) else 0) + 1.5 * GAP
    figure = layout.new_figure(across, top + head + height + layout.line_height(SMALL) + 3 * GAP)
    axes = layout.add_canvas(figure, top)
    layout.add_title(axes, lines, 0)

    down = []
    for nodes in shown:
        step = min(height / len(nodes), 2.2 * pitch)
        down.append(head + height / 2 + step * (np.arange(len(nodes)) - (len(nodes) - 1) / 2))
    for i, edge in enumerate(_drawn(weights, shown)):
        starts = at[i] + radius + (widths[i] + GAP if i else np.zeros(len(down[0])))
        _add_links(axes, edge, (starts, down[i]), (at[i + 1] - radius, down[i + 1]), most_edges)
    for i, column in enumerate(columns):
        values = np.asarray(column.values, dtype=np.float64)
        _add_nodes(axes, values, shown[i], (at[i], down[i]), radius, bold[i])
        left = i == 0 and len(columns) > 1
        for name, y, strong in zip(labels[i], down[i], bold[i], strict=True):
            write(
                axes,
                at[i] + (-1 if left else 1) * (radius + GAP / 2),
                y,
                name,
                label="node",
                ha="right" if left else "left",
                va="center_baseline",
                weight="bold" if strong else "normal",
                fontsize=size,
            )
        write(axes, at[i], GAP / 2, heads[i], label="column", ha="center", va="top", weight="bold", fontsize=TEXT)
        if parts[i]:
            write(
                axes,
                at[i],
                GAP / 2 + layout.line_height(TEXT),
                parts[i],
                label="part",
                ha="center",
                va="top",
                fontsize=SMALL,
            )
    _add_legend(axes, legend, head + height + 2 * GAP + layout.line_height(SMALL) / 2)
    return figure


def _drawn(weights: Sequence[NDArray[np.float64]], shown: Sequence[NDArray[np.intp]]) -> list[NDArray[np.float64]]:
    """The edges between the nodes that are drawn."""
    return [edge[np.ix_(shown[i + 1], shown[i])] for i, edge in enumerate(weights)]


def _widths(labels: Sequence[str], bold: NDArray[np.bool_], size: float, *, each: bool) -> NDArray[np.float64]:
    """Widths in pixels of all labels, or only of the widest ones: to measure takes as long as to draw."""
    groups = [
        (weight, [label for label, strong in zip(labels, bold, strict=True) if strong == (weight == "bold")])
        for weight in ("normal", "bold")
    ]
    if not each:
        return np.array([max(layout.text_width(group, size, weight) for weight, group in groups)])
    weights = np.where(bold, "bold", "normal").tolist()
    return np.array([layout.text_width([x], size, weight) for x, weight in zip(labels, weights, strict=True)])


def _across(
    widths: Sequence[NDArray[np.float64]], half: Sequence[float], radius: float
) -> tuple[NDArray[np.float64], float]:
    """Where the columns' circles stand, and the width of all."""
    num = len(widths)
    reach = min(max(900.0 / num, 130.0), 260.0)  # pixels from the end of one column's labels to the next column
    at = [2 * GAP + max(float(widths[0].max()) + GAP / 2 + radius if num > 1 else radius, half[0])]
    for i in range(1, num):
        labels = float(widths[i - 1].max()) + GAP if i > 1 else 0.0
        at.append(at[-1] + max(2 * radius + labels + reach, half[i - 1] + half[i] + 2 * GAP))
    return np.array(at), at[-1] + max(radius + GAP / 2 + float(widths[-1].max()), half[-1]) + 2 * GAP


def _add_links(
    axes: Axes,
    edge: NDArray[np.float64],
    start: tuple[NDArray[Any], NDArray[Any]],
    end: tuple[float, NDArray[Any]],
    most: int,
) -> None:
    """The strongest links between two columns as curves, the strongest in front."""
    size = np.abs(edge).ravel()
    order = np.argsort(-size, kind="stable")[:most]
    order = order[size[order] > 0][::-1]
    to, since = np.unravel_index(order, edge.shape)
    t = np.linspace(0, 1, 24)
    x = start[0][since, None] + (end[0] - start[0][since, None]) * t
    y = start[1][since, None] + (end[1][to] - start[1][since])[:, None] * (3 * t**2 - 2 * t**3)
    share = size[order] / max(size.max(), 1e-300)
    colors = np.where((edge.ravel()[order] > 0)[:, None], to_rgba(_POSITIVE), to_rgba(_NEGATIVE))
    colors[:, 3] = 0.12 + 0.78 * share
    curves = LineCollection(
        list(np.stack([x, y], axis=-1)),
        colors=colors,
        linewidths=0.6 + (_WIDEST - 0.6) * share,
        capstyle="butt",
        zorder=1,
    )
    axes.add_collection(curves, autolim=False)


def _add_nodes(
    axes: Axes,
    values: NDArray[np.float64],
    nodes: NDArray[np.intp],
    place: tuple[float, NDArray[Any]],
    radius: float,
    bold: NDArray[np.bool_],
) -> None:
    """Circles, coloured on a scale that is symmetric about 0 and ends at the column's largest; grey without a value."""
    finite = np.isfinite(values)
    scale = np.abs(values[finite]).max() if finite.any() else 0.0
    share = np.where(finite, values, 0.0)[nodes] / (scale if scale > 0 else 1.0)
    # Not up to the ends of the scale, whose dark colours the eye takes for black.
    faces = matplotlib.colormaps[layout.DIVERGING](0.5 + 0.45 * share)
    faces[~finite[nodes]] = to_rgba(PALE)
    circles = CircleCollection(
        [np.pi * (radius * 72 / DPI) ** 2],
        offsets=np.stack([np.full(len(nodes), place[0]), place[1]], axis=1),
        offset_transform=axes.transData,
        facecolors=faces,
        edgecolors=np.where(bold[:, None], to_rgba(INK), to_rgba(FAINT)),
        linewidths=np.where(bold, 2.5, 1.0),
        zorder=2,
    )
    axes.add_collection(circles, autolim=False)


def _add_legend(axes: Axes, legend: Sequence[str], y: float) -> None:
    boxes = []
    x = 2.0 * GAP
    for i, text in enumerate(legend):
        if i < 2:
            boxes.append([(x, y - 5), (x + 12, y - 5), (x + 12, y + 5), (x, y + 5)])
            x += 16
        write(axes, x, y, text, label="legend", va="center", fontsize=SMALL)
        x += layout.text_width([text], SMALL) + 2 * GAP
    axes.add_collection(PolyCollection(boxes, facecolors=(_NEGATIVE, _POSITIVE)), autolim=False)
