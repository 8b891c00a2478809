"""Figures of one run, by what they are called."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from .. import plots
from ..comparison import jackknife_mean
from ..records import ALL_LAYERS, Record
from .compare import measured_classes, pairs_of, separations
from .run import Moment, Run, named, titled

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw(run: Run, kind: str) -> Figure:
    """One of ``FIGURES``.

    Raises:
        ValueError: If the kind is unknown.
        KeyError: If the run has not what it shows.
    """
    if kind not in FIGURES:
        raise ValueError(f"kind must be one of {['depth', *FIGURES]}, not {kind!r}")
    try:
        return FIGURES[kind](run)
    except ValueError as error:
        raise KeyError(f"{kind}: {error}") from error


def drawn(run: Run) -> dict[str, Figure]:
    """Every figure that the run has something for."""
    figures = {}
    for kind in FIGURES:
        try:
            figures[kind] = draw(run, kind)
        except KeyError:
            continue
    return figures


def depth(run: Run, quantity: str, analysis: str) -> Figure:
    """A number for each layer against depth, one line for each record."""
    values = run.array(analysis, quantity)
    if values.ndim != 2:
        raise ValueError(f"{quantity!r} of {analysis!r} is more than one number for each layer; use array()")
    if (values[np.isfinite(values)] > 1).any() or (values[np.isfinite(values)] < -1).any():
        raise ValueError(f"{quantity!r} of {analysis!r} is not on a scale from 0 to 1; use array()")
    counts: Counter[int | str] = Counter()
    curves: dict[int | str, dict[str, float]] = {}
    for record, row in zip(run.records, values, strict=True):
        counts[record.label] += 1
        label = f"{record.label} ({counts[record.label]})" if counts[record.label] > 1 else record.label
        curves[label] = dict(zip(run.layers, row.tolist(), strict=True))
    if (analysis, quantity) == ("henze_penrose", "separation"):
        return plots.separation_depth(curves, band=class_intervals(run.records[-1]))
    return plots.separation_depth(curves, value=quantity.replace("_", " "))


def pair_bands(record: Record) -> dict[str, tuple[float, float, float]]:
    """By layer the hardest pair's separation, the mean and the easiest pair's."""
    pairs = {layer: _pairs(matrix) for layer, matrix in separations(record).items()}
    return {layer: (float(found.min()), float(found.mean()), float(found.max())) for layer, found in pairs.items()}


def interval_bands(record: Record) -> dict[str, tuple[float, float, float]]:
    """By layer the mean over pairs in its 95% interval over classes, which ends at 1, the largest separation."""
    bands = {}
    for layer, matrix in separations(record).items():
        known = measured_classes(matrix)
        found = jackknife_mean(matrix[np.ix_(known, known)])
        bands[layer] = float(found.low), float(found.mean), float(np.minimum(found.high, 1))
    return bands


def class_intervals(record: Record) -> dict[str, tuple[float, float]]:
    """The ends of ``interval_bands``."""
    return {layer: (low, high) for layer, (low, _, high) in interval_bands(record).items()}


def component_figure(record: Record, title: str) -> Figure:
    """The samples of a record with findings of ``PrincipalComponents`` on the first two of each layer."""
    found = record.findings["principal_components"]
    layers = [layer for layer in record.layers if layer in found]
    classes, names = found[ALL_LAYERS]["sample_class"], record.class_names
    if not names:
        classes, names = np.zeros_like(classes), ["all samples"]
    return plots.component_scatter(
        {layer: found[layer]["projection"] for layer in layers},
        classes,
        names,
        explained={layer: found[layer]["explained_variance_ratio"] for layer in layers},
        title=title,
    )


def _epochs(run: Run) -> Figure:
    mean, _, _, layers, moments = _curves(run)
    return plots.layers_by_epochs(mean, layers, moments, title=titled(run, "Separation of the classes"))


def _separation_curves(run: Run) -> Figure:
    mean, low, high, layers, moments = _curves(run)
    return plots.separation_over_epochs(mean, low, high, layers, moments, title=titled(run, "Separation over epochs"))


def _bands(run: Run) -> Figure:
    curves = {named(moment): pair_bands(record) for moment, record in _first_and_last(run).items()}
    return plots.separation_bands(
        curves, title=titled(run, "Separation against depth"), band="hardest to easiest pair of classes"
    )


def _histograms(run: Run) -> Figure:
    found = {
        named(moment): {layer: _pairs(matrix) for layer, matrix in separations(record).items()}
        for moment, record in _first_and_last(run).items()
    }
    return plots.pair_histograms(found, title=titled(run, "Separation of the pairs of classes"))


def _class_pairs(run: Run) -> Figure:
    moment, record = next(reversed(_measured(run).items()))
    title = titled(run, f"Every pair of classes, {named(moment)}")
    return plots.class_matrices(separations(record), record.class_names, title=title)


def _bayes_error(run: Run) -> Figure:
    measured = _measured(run)
    layers = list(dict.fromkeys(layer for record in measured.values() for layer in separations(record)))
    of_measured = Run(list(measured.values()))
    at = [of_measured.layers.index(layer) for layer in layers]
    lower, upper = (of_measured.array("henze_penrose", name)[:, at] for name in ("bayes_error_lower", "bayes_error"))
    last = of_measured.records[-1]
    counts = last.counts[measured_classes(next(reversed(separations(last).values())))]
    chance = float(1 - counts.max() / counts.sum())
    title = titled(run, "Between which bounds the best possible error lies")
    return plots.bayes_error_epochs(lower, upper, layers, list(measured), chance=chance, title=title)


def _gap(run: Run) -> Figure:
    rows = run.gap().last
    return plots.split_gap(
        {row.layer: row.mean for row in rows},
        {row.layer: row.other_mean for row in rows},
        intervals={row.layer: (row.low, row.high) for row in rows},
        title=titled(run, f"Training against validation data, {named(rows[0].moment)}"),
    )


def _training_effect(run: Run) -> Figure:
    return run.training_effect().plot()


def _layer_steps(run: Run) -> Figure:
    return run.layer_steps().plot()


def _epoch_steps(run: Run) -> Figure:
    return run.epoch_steps().plot()


def _forecast(run: Run) -> Figure:
    found = run.confusion_forecast()
    layers = list(dict.fromkeys(layer for row in found.values() for layer in row))
    values = np.array([[row.get(layer, (np.nan, np.nan))[0] for layer in layers] for row in found.values()])
    title = titled(run, "Does low separation foretell the last confusions?")
    return plots.correlation_heatmap(values, layers, list(found), title=title)


def _confusion(run: Run) -> Figure:
    moment, record = _last(run, "confusion")
    matrix = record.findings["confusion"][ALL_LAYERS]["confusion"]
    title = titled(run, f"What is taken for what, {named(moment)}")
    return plots.confusion_matrix(matrix, record.class_names, title=title)


def _components(run: Run) -> Figure:
    moment, record = _last(run, "principal_components")
    return component_figure(record, titled(run, f"Two principal components, {named(moment)}"))


FIGURES: Mapping[str, Callable[[Run], Figure]] = {
    "epochs": _epochs,
    "curves": _separation_curves,
    "bands": _bands,
    "histograms": _histograms,
    "pairs": _class_pairs,
    "bayes_error": _bayes_error,
    "training_effect": _training_effect,
    "layer_steps": _layer_steps,
    "epoch_steps": _epoch_steps,
    "gap": _gap,
    "forecast": _forecast,
    "confusion": _confusion,
    "components": _components,
}


def _curves(
    run: Run,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], list[str], list[Moment]]:
    """Mean over pairs and its interval, each ``[E, L]``, and what the axes mean."""
    bands = {moment: interval_bands(record) for moment, record in _measured(run).items()}
    layers = [layer for layer in run.layers if any(layer in row for row in bands.values())]
    none = (np.nan, np.nan, np.nan)
    values = np.array([[row.get(layer, none) for layer in layers] for row in bands.values()])
    return values[..., 1], values[..., 0], values[..., 2], layers, list(bands)


def _measured(run: Run) -> dict[Moment, Record]:
    found = {moment: record for moment, record in run.moments.items() if separations(record)}
    if not found:
        raise ValueError("no record has the separation of classes (analysis HenzePenrose)")
    return found


def _first_and_last(run: Run) -> dict[Moment, Record]:
    found = _measured(run)
    return {moment: found[moment] for moment in dict.fromkeys([next(iter(found)), next(reversed(found))])}


def _last(run: Run, analysis: str) -> tuple[Moment, Record]:
    found = run.last(analysis)
    if found is None:
        raise ValueError(f"no record has findings of {analysis!r}")
    return found


def _pairs(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    values = pairs_of(matrix)
    return values[np.isfinite(values)]
