"""What an analysis will cost, said before there is a snapshot to analyse."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, Protocol, runtime_checkable

from ..capture import INPUT, Snapshot
from ..capture.planning import in_groups, with_room


class Forwards(NamedTuple):
    """How often an analysis runs the network for one snapshot, at most; nothing: it only looks.

    Attributes:
        whole: Runs of the whole network, on the whole sample.
        parts: Runs of what lies behind a layer.
        part_samples: On so many samples.
        backwards: Backward passes.
    """

    whole: int = 0
    parts: int = 0
    part_samples: int = 0
    backwards: int = 0


@runtime_checkable
class Foreseeable(Protocol):
    """An analysis that can say what it will cost."""

    def forwards(self, facts: Facts) -> Forwards | int | None:
        """How often it will run the network, as a number: the whole of it; None if it cannot tell."""


@dataclass(frozen=True)
class Facts:
    """What is known of the snapshots to come.

    Attributes:
        one: A snapshot of one sample: which layers there are, and what they are like.
        samples: At most so many there will be.
        classes: At least so many; 0 without classes.
        batch_size: Samples in a batch of the loader.
        input_bytes: Memory of what the network is given for one sample.
        budget: Bytes that may be held.
    """

    one: Snapshot
    samples: int
    classes: int
    batch_size: int
    input_bytes: int
    budget: int

    @cached_property
    def units(self) -> dict[str, int]:
        """How many units each layer has; the input last, if it is a tensor."""
        found = {layer: self.one.units(layer).shape[1] for layer in self.layers}
        try:
            return {**found, INPUT: self.one.units(INPUT).shape[1]}
        except ValueError:
            return found

    @property
    def layers(self) -> list[str]:
        """In order of execution, without the input."""
        return self.one.layers[1:]

    def some(self, max_samples: int) -> int:
        """How many an analysis uses that takes so many, evenly of each class and at least one of each."""
        return min(self.samples, max(max_samples, self.classes))

    def runs(self, rows: int) -> int:
        """As many runs on the whole sample as runs on so many samples in all."""
        return math.ceil(rows / max(self.samples, 1))

    @property
    def rows_to_check(self) -> int:
        """Samples that are run before anything is changed in the network.

        All to check that it gives the same again, the first batch to find out what it is to do, and two to find out how
        much memory it takes.
        """
        return self.samples + min(self.batch_size, self.samples) + 2

    def need(self, layers: Sequence[str]) -> int:
        """Bytes of what layers compute for the sample."""
        return sum(self._need[layer] for layer in layers)

    @cached_property
    def held(self) -> list[str]:
        """Layers that are held from the pass, beside the network's inputs: as many of the smallest as have room."""
        return with_room(self._need, self.budget - self.samples * self.input_bytes)

    def groups(self, layers: Sequence[str], held: int = 0) -> list[list[str]]:
        """Layers that are computed again together, beside so many bytes held; without those that have no room alone."""
        return in_groups({layer: self._need[layer] for layer in layers}, self.budget, held)

    @cached_property
    def _need(self) -> dict[str, int]:
        return {layer: self.samples * self.one.activations(layer)[:1].nbytes for layer in self.layers}
