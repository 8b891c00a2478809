"""Whether the layers separate the classes of the training data further than those of the validation data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, get_args

import torch
from torch import Tensor

from ..capture import Snapshot
from ..checks import check_choice, check_positive
from ..functional import false_discovery_control, membership_test
from ..functional._points import Distance
from ..records import Findings
from .base import LayerAnalysis, OfInput
from .cost import Facts, Forwards
from .henze_penrose import FEWEST_SAMPLES
from .rerun import private_generator

_MOST_NAMED = 10  # classes in a message


@dataclass
class MembershipTest(LayerAnalysis):
    """Whether a layer separates the classes of the training sample further than those of the validation sample.

    What a network learns by heart, it separates in the training data only. The gap is the Henze-Penrose separation of
    the training sample minus that of the validation sample, means over pairs of classes. It is compared with the gaps
    where which sample of a class is for training is drawn at random: if the two are drawn from the same distribution,
    p <= alpha has a probability of at most alpha, whatever the distribution and the sizes. Training samples that are
    augmented are of another distribution. The network's input shows whether the data alone differ.

    It is made of the training sample (``splits=("val", "train")``), beside which the validation sample is at hand; of
    the validation sample it finds nothing. A layer costs ``num_permutations`` times as much as both its separations, on
    a CPU 5 to 50 seconds for two thousand samples: give it an ``every_n_epochs`` of its own.

    Args:
        num_permutations: The smallest p is 1 / (num_permutations + 1).
        distance: ``"euclidean"`` or ``"cosine"``.
        layers: Names or glob patterns that narrow the monitor's.
        every_n_epochs: Narrows the monitor's schedule.

    Found for each layer: ``gap``, ``p_value`` (one-sided: training further than validation) and ``q_value``, corrected
    by Benjamini and Hochberg for the number of layers. Classes with fewer than 5 samples in one of the two are left
    out, by name.

    Raises:
        ValueError: For impossible settings.

    Example:
        >>> MembershipTest(num_permutations=199).name
        'membership_test'
    """

    num_permutations: int = 99
    distance: Distance = "euclidean"

    name: ClassVar[str] = "membership_test"
    needs_classes: ClassVar[bool] = True

    _beside: bytes | None = field(default=None, init=False, repr=False, compare=False)  # input of the validation sample

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(num_permutations=self.num_permutations)
        check_choice("distance", self.distance, get_args(Distance))

    @property
    def axes(self) -> Mapping[str, Sequence[str]]:
        """Quantities and their axes."""
        return dict.fromkeys(("gap", "p_value", "q_value"), ())

    def forwards(self, facts: Facts) -> Forwards:
        """None: it only looks."""
        return Forwards()

    def compute(self, snapshot: Snapshot) -> Findings:
        """Test every chosen layer of a training sample; of a validation sample nothing."""
        if snapshot.beside is None or not _two_classes_in_both(snapshot, snapshot.beside, self.name):
            return Findings(self.axes, {})
        beside = snapshot.beside.input_digest()
        if beside is None or beside != self._beside:  # what was found of the input was found beside another sample
            self._of_input, self._beside = OfInput(), beside
        found = super().compute(snapshot)
        p_values = torch.tensor([values["p_value"].item() for values in found.values()], dtype=torch.float64)
        corrected = zip(found, false_discovery_control(p_values), strict=True)
        return Findings(self.axes, {layer: {**found[layer], "q_value": q_value} for layer, q_value in corrected})

    def looks_at(self, layer: str, snapshot: Snapshot) -> bool:
        """Every layer that both samples have."""
        return snapshot.beside is not None and layer in snapshot.beside.layers

    def measure(self, layer: str, snapshot: Snapshot) -> Mapping[str, Any]:
        """The test of one layer."""
        assert snapshot.beside is not None
        found = membership_test(
            *_features_and_target(layer, snapshot),
            *_features_and_target(layer, snapshot.beside),
            num_permutations=self.num_permutations,
            generator=private_generator(snapshot.seed, layer),
            distance=self.distance,
        )
        return {name: value.cpu() for name, value in found._asdict().items()}


def _features_and_target(layer: str, snapshot: Snapshot) -> tuple[Tensor, Tensor]:
    """Of the samples whose classes have enough, ``[N, ...]`` and their classes' own numbers, ``[N]``."""
    assert snapshot.target is not None  # needs_classes
    rows = (snapshot.counts >= FEWEST_SAMPLES)[snapshot.target]
    activations = snapshot.activations(layer)
    return activations[rows.to(activations.device)], snapshot.labels[snapshot.target[rows]]


def _two_classes_in_both(train: Snapshot, validation: Snapshot, name: str) -> bool:
    """Whether two classes have enough samples in both; classes that have not are reported in the analysis's name."""
    names: dict[int, str] = {}
    counts: dict[int, list[int]] = {}
    for place, sample in enumerate((train, validation)):
        for label, own, count in zip(sample.labels.tolist(), sample.class_names, sample.counts.tolist(), strict=True):
            names[label] = own
            counts.setdefault(label, [0, 0])[place] = count
    few = [f"{names[k]} ({a} and {b})" for k, (a, b) in sorted(counts.items()) if min(a, b) < FEWEST_SAMPLES]
    if few:
        more = f" and {len(few) - _MOST_NAMED} more" if len(few) > _MOST_NAMED else ""
        classes = f"class{'es' * (len(few) > 1)} {', '.join(few[:_MOST_NAMED])}{more}"
        train.report(name, f"{classes} left out: fewer than {FEWEST_SAMPLES} samples for training or validation")
    if len(counts) - len(few) < 2:
        train.report(name, f"it needs two classes with {FEWEST_SAMPLES} samples each for training and validation")
    return len(counts) - len(few) >= 2
