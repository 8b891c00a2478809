"""How much better the layers separate the samples they were trained on than others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import matplotlib
import numpy as np
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from numpy.typing import NDArray

from . import _layout as layout
from ._layout import FAINT, INK
from ._panels import BLUE, MARK, ORANGE, Key, add_points, scale_of
from ._rows import Panel, Rows, draw_rows

_SCALE = (-0.1, 1.02)


def split_gap(
    train: Mapping[str, float],
    validation: Mapping[str, float],
    *,
    intervals: Mapping[str, tuple[float, float]] | None = None,
    title: str = "",
) -> Figure:
    """Separation of training and of validation samples, a row for each layer, and how far they are apart.

    At the left both values, on a scale that is the same in every figure; at the right the gap, training minus
    validation, with its interval: dark where the interval excludes zero, pale where it does not. Equal input gives
    equal figures.

    Args:
        train: Layer -> separation of training samples, NaN for none. Layers in order of execution.
        validation: Layer -> separation of validation samples.
        intervals: Layer -> lower and upper end of the interval of the gap; layers can be missing.
        title: Title of the figure.

    Returns:
        A figure without a canvas, with one axes whose unit is the pixel.

    Raises:
        ValueError: If there is no layer, the two have not the same, an interval has an unknown one, or its lower end is
            above the upper.

    Example:
        >>> figure = split_gap({"fc": 0.9}, {"fc": 0.7}, intervals={"fc": (0.1, 0.3)})
        >>> [text.get_text() for text in figure.axes[0].texts if text.get_label() == "text"][1:]
        ['0.20  (0.10 to 0.30)  not 0']
    """
    given = intervals or {}
    if not train or train.keys() != validation.keys() or given.keys() - train.keys():
        raise ValueError("train and validation must have the same layers, at least one, and intervals no other")
    none = (np.nan, np.nan)
    values = np.array([(train[layer], validation[layer]) for layer in train], dtype=np.float64)
    ends = np.array([given.get(layer, none) for layer in train], dtype=np.float64).reshape(-1, 2)
    if (ends[:, 0] > ends[:, 1]).any():
        raise ValueError("the lower end of an interval is above the upper")
    values[np.isinf(values)] = np.nan
    ends[~np.isfinite(ends).all(1)] = np.nan
    gap = values[:, 0] - values[:, 1]
    apart = (ends[:, 0] > 0) | (ends[:, 1] < 0)
    texts = [_told(*row) for row in zip(gap.tolist(), *ends.T.tolist(), strict=True)]
    panels = [
        Panel(_SCALE, "separation", [""] * len(texts)),
        Panel(scale_of(np.append(gap, ends)), "training − validation", texts),
    ]
    keys = [Key("training", ORANGE, "o"), Key("validation", BLUE, "D")]
    if given:
        keys += [Key("gap, interval excludes 0", INK, "s"), Key("gap, interval includes 0", FAINT, "s")]
    with matplotlib.rc_context(layout.STYLE):
        lines = [title] if title else []
        figure, rows = draw_rows(layout.shorten(train), panels, keys=keys, lines=lines)
        size = 1.6 * MARK * min(rows.pitch / 24, 1)
        x = rows.x(0, values.clip(*_SCALE))
        _add_lines(rows, x, 3.0, [FAINT] * len(x), "joint")
        for i, key in enumerate(keys[:2]):
            points = np.stack([x[:, i], rows.middles], axis=1)
            add_points(rows.axes, [points], key, s=size, zorder=3, label=key.text)
        colors = [INK if far or not given else FAINT for far in apart]
        _add_lines(rows, rows.x(1, ends), 2.4, colors, "interval")
        rows.axes.scatter(
            rows.x(1, gap), rows.middles, s=size, c=colors, marker="s", linewidths=0, zorder=3, label="gap"
        )
    return figure


def _told(gap: float, low: float, high: float) -> str:
    """The gap with its interval.

    Example:
        >>> _told(0.1, -0.02, 0.22), _told(-0.1, np.nan, np.nan), _told(np.nan, 0.0, 1.0)
        ('0.10  (−0.02 to 0.22)', '−0.10', '–')
    """
    if np.isnan(gap):
        return "–"
    if np.isnan(low):
        return layout.number(gap, ".2f")
    mark = "  not 0" if low > 0 or high < 0 else ""
    # What is not zero must not look like it.
    ends = [layout.number(end, ".2f" if not end or abs(end) >= 0.005 else ".1g") for end in (low, high)]
    return f"{layout.number(gap, '.2f')}  ({ends[0]} to {ends[1]}){mark}"


def _add_lines(rows: Rows, ends: NDArray[np.float64], width: float, colors: list[str], label: str) -> None:
    """A level line in each row from ``ends [n, 2]``."""
    lines, shown = [], []
    for (a, b), y, color in zip(ends.tolist(), rows.middles.tolist(), colors, strict=True):
        if np.isfinite(a + b):
            lines.append([(a, y), (b, y)])
            shown.append(color)
    settings: dict[str, Any] = {"linewidths": width, "zorder": 2, "label": label}
    rows.axes.add_collection(LineCollection(lines, colors=shown, **settings), autolim=False)
