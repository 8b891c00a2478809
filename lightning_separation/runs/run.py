"""The saved records of one run."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..records import NotARecordError, Record, load_record, load_run_info
from ..records.record import tidy_table
from ..records.storage import RUN_FILE

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Run:
    """All records of one run, in order of training.

    Attributes:
        records: One for each analysed validation, by step.
        info: What ``run.json`` says: layers, classes, sample indices and counts, settings, versions.
    """

    records: list[Record]
    info: dict[str, Any] = field(default_factory=dict)

    @property
    def epochs(self) -> list[int]:
        """Epoch of each record."""
        return [record.epoch for record in self.records]

    @property
    def layers(self) -> list[str]:
        """Every layer that a record has, in order of execution."""
        return list(dict.fromkeys(layer for record in self.records for layer in record.layers))

    @property
    def class_names(self) -> list[str]:
        """Every class that a record has."""
        return list(dict.fromkeys(name for record in self.records for name in record.class_names))

    def array(self, analysis: str, quantity: str) -> NDArray:
        """One quantity of all records and layers as one array.

        Args:
            analysis: For example ``"henze_penrose"``.
            quantity: For example ``"divergence"``.

        Returns:
            ``[epochs, layers, ...]`` float64, in the order of ``epochs``, ``layers`` and ``class_names``; NaN where a
            record lacks a layer or a class, or a layer has fewer units than the widest. What is found of all layers
            together (``records.ALL_LAYERS``) is in the records only.

        Raises:
            KeyError: If no record has it; the message lists what there is.
        """
        have = {(a, q): found.axes[q] for r in self.records for a, found in r.findings.items() for q in found.axes}
        if (analysis, quantity) not in have:
            raise KeyError(f"no record has {quantity!r} of {analysis!r}; there are {sorted(have)}")
        axes = [part for axis in have[analysis, quantity] for part in (("class",) * 2 if axis == "pair" else (axis,))]
        classes = {name: k for k, name in enumerate(self.class_names)}
        found = {
            (e, self.layers.index(layer)): (record.class_names, quantities[quantity])
            for e, record in enumerate(self.records)
            for layer, quantities in record.findings.get(analysis, {}).items()
            if quantity in quantities and layer in self.layers
        }
        widest = [max(array.shape[i] for _, array in found.values()) for i in range(len(axes))]
        shape = [len(classes) if axis == "class" else widest[i] for i, axis in enumerate(axes)]
        out = np.full((len(self.records), len(self.layers), *shape), np.nan)
        for place, (names, array) in found.items():
            at = [[classes[n] for n in names] if a == "class" else range(array.shape[i]) for i, a in enumerate(axes)]
            cells: Any = (*place, *np.ix_(*at))
            out[cells] = array
        return out

    def to_pandas(self) -> pandas.DataFrame:
        """All records as one tidy table; see :meth:`Record.to_pandas`."""
        return tidy_table(self.records)

    def plot(self, quantity: str = "separation", analysis: str = "henze_penrose") -> Figure:
        """A number for each layer against depth, one line for each record.

        Args:
            quantity: A quantity without axes.
            analysis: The analysis that found it.

        Raises:
            KeyError: If no record has it.
            ValueError: If it has axes, or values outside of the figure's range.
        """
        from ..plots import separation_depth

        values = self.array(analysis, quantity)
        if values.ndim != 2:
            raise ValueError(f"{quantity!r} of {analysis!r} is more than one number for each layer; use array()")
        if (values[np.isfinite(values)] > 1).any() or (values[np.isfinite(values)] < -1).any():
            raise ValueError(f"{quantity!r} of {analysis!r} is not on a scale from 0 to 1; use array()")
        curves: dict[int | str, dict[str, float]] = {}
        for record, row in zip(self.records, values, strict=True):
            alike = sum(str(label).startswith(str(record.label)) for label in curves if isinstance(label, str))
            label = f"{record.label} ({alike + 1})" if record.label in curves else record.label
            curves[label] = dict(zip(self.layers, row.tolist(), strict=True))
        if (analysis, quantity) == ("henze_penrose", "separation"):
            return separation_depth(curves)
        return separation_depth(curves, value=quantity.replace("_", " "))


def load_run(path: str | Path) -> Run:
    """Load the records that a monitor left. Needs neither torch nor Lightning.

    Args:
        path: The folder of the records (``.../version_0/separation``) or the log directory above it.

    Returns:
        The run, its records by step.

    Raises:
        FileNotFoundError: If there are no records; the message says where they were looked for.
        ValueError: If the folder holds the records of several monitors (they are listed), or a newer version of the
            package wrote them.
    """
    path = Path(path)
    path = path.parent if path.is_file() else path
    folders = [path] if (path / RUN_FILE).is_file() else sorted(file.parent for file in path.glob(f"*/{RUN_FILE}"))
    if not folders:
        raise FileNotFoundError(f"no {RUN_FILE} in {path} or a folder in it: not the log directory of an analysed run")
    if len(folders) > 1:
        names = ", ".join(str(folder) for folder in folders)
        raise ValueError(f"{path} holds the records of several monitors; load one of: {names}")
    records = []
    for file in sorted(folders[0].glob("*.npz")):
        try:
            records.append(load_record(file))
        except NotARecordError as error:
            warnings.warn(f"{error}; it is left out", stacklevel=2)
    records.sort(key=lambda record: (record.step, record.epoch))
    return Run(records, load_run_info(folders[0]))
