"""What is shown of class selectivity."""

from __future__ import annotations

from functools import partial

import numpy as np

from ..plots import selectivity_heatmap
from ..records import Record
from ..tables import Table
from .display import Display, History, prefixed, title

_MOST_UNITS = 5


def display(record: Record, history: History, name: str) -> Display:
    """Scalars, histograms, figures and tables of one record.

    Args:
        record: With findings of ``Selectivity``.
        history: Not used.
        name: The monitor's name.

    Returns:
        For each layer the scalar ``class_divergence/<layer>`` (mean over units), the histogram
        ``unit_class_divergence/<layer>``, the figure ``selectivity_figures/<layer>`` (units x classes) and the table
        ``selectivity_tables/<layer>``. The monitor's name stands before each unless it is "separation".
    """
    found = record.findings["selectivity"]
    shown = Display()
    for layer in found:
        values = found[layer]
        shown.scalars[f"{prefixed(name, 'class_divergence')}/{layer}"] = values["class_divergence"].item()
        divergence = values["kl"][np.isfinite(values["kl"])]
        if len(divergence):
            shown.histograms[f"{prefixed(name, 'unit_class_divergence')}/{layer}"] = divergence
        shown.layer_figures[f"{prefixed(name, 'selectivity_figures')}/{layer}"] = partial(
            selectivity_heatmap,
            values["active_fraction"],
            record.class_names,
            title=title(name, f"Active units of {layer}", record),
        )
        shown.tables[f"{prefixed(name, 'selectivity_tables')}/{layer}"] = _classes(record, layer)
    return shown


def _classes(record: Record, layer: str) -> Table:
    values = record.findings["selectivity"][layer]
    active, preferred = values["active_fraction"], values["preferred_class"]
    rows = []
    for k, name in enumerate(record.class_names):
        others = np.delete(active, k, axis=1).mean(1) if active.shape[1] > 1 else np.zeros(len(active))
        units = np.flatnonzero(preferred == k)
        units = units[np.argsort(-(active[units, k] - others[units]), kind="stable")]
        named = [f"{u} ({active[u, k]:.0%}, others {others[u]:.0%})" for u in units[:_MOST_UNITS].tolist()]
        rows.append([name, str(len(units)), ", ".join(named) or "none"])
    header = ["class", "units that prefer it", "most selective (active for so many of its samples)"]
    return Table(header, rows, f"Units of `{layer}` by the class with the largest mean activation, {record.when}.")
