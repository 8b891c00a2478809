"""Running parts of a network once more without leaving a trace."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn


@contextmanager
def unchanged(root: nn.Module) -> Iterator[None]:
    """Run parts of a network: no gradients, eager, and afterwards its state and that of random numbers as before.

    Of every module the buffers are put back, by value and as objects, and its other attributes, with what lists,
    dictionaries and sets among them hold; after an exception, too.
    """
    states = [_State(module) for module in root.modules()]
    with ExitStack() as stack:
        stack.enter_context(same_random_numbers())
        stack.enter_context(torch.no_grad())
        if hasattr(torch.compiler, "set_stance"):
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        try:
            yield
        finally:
            for state in states:
                state.restore()


@contextmanager
def same_random_numbers() -> Iterator[None]:
    """Python's, NumPy's and torch's random numbers go on afterwards as if nothing had been drawn."""
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002  # that of the user's code
    devices = range(torch.cuda.device_count()) if torch.cuda.is_available() else ()
    with torch.random.fork_rng(devices=devices):
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)  # noqa: NPY002


class _State:
    """What one module holds, but for its parameters and parts."""

    def __init__(self, module: nn.Module) -> None:
        self._module, self._scripted = module, isinstance(module, torch.jit.ScriptModule)
        self._attributes = {} if self._scripted else dict(module.__dict__)
        self._contents = {
            name: value.copy()
            for name, value in self._attributes.items()
            if not name.startswith("_") and isinstance(value, list | dict | set)
        }
        self._buffers = dict(module._buffers.items())
        self._values = {name: buffer.clone() for name, buffer in self._buffers.items() if buffer is not None}

    def restore(self) -> None:
        """Put it back."""
        for name, value in self._values.items():
            _put_back(self._buffers[name], value)
        if self._scripted:  # of its attributes only tensors can be reached
            return
        attributes: dict[str, Any] = self._module.__dict__
        if attributes.keys() != self._attributes.keys() or any(
            attributes[name] is not value for name, value in self._attributes.items()
        ):
            attributes.clear()
            attributes.update(self._attributes)
        for name, content in self._contents.items():
            held = attributes[name]
            if isinstance(held, list):
                held[:] = content
            else:
                held.clear()
                held.update(content)
        self._module._buffers.clear()
        self._module._buffers.update(self._buffers)


def _put_back(buffer: Tensor | None, value: Tensor) -> None:
    assert buffer is not None
    with torch.no_grad(), torch.inference_mode(buffer.is_inference()):
        if buffer.shape != value.shape:
            buffer.resize_(value.shape)
        buffer.copy_(value)
