"""Hooks on a network while it runs, and the rows that they keep."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from .buffers import Pooling, RowBuffer
from .layers import ancestors, is_helper
from .planning import with_room
from .recognition import excerpt, weights_sizes
from .structures import first_tensor, map_tensors, nbytes
from .watching import Handle, is_compiled, watch


class Report(Protocol):
    """Told of what is left out, and why; may raise unless ``harmless``."""

    def __call__(self, subject: str, reason: str, *, harmless: bool = False) -> None:
        """Report."""


class NoRowsError(ValueError):
    """What a layer makes is not of the samples, as embeddings of positions are: nothing is wrong with it."""


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
        keep_calls: Whether to keep what the networks were called with.
        wrapped: Whether the step itself is run as a call of ``root`` (as around a wrapper for several processes).
        report: Told of layers that cannot be kept.

    Attributes:
        networks: As found.
        order: For every layer that ran its module's name, in order of execution.
        buffers: The rows of the layers that are held.
        calls: For every batch with rows what each network was called with.
        weights: The sizes of all parameters while the first batch ran, to know them again.
        outputs: For every batch with rows a part of what each network returned, to know it again.
        call_bytes: Memory that ``calls`` hold.
        incomplete: Layers that ran for so many of so many rows only.
        refusal: Why the networks cannot be run again; empty: they can.
        places: For every batch with rows which of the sample's they are, int64.
        failed: Layers that cannot be kept, and were reported.
        row_bytes: Bytes of one row of each layer.
        num_axes: Axes of each layer's output, samples included.
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
        keep_calls: bool = True,
        wrapped: bool = False,
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
        self.outputs: list[dict[str, Tensor]] = []
        self.weights = torch.zeros(0)
        self.call_bytes = 0
        self.refusal = ""
        self.incomplete: dict[str, tuple[int, int]] = {}
        self.places: list[Tensor] = []
        self.row_bytes: dict[str, int] = {}
        self.num_axes: dict[str, int] = {}
        self.failed: set[str] = set()
        self._find_networks = networks is None
        self._expected = expected
        self._skip = set(skip)
        self._keep_calls = keep_calls
        self._wrapped, self._in_step = wrapped, True
        self.report = report
        self._handles: list[Handle] = []
        self._finders: list[Handle] = []
        self._rows: Tensor | None = None
        self._size = 0
        self._depth = 0  # of calls of networks within each other
        self._open: str | None = None  # the network that is running its first call of this batch
        self._runs: Counter[str] = Counter()

    @property
    def awaits(self) -> bool:
        """Whether a batch with rows has begun."""
        return self._rows is not None

    def attach(self, everywhere: bool = False) -> None:
        """Register the hooks; ``everywhere`` also where one changes how the layer computes."""
        for name, module in self.layers.items():
            if everywhere or not changes_when_hooked(self.root, name):
                self._handles += watch(module, after=self._keeper(name))
        if self._find_networks:
            for name, module in self.root.named_modules():
                if not is_helper(self.root, name) and (everywhere or not changes_when_hooked(self.root, name)):
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

    @property
    def num_rows(self) -> int:
        """Rows so far."""
        return sum(map(len, self.places))

    @property
    def num_called(self) -> int:
        """Those of them for which the step called a network."""
        return sum(len(places) for places, calls in zip(self.places, self.calls, strict=True) if calls)

    def begin_batch(self, rows: Tensor, size: int) -> None:
        """A batch is about to run.

        Args:
            rows: The rows to keep, int64.
            size: Samples in the batch.
        """
        self._rows = rows if len(rows) else None
        self._size, self._depth, self._open = size, 0, None
        self._in_step = not self._wrapped
        self._runs.clear()
        if self._rows is not None:
            self.calls.append({})
            self.outputs.append({})
            self.places.append(torch.arange(len(rows)) + self.num_rows)

    def end_batch(self) -> None:
        """The batch has run."""
        if self._rows is None:
            return
        self._rows = None
        if len(self.outputs) == 1 and self._keep_calls:
            self.weights = weights_sizes(self.root)  # now that lazy modules have theirs
        if self._find_networks and self.networks:
            for handle in self._finders:
                handle.remove()
            self._finders, self._find_networks = [], False
            self._keep_outermost()
            for name, module in self.networks.items():
                self._handles += self._watch(name, module)

    def drop_incomplete(self) -> None:
        """The pass is over: layers that did not run for each row are dropped."""
        for key, buffer in list(self.buffers.items()):
            if len(buffer.rows) != self.num_rows:
                if len(buffer.rows) != self.num_called:  # else that is said of the network
                    self.incomplete[key] = len(buffer.rows), self.num_rows
                self._drop(key)
                self.failed.add(key)

    def tell_incomplete(self) -> None:
        """Report the layers that did not run for each row."""
        for key, (ran, rows) in self.incomplete.items():
            self.report(key, f"it ran for {ran} of {rows} samples only")

    def keep_within_budget(self) -> None:
        """Drop the largest layers until what is held takes no more memory than it may."""
        sizes = {key: buffer.nbytes for key, buffer in self.buffers.items()}
        for key in sizes.keys() - with_room(sizes, self.budget - self.call_bytes):
            self._drop(key)

    def _keep_outermost(self) -> None:
        """Of networks inside one another that the step calls, the outermost counts."""
        inside = [
            name for name in self.networks if any(m in self.networks.values() for m in ancestors(self.root, name)[:-1])
        ]
        for name in inside:
            del self.networks[name]
            self.outputs[-1].pop(name, None)
            self.call_bytes -= nbytes(self.calls[-1].pop(name))
        if inside:  # which of them made what the layers kept is not known: they are computed again
            self.detach()
            for kept in (self.order, self.buffers, self.row_bytes, self.num_axes):
                kept.clear()

    def _watch(self, name: str, module: nn.Module) -> list[Handle]:
        def enter(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            if self._rows is None:
                return
            if module is self.root and not self._in_step:
                self._in_step = True
                return
            # What has no parameters and is given several things behind a network is a loss of the user's own.
            found_before = self._find_networks and bool(self.networks) and name not in self.networks
            judges = found_before and len(args) + len(kwargs) > 1 and next(module.parameters(), None) is None
            if self._depth == 0 and name not in self.calls[-1] and not judges:
                self._open = name
                self.networks[name] = module
                call = Call((), {})
                if self._keep_calls:
                    try:
                        call = Call(*take_rows((args, kwargs), self._rows, self._size))
                    except Exception as error:  # as in keep
                        self.report(name, f"what it was given could not be kept: {error!r}")
                self.calls[-1][name] = call
                self.call_bytes += nbytes(call)
            self._depth += 1

        def leave(_: nn.Module, __: Any, output: Any) -> None:
            if self._rows is None or self._depth == 0:  # of the step
                return
            self._depth -= 1
            if self._depth == 0:
                if self._open == name and self._keep_calls:
                    self.outputs[-1][name] = excerpt(output, self._size, self._rows)
                self._open = None

        return watch(module, enter, leave)

    def _keeper(self, name: str) -> Callable[..., None]:
        axis = batch_axis(self.root, name)

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
                self._keep(key, rows_of(output, axis, self._size), rows)
            except Exception as error:  # whatever it is, it must not end the user's validation
                self._drop(key)
                self.failed.add(key)
                self.report(key, str(error), harmless=isinstance(error, NoRowsError))

        return keep

    def _keep(self, key: str, output: Tensor, rows: Tensor) -> None:
        if key not in self.buffers:
            self.buffers[key] = RowBuffer(max(self._expected, len(rows)), self.pooling)
        buffer = self.buffers[key]
        buffer.append(output.detach().index_select(0, rows.to(output.device)))
        self.row_bytes[key] = buffer.row_bytes
        self.num_axes[key] = output.ndim
        self.keep_within_budget()

    def _drop(self, key: str) -> None:
        self._skip.add(key)
        self.buffers.pop(key, None)


def changes_when_hooked(root: nn.Module, name: str) -> bool:
    """Whether a hook on the module would change how it computes.

    A fused ``nn.TransformerEncoderLayer`` takes another way if one of its parts has a hook; a compiled graph is
    compiled again, the hook with it.
    """
    *around, module = ancestors(root, name)
    return any(isinstance(m, nn.TransformerEncoderLayer) for m in (*around, module)) or any(map(is_compiled, around))


def take_rows(value: Any, rows: Tensor, size: int) -> Any:
    """The given rows of every tensor in a structure that has ``size`` of them; the rest as it is."""

    def take(tensor: Tensor) -> Tensor:
        has_rows = tensor.ndim > 0 and len(tensor) == size
        return _rows(tensor.detach(), rows.to(tensor.device)) if has_rows else tensor

    return map_tensors(take, value)


def _rows(tensor: Tensor, rows: Tensor) -> Tensor:
    if tensor.layout in (torch.strided, torch.sparse_coo):
        return tensor.index_select(0, rows)
    return tensor.to_sparse_coo().index_select(0, rows).to_sparse(layout=tensor.layout)


def batch_axis(root: nn.Module, name: str) -> int:
    """Where a module has its samples: 1 in modules whose sequences come first, and in their parts."""
    for module in ancestors(root, name):
        if isinstance(module, nn.TransformerEncoder | nn.TransformerDecoder):
            module = module.layers[0]
        if isinstance(module, nn.TransformerEncoderLayer | nn.TransformerDecoderLayer):
            module = module.self_attn
        if isinstance(module, nn.RNNBase | nn.MultiheadAttention) and not module.batch_first:
            return 1
    return 0


def rows_of(output: Any, axis: int, size: int) -> Tensor:
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
        raise NoRowsError(f"its output has shape {tuple(tensor.shape)}, not one row for each of the {size} samples")
    if tensor.ndim > 1 and tensor[0].numel() == 0:
        raise ValueError(f"its output has shape {tuple(tensor.shape)}: no units")
    return tensor
