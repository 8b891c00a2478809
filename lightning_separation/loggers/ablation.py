"""What is shown of the removal of single units."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import numpy as np
from numpy.typing import NDArray

from ..plots import SelectiveOrUsed, effect_size_by_loss, extremes, selective_or_used, unit_ablation
from ..plots.causal import MOST_CHANGE, MOST_EFFECT
from ..records import Record
from ..records.summary import needed_units
from ..tables import Table, percent, plain, signed
from .display import Display, History, clean_score, prefixed, score_of, title

_MOST_UNITS = 10
_MOST_NAMED = 4  # or TensorBoard breaks the names of layers to make room
_LITTLE = 0.01  # of the clean loss


def display(record: Record, history: History, name: str) -> Display:
    """Scalars, histograms, figures and tables of one record.

    Args:
        record: With findings of ``Ablation``. Those of ``Significance`` are used where they are there.
        history: Not used.
        name: The monitor's name.

    Returns:
        For each layer the scalar ``ablation_max_loss/<layer>``, the histogram ``ablation_loss/<layer>`` and the figure
        ``ablation_figures/<layer>``: the change of the loss without each unit; the tables
        ``ablation_tables/most_needed`` and ``ablation_tables/layers``. With effect sizes of the same units also the
        figure ``ablation_figures/effect_size_by_loss`` and the table ``ablation_tables/selective_or_used``: which
        units are selective but unused or used but unselective, as :func:`~lightning_separation.plots.selective_or_used`
        defines it. The monitor's name stands before each unless it is "separation".
    """
    found = record.findings["ablation"]
    shown = Display()
    figures, tables = prefixed(name, "ablation_figures"), prefixed(name, "ablation_tables")
    for layer in found:
        values = found[layer]
        shown.scalars[f"{prefixed(name, 'ablation_max_loss')}/{layer}"] = values["max_loss"].item()
        finite = values["loss"][np.isfinite(values["loss"])]
        if len(finite):
            shown.histograms[f"{prefixed(name, 'ablation_loss')}/{layer}"] = finite
        shown.layer_figures[f"{figures}/{layer}"] = partial(
            unit_ablation,
            values["loss"],
            values["exact"],
            title=title(name, f"Units of {layer} removed one by one", record),
            notes=[f"with all units: {clean_score(values)}"],
        )
    if not len(found):
        return shown
    shown.tables[f"{tables}/most_needed"] = _most_needed(record)
    shown.tables[f"{tables}/layers"] = _layers(record)
    groups = {layer: _groups(found[layer], tested) for layer, tested in _tested(record).items()}
    if groups:
        effects = {layer: tested["effect_size"] for layer, tested in _tested(record).items()}
        shown.figures[f"{figures}/effect_size_by_loss"] = partial(
            effect_size_by_loss,
            effects,
            {layer: found[layer]["loss"] for layer in groups},
            groups,
            title=title(name, "What responds against what is needed", record),
        )
        shown.tables[f"{tables}/selective_or_used"] = _selective_or_used(record, groups)
    return shown


def _is_output(values: Mapping[str, NDArray]) -> bool:
    """Whether the units are the network's own outputs: that these are needed says nothing."""
    return bool(values.get("is_output", False))


def _tested(record: Record) -> dict[str, Mapping[str, NDArray]]:
    """What ``Significance`` found of the layers whose units were removed, in order of execution, outputs aside."""
    found, tested = record.findings["ablation"], record.findings.get("significance")
    if tested is None:
        return {}
    both = [layer for layer in record.layers if layer in found and layer in tested and not _is_output(found[layer])]
    return {layer: tested[layer] for layer in both if len(tested[layer]["effect_size"]) == len(found[layer]["loss"])}


def _groups(values: Mapping[str, NDArray], tested: Mapping[str, NDArray]) -> SelectiveOrUsed:
    compared = values["exact"].astype(bool) & ~tested["dead"].astype(bool)
    return selective_or_used(tested["effect_size"], values["loss"], tested["significant"], compared)


def _most_needed(record: Record) -> Table:
    found, tested = record.findings["ablation"], _tested(record)
    units = []
    for layer in [layer for layer in record.layers if layer in found]:
        units += [(layer, unit) for unit in needed_units(found[layer])[:_MOST_UNITS]]
    units.sort(key=lambda place: -found[place[0]]["loss"][place[1]])
    same: dict[tuple[int, str], list[str]] = {}  # a Linear and the ReLU behind it lose the same with a unit
    for layer, unit in units:
        changes = [f"{found[layer][quantity][unit]:.6g}" for quantity in ("loss", "accuracy", "kl")]
        same.setdefault((unit, " ".join(changes)), []).append(layer)
    rows = []
    for (unit, _), layers in list(same.items())[:_MOST_UNITS]:
        layers.sort(key=record.layers.index)
        layer = layers[0]
        values = found[layer]
        changes = [signed(values["loss"][unit]), signed(100 * values["accuracy"][unit], ".1f")]
        row = [", ".join(layers), str(unit), *changes, plain(values["kl"][unit])]
        row.append("exact" if values["exact"][unit] else "estimate")
        if tested:
            row += _response(record, tested.get(layer), unit)
        rows.append(row)
    header = ["layer", "unit", "change of loss", "change of accuracy (points)", "KL (nats)", "how"]
    header += ["effect size", "preferred class"] if tested else []
    caption = (
        f"The units the network needs most, {record.when}, its outputs aside: what changes when one is removed. KL: "
        "of the predictions with all units from those without this one. Layers without whose unit all is the same "
        f"share a row; its effect size is that in the first. {_loss_is(record)}"
    )
    return Table(header, rows, caption)


def _loss_is(record: Record) -> str:
    score, unit = score_of(next(iter(record.findings["ablation"].values())))
    return f"Loss: {score} with all units, changes in {unit}." if unit else f"Loss: {score} with all units."


def _response(record: Record, tested: Mapping[str, NDArray] | None, unit: int) -> list[str]:
    """A unit's effect size and preferred class."""
    if tested is None:
        return ["–", "–"]
    preferred = int(tested["preferred_class"][unit])
    return [
        signed(tested["effect_size"][unit], ".2f"),
        record.class_names[preferred] if preferred >= 0 else "none most",
    ]


def _layers(record: Record) -> Table:
    found = record.findings["ablation"]
    rows = []
    for layer in record.layers:
        if layer not in found:
            continue
        values = found[layer]
        loss, clean = values["loss"], values["clean_loss"].item()
        known = loss[np.isfinite(loss)]
        needed = needed_units(values)
        little = percent(
            (np.abs(known) < _LITTLE * abs(clean)).mean() if len(known) and np.isfinite(clean) else np.nan, ".0f"
        )
        rows.append(
            [
                layer,
                str(len(loss)),
                percent(values["exact_fraction"], ".0f"),
                plain(clean),
                str(needed[0]) if needed else "–",
                signed(loss[needed[0]]) if needed else "–",
                little,
                str(int((known < 0).sum())),
            ]
        )
    header = ["layer", "units", "exact", "loss", "most needed", "change without it", "hardly used", "better without"]
    caption = (
        f"What each layer loses when one of its units is removed, {record.when}. {_loss_is(record)} Hardly "
        f"used: units that change it by less than {_LITTLE:.0%}. Better without: units without which it is lower."
    )
    return Table(header, rows, caption)


def _selective_or_used(record: Record, groups: Mapping[str, SelectiveOrUsed]) -> Table:
    found, tested = record.findings["ablation"], record.findings["significance"]
    rows = []
    for layer, group in groups.items():
        compared = int(group.compared.sum())
        if not group.classified:
            rows.append([layer, "too few to tell", str(compared), "–"])
            continue
        effect, loss = tested[layer]["effect_size"], found[layer]["loss"]
        for words, chosen in (("selective but unused", group.unused), ("used but unselective", group.unselective)):
            known = group.compared
            units = np.flatnonzero(known)[extremes(chosen[known], effect[known], loss[known])].tolist()
            named = [
                f"{unit} ({signed(effect[unit], '.2f')}, {signed(loss[unit], '.2g')})" for unit in units[:_MOST_NAMED]
            ]
            rows.append([layer, words, f"{len(units)} of {compared}", ", ".join(named) or "none"])
    caption = (
        f"Where response and need differ, {record.when}. Thirds and the largest are of the compared units of a layer: "
        "alive, with an exact change of the loss. Selective but unused: significant and in the upper third by absolute "
        f"effect size, but in the lower third by absolute change of the loss, with at most {MOST_CHANGE:.0%} of the "
        "largest. Used but unselective: in the upper third by change of the loss, which is positive, but in the lower "
        f"third by absolute effect size, with at most {MOST_EFFECT:.0%} of the largest."
    )
    return Table(["layer", "which", "units", "the clearest (effect size, change of the loss)"], rows, caption)
