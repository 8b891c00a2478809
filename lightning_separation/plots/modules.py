"""Modules of units: which units share information, and how far the layers fall into modules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import floor
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.figure import Figure
from numpy.typing import NDArray

from . import _layout as layout
from ._layout import FAINT, GAP, INK, SMALL, TEXT
from ._panels import GREY, MARK, ORANGE, Key, add_points, scale_of
from ._rows import Panel, draw_rows
from ._text import write

_SIZE = 560.0
_BAND = "#dcdcdc"


def module_matrix(
    weight: NDArray[np.floating],
    module: NDArray[np.integer],
    unit_names: Sequence[str],
    *,
    title: str = "",
    value: str = "information, nats",
    percentile: float = 98.0,
) -> Figure:
    """What each two units share, as colours, the units ordered by module, with a frame round each module.

    The largest module comes first, and in a module the unit that shares most with all others. The colours end at a
    percentile of the values off the diagonal, so that single pairs do not make all others white; what is above has the
    colour of the end. Pairs without a value are hatched, a unit with itself is grey. Equal input gives equal figures.

    Args:
        weight: ``[E, E]``, symmetric; what is not finite is no value, what is below zero has the colour of 0.
        module: ``[E]``, label of each unit's module.
        unit_names: The E units; they are shown where there is room for all.
        title: Title of the figure.
        value: What the values are, for the colour scale.
        percentile: Where the colours end, above 0 up to 100.

    Returns:
        A figure without a canvas; its first axes are the matrix, its second the colour scale.

    Raises:
        ValueError: If there is no unit, ``weight`` is not ``[E, E]`` or ``module`` not ``[E]``, or ``percentile`` is
            not above 0 and at most 100.

    Example:
        >>> import numpy as np
        >>> weight = np.array([[1.0, 0.0, 0.4], [0.0, 1.0, 0.1], [0.4, 0.1, 1.0]])
        >>> figure = module_matrix(weight, np.array([0, 1, 0]), ["0", "1", "2"])
        >>> [text.get_text() for text in figure.axes[0].texts if text.get_label() == "row"]
        ['2', '0', '1']
        >>> [text.get_text() for text in figure.axes[0].texts if text.get_label() == "module"]
        ['2 units', '1 unit']
    """
    num = len(unit_names)
    cells, labels = np.array(weight, dtype=np.float64), np.asarray(module)
    if not num or cells.shape != (num, num) or labels.shape != (num,):
        raise ValueError(
            f"weight must be [{num}, {num}] and module [{num}], at least one, not {list(cells.shape)} and "
            f"{list(labels.shape)}"
        )
    if not 0 < percentile <= 100:
        raise ValueError(f"percentile must be above 0 and at most 100, not {percentile}")
    cells[~np.isfinite(cells)] = np.nan
    np.fill_diagonal(cells, np.nan)
    _, which, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    totals = np.nan_to_num(cells).sum(1)
    order = np.lexsort((np.arange(num), -totals, which, -sizes[which]))
    shared = cells[np.isfinite(cells)]
    ceiling = max(float(np.percentile(shared, percentile)), 0.0) if len(shared) else 0.0
    # Where fewer pairs share anything than the percentile leaves out, it is their largest value.
    ceiling = ceiling or float(shared.max(initial=0.0)) or 1.0
    cut = bool((shared > ceiling).any())
    lines = [title] if title else []
    if cut:
        lines.append(f"colours end at the {layout.number(percentile)}th percentile of all pairs")
    names = layout.shorten([unit_names[i] for i in order.tolist()], most=14)
    counts = np.sort(sizes)[::-1]
    with matplotlib.rc_context(layout.STYLE):
        return _draw(cells[np.ix_(order, order)], counts, names, ceiling, cut, lines, value)


def _draw(
    cells: NDArray[np.float64],
    counts: NDArray[np.intp],
    names: Sequence[str],
    ceiling: float,
    cut: bool,
    lines: Sequence[str],
    value: str,
) -> Figure:
    num = len(cells)
    cell = max(min(_SIZE / num, 40.0), 210.0 / num, 1.0)
    size = num * cell
    fitting = cell >= layout.line_height(SMALL)
    text_size = TEXT if cell >= layout.line_height(TEXT) else SMALL
    name_width = layout.text_width(names, text_size) if fitting else 0.0
    upright = name_width + GAP / 2 > cell
    told = [f"{count} unit{'s' if count > 1 else ''}" for count in counts.tolist()]
    words = f"{told[0]} in one module" if len(told) == 1 else f"{num} units in {len(told)} modules"
    left = 3 * GAP + layout.line_height(TEXT) + name_width
    beside = 5 * GAP + layout.text_width(told)
    ends = {0.0: "0", 1.0: f"{'≥ ' if cut else ''}{layout.number(ceiling)}"}
    strip_height = 190.0
    top = layout.title_height(lines)
    notes = ["grey: a unit", "with itself", *(["hatched:", "no value"] if np.isnan(cells).sum() > num else [])]
    tail = 14 + max(layout.text_width(ends.values()) + layout.line_height(TEXT), layout.text_width(notes, SMALL))
    tail += 6 * GAP
    below = 2 * GAP + (name_width if upright else layout.pixels(text_size) if fitting else 0.0)
    figure = layout.new_figure(
        max(left + size + beside + tail, layout.title_width(lines)), top + max(size + below, strip_height + 90)
    )

    axes = layout.add_axes(figure, left, top, size, size)
    colors = matplotlib.colormaps[layout.SEQUENTIAL]
    settings: dict[str, Any] = {"aspect": "auto", "interpolation": "none", "extent": (0, num, num, 0)}
    axes.imshow(np.ma.masked_invalid(cells.clip(0)), cmap=colors, vmin=0, vmax=ceiling, **settings)
    axes.set(xlim=(0, num), ylim=(num, 0))
    itself = [[(i, i), (i + 1, i), (i + 1, i + 1), (i, i + 1)] for i in range(num)]
    axes.add_collection(PolyCollection(itself, facecolors=FAINT, linewidths=0, label="itself"), autolim=False)
    if fitting:
        layout.label_rows(axes, {i + 0.5: name for i, name in enumerate(names)}, text_size)
        layout.label_columns(axes, {i + 0.5: name for i, name in enumerate(names)}, text_size, upright=upright)
    settings = {"transform": axes.transAxes, "rotation": 90, "ha": "left", "va": "center", "fontsize": TEXT}
    write(axes, (GAP - left) / size, 0.5, layout.fitted(words, size), label="up", **settings)
    layout.add_title(axes, lines, left)
    _frame(axes, counts, told)

    strip = layout.add_axes(figure, left + size + beside + 2 * GAP, top, 14, strip_height)
    layout.color_strip(strip, colors(np.linspace(0, 1, 65)), ends)
    at = 1 + (2 * GAP + layout.text_width(ends.values())) / 14
    write(strip, at, 0.5, layout.fitted(value, strip_height), rotation=90, va="center", fontsize=TEXT)
    write(strip, 0, -2 * GAP / strip_height, "\n".join(notes), label="note", va="top", fontsize=SMALL)
    if len(notes) > 2:
        axes.patch.set(**layout.HATCHED)  # seen where no colour covers it
    return figure


def _frame(axes: Axes, counts: NDArray[np.intp], names: Sequence[str]) -> None:
    """A frame round each module, and at the right how large it is, where it is not too small to be told apart."""
    ends = np.cumsum(counts)
    squares = [[(a, a), (b, a), (b, b), (a, b)] for a, b in zip((ends - counts).tolist(), ends.tolist(), strict=True)]
    settings: dict[str, Any] = {"facecolors": "none", "edgecolors": INK, "clip_on": False, "zorder": 3}
    axes.add_collection(PolyCollection(squares, linewidths=1.6, label="modules", **settings), autolim=False)
    num, pixel = float(ends[-1]), ends[-1] / axes.bbox.height
    line = layout.line_height(TEXT) * pixel
    room = min(max(int((counts >= line / 2).sum()), 1), max(floor(num / line), 1))
    middles = (ends - counts / 2)[:room]
    places = layout.spread(middles, line, line / 2, num - line / 2)
    reach = [num + more * pixel for more in (4, 2 * GAP, 2.5 * GAP)]
    joints = [[(reach[0], a), (reach[1], b)] for a, b in zip(middles.tolist(), places.tolist(), strict=True)]
    axes.add_collection(LineCollection(joints, colors=FAINT, linewidths=1, clip_on=False), autolim=False)
    for name, place in zip(names, places.tolist(), strict=False):
        write(axes, reach[2], place, name, label="module", va="center", fontsize=TEXT)


def modularity_by_layer(
    modularity: Mapping[str, float],
    null_mean: Mapping[str, float],
    null_std: Mapping[str, float],
    *,
    texts: Mapping[str, str] | None = None,
    title: str = "",
) -> Figure:
    """How far each layer falls into modules against chance, a row for each layer.

    A point is the layer's modularity, a line the mean of the shuffled partitions, the band round it reaches two of
    their standard deviations to both sides. A point right of the band is more than chance. Equal input gives equal
    figures.

    Args:
        modularity: Layer -> Newman's Q, NaN for none. Layers in order of execution.
        null_mean: Layer -> mean of shuffled partitions.
        null_std: Layer -> their standard deviation.
        texts: Layer -> what stands at the right of its row.
        title: Title of the figure.

    Returns:
        A figure without a canvas, with one axes whose unit is the pixel.

    Raises:
        ValueError: If there is no layer, or the three have not the same.

    Example:
        >>> figure = modularity_by_layer({"fc": 0.4}, {"fc": 0.1}, {"fc": 0.02}, texts={"fc": "3 modules"})
        >>> [text.get_text() for text in figure.axes[0].texts if text.get_label() in ("row", "text")]
        ['fc', '3 modules']
    """
    if not modularity or not modularity.keys() == null_mean.keys() == null_std.keys():
        raise ValueError("modularity, null_mean and null_std must have the same layers, at least one")
    found = np.array([[part[layer] for layer in modularity] for part in (modularity, null_mean, null_std)], np.float64)
    found[np.isinf(found)] = np.nan
    quality, mean, spread = found
    band = np.stack([mean - 2 * spread, mean + 2 * spread], axis=1)
    beside = [(texts or {}).get(layer, "") for layer in modularity]
    panel = Panel(scale_of(np.append(band, [quality, mean])), "modularity Q", beside)
    keys = [Key("found", ORANGE, "o"), Key("shuffled: mean ± 2 standard deviations", GREY, "s")]
    with matplotlib.rc_context(layout.STYLE):
        lines = [title] if title else []
        figure, rows = draw_rows(layout.shorten(modularity), [panel], keys=keys, lines=lines)
        half = 0.34 * rows.pitch
        bands, means = [], []
        ends = rows.x(0, band).tolist()
        for (a, b), x, y in zip(ends, rows.x(0, mean).tolist(), rows.middles.tolist(), strict=True):
            if np.isfinite(a):
                bands.append([(a, y - half), (b, y - half), (b, y + half), (a, y + half)])
            if np.isfinite(x):
                means.append([(x, y - half), (x, y + half)])
        axes = rows.axes
        axes.add_collection(PolyCollection(bands, facecolors=_BAND, linewidths=0, label="band"), autolim=False)
        axes.add_collection(LineCollection(means, colors=GREY, linewidths=2.5, zorder=2, label="null"), autolim=False)
        points = np.stack([rows.x(0, quality), rows.middles], axis=1)[np.isfinite(quality)]
        add_points(axes, [points], keys[0], s=2 * MARK * min(rows.pitch / 24, 1), zorder=3, label="found")
    return figure
