"""Which input features matter for each class: features by classes, one panel beside the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from numpy.typing import NDArray

from . import _layout as layout
from ._layout import GAP, SMALL, TEXT
from ._text import write

_MOST_VALUES = 120
_BETWEEN = 24.0  # pixels from one panel to the next


def feature_heatmap(
    panels: Mapping[str, NDArray[np.floating]],
    feature_names: Sequence[str],
    class_names: Sequence[str],
    *,
    title: str = "",
    value: str = "mean contribution",
    most_features: int = 40,
    limit: float | None = None,
) -> Figure:
    """What each feature adds to each class, as colours: blue below zero, white at zero, red above.

    Features are rows, classes columns; the panels stand side by side, share the rows and one scale, and zero is white
    in all figures. The scale ends at the largest value, rounded up to 1, 2 or 5 times a power of ten, so that it stays
    the same while values change little. Of more than ``most_features`` those with the largest absolute value are
    shown, largest first. Cells without a value are hatched. Equal input gives equal figures.

    Args:
        panels: Name of the panel, such as "true class" -> ``[K, F]``; NaN means no value.
        feature_names: The F features.
        class_names: The K classes.
        title: Title of the figure.
        value: What the values are, for the colour scale.
        most_features: So many features are shown at most.
        limit: Where the scale ends on both sides, if not at the largest value.

    Returns:
        A figure without a canvas; its first axes hold one image for each panel, its second the colour scale.

    Raises:
        ValueError: If there is no panel, feature or class, a panel is not ``[K, F]``, or ``most_features`` or
            ``limit`` is not positive.

    Example:
        >>> import numpy as np
        >>> figure = feature_heatmap({"true class": np.array([[1.5, -0.5], [-1.0, 0.0]])}, ["hue", "size"], "ab")
        >>> figure.axes[0].images[0].get_array().data.tolist()
        [[1.5, -1.0], [-0.5, 0.0]]
        >>> figure.axes[0].images[0].get_clim()
        (-2.0, 2.0)
    """
    shape = len(class_names), len(feature_names)
    if not panels or not all(shape):
        raise ValueError(f"there are {len(panels)} panels, {shape[0]} classes and {shape[1]} features")
    for name, panel in panels.items():
        if np.shape(panel) != shape:
            raise ValueError(f"panels must be {list(shape)}, not {list(np.shape(panel))} in {name!r}")
    if most_features < 1 or (limit is not None and not 0 < limit < np.inf):
        raise ValueError(f"most_features={most_features} and limit={limit} must be positive")

    values = np.array([np.asarray(panel, dtype=np.float64).T for panel in panels.values()])
    values[np.isinf(values)] = np.nan
    lines = [title] if title else []
    largest = np.nan_to_num(np.abs(values)).max((0, 2))
    chosen = np.arange(shape[1])
    if shape[1] > most_features:
        lines.append(f"the strongest {most_features} of {shape[1]} features")
        chosen = np.argsort(-largest, kind="stable")[:most_features]
    scale = _round_up(float(largest.max())) if limit is None else float(limit)
    features = layout.shorten([feature_names[i] for i in chosen.tolist()])
    classes = layout.shorten(class_names, most=14)
    with matplotlib.rc_context(layout.STYLE):
        return _draw(values[:, chosen], scale, [str(name) for name in panels], features, classes, lines, value)


def _round_up(largest: float) -> float:
    """The next of ..., 0.5, 1, 2, 5, 10, ...; 1 for 0.

    Example:
        >>> _round_up(0.21), _round_up(0.5), _round_up(700.0), _round_up(0.0)
        (0.5, 0.5, 1000.0, 1.0)
    """
    if largest < 1e-300:
        return 1.0
    power = int(np.floor(np.log10(largest)))
    steps = [float(f"{digit}e{power}") for digit in (1, 2, 5, 10)]
    return next((step for step in steps if largest <= step * (1 + 1e-9)), steps[-1])


def _draw(
    values: NDArray[np.float64],
    scale: float,
    panels: Sequence[str],
    features: Sequence[str],
    classes: Sequence[str],
    lines: Sequence[str],
    value: str,
) -> Figure:
    num, rows, columns = values.shape
    class_width = layout.text_width(classes)
    panel_width = layout.text_width(panels, weight="bold")
    cell_width = max(min(640 / num / columns, 48.0), 4.2)
    if cell_width < class_width + GAP <= max(800 / num / columns, 48.0):  # then the names can lie
        cell_width = class_width + GAP
    cell_width = max(cell_width, (min(panel_width, 230.0) + GAP - _BETWEEN / 2) / columns)
    upright = class_width + GAP > cell_width
    cell_height = max(min(720 / rows, 36.0), layout.line_height(SMALL) if rows <= 100 else 1.0)
    height, inner = rows * cell_height, columns * cell_width
    width = num * inner + (num - 1) * _BETWEEN
    strip_height = min(max(height, 180), 240)

    row_labels, row_size = layout.thinned(features, 0.5, cell_height)
    left = 3 * GAP + layout.text_width(features, row_size)
    heading = layout.line_height(TEXT) + GAP / 2
    head = layout.title_height(lines)
    top = head + heading
    below = 3 * GAP + (class_width if upright else layout.pixels(TEXT))
    ends = {0.0: layout.number(-scale), 0.5: "0", 1.0: layout.number(scale)}
    told = _folded(value, strip_height)
    right = 6 * GAP + layout.text_width(ends.values()) + layout.line_height(TEXT) * len(told)
    total = max(left + width + right + 14, layout.title_width(lines), 420)
    figure = layout.new_figure(total, top + max(height + below, strip_height + 50))

    axes = layout.add_axes(figure, left, top, width, height)
    colors = matplotlib.colormaps[layout.DIVERGING]
    texts = np.array([], dtype=str)
    if values.size <= _MOST_VALUES:
        digits = _digits(scale)
        texts = np.array(["" if np.isnan(x) else layout.number(x, digits) for x in values.flat]).reshape(values.shape)
    text_width = layout.text_width(texts.flat, SMALL) + 4
    narrow = cell_width < text_width
    across, down = (layout.pixels(SMALL), text_width) if narrow else (text_width, layout.pixels(SMALL))
    written = texts.size > 0 and across <= cell_width and down <= cell_height
    step = columns + _BETWEEN / cell_width  # from the beginning of one panel to that of the next
    hatched = []
    for i, panel in enumerate(values):
        begin = i * step
        end = begin + columns
        axes.imshow(
            np.ma.masked_invalid(panel),
            cmap=colors,
            vmin=-scale,
            vmax=scale,
            aspect="auto",
            interpolation="none",
            extent=(begin, end, rows, 0),
        )
        labels, size = layout.thinned(classes, begin + 0.5, cell_width)
        layout.label_columns(axes, labels, size, upright=upright)
        name = layout.fitted(panels[i], inner + _BETWEEN / 2, TEXT, "bold")
        y = 1 + GAP / 2 / height
        write(
            axes,
            (begin + end) / 2,
            y,
            name,
            label="panel",
            transform=axes.get_xaxis_transform(),
            ha="center",
            va="bottom",
            weight="bold",
            fontsize=TEXT,
        )
        if np.isnan(panel).any():
            hatched.append([(begin, 0), (end, 0), (end, rows), (begin, rows)])
        if written:
            layout.write_values(axes, texts[i], colors(panel / (2 * scale) + 0.5), left=begin, upright=narrow)
    axes.set(xlim=(0, (num - 1) * step + columns), ylim=(rows, 0))
    frames = PolyCollection(
        [[(i * step, 0), (i * step + columns, 0), (i * step + columns, rows), (i * step, rows)] for i in range(num)],
        facecolors="none",
        edgecolors="#b4b4b4",
        linewidths=0.8,
        clip_on=False,
    )
    axes.add_collection(frames, autolim=False)
    layout.label_rows(axes, row_labels, row_size)
    _add_title(axes, lines, left, heading)

    strip = layout.add_axes(figure, left + width + 2 * GAP, top, 14, strip_height)
    layout.color_strip(strip, colors(np.linspace(0, 1, 65)), ends)
    beside = 1 + (2 * GAP + layout.text_width(ends.values())) / 14
    write(strip, beside, 0.5, "\n".join(told), rotation=90, ha="left", va="center", fontsize=TEXT)
    if hatched:
        write(strip, 0, -2 * GAP / strip_height, "hatched:\nno value", va="top", fontsize=SMALL)
        axes.add_collection(PolyCollection(hatched, linewidths=0, zorder=-1, **layout.HATCHED), autolim=False)
    return figure


def _folded(text: str, room: float) -> list[str]:
    """The text in two lines if one is too narrow."""
    text = " ".join(text.split())
    spaces = [i for i, letter in enumerate(text) if letter == " "]
    if layout.text_width([text]) <= room or not spaces:
        return [layout.fitted(text, room)]
    fold = min(spaces, key=lambda i: abs(i - len(text) / 2))
    return [layout.fitted(text[:fold], room), layout.fitted(text[fold:], room)]


def _digits(scale: float) -> str:
    """A format with about two digits for the values on such a scale."""
    if scale >= 1e4 or scale < 0.01:
        return ".0e"
    return ".0f" if scale > 50 else ".1f" if scale > 5 else ".2f" if scale > 0.1 else ".3f"


def _add_title(axes: Axes, lines: Sequence[str], left: float, heading: float) -> None:
    """The title, above the panels' names."""
    layout.add_title(axes, lines, left)
    x, y = axes.title.get_position()
    axes.title.set_position((x, y + heading / axes.bbox.height))
