"""What is shown of the weights that carry class differences."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from ..plots import PathColumn, path_diagram
from ..records import Record
from ..tables import Table
from .display import Display, History, feature_names, prefixed, title

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MOST_CLASSES = 10  # with a picture each


def display(record: Record, history: History, name: str) -> Display:
    """Scalars, figures and tables of one record.

    Args:
        record: With findings of ``WeightContributions``.
        history: Not used.
        name: The monitor's name.

    Returns:
        The scalar ``amplification/<layer>`` (median over units), the table ``weight_contributions_tables/<layer>`` of
        the largest contributions, and for each class (one of two) the figure ``weight_contributions_figures/<class>``
        of all layers that follow on each other. The monitor's name stands before each unless it is "separation".
    """
    found = record.findings["weight_contributions"]
    shown = Display()
    for layer in found:
        shown.scalars[f"{prefixed(name, 'amplification')}/{layer}"] = found[layer]["amplification_median"].item()
        shown.tables[f"{prefixed(name, 'weight_contributions_tables')}/{layer}"] = _links(record, layer)
    chain = _chain(record)
    names = record.class_names
    classes = range(len(names))[1:] if len(names) == 2 else range(len(names))
    for k in classes[:_MOST_CLASSES] if chain else ():
        heading = f"{names[k]} against {names[0] if len(names) == 2 else 'the others'}, through the weights"
        shown.layer_figures[f"{prefixed(name, 'weight_contributions_figures')}/{names[k]}"] = partial(
            _flow, record, chain, k, title(name, heading, record)
        )
    return shown


def _chain(record: Record) -> list[str]:
    """Linear layers from the last back, as long as each is made from the one before alone and is small enough."""
    found = record.findings["weight_contributions"]
    layer = next((layer for layer in reversed(record.layers) if layer in found), None)
    chain: list[str] = []
    while layer is not None and "contribution" in found[layer]:
        if chain and len(found[layer]["difference"]) != len(found[chain[0]]["source_difference"]):
            break
        chain.insert(0, layer)
        source = int(found[layer]["source_layer"])
        layer = record.layers[source] if source > 0 and record.layers[source] in found else None
    return chain


def _flow(record: Record, chain: Sequence[str], k: int, heading: str) -> Figure:
    found = record.findings["weight_contributions"]
    columns = []
    for layer in chain:
        values = found[layer]["source_difference"]
        columns.append(PathColumn(f"into {layer}", _sources(record, layer), values[:, k]))
    values = found[chain[-1]]["difference"]
    columns.append(PathColumn(chain[-1], [str(unit) for unit in range(len(values))], values[:, k]))
    edges = [np.nan_to_num(found[layer]["contribution"][:, :, k]) for layer in chain]
    says = "circles: difference in what a layer is given, lines: parts of the difference in what it computes"
    return path_diagram(columns, edges, title=heading, says=says)


def _sources(record: Record, layer: str) -> list[str]:
    """Names of the units before a layer: if they are made from the input alone, perhaps its features."""
    found = record.findings["weight_contributions"][layer]
    num = len(found["source_difference"])
    return (
        feature_names(record, num, "weight_contributions")
        if found["source_layer"] == 0
        else [str(unit) for unit in range(num)]
    )


def _links(record: Record, layer: str) -> Table:
    values = record.findings["weight_contributions"][layer]
    sources = _sources(record, layer)
    rows = []
    parts = (values[f"link_{part}"].tolist() for part in ("unit", "source", "class", "contribution"))
    for unit, source, k, contribution in zip(*parts, strict=True):
        rows.append(
            [
                str(unit),
                record.class_names[k],
                f"{values['difference'][unit, k]:+.2f}",
                f"{sources[source]} ({values['source_difference'][source, k]:+.2f})",
                f"{contribution:+.2f}",
                f"{values['amplification'][unit, k]:.2f}",
            ]
        )
    header = ["unit", "class", "its difference", "from unit before (its difference)", "contribution", "amplification"]
    caption = (
        f"The links that carry most of a class difference in `{layer}`, {record.when}; a class against the mean of the "
        "others, in standard deviations within the classes. Amplification above 1: the weights strengthen the unit's "
        "difference; below 1: it is lost."
    )
    return Table(header, rows, caption)
