"""Figures of one run, by what they are called."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from .. import plots
from ..comparison import JackknifeMean, jackknife_mean
from ..records import ALL_LAYERS, Record
from .compare import separations
from .run import BEFORE, Moment, Run

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
    curves: dict[int | str, dict[str, float]] = {}
    for record, row in zip(run.records, values, strict=True):
        alike = sum(str(label).startswith(str(record.label)) for label in curves if isinstance(label, str))
        label = f"{record.label} ({alike + 1})" if record.label in curves else record.label
        curves[label] = dict(zip(run.layers, row.tolist(), strict=True))
    if (analysis, quantity) == ("henze_penrose", "separation"):
        return plots.separation_depth(curves)
    return plots.separation_depth(curves, value=quantity.replace("_", " "))


def pair_bands(record: Record) -> dict[str, tuple[float, float, float]]:
    """By layer the hardest pair's separation, the mean and the easiest pair's."""
    pairs = {layer: _pairs(matrix) for layer, matrix in separations(record).items()}
    return {layer: (found.min(), found.mean(), found.max()) for layer, found in pairs.items() if len(found)}


def interval_bands(record: Record) -> dict[str, tuple[float, float, float]]:
    """By layer the mean over pairs with its 95% interval over classes."""
    return {layer: (m.low, m.mean, m.high) for layer, matrix in separations(record).items() if (m := _mean(matrix))}


def _epochs(run: Run) -> Figure:
    mean, _, _, layers, moments = _curves(run)
    return plots.layers_by_epochs(mean, layers, moments, title=_title(run, "Separation of the classes"))


def _separation_curves(run: Run) -> Figure:
    mean, low, high, layers, moments = _curves(run)
    return plots.separation_over_epochs(mean, low, high, layers, moments, title=_title(run, "Separation over epochs"))


def _bands(run: Run) -> Figure:
    curves = {_named(moment): pair_bands(record) for moment, record in _first_and_last(run).items()}
    return plots.separation_bands(
        curves, title=_title(run, "Separation against depth"), band="hardest to easiest pair of classes"
    )


def _histograms(run: Run) -> Figure:
    found = {
        _named(moment): {layer: _pairs(matrix) for layer, matrix in separations(record).items()}
        for moment, record in _first_and_last(run).items()
    }
    return plots.pair_histograms(found, title=_title(run, "Separation of the pairs of classes"))


def _class_pairs(run: Run) -> Figure:
    moment, record = _last(run)
    title = _title(run, f"Every pair of classes, {_named(moment)}")
    return plots.class_matrices(separations(record), record.class_names, title=title)


def _bayes_error(run: Run) -> Figure:
    moments = run.moments
    lower, upper = (_numbers(run, list(moments.values()), name) for name in ("bayes_error_lower", "bayes_error"))
    counts = _last(run)[1].counts
    chance = float(1 - counts.max() / counts.sum())
    title = _title(run, "Between which bounds the best possible error lies")
    return plots.bayes_error_epochs(lower, upper, run.layers, list(moments), chance=chance, title=title)


def _gap(run: Run) -> Figure:
    rows = run.gap().last
    return plots.split_gap(
        {row.layer: row.mean for row in rows},
        {row.layer: row.other_mean for row in rows},
        intervals={row.layer: (row.low, row.high) for row in rows},
        title=_title(run, f"Training against validation data, {_named(rows[0].moment)}"),
    )


def _training_effect(run: Run) -> Figure:
    return run.training_effect().plot()


def _forecast(run: Run) -> Figure:
    found = run.confusion_forecast()
    layers = list(dict.fromkeys(layer for row in found.values() for layer in row))
    values = np.array([[row.get(layer, (np.nan, np.nan))[0] for layer in layers] for row in found.values()])
    title = _title(run, "Does low separation foretell the last confusions?")
    return plots.correlation_heatmap(values, layers, list(found), title=title)


def _confusion(run: Run) -> Figure:
    moment, record = next(
        (item for item in reversed(run.moments.items()) if "confusion" in item[1].findings), (None, None)
    )
    if record is None or moment is None or ALL_LAYERS not in record.findings["confusion"]:
        raise ValueError("no record has a confusion matrix")
    matrix = record.findings["confusion"][ALL_LAYERS]["confusion"]
    title = _title(run, f"What is taken for what, {_named(moment)}")
    return plots.confusion_matrix(matrix, record.class_names, title=title)


def _components(run: Run) -> Figure:
    moment, record = next(
        (item for item in reversed(run.moments.items()) if "principal_components" in item[1].findings), (None, None)
    )
    if record is None or moment is None:
        raise ValueError("no record has principal components")
    found = record.findings["principal_components"]
    layers = [layer for layer in record.layers if layer in found]
    return plots.component_scatter(
        {layer: found[layer]["projection"] for layer in layers},
        found[ALL_LAYERS]["sample_class"],
        record.class_names,
        explained={layer: found[layer]["explained_variance_ratio"] for layer in layers},
        title=_title(run, f"Two principal components, {_named(moment)}"),
    )


FIGURES: Mapping[str, Callable[[Run], Figure]] = {
    "epochs": _epochs,
    "curves": _separation_curves,
    "bands": _bands,
    "histograms": _histograms,
    "pairs": _class_pairs,
    "bayes_error": _bayes_error,
    "training_effect": _training_effect,
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


def _last(run: Run) -> tuple[Moment, Record]:
    return next(reversed(_measured(run).items()))


def _mean(matrix: NDArray[np.float64]) -> JackknifeMean | None:
    known = np.isfinite(matrix).any(1)
    return jackknife_mean(matrix[np.ix_(known, known)]) if known.sum() > 1 else None


def _pairs(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    values = matrix[np.triu_indices(len(matrix), 1)]
    return values[np.isfinite(values)]


def _numbers(run: Run, records: list[Record], quantity: str) -> NDArray[np.float64]:
    found = [record.findings.get("henze_penrose", {}) for record in records]
    return np.array(
        [
            [float(row[layer][quantity]) if layer in row and quantity in row[layer] else np.nan for layer in run.layers]
            for row in found
        ]
    )


def _named(moment: Moment) -> str:
    return "before training" if moment == BEFORE else f"epoch {moment}"


def _title(run: Run, what: str) -> str:
    return f"{run.name}: {what}" if run.name else what
