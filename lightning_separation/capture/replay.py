"""The network run once more on the sample, batch by batch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.hooks import RemovableHandle

from .layers import add_hook, add_pre_hook
from .recorder import Recorder, batch_axis, rows_of
from .restore import unchanged
from .structures import first_tensor, map_tensors

Context = Callable[[], AbstractContextManager[Any]]


class Pass(NamedTuple):
    """One batch of the sample, run again.

    Attributes:
        rows: Which samples of the snapshot these are, int64.
        input: The first tensor that the network was given; with gradients a leaf of their graph.
        output: What the network returned.
        given: For every layer asked for the first tensor that it was given.
        made: What it made of it, ``[rows, ...]``.
    """

    rows: Tensor
    input: Tensor
    output: Any
    given: dict[str, Tensor]
    made: dict[str, Tensor]


def replay(
    recorder: Recorder,
    layers: Collection[str],
    visit: Callable[[Pass], None],
    forward_context: Context,
    *,
    gradients: bool = False,
    cut: bool = False,
) -> None:
    """Run the network again and see what some layers are given and make of it.

    Args:
        recorder: After the pass.
        layers: Keys of ``recorder.order``.
        visit: Called after each batch, with gradients enabled if they are asked for.
        forward_context: In what the network runs (the Trainer's autocast).
        gradients: Whether to keep the graph back to ``Pass.input``. Parameters get no gradient as long as nobody calls
            ``backward``.
        cut: With gradients: whether the graph ends at ``Pass.made``, so that it leads from each layer no further back
            than to the layers that it is computed from.

    Raises:
        ValueError: If the step called several networks, the network was given no tensor, or, with gradients that are
            not cut, no real one.
    """
    name, network = the_network(recorder)
    with unchanged(recorder.root), ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.set_grad_enabled(gradients))
        if gradients:
            stack.enter_context(torch.backends.cudnn.flags(enabled=False))  # its recurrent nets refuse it in eval mode
        for places, calls in zip(recorder.places, recorder.calls, strict=True):
            # Cloned: tensors made in inference mode can be in no graph.
            held = map_tensors(torch.clone, tuple(calls[name]))
            first = first_tensor(list(held))
            if first is None:
                raise ValueError("the network was given no tensor")
            if gradients and not cut and not first.is_floating_point():
                raise ValueError(f"the network is given {first.dtype}: no gradient leads back to it")
            leaf = first.requires_grad_(gradients and first.is_floating_point())
            # Cloned again: a module may change in place what it is given, and a leaf must not be.
            args, kwargs = map_tensors(torch.clone, held)
            with forward_context(), _watched(recorder, layers, len(places), cut) as (given, made):
                output = network(*args, **kwargs)
            visit(Pass(places, leaf, output, given, made))


class _Communication(TorchDispatchMode):
    """Notices operations that wait for other processes."""

    noticed = False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.noticed |= func.namespace in ("c10d", "_c10d_functional", "c10d_functional")
        return func(*args, **(kwargs or {}))


def communicates(recorder: Recorder, forward_context: Context) -> bool:
    """Whether the networks wait for other processes while they run: all must ask at once, with the same first batch."""
    if recorder.refusal or not recorder.calls:
        return False
    mode = _Communication()
    with suppress(Exception), unchanged(recorder.root), forward_context(), mode:
        for name, (args, kwargs) in map_tensors(torch.clone, recorder.calls[0]).items():
            recorder.networks[name](*args, **kwargs)
    return mode.noticed


def the_network(recorder: Recorder) -> tuple[str, nn.Module]:
    """Name and module of the one network that the step calls.

    Raises:
        ValueError: If it calls several, or it cannot be run again.
    """
    if recorder.refusal:
        raise ValueError(f"the network cannot be run again: {recorder.refusal}")
    if len(recorder.networks) > 1:
        raise ValueError(f"the step calls {', '.join(recorder.networks)}: choose one by network=")
    ((name, network),) = recorder.networks.items()
    return name, network


@contextmanager
def _watched(
    recorder: Recorder, layers: Collection[str], size: int, cut: bool
) -> Iterator[tuple[dict[str, Tensor], dict[str, Tensor]]]:
    given: dict[str, Tensor] = {}
    made: dict[str, Tensor] = {}
    runs: Counter[str] = Counter()

    def watch(name: str, module: nn.Module) -> list[RemovableHandle]:
        axis = batch_axis(recorder.root, name)

        def key() -> str:
            return name if runs[name] == 1 else f"{name}#{runs[name]}"

        # Cloned: what comes after may work in place.
        def before(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            runs[name] += 1
            tensor = first_tensor([args, kwargs])
            if key() in layers and tensor is not None:
                given[key()] = (tensor.transpose(0, 1) if tensor.ndim == 3 and axis == 1 else tensor).clone()

        def after(_: nn.Module, __: Any, output: Any) -> Any:
            if key() not in layers:
                return None
            if cut and isinstance(output, Tensor):
                made[key()] = output.detach().requires_grad_()
                return made[key()].clone()
            made[key()] = rows_of(output, axis, size).clone()
            return None

        return [add_pre_hook(module, before, with_kwargs=True), add_hook(module, after)]

    handles = [
        handle for name in {recorder.order[layer] for layer in layers} for handle in watch(name, recorder.layers[name])
    ]
    try:
        yield given, made
    finally:
        for handle in handles:
            handle.remove()
