"""What is shown of the modules that units form."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import numpy as np
from numpy.typing import NDArray

from ..plots import modularity_by_layer, module_matrix
from ..records import Record
from ..tables import Table, plain, signed
from .display import Display, History, number, prefixed, title

_COMPARISONS = {
    "others_alone": "others alone",
    "all_over_module": "all over module",
    "all_over_others": "all over others",
}
_MOST_SIZES = 6


def display(record: Record, history: History, name: str) -> Display:
    """Scalars, figures and tables of one record.

    Args:
        record: With findings of ``Modularity``.
        history: Not used.
        name: The monitor's name.

    Returns:
        For each layer the scalars ``modularity/<layer>`` and ``modularity_null/<layer>`` (mean of shuffled partitions)
        and the figure ``modularity_figures/<layer>``: what its units share, by module; the figure
        ``modularity_figures/layers`` and the table ``modularity_tables/layers``. The monitor's name stands before each
        unless it is "separation".
    """
    found = record.findings["modularity"]
    shown = Display()
    layers = {layer: found[layer] for layer in record.layers if layer in found}
    if not layers:
        return shown
    figures = prefixed(name, "modularity_figures")
    for layer, values in layers.items():
        for tag, quantity in (("modularity", "modularity"), ("modularity_null", "null_mean")):
            if quantity in values:
                shown.scalars[f"{prefixed(name, tag)}/{layer}"] = values[quantity].item()
        if "weight" in values and len(values["weight"]):
            shown.layer_figures[f"{figures}/{layer}"] = partial(
                module_matrix,
                values["weight"],
                values["module"],
                [str(unit) for unit in values["example_unit"].tolist()],
                title=title(name, f"Modules of {layer}", record, f"Q = {plain(number(values, 'modularity'))}"),
            )
    numbers = [
        {layer: number(values, quantity) for layer, values in layers.items()}
        for quantity in ("modularity", "null_mean", "null_std")
    ]
    shown.figures[f"{figures}/layers"] = partial(
        modularity_by_layer,
        *numbers,
        texts={layer: _told(values) for layer, values in layers.items()},
        title=title(name, "Modularity of the layers", record),
    )
    shown.tables[f"{prefixed(name, 'modularity_tables')}/layers"] = _layers(record, layers)
    return shown


def _told(values: Mapping[str, NDArray]) -> str:
    """How many modules, and how likely by chance."""
    modules = plain(number(values, "num_modules"), ".0f")
    return f"{modules} module{'' if modules == '1' else 's'}, p = {plain(number(values, 'p_value'), '.2g')}"


def _layers(record: Record, layers: Mapping[str, Mapping[str, NDArray]]) -> Table:
    compared = any(quantity in values for values in layers.values() for quantity in _COMPARISONS)
    rows = []
    for layer, values in layers.items():
        shuffled = f"{plain(number(values, 'null_mean'))} ± {plain(number(values, 'null_std'), '.2g')}"
        sizes = np.sort(np.unique(values.get("module", np.empty(0)), return_counts=True)[1])[::-1]
        largest = ", ".join(str(size) for size in sizes[:_MOST_SIZES]) + (", …" if len(sizes) > _MOST_SIZES else "")
        row = [layer, plain(number(values, "modularity")), shuffled, plain(number(values, "p_value"), ".2g")]
        row += [plain(number(values, "num_modules"), ".0f"), largest or "–"]
        if compared:
            row += [signed(number(values, quantity)) for quantity in _COMPARISONS]
        rows.append(row)
    header = ["layer", "modularity Q", "shuffled", "p-value", "modules", "units in them"]
    caption = (
        f"How far layers fall into modules of units that share information, {record.when}: Newman's Q with the "
        "information between units as weights, beside that of shuffled partitions."
    )
    if compared:
        header += _COMPARISONS.values()
        caption += (
            " The last columns compare what the layer before tells about a module P, as entropies in nats, means over "
            "the modules. Others alone: H(P | others) − H(P), others being the units before that are not in the "
            "module; all over module: H(P | all) − H(P | module); all over others: H(P | all) − H(P | others)."
        )
    return Table(header, rows, caption)
