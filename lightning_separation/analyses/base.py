"""What an analysis is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Protocol, runtime_checkable

from torch import Tensor

from ..capture import Snapshot
from ..errors import MonitorError
from ..records import Findings


@runtime_checkable
class Analysis(Protocol):
    """What a monitor can compute. A user's own class needs no base, only these."""

    @property
    def name(self) -> str:
        """Key of its findings in a record; unique in a monitor."""

    @property
    def needs_classes(self) -> bool:
        """Whether it is left out where samples have no classes."""

    def compute(self, snapshot: Snapshot) -> Findings:
        """Find what there is to find in a snapshot."""


@dataclass(kw_only=True)
class LayerAnalysis(ABC):
    """An analysis that looks at one layer after the other. A layer that it cannot measure is left out by name.

    Args:
        layers: Names or glob patterns that narrow the monitor's; None: all of them.
        every_n_epochs: Narrows the monitor's schedule; None: each time.
    """

    layers: Sequence[str] | None = None
    every_n_epochs: int | None = None

    def compute(self, snapshot: Snapshot) -> Findings:
        """Measure every chosen layer of the snapshot."""
        patterns = [self.layers] if isinstance(self.layers, str) else self.layers
        layers = [layer for layer in snapshot.layers if self.looks_at(layer, snapshot)]
        chosen = [x for x in layers if patterns is None or any(x == p or fnmatchcase(x, p) for p in patterns)]
        if not chosen:
            none = f"layers={patterns} fit none of {', '.join(layers)}" if layers else "no layer is of its kind"
            snapshot.report(self.name, none)
        found = {}
        for layer in chosen:
            try:
                found[layer] = self.measure(layer, snapshot)
            except MonitorError:
                raise
            except Exception as error:  # the other layers can still be measured
                reason = str(error) if isinstance(error, ValueError) else repr(error)
                snapshot.report(layer, f"{self.name}: {reason}")
        return Findings(self.axes, found)

    def looks_at(self, layer: str, snapshot: Snapshot) -> bool:
        """Whether it has something to say of a layer."""
        return True

    def __post_init__(self) -> None:
        if self.every_n_epochs is not None and self.every_n_epochs < 1:
            raise ValueError(f"every_n_epochs must be at least 1, not {self.every_n_epochs}")

    @property
    @abstractmethod
    def name(self) -> str:
        """Key of the findings in a record."""

    @property
    @abstractmethod
    def axes(self) -> Mapping[str, Sequence[str]]:
        """Quantities and their axes; see :class:`Findings`."""

    @abstractmethod
    def measure(self, layer: str, snapshot: Snapshot) -> Mapping[str, Any]:
        """The quantities of one layer.

        Raises:
            ValueError: If the layer cannot be measured; the message says why.
        """


def large_enough(snapshot: Snapshot, fewest: int, name: str, kind: str) -> Tensor:
    """Which classes have at least so many samples, ``[K]`` bool; the others are reported by name.

    Args:
        snapshot: With classes.
        fewest: Samples that a class needs.
        name: The analysis.
        kind: What the small classes are left out of, in the plural.
    """
    kept = snapshot.counts >= fewest
    counts = zip(snapshot.class_names, snapshot.counts.tolist(), strict=True)
    few = [f"{name} ({count})" for name, count in counts if count < fewest]
    if few:
        more = f" and {len(few) - 10} more" if len(few) > 10 else ""
        classes = f"class{'es' * (len(few) > 1)} {', '.join(few[:10])}{more}"
        snapshot.report(name, f"{classes} left out of {kind}: fewer than {fewest} samples")
    if int(kept.sum()) < 2:
        seen = ", ".join(snapshot.class_names)
        snapshot.report(name, f"{kind} need two classes with {fewest} samples; seen: {seen}")
    return kept
