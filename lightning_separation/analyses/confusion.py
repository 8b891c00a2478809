"""Which classes the network takes for which."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..capture import Snapshot
from ..checks import check_positive
from ..errors import MonitorError
from ..interventions.batches import Batch
from ..interventions.clean_run import CleanRun
from ..interventions.outcomes import IGNORED, readout_of
from ..records import ALL_LAYERS, Findings
from .base import Analysis, reason_of
from .cost import Facts, Forwards
from .objective import find_objective
from .rerun import sample_batches


@dataclass(kw_only=True)
class Confusion(Analysis):
    """The confusion matrix: how many samples of each class the network takes for each class.

    The network is run again on the sample, and its output read as scores of the classes (logits or probabilities, one
    for each class, or one for two classes 0 and 1); the class with the largest is predicted. An output that cannot be
    read so, or a network that does not give what it gave in the validation, is said, and nothing is found. Samples for
    which the network gives NaN are left out.

    Args:
        every_n_epochs: Narrows the monitor's schedule.

    Found of all layers together: ``confusion`` (class, class): samples of the first class that are predicted to be the
    second, float64; ``accuracy``, share of the samples that are predicted right. A prediction of a class that the
    sample does not have is in no cell, which is said; for the accuracy it is wrong.

    Raises:
        ValueError: For impossible settings.

    Example:
        >>> from torch.utils.data import DataLoader, TensorDataset
        >>> from lightning_separation import analyze
        >>> x = torch.stack([torch.arange(40.0) // 20 - 0.5, torch.arange(40.0) % 20 / 19], 1)
        >>> loader = DataLoader(TensorDataset(x, torch.arange(40) // 20), batch_size=40)  # x[:, 0] tells the class
        >>> network = torch.nn.Sequential(torch.nn.Identity(), torch.nn.Linear(2, 2, bias=False))
        >>> network[1].weight.data = torch.tensor([[-4.0, 0.0], [4.0, 0.0]])
        >>> record = analyze(network, loader, [Confusion()])
        >>> record.findings["confusion"]["*"]["confusion"]
        array([[20.,  0.],
               [ 0., 20.]])
    """

    every_n_epochs: int | None = None

    name: ClassVar[str] = "confusion"
    needs_classes: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.every_n_epochs is not None:
            check_positive(every_n_epochs=self.every_n_epochs)

    @property
    def axes(self) -> Mapping[str, Sequence[str]]:
        """Quantities and their axes."""
        return {"confusion": ("class", "class"), "accuracy": ()}

    def forwards(self, facts: Facts) -> Forwards:
        """To check that the network gives the same again, and on all samples."""
        return Forwards(facts.runs(facts.rows_to_check + facts.samples))

    def compute(self, snapshot: Snapshot) -> Findings:
        """Run the network on the sample and count."""
        try:
            snapshot.check_replay()
            found = {ALL_LAYERS: self._count(snapshot)}
        except MonitorError:
            raise
        except Exception as error:  # the other analyses can still be made
            snapshot.report(self.name, reason_of(error))
            found = {}
        return Findings(self.axes, found)

    def _count(self, snapshot: Snapshot) -> dict[str, Any]:
        objective = find_objective(snapshot)
        if objective.kind == "input":
            raise ValueError("the network is taken to reproduce its input: it has no scores of the classes")
        if objective.kind == "values":
            classes = ", ".join(map(str, snapshot.labels.tolist()))
            raise ValueError(f"the network has one output, which is read of classes 0 and 1 only, not {classes}")
        every = int(snapshot.counts.max()) * len(snapshot.labels)
        target, predicted = _true_and_predicted(sample_batches(snapshot, every, self.name, objective.target), snapshot)
        known = torch.isin(predicted, snapshot.labels)
        if others := int((~known).sum()):
            told = f"{others} of {len(known)} samples are predicted to be of classes that the sample does not have"
            snapshot.report(self.name, f"{told}: they are in no cell", harmless=True)
        row, column = (torch.searchsorted(snapshot.labels, labels[known]) for labels in (target, predicted))
        num = len(snapshot.labels)
        counts = (row * num + column).bincount(minlength=num**2).reshape(num, num).double()
        return {"confusion": counts, "accuracy": counts.trace() / len(known)}


def _true_and_predicted(batches: Sequence[Batch], snapshot: Snapshot) -> tuple[Tensor, Tensor]:
    """The classes' own numbers, ``[N]`` int64 each, of the samples whose class counts."""
    outputs, targets = [], []
    for batch in batches:
        assert batch.target is not None
        run = CleanRun(snapshot.network, [], batch, forward_context=snapshot.forward_context)
        outputs.append(run.output.cpu())
        targets.append(batch.target)
    output, target = torch.cat(outputs), torch.cat(targets).cpu()
    readout = readout_of(output, target)
    if readout.class_axis is None:  # logits from 0 to 1 look like probabilities
        readout = readout_of(output, target, made_by=run.made_by)
    counts = target != IGNORED
    return target[counts], readout.decisions(output).flatten().long()[counts]
