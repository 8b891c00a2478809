"""What is shown of the importance of input features by permutation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from ..plots import feature_matrix, permutation_repeats, permutation_share
from ..records import Record
from ..tables import Table, plain, signed
from .display import Display, History, clean_score, feature_names, prefixed, score_of, title

_MOST_FEATURES = 30


def display(record: Record, history: History, name: str) -> Display:
    """Scalars, figures and tables of one record.

    Args:
        record: With findings of ``PermutationImportance``.
        history: Not used.
        name: The monitor's name.

    Returns:
        Of up to 30 features the scalars ``permutation_importance/<feature>``, means over the repeats; the figures
        ``permutation_importance_figures/repeats``, ``permutation_importance_figures/share`` and
        ``permutation_importance_figures/outputs`` (how far each output moves, in its standard deviations) and the table
        ``permutation_importance_tables/features``. The monitor's name stands before each unless it is "separation".
    """
    found = record.findings["permutation_importance"]
    shown = Display()
    values: Mapping[str, NDArray] = found.get("input", {})
    if "importance" not in values or not len(values["importance"]):
        return shown
    importance = values["importance"]
    features = feature_names(record, len(importance), "permutation_importance")
    if len(features) <= _MOST_FEATURES:
        tag = prefixed(name, "permutation_importance")
        shown.scalars = {f"{tag}/{feature}": _mean(row) for feature, row in zip(features, importance, strict=True)}
    figures = prefixed(name, "permutation_importance_figures")
    score, unit = score_of(values)
    heading = title(name, "Importance of the input features", record)
    shown.figures[f"{figures}/repeats"] = partial(
        permutation_repeats,
        importance,
        features,
        title=heading,
        value=f"increase of the {score}" + (f", {unit}" if unit else ""),
        most_features=_MOST_FEATURES,
    )
    shown.figures[f"{figures}/share"] = partial(
        permutation_share, importance, features, title=heading, most_features=_MOST_FEATURES
    )
    moved, outputs = _moved(record, values, features)
    if moved.size:
        shown.figures[f"{figures}/outputs"] = partial(
            feature_matrix,
            moved,
            features,
            outputs,
            columns="outputs",
            title=title(name, "What each permuted feature changes", record),
            value="mean change / standard deviation",
        )
    table = _features(record, values, features, moved, outputs)
    shown.tables[f"{prefixed(name, 'permutation_importance_tables')}/features"] = table
    return shown


def _mean(values: NDArray) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else np.nan


def _moved(record: Record, values: Mapping[str, NDArray], features: Sequence[str]) -> tuple[NDArray, list[str]]:
    """How far each output moves, in its own standard deviations, NaN where it has none; and the outputs' names."""
    if not {"output_change", "output_std"} <= values.keys():
        return np.empty((len(features), 0)), []
    change, spread = values["output_change"], values["output_std"]
    num = len(spread)
    moved = np.divide(change, spread, out=np.full(change.shape, np.nan), where=spread > 0)
    known = record.findings["permutation_importance"].labels.get("output", [])
    return moved, list(known) if len(known) == num else [str(i) for i in range(num)]


def _features(
    record: Record, values: Mapping[str, NDArray], features: Sequence[str], moved: NDArray, outputs: Sequence[str]
) -> Table:
    importance, (score, unit) = values["importance"], score_of(values)
    means = np.array([_mean(row) for row in importance])
    rows = []
    for i in np.argsort(-means, kind="stable")[:_MOST_FEATURES].tolist():
        known = importance[i][np.isfinite(importance[i])]
        spread = known.std(ddof=1) if len(known) > 1 else np.nan
        ends = [signed(known.min()), signed(known.max())] if len(known) else ["–", "–"]
        row = [features[i], signed(means[i]), plain(spread, ".2g"), *ends]
        if "accuracy" in values:
            row.append(signed(100 * _mean(values["accuracy"][i]), ".1f"))
        if moved.size:
            row.append(_most_moved(moved[i], outputs))
        rows.append(row)
    header = ["feature", f"increase of the {score}" + (f" ({unit})" if unit else ""), "standard deviation"]
    header += ["smallest", "largest"]
    header += ["change of accuracy (points)"] if "accuracy" in values else []
    header += ["most changed output"] if moved.size else []
    some = (
        f" The {_MOST_FEATURES} of {len(features)} features with the largest means."
        if len(features) > _MOST_FEATURES
        else ""
    )
    caption = (
        f"How much worse the network gets when one feature of the input is permuted, {record.when}: mean, spread and "
        f"ends over {importance.shape[1]} repeats. With none permuted: {clean_score(values)}."
    )
    if moved.size:
        caption += " Most changed output: how far it moves on average, in its standard deviations."
    return Table(header, rows, caption + some)


def _most_moved(moved: NDArray, outputs: Sequence[str]) -> str:
    if not np.isfinite(moved).any():
        return "–"
    most = int(np.argmax(np.where(np.isfinite(moved), moved, -np.inf)))
    return f"{outputs[most]} ({plain(moved[most])})"
