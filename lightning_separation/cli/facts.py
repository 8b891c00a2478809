"""What is told of a run, as numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeVar

import numpy as np

from ..comparison import jackknife_mean
from ..records import Record
from ..runs import Run
from ..runs.compare import measured_classes, separations
from ..runs.run import Moment

ALPHA = 0.05
_MOST_ROWS = 10
_MOST_LAYERS = 3

Found = TypeVar("Found")


class Measured(NamedTuple):
    """The separation in one layer at one moment.

    Attributes:
        split: ``"val"`` or ``"train"``.
        moment: Epoch, or ``"before"`` training.
        layer: Its name.
        separation: Mean over the pairs of classes.
        low: Lower end of its 95% interval over classes; NaN for two classes.
        high: Upper end.
        class_a: One class of the hardest pair.
        class_b: The other.
        hardest: That pair's separation.
        bayes_error_lower: Bounds of the best possible error, under the sample's balance of classes; NaN if not found.
        bayes_error_upper: The same.
    """

    split: str
    moment: Moment
    layer: str
    separation: float
    low: float
    high: float
    class_a: str
    class_b: str
    hardest: float
    bayes_error_lower: float
    bayes_error_upper: float


class Pair(NamedTuple):
    """Two classes, how far the first and the last measured layer separate them, and the error that this allows."""

    class_a: str
    class_b: str
    first: float
    last: float
    bayes_error_lower: float
    bayes_error_upper: float


class Unit(NamedTuple):
    """What changes without one unit; ``layers`` are several where that is the same, as of a Linear and its ReLU."""

    layers: list[str]
    unit: int
    loss: float
    accuracy: float
    kl: float
    exact: bool


class Forecast(NamedTuple):
    """How well low separation in a layer foretold the last confusions.

    Attributes:
        layer: Its name.
        since: The first moment from which on p stays below 0.05; None: it is not at the end.
        correlation: Rank correlation at that moment; NaN for None.
        last_correlation: That in the last record.
        p_value: Its p, one-sided.
    """

    layer: str
    since: Moment | None
    correlation: float
    last_correlation: float
    p_value: float


def if_known(find: Callable[[], Found]) -> Found | None:
    """What a run can tell, or None where it lacks what that needs."""
    try:
        return find()
    except ValueError:
        return None


def measured(run: Run) -> list[Measured]:
    """The separation at every moment in every layer; empty for a run without classes."""
    return [_measured(record, moment, layer) for moment, record in run.moments.items() for layer in separations(record)]


def hardest_pairs(run: Run) -> list[Pair]:
    """Of the last layer in the last record that has separations, the hardest first; empty if none has."""
    record = next((record for record in reversed(run.moments.values()) if separations(record)), None)
    if record is None:
        return []
    names, found = record.class_names, record.findings["henze_penrose"]
    matrices = list(separations(record).items())
    (_, first), (last_layer, last) = matrices[0], matrices[-1]
    bounds = [found[last_layer].get(name, np.full_like(last, np.nan)) for name in ("bayes_lower", "bayes_upper")]
    pairs = [
        Pair(names[a], names[b], *(float(matrix[a, b]) for matrix in (first, last, *bounds)))
        for a, b in zip(*np.triu_indices(len(last), 1), strict=True)
        if np.isfinite(last[a, b])
    ]
    return sorted(pairs, key=lambda pair: pair.last)[:_MOST_ROWS]


def most_needed(record: Record) -> list[Unit]:
    """The units without which the loss rises most, the network's outputs aside."""
    found: dict[tuple[int, str], Unit] = {}
    for layer in record.layers:
        values = record.findings["ablation"].get(layer, {})
        if "loss" not in values or values.get("is_output", False):
            continue
        none = np.full(len(values["loss"]), np.nan)
        changes = [values.get(name, none) for name in ("loss", "accuracy", "kl")]
        for unit, (loss, accuracy, kl) in enumerate(np.stack(changes, 1).tolist()):
            if 0 < loss < np.inf:
                alike = (unit, f"{loss:.6g} {accuracy:.6g} {kl:.6g}")
                exact = bool(values["exact"][unit]) if "exact" in values else True
                found.setdefault(alike, Unit([], unit, loss, accuracy, kl, exact)).layers.append(layer)
    return sorted(found.values(), key=lambda unit: -unit.loss)[:_MOST_ROWS]


def forecasts(run: Run) -> list[Forecast]:
    """Of the last layers.

    Raises:
        ValueError: If the run has nothing to foretell, or to foretell by.
    """
    found = run.confusion_forecast()
    last = next(row for row in reversed(found.values()) if row)
    forecasts = []
    for layer in list(last)[-_MOST_LAYERS:]:
        rows = [(moment, *row[layer]) for moment, row in found.items() if layer in row]
        since: tuple[Moment | None, float] = None, np.nan
        for moment, correlation, p_value in reversed(rows):
            if not p_value < ALPHA:
                break
            since = moment, correlation
        forecasts.append(Forecast(layer, *since, *rows[-1][1:]))
    return forecasts


def _measured(record: Record, moment: Moment, layer: str) -> Measured:
    values, names = record.findings["henze_penrose"][layer], record.class_names
    divergence = values["divergence"]
    known = measured_classes(divergence)
    mean = jackknife_mean(divergence[np.ix_(known, known)])
    above = np.where(np.tri(len(names), dtype=bool), np.nan, divergence)
    a, b = np.unravel_index(np.nanargmin(above), above.shape)
    return Measured(
        record.split,
        moment,
        layer,
        separation=float(mean.mean),
        low=float(mean.low),
        high=float(mean.high),
        class_a=names[a],
        class_b=names[b],
        hardest=float(divergence[a, b]),
        bayes_error_lower=float(values.get("bayes_error_lower", np.nan)),
        bayes_error_upper=float(values.get("bayes_error", np.nan)),
    )
