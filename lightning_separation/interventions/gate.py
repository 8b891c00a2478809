"""A network's input as if a layer had put it out, and its features permuted among the samples."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, MutableMapping, Sequence
from copy import copy
from typing import Any

import torch
from torch import Tensor, nn

from ..capture.structures import all_tensors, first_tensor, with_first_tensor
from .batches import Batch
from .patching import Units, chosen_units, described

GATE = "gate"
"""The layer of a :class:`GatedInput` that puts the input out."""
_Call = tuple[tuple[Any, ...], dict[str, Any]]


class GatedInput(nn.Module):
    """A network one of whose inputs goes through a layer first that does nothing.

    Args:
        network: Any module.
        argument: Which input: a name, or the position of an argument; None: the first tensor.
    """

    def __init__(self, network: nn.Module, argument: str | int | None = None) -> None:
        super().__init__()
        self.network, self.gate = network, nn.Identity()
        self._argument = argument

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the network returns."""
        call = args, kwargs
        place = _place(call, self._argument)
        args, kwargs = _replaced(call, place, self.gate(_tensor_at(call, place)))
        return self.network(*args, **kwargs)


def chosen_input(batch: Batch, argument: str | int | None) -> Tensor:
    """One of a network's inputs, ``[N, ...]``.

    Raises:
        ValueError: If there is none of that name or at that place, or it is not dense with one row for each sample.
    """
    call = batch.args, batch.kwargs
    tensor = _tensor_at(call, _place(call, argument))
    if tensor.layout != torch.strided:
        raise ValueError(f"the input is {tensor.layout}: give a dense tensor")
    if not tensor.ndim or len(tensor) != batch.size:
        raise ValueError(f"the input has shape {tuple(tensor.shape)}, not one row for each of {batch.size} samples")
    return tensor


def inputs_like(call: tuple[Any, Any], numbers: int, size: int) -> list[Tensor]:
    """The inputs with so many numbers for each sample.

    Args:
        call: A network's arguments, by position and by name.
        numbers: Of each sample.
        size: How many samples.
    """
    return [x for x in all_tensors(list(call)) if x.ndim > 0 and len(x) == size and x.numel() == numbers * size]


class PermutedFeatures:
    """Features of an input, by themselves or in groups, and their values for other samples.

    Samples are permuted over all batches, but only among those whose inputs have the same shape.

    Args:
        inputs: ``[n, ...]`` of each batch.
        repeats: How many permutations.
        axis: That of the features; None: 1 of four axes or more, else the last.
        groups: Features to permute together; None: each on its own.
        generator: None: one with seed 0.

    Attributes:
        axis: Of the features; an input ``[n]`` counts as ``[n, 1]``.
        repeats: As given.
        groups: Feature numbers of each group, int64.
        single: Whether each group is one feature.
        columns: ``[groups]`` int64, the first feature of each.
        varying: Groups that are not the same for all samples, int64.

    Raises:
        ValueError: For unknown features, or inputs that differ in their number.
    """

    def __init__(
        self,
        inputs: Sequence[Tensor],
        repeats: int,
        *,
        axis: int | None = None,
        groups: Sequence[Units] | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        self._inputs = [x.detach().unsqueeze(1) if x.ndim == 1 else x.detach() for x in inputs]
        axes = self._inputs[0].ndim
        self.axis = axis if axis is not None else 1 if axes >= 4 else axes - 1
        self.repeats = repeats
        if odd := [x for x in self._inputs if x.ndim != axes]:
            raise ValueError(f"inputs have {axes} axes or {odd[0].ndim}: features must be on the same one in all")
        if not 1 <= self.axis < axes:
            raise ValueError(f"axis must be one of 1 to {axes - 1}, behind that of the samples, not {self.axis}")
        widths = sorted({x.shape[self.axis] for x in self._inputs})
        if len(widths) > 1 or widths == [0]:
            raise ValueError(
                f"inputs have {' or '.join(map(str, widths))} features: each must be there for every sample"
            )
        self.groups = _members(groups, widths[0])
        self.single = all(len(group) == 1 for group in self.groups)
        self.columns = torch.tensor([int(group[0]) for group in self.groups], dtype=torch.int64)
        self._mask = torch.zeros(len(self.groups), widths[0], dtype=torch.bool)
        for place, group in enumerate(self.groups):
            self._mask[place, group] = True
        self._pools = _pools(self._inputs)
        generator = torch.Generator().manual_seed(0) if generator is None else generator
        self._permutations = {
            shape: torch.stack(
                [torch.randperm(len(pool), generator=generator, device=generator.device) for _ in range(repeats)]
            )
            for shape, pool in self._pools.items()
        }
        varies = torch.zeros(widths[0], dtype=torch.bool)
        for pool in self._pools.values():
            varies |= (pool != pool[:1]).movedim(self.axis, 0).flatten(1).any(1).cpu()
        self.varying = (self._mask & varies).any(1).nonzero().squeeze(1)

    def permuted(self, batch: int, repeats: Tensor) -> Tensor:
        """The inputs of other samples for a batch's, ``[len(repeats), n, ...]``."""
        x = self._inputs[batch]
        shape = x.shape[1:]
        before = sum(len(other) for other in self._inputs[:batch] if other.shape[1:] == shape)
        donors = self._permutations[shape][repeats.to(self._permutations[shape].device), before : before + len(x)]
        return self._pools[shape][donors.to(x.device)]

    def inputs_of(self, batch: int, groups: Tensor, repeats: Tensor) -> Tensor:
        """A batch with a group of features permuted, for each of some pairs, ``[pairs, n, ...]``.

        Args:
            batch: Its number.
            groups: ``[pairs]`` int64.
            repeats: ``[pairs]`` int64.
        """
        x = self._inputs[batch]
        mask = self._mask[groups].view(len(groups), *(1,) * self.axis, -1, *(1,) * (x.ndim - self.axis - 1))
        return torch.where(mask.to(x.device), self.permuted(batch, repeats), x)


def _members(groups: Sequence[Units] | None, width: int) -> list[Tensor]:
    """Feature numbers of each group, int64."""
    if groups is None:
        return list(torch.arange(width).unsqueeze(1))
    if isinstance(groups, str | Mapping) or not isinstance(groups, Iterable):
        raise ValueError(
            f"groups must be lists of features, [[0], [1, 2], ...], as functional.correlated_features finds them, not "
            f"{described(groups)}"
        )
    found = []
    for place, group in enumerate(groups):
        try:
            found.append(chosen_units([group] if isinstance(group, int) else group, width))
        except ValueError as error:
            raise ValueError(f"groups: number {place}, of features as units: {error}") from None
        if not len(found[-1]):
            raise ValueError(f"groups: number {place} has no feature")
    return found


def _pools(inputs: Sequence[Tensor]) -> dict[torch.Size, Tensor]:
    """All samples whose inputs have the same shape."""
    by_shape: dict[torch.Size, list[Tensor]] = {}
    for x in inputs:
        by_shape.setdefault(x.shape[1:], []).append(x)
    return {shape: torch.cat(some) for shape, some in by_shape.items()}


def _place(call: _Call, argument: str | int | None) -> tuple[str | int, ...]:
    """Where in the arguments an input is; empty for the first tensor of all."""
    args, kwargs = call
    if argument is None:
        return ()
    if isinstance(argument, bool) or not isinstance(argument, str | int):
        raise ValueError(f"argument must be a name, or the position of an argument, not {described(argument)}")
    if isinstance(argument, int):
        if 0 <= argument < len(args):
            return 0, argument
        raise ValueError(f"argument={argument}: the network is given {len(args)} arguments by position")
    if argument in kwargs:
        return 1, argument
    for place, value in enumerate(args):
        if isinstance(value, MutableMapping) and argument in value:
            return 0, place, argument
    known = [*kwargs, *(key for value in args if isinstance(value, MutableMapping) for key in value)]
    raise ValueError(f"argument={argument!r}: the network is given {', '.join(map(str, known)) or 'none by name'}")


def _tensor_at(call: _Call, place: tuple[str | int, ...]) -> Tensor:
    value: Any = list(call)
    for key in place:
        value = value[key]
    tensor = first_tensor(value)
    if tensor is None:
        raise ValueError("the network is given no tensor")
    return tensor


def _replaced(value: Any, place: tuple[str | int, ...], new: Tensor) -> Any:
    """A copy of nested containers with the first tensor at a place replaced."""
    if not place:
        return with_first_tensor(value, new)
    key, *rest = place
    if isinstance(value, MutableMapping):
        made = copy(value)
        made[key] = _replaced(value[key], tuple(rest), new)
        return made
    return tuple(_replaced(part, tuple(rest), new) if i == key else part for i, part in enumerate(value))
