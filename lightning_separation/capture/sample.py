"""Which samples are looked at: the same in every analysed validation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..functional._sampling import rows_within_cap


class Shard(NamedTuple):
    """Which part of the data the loader of one process gives.

    Attributes:
        first: Number, among all samples, of the first that it gives.
        step: How many further each next one is.
        size: How many samples there are; what comes behind them fills up the last batches. None: not known.
        known: Whether the loader says so, or it is taken for the usual.
    """

    first: int = 0
    step: int = 1
    size: int | None = None
    known: bool = True


class Sample:
    """The first samples of each class, in the order of the loader.

    The first pass over the data chooses them and runs to its end; later passes find them again by their positions. Of
    several processes that share the data each first keeps what could be among them; :meth:`merge` chooses.

    Args:
        samples_per_class: Cap for each class.
        max_samples: Cap where there are no classes.

    Attributes:
        positions: Of the chosen samples, counted over the whole loader (those of all processes), ascending.
        labels: ``[N]`` int64, their classes; None without classes.
        no_classes: Why there are no classes; empty if there are.
        chosen: Whether a pass has run to its end.
        seen: Positions of those that this pass has given, in this process.
        shard: Which part of the data this process sees.
    """

    def __init__(self, samples_per_class: int, max_samples: int) -> None:
        self.samples_per_class = samples_per_class
        self.max_samples = max_samples
        self.positions: list[int] = []
        self.labels: Tensor | None = None
        self.no_classes = ""
        self.chosen = False
        self.seen: list[int] = []
        self._counted = 0  # processes that positions were shared out among by guess; 0: by none
        self.shard, self._own, self._offset = Shard(), self.seen[:0], 0  # own: of the chosen, as this process counts

    def begin(self, shard: Shard | None = None) -> None:
        """Start a pass at the first sample of this process's part of the data; None: it has all."""
        self.shard, self._offset, self.seen = shard or Shard(), 0, []
        counted = 0 if self.shard.known else self.shard.step
        if self._counted != counted:  # the positions would be those of other samples
            self.chosen, self._counted = False, counted
        if not self.chosen:
            self.positions, self.labels = [], None
        first, step = self.shard[:2]
        self._own = [(p - first) // step for p in self.positions if p >= first and (p - first) % step == 0]

    def rows(self, size: int, labels: Tensor | None) -> Tensor:
        """Rows of the next batch that belong to the sample, ascending int64 on the CPU.

        Args:
            size: Samples in the batch.
            labels: ``[size]`` integer classes, None without classes.
        """
        start, self._offset = self._offset, self._offset + size
        if self.chosen:
            rows = torch.tensor([p - start for p in self._own if start <= p < start + size], dtype=torch.int64)
        elif labels is None:
            rows = torch.arange(min(size, max(0, self.max_samples - len(self.seen))))
        else:
            labels = labels.cpu().long()
            seen = labels[:0] if self.labels is None else self.labels
            rows = rows_within_cap(labels, self.samples_per_class, seen)
            self.labels = torch.cat([seen, labels[rows]])
        seen_now = ((rows + start) * self.shard.step + self.shard.first).tolist()
        self.seen += seen_now
        if not self.chosen:
            self.positions += seen_now
        return rows

    @property
    def passed(self) -> bool:
        """Whether no later batch of this pass holds a sample."""
        return self.chosen and (not self._own or self._offset > self._own[-1])

    def merge(self, seen: Sequence[Sequence[int]], labels: Tensor | None) -> Tensor:
        """Choose among what all processes have kept: what one process alone would have kept.

        Args:
            seen: Of each of them.
            labels: ``[S]`` int64 classes of all these; None without classes.

        Returns:
            ``[N]`` int64, which of the S belong to the sample, in its order.
        """
        positions = torch.tensor([p for some in seen for p in some], dtype=torch.int64)
        order = positions.argsort(stable=True)
        found = positions[order]
        is_new = torch.ones_like(found, dtype=torch.bool)
        is_new[1:] = found[1:] != found[:-1]  # every process may have all data
        if self.shard.size is not None:
            is_new &= found < self.shard.size
        kept = order[is_new]
        if not self.chosen:
            if labels is None:
                kept = kept[: self.max_samples]
            else:
                kept = kept[rows_within_cap(labels[kept], self.samples_per_class, labels[:0])]
            self.positions, self.labels = positions[kept].tolist(), None if labels is None else labels[kept]
        return kept

    def finish(self) -> None:
        """The pass ran to its end: from now on the sample is this."""
        self.chosen = True

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint needs to find the same samples again."""
        labels = None if self.labels is None else self.labels.tolist()
        state = {"positions": self.positions, "labels": labels, "no_classes": self.no_classes, "of": self._counted}
        return state if self.chosen else {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over the choice of an earlier run."""
        if state:
            self.positions, labels, self.no_classes = list(state["positions"]), state["labels"], state["no_classes"]
            self.labels = None if labels is None else torch.tensor(labels, dtype=torch.int64)
            self.chosen, self._counted = True, state.get("of", 0)
