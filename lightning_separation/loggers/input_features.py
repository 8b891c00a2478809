"""What is shown of the input features behind the units."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..plots import PathColumn, feature_heatmap, path_diagram
from ..records import Record
from ..tables import Table
from .display import Display, History, feature_names, prefixed, title

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MOST_FEATURES = 4
_MOST_UNITS = 4
_MOST_LINKS = 40


def display(record: Record, history: History, name: str) -> Display:
    """Figures and tables of one record.

    Args:
        record: With findings of ``InputFeatures``.
        history: Not used.
        name: The monitor's name.

    Returns:
        For each layer the figures ``input_features_figures/<layer>`` (classes x features, by true and by predicted
        class), ``input_features_paths/<layer>`` (features, units, classes) and, of a layer that is given the input,
        ``input_features_weights/<layer>``, and the table ``input_features_tables/<layer>``. The monitor's name stands
        before each unless it is "separation".
    """
    found = record.findings["input_features"]
    shown = Display()
    for layer in found:
        values = found[layer]
        names = feature_names(record, values["drive"].shape[1], "input_features")
        panels = {"true class": values["drive"]}
        if "drive_predicted" in values:
            panels["predicted class"] = values["drive_predicted"]
        shown.layer_figures[f"{prefixed(name, 'input_features_figures')}/{layer}"] = partial(
            feature_heatmap,
            panels,
            names,
            record.class_names,
            title=title(name, f"What drives the active units of {layer}", record),
            value="change of their sum per std of the feature",
        )
        kept, all_units = len(values["example_unit"]), len(values["active_fraction"])
        units = f"{kept} of {all_units} units" if kept < all_units else "units"
        if kept:
            shown.layer_figures[f"{prefixed(name, 'input_features_paths')}/{layer}"] = partial(
                _paths, values, names, record.class_names, title(name, f"Features, {units} of {layer}, classes", record)
            )
        if kept and "weight" in values:
            shown.layer_figures[f"{prefixed(name, 'input_features_weights')}/{layer}"] = partial(
                feature_heatmap,
                {"weight": values["weight"]},
                names,
                [str(unit) for unit in values["example_unit"].tolist()],
                title=title(name, f"Weights of {units} of {layer}", record),
                value="weight",
            )
        shown.tables[f"{prefixed(name, 'input_features_tables')}/{layer}"] = _classes(record, layer, panels, names)
    return shown


def _paths(values: Mapping[str, NDArray], features: Sequence[str], classes: Sequence[str], heading: str) -> Figure:
    """Features to units by the mean gradient, units to classes by how much more active they are there."""
    active = values["active_fraction"][values["example_unit"]]
    more = active - (active.sum(1, keepdims=True) - active) / max(active.shape[1] - 1, 1)
    order = np.lexsort((-more.max(1), more.argmax(1)))  # units of one class side by side
    gradients = (values["gradient"].mean(2) * values["feature_std"])[order]
    units = [f"unit {unit}" for unit in values["example_unit"][order].tolist()]
    return path_diagram(
        [
            PathColumn("feature", features, np.full(len(features), np.nan)),
            PathColumn("unit", units, active.mean(1)[order]),
            PathColumn("class", classes, np.full(len(classes), np.nan)),
        ],
        [gradients, more[order].T],
        title=heading,
        most_edges=_MOST_LINKS,
        highlight={},
        says="left: what raises or lowers a unit, right: where it is more often active",
    )


def _classes(record: Record, layer: str, panels: Mapping[str, NDArray], names: Sequence[str]) -> Table:
    values = record.findings["input_features"][layer]
    active = values["active_fraction"]
    rows = []
    for k, class_name in enumerate(record.class_names):
        best = [i for i in np.argsort(-active[:, k], kind="stable").tolist() if active[i, k] > 0][:_MOST_UNITS]
        row = [class_name, ", ".join(f"{i} ({active[i, k]:.0%})" for i in best) or "none"]
        for drive in panels.values():
            row += [_strongest(drive[k], names, 1), _strongest(drive[k], names, -1)]
        rows.append(row)
    header = ["class", "active units"]
    for panel in panels:
        header += [f"{panel}: raised by", "lowered by"]
    caption = (
        f"What drives the active units of `{layer}`, {record.when}: change of their summed activation per standard "
        "deviation of the feature."
    )
    return Table(header, rows, caption)


def _strongest(drive: NDArray, names: Sequence[str], sign: int) -> str:
    if np.isnan(drive).any():
        return "no sample"
    order = [i for i in np.argsort(-sign * drive, kind="stable").tolist() if sign * drive[i] > 0]
    return ", ".join(f"{names[i]} ({drive[i]:+.2f})" for i in order[:_MOST_FEATURES]) or "none"
