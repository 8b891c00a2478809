"""What a network loses without each single unit of a layer."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, overload

import torch
from torch import Tensor, nn

from .clean_run import CleanRun, Copies
from .narrow import lead, widened
from .outcomes import Comparison, Loss, Outcome, readout_of
from .patching import Units, Value, chosen_units, replacement
from .suffix import Suffix


class AblationDeltas(NamedTuple):
    """Of each unit what changes without it: ablated minus clean, means over the samples; NaN where undefined.

    Attributes:
        loss: ``[U]`` float64.
        accuracy: ``[U]`` float64.
        kl: ``[U]`` float64, KL(clean || ablated) of the output distributions, in nats.
        entropy: ``[U]`` float64, of the output distribution, in nats.
        exact: ``[U]`` bool; False where ``loss`` is only estimated and the others are NaN.
    """

    loss: Tensor
    accuracy: Tensor
    kl: Tensor
    entropy: Tensor
    exact: Tensor


def unit_deltas(
    run: CleanRun, layer: str, units: Tensor, replace: Callable[[Tensor], Tensor], compare: Comparison
) -> Outcome:
    """Change of each outcome without each of some units of a layer.

    Args:
        run: The clean run.
        layer: One of its layers.
        units: ``[k]`` int64.
        replace: Of the layer's output ``[N, ...]`` what each unit is replaced by, of the same shape.
        compare: With the clean output.

    Returns:
        ``[k]`` each. A unit that is replaced by what it is anyway changes exactly nothing.
    """
    found = torch.zeros(4, len(units), dtype=torch.float64, device=units.device)
    found[[place for place, value in enumerate(compare.clean) if bool(value.isnan())]] = torch.nan
    changing = _changing(run, layer, replace)[units].nonzero().squeeze(1)
    suffix = run.suffix(layer)
    if suffix is None or suffix.reached:
        for some in changing.split(run.at_once(layer)):
            copies = _copies_without(run, layer, units[some], replace)
            found[:, some] = torch.stack(compare.deltas(copies.outputs, copies.returned))
    return Outcome(*found)


def _copies_without(run: CleanRun, layer: str, units: Tensor, replace: Callable[[Tensor], Tensor]) -> Copies:
    axis, suffix = run.axes[layer], run.suffix(layer)
    if suffix is not None and len(suffix.marks) == 1:
        return _copies_behind(run, suffix, axis, units, replace)

    def without(output: Tensor, unit: Tensor) -> Tensor:
        place = torch.arange(output.shape[axis], device=output.device).view(-1, *(1,) * (output.ndim - axis - 1))
        return torch.where(place == unit, replace(output), output)

    return run.run(layer, without, units)


def _copies_behind(
    run: CleanRun, suffix: Suffix, axis: int, units: Tensor, replace: Callable[[Tensor], Tensor]
) -> Copies:
    """Of a layer that runs once: what comes behind, at first for the changed units only."""
    (mark,) = suffix.marks
    with run.replaying():
        changed = replace(suffix.clean(mark)).index_select(axis, units)
        state = lead(suffix, mark, changed, axis, units)
        read = {number for op in state.rest for number in op.inputs} | set(suffix.reached)
        known = {number: value for number, value in state.dense.items() if number in read}
        for number in state.narrow.keys() & read:
            known[number] = widened(state.narrow[number], suffix.clean(number), units)
        values = suffix.many(lambda row: suffix.resume(row, state.rest), known) if state.rest else known
    return run.copies(values, len(units))


def _changing(run: CleanRun, layer: str, replace: Callable[[Tensor], Tensor]) -> Tensor:
    """Which units are replaced by something else than they are, ``[U]``."""
    axis = run.axes[layer]
    changing = torch.zeros(run.clean(layer)[0].shape[axis], dtype=torch.bool, device=run.output.device)
    for output in run.clean(layer):
        differs = replace(output) != output
        changing |= differs.movedim(axis, 0).flatten(1).any(1)
    return changing
