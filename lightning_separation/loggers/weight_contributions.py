"""What is shown of the weights that carry class differences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from ..plots import PathColumn, path_diagram
from ..records import Findings, Record
from .display import Display, Table, feature_names, prefixed, title

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MOST_CLASSES = 10  # with a picture each


def display(record: Record, history: Mapping[int | str, Mapping[str, float]], name: str) -> Display:
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
    chain = _chain(record.layers, found)
    classes = range(len(record.class_names))[1:] if len(record.class_names) == 2 else range(len(record.class_names))
    for k in classes[:_MOST_CLASSES] if chain else ():
        against = record.class_names[0] if len(record.class_names) == 2 else "the others"
        heading = f"Where the difference of {record.class_names[k]} from {against} comes from"
        shown.layer_figures[f"{prefixed(name, 'weight_contributions_figures')}/{record.class_names[k]}"] = partial(
            _flow, record, chain, k, title(name, heading, record)
        )
    return shown


def _chain(layers: Sequence[str], found: Findings) -> list[str]:
    """The linear layers, from the last back as far as each is as wide as the next one's input and small enough."""
    chain: list[str] = []
    for layer in reversed([layer for layer in layers if layer in found]):
        width = len(found[layer]["difference"])
        if "contribution" not in found[layer] or (chain and width != len(found[chain[0]]["source_difference"])):
            break
        chain.insert(0, layer)
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
    return path_diagram(columns, edges, title=heading)


def _sources(record: Record, layer: str) -> list[str]:
    """Names of the units before a layer: of the first layer the input's features."""
    found = record.findings["weight_contributions"]
    num = len(found[layer]["source_difference"])
    return feature_names(record, num) if layer == next(iter(found)) else [str(unit) for unit in range(num)]


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
                f"{values['amplification'][unit]:.2f}",
            ]
        )
    header = ["unit", "class", "its difference", "from unit before (its difference)", "contribution", "amplification"]
    caption = (
        f"The largest contributions to class differences in `{layer}`, {record.when}; a class against the mean of the "
        "others, in standard deviations within the classes. Amplification above 1: the weights strengthen the "
        "difference; below 1: it is lost."
    )
    return Table(header, rows, caption)
