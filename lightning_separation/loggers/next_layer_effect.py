"""What is shown of what units mean to the layers behind."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
from numpy.typing import NDArray

from ..plots import follower_heatmap
from ..records import Record
from ..tables import Table, percent, plain, signed
from .display import Display, History, prefixed, title

_GROUPS = {"without_significant": "without significant units", "without_others": "without as many others"}


def display(record: Record, history: History, name: str) -> Display:
    """Scalars, figures and tables of one record.

    Args:
        record: With findings of ``NextLayerEffect``.
        history: Not used.
        name: The monitor's name.

    Returns:
        For each layer with layers behind the scalars ``next_layer_separation/<layer>`` and
        ``next_layer_shift/<layer>``: how the separation of the next layer changes, and its units' distributions move,
        without the layer's significant units; the figures ``next_layer_figures/separation`` and
        ``next_layer_figures/shift`` and the table ``next_layer_tables/effects``. The monitor's name stands before each
        unless it is "separation".
    """
    found = record.findings["next_layer_effect"]
    shown = Display()
    layers = [layer for layer in record.layers if layer in found and len(found[layer]["follower"])]
    if not layers:
        return shown
    for layer in layers:
        change, shift = _change(found[layer], "without_significant"), found[layer]["shift_without_significant"]
        shown.scalars[f"{prefixed(name, 'next_layer_separation')}/{layer}"] = change[0].item()
        shown.scalars[f"{prefixed(name, 'next_layer_shift')}/{layer}"] = shift[0].item()
    followers = np.unique(np.concatenate([found[layer]["follower"] for layer in layers])).tolist()
    figures = prefixed(name, "next_layer_figures")
    shown.figures[f"{figures}/separation"] = partial(
        follower_heatmap,
        _panels(record, layers, _change),
        [record.layers[i] for i in followers],
        title=title(name, "What layers behind lose", record),
    )
    shown.figures[f"{figures}/shift"] = partial(
        follower_heatmap,
        _panels(record, layers, _shift),
        [record.layers[i] for i in followers],
        title=title(name, "How far the units of layers behind move", record),
        value="shift of distributions",
        signed=False,
    )
    shown.tables[f"{prefixed(name, 'next_layer_tables')}/effects"] = _effects(record, layers)
    return shown


def _panels(
    record: Record, layers: list[str], measure: Callable[[Mapping[str, NDArray], str], NDArray]
) -> dict[str, dict[str, dict[str, float]]]:
    """What was removed -> layer it was removed from -> layer behind -> value."""
    found = record.findings["next_layer_effect"]
    return {
        words: {
            layer: dict(zip(_behind(record, found[layer]), measure(found[layer], group).tolist(), strict=True))
            for layer in layers
        }
        for group, words in _GROUPS.items()
    }


def _behind(record: Record, values: Mapping[str, NDArray]) -> list[str]:
    return [record.layers[i] for i in values["follower"].tolist()]


def _change(values: Mapping[str, NDArray], group: str) -> NDArray:
    return values[f"separation_{group}"] - values["separation"]


def _shift(values: Mapping[str, NDArray], group: str) -> NDArray:
    return values[f"shift_{group}"]


def _effects(record: Record, layers: list[str]) -> Table:
    found = record.findings["next_layer_effect"]
    rows = []
    for layer in layers:
        values = found[layer]
        changes = {group: _change(values, group) for group in _GROUPS}
        row = [
            layer,
            str(int(values["removed_units"])),
            _behind(record, values)[0],
            plain(values["separation"][0], ".3f"),
        ]
        row += [
            f"{signed(change[0], '.3f')}, shift {plain(_shift(values, group)[0], '.2f')}"
            for group, change in changes.items()
        ]
        row.append(
            " / ".join(
                percent(values[f"significant_fraction{more}"][0], ".0f")
                for more in ("", *(f"_{group}" for group in _GROUPS))
            )
        )
        hit = changes["without_significant"]
        worst = int(np.argmin(np.where(np.isfinite(hit), hit, np.inf)))
        known = np.isfinite(hit[worst])
        row.append(f"{_behind(record, values)[worst]} ({signed(hit[worst], '.3f')})" if known else "–")
        rows.append(row)
    header = ["removed from", "units", "next layer", "separation", "without significant", "without others"]
    header += ["significant units", "loses most"]
    caption = (
        f"What removing a layer's significant units, or as many others, does to the layer behind it, {record.when}: "
        "the change of its separation, and the shift, the mean Kolmogorov-Smirnov distance of its units' distributions "
        "(0 for none to 1). Significant units: with all / without significant / without others. Loses most: the layer "
        "whose separation falls most without significant units."
    )
    return Table(header, rows, caption)
