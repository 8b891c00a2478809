"""What is shown of the records of one split, one after the other."""

from __future__ import annotations

from typing import Any

from ..records import Record
from ..records.record import BEFORE_TRAINING
from .display import Display
from .emit import Memory, displays, remembered
from .summary import line


class Presenter:
    """Turns records into displays, and remembers what later ones need of them.

    Figures of single layers are left out but of the first, second, fourth, eighth, ... record of an analysis in a fit;
    :meth:`rest` has those of the last.

    Args:
        name: First part of the tags.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._memory: Memory = {}
        self._counts: dict[str, int] = {}  # how often each analysis was made in fits so far
        self._undrawn: dict[str, tuple[int, Display]] = {}  # by analysis: step and figures not drawn of the last record

    def begin(self, known: int, *, fresh: bool) -> None:
        """A fit begins, with an untrained network or not; epochs below a known one and validations are remembered."""
        goes_on = not fresh or not any(isinstance(label, int) for label in self._memory)
        self._memory = {
            label: row
            for label, row in self._memory.items()
            if (label < known if isinstance(label, int) else label != BEFORE_TRAINING or goes_on)
        }
        self._counts = {} if fresh else self._counts
        self._undrawn = {}

    def show(self, record: Record) -> list[Display]:
        """What to show of a record now, analysis by analysis."""
        self._memory.pop(record.label, None)  # the latest comes last
        kept = [label for label in self._compared() if "significance" in self._memory[label]][-1:]
        for label in self._memory.keys() - kept:
            self._memory[label].pop("significance", None)  # there can be many dead units; only the last are compared
        self._memory[record.label] = remembered(record)
        shown = displays(record, self._memory, self.name)
        if record.stage == "fit":
            for analysis, display in shown.items():
                self._counts[analysis] = self._counts.get(analysis, 0) + 1
                self._undrawn.pop(analysis, None)
                if not _is_milestone(self._counts[analysis]):
                    self._undrawn[analysis] = (record.step, Display(layer_figures=display.layer_figures))
                    display.layer_figures = {}
        return list(shown.values())

    def summary(self, record: Record, train: Record | None = None) -> str:
        """A line that says what changed since the fit's record before; outside of a fit how things are.

        Args:
            record: The latest, which was shown.
            train: That of the training data at the same time.
        """
        earlier = [label for label in self._compared() if label != record.label] if record.stage == "fit" else []
        return line(record, {label: self._memory[label] for label in earlier}, self.name, train)

    def _compared(self) -> list[int | str]:
        """Labels of the records of the fit, and of that before it, which the next of the fit is compared with."""
        return [label for label in self._memory if isinstance(label, int) or label == BEFORE_TRAINING]

    def rest(self) -> list[tuple[int, Display]]:
        """Step and figures of what was not drawn of the last records; after that there is no rest."""
        rest, self._undrawn = list(self._undrawn.values()), {}
        return rest

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint needs to go on with the curves."""
        return {"memory": dict(self._memory), "counts": dict(self._counts)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take them over."""
        self._memory, self._counts = dict(state["memory"]), dict(state["counts"])


def _is_milestone(count: int) -> bool:
    """Whether it is the first, second, fourth, eighth, ... of its kind, counted from 1.

    Example:
        >>> [count for count in range(1, 20) if _is_milestone(count)]
        [1, 2, 4, 8, 16]
    """
    return count & (count - 1) == 0
