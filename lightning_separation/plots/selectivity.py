"""Which classes each unit answers to: units by classes, the units grouped by the class they prefer."""

from __future__ import annotations

from collections.abc import Sequence
from math import floor

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from numpy.typing import NDArray

from . import _layout as layout
from ._layout import FAINT, GAP, SMALL, TEXT
from ._text import write

_MOST_VALUES = 120
_HEIGHT = 600.0


def selectivity_heatmap(
    active_fraction: NDArray[np.floating],
    class_names: Sequence[str],
    *,
    unit_names: Sequence[str] | None = None,
    most_units: int = 1024,
    title: str = "",
) -> Figure:
    """For how many samples of each class each unit is active, as colours.

    Units are rows, classes columns; the colours mean the same in every figure, 0 to 1. A unit prefers the class with
    the largest fraction (of equal ones the first). Units of one preferred class form a group, the groups stand in the
    order of the classes, and in a group those come first whose fraction for the preferred class is most above the mean
    of the other classes. Below them stand the units that are active for every sample of every class ("always on") and,
    last, those active for none ("never active"). The groups are named at the right; of very many only the largest are.

    Units without any value are left out and counted in the title; single cells without a value are hatched. Of more
    than ``most_units`` the most selective are shown. Equal input gives equal figures.

    Args:
        active_fraction: ``[U, K]``, between 0 and 1: the fraction of a class's samples for which a unit is active; NaN
            means no value.
        class_names: The K classes.
        unit_names: The U units; their numbers if not given. They are shown where there is room for all.
        most_units: So many units are shown at most.
        title: Title of the figure.

    Returns:
        A figure without a canvas; its first axes are the heatmap, its second the colour scale.

    Raises:
        ValueError: If ``active_fraction`` is not ``[U, K]`` with at least one unit and class, or not between 0 and 1,
            ``unit_names`` are not U, or ``most_units`` is not positive.

    Example:
        >>> import numpy as np
        >>> figure = selectivity_heatmap(np.array([[0.1, 0.9], [0.0, 0.0], [0.8, 0.2]]), ["cat", "dog"])
        >>> [text.get_text() for text in figure.axes[0].texts if text.get_label() == "group"]
        ['1 prefers cat', '1 prefers dog', '1 never active']
        >>> [text.get_text() for text in figure.axes[0].texts if text.get_label() == "row"]
        ['2', '0', '1']
    """
    fraction = np.array(active_fraction, dtype=np.float64)
    num = len(class_names)
    if fraction.ndim != 2 or fraction.shape[1] != num or not fraction.size:
        raise ValueError(f"active_fraction must be [units, {num}] for {num} classes, not {list(fraction.shape)}")
    if ((fraction < 0) | (fraction > 1)).any():
        raise ValueError("active_fraction must be between 0 and 1")
    if unit_names is not None and len(unit_names) != len(fraction):
        raise ValueError(f"unit_names must be {len(fraction)}, not {len(unit_names)}")
    if most_units < 1:
        raise ValueError(f"most_units must be positive, not {most_units}")

    group, preference = _groups(fraction)
    known = np.flatnonzero(group >= 0)
    chosen = known[np.lexsort((-preference[known], group[known] >= num))][:most_units]  # lexsort keeps equal ones apart
    chosen = chosen[np.lexsort((chosen, -preference[chosen], group[chosen]))]
    classes = layout.shorten(class_names, most=14)
    totals = np.bincount(group[known], minlength=num + 2)
    counts = np.bincount(group[chosen], minlength=num + 2)

    lines = [title] if title else []
    if len(chosen) < len(known):
        lines.append(f"the most selective {len(chosen)} of {len(known)} units")
        hidden = [f"{totals[i]} {_named(i, classes, 2)}" for i in (num, num + 1) if totals[i] and not counts[i]]
        if hidden:
            lines.append(f"not shown: {', '.join(hidden)}")
    if len(known) < len(fraction):
        lines.append(f"{len(fraction) - len(known)} of {len(fraction)} units have no values")
    units = [str(unit_names[i]) if unit_names is not None else str(i) for i in chosen]
    names = [
        f"{count if count == total else f'{count} of {total}'} {_named(i, classes, total)}" if count else ""
        for i, (count, total) in enumerate(zip(counts, totals, strict=True))
    ]
    with matplotlib.rc_context(layout.STYLE):
        return _draw(fraction[chosen], classes, layout.shorten(units, most=20), counts, names, lines)


def _groups(fraction: NDArray[np.float64]) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Each unit's preferred class (K: always on, K + 1: never active, -1: no values); and how much it prefers it."""
    num = fraction.shape[1]
    missing = np.isnan(fraction)
    filled = np.where(missing, -1.0, fraction)
    group = filled.argmax(1)
    largest = filled.max(1)
    others = (~missing).sum(1) - 1
    preference = largest - (np.where(missing, 0.0, fraction).sum(1) - largest) / np.maximum(others, 1)
    group[np.where(missing, 1.0, fraction).min(1) == 1] = num
    group[largest == 0] = num + 1
    group[missing.all(1)] = -1
    return group, preference


def _named(group: int, classes: Sequence[str], count: int) -> str:
    if group >= len(classes):
        return ("always on", "never active")[group - len(classes)]
    return f"{'prefers' if count == 1 else 'prefer'} {classes[group]}"


def _draw(
    values: NDArray[np.float64],
    classes: Sequence[str],
    units: Sequence[str],
    counts: NDArray[np.intp],
    names: Sequence[str],
    lines: Sequence[str],
) -> Figure:
    rows, columns = len(values), len(classes)
    cell_height = max(min(_HEIGHT / max(rows, 1), 36.0), 1.0)
    height = max(rows, 1) * cell_height
    class_width = layout.text_width(classes)
    cell_width = max(min(420 / columns, 72.0), 4.2)
    if cell_width < class_width + GAP <= 540 / columns:  # then the names can lie
        cell_width = class_width + GAP
    upright = class_width + GAP > cell_width
    width = columns * cell_width
    strip_height = min(max(height, 200), 240)

    row_size = TEXT if cell_height >= layout.line_height(TEXT) else SMALL
    shown = units if cell_height >= layout.line_height(row_size) else []
    column_labels, column_size = layout.thinned(classes, 0.5, cell_width)
    left = 5 * GAP + (layout.text_width(shown, row_size) + GAP if shown else 0)
    top = layout.title_height(lines)
    below = 3 * GAP + (class_width if upright else layout.pixels(TEXT))
    right = 5 * GAP + layout.text_width(names)
    across = max(left + width + right + 105, layout.title_width(lines), 420)
    figure = layout.new_figure(across, top + max(height + below, strip_height + 50))

    axes = layout.add_axes(figure, left, top, width, height)
    colors = matplotlib.colormaps["viridis"]
    cells = values if rows else np.full((1, columns), np.nan)
    axes.imshow(
        np.ma.masked_invalid(cells),
        cmap=colors,
        vmin=0,
        vmax=1,
        aspect="auto",
        interpolation="none",
        extent=(0, columns, len(cells), 0),
    )
    layout.label_columns(axes, column_labels, column_size, upright=upright)
    layout.label_rows(axes, {i + 0.5: name for i, name in enumerate(shown)}, row_size)
    write(
        axes,
        (2 * GAP - left) / width,
        0.5,
        f"{rows} units" if rows and not shown else "units",
        transform=axes.transAxes,
        rotation=90,
        ha="center",
        va="center",
        fontsize=TEXT,
    )
    layout.add_title(axes, lines, left)
    _name_groups(axes, counts, names)
    if cells.size <= _MOST_VALUES and shown:
        texts = np.array([["" if np.isnan(value) else layout.number(value, ".2f") for value in row] for row in values])
        narrow = cell_width < layout.text_width(["0.00"], SMALL) + 4
        layout.write_values(axes, texts, colors(values), upright=narrow)

    strip = layout.add_axes(figure, left + width + right, top, 14, strip_height)
    layout.color_strip(strip, colors(np.linspace(0, 1, 64)), {0.0: "0", 0.5: "0.5", 1.0: "1"})
    write(strip, 4.2, 0.5, "fraction of samples\nunit is active for", rotation=90, va="center", fontsize=TEXT)
    if np.isnan(cells).any():
        axes.patch.set(**layout.HATCHED)  # seen where no colour covers it
        write(strip, 0, -2 * GAP / strip_height, "hatched:\nno value", va="top", fontsize=SMALL)
    return figure


def _name_groups(axes: Axes, counts: NDArray[np.intp], names: Sequence[str]) -> None:
    """Thin lines between the groups, and their names at the right, as many as there is room for."""
    ends = np.cumsum(counts)
    present = np.flatnonzero(counts)
    if not len(present):
        return
    columns, rows = axes.get_xlim()[1], float(ends[-1])
    row, column = rows / axes.bbox.height, columns / axes.bbox.width  # of one pixel
    size = TEXT if len(present) * layout.line_height(TEXT) <= axes.bbox.height else SMALL
    room = max(floor(axes.bbox.height / layout.line_height(size)), 1)
    # The units that prefer no class are named in any case, and then the largest groups.
    rank = np.lexsort((present, -counts[present], present < len(counts) - 2))
    named = np.sort(present[rank[:room]])
    middles = ends[named] - counts[named] / 2
    half = layout.line_height(size) / 2 * row
    places = layout.spread(middles, 2 * half, half, rows - half)

    if len(named) < len(present):  # lines between all of them would hide the cells
        present = present[np.flatnonzero(present >= len(counts) - 3)[:1] - 1] if ends[-3] < rows else present[:0]
    cuts = [[(0.0, float(end)), (columns, float(end))] for end in ends[present[:-1]]]
    axes.add_collection(LineCollection(cuts, colors="white", linewidths=0.8), autolim=False)
    reach = [columns + pixels * column for pixels in (3, 2 * GAP, 2.5 * GAP)]
    joints = [[(reach[0], middle), (reach[1], place)] for middle, place in zip(middles, places, strict=True)]
    axes.add_collection(LineCollection(joints, colors=FAINT, linewidths=1, clip_on=False), autolim=False)
    for i, place in zip(named, places, strict=True):
        write(axes, reach[2], place, names[i], label="group", va="center", fontsize=size)
