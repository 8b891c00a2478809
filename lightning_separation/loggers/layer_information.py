"""What is shown of what the layers tell about the input, each other and the classes."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import numpy as np
from numpy.typing import NDArray

from ..plots import information_depth, information_epochs, information_plane
from ..records import Record
from ..tables import Table, percent, plain
from .display import Display, History, number, prefixed, title

_SCALARS = {
    "layer_entropy": "entropy_mean",
    "label_information": "label_excess_mean",
    "previous_information": "previous_excess_mean",
}
_HISTOGRAMS = {"unit_entropy": "entropy", "unit_label_information": "label_excess"}


def display(record: Record, history: History, name: str) -> Display:
    """Scalars, histograms, figures and tables of one record.

    Args:
        record: With findings of ``LayerInformation``.
        history: ``"entropy_mean"`` and ``"label_excess_mean"`` by layer, for every record so far by its label; this
            record's is the last.
        name: The monitor's name.

    Returns:
        For each layer the scalars ``layer_entropy/<layer>``, ``label_information/<layer>`` and
        ``previous_information/<layer>``, means over its units, and the histograms ``unit_entropy/<layer>`` and
        ``unit_label_information/<layer>``; the figures ``layer_information_figures/plane`` (without classes instead
        ``layer_information_figures/entropy``, over the epochs) and ``layer_information_figures/depth`` and the table
        ``layer_information_tables/layers``. Information is the excess over what shuffled values give. The monitor's
        name stands before each unless it is "separation".
    """
    found = record.findings["layer_information"]
    shown = Display()
    layers = {layer: found[layer] for layer in record.layers if layer in found}
    if not layers:
        return shown
    for layer, values in layers.items():
        for tag, quantity in _SCALARS.items():
            if quantity in values:
                shown.scalars[f"{prefixed(name, tag)}/{layer}"] = values[quantity].item()
        for tag, quantity in _HISTOGRAMS.items():
            finite = _finite(values.get(quantity, np.empty(0)))
            if len(finite):
                shown.histograms[f"{prefixed(name, tag)}/{layer}"] = finite
    figures = prefixed(name, "layer_information_figures")
    curves = {
        quantity: {label: numbers.get(quantity, {}) for label, numbers in history.items()}
        for quantity in ("entropy_mean", "label_excess_mean")
    }
    with_classes = any(np.isfinite(number(values, "label_excess_mean")) for values in layers.values())
    if with_classes:
        shown.figures[f"{figures}/plane"] = partial(
            information_plane,
            curves["entropy_mean"],
            curves["label_excess_mean"],
            title=title(name, "Information plane", record),
        )
    else:
        shown.figures[f"{figures}/entropy"] = partial(
            information_epochs, curves["entropy_mean"], title=title(name, "Entropy of the layers", record)
        )
    means = {
        quantity: {layer: number(values, quantity) for layer, values in layers.items()}
        for quantity in _SCALARS.values()
    }
    shown.figures[f"{figures}/depth"] = partial(
        information_depth,
        means["entropy_mean"],
        means["previous_excess_mean"],
        means["label_excess_mean"] if with_classes else None,
        class_entropy=_class_entropy(layers),
        title=title(name, "Information by depth", record),
    )
    shown.tables[f"{prefixed(name, 'layer_information_tables')}/layers"] = _layers(record, layers, with_classes)
    return shown


def _finite(values: NDArray) -> NDArray:
    return values[np.isfinite(values)]


def _class_entropy(layers: Mapping[str, Mapping[str, NDArray]]) -> float:
    """Of all layers the same, where it is known."""
    known = [entropy for values in layers.values() if np.isfinite(entropy := number(values, "label_entropy"))]
    return known[0] if known else np.nan


def _layers(record: Record, layers: Mapping[str, Mapping[str, NDArray]], with_classes: bool) -> Table:
    rows = []
    for layer, values in layers.items():
        row = [layer, str(len(values.get("entropy", []))), plain(number(values, "entropy_mean"))]
        row.append(plain(number(values, "previous_excess_mean")))
        if with_classes:
            row += [plain(number(values, "label_excess_mean")), _best(values.get("label_excess", np.empty(0)))]
        pooled = ("pooled_entropy", "pooled_conditional_entropy", "pooled_information")
        rows.append(
            [*row, *(plain(number(values, quantity)) for quantity in pooled), percent(number(values, "outside"))]
        )
    header = ["layer", "units", "entropy", "with layer before"]
    header += ["with classes", "best unit"] if with_classes else []
    header += ["pooled entropy", "given layer before", "pooled information", "outside"]
    caption = (
        f"What the units tell, {record.when}, in nats: means over the units of a layer. Information, with the layer "
        f"before{' and with the classes' * with_classes}, is what exceeds that with shuffled values, so it is about 0 "
        "where there is none. "
    )
    if with_classes:
        caption += (
            "No unit can tell more about the classes than their entropy, "
            f"H(classes) = {plain(_class_entropy(layers))} nats; the best unit tells most. "
        )
    caption += (
        "Pooled: all activations of a layer and of the one before binned together, not over shuffled ones. Outside: "
        "share of the values that lie beyond the bins and count to the outermost."
    )
    return Table(header, rows, caption)


def _best(excess: NDArray) -> str:
    """The unit that tells most."""
    if not np.isfinite(excess).any():
        return "–"
    best = int(np.argmax(np.where(np.isfinite(excess), excess, -np.inf)))
    return f"{best} ({plain(excess[best])})"
