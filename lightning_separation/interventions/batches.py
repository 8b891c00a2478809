"""What a network is given, and the conditions under which it is run again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_unflatten

from ..capture.recorder import take_rows
from ..capture.restore import unchanged
from ..capture.structures import first_tensor, map_tensors
from .patching import Edit, Numbers, as_tensor, described, patched

Context = Callable[[], AbstractContextManager[Any]]


@dataclass(frozen=True)
class Batch:
    """Some samples.

    Attributes:
        args: What the network is given.
        size: How many samples.
        kwargs: The same, by name.
        target: ``[size, ...]``; None if there is none.
    """

    args: tuple[Any, ...]
    size: int
    kwargs: dict[str, Any] = field(default_factory=dict)
    target: Tensor | None = None

    @classmethod
    def of(cls, inputs: Any, target: Numbers | None = None) -> Batch:
        """Of ``network(inputs)``, ``network(*inputs)`` for a tuple or list, ``network(**inputs)`` for a mapping.

        A target that is an array or list is made a tensor. Inputs are not: they go to the network as they are.

        Raises:
            ValueError: Without samples, for inputs or a target of the wrong type, or if the target has another number
                of samples.
        """
        first = first_tensor(inputs)
        if first is None:
            hint = "" if isinstance(inputs, tuple | list | Mapping) else f": they are {described(inputs)}"
            raise ValueError(f"inputs hold no tensor [N, ...] with samples{hint}; give what the network is called with")
        if not first.ndim or not len(first):
            raise ValueError(f"inputs hold no samples: the first tensor has shape {tuple(first.shape)}, not [N, ...]")
        if isinstance(inputs, Mapping) and (other := [name for name in inputs if not isinstance(name, str)]):
            raise ValueError(f"inputs as a mapping are arguments by name; {other[0]!r} is no name")
        target = None if target is None else as_tensor("target", target)
        if target is not None and (not target.ndim or len(target) != len(first)):
            raise ValueError(f"{len(first)} inputs, but a target of shape {tuple(target.shape)}")
        if isinstance(inputs, Mapping):
            return cls((), len(first), dict(inputs), target)
        return cls(tuple(inputs) if isinstance(inputs, tuple | list) else (inputs,), len(first), {}, target)

    def split(self, size: int) -> list[Batch]:
        """The samples in batches of at most so many."""
        return [self.rows(some) for some in torch.arange(self.size).split(size)] if self.size > size else [self]

    def rows(self, chosen: Tensor) -> Batch:
        """Some of the samples, by their numbers."""
        args, kwargs, target = take_rows((self.args, self.kwargs, self.target), chosen, self.size)
        return Batch(args, len(chosen), kwargs, target)


def joined(batches: Sequence[Batch], size: int) -> list[Batch]:
    """Neighbouring batches as one, as far as they fit together, of at most so many samples."""
    made: list[Batch] = []
    for batch in batches:
        both = _joined(made[-1], batch) if made and made[-1].size + batch.size <= size else None
        if both is None:
            made.append(batch)
        else:
            made[-1] = both
    return made


def _joined(first: Batch, second: Batch) -> Batch | None:
    """Samples of one behind those of the other; None where anything else differs."""
    (a, spec), (b, other) = (tree_flatten((batch.args, batch.kwargs, batch.target)) for batch in (first, second))
    if spec != other:
        return None
    leaves = []
    for x, y in zip(a, b, strict=True):
        if isinstance(x, Tensor) and isinstance(y, Tensor):
            rows = x.ndim > 0 and y.ndim > 0 and (len(x), len(y)) == (first.size, second.size)
            if rows and (x.shape[1:], x.dtype) == (y.shape[1:], y.dtype):
                leaves.append(torch.cat([x, y]))
                continue
            same = x.shape == y.shape and torch.equal(x, y)
        else:
            same = type(x) is type(y) and bool(x == y)
        if not same:
            return None
        leaves.append(x)
    args, kwargs, target = tree_unflatten(leaves, spec)
    return Batch(args, first.size + second.size, kwargs, target)


@contextmanager
def running(
    network: nn.Module, batch: Batch, edits: Mapping[str, Edit], forward_context: Context, *, gradients: bool = False
) -> Iterator[tuple[tuple[Any, ...], dict[str, Any]]]:
    """Around one run of the whole network, after which it is as before.

    Args:
        network: In the mode in which it is to be run.
        batch: What it is to be given.
        edits: By layer what is made of its output; see :func:`patched`.
        forward_context: In what it runs.
        gradients: Whether there is a graph.

    Yields:
        Its arguments, copied: it may change in place what it is given.
    """
    with ExitStack() as stack:
        stack.enter_context(unchanged(network))
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.set_grad_enabled(gradients))
        if gradients:
            stack.enter_context(torch.backends.cudnn.flags(enabled=False))  # its recurrent nets refuse it in eval mode
        stack.enter_context(patched(network, edits))
        args, kwargs = map_tensors(torch.clone, (batch.args, batch.kwargs))
        stack.enter_context(forward_context())
        yield args, kwargs


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """In eval mode; afterwards every module is in the mode in which it was."""
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode
