"""The samples in the plane of a layer's first two principal components, coloured by class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from . import _layout as layout
from ._colors import CATEGORIES, SHAPES
from ._labels import evenly_chosen
from ._layout import GAP, INK, PALE, SMALL
from ._panels import Key
from ._squares import Squares, draw_squares
from ._text import write

_MOST_POINTS = 2000  # samples in a panel; more hide each other, and each costs time to draw


def component_scatter(
    projection: Mapping[str, NDArray[np.floating]],
    classes: NDArray[np.integer],
    class_names: Sequence[str],
    *,
    explained: Mapping[str, NDArray[np.floating]] | None = None,
    title: str = "",
    most: int = 12,
) -> Figure:
    """The samples in the plane of two components, a panel for each layer, coloured by class.

    Both directions of a panel have one scale, every panel its own. Up to ten classes have colours and shapes of their
    own; of more these come again, and the names of the classes stand at their medians where there is room, those far
    from the middle first. Of more than 2000 samples so many are shown, the same at every call. Equal input gives equal
    figures.

    Args:
        projection: Layer -> ``[N, 2]``, the layers in order of execution; samples that are not finite are left out.
        classes: ``[N]``, the class of each sample, 0 to K - 1.
        class_names: The K classes.
        explained: Layer -> ``[2]``, the share of the variance along each component, 0 to 1; layers can be missing.
        title: Title of the figure.
        most: So many layers are shown at most, evenly spaced from first to last.

    Returns:
        A figure without a canvas, with one axes whose unit is the pixel.

    Raises:
        ValueError: If there is no layer, a projection is not ``[N, 2]``, a class has no name, or ``most`` is not
            positive.

    Example:
        >>> import numpy as np
        >>> points = np.array([[0.0, 0.0], [1.0, 2.0], [2.0, 1.0]])
        >>> figure = component_scatter(
        ...     {"fc": points}, np.array([0, 1, 1]), ["cat", "dog"], explained={"fc": np.array([0.41, 0.22])}
        ... )
        >>> [text.get_text() for text in figure.axes[0].texts if text.get_label() in ("note", "legend")]
        ['cat', 'dog', '41% + 22% of the variance']
    """
    labels = np.asarray(classes)
    if not projection or most < 1:
        raise ValueError(f"at least one layer is needed, not {len(projection)}, and most={most}")
    if (
        labels.ndim != 1
        or labels.dtype.kind not in "iu"
        or (len(labels) and not 0 <= labels.min() <= labels.max() < len(class_names))
    ):
        raise ValueError(f"classes must be [samples], numbers from 0 to {len(class_names) - 1}")
    for layer, points in projection.items():
        if np.shape(points) != (len(labels), 2):
            raise ValueError(f"projection must be [{len(labels)}, 2], not {list(np.shape(points))} in layer {layer!r}")
    chosen, lines = evenly_chosen(len(projection), most, title)
    samples, lines = _samples(len(labels), lines)
    layers = [list(projection)[i] for i in chosen]
    shares = [(explained or {}).get(layer) for layer in layers]
    with matplotlib.rc_context(layout.STYLE):
        few = len(class_names) <= len(CATEGORIES)
        names = layout.shorten(class_names, most=20 if few else 10)
        keys = [Key(name, *mark) for name, mark in zip(names, zip(CATEGORIES, SHAPES, strict=True), strict=False)]
        figure, squares = draw_squares(
            layout.shorten(layers, most=30),
            ["" if share is None else _told(np.asarray(share, dtype=np.float64)) for share in shares],
            keys=keys if few else [],
            lines=lines,
        )
        placed = [
            _placed(squares, i, np.array(projection[layer], np.float64)[samples]) for i, layer in enumerate(layers)
        ]
        _add_points(squares, np.array(placed), labels[samples])
        if not few:
            for i, points in enumerate(placed):
                _name_classes(squares, i, points, labels[samples], names)
    return figure


def _samples(num: int, lines: list[str]) -> tuple[NDArray[np.intp], list[str]]:
    """Which samples are shown, and the lines of the title."""
    if num <= _MOST_POINTS:
        return np.arange(num), lines
    # At random: of samples in a regular order every second one may be of the same class.
    chosen = np.sort(np.random.default_rng(0).permutation(num)[:_MOST_POINTS])
    return chosen, [*lines, f"{_MOST_POINTS} of {num} samples, drawn at random"]


def _told(explained: NDArray[np.float64]) -> str:
    """The shares of the variance in words.

    Example:
        >>> _told(np.array([0.41, 0.004])), _told(np.array([np.nan, np.nan]))
        ('41% + 0.4% of the variance', '')
    """
    if not np.isfinite(explained).all():
        return ""
    shares = (layout.number(100 * share, ".0f" if share >= 0.0095 else ".1f") for share in explained.tolist())
    return f"{' + '.join(f'{share}%' for share in shares)} of the variance"


def _placed(squares: Squares, panel: int, points: NDArray[np.float64]) -> NDArray[np.float64]:
    """The points in pixels, NaN for those that are not finite; with a frame round their panel."""
    left, top, size = squares.left[panel].item(), squares.top[panel].item(), squares.size
    squares.axes.add_patch(Rectangle((left, top), size, size, facecolor="none", edgecolor=PALE, zorder=0))
    known = np.asarray(np.isfinite(points).all(1))
    if not known.any():
        middle = left + size / 2, top + size / 2
        write(squares.axes, *middle, "no values", label="empty", ha="center", va="center", fontsize=SMALL)
        return np.full(points.shape, np.nan)
    low, high = points[known].min(0), points[known].max(0)
    scale = (size - 3 * GAP) / (float((high - low).max()) or 1.0)
    shifted = np.where(known[:, None], points - (low + high) / 2, np.nan) * (scale, -scale)
    return np.asarray(shifted + np.array([left + size / 2, top + size / 2]))


def _add_points(squares: Squares, points: NDArray[np.float64], classes: NDArray[np.integer]) -> None:
    """The points ``[P, N, 2]`` of all panels, in pixels."""
    area = float(np.clip(9000 / max(len(classes), 1), 8, 36)) * (squares.size / 290)
    settings: dict[str, Any] = {"s": area, "alpha": 0.6, "linewidths": 0, "zorder": 2}
    for i in np.unique(classes).tolist():
        x, y = points[:, classes == i].reshape(-1, 2).T
        settings |= {"c": CATEGORIES[i % len(CATEGORIES)], "marker": SHAPES[i % len(SHAPES)]}
        squares.axes.scatter(x, y, label=f"class {i}", **settings)


def _name_classes(
    squares: Squares, panel: int, points: NDArray[np.float64], classes: NDArray[np.integer], names: Sequence[str]
) -> None:
    """The names of the classes at the medians of their samples, framed in their colours, but none over another."""
    corner, size = np.array([squares.left[panel], squares.top[panel]]), squares.size
    known = np.isfinite(points[:, 0])
    present = np.unique(classes[known])
    medians = np.array([np.median(points[known & (classes == i)], axis=0) for i in present]).reshape(-1, 2)
    far = np.hypot(*(medians - corner - size / 2).T)
    taken: list[tuple[float, float, float, float]] = []
    colors = []
    for at in np.argsort(-far, kind="stable").tolist():
        i = int(present[at])
        half = np.array([layout.text_width([names[i]], SMALL) / 2 + 3, layout.line_height(SMALL) / 2 + 1])
        x, y = medians[at].clip(corner + half, corner + size - half).tolist()
        box = (x - half[0], y - half[1], x + half[0], y + half[1])
        if all(box[0] > b[2] or b[0] > box[2] or box[1] > b[3] or b[1] > box[3] for b in taken):
            taken.append(box)
            colors.append(CATEGORIES[i % len(CATEGORIES)])
            settings = {"color": INK, "ha": "center", "va": "center", "fontsize": SMALL}
            write(squares.axes, x, y, names[i], label="class", zorder=4, **settings)
    frames = [[(a, b), (c, b), (c, d), (a, d)] for a, b, c, d in taken]
    boxes = PolyCollection(frames, facecolors="white", edgecolors=colors, linewidths=1.5, alpha=0.85, zorder=3)
    squares.axes.add_collection(boxes, autolim=False)
