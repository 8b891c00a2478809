"""What responds against what is needed: effect size and change of the loss of every unit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from . import _layout as layout
from ._layout import SMALL
from ._panels import BLUE, GREY, MARK, ORANGE, Key, Panels, add_points, draw_panels, scale_of
from ._text import write

FEWEST_COMPARED = 6
MOST_CHANGE = 0.1  # of an unused unit, as a share of the layer's largest absolute change of the loss
MOST_EFFECT = 0.5  # of an unselective unit, as a share of the layer's largest absolute effect size
_UNUSED = Key(
    f"selective but unused: significant, |effect size| in upper third, |change| in lower, ≤ {MOST_CHANGE:.0%} of max",
    ORANGE,
    "v",
)
_UNSELECTIVE = Key(
    f"used but unselective: worse without, change in upper third, |effect size| in lower, ≤ {MOST_EFFECT:.0%} of max",
    BLUE,
    "^",
)
_OTHERS = Key("other units", GREY, "o")
_MOST_LABELS = 3  # of each group
_AROUND = np.array([(1, 0), (-1, 0), (0, -1), (0, 1), (1, -1), (-1, -1), (1, 1), (-1, 1)])  # right, left, above, ...
_AROUND = np.concatenate([_AROUND, 1.8 * _AROUND])  # near first
_ROOM = 0.2  # of a panel's height, for numbers below units without effect


class SelectiveOrUsed(NamedTuple):
    """Units whose effect size and whose change of the loss say different things.

    Attributes:
        compared: ``[U]`` bool, the units that both are known of.
        unused: ``[U]`` bool, selective but unused.
        unselective: ``[U]`` bool, used but unselective.
        classified: Whether there are enough compared units to tell; otherwise the two above are all False.
    """

    compared: NDArray[np.bool_]
    unused: NDArray[np.bool_]
    unselective: NDArray[np.bool_]
    classified: bool


def selective_or_used(
    effect_size: NDArray[np.floating],
    loss: NDArray[np.floating],
    significant: NDArray[np.bool_],
    compared: NDArray[np.bool_] | None = None,
) -> SelectiveOrUsed:
    """Finds the units that respond to the classes but are not needed, and those that are needed but do not respond.

    By ranks among the compared units of one layer, and by what is little beside the largest of them: where all units
    are strong, the weakest are not weak. *Selective but unused*: significant and in the upper third by absolute effect
    size, but in the lower third by absolute change of the loss, with at most a tenth of the largest. *Used but
    unselective*: in the upper third by change of the loss, which is positive, but in the lower third by absolute effect
    size, with at most half of the largest. Units of equal value are never divided, so a third may hold more; those that
    reach from the lower third into the upper count as upper, or, if they are zero, as lower. Fewer than 6 compared
    units are not classified.

    Args:
        effect_size: ``[U]``, of any sign.
        loss: ``[U]``, loss without the unit minus loss with it.
        significant: ``[U]``.
        compared: ``[U]``, which units to compare (alive, with exact values); all if not given. Those with a value that
            is not finite never are.

    Returns:
        The groups.

    Raises:
        ValueError: If the arrays are not all ``[U]``.

    Example:
        >>> import numpy as np
        >>> effect_size = np.array([0.9, -0.8, 0.5, 0.4, 0.1, 0.0])
        >>> loss = np.array([0.8, 0.0, 0.1, 0.1, 0.9, -0.1])
        >>> groups = selective_or_used(effect_size, loss, np.abs(effect_size) > 0.3)
        >>> np.flatnonzero(groups.unused), np.flatnonzero(groups.unselective)
        (array([1]), array([4]))
        >>> groups = selective_or_used(effect_size + np.sign(effect_size), loss, np.abs(effect_size) > 0.3)
        >>> np.flatnonzero(groups.unselective)  # unit 4 has 1.1 now, more than half of 1.9
        array([], dtype=int64)
    """
    effect, change = np.abs(np.asarray(effect_size, np.float64)), np.asarray(loss, np.float64)
    chosen = np.ones(effect.shape, bool) if compared is None else np.asarray(compared, bool)
    sure = np.asarray(significant, bool)
    if effect.ndim != 1 or not effect.shape == change.shape == chosen.shape == sure.shape:
        shapes = [list(array.shape) for array in (effect, change, sure, chosen)]
        raise ValueError(f"effect_size, loss, significant and compared must be [units], not {shapes}")
    chosen = chosen & np.isfinite(effect) & np.isfinite(change)
    unused, unselective = np.zeros(effect.shape, bool), np.zeros(effect.shape, bool)
    classified = int(chosen.sum()) >= FEWEST_COMPARED
    if classified:
        effects, changes, sizes = effect[chosen], change[chosen], np.abs(change[chosen])
        weak, strong = _thirds(effects)
        idle, _ = _thirds(sizes)
        _, used = _thirds(changes)
        unused[chosen] = strong & idle & (sizes <= MOST_CHANGE * sizes.max()) & sure[chosen]
        unselective[chosen] = weak & used & (effects <= MOST_EFFECT * effects.max()) & (changes > 0)
    return SelectiveOrUsed(chosen, unused, unselective, classified)


def _thirds(values: NDArray[np.float64]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which values are in the lower, and which in the upper third; none is in both."""
    ordered, third = np.sort(values), len(values) // 3
    low, high = ordered[third - 1], ordered[-third]
    upper = (values >= high) & ((values > low) | (values != 0))
    return (values <= low) & ~upper, upper


def effect_size_by_loss(
    effect_size: Mapping[str, NDArray[np.floating]],
    loss: Mapping[str, NDArray[np.floating]],
    groups: Mapping[str, SelectiveOrUsed],
    *,
    title: str = "",
    most_layers: int = 9,
) -> Figure:
    """Correlation against causation: each unit's effect size and what the loss becomes without it, a panel a layer.

    Where both agree, units lie along the way from the lower left to the upper right. The two groups that leave it are
    coloured, and the most extreme of each are numbered where there is room: at the lower right, selective but unused;
    at the upper left, used but unselective (:func:`selective_or_used` says by what). Every panel has its own scale of
    the loss; effect sizes go from 0 to 1. Of more than ``most_layers`` those with the largest change of the loss are
    shown, in the order given. Equal input gives equal figures.

    Args:
        effect_size: Layer -> ``[U]``, of any sign; layers in order of execution.
        loss: Layer -> ``[U]``, loss without the unit minus loss with it.
        groups: Layer -> the groups of its units. Only compared units are drawn.
        title: Title of the figure.
        most_layers: So many panels are shown at most.

    Returns:
        A figure without a canvas, with one axes whose unit is the pixel.

    Raises:
        ValueError: If there is no layer, layers or shapes differ, or ``most_layers`` is not positive.

    Example:
        >>> import numpy as np
        >>> effect, loss = np.array([0.9, -0.8, 0.5, 0.4, 0.1, 0.0]), np.array([0.8, 0.0, 0.1, 0.1, 0.9, -0.1])
        >>> groups = {"fc": selective_or_used(effect, loss, np.abs(effect) > 0.3)}
        >>> figure = effect_size_by_loss({"fc": effect}, {"fc": loss}, groups)
        >>> [text.get_text() for text in figure.axes[0].texts if text.get_label() == "unit"]
        ['1', '4']
    """
    if not effect_size or not effect_size.keys() == loss.keys() == groups.keys() or most_layers < 1:
        raise ValueError(
            f"effect_size, loss and groups must have the same layers, at least one, and most_layers={most_layers} be "
            "positive"
        )
    for layer, group in groups.items():
        if not np.shape(effect_size[layer]) == np.shape(loss[layer]) == group.compared.shape:
            raise ValueError(f"effect_size, loss and groups of layer {layer!r} must be [units] of equal length")
    effects = {layer: np.abs(np.asarray(effect_size[layer], np.float64))[groups[layer].compared] for layer in loss}
    changes = {layer: np.asarray(values, np.float64)[groups[layer].compared] for layer, values in loss.items()}
    lines = [title] if title else []
    layers = list(loss)
    if len(layers) > most_layers:
        lines.append(f"the {most_layers} of {len(layers)} layers with the largest change of the loss")
        largest = np.array([changes[layer].max(initial=-np.inf) for layer in layers])
        layers = [layers[i] for i in np.sort(np.argsort(-largest, kind="stable")[:most_layers])]
    with matplotlib.rc_context(layout.STYLE):
        return _draw(layers, effects, changes, groups, lines)


def _draw(
    layers: Sequence[str],
    effects: Mapping[str, NDArray[np.float64]],
    changes: Mapping[str, NDArray[np.float64]],
    groups: Mapping[str, SelectiveOrUsed],
    lines: Sequence[str],
) -> Figure:
    found = [groups[layer] for layer in layers]
    notes = [
        f"{group.unused.sum()} unused, {group.unselective.sum()} unselective of {group.compared.sum()}"
        if group.classified
        else f"{group.compared.sum()} units: too few to tell"
        for group in found
    ]
    figure, panels = draw_panels(
        layout.shorten(layers),
        notes,
        [_scale(changes[layer]) for layer in layers],
        across={0.0: "0", 0.5: "0.5", 1.0: "1"},
        labels=("how differently it responds to the classes: |effect size|", "change of the loss"),
        keys=[_UNUSED, _UNSELECTIVE, _OTHERS],
        lines=lines,
    )
    points = [
        np.stack([panels.x(i, effects[layer].clip(0, 1)), panels.y(i, changes[layer])], axis=1)
        for i, layer in enumerate(layers)
    ]
    unused = [group.unused[group.compared] for group in found]
    unselective = [group.unselective[group.compared] for group in found]
    rest = [~(one | other) for one, other in zip(unused, unselective, strict=True)]
    for key, chosen in ((_OTHERS, rest), (_UNUSED, unused), (_UNSELECTIVE, unselective)):
        settings = {"s": 0.5 * MARK, "alpha": 0.6} if key is _OTHERS else {"s": MARK, "zorder": 2}
        picked = [place[which] for place, which in zip(points, chosen, strict=True)]
        add_points(panels.axes, picked, key, label=key.text, **settings)
    for i, layer in enumerate(layers):
        named = [
            (key, extremes(chosen[i], effects[layer], changes[layer])[:_MOST_LABELS])
            for key, chosen in ((_UNUSED, unused), (_UNSELECTIVE, unselective))
        ]
        _number(panels, i, points[i], np.flatnonzero(found[i].compared), named)
    return figure


def _scale(changes: NDArray[np.float64]) -> tuple[float, float]:
    low, high = scale_of(changes)
    return min(low, -_ROOM * high), high


def extremes(group: NDArray[np.bool_], effect_size: NDArray[np.floating], loss: NDArray[np.floating]) -> list[int]:
    """Units of a group, those first whose ranks by effect size and by change of the loss differ most.

    Args:
        group: ``[U]``, the units wanted, of all compared ones.
        effect_size: ``[U]``, of any sign.
        loss: ``[U]``, of any sign.

    Returns:
        Places among the U.

    Example:
        >>> import numpy as np
        >>> extremes(np.array([True, True, False]), np.array([0.9, 0.8, 0.1]), np.array([3.0, 0.0, 2.0]))
        [1, 0]
    """
    ranks = [np.argsort(np.argsort(np.abs(values), kind="stable"), kind="stable") for values in (effect_size, loss)]
    wanted = np.flatnonzero(group)
    return wanted[np.argsort(-np.abs(ranks[0] - ranks[1])[wanted], kind="stable")].tolist()


def _number(
    panels: Panels,
    panel: int,
    points: NDArray[np.float64],
    units: NDArray[np.intp],
    named: Sequence[tuple[Key, Sequence[int]]],
) -> None:
    """Numbers beside points, where they cover no other number and no point, if there is such a place."""
    low = np.array([panels.left[panel], panels.floor[panel] - panels.height])
    high = low + np.array([panels.width, panels.height])
    taken = np.empty((0, 2, 2))  # middles and halves of the numbers' boxes
    for key, i in [(key, i) for key, chosen in named for i in chosen]:
        text = str(units[i])
        half = np.array([layout.text_width([text], SMALL, "bold") + 4, layout.line_height(SMALL)]) / 2
        middles = points[i] + _AROUND * (half + 4)
        free = np.logical_and(middles - half >= low, middles + half <= high).all(1)
        free &= ~(np.abs(middles[:, None] - taken[:, 0]) < half + taken[:, 1]).all(2).any(1)
        near = points[np.abs(points - points[i]).max(1) < 4 * half.max() + 20]
        free &= ~(np.abs(middles[:, None] - near) < half + 3).all(2).any(1)
        if not free.any():
            continue
        x, y = middles[free.argmax()]
        taken = np.concatenate([taken, [[(x, y), half]]])
        place = {"weight": "bold", "ha": "center", "va": "center", "fontsize": SMALL, "zorder": 4}
        write(panels.axes, x, y, text, label="unit", color=key.color, **place)
