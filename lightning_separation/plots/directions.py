"""What the network loses with single directions of a layer's units: how far its predictions move without them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from numpy.typing import NDArray

from . import _layout as layout
from ._layout import INK
from ._panels import BLUE, GREEN, GREY, MARK, ORANGE, Key, add_points, draw_panels, scale_of

_PURPLE, _YELLOW = "#cc79a7", "#e69f00"
_MARKS = {  # of each kind: what the legend says, colour, marker
    "random": ("random", GREY, "o"),
    "principal": ("principal components, in their order", BLUE, "s"),
    "class_means": ("differences of class means", GREEN, "^"),
    "given": ("given", _PURPLE, "D"),
    "search": ("found by search", ORANGE, "*"),
}
_OTHER = (_YELLOW, "P")
_UNIT = Key("best single unit", INK, "--")


def direction_kl(
    kl: Mapping[str, Mapping[str, NDArray[np.floating]]],
    *,
    best_unit: Mapping[str, float] | None = None,
    title: str = "",
    most_layers: int = 9,
) -> Figure:
    """How far the predictions move when a direction is removed, by kind of direction, a panel for each layer.

    From left to right: the directions of each kind, strongest first, principal components in their own order; the scale
    of places is logarithmic, so that the first few are apart. What was found by search is a star at place 1, the
    strongest single unit a dashed line. Every panel has its own scale. Of more than ``most_layers`` those with the
    largest value are shown, in the order given. Equal input gives equal figures.

    Args:
        kl: Layer -> kind -> ``[n]``, KL(whole || without the direction) in nats; NaN means no value. Kinds are
            ``"random"``, ``"principal"``, ``"class_means"``, ``"given"`` and ``"search"``; others can be there, too.
        best_unit: Layer -> the largest value of a single unit.
        title: Title of the figure.
        most_layers: So many panels are shown at most.

    Returns:
        A figure without a canvas, with one axes whose unit is the pixel.

    Raises:
        ValueError: If there is no layer, values are not ``[n]``, or ``most_layers`` is not positive.

    Example:
        >>> import numpy as np
        >>> figure = direction_kl({"fc": {"random": np.array([0.1, 0.3]), "search": np.array([0.9])}})
        >>> [text.get_text() for text in figure.axes[0].texts if text.get_label() == "legend"]
        ['random', 'found by search']
    """
    if not kl or most_layers < 1:
        raise ValueError(f"there are {len(kl)} layers, and most_layers={most_layers} must be positive")
    values = {layer: {kind: np.asarray(x, np.float64) for kind, x in kinds.items()} for layer, kinds in kl.items()}
    for layer, kinds in values.items():
        for kind, array in kinds.items():
            if array.ndim != 1:
                raise ValueError(f"values of {kind!r} in layer {layer!r} must be [directions], not {list(array.shape)}")
            order = np.arange(len(array)) if kind == "principal" else np.argsort(-array, kind="stable")  # NaN last
            kinds[kind] = array[order]
    units = {layer: float((best_unit or {}).get(layer, np.nan)) for layer in values}
    lines = [title] if title else []
    layers = list(values)
    if len(layers) > most_layers:
        lines.append(f"the {most_layers} of {len(layers)} layers with the largest effect of a direction")
        largest = np.array([np.nan_to_num(_all_of(values[layer])).max(initial=0.0) for layer in layers])
        layers = [layers[i] for i in np.sort(np.argsort(-largest, kind="stable")[:most_layers])]
    with matplotlib.rc_context(layout.STYLE):
        return _draw(layers, values, units, lines)


def _all_of(kinds: Mapping[str, NDArray[np.float64]]) -> NDArray[np.float64]:
    every = np.concatenate([np.empty(0), *kinds.values()])
    return np.asarray(every[np.isfinite(every)])


def _draw(
    layers: Sequence[str],
    values: Mapping[str, Mapping[str, NDArray[np.float64]]],
    units: Mapping[str, float],
    lines: Sequence[str],
) -> Figure:
    there = {kind for layer in layers for kind, array in values[layer].items() if len(array)}
    marks = {**_MARKS, **{kind: (kind, *_OTHER) for kind in sorted(there - _MARKS.keys())}}
    kinds = [kind for kind in marks if kind in there]
    keys = [Key(*marks[kind]) for kind in kinds]
    if any(np.isfinite(units[layer]) for layer in layers):
        keys.append(_UNIT)
    most = max((len(array) for layer in layers for array in values[layer].values()), default=1)
    reach = np.log(max(most, 2)) + 0.1  # of the logarithm, with room for a mark at the right
    across = {_place(place, reach): str(place) for place in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000) if place <= most}
    figure, panels = draw_panels(
        layout.shorten(layers),
        [_note(values[layer], units[layer]) for layer in layers],
        [_scale(np.append(_all_of(values[layer]), units[layer])) for layer in layers],
        across=across,
        labels=("place among the directions of its kind", "KL divergence, nats"),
        keys=keys,
        lines=lines,
    )
    axes = panels.axes
    for order, kind in enumerate(kinds):
        places = []
        for i, layer in enumerate(layers):
            array = values[layer].get(kind, np.empty(0))
            x = panels.x(i, _place(np.arange(len(array)) + 1, reach))
            places.append(np.stack([x, panels.y(i, array)], axis=1)[np.isfinite(array)])
        key = Key(*marks[kind])
        size = MARK * (4 if key.marker == "*" else 0.8)
        add_points(axes, places, key, s=size, zorder=2 + order / 9, label=kind)
        if kind == "principal":
            ways = LineCollection(
                [list(way) for way in places if len(way) > 1], colors=key.color, linewidths=1, zorder=1.5
            )
            axes.add_collection(ways, autolim=False)
    levels = [
        [(panels.left[i], panels.y(i, units[layer])), (panels.left[i] + panels.width, panels.y(i, units[layer]))]
        for i, layer in enumerate(layers)
        if np.isfinite(units[layer])
    ]
    lines_of_units = LineCollection(levels, colors=INK, linewidths=1.5, linestyles="--", zorder=1.8, label="best unit")
    axes.add_collection(lines_of_units, autolim=False)
    return figure


def _scale(values: NDArray[np.float64]) -> tuple[float, float]:
    """As of other figures, with room for half a mark below zero: most directions lie there."""
    low, high = scale_of(values)
    return low - 0.05 * (high - low), high


def _place(place: Any, reach: float) -> Any:
    """From 0 (left) to 1, with room for a mark at the left."""
    return (np.log(place) + 0.1) / (reach + 0.1)


def _note(kinds: Mapping[str, NDArray[np.float64]], unit: float) -> str:
    """How the searched direction, or else the strongest, compares with the strongest unit."""
    every = _all_of(kinds)
    if not len(every):
        return "no values"
    best = float(every.max())
    if not np.isfinite(unit) or unit <= 0:
        return f"strongest {layout.number(best)}"
    times = float(f"{best / unit:.2g}")
    return f"strongest {layout.number(best)}, {layout.number(times)} × the best unit"
