"""How the separations of all class pairs are distributed, before and after training: histograms by layer."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib
import numpy as np
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from numpy.typing import NDArray

from . import _layout as layout
from ._labels import evenly_chosen, merged
from ._layout import INK
from ._panels import BLUE, GREEN, ORANGE, Key, Panels, draw_panels, ticks

_COLORS = (BLUE, ORANGE, GREEN)
_WIDTH = 0.05  # of a bin
_LOWEST = -1.0  # what is below is counted in the first bin
_MOST_LAYERS = 11


def pair_histograms(values: Mapping[str, Mapping[str, NDArray[np.floating]]], *, title: str = "") -> Figure:
    """How the separations of the class pairs are distributed: of all layers at once, and in each.

    The bins are 0.05 wide and the same in all panels, from 0 (or from the smallest value, if that is below) to 1; so
    is the scale of shares. Dashed lines are means. Of more than eleven layers eleven are shown, evenly spaced from
    first to last; the panel of all layers counts all. Equal input gives equal figures.

    Args:
        values: Label, such as "before" and "after" -> layer -> ``[P]``, separation of each pair of classes, NaN for no
            value; one to three labels. Layers in order of execution; they need not be the same for all labels. Values
            below -1 are counted in the first bin.
        title: Title of the figure.

    Returns:
        A figure without a canvas, with one axes whose unit is the pixel.

    Raises:
        ValueError: If there are no layers or not one to three labels, values are not ``[P]``, or one is above 1.

    Example:
        >>> import numpy as np
        >>> before, after = {"fc": np.array([0.1, 0.2])}, {"fc": np.array([0.8, 0.7])}
        >>> figure = pair_histograms({"before": before, "after": after})
        >>> [text.get_text() for text in figure.axes[0].texts if text.get_label() == "note"]
        ['mean 0.15 → 0.75']
    """
    layers = merged([list(of_layer) for of_layer in values.values()])
    if not layers or len(values) > len(_COLORS):
        raise ValueError(f"one to {len(_COLORS)} labels with layers are needed, not {len(values)}")
    found = {
        label: {layer: _finite(pairs, f"{label!r}, layer {layer!r}") for layer, pairs in of_layer.items()}
        for label, of_layer in values.items()
    }
    chosen, lines = evenly_chosen(len(layers), _MOST_LAYERS, title)
    empty = np.empty(0)
    groups = [[of_layer.get(layers[i], empty) for of_layer in found.values()] for i in chosen]
    names = [layers[i] for i in chosen]
    if len(layers) > 1:
        groups.insert(0, [np.concatenate([*of_layer.values(), empty]) for of_layer in found.values()])
    smallest = min((float(pairs.min()) for group in groups for pairs in group if len(pairs)), default=0.0)
    edges = _edges(smallest)
    shares = np.array([[_shares(pairs, edges) for pairs in group] for group in groups])
    means = np.array([[pairs.mean() if len(pairs) else np.nan for pairs in group] for group in groups])
    with matplotlib.rc_context(layout.STYLE):
        heads = [*(["all layers"] if len(layers) > 1 else []), *layout.shorten(names, most=30)]
        return _draw(heads, layout.shorten(values), edges, shares, means, lines)


def _finite(pairs: NDArray[np.floating], name: str) -> NDArray[np.float64]:
    array = np.asarray(pairs, dtype=np.float64)
    if array.ndim != 1:
        raise ValueError(f"separations of {name} must be [pairs], not {list(array.shape)}")
    array = array[np.isfinite(array)]
    if (array > 1 + 1e-6).any():
        raise ValueError(f"a separation of {name} is above 1")
    return array.clip(_LOWEST, 1)


def _edges(smallest: float) -> NDArray[np.float64]:
    """Edges of bins that hold so small a value, and end at 1.

    Example:
        >>> _edges(0.3)[[0, 1, -1]], _edges(-0.07)[[0, 1, -1]]
        (array([0.  , 0.05, 1.  ]), array([-0.1 , -0.05,  1.  ]))
    """
    first = min(int(np.floor(smallest / _WIDTH + 1e-9)), 0)
    return np.round(np.arange(first, round(1 / _WIDTH) + 1) * _WIDTH, 2)


def _shares(pairs: NDArray[np.float64], edges: NDArray[np.float64]) -> NDArray[np.float64]:
    """The share of pairs in each bin, NaN where there are none."""
    if not len(pairs):
        return np.full(len(edges) - 1, np.nan)
    # A value on an edge, such as 0.15, must not fall below it only because it cannot be stored exactly.
    return np.asarray(np.histogram((pairs + 1e-9).clip(edges[0], edges[-1]), edges)[0] / len(pairs))


def _draw(
    heads: list[str],
    labels: list[str],
    edges: NDArray[np.float64],
    shares: NDArray[np.float64],
    means: NDArray[np.float64],
    lines: list[str],
) -> Figure:
    low, high = float(edges[0]), float(edges[-1])
    highest = 1.06 * float(np.nanmax(shares, initial=0.0)) or 1.0
    told = [" → ".join("–" if np.isnan(mean) else layout.number(mean, ".2f") for mean in row) for row in means]
    keys = [Key(label, color, "s") for label, color in zip(labels, _COLORS, strict=False)]
    figure, panels = draw_panels(
        heads,
        [f"mean {text}" if np.isfinite(row).any() else "no values" for text, row in zip(told, means, strict=True)],
        [(0.0, highest)] * len(heads),
        across={(mark - low) / (high - low): layout.number(mark) for mark in ticks(low, high)},
        labels=("separation of a pair of classes", "share of pairs"),
        keys=[*keys, Key("mean", INK, "--")],
        lines=lines,
    )
    for k, key in enumerate(keys):
        _add_histograms(panels, k, key.color, (edges - low) / (high - low), shares[:, k])
        _add_means(panels, k, key.color, (means[:, k] - low) / (high - low))
    return figure


def _add_histograms(
    panels: Panels, number: int, color: str, edges: NDArray[np.float64], shares: NDArray[np.float64]
) -> None:
    """A step line with pale filling in each panel; ``edges`` from 0 to 1, ``shares [P, bins]``."""
    steps = []
    for i in np.flatnonzero(np.isfinite(shares).all(1)).tolist():
        x, y = panels.x(i, np.repeat(edges, 2)), panels.y(i, np.pad(np.repeat(shares[i], 2), 1))
        steps.append(np.stack([x, y], axis=1))
    filled = PolyCollection(steps, facecolors=[to_rgba(color, 0.22)], edgecolors=color, linewidths=1.8)
    filled.set(zorder=2, label=f"histogram {number}")
    panels.axes.add_collection(filled, autolim=False)


def _add_means(panels: Panels, number: int, color: str, places: NDArray[np.float64]) -> None:
    known = np.flatnonzero(np.isfinite(places)).tolist()
    ways = [
        [(panels.x(i, places[i]), panels.floor[i]), (panels.x(i, places[i]), panels.floor[i] - panels.height)]
        for i in known
    ]
    dashed = LineCollection(ways, colors=color, linewidths=2, linestyles="--", zorder=3, label=f"mean {number}")
    panels.axes.add_collection(dashed, autolim=False)
