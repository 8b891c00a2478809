"""What is shown of samples that lie among those of other classes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..records import ALL_LAYERS, Record
from ..tables import Table
from .display import Display, History, prefixed

_MOST_ROWS = 20
_MANY = 0.5  # share of the layers in which a sample is a suspect in an epoch that counts


def display(record: Record, history: History, name: str) -> Display:
    """Scalars and table of one record.

    Args:
        record: With findings of ``LabelSuspects``.
        history: With ``suspect``, of every suspect the share of the layers, by its index in the dataset.
        name: The monitor's name.

    Returns:
        For each layer the scalar ``suspect_fraction/<layer>``, and the table ``label_suspects_tables/samples``: those
        that are suspects in most layers, the network's input among them. The monitor's name stands before each unless
        it is "separation".
    """
    found = record.findings["label_suspects"]
    shown = Display()
    layers = _layers(record)
    for layer in layers:
        shown.scalars[f"{prefixed(name, 'suspect_fraction')}/{layer}"] = found[layer]["suspect_fraction"].item()
    if layers:
        shown.tables[f"{prefixed(name, 'label_suspects_tables')}/samples"] = _samples(record, history)
    return shown


def remembered(record: Record) -> dict[str, dict[str, float]]:
    """What later tables need of a record: the share of the layers in which each suspect is one."""
    layers = _layers(record)
    if not layers:
        return {"suspect": {}}
    index = record.findings["label_suspects"][ALL_LAYERS]["sample_index"]
    share = _suspects(record).mean(0)
    return {"suspect": {str(index[i]): float(share[i]) for i in np.flatnonzero(share)}}


def _layers(record: Record) -> list[str]:
    return [layer for layer in record.layers if layer in record.findings["label_suspects"]]


def _suspects(record: Record) -> NDArray[np.bool_]:
    """Whether each sample is a suspect in each layer, ``[layers, N]``."""
    found = record.findings["label_suspects"]
    return np.stack([found[layer]["cross_share"] == 1 for layer in _layers(record)])


def _samples(record: Record, history: History) -> Table:
    found, layers, names = record.findings["label_suspects"], _layers(record), record.class_names
    suspects = _suspects(record)
    cross_share = np.nan_to_num(np.stack([found[layer]["cross_share"] for layer in layers])).mean(0)
    neighbours = np.stack([found[layer]["neighbour_class"] for layer in layers])
    index, own = (found[ALL_LAYERS][quantity] for quantity in ("sample_index", "sample_class"))
    in_layers = suspects.sum(0)
    order = np.lexsort((index, -cross_share, -in_layers))
    rows = []
    for i in order[: min(_MOST_ROWS, np.count_nonzero(in_layers))].tolist():
        theirs = np.bincount(neighbours[suspects[:, i], i]).argmax()
        row = [str(index[i]), names[own[i]], names[theirs], f"{in_layers[i]} of {len(layers)}"]
        if history:
            shares = [epoch["suspect"].get(str(index[i]), 0.0) for epoch in history.values()]
            row.append(f"{sum(share >= _MANY for share in shares)} of {len(history)}")
        rows.append(row)
    header = ["index in the dataset", "class", "class of its neighbours", "layers"]
    caption = (
        f"Samples with no neighbour of their own class in the spanning tree of all samples, {record.when}: "
        f"{len(rows)} of {np.count_nonzero(in_layers)}, those of most layers first; the input counts as a layer. The "
        "label is wrong, or the sample is hard to tell; look at it."
    )
    if history:
        header.append("epochs")
        caption += f" Epochs: those analysed so far in which it was so in {_MANY:.0%} of the layers or more."
    if record.split != "train":
        caption += ' Labels that are learnt can be corrected in the training data: splits=("val", "train").'
    return Table(header, rows, caption)
