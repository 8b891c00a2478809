"""What is shown of training against validation data."""

from __future__ import annotations

from collections.abc import Mapping

from .. import plots
from ..records import INPUT, Record
from ..runs import Run
from ..tables import Table, plain, signed
from .display import Display, title

_ALPHA = 0.05


def display(validation: Record, train: Record, name: str) -> Display:
    """Scalars, figure and table of the two records of one epoch; nothing if one has no separations.

    Returns:
        Scalars ``<name>_gap/<layer>`` (separation of the training data minus that of the validation data), a figure
        and a table with the intervals.
    """
    shown = Display()
    try:
        found = Run([validation], train=Run([train])).gap()
    except ValueError:
        return shown
    rows = found.rows
    shown.scalars = {f"{name}_gap/{row.layer}": row.effect for row in rows}
    shown.figures[f"{name}_figures/train_validation_gap"] = lambda: plots.split_gap(
        {row.layer: row.mean for row in rows},
        {row.layer: row.other_mean for row in rows},
        intervals={row.layer: (row.low, row.high) for row in rows},
        title=title(name, "Separation of training and validation data", train).removesuffix(f", {train.split}"),
    )
    cells = []
    for row in rows:
        interval = f"{signed(row.low)} to {signed(row.high)}"
        means = plain(row.mean, ".3f"), plain(row.other_mean, ".3f")
        cells.append([row.layer, *means, signed(row.effect), interval, plain(row.q_value, ".2g")])
    caption = f"Training minus validation data, {train.when}. {of_input({row.layer: row.q_value for row in rows})}"
    header = ["layer", "training", "validation", "gap", "95% interval", "q"]
    shown.tables[f"{name}_tables/gap"] = Table(header, cells, " ".join([caption, found.assumes, *found.notes]))
    return shown


def of_input(q_values: Mapping[str, float]) -> str:
    """What gaps of layers mean, given that of the input.

    Args:
        q_values: Of the gap of each layer.
    """
    told = (
        "A gap of the input says that the two sets of data differ; only what a layer has beyond that speaks for "
        "samples learnt by heart."
    )
    if INPUT not in q_values:
        return f"{told} That of the input was not measured."
    return f"{told} Here that of the input is more than chance." if q_values[INPUT] < _ALPHA else told
