"""What is told of a record in a line, and in a table of layers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..listing import counted, listed
from ..tables import Table, percent, plain, shorten, signed
from .findings import ALL_LAYERS, Findings

if TYPE_CHECKING:
    from .record import Record

_LONGEST = 40
_MOST_OWN = 6  # columns of analyses that are not known here

Quantities = Mapping[str, NDArray[Any]]
Names = list[str]


class Column(NamedTuple):
    """A key number: of which analysis, what it is called, and how a layer's cell is written."""

    analysis: str
    header: str
    write: Callable[[Quantities, Names], str]


def line(record: Record) -> str:
    """What a record is of, and the numbers that matter most.

    Example:
        >>> from lightning_separation import Record
        >>> found = Findings({"separation": ()}, {"fc": {"separation": 0.5}})
        >>> line(Record(3, 120, "fit", "val", ["input", "fc"], ["a", "b"], np.array([9, 9]), {"henze_penrose": found}))
        'fit, epoch 3, step 120, val: 2 layers, 2 classes, 18 samples; henze_penrose; separation 0.500 in fc'
    """
    parts = [", ".join([counted(len(record.layers), "layer"), *_sample(record)])]
    parts.append(listed(list(record.findings)) or "no findings")
    parts += [*_separated(record), *_accuracy(record)]
    if record.notes:
        parts.append(counted(len(record.notes), "note"))
    return f"{record.stage}, epoch {record.epoch}, step {record.step}, {record.split}: {'; '.join(parts)}"


def table(record: Record) -> Table:
    """Layers x key numbers of what was analysed."""
    columns = _columns(record)
    names = shorten(record.class_names, _LONGEST)
    cells = {
        layer: [column.write(record.findings[column.analysis].get(layer, {}), names) for column in columns]
        for layer in record.layers
    }
    filled = [i for i in range(len(columns)) if any(row[i] != "–" for row in cells.values())]
    shown = zip(shorten(cells, _LONGEST), cells.values(), strict=True)
    return Table(
        ["layer", *(columns[i].header for i in filled)], [[layer, *(row[i] for i in filled)] for layer, row in shown]
    )


def key_number(record: Record, analysis: str) -> str:
    """The number that matters most of an analysis, in the last layer that has it; empty if it found nothing.

    Example:
        >>> from lightning_separation import Record
        >>> found = Findings({"modularity": ()}, {"fc": {"modularity": 0.25}})
        >>> record = Record(0, 9, "fit", "val", ["input", "fc"], [], np.zeros(0, int), {"modularity": found})
        >>> key_number(record, "modularity")
        'modularity 0.250 in fc'
    """
    found = record.findings[analysis]
    names = shorten(record.class_names, _LONGEST)
    layers = [layer for layer in record.layers if layer in found]
    layers = [*(layer for layer in found if layer not in layers), *layers]
    for column in (column for column in _columns(record) if column.analysis == analysis):
        for layer in reversed(layers):
            if (cell := column.write(found[layer], names)) != "–":
                return f"{column.header} {cell}" + (
                    "" if layer == ALL_LAYERS else f" in {shorten([layer], _LONGEST)[0]}"
                )
    return f"{analysis.replace('_', ' ')} of {counted(len(found), 'layer')}" if len(found) else ""


def hardest_pairs(divergence: NDArray[np.float64]) -> list[tuple[int, int]]:
    """Pairs of classes a < b that have a separation, the least first.

    Args:
        divergence: ``[K, K]``, NaN where a class was left out.

    Example:
        >>> hardest_pairs(np.array([[0, 0.5, 0.2], [0.5, 0, np.nan], [0.2, np.nan, 0]]))
        [(0, 2), (0, 1)]
    """
    if divergence.ndim != 2 or len(divergence) != divergence.shape[1]:
        return []
    a, b = np.triu_indices(len(divergence), 1)
    pairs = divergence[a, b]
    order = np.argsort(np.where(np.isfinite(pairs), pairs, np.nan), kind="stable")[: np.isfinite(pairs).sum()]
    return list(zip(a[order].tolist(), b[order].tolist(), strict=True))


def needed_units(values: Quantities) -> list[int]:
    """Units without which the loss rises, the most needed first; none of the network's outputs, which all are needed.

    Args:
        values: What ``Ablation`` found of a layer.

    Example:
        >>> needed_units({"loss": np.array([0.1, -0.2, 0.4, np.nan])})
        [2, 0]
    """
    loss = values.get("loss", np.empty(0)).astype(np.float64)
    if loss.ndim != 1 or np.any(values.get("is_output", False)):
        return []
    order = np.argsort(np.where(np.isfinite(loss), -loss, np.inf), kind="stable")
    return [unit for unit in order.tolist() if 0 < loss[unit] < np.inf]


def _sample(record: Record) -> list[str]:
    if not record.class_names:
        return ["no classes"]
    return [counted(len(record.class_names), "class", "classes"), counted(int(record.counts.sum()), "sample")]


def _separated(record: Record) -> Iterator[str]:
    """Of the last layer whose separation is known."""
    found = record.findings.get("henze_penrose", Findings({}, {}))
    names = shorten(record.class_names, _LONGEST)
    for layer in reversed(record.layers):
        value = _number("separation")(found.get(layer, {}), names)
        if value != "–":
            pair = _pair(found[layer], names)
            yield f"separation {value} in {shorten([layer], _LONGEST)[0]}" + (f", least {pair}" if pair != "–" else "")
            return


def _accuracy(record: Record) -> Iterator[str]:
    confusion = record.findings.get("confusion", Findings({}, {})).get(ALL_LAYERS, {})
    if (accuracy := _ACCURACY.write(confusion, [])) != "–":
        yield f"{_ACCURACY.header} {accuracy}"


def _number(quantity: str, write: Callable[[Any, str], str] = plain, digits: str = ".3f") -> Any:
    def cell(found: Quantities, names: Names) -> str:
        return write(found[quantity], digits) if quantity in found and found[quantity].ndim == 0 else "–"

    return cell


def _pair(found: Quantities, names: Names) -> str:
    divergence = found.get("divergence", np.empty(0))
    pairs = hardest_pairs(divergence)
    if not pairs or len(divergence) != len(names):
        return "–"
    a, b = pairs[0]
    return f"{names[a]} / {names[b]}: {plain(divergence[a, b], '.3f')}"


def _unit(found: Quantities, names: Names) -> str:
    units = needed_units(found)
    return f"{units[0]}: {signed(found['loss'][units[0]])}" if units else "–"


def _largest(quantity: str) -> Callable[[Quantities, Names], str]:
    def cell(found: Quantities, names: Names) -> str:
        values = found.get(quantity, np.empty(0))
        known = values[np.isfinite(values)]
        return plain(known.max()) if len(known) else "–"

    return cell


def _two_components(found: Quantities, names: Names) -> str:
    ratio = found.get("explained_variance_ratio", np.empty(0))
    return percent(ratio.sum(), ".0f") if ratio.size else "–"


def _next_layer(found: Quantities, names: Names) -> str:
    ends = [found.get(name, np.empty(0)) for name in ("separation_without_significant", "separation")]
    if any(end.ndim != 1 or not len(end) for end in ends):
        return "–"
    return signed(float(ends[0][0]) - float(ends[1][0]), ".3f")


def _columns(record: Record) -> list[Column]:
    """Those of what was analysed."""
    known = [column for column in (*_COLUMNS, _ACCURACY) if column.analysis in record.findings]
    return [*known, *_own(record.findings)]


def _own(findings: Mapping[str, Findings]) -> list[Column]:
    """Of users' own analyses the numbers of a layer."""
    known = {column.analysis for column in (*_COLUMNS, _ACCURACY)} | _WITHOUT_NUMBERS
    numbers = [(name, q) for name, found in findings.items() if name not in known for q in found.axes]
    single = [(name, q) for name, q in numbers if findings[name].axes[q] == ()]
    return [Column(name, f"{name}: {q}", _number(q, digits=".3g")) for name, q in single[:_MOST_OWN]]


_COLUMNS = (
    Column("henze_penrose", "separation", _number("separation")),
    Column("henze_penrose", "hardest pair", _pair),
    Column("henze_penrose", "best error, at most", _number("bayes_error", percent, ".1f")),
    Column("significance", "significant units", _number("significant_fraction", percent, ".0f")),
    Column("significance", "dead units", _number("dead_fraction", percent, ".0f")),
    Column("ablation", "most needed unit: loss", _unit),
    Column("group_ablation", "group ablation: difference", _number("difference", signed, ".3g")),
    Column("direction_ablation", "largest KL without a direction", _number("max_kl", digits=".3g")),
    Column("layer_information", "information on the label, above chance", _number("label_excess_mean")),
    Column("selectivity", "class divergence", _number("class_divergence", digits=".3g")),
    Column("modularity", "modularity", _number("modularity")),
    Column("membership_test", "membership: gap", _number("gap", signed)),
    Column("label_suspects", "label suspects", _number("suspect_fraction", percent, ".1f")),
    Column("next_layer_effect", "next layer's separation without significant units", _next_layer),
    Column("feature_information", "information on a feature, at most", _largest("feature_mean")),
    Column("weight_contributions", "amplification, median", _number("amplification_median", digits=".3g")),
    Column("principal_components", "variance in two components", _two_components),
    Column("permutation_importance", "clean loss", _number("clean_loss", digits=".3g")),
)
_ACCURACY = Column("confusion", "accuracy", _number("accuracy", percent, ".1f"))  # of all layers together
_WITHOUT_NUMBERS = {"input_features"}
