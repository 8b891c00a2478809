"""What belongs to each input feature: a number for each unit or output as colours, beside it sums as bars."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from numpy.typing import NDArray

from . import _layout as layout
from ._layout import GAP, INK, SMALL, TEXT
from ._panels import BLUE, ORANGE
from ._text import write

_MOST_VALUES = 120
_BETWEEN = 28.0  # pixels from the heatmap to the bars and from bars to bars
_BARS = 110.0  # pixels of the longest bar


def feature_matrix(
    values: NDArray[np.floating],
    feature_names: Sequence[str],
    column_names: Sequence[str],
    *,
    columns: str = "units",
    bars: Mapping[str, NDArray[np.floating]] | None = None,
    title: str = "",
    value: str = "information, nats",
    most_features: int = 40,
    most_columns: int = 64,
) -> Figure:
    """A number for each input feature and each unit or output as colours, white at zero, dark at the largest.

    Features are rows. Numbers of the whole feature can stand beside them as bars, each kind with its own scale; then
    the features stand in the order of the first kind, largest first, else as given. Values below zero are shown as 0,
    cells without a value are hatched. Of more than ``most_features`` those that come first by the bars or, without
    bars, by their means are shown, of more than ``most_columns`` those with the largest values for these features, in
    the order given. Equal input gives equal figures.

    Args:
        values: ``[F, C]``; what is not finite is no value.
        feature_names: The F features.
        column_names: The C columns.
        columns: What the columns are.
        bars: What the bars say -> ``[F]``.
        title: Title of the figure.
        value: What the values are, for the colour scale.
        most_features: So many features are shown at most.
        most_columns: So many columns are shown at most.

    Returns:
        A figure without a canvas; its first axes are the heatmap and the bars, its second the colour scale.

    Raises:
        ValueError: If ``values`` is not ``[F, C]`` with at least one of each, bars are not ``[F]``, or
            ``most_features`` or ``most_columns`` is not positive.

    Example:
        >>> import numpy as np
        >>> excess = np.array([[0.1, 0.0], [0.5, 0.3]])
        >>> figure = feature_matrix(excess, ["age", "pulse"], ["0", "1"], bars={"mean": excess.mean(1)})
        >>> [text.get_text() for text in figure.axes[0].texts if text.get_label() == "row"]
        ['pulse', 'age']
        >>> figure.axes[0].images[0].get_array().data.tolist()
        [[0.5, 0.3], [0.1, 0.0]]
    """
    cells = np.array(values, dtype=np.float64)
    shape = len(feature_names), len(column_names)
    if cells.shape != shape or not cells.size:
        raise ValueError(f"values must be {list(shape)}, at least one of each, not {list(cells.shape)}")
    lengths = {name: np.array(bar, dtype=np.float64) for name, bar in (bars or {}).items()}
    for name, bar in lengths.items():
        if bar.shape != shape[:1]:
            raise ValueError(f"bars must be [{shape[0]}], not {list(bar.shape)} in {name!r}")
        bar[~np.isfinite(bar)] = np.nan
    if most_features < 1 or most_columns < 1:
        raise ValueError(f"most_features={most_features} and most_columns={most_columns} must be positive")
    cells[~np.isfinite(cells)] = np.nan

    lines = [title] if title else []
    rows = _largest(next(iter(lengths.values()), _means(cells)), most_features)
    if shape[0] > most_features:
        lines.append(f"the {most_features} of {shape[0]} features with the largest {next(iter(lengths), 'mean')}")
    if not lengths:
        rows = np.sort(rows)
    shown = np.sort(_largest(np.where(np.isnan(cells), -np.inf, cells)[rows].max(0), most_columns))
    if shape[1] > most_columns:
        lines.append(f"the {most_columns} of {shape[1]} {columns} with the largest values")
    features = layout.shorten([feature_names[i] for i in rows.tolist()])
    names = layout.shorten([column_names[i] for i in shown.tolist()], most=14 if len(shown) > 6 else 24)
    kept = {name: bar[rows] for name, bar in lengths.items()}
    with matplotlib.rc_context(layout.STYLE):
        return _draw(cells[np.ix_(rows, shown)].clip(0), kept, features, names, columns, lines, value)


def _means(cells: NDArray[np.float64]) -> NDArray[np.float64]:
    """Means of rows, NaN left out, NaN where there is nothing else."""
    known = np.isfinite(cells)
    return np.where(known.any(1), np.where(known, cells, 0.0).sum(1) / known.sum(1).clip(1), np.nan)


def _largest(numbers: NDArray[np.float64], most: int) -> NDArray[np.intp]:
    """Places of so many of the largest, in their order, NaN last."""
    return np.argsort(-numbers, kind="stable")[:most]


def _draw(
    cells: NDArray[np.float64],
    bars: Mapping[str, NDArray[np.float64]],
    features: Sequence[str],
    names: Sequence[str],
    columns: str,
    lines: Sequence[str],
    value: str,
) -> Figure:
    rows, num = cells.shape
    height_of_row = max(min(660 / rows, 44.0), layout.line_height(SMALL))
    height = rows * height_of_row
    size = TEXT if height_of_row >= layout.line_height(TEXT) else SMALL
    name_width = layout.text_width(names)
    cell_width = max(min(560 / num, 48.0), 5.0)
    if cell_width < name_width + GAP <= 760 / num:  # then the names can lie
        cell_width = name_width + GAP
    cell_width = max(cell_width, (layout.text_width([columns]) + GAP) / num)
    upright = name_width + GAP > cell_width
    width = num * cell_width
    labels, column_size = layout.thinned(names, 0.5, cell_width)
    down = 2 * GAP + (layout.text_width(names, column_size) if upright else layout.pixels(TEXT))
    written = {name: ["–" if np.isnan(x) else layout.number(x) for x in bar] for name, bar in bars.items()}
    wide = {
        name: max(_BARS + GAP / 2 + layout.text_width(texts, SMALL), layout.text_width([name], weight="bold"))
        for name, texts in written.items()
    }
    ceiling = float(np.nan_to_num(cells).max()) or 1.0

    left = 3 * GAP + layout.text_width(features, size)
    top = layout.title_height(lines) + (layout.line_height(TEXT) + GAP / 2 if bars else 0)
    right = left + width + sum(_BETWEEN + more for more in wide.values())
    strip_height = min(max(height, 170, layout.text_width([value])), 300)
    ends = {0.0: "0", 1.0: layout.number(ceiling)}
    below = down + GAP + layout.line_height(TEXT)
    total = right + 6 * GAP + 14 + layout.text_width(ends.values()) + layout.line_height(TEXT)
    figure = layout.new_figure(max(total, layout.title_width(lines)), top + max(height + below, strip_height + 60))

    axes = layout.add_axes(figure, left, top, width, height)
    colors = matplotlib.colormaps[layout.SEQUENTIAL]
    settings: dict[str, Any] = {"aspect": "auto", "interpolation": "none", "extent": (0, num, rows, 0)}
    axes.imshow(np.ma.masked_invalid(cells), cmap=colors, vmin=0, vmax=ceiling, **settings)
    axes.set(xlim=(0, num), ylim=(rows, 0))
    layout.label_rows(axes, {i + 0.5: name for i, name in enumerate(features)}, size)
    layout.label_columns(axes, labels, column_size, upright=upright)
    settings = {"label": "across", "transform": axes.transAxes, "ha": "center", "va": "top", "fontsize": TEXT}
    write(axes, 0.5, -down / height, columns, **settings)
    layout.add_title(axes, lines, left)
    x, _ = axes.title.get_position()
    axes.title.set_position((x, 1 + (2 * GAP + (layout.line_height(TEXT) if bars else 0)) / height))
    frame = [[(0, 0), (num, 0), (num, rows), (0, rows)]]
    axes.add_collection(
        PolyCollection(frame, facecolors="none", edgecolors="#b4b4b4", linewidths=0.8, clip_on=False), autolim=False
    )
    _write_cells(axes, cells, colors(cells / ceiling), cell_width, height_of_row)
    begin = num
    for (name, bar), color in zip(bars.items(), (BLUE, ORANGE, INK), strict=False):
        begin_at = begin + _BETWEEN / cell_width
        _add_bars(axes, name, bar, written[name], begin_at, 1 / cell_width, color)
        begin = begin_at + wide[name] / cell_width

    strip = layout.add_axes(figure, right + 2 * GAP, top, 14, strip_height)
    layout.color_strip(strip, colors(np.linspace(0, 1, 65)), ends)
    beside = 1 + (2 * GAP + layout.text_width(ends.values())) / 14
    write(strip, beside, 0.5, layout.fitted(value, strip_height), rotation=90, va="center", fontsize=TEXT)
    if np.isnan(cells).any():
        axes.patch.set(**layout.HATCHED)  # seen where no colour covers it
        write(strip, 0, -2 * GAP / strip_height, "hatched:\nno value", va="top", fontsize=SMALL)
    return figure


def _write_cells(
    axes: Axes, cells: NDArray[np.float64], faces: NDArray[np.float64], width: float, height: float
) -> None:
    """The numbers, if they are few and there is room."""
    if cells.size > _MOST_VALUES:
        return
    texts = np.array(["" if np.isnan(x) else layout.number(x, ".2g") for x in cells.flat]).reshape(cells.shape)
    if layout.text_width(texts.flat, SMALL) + 4 <= width and layout.pixels(SMALL) <= height:
        layout.write_values(axes, texts, faces, upright=False)


def _add_bars(
    axes: Axes,
    name: str,
    values: NDArray[np.float64],
    texts: Sequence[str],
    begin: float,
    pixel: float,
    color: str,
) -> None:
    """Bars from ``begin`` to the right, in the rows of the heatmap, none below zero, and their values.

    Args:
        axes: Those of the heatmap.
        name: What stands above.
        values: ``[rows]``, NaN for none.
        texts: The values as people write them.
        begin: Where the bars begin, in columns.
        pixel: Width of a pixel in columns.
        color: Of the bars.
    """
    lengths = np.nan_to_num(values).clip(0)
    ends = begin + _BARS * pixel * lengths / (lengths.max() or 1.0)
    bars = [
        [(begin, i + 0.18), (end, i + 0.18), (end, i + 0.82), (begin, i + 0.82)] for i, end in enumerate(ends.tolist())
    ]
    axes.add_collection(PolyCollection(bars, facecolors=color, linewidths=0, clip_on=False, label=name), autolim=False)
    for i, (end, text) in enumerate(zip(ends.tolist(), texts, strict=True)):
        write(axes, end + GAP / 2 * pixel, i + 0.5, text, label="bar", va="center", fontsize=SMALL)
    settings: dict[str, Any] = {"transform": axes.get_xaxis_transform(), "weight": "bold", "fontsize": TEXT}
    write(axes, begin, 1 + GAP / 2 / axes.bbox.height, name, label="head", va="bottom", **settings)
