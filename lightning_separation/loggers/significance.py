"""What is shown of neuron significance."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..plots import unit_distributions
from ..records import Record
from .display import Display, Table, prefixed, title

if TYPE_CHECKING:
    from matplotlib.figure import Figure

GROUPS = ("most significant", "least significant", "most normal", "least normal")
_MOST_UNITS = 3  # named for each layer in the table
_SMALLEST = 1e-300  # q of 0 has no logarithm


def display(record: Record, history: Mapping[int | str, Mapping[str, float]], name: str) -> Display:
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
    return unit_distributions(
        values["example_histogram"],
        values["example_edges"],
        captions,
        record.class_names,
        rows=GROUPS,
        title=title(name, f"Units of {layer}, {values['significant'].sum()} of {_units(values)} significant", record),
    )


def _units(values: Mapping[str, NDArray]) -> int:
    return len(values["significant"])


def _layers(record: Record) -> Table:
    found = record.findings["significance"]
    rows = []
    for layer in record.layers:
        if layer not in found:
            continue
        values = found[layer]
        effect = np.abs(values["effect_size"])
        best = [unit for unit in np.argsort(-effect, kind="stable").tolist() if values["significant"][unit]]
        named = []
        for unit in best[:_MOST_UNITS]:
            preferred = record.class_names[values["preferred_class"][unit]]
            named.append(f"{unit} ({preferred}, {effect[unit]:.2f})")
        units = _units(values)
        counted = [int(values["significant"].sum()), int(values["spread_only"].sum())]
        dead = values["dead_fraction"].item()
        rows.append([layer, str(units), *map(str, counted), f"{dead:.0%}", ", ".join(named) or "none"])
    header = ["layer", "units", "significant", "differ in spread only", "dead", "strongest units (class, effect size)"]
    caption = (
        f"Units that respond differently to the classes, {record.when}. Effect size: "
        + ("rank-biserial correlation" if len(record.class_names) == 2 else "rank eta squared")
        + "; class: the one with the largest mean."
    )
    return Table(header, rows, caption)
