"""A network's clean run on a batch, from which it can be run again with a layer's output changed."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ..capture.structures import map_tensors, output_tensor
from .batches import Batch, Context, running
from .outcomes import Loss, MadeBy, Readout, is_yes_or_no, readout_of
from .patching import Edit, unit_edit
from .suffix import Suffix
from .tape import Tape

_MADE_BY: dict[str, MadeBy] = {
    "sigmoid": "sigmoid", "_softmax": "softmax", "_log_softmax": "log_softmax",
    "addmm": "linear", "mm": "linear", "linear": "linear", "bmm": "linear", "convolution": "linear",
}  # fmt: skip
_KEEPS_VALUES = {
    "view", "_unsafe_view", "reshape", "squeeze", "unsqueeze", "_to_copy", "clone", "alias", "detach", "select", "t",
    "transpose", "permute", "slice", "expand",
}  # fmt: skip
# Of the largest output. On a GPU, under autocast, the same work may be summed in another order.
_CLOSE, _CLOSE_IN_HALF_PRECISION = 1e-4, 3e-2
_ELEMENTS_AT_ONCE = {"cpu": 2**19}  # of the largest tensor, so that it stays near the processor's caches
_MOST_ELEMENTS = 2**26
NUM_CLEAN_RUNS = 3
"""Runs of the whole network that one takes: to record, and one or two to check; more where branches begin apart."""


@dataclass(frozen=True)
class Copies:
    """What several changed copies of a network returned.

    Attributes:
        outputs: ``[copies, N, ...]``, the tensor that counts.
        returned: Of one copy all of it.
    """

    outputs: Tensor
    returned: Callable[[int], Any]

    @classmethod
    def joined(cls, parts: Sequence[Copies]) -> Copies:
        """The copies of all parts, in order."""
        all_copies = [(part, copy) for part in parts for copy in range(len(part.outputs))]

        def returned(place: int) -> Any:
            part, copy = all_copies[place]
            return part.returned(copy)

        return cls(torch.cat([part.outputs for part in parts]), returned)


class CleanRun:
    """A network, run once as it is on a batch, and then again and again with something changed.

    Every operation of the clean run is on a tape, so what comes behind a layer can be run again without what comes
    before. That is exact as long as the network's own code does not look at values that have changed: where it does, or
    where a run of the whole network shows that the tape does not tell all, the whole network is run each time.

    Args:
        network: In the mode in which it is to be run.
        layers: Names of ``network.named_modules()`` whose outputs will be changed.
        batch: What it is given.
        axes: By layer the axis of its output, samples first, that counts the units, where that is known.
        forward_context: In what it runs (the Trainer's autocast).

    Attributes:
        output: The tensor that counts of what it returned, ``[N, ...]``.
        returned: All of it.
        made_by: What kind of operation the output comes from, if that is known.
        axes: By layer the axis of its output, samples first, that counts the units.
        whole: By layer, why the whole network is run each time; of other layers only what comes behind.

    Raises:
        ValueError: For an unknown layer, one that did not run or has no floating-point output, or a network without
            floating-point output.
    """

    def __init__(
        self,
        network: nn.Module,
        layers: Sequence[str],
        batch: Batch,
        axes: Mapping[str, int] | None = None,
        forward_context: Context = nullcontext,
    ) -> None:
        self.axes: dict[str, int] = dict(axes or {})
        self._network, self._batch, self._forward_context = network, batch, forward_context
        self._layers = list(layers)
        self._marks: dict[str, list[int]] = {}
        unseen = self._record()
        self.output = output_tensor(self.returned, batch.size)
        if silent := [layer for layer, marks in self._marks.items() if not marks]:
            raise ValueError(f"{', '.join(silent)}: the network ran without calling it")
        self._returned: list[tuple[Tensor, int]] = []
        map_tensors(self._find, self.returned)
        self._output = self._tape.number(self.output)
        self.made_by = self._origin()
        wanted = [number for _, number in self._returned]
        self._suffixes = {layer: Suffix(self._tape, marks, wanted) for layer, marks in self._marks.items()}
        needed = set(wanted).union(*(suffix.needs for suffix in self._suffixes.values()), *self._marks.values())
        self._tape.keep_only(needed)
        self.whole = {layer: suffix.obstacle for layer, suffix in self._suffixes.items() if suffix.obstacle}
        unseen = unseen or self._differs_unwatched() or self._differs_when_changed()
        if unseen:
            self.whole = dict.fromkeys(layers, unseen)

    def readout(self, batches: Sequence[Batch], loss: Loss | None = None) -> Readout:
        """How to read the output; as plain values if that is not clear and the user has a loss.

        Args:
            batches: All that will be run, this one first.
            loss: The user's own.

        Raises:
            ValueError: If it is not clear.
        """
        try:
            readout = readout_of(self.output, batches[0].target, made_by=self.made_by)
        except ValueError:
            if loss is None:
                raise
            return Readout("values")
        others = [batch.target for batch in batches[1:] if batch.target is not None]
        if readout.class_axis is None and not all(is_yes_or_no(target) for target in others):
            return Readout("values")
        return readout

    @property
    def order(self) -> list[str]:
        """The layers, the last that runs first."""
        return sorted(self._marks, key=lambda layer: self._marks[layer][0], reverse=True)

    def sole_mark(self, layer: str) -> int | None:
        """The value that is the layer's output, if it runs once."""
        return self._marks[layer][0] if len(self._marks[layer]) == 1 else None

    def clean(self, layer: str) -> list[Tensor]:
        """What the layer put out at each of its calls, samples first."""
        return [self._suffixes[layer].clean(mark) for mark in self._marks[layer]]

    def is_output(self, layer: str) -> bool:
        """Whether the network returns what the layer puts out, or its softmax or sigmoid."""
        behind = {op.name for op in self._suffixes[layer].ops}
        return self._output in self._suffixes[layer].reached and behind <= _KEEPS_VALUES | {
            name for name, kind in _MADE_BY.items() if kind != "linear"
        }

    def nbytes(self, without: Collection[int] = ()) -> int:
        """Memory of the tape.

        Args:
            without: Addresses of tensors that do not count, such as parameters.
        """
        held = {
            value.untyped_storage().data_ptr(): value.untyped_storage()
            for value in self._tape.values
            if value is not None
        }
        return sum(storage.nbytes() for address, storage in held.items() if address not in without)

    def suffix(self, layer: str) -> Suffix | None:
        """What comes behind a layer; None if it cannot be run without the rest."""
        return None if layer in self.whole else self._suffixes[layer]

    @property
    def outputs_at_once(self) -> int:
        """Of how many copies to look at the outputs at once."""
        return self._room // max(self.output.numel(), 1) or 1

    def at_once(self, layer: str, values: Collection[int] | None = None) -> int:
        """How many copies to run at once.

        Args:
            layer: Which is changed.
            values: All that is computed for each copy; None: what comes behind the layer.
        """
        suffix = self._suffixes[layer]
        numbers = suffix.makes if values is None else suffix.makes.intersection(values)
        largest = max((suffix.clean(number).numel() for number in numbers), default=1)
        return self._room // max(largest, 1) or 1

    @property
    def _room(self) -> int:
        return _ELEMENTS_AT_ONCE.get(self.output.device.type, _MOST_ELEMENTS)

    def run(self, layer: str, edit: Callable[[Tensor, Any], Tensor], parameters: Tensor) -> Copies:
        """The network with a layer's output changed at each of its calls, once for each row of parameters.

        Args:
            layer: One of those given at first.
            edit: ``edit(output [N, ...], row)`` gives a tensor of the output's shape.
            parameters: ``[copies, ...]``.
        """
        suffix = self.suffix(layer)
        if suffix is not None:
            try:
                with self.replaying():
                    values = suffix.many(lambda row: suffix.run(lambda h: edit(h, row)), parameters)
                return self.copies(values, len(parameters))
            except torch.OutOfMemoryError:
                raise
            except Exception as error:
                self.give_up(layer, error)
        runs = [self.run_whole({layer: partial(_swapped, edit, row)}) for row in parameters]
        outputs = [output_tensor(run, self._batch.size) for run in runs]
        return Copies(torch.stack(outputs), lambda copy: runs[copy])

    def run_with(self, layer: str, outputs: Tensor) -> Copies:
        """The network with other outputs of a layer that runs once.

        Args:
            layer: One of those given at first.
            outputs: ``[copies, N, ...]``.
        """
        suffix = self.suffix(layer)
        if suffix is None or len(suffix.marks) != 1:
            return self.run(layer, lambda _, output: output, outputs)
        try:
            with self.replaying():
                return self.copies(suffix.copies({suffix.marks[0]: outputs}, suffix.ops), len(outputs))
        except torch.OutOfMemoryError:
            raise
        except Exception as error:
            self.give_up(layer, error)
            return self.run_with(layer, outputs)

    def give_up(self, layer: str, error: Exception) -> None:
        """What is on the tape cannot be run again behind a layer: from now on the whole network is."""
        self.whole[layer] = f"what comes behind it cannot be run on its own ({type(error).__name__})"

    def run_whole(self, edits: Mapping[str, Callable[[Tensor], Tensor]]) -> Any:
        """What the whole network returns with outputs of layers changed, samples first."""

        def turned(layer: str) -> Edit:
            return unit_edit(self._network, layer, lambda output, _: edits[layer](output))

        own = {layer: turned(layer) for layer in edits}
        with running(self._network, self._batch, own, self._forward_context) as (args, kwargs):
            return self._network(*args, **kwargs)

    def copies(self, values: Mapping[int, Tensor], num: int) -> Copies:
        """What copies returned of which some values were computed anew, ``[copies, ...]``; the rest is as it was."""
        numbers = {id(tensor): number for tensor, number in self._returned}

        def returned(copy: int) -> Any:
            def look_up(tensor: Tensor) -> Tensor:
                number = numbers[id(tensor)]
                return values[number][copy] if number in values else tensor

            return map_tensors(look_up, self.returned)

        outputs = values.get(self._output)
        return Copies(self.output.expand(num, *self.output.shape) if outputs is None else outputs, returned)

    @contextmanager
    def replaying(self) -> Iterator[None]:
        """Around what is run from the tape: no gradients; what autocast did is on the tape."""
        with torch.inference_mode(False), torch.no_grad(), torch.autocast(self.output.device.type, enabled=False):
            yield

    def _find(self, tensor: Tensor) -> Tensor:
        self._returned.append((tensor, self._tape.number(tensor)))
        return tensor

    def _marker(self, layer: str) -> Edit:
        def mark(output: Tensor, axis: int) -> Tensor:
            own = output.clone()
            self._tape.watch(output, own)
            self._marks[layer].append(self._tape.number(own))
            self.axes[layer] = max(self.axes.get(layer, axis), 1)  # [N] counts as [N, 1]
            return own

        return unit_edit(self._network, layer, mark)

    def _origin(self) -> MadeBy | None:
        """What kind of operation made the output."""
        makers = {number: op for op in self._tape.ops for number in op.outputs}
        number = self._output
        while number in makers and makers[number].name in _KEEPS_VALUES and makers[number].inputs:
            number = makers[number].inputs[0]
        return _MADE_BY.get(makers[number].name) if number in makers else None

    def _record(self) -> str:
        """Run the network with its layers marked; why the tape does not tell all, or nothing."""
        fused = any(isinstance(m, nn.TransformerEncoderLayer | nn.MultiheadAttention) for m in self._network.modules())
        try:
            self._run_marked(lambda tape: tape.recording(reading=not fused))
        except torch.OutOfMemoryError:
            raise
        except Exception as error:
            self._run_marked(lambda _: nullcontext())  # raises again if it is not for the recording
            return f"it cannot be recorded ({type(error).__name__})"
        return ""

    def _run_marked(self, recording: Callable[[Tape], AbstractContextManager[None]]) -> None:
        self._tape, self._marks = Tape(), {layer: [] for layer in self._layers}
        markers = {layer: self._marker(layer) for layer in self._layers}
        run = running(self._network, self._batch, markers, self._forward_context)
        with run as (args, kwargs), recording(self._tape):
            self.returned = self._network(*args, **kwargs)

    def _differs_unwatched(self) -> str:
        """Whether marking a layer changes what the network does: its output is its input, which is changed later."""
        if not self._tape.watched_changed:
            return ""
        returned = self.run_whole({})
        output = output_tensor(returned, self._batch.size)
        if _is_close(self.output, output):
            return ""
        self.returned, self.output, self._returned = returned, output, []
        return "a layer's output is its input, which is changed in place"

    def _differs_when_changed(self) -> str:
        """Whether the tape gives something else than the whole network, for changes in front of all others."""
        probed: list[str] = []
        for layer in reversed(self.order):
            mark = self._marks[layer][0]
            if layer in self.whole or any(mark in self._suffixes[other].changed for other in probed):
                continue
            probed.append(layer)
            change = partial(_each_unit_less, axis=self.axes[layer])
            with self.replaying():
                values = self._suffixes[layer].run(change)
            expected = output_tensor(self.run_whole({layer: change}), self._batch.size)
            if not _is_close(values.get(self._output, self.output), expected):
                return "its code does something that is not seen from outside"
        return ""


def tape_bytes(network: nn.Module, batch: Batch, forward_context: Context = nullcontext) -> int:
    """Memory that a clean run's tape takes for each sample; 0 if that cannot be told."""
    tape = Tape()
    try:
        with running(network, batch, {}, forward_context) as (args, kwargs), tape.recording(reading=False):
            network(*args, **kwargs)
    except torch.OutOfMemoryError:
        raise
    except Exception:  # the clean run will tell
        return 0
    return tape.nbytes // batch.size


def _each_unit_less(output: Tensor, axis: int) -> Tensor:
    """Every unit by a factor of its own, between 1/4 and 3/4; of integers those of the sample before."""
    if not output.is_floating_point():
        return output.roll(1, 0)
    golden = torch.arange(1, output.shape[axis] + 1, device=output.device) * 0.6180339887
    return output * (0.25 + 0.5 * (golden % 1)).view(-1, *(1,) * (output.ndim - axis - 1)).to(output.dtype)


def _is_close(found: Tensor, expected: Tensor) -> bool:
    """Whether two outputs are the same up to rounding; infinities and NaN in the same places."""
    if found.shape != expected.shape:
        return False
    finite = expected[expected.isfinite()]
    scale = float(finite.abs().max()) if finite.numel() else 0.0
    close = _CLOSE if expected.dtype in (torch.float32, torch.float64) else _CLOSE_IN_HALF_PRECISION
    return torch.allclose(found, expected, rtol=close, atol=close * scale, equal_nan=True)


def _swapped(edit: Callable[[Tensor, Any], Tensor], row: Any, output: Tensor) -> Tensor:
    return edit(output, row)
