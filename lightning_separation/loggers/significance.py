"""What is shown of neuron significance."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..plots import unit_distributions
from ..records import INPUT, Record
from ..tables import Table
from .display import Display, History, prefixed, title

if TYPE_CHECKING:
    from matplotlib.figure import Figure

GROUPS = ("most significant", "least significant", "most normal", "least normal")
_MOST_UNITS = 3  # named for each layer in the table
_SMALLEST = 1e-300  # q of 0 has no logarithm


def display(record: Record, history: History, name: str) -> Display:
    """Scalars, histograms, figures and tables of one record.

    Args:
        record: With findings of ``Significance``.
        history: Not used.
        name: The monitor's name.

    Returns:
        For each layer the scalars ``significant_fraction/<layer>``, ``dead_fraction/<layer>`` and
        ``best_effect_size/<layer>``, histograms ``effect_size/<layer>`` and ``neg_log10_q/<layer>``, and the figure
        ``significance_figures/<layer>``: the class distributions of chosen units; the table
        ``significance_tables/layers``. The monitor's name stands before each unless it is "separation".
    """
    found = record.findings["significance"]
    shown = Display()
    for layer in found:
        values = found[layer]
        for quantity in ("significant_fraction", "dead_fraction", "best_effect_size"):
            shown.scalars[f"{prefixed(name, quantity)}/{layer}"] = values[quantity].item()
        for quantity, numbers in (
            ("effect_size", values["effect_size"]),
            ("neg_log10_q", -np.log10(values["q_value"].clip(min=_SMALLEST))),
        ):
            if np.isfinite(numbers).any():
                shown.histograms[f"{prefixed(name, quantity)}/{layer}"] = numbers[np.isfinite(numbers)]
        if len(values["example_unit"]):
            draw = partial(_distributions, record, layer, name)
            shown.layer_figures[f"{prefixed(name, 'significance_figures')}/{layer}"] = draw
    if len(found):
        shown.tables[f"{prefixed(name, 'significance_tables')}/layers"] = _layers(record)
    return shown


def remembered(record: Record) -> dict[str, dict[str, list[int]]]:
    """Numbers of the units of each layer behind the input that give the same for every sample."""
    found = record.findings["significance"]
    layers = [layer for layer in record.layers if layer in found and layer != INPUT and "dead" in found[layer]]
    return {"dead": {layer: np.flatnonzero(found[layer]["dead"]).tolist() for layer in layers}}


def _distributions(record: Record, layer: str, name: str) -> Figure:
    values = record.findings["significance"][layer]
    captions = []
    for place, unit in enumerate(values["example_unit"].tolist()):
        if place < len(values["example_unit"]) // 2:
            q, effect = values["q_value"][unit], f"{values['effect_size'][unit]:.2f}".replace("-", "−")
            said = f"q {q:.0e}, effect {effect}" if q < 0.01 else f"q {q:.2f}, effect {effect}"
        else:
            said = f"Shapiro W {values['normality'][unit]:.3f}"
        captions.append(f"unit {unit}\n{said}")
    significant = f"{values['significant'].sum()} of {len(values['significant'])} significant"
    return unit_distributions(
        values["example_histogram"],
        values["example_edges"],
        captions,
        record.class_names,
        rows=GROUPS,
        title=title(name, f"Units of {layer}, {significant}", record),
    )


def _layers(record: Record) -> Table:
    found = record.findings["significance"]
    rows = []
    for layer in record.layers:
        if layer not in found:
            continue
        values = found[layer]
        effect = np.abs(values["effect_size"])
        best = [unit for unit in np.argsort(-effect, kind="stable").tolist() if values["significant"][unit]]
        named = [f"{unit} ({_told(record, values, unit)})" for unit in best[:_MOST_UNITS]]
        counted = [len(effect), int(values["significant"].sum()), int(values["spread_only"].sum())]
        dead = values["dead_fraction"].item()
        rows.append([layer, *map(str, counted), f"{dead:.0%}", ", ".join(named) or "none"])
    header = ["layer", "units", "significant", "differ in spread only", "dead", "strongest units (class, effect size)"]
    if sum(next(iter(found.values()))["tested"]) == 2:
        effects = "rank-biserial correlation; class: the one with the larger values"
    else:
        effects = "rank eta squared; class: the one with the largest mean"
    caption = (
        f"Units that respond differently to the classes, {record.when}. Effect size: {effects}. Dead: the same value "
        "for every sample."
    )
    return Table(header, rows, caption)


def _told(record: Record, values: Mapping[str, NDArray], unit: int) -> str:
    """The class that a unit stands for, and how strongly."""
    effect, preferred = values["effect_size"][unit].item(), int(values["preferred_class"][unit])
    if values["tested"].sum() == 2:
        smaller, larger = np.flatnonzero(values["tested"])
        return f"{record.class_names[larger if effect > 0 else smaller]}, {effect:+.2f}"
    return f"{record.class_names[preferred] if preferred >= 0 else 'none most'}, {effect:.2f}"
