"""Which samples are looked at: the same in every analysed validation."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..functional._sampling import rows_within_cap


class Sample:
    """The first samples of each class, in the order of the loader.

    The first pass over the data chooses them and runs to its end; later passes find them again by their positions.

    Args:
        samples_per_class: Cap for each class.
        max_samples: Cap where there are no classes.

    Attributes:
        positions: Of the chosen samples, counted over the whole loader, ascending.
        labels: ``[N]`` int64, their classes; None without classes.
        no_classes: Why there are no classes; empty if there are.
        chosen: Whether a pass has run to its end.
    """

    def __init__(self, samples_per_class: int, max_samples: int) -> None:
        self.samples_per_class = samples_per_class
        self.max_samples = max_samples
        self.positions: list[int] = []
        self.labels: Tensor | None = None
        self.no_classes = ""
        self.chosen = False
        self._offset = 0

    def begin(self) -> None:
        """Start a pass at the loader's first sample."""
        self._offset = 0
        if not self.chosen:
            self.positions, self.labels = [], None

    def rows(self, size: int, labels: Tensor | None) -> Tensor:
        """Rows of the next batch that belong to the sample, ascending int64 on the CPU.

        Args:
            size: Samples in the batch.
            labels: ``[size]`` integer classes, None without classes.
        """
        start, self._offset = self._offset, self._offset + size
        if self.chosen:
            rows = torch.tensor([p - start for p in self.positions if start <= p < start + size], dtype=torch.int64)
        elif labels is None:
            rows = torch.arange(min(size, max(0, self.max_samples - len(self.positions))))
        else:
            labels = labels.cpu().long()
            seen = labels[:0] if self.labels is None else self.labels
            rows = rows_within_cap(labels, self.samples_per_class, seen)
            self.labels = torch.cat([seen, labels[rows]])
        if not self.chosen:
            self.positions += (rows + start).tolist()
        return rows

    @property
    def passed(self) -> bool:
        """Whether no later batch of this pass holds a sample."""
        if self.chosen:
            return not self.positions or self._offset > self.positions[-1]
        return False

    def finish(self) -> None:
        """The pass ran to its end: from now on the sample is this."""
        self.chosen = True

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint needs to find the same samples again."""
        labels = None if self.labels is None else self.labels.tolist()
        state = {"positions": self.positions, "labels": labels, "no_classes": self.no_classes}
        return state if self.chosen else {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over the choice of an earlier run."""
        if state:
            self.positions, labels, self.no_classes = list(state["positions"]), state["labels"], state["no_classes"]
            self.labels = None if labels is None else torch.tensor(labels, dtype=torch.int64)
            self.chosen = True
