"""What of a network comes after one of its layers, run again and again with other activations there."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map

from .tape import Op, Ref, Tape

# Operations on rows, and which argument has them. Others work copy by copy, or by torch's own rules for that.
_ROW_BY_ROW = {
    "addmm": 1, "mm": 0, "linear": 0, "relu": 0, "gelu": 0, "silu": 0, "elu": 0, "leaky_relu": 0, "hardtanh": 0,
    "sigmoid": 0, "tanh": 0, "softplus": 0, "clone": 0, "alias": 0, "detach": 0,
}  # fmt: skip

Edit = Callable[[Tensor], Tensor]


class Suffix:
    """The operations that a layer's output leads to, up to the values asked for.

    Args:
        tape: Of a clean run.
        marks: Values that are the layer's output, one for each of its calls.
        wanted: Values to compute.

    Attributes:
        ops: In order of execution.
        marks: As given, those that lead to something.
        reached: Those of ``wanted`` that depend on the layer.
        obstacle: Why it cannot be run; empty if it can.
    """

    def __init__(self, tape: Tape, marks: Sequence[int], wanted: Sequence[int]) -> None:
        self._tape = tape
        changed = set(marks)
        behind: list[Op] = []
        self.obstacle = tape.obstacle
        for op in tape.ops:
            if not changed.isdisjoint(op.inputs):
                changed.update(op.outputs)
                behind.append(op)
                self.obstacle = self.obstacle or op.obstacle
        self.changed = frozenset(changed)
        self.reached = [value for value in dict.fromkeys(wanted) if value in changed]
        needed = set(self.reached)
        self.ops: list[Op] = []
        for op in reversed(behind):
            if not needed.isdisjoint(op.outputs):
                needed.update(op.inputs)
                self.ops.append(op)
        self.ops.reverse()
        self.marks = [mark for mark in marks if mark in needed]
        self._done = _done_after(self.ops, self.reached)
        self._one_by_one = False
        self._many = False  # whether several copies are being run at once
        self._largest: dict[int, float] = {}

    @property
    def makes(self) -> set[int]:
        """Values that it computes."""
        return {*self.marks, *self.reached, *(number for op in self.ops for number in op.outputs)}

    @property
    def needs(self) -> set[int]:
        """Values of the clean run that it reads or compares with."""
        return self.makes.union(ref.value for op in self.ops for ref in _refs(op))

    def run(self, edit: Edit) -> dict[int, Tensor]:
        """Compute the values that are reached, with the layer's output edited at each of its calls."""
        made = {number for op in self.ops for number in op.outputs}
        return self.resume({mark: edit(self.clean(mark)) for mark in self.marks if mark not in made}, self.ops, edit)

    def resume(self, known: Mapping[int, Tensor], ops: Sequence[Op], edit: Edit | None = None) -> dict[int, Tensor]:
        """Run what is left of the operations.

        Args:
            known: What the others made.
            ops: Those that are left, in order.
            edit: Applied to the layer's output where they make it.
        """
        values = dict(known)
        for op in ops:
            args, kwargs = self._arguments(op, values)
            function = op.vectorized if self._many and op.vectorized is not None else op.function
            out = function(*args, **kwargs)
            made = [out] if isinstance(out, Tensor) else [x for x in tree_leaves(out) if isinstance(x, Tensor)]
            for number, tensor in zip(op.outputs, made, strict=True):
                values[number] = edit(tensor) if edit is not None and number in self.marks else tensor
            for number in self._done.get(id(op), ()):
                values.pop(number, None)
        return {number: values[number] for number in self.reached}

    def many(self, function: Callable[[Any], dict[int, Tensor]], parameters: Any) -> dict[int, Tensor]:
        """Several runs, all at once where the operations allow it.

        Args:
            function: Of the parameters of one run, ``run`` or ``resume``.
            parameters: Tensors ``[copies, ...]``, one row for each run.

        Returns:
            ``[copies, ...]`` of every value reached.
        """
        copies = len(tree_leaves(parameters)[0])
        if copies > 1 and not self._one_by_one:
            try:
                with self._vectorizing():
                    return torch.func.vmap(function, randomness="same")(parameters)
            except torch.OutOfMemoryError:
                raise
            except RuntimeError:
                self._one_by_one = True  # some operation has no form for several copies
        runs = [function(tree_map(lambda x, copy=copy: x[copy], parameters)) for copy in range(copies)]
        return {number: torch.stack([run[number] for run in runs]) for number in self.reached}

    @contextmanager
    def _vectorizing(self) -> Iterator[None]:
        """No word of operations that torch runs copy by copy: they are as fast as without."""
        self._many = True
        _warn_of_fallback(False)
        try:
            yield
        finally:
            self._many = False
            _warn_of_fallback(True)

    def copies(self, known: Mapping[int, Tensor], ops: Sequence[Op]) -> dict[int, Tensor]:
        """Run what is left of the operations for several copies.

        Args:
            known: What the others made for each copy, ``[copies, ...]``.
            ops: Those that are left, in order.

        Returns:
            ``[copies, ...]`` of every value reached.
        """
        if not all(self._row_by_row(op) for op in ops):
            return self.many(lambda row: self.resume(row, ops), known)
        sizes = next(iter(known.values())).shape[:2]
        rows = self.resume({number: value.flatten(0, 1) for number, value in known.items()}, ops)
        return {number: value.unflatten(0, sizes) for number, value in rows.items()}

    def _row_by_row(self, op: Op) -> bool:
        """Whether it makes each row of its first tensor to a row of its result, whatever else there is."""
        place = _ROW_BY_ROW.get(op.name)
        changed = [i for i, x in enumerate(op.args) if isinstance(x, Ref) and x.value in self.changed]
        if place is None or changed != [place] or op.kwargs or len(op.inputs) != len(set(op.inputs)):
            return False
        others = [self.clean(x.value).ndim for i, x in enumerate(op.args) if isinstance(x, Ref) and i != place]
        first, made = self.clean(op.args[place].value), self.clean(op.outputs[0])
        most = {"addmm": [1, 2], "mm": [2], "linear": [2, 1]}.get(op.name, [])
        same_rows = first.ndim > 1 and made.ndim > 1 and len(first) == len(made)
        return same_rows and others == most[: len(others)]

    def clean(self, value: int) -> Tensor:
        """What it was in the clean run."""
        tensor = self._tape.values[value]
        assert tensor is not None, "a value that was let go"
        return tensor

    def largest(self, value: int) -> float:
        """The largest absolute number in it; not finite if one is not."""
        if value not in self._largest:
            clean = self.clean(value)
            self._largest[value] = float(torch.stack(clean.aminmax()).abs().max()) if clean.numel() else 0.0
        return self._largest[value]

    def _arguments(self, op: Op, values: Mapping[int, Tensor]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Of an operation: what was computed anew, the rest as in the clean run."""

        def look_up(x: Any) -> Any:
            if isinstance(x, Ref):
                return values[x.value] if x.value in values else self.clean(x.value)
            return type(x)(map(look_up, x)) if isinstance(x, list | tuple) else x

        return tuple(map(look_up, op.args)), {name: look_up(x) for name, x in op.kwargs.items()}


def _refs(op: Op) -> list[Ref]:
    return [x for x in tree_leaves((op.args, op.kwargs)) if isinstance(x, Ref)]


def _done_after(ops: Sequence[Op], kept: Sequence[int]) -> dict[int, list[int]]:
    """By operation: values that no later one reads."""
    last: dict[int, int] = {}
    for op in ops:
        for number in (*(ref.value for ref in _refs(op)), *op.outputs):
            last[number] = id(op)
    done: dict[int, list[int]] = {}
    for number, op_id in last.items():
        if number not in kept:
            done.setdefault(op_id, []).append(number)
    return done


def _warn_of_fallback(on: bool) -> None:
    """Whether torch says that it runs an operation copy by copy."""
    if (switch := getattr(torch._C._functorch, "_set_vmap_fallback_warning_enabled", None)) is not None:
        switch(on)
