"""All findings of one analysed validation."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..notebook import as_html
from .findings import Findings, check_findings
from .summary import line, table

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure

COLUMNS = (
    "epoch", "step", "stage", "split", "layer", "analysis", "quantity", "class_a", "class_b", "unit", "value",
)  # fmt: skip
BEFORE_TRAINING = "before training"
"""Label of a validation of the network as it was made."""
_COLUMN_AXES = {"pair", "class", "unit"}


@dataclass(frozen=True, repr=False)
class Record:
    """All findings of one analysed validation; NumPy arrays, no torch.

    Attributes:
        epoch: The Trainer's epoch, from 0.
        step: The step at which loggers show this validation's metrics.
        stage: ``"fit"``, ``"validate"``, ``"test"`` or ``"analyze"``.
        split: Which data the sample is from: ``"val"``.
        layers: Names in order of execution, the network's input first.
        class_names: Name of each class, in order of the arrays' class axes; empty without classes.
        counts: Samples of each class, ``[K]`` int64.
        findings: By analysis, then layer, then quantity:
            ``record.findings["henze_penrose"]["net.fc1"]["divergence"]``.
        notes: What was left out, and why.

    Raises:
        ValueError: If counts or findings do not fit the number of classes.

    Example:
        >>> found = Findings({"mean": ()}, {"fc": {"mean": 0.5}})
        >>> record = Record(3, 120, "fit", "val", ["input", "fc"], [], np.zeros(0, int), {"mine": found})
        >>> record.findings["mine"]["fc"]["mean"].item()
        0.5
    """

    epoch: int
    step: int
    stage: str
    split: str
    layers: list[str]
    class_names: list[str]
    counts: NDArray[np.int64]
    findings: dict[str, Findings]
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.counts.shape != (len(self.class_names),) or self.counts.dtype.kind not in "iu":
            raise ValueError(f"counts must be one whole number for each of {len(self.class_names)} classes")
        for found in self.findings.values():
            check_findings(found, len(self.class_names))

    def __repr__(self) -> str:
        return f"Record({line(self)})"

    def _repr_html_(self) -> str:
        return as_html("Record", line(self), table(self), self.notes)

    @property
    def label(self) -> int | str:
        """The epoch of a fit, else the stage; so a curve calls its record."""
        if self.stage == "fit":
            return self.epoch
        return BEFORE_TRAINING if self.stage == "validate" and self.step == 0 else f"{self.stage}, epoch {self.epoch}"

    @property
    def when(self) -> str:
        """The label as a title says it."""
        return f"epoch {self.label}" if self.stage == "fit" else str(self.label)

    def to_pandas(self) -> pandas.DataFrame:
        """The findings as a tidy table, one number a row.

        Columns ``epoch, step, stage, split, layer, analysis, quantity, class_a, class_b, unit, value``; those that are
        not meant are empty (None). Of the two orders of a pair of classes only a < b is listed. Quantities with other
        axes (features, bins, ...) are in ``findings`` only.

        Raises:
            ImportError: Without pandas.
        """
        return tidy_table([self])

    def plot(self, quantity: str = "divergence", analysis: str = "henze_penrose") -> Figure:
        """Layers x pairs of classes as a heatmap.

        Args:
            quantity: A quantity with the axis ``"pair"``.
            analysis: The analysis that found it.

        Raises:
            KeyError: If the record has no such analysis or quantity.
            ValueError: If the quantity has other axes; :mod:`lightning_separation.plots` has figures for some.
        """
        from ..plots import separation_heatmap

        if analysis not in self.findings:
            raise KeyError(f"the record has no {analysis!r}; it has {', '.join(self.findings)}")
        found = self.findings[analysis]
        if found.axes[quantity] != ("pair",):
            raise ValueError(
                f"{quantity!r} of {analysis!r} has the axes {found.axes[quantity]}, not pairs of classes: see "
                "lightning_separation.plots for other figures"
            )
        values = {layer: found[layer][quantity] for layer in self.layers if layer in found}
        return separation_heatmap(values, self.class_names, title=f"{quantity.replace('_', ' ')}, {self.when}")

    def rows(self) -> Iterator[tuple[Any, ...]]:
        """The rows of the tidy table, in the order of ``COLUMNS``."""
        head = (self.epoch, self.step, self.stage, self.split)
        for analysis, found in self.findings.items():
            for layer, quantities in found.items():
                for quantity, array in quantities.items():
                    if _COLUMN_AXES.issuperset(found.axes[quantity]):
                        for a, b, unit, value in self._cells(found.axes[quantity], array):
                            yield *head, layer, analysis, quantity, a, b, unit, value

    def _cells(self, axes: tuple[str, ...], array: NDArray) -> Iterator[tuple[str | None, str | None, int | None, Any]]:
        sizes = iter(array.shape)
        ranges: list[list[tuple[int, ...]]] = []
        for axis in axes:
            size = next(sizes)
            if axis == "pair":
                next(sizes)
                ranges.append([(a, b) for a in range(size) for b in range(a + 1, size)])
            else:
                ranges.append([(k,) for k in range(size)])
        for place in product(*ranges):
            named = [k for axis, at in zip(axes, place, strict=True) if axis in ("class", "pair") for k in at]
            classes = [*(self.class_names[k] for k in named), None, None]
            unit = next((at[0] for axis, at in zip(axes, place, strict=True) if axis == "unit"), None)
            yield classes[0], classes[1], unit, float(array[sum(place, ())])


def tidy_table(records: list[Record]) -> pandas.DataFrame:
    """The rows of several records as one table."""
    try:
        import pandas
    except ImportError:
        raise ImportError('to_pandas() needs pandas: python -m pip install "lightning-separation[pandas]"') from None
    table = pandas.DataFrame([row for record in records for row in record.rows()], columns=list(COLUMNS))
    return table.astype({"unit": "Int64"})
