"""Hooks on a network while it runs, and the rows that they keep."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from .buffers import Pooling, RowBuffer
from .layers import is_helper

Report = Callable[[str, str], None]
"""Called with a layer's name and the reason why it is left out."""


class Call(NamedTuple):
    """What a network was called with, cut down to the rows of the sample."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]


class Recorder:
    """Keeps the sample's rows of what chosen layers compute, and of what the networks around them are given.

    A layer that runs several times in one call of its network counts as several: ``relu``, ``relu#2``. Of a network
    that is called several times in one step, the first call counts.

    Args:
        root: The module that names the layers.
        layers: The chosen modules by name.
        networks: The modules whose calls count, by name; None finds them in the first batch: the outermost modules that
            the step calls.
        pooling: For layers whose rows differ in length.
        budget: Bytes that may be held. Above it the largest layers are dropped.
        expected: Rows that will come, if known; else 0.
        skip: Layers not to keep; they only get their place in the order.
        report: Told of layers that cannot be kept.

    Attributes:
        networks: As found.
        order: For every layer that ran its module's name, in order of execution.
        buffers: The rows of the layers that are held.
        calls: For every batch with rows what each network was called with.
        batch_rows: For every batch with rows their number.
        row_bytes: Bytes of one row of each layer.
    """

    def __init__(
        self,
        root: nn.Module,
        layers: Mapping[str, nn.Module],
        networks: Mapping[str, nn.Module] | None,
        *,
        pooling: Pooling,
        budget: int,
        expected: int = 0,
        skip: frozenset[str] = frozenset(),
        report: Report,
    ) -> None:
        self.root = root
        self.layers = dict(layers)
        self.networks = dict(networks or {})
        self.pooling = pooling
        self.budget = budget
        self.order: dict[str, str] = {}
        self.buffers: dict[str, RowBuffer] = {}
        self.calls: list[dict[str, Call]] = []
        self.batch_rows: list[int] = []
        self.row_bytes: dict[str, int] = {}
        self._find_networks = networks is None
        self._expected = expected
        self._skip = set(skip)
        self._report = report
        self._handles: list[RemovableHandle] = []
        self._finders: list[RemovableHandle] = []
        self._rows: Tensor | None = None
        self._size = 0
        self._depth = 0
        self._open: str | None = None  # the network that is running its first call of this batch
        self._runs: Counter[str] = Counter()

    @property
    def unhooked(self) -> list[str]:
        """Chosen layers that are not hooked, because that would change what they compute."""
        return [name for name in self.layers if changes_when_hooked(self.root, name)]

    def attach(self, everywhere: bool = False) -> None:
        """Register the hooks; ``everywhere`` also where one changes how the layer computes."""
        left_out = set() if everywhere else set(self.unhooked)
        for name, module in self.layers.items():
            if name not in left_out:
                self._handles.append(module.register_forward_hook(self._keeper(name)))
        if self._find_networks:
            for name, module in self.root.named_modules():
                if not is_helper(self.root, name) and not changes_when_hooked(self.root, name):
                    self._finders += self._watch(name, module)
        else:
            for name, module in self.networks.items():
                self._handles += self._watch(name, module)

    def detach(self) -> None:
        """Remove every hook; harmless when there is none."""
        for handle in (*self._handles, *self._finders):
            handle.remove()
        self._handles, self._finders = [], []
        self._rows = None

    def begin_batch(self, rows: Tensor, size: int) -> None:
        """A batch is about to run.

        Args:
            rows: The rows to keep, int64.
            size: Samples in the batch.
        """
        self._rows = rows if len(rows) else None
        self._size, self._depth, self._open = size, 0, None
        self._runs.clear()
        if self._rows is not None:
            self.calls.append({})
            self.batch_rows.append(len(rows))

    def end_batch(self) -> None:
        """The batch has run."""
        if self._rows is None:
            return
        self._rows = None
        if self._find_networks and self.networks:
            for handle in self._finders:
                handle.remove()
            self._finders, self._find_networks = [], False
            for name, module in self.networks.items():
                self._handles += self._watch(name, module)

    def _watch(self, name: str, module: nn.Module) -> list[RemovableHandle]:
        def enter(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            if self._rows is None:
                return
            if self._depth == 0 and name not in self.calls[-1]:
                self._open = name
                self.networks[name] = module
                self.calls[-1][name] = Call(*_take_rows((args, kwargs), self._rows, self._size))
            self._depth += 1

        def leave(*_: Any) -> None:
            if self._rows is None:
                return
            self._depth -= 1
            if self._depth == 0:
                self._open = None

        return [module.register_forward_pre_hook(enter, with_kwargs=True), module.register_forward_hook(leave)]

    def _keeper(self, name: str) -> Callable[..., None]:
        def keep(module: nn.Module, _: Any, output: Any) -> None:
            rows = self._rows
            if rows is None or self._open is None:
                return
            self._runs[name] += 1
            key = name if self._runs[name] == 1 else f"{name}#{self._runs[name]}"
            self.order.setdefault(key, name)
            if key in self._skip:
                return
            try:
                self._keep(key, _rows_of(output, _batch_axis(module), self._size), rows)
            except ValueError as error:
                self._drop(key)
                self._report(key, str(error))

        return keep

    def _keep(self, key: str, output: Tensor, rows: Tensor) -> None:
        if key not in self.buffers:
            self.buffers[key] = RowBuffer(max(self._expected, len(rows)), self.pooling)
        buffer = self.buffers[key]
        buffer.append(output.detach().index_select(0, rows.to(output.device)))
        self.row_bytes[key] = buffer.row_bytes
        while sum(buffer.nbytes for buffer in self.buffers.values()) > self.budget:
            self._drop(max(self.buffers, key=lambda key: self.buffers[key].nbytes))

    def _drop(self, key: str) -> None:
        self._skip.add(key)
        self.buffers.pop(key, None)


def changes_when_hooked(root: nn.Module, name: str) -> bool:
    """Whether a hook on the module makes it compute in another way: parts of a fused ``nn.TransformerEncoderLayer``."""
    ends = [dot for dot, char in enumerate(name) if char == "."] + [len(name)]
    return any(isinstance(root.get_submodule(name[:end]), nn.TransformerEncoderLayer) for end in ends)


def _take_rows(value: Any, rows: Tensor, size: int) -> Any:
    """The given rows of every tensor in a structure that has ``size`` of them; the rest as it is."""
    if isinstance(value, Tensor):
        has_rows = value.ndim > 0 and len(value) == size
        return value.detach().index_select(0, rows.to(value.device)) if has_rows else value
    make: Any = type(value)
    if isinstance(value, Mapping):
        return make({key: _take_rows(item, rows, size) for key, item in value.items()})
    if isinstance(value, tuple | list):
        items = [_take_rows(item, rows, size) for item in value]
        return make(*items) if hasattr(value, "_fields") else make(items)
    return value


def first_tensor(value: Any) -> Tensor | None:
    """The first tensor in nested tuples, lists, mappings and dataclass-like outputs."""
    if isinstance(value, Tensor):
        return value
    if isinstance(value, Mapping):
        value = list(value.values())
    elif hasattr(value, "__dataclass_fields__"):
        value = [getattr(value, name) for name in value.__dataclass_fields__]
    if isinstance(value, tuple | list):
        return next((tensor for tensor in map(first_tensor, value) if tensor is not None), None)
    return None


def _batch_axis(module: nn.Module) -> int:
    return 1 if isinstance(module, nn.RNNBase) and not module.batch_first else 0


def _rows_of(output: Any, axis: int, size: int) -> Tensor:
    """A dense real tensor with one row for each sample.

    Raises:
        ValueError: If the output is, or holds first, something else.
    """
    tensor = first_tensor(output)
    if tensor is None:
        raise ValueError(f"its output, a {type(output).__name__}, holds no tensor")
    if tensor.is_nested or tensor.layout != torch.strided or tensor.is_complex():
        kind = "nested" if tensor.is_nested else f"{tensor.layout} {tensor.dtype}"
        raise ValueError(f"its output is a {kind} tensor; only dense real ones can be compared")
    if tensor.ndim == 3 and axis == 1:
        tensor = tensor.transpose(0, 1)
    if tensor.ndim == 0 or len(tensor) != size:
        raise ValueError(f"its output has shape {tuple(tensor.shape)}, not one row for each of the {size} samples")
    if tensor.ndim > 1 and tensor[0].numel() == 0:
        raise ValueError(f"its output has shape {tuple(tensor.shape)}: no units")
    return tensor
