"""What is told of a run, as numbers."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from ..comparison import adjusted, jackknife_difference, jackknife_mean
from ..comparison.difference import ROUNDING
from ..records import INPUT, Record
from ..records.summary import hardest_pairs as hardest_pairs_of
from ..records.summary import needed_units
from ..runs import Comparison, Run
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
        bayes_error_lower: Bounds of the best possible error over all classes, under their balance in the sample; NaN if
            not found.
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


class Beyond(NamedTuple):
    """How far the gap of a layer, training minus validation data, goes beyond that of the input.

    Attributes:
        layer: Its name.
        effect: The difference of the two gaps.
        low: Lower end of its 95% interval over classes; NaN for two classes, as all that follows.
        high: Upper end.
        p_value: Two-sided.
        q_value: The same, adjusted for the number of layers.
    """

    layer: str
    effect: float
    low: float
    high: float
    p_value: float
    q_value: float


class Membership(NamedTuple):
    """The test of one layer for samples that were trained on; p is one-sided, q adjusted for the number of layers."""

    layer: str
    gap: float
    p_value: float
    q_value: float


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
    except (KeyError, ValueError):
        return None


def num_tests(comparison: Comparison) -> int:
    """For how many p-values each is adjusted: that equal inputs do not differ is no test."""
    tested = [row for row in comparison.rows if row.layer != INPUT or abs(row.effect) > ROUNDING]
    return sum(np.isfinite(row.p_value) for row in tested)


def notes_of(run: Run) -> list[str]:
    """What the records, those of the training data too, and we leave out; each kind once, as it was said last."""
    said = _last_of_each_kind(run.records)
    of_train = _last_of_each_kind(run.train.records) if run.train else []
    if run.hidden:  # as comparisons say it, so that it is told once
        said.append(f"{run.name or 'the run'} has several records of one epoch; not compared: {run.hidden}")
    return [*said, *(f"training data: {note}" for note in of_train if note not in said)]


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
    return [
        Pair(names[a], names[b], *(float(matrix[a, b]) for matrix in (first, last, *bounds)))
        for a, b in hardest_pairs_of(last)[:_MOST_ROWS]
    ]


def most_needed(record: Record) -> list[Unit]:
    """The units without which the loss rises most, the network's outputs aside."""
    found: dict[tuple[int, str], Unit] = {}
    for layer in record.layers:
        values = record.findings["ablation"].get(layer, {})
        for unit in needed_units(values):
            loss, accuracy, kl = (
                float(values[name][unit]) if name in values else np.nan for name in ("loss", "accuracy", "kl")
            )
            alike = (unit, f"{loss:.6g} {accuracy:.6g} {kl:.6g}")
            exact = bool(values["exact"][unit]) if "exact" in values else True
            found.setdefault(alike, Unit([], unit, loss, accuracy, kl, exact)).layers.append(layer)
    return sorted(found.values(), key=lambda unit: -unit.loss)[:_MOST_ROWS]


def beyond_input(run: Run) -> list[Beyond]:
    """At the last moment at which both were analysed; empty if the input was not.

    Raises:
        ValueError: If there is no gap.
    """
    moment = run.gap().moments[-1]
    assert run.train is not None  # or there were no gap
    train, validation = run.train.moments[moment], run.moments[moment]
    steps, others = _from_input(train), _from_input(validation)
    classes = [name for name in train.class_names if name in validation.class_names]
    at, other_at = ([record.class_names.index(name) for name in classes] for record in (train, validation))
    layers = [layer for layer in steps if layer in others]
    found = [
        _mean_of_pairs(steps[layer][np.ix_(at, at)] - others[layer][np.ix_(other_at, other_at)]) for layer in layers
    ]
    q_values = adjusted([p_value for *_, p_value in found]).tolist()
    return [Beyond(layer, *row, q) for layer, row, q in zip(layers, found, q_values, strict=True)]


def memberships(run: Run) -> tuple[Moment, list[Membership]] | None:
    """What the last record of training data with findings of MembershipTest tells; None: none has."""
    last = run.train.last("membership_test") if run.train else None
    if last is None:
        return None
    moment, record = last
    found = record.findings["membership_test"]
    layers = [layer for layer in record.layers if layer in found]
    return moment, [
        Membership(layer, *(float(found[layer][name]) for name in Membership._fields[1:])) for layer in layers
    ]


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


def _last_of_each_kind(records: Iterable[Record]) -> list[str]:
    """Notes that differ in numbers only, such as counts that change from epoch to epoch, are of one kind."""
    found: dict[tuple[str, str], str] = {}
    for record in records:
        for note in record.notes:
            subject, _, reason = note.partition(": ")
            found[subject, re.sub(r"\d+", "#", reason)] = note
    return list(found.values())


def _from_input(record: Record) -> dict[str, NDArray[np.float64]]:
    """By layer its separations minus those of the input, ``[K, K]``."""
    found = separations(record)
    first = found.pop(INPUT, None)
    return {} if first is None else {layer: matrix - first for layer, matrix in found.items()}


def _mean_of_pairs(values: NDArray[np.float64]) -> tuple[float, float, float, float]:
    """Mean, interval and p of ``[K, K]``, NaN in the row and column of a class that was left out."""
    known = measured_classes(values)
    pairs = values[np.ix_(known, known)]
    if len(pairs) < 3:
        return float(jackknife_mean(pairs).mean) if len(pairs) else np.nan, np.nan, np.nan, np.nan
    effect, low, high, p_value = (float(value) for value in jackknife_difference(pairs, np.zeros_like(pairs)))
    return (effect, low, high, p_value) if p_value else (effect, np.nan, np.nan, np.nan)  # no spread to test by


def _measured(record: Record, moment: Moment, layer: str) -> Measured:
    values, names = record.findings["henze_penrose"][layer], record.class_names
    divergence = values["divergence"]
    known = measured_classes(divergence)
    mean = jackknife_mean(divergence[np.ix_(known, known)])
    a, b = hardest_pairs_of(divergence)[0]
    return Measured(
        record.split,
        moment,
        layer,
        separation=float(mean.mean),
        low=float(mean.low),
        high=float(np.minimum(mean.high, 1.0)),
        class_a=names[a],
        class_b=names[b],
        hardest=float(divergence[a, b]),
        bayes_error_lower=float(values.get("bayes_error_lower", np.nan)),
        bayes_error_upper=float(values.get("bayes_error", np.nan)),
    )
