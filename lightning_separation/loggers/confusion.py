"""What is shown of the confusion matrix."""

from __future__ import annotations

from functools import partial

import numpy as np

from ..plots import confusion_matrix
from ..records import ALL_LAYERS, Record
from ..tables import Table, percent
from .display import Display, History, prefixed, title

_MOST_PAIRS = 10


def display(record: Record, history: History, name: str) -> Display:
    """Scalar, figure and table of one record.

    Args:
        record: With findings of ``Confusion``.
        history: Not used.
        name: The monitor's name.

    Returns:
        The scalar ``confusion_accuracy``, the figure ``confusion_figures/matrix`` and the table
        ``confusion_tables/pairs`` of the classes that are most often taken for another. The monitor's name stands
        before each unless it is "separation".
    """
    shown = Display()
    values = record.findings["confusion"].get(ALL_LAYERS)
    if values is None:
        return shown
    accuracy = values["accuracy"].item()
    shown.scalars[prefixed(name, "confusion_accuracy")] = accuracy
    shown.figures[f"{prefixed(name, 'confusion_figures')}/matrix"] = partial(
        confusion_matrix,
        values["confusion"],
        record.class_names,
        title=title(name, "Confusion", record, f"accuracy {percent(accuracy)}"),
    )
    shown.tables[f"{prefixed(name, 'confusion_tables')}/pairs"] = _pairs(record)
    return shown


def _pairs(record: Record) -> Table:
    values = record.findings["confusion"][ALL_LAYERS]
    wrong = values["confusion"] * ~np.eye(len(record.class_names), dtype=bool)
    pairs = [(a, b) for a, b in np.argwhere(wrong).tolist()]
    pairs.sort(key=lambda pair: -wrong[pair])
    names = record.class_names
    rows = [
        [names[a], names[b], f"{wrong[a, b]:.0f}", percent(wrong[a, b] / record.counts[a])]
        for a, b in pairs[:_MOST_PAIRS]
    ]
    some = f"The {len(rows)} most frequent of {len(pairs)} confusions" if rows else "No sample is taken for another"
    caption = f"{some}, {record.when}; accuracy {percent(values['accuracy'])}."
    return Table(["class", "taken for", "samples", "of the class"], rows, caption)
