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
    columns = [*(column for column in _COLUMNS if column.analysis in record.findings), *_own(record.findings)]
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


def hardest_pair(divergence: NDArray[np.float64]) -> tuple[int, int] | None:
    """The two classes that are separated least; None where no pair has a separation.

    Args:
        divergence: ``[K, K]``, NaN where a class was left out.

    Example:
        >>> hardest_pair(np.array([[0, 0.5, 0.2], [0.5, 0, 0.9], [0.2, 0.9, 0]]))
        (0, 2)
    """
    pairs = np.where(np.tri(len(divergence), dtype=bool), np.nan, divergence)
    if not np.isfinite(pairs).any():
        return None
    a, b = np.unravel_index(np.nanargmin(pairs), pairs.shape)
    return int(a), int(b)


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
    if "accuracy" in confusion:
        yield f"accuracy {percent(confusion['accuracy'])}"


def _number(quantity: str, write: Callable[[Any, str], str] = plain, digits: str = ".3f") -> Any:
    def cell(found: Quantities, names: Names) -> str:
        return write(found[quantity], digits) if quantity in found and found[quantity].ndim == 0 else "–"

    return cell


def _pair(found: Quantities, names: Names) -> str:
    divergence = found.get("divergence", np.empty(0))
    at = hardest_pair(divergence) if divergence.ndim == 2 and len(divergence) == len(names) else None
    return f"{names[at[0]]} / {names[at[1]]}: {plain(divergence[at], '.3f')}" if at else "–"


def _unit(found: Quantities, names: Names) -> str:
    loss = found.get("loss", np.empty(0))
    if not np.isfinite(loss).any():
        return "–"
    unit = int(np.argmax(np.where(np.isfinite(loss), loss, -np.inf)))
    return f"{unit}: {signed(loss[unit])}"


def _own(findings: Mapping[str, Findings]) -> list[Column]:
    """Of users' own analyses the numbers of a layer."""
    known = {column.analysis for column in _COLUMNS} | _WITHOUT_NUMBERS
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
)
_WITHOUT_NUMBERS = {
    "confusion", "feature_information", "input_features", "next_layer_effect", "permutation_importance",
    "principal_components", "weight_contributions",
}  # fmt: skip
