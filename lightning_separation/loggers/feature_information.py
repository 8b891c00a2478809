"""What is shown of the information between input features and units."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from ..plots import feature_matrix
from ..records import Record
from ..tables import Table, percent, plain
from .display import Display, History, feature_names, prefixed, title

_MOST_ROWS = 30


def display(record: Record, history: History, name: str) -> Display:
    """Figures and tables of one record.

    Args:
        record: With findings of ``FeatureInformation``.
        history: Not used.
        name: The monitor's name.

    Returns:
        For each layer the figure ``feature_information_figures/<layer>`` (features x units, and beside it what the
        units tell about a feature on average and how large its weights are) and the table
        ``feature_information_tables/<layer>``. Information is the excess over what shuffled values give. The monitor's
        name stands before each unless it is "separation".
    """
    found = record.findings["feature_information"]
    shown = Display()
    for layer in [layer for layer in record.layers if layer in found]:
        values = found[layer]
        excess = values.get("excess", np.empty((0, 0)))
        if not excess.size:
            continue
        names = feature_names(record, len(excess), "feature_information")
        units = [str(unit) for unit in values["example_unit"].tolist()]
        means = values["feature_mean"] if "feature_mean" in values else _means(excess)
        bars = {"mean information": means}
        if "weight_magnitude" in values:
            bars["weights"] = values["weight_magnitude"]
        shown.layer_figures[f"{prefixed(name, 'feature_information_figures')}/{layer}"] = partial(
            feature_matrix,
            excess,
            names,
            units,
            bars=bars,
            title=title(name, f"What the units of {layer} tell about the input", record),
            value="information above chance, nats",
        )
        table = _features(record, layer, means, names, units)
        shown.tables[f"{prefixed(name, 'feature_information_tables')}/{layer}"] = table
    return shown


def _means(excess: NDArray) -> NDArray:
    """Means over units, NaN left out."""
    known = np.isfinite(excess)
    return np.where(known.any(1), np.where(known, excess, 0).sum(1) / known.sum(1).clip(1), np.nan)


def _features(record: Record, layer: str, means: NDArray, names: Sequence[str], units: Sequence[str]) -> Table:
    values = record.findings["feature_information"][layer]
    excess, weights = values["excess"], values.get("weight_magnitude")
    ranks = _ranks(weights) if weights is not None else {}
    rows = []
    for i in np.argsort(-means, kind="stable")[:_MOST_ROWS].tolist():
        row = [names[i], plain(means[i])]
        if weights is not None:
            row += [percent(weights[i]), str(ranks.get(i, "–"))]
        rows.append([*row, _best(excess[i], units)])
    header = ["feature", "mean information (nats)"]
    header += ["share of the weights", "rank by them"] if weights is not None else []
    some = f" The {_MOST_ROWS} of {len(means)} features with the largest means." if len(means) > _MOST_ROWS else ""
    caption = (
        f"What the units of `{layer}` tell about each input feature, {record.when}: mutual information above that of "
        f"shuffled values, mean over the units, and the unit that tells most.{some}"
    )
    if weights is not None:
        caption += " Weights: the product of the absolute weights from the feature to the layer, summed over its units."
    return Table([*header, "unit that tells most"], rows, caption)


def _ranks(values: NDArray) -> dict[int, int]:
    """Place of each feature among those that have a value, the largest first, from 1."""
    known = np.flatnonzero(np.isfinite(values))
    order = known[np.argsort(-values[known], kind="stable")]
    return {feature: rank for rank, feature in enumerate(order.tolist(), 1)}


def _best(excess: NDArray, units: Sequence[str]) -> str:
    if not np.isfinite(excess).any():
        return "–"
    best = int(np.argmax(np.where(np.isfinite(excess), excess, -np.inf)))
    return f"{units[best]} ({plain(excess[best])})"
