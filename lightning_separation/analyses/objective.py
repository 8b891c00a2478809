"""What a network is to do: tell classes, predict values, or reproduce its input."""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args

from torch import Tensor

from ..capture import INPUT, Snapshot
from ..capture.structures import output_tensor
from ..capture.targets import NO_TARGET
from ..interventions.batches import Batch, running
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
        target: ``[N, ...]``: the classes' own numbers, the values, or the input.
    """

    kind: str
    target: Tensor

    @property
    def code(self) -> float:
        """The number that stands for the kind in findings."""
        return float(OBJECTIVES.index(self.kind))


def find_objective(snapshot: Snapshot, wanted: Wanted = "auto") -> Objective:
    """What the snapshot's network is to do.

    By itself it is to reproduce its input if it puts out as many numbers as it is given, unless they are one for each
    class, or values are to be predicted that are not the input; else to tell the classes or predict the values.

    Raises:
        NoObjectiveError: If there is nothing to measure it by, or not what is wanted.
    """
    assert wanted in get_args(Wanted)
    output, given = _first_output(snapshot), snapshot.activations(INPUT)
    reproduces = output[0].numel() == given[0].numel()
    labels = None if snapshot.target is None else snapshot.labels[snapshot.target]
    values = snapshot.values
    if wanted != "input":
        if labels is not None and (wanted == "target" or not reproduces or _one_for_each_class(output, labels)):
            return Objective("values" if output[0].numel() == 1 and not is_yes_or_no(labels) else "classes", labels)
        if values is not None and values[0].numel() == output[0].numel() and not _same(values, given):
            return Objective("classes" if is_yes_or_no(values) else "values", values)
    if wanted != "target" and reproduces:
        return Objective("input", given)
    target = "there are no classes" if values is None else f"the target has shape {tuple(values.shape)}"
    sizes = f"the network makes {tuple(output.shape[1:])} of {tuple(given.shape[1:])}"
    raise NoObjectiveError(f"nothing to measure the network by: {target}, and {sizes}")


def is_wanted(error: Exception, snapshot: Snapshot) -> bool:
    """Whether the user wants no target, and there is nothing to measure by for that."""
    return isinstance(error, NoObjectiveError) and snapshot.no_classes == NO_TARGET


def _first_output(snapshot: Snapshot) -> Tensor:
    """What the network returns for the sample's first batch."""
    rows, call = snapshot.calls[0]
    batch = Batch(call.args, rows.stop - rows.start, call.kwargs)
    with running(snapshot.network, batch, {}, snapshot.forward_context) as (args, kwargs):
        return output_tensor(snapshot.network(*args, **kwargs), batch.size)


def _one_for_each_class(output: Tensor, labels: Tensor) -> bool:
    try:
        readout = readout_of(output, labels[: len(output)])
    except ValueError:
        return False
    columns = 2 if readout.class_axis is None else output.shape[readout.class_axis]
    return columns == int(labels.max()) + 1


def _same(values: Tensor, given: Tensor) -> bool:
    """Whether the values to be predicted are the input itself."""
    return values.numel() == given.numel() and bool((values.flatten() == given.flatten().to(values)).all())
