"""What is shown of the removal of directions."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import numpy as np
from numpy.typing import NDArray

from ..plots import direction_kl
from ..records import DIRECTION_KINDS, Record
from ..tables import Table, plain
from .display import Display, History, prefixed, title

_WORDS = {
    "random": "best random",
    "principal": "best principal component",
    "class_means": "best difference of class means",
    "given": "best given",
    "search": "found by search",
}


def display(record: Record, history: History, name: str) -> Display:
    """Scalars, histograms, figures and tables of one record.

    Args:
        record: With findings of ``DirectionAblation``. Of those of ``Ablation`` the strongest unit is shown with them.
        history: Not used.
        name: The monitor's name.

    Returns:
        For each layer the scalar ``direction_max_kl/<layer>`` and the histogram ``direction_kl/<layer>``, the figure
        ``direction_figures/kl`` and the table ``direction_tables/strongest``. The monitor's name stands before each
        unless it is "separation".
    """
    found = record.findings["direction_ablation"]
    shown = Display()
    layers = [layer for layer in record.layers if layer in found]
    for layer in layers:
        kl = found[layer]["kl"]
        shown.scalars[f"{prefixed(name, 'direction_max_kl')}/{layer}"] = found[layer]["max_kl"].item()
        if np.isfinite(kl).any():
            shown.histograms[f"{prefixed(name, 'direction_kl')}/{layer}"] = kl[np.isfinite(kl)]
    if not layers:
        return shown
    kinds = {layer: _by_kind(found[layer]) for layer in layers}
    units = _best_units(record, layers)
    shown.figures[f"{prefixed(name, 'direction_figures')}/kl"] = partial(
        direction_kl,
        kinds,
        best_unit={layer: kl for layer, (_, kl) in units.items()},
        title=title(name, "How far predictions move without one direction", record),
    )
    there = [kind for kind in DIRECTION_KINDS if any(kind in kinds[layer] for layer in layers)]
    rows = []
    for layer in layers:
        row = [layer, *(_strongest(kinds[layer].get(kind, np.empty(0)), kind) for kind in there)]
        if units:
            row.append(f"{plain(units[layer][1])} (unit {units[layer][0]})" if layer in units else "–")
        rows.append(row)
    header = ["layer", *(_WORDS[kind] for kind in there), *(["best single unit"] if units else [])]
    caption = (
        f"How far the predictions move without one direction of a layer, {record.when}: KL divergence, in nats, "
        "of the predictions of the whole network from those without it."
    )
    shown.tables[f"{prefixed(name, 'direction_tables')}/strongest"] = Table(header, rows, caption)
    return shown


def _by_kind(values: Mapping[str, NDArray]) -> dict[str, NDArray]:
    """The KL of the directions of each kind that is there."""
    return {
        kind: values["kl"][values["kind"] == i] for i, kind in enumerate(DIRECTION_KINDS) if (values["kind"] == i).any()
    }


def _best_units(record: Record, layers: list[str]) -> dict[str, tuple[int, float]]:
    """The unit without which the predictions move most, and how far, of each layer where that is known."""
    found = record.findings.get("ablation")
    units: dict[str, tuple[int, float]] = {}
    if found is None:
        return units
    for layer in layers:
        if layer in found and np.isfinite(found[layer]["kl"]).any():
            best = _best(found[layer]["kl"])
            units[layer] = best, float(found[layer]["kl"][best])
    return units


def _best(kl: NDArray) -> int:
    return int(np.argmax(np.where(np.isfinite(kl), kl, -np.inf)))


def _strongest(kl: NDArray, kind: str) -> str:
    if not np.isfinite(kl).any():
        return "–"
    best = _best(kl)
    which = {"principal": f" (component {best + 1} of {len(kl)})", "search": ""}
    return plain(kl[best]) + which.get(kind, f" (of {len(kl)})")
