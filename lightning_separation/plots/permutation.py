"""What the input's features are worth: every repeat of their permutation, and each one's share of the whole."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.figure import Figure
from numpy.typing import NDArray

from . import _layout as layout
from ._panels import BLUE, MARK, ORANGE, Key, add_points, scale_of
from ._rows import Panel, Rows, add_bars, draw_rows

_BOX = "#cfe3f1"
_GOLDEN = 0.6180339887  # its multiples fill a row evenly, however many there are


def permutation_repeats(
    importance: NDArray[np.floating],
    feature_names: Sequence[str],
    *,
    title: str = "",
    value: str = "increase of the score",
    most_features: int = 30,
) -> Figure:
    """How much worse the network gets when a feature is permuted: a row for each feature, every repeat as a point.

    Features stand in the order of their means, largest first; the means are at the right. The box goes from the first
    to the third quartile, its line is the median, the whiskers reach the last repeat within 1.5 times the box's width.
    Features without any value are left out and counted in the title. Equal input gives equal figures.

    Args:
        importance: ``[F, R]``, score with the feature permuted minus score without; what is not finite is no value.
        feature_names: The F features.
        title: Title of the figure.
        value: What the values are, for the scale.
        most_features: So many features are shown at most.

    Returns:
        A figure without a canvas, with one axes whose unit is the pixel.

    Raises:
        ValueError: If ``importance`` is not ``[F, R]``, or ``most_features`` is not positive.

    Example:
        >>> import numpy as np
        >>> figure = permutation_repeats(np.array([[0.0, 0.1], [0.5, 0.7]]), ["age", "pulse"])
        >>> [text.get_text() for text in figure.axes[0].texts if text.get_label() == "row"]
        ['pulse', 'age']
        >>> [text.get_text() for text in figure.axes[0].texts if text.get_label() == "text"]
        ['0.6', '0.05']
    """
    values, means, order, lines = _ranked(importance, feature_names, title, most_features)
    texts = [layout.number(mean) for mean in means[order]]
    panel = Panel(scale_of(values[order]), value, texts, texts_head="mean")
    keys = [Key("one repeat", ORANGE, "o"), Key("quartiles and median", BLUE, "s")]
    with matplotlib.rc_context(layout.STYLE):
        figure, rows = draw_rows(_named(feature_names, order), [panel], keys=keys, lines=lines)
        _add_boxes(rows, [row[np.isfinite(row)] for row in values[order]])
        points = []
        for row, y in zip(values[order], rows.middles, strict=True):
            jitter = (np.arange(len(row)) * _GOLDEN % 1 - 0.5) * 0.56 * rows.pitch
            points.append(np.stack([rows.x(0, row), y + jitter], axis=1)[np.isfinite(row)])
        size = MARK * min(rows.pitch / 60, 1)
        add_points(rows.axes, points, keys[0], s=size, alpha=0.55, zorder=3, label="repeats")
    return figure


def permutation_share(
    importance: NDArray[np.floating], feature_names: Sequence[str], *, title: str = "", most_features: int = 30
) -> Figure:
    """Each feature's share of all importance: its mean over the repeats, of the sum of all positive means, as bars.

    Features stand in the order of their means, largest first. Those with a mean below zero are shown as 0 and counted
    in the title, as are those without any value, which are left out. Equal input gives equal figures.

    Args:
        importance: ``[F, R]``, score with the feature permuted minus score without; what is not finite is no value.
        feature_names: The F features.
        title: Title of the figure.
        most_features: So many features are shown at most.

    Returns:
        A figure without a canvas, with one axes whose unit is the pixel.

    Raises:
        ValueError: If ``importance`` is not ``[F, R]``, or ``most_features`` is not positive.

    Example:
        >>> import numpy as np
        >>> figure = permutation_share(np.array([[0.0, 0.2], [0.2, 0.4]]), ["age", "pulse"])
        >>> [text.get_text() for text in figure.axes[0].texts if text.get_label() == "text"]
        ['75.0%', '25.0%']
    """
    _, means, order, lines = _ranked(importance, feature_names, title, most_features)
    positive = np.nan_to_num(means, nan=0.0).clip(0)
    largest = float(positive.max(initial=0.0))
    relative = positive / (largest or 1.0)  # the sum of the means themselves may be too large for a number
    share = 100 * relative / (relative.sum() or 1.0)
    if len(order) < np.isfinite(means).sum():
        lines[-1] += f": {layout.number(share[order].sum())}% of all"
    below = int((means < 0).sum())
    if below:
        lines.append(f"{below} {'feature has a mean' if below == 1 else 'features have means'} below 0, shown as 0")
    if not largest:
        lines.append("no feature has a mean above 0")
    texts = [f"{layout.number(percent, '.1f')}%" for percent in share[order]]
    panel = Panel(scale_of(share[order]), "share of the sum of all positive means, %", texts)
    with matplotlib.rc_context(layout.STYLE):
        figure, rows = draw_rows(_named(feature_names, order), [panel], lines=lines)
        add_bars(rows, 0, share[order], BLUE)
    return figure


def _ranked(
    importance: NDArray[np.floating], feature_names: Sequence[str], title: str, most: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.intp], list[str]]:
    """The values, NaN where there is none; their means; the features shown, in order; and the title's lines."""
    values = np.array(importance, dtype=np.float64)
    if values.ndim != 2 or len(values) != len(feature_names):
        raise ValueError(f"importance must be [{len(feature_names)} features, repeats], not {list(values.shape)}")
    if most < 1:
        raise ValueError(f"most_features must be positive, not {most}")
    values[~np.isfinite(values)] = np.nan
    means = np.array([row[np.isfinite(row)].mean() if np.isfinite(row).any() else np.nan for row in values])
    known = np.flatnonzero(np.isfinite(means))
    order = known[np.argsort(-means[known], kind="stable")]
    lines = [title] if title else []
    if len(known) < len(means):
        lines.append(f"{len(means) - len(known)} of {len(means)} features have no values")
    if len(known) > most:
        lines.append(f"the {most} of {len(known)} features with the largest means")
    return values, means, order[:most], lines


def _named(feature_names: Sequence[str], order: NDArray[np.intp]) -> list[str]:
    return layout.shorten([feature_names[i] for i in order.tolist()])


def _add_boxes(rows: Rows, repeats: Sequence[NDArray[np.float64]]) -> None:
    """A box with whiskers in each row."""
    half = 0.34 * rows.pitch
    boxes, lines = [], []
    for known, y in zip(repeats, rows.middles.tolist(), strict=True):
        quartiles = np.quantile(known, [0.25, 0.5, 0.75])
        reach = 1.5 * (quartiles[2] - quartiles[0])
        inside = known[(known >= quartiles[0] - reach) & (known <= quartiles[2] + reach)]
        left, middle, right = rows.x(0, quartiles).tolist()
        low, high = rows.x(0, [inside.min(), inside.max()]).tolist()
        boxes.append([(left, y - half), (right, y - half), (right, y + half), (left, y + half)])
        lines += [[(low, y), (left, y)], [(right, y), (high, y)], [(middle, y - half), (middle, y + half)]]
    settings: dict[str, Any] = {"facecolors": _BOX, "edgecolors": BLUE, "linewidths": 1, "zorder": 2}
    rows.axes.add_collection(PolyCollection(boxes, label="boxes", **settings), autolim=False)
    widths = [1.2, 1.2, 2.4] * len(boxes)
    rows.axes.add_collection(
        LineCollection(lines, colors=BLUE, linewidths=widths, zorder=2.5, label="whiskers"), autolim=False
    )
