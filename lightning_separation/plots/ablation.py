"""What a layer loses with each of its units: the change of the loss, most needed units first."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from numpy.typing import NDArray

from . import _layout as layout
from ._layout import SMALL, TEXT
from ._panels import BLUE, ORANGE, Key, draw_panels, scale_of
from ._text import DPI, write

_WIDTH = 640.0
_WIDEST = 40.0  # pixels of a bar
_THINNEST = 1.2
_PALER = 0.45  # the rest of the colour of an estimate


def unit_ablation(
    loss: NDArray[np.floating],
    exact: NDArray[np.bool_] | None = None,
    *,
    title: str = "",
    notes: Sequence[str] = (),
    most_named: int = 5,
) -> Figure:
    """How much the loss changes when a unit is removed, for every unit of a layer, as bars from the most needed down.

    Orange bars reach up: the network needs these units. Blue ones reach down: it is better without them. Estimates are
    paler than exact values. The largest of both are named above the panel, and where there is room all are numbered
    below it. Units without a value are left out and counted in the title. Equal input gives equal figures.

    Args:
        loss: ``[U]``, loss without the unit minus loss with it; what is not finite is no value.
        exact: ``[U]``, whether the value is exact or an estimate; all are if not given.
        title: Title of the figure.
        notes: More lines below the title, such as the loss of the whole network.
        most_named: So many of the units that are needed, and of those that are not, are named at most.

    Returns:
        A figure without a canvas, with one axes whose unit is the pixel.

    Raises:
        ValueError: If the arrays are not both ``[U]``, or ``most_named`` is not positive.

    Example:
        >>> import numpy as np
        >>> figure = unit_ablation(np.array([0.1, -0.02, 0.5]))
        >>> [text.get_text() for text in figure.axes[0].texts if text.get_label() == "legend"]
        ['worse without: 2 (+0.5), 0 (+0.1)', 'better without: 1 (−0.02)']
        >>> [text.get_text() for text in figure.axes[0].texts if text.get_label() == "column"]
        ['2', '0', '1']
    """
    values = np.asarray(loss, dtype=np.float64)
    certain = np.ones(values.shape, bool) if exact is None else np.asarray(exact, dtype=bool)
    if values.ndim != 1 or certain.shape != values.shape:
        raise ValueError(f"loss and exact must be [units], not {list(values.shape)} and {list(certain.shape)}")
    if most_named < 1:
        raise ValueError(f"most_named must be positive, not {most_named}")
    known = np.flatnonzero(np.isfinite(values))
    order = known[np.argsort(-values[known], kind="stable")]
    lines = [*([title] if title else []), *notes]
    if len(known) < len(values):
        lines.append(f"{len(values) - len(known)} of {len(values)} units have no values")
    with matplotlib.rc_context(layout.STYLE):
        return _draw(values[order], certain[order], order, lines, most_named)


def _draw(
    values: NDArray[np.float64],
    certain: NDArray[np.bool_],
    units: NDArray[np.intp],
    lines: Sequence[str],
    most_named: int,
) -> Figure:
    num = len(values)
    first = range(min(most_named, num))
    keys = [
        Key(_told("worse without", [_named(units[i], values[i]) for i in first if values[i] > 0]), ORANGE, "s"),
        Key(_told("better without", [_named(units[~i], values[~i]) for i in first if values[~i] < 0]), BLUE, "s"),
    ]
    if not certain.all():
        counted = "all" if not certain.any() else f"{(~certain).sum()} of {num}"
        keys.append(Key(f"paler: estimated, not exact ({counted})", _paler(ORANGE), "s"))

    pitch = _WIDTH / max(num, 1)
    numbered = pitch >= layout.line_height(SMALL)
    across = {(i + 0.5) / num: str(unit) for i, unit in enumerate(units.tolist())} if numbered else {}
    upright = layout.text_width(across.values(), SMALL) + 4 > pitch
    words = "unit, most needed first" if numbered else f"{num} units, most needed first"
    figure, panels = draw_panels(
        [""],
        [""],
        [scale_of(values)],
        across=across,
        labels=(words, "change of the loss"),
        keys=keys,
        lines=lines,
        upright=upright,
    )
    axes = panels.axes
    if not num:
        middle = panels.x(0, 0.5), panels.floor[0] - panels.height / 2
        write(axes, *middle, "no values", label="empty", ha="center", va="center", fontsize=TEXT)
        return figure
    x = panels.x(0, (np.arange(num) + 0.5) / num)
    ends = np.stack([np.full(num, panels.y(0, 0.0)), panels.y(0, values)], axis=1)
    palette = np.array([[to_rgba(color), to_rgba(_paler(color))] for color in (ORANGE, BLUE)])
    bars = LineCollection(
        list(np.stack([np.repeat(x[:, None], 2, axis=1), ends], axis=2)),
        colors=palette[(values < 0).astype(int), (~certain).astype(int)],
        linewidths=max(min(0.8 * pitch, _WIDEST), _THINNEST) * 72 / DPI,
        capstyle="butt",
        zorder=2,
        label="bars",
    )
    axes.add_collection(bars, autolim=False)
    return figure


def _told(what: str, units: Sequence[str]) -> str:
    """The units, as many as there is room for."""
    most = len(units)
    while most > 1 and layout.text_width([f"{what}: {', '.join(units[:most])}"]) > _WIDTH:
        most -= 1
    return f"{what}: {', '.join(units[:most]) or 'no unit'}"


def _named(unit: int, value: float) -> str:
    return f"{unit} ({'+' if value > 0 else ''}{layout.number(value, '.2g')})"


def _paler(color: str) -> str:
    """The colour of an estimate."""
    red, green, blue, _ = (round(255 * (1 - _PALER * (1 - part))) for part in to_rgba(color))
    return f"#{red:02x}{green:02x}{blue:02x}"
