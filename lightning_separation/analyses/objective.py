"""What a network is to do: tell classes, predict values, or reproduce its input."""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args

from torch import Tensor

from ..capture import INPUT, Snapshot
from ..capture.structures import output_tensor
from ..capture.targets import NO_TARGET
from ..interventions.batches import Batch, running
from ..interventions.gate import inputs_like
from ..interventions.outcomes import is_yes_or_no, readout_of
from ..records import OBJECTIVES

Wanted = Literal["auto", "target", "input"]
"""``"target"``: the classes or values of the data; ``"input"``: what the network is given; ``"auto"``: found out."""


class NoObjectiveError(ValueError):
    """There is nothing to measure a network by."""


class Objective(NamedTuple):
    """What a network is to do.

    Attributes:
        kind: One of ``OBJECTIVES``.
        target: ``[N, ...]``: the classes' own numbers, the values, or the input that is to be reproduced.
        doubtful: Whether the network could be to tell the classes as well as to reproduce its input.
    """

    kind: str
    target: Tensor
    doubtful: bool = False

    @property
    def code(self) -> float:
        """The number that stands for the kind in findings."""
        return float(OBJECTIVES.index(self.kind))

    def tell(self, name: str, snapshot: Snapshot) -> None:
        """Report what was chosen where it is doubtful."""
        if self.doubtful:
            chosen, other = "how well it reproduces the input", 'objective="target" takes the classes'
            if self.kind == "classes":
                chosen, other = "the classes", 'objective="input" takes how well it reproduces the input'
            told = f"the network puts out as many numbers as it is given: it is measured by {chosen}; {other}"
            snapshot.report(name, told, harmless=True)


def find_objective(snapshot: Snapshot, wanted: Wanted = "auto") -> Objective:
    """What the snapshot's network is to do.

    By itself it is to tell the classes or predict the values of the data where its output can be read so, else to
    reproduce the first of its inputs that has as many numbers as its output. Where its output could be read either way,
    it is to tell the classes only if there is one number for each; values that are the input itself are to be
    reproduced.

    Raises:
        NoObjectiveError: If there is nothing to measure it by, or not what is wanted.
    """
    assert wanted in get_args(Wanted)
    output = _first_output(snapshot)
    predicted = None if wanted == "input" else _predicted(snapshot, output)
    given = None if wanted == "target" else _reproduced(snapshot, output)
    if predicted is not None and given is not None and _same(predicted.target, given):
        predicted = None
    if predicted is not None and given is not None and predicted.kind == "classes" and snapshot.target is not None:
        if _one_for_each_class(output, predicted.target):
            return predicted._replace(doubtful=True)
        return Objective("input", given, doubtful=True)
    if predicted is not None:
        return predicted
    if given is not None:
        return Objective("input", given)
    sizes = f"the network makes {tuple(output.shape[1:])} of {tuple(snapshot.activations(INPUT).shape[1:])}"
    reasons = [*([] if wanted == "input" else [_unread(snapshot, output)]), sizes]
    raise NoObjectiveError(f"nothing to measure the network by: {', and '.join(reasons)}")


def is_wanted(error: Exception, snapshot: Snapshot) -> bool:
    """Whether the user wants no target, and there is nothing to measure by for that."""
    return isinstance(error, NoObjectiveError) and snapshot.no_classes == NO_TARGET


def _first_output(snapshot: Snapshot) -> Tensor:
    """What the network returns for the sample's first batch."""
    rows, call = snapshot.calls[0]
    batch = Batch(call.args, len(rows), call.kwargs)
    with running(snapshot.network, batch, {}, snapshot.forward_context) as (args, kwargs):
        return output_tensor(snapshot.network(*args, **kwargs), batch.size)


def _predicted(snapshot: Snapshot, output: Tensor) -> Objective | None:
    """What of the data the network can be to predict."""
    target = snapshot.values if snapshot.target is None else snapshot.labels[snapshot.target]
    if target is None:
        return None
    if target[0].numel() == output[0].numel():  # one number for each output
        return Objective("classes" if is_yes_or_no(target) else "values", target)
    try:
        readout = readout_of(output, target[: len(output)])
    except ValueError:
        return None
    known = readout.class_axis is not None and int(target.max()) < output.shape[readout.class_axis]
    return Objective("classes", target) if known else None


def _unread(snapshot: Snapshot, output: Tensor) -> str:
    """Why the output cannot be read as the target."""
    if snapshot.values is not None:
        return f"the target has shape {tuple(snapshot.values.shape)}"
    if snapshot.target is None:
        return "there is no target"
    try:
        readout_of(output, snapshot.labels[snapshot.target][: len(output)])
    except ValueError as error:
        return str(error)
    return f"the target has class {int(snapshot.labels.max())}"


def _reproduced(snapshot: Snapshot, output: Tensor) -> Tensor | None:
    """The first input that has as many numbers as the output, ``[N, ...]``."""
    found = [inputs_like(call, output[0].numel(), len(rows)) for rows, call in snapshot.calls]
    fitting = [batch[0] for batch in found if batch]
    same = len(fitting) == len(found) and len({x.shape[1:] for x in fitting}) == 1
    return snapshot.joined(fitting) if same else None


def _one_for_each_class(output: Tensor, labels: Tensor) -> bool:
    readout = readout_of(output, labels[: len(output)])
    columns = 2 if readout.class_axis is None else output.shape[readout.class_axis]
    return columns == int(labels.max()) + 1


def _same(values: Tensor, given: Tensor) -> bool:
    """Whether the values to be predicted are the input itself."""
    return values.numel() == given.numel() and bool((values.flatten() == given.flatten().to(values)).all())
