"""What is shown of the removal of groups of units."""

from __future__ import annotations

from functools import partial

import numpy as np
from numpy.typing import NDArray

from ..plots import group_accuracy
from ..records import ALL_LAYERS, Record
from ..tables import Table, percent, plain, signed
from .display import Display, History, prefixed, title


def display(record: Record, history: History, name: str) -> Display:
    """Scalars, figures and tables of one record.

    Args:
        record: With findings of ``GroupAblation``.
        history: Not used.
        name: The monitor's name.

    Returns:
        For each layer the scalar ``group_ablation_difference/<layer>``, ``group_ablation_difference/all_layers`` for
        all together; the figure ``group_ablation_figures/accuracy`` and the table ``group_ablation_tables/groups``. The
        monitor's name stands before each unless it is "separation".
    """
    found = record.findings["group_ablation"]
    shown = Display()
    if not len(found):
        return shown
    known = [layer for layer in (*record.layers, ALL_LAYERS) if layer in found]
    for layer in known:
        tag = "all_layers" if layer == ALL_LAYERS else layer
        shown.scalars[f"{prefixed(name, 'group_ablation_difference')}/{tag}"] = found[layer]["difference"].item()
    layers = {_called(layer): found[layer] for layer in known}
    equal = all(int(values["removed_significant"]) == int(values["removed_others"]) for values in layers.values())
    others = "as many others" if equal else "others"
    shown.figures[f"{prefixed(name, 'group_ablation_figures')}/accuracy"] = partial(
        group_accuracy,
        {layer: values["accuracy_without_significant"] for layer, values in layers.items()},
        {layer: values["accuracy_without_others"] for layer, values in layers.items()},
        {layer: values["clean_accuracy"].item() for layer, values in layers.items()},
        title=title(name, "Accuracy without groups of units", record),
        others=others,
    )
    rows = []
    for layer, values in layers.items():
        removed = [
            f"{int(values[f'removed_{group}'])} of {int(values[units])}"
            for group, units in (("significant", "significant_units"), ("others", "other_units"))
        ]
        accuracies = [
            percent(_mean(values[accuracy]))
            for accuracy in ("clean_accuracy", "accuracy_without_significant", "accuracy_without_others")
        ]
        spread = plain(100 * values["difference_std"], ".1f")
        removed.append(f"{int(values['dead_others'])} of {int(values['other_units'])}")
        rows.append([layer, *removed, *accuracies, f"{signed(100 * values['difference'], '.1f')} ± {spread}"])
    header = ["layer", "significant units removed", "others removed", "others that are dead"]
    header += ["accuracy with all units", "without the significant", "without the others", "difference (points)"]
    repeats = max((len(values["accuracy_without_others"]) for values in layers.values()), default=0)
    caption = (
        f"What the significant units are worth, {record.when}: mean accuracy without them and without {others}, "
        f"each drawn at random {repeats} times; ± is the standard deviation over these. Dead: with the same value for "
        "every sample the units were tested on, so that it tells none of them apart."
    )
    shown.tables[f"{prefixed(name, 'group_ablation_tables')}/groups"] = Table(header, rows, caption)
    return shown


def _called(layer: str) -> str:
    return "all layers" if layer == ALL_LAYERS else layer


def _mean(values: NDArray) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else np.nan
