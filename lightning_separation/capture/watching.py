"""Seeing the calls of a module and leaving nothing of it in a compiled graph."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import nn

from .layers import add_hook, add_pre_hook

Before = Callable[[nn.Module, tuple[Any, ...], dict[str, Any]], None]
After = Callable[[nn.Module, tuple[Any, ...], Any], None]


class Handle(Protocol):
    """Ends the watching of a module."""

    def remove(self) -> None:
        """End it; harmless when it has ended."""


def watch(module: nn.Module, before: Before | None = None, after: After | None = None) -> list[Handle]:
    """Be told of every call of a module that is not part of a compiled graph.

    Args:
        module: Any; of one that is compiled in place no hook comes into its graph.
        before: ``before(module, args, kwargs)``.
        after: ``after(module, args, output)``.
    """
    if _is_compiled_in_place(module):
        return [_CompiledCall(module, before, after)]
    handles: list[Handle] = []
    if before is not None:
        handles.append(add_pre_hook(module, _unless_compiling(before), with_kwargs=True))
    if after is not None:
        handles.append(add_hook(module, _unless_compiling(after)))
    return handles


def is_compiled(module: nn.Module) -> bool:
    """Whether a compiler makes graphs of what is inside a module."""
    forward_is = hasattr(vars(module).get("forward"), "_torchdynamo_orig_callable")
    return forward_is or type(module).__name__ == "OptimizedModule" or _is_compiled_in_place(module)


def _is_compiled_in_place(module: nn.Module) -> bool:
    """Whether ``module.compile()`` was called, and the module can be."""
    if getattr(module, "_compiled_call_impl", None) is None:
        return False
    return getattr(type(module).forward, "__qualname__", "") != "LightningModule.forward"  # which only raises


def _unless_compiling(hook: Callable[..., None]) -> Callable[..., None]:
    """The hook, of which nothing comes into a graph that a compiler makes of what is around its module."""

    def seen(*args: Any) -> None:
        if not torch.compiler.is_compiling():
            hook(*args)

    return seen


class _CompiledCall:
    """Stands in front of what a module that is compiled in place runs when it is called."""

    def __init__(self, module: nn.Module, before: Before | None, after: After | None) -> None:
        self._module, self._before, self._after = module, before, after
        self._run: Callable[..., Any] = module._compiled_call_impl  # type: ignore[assignment]
        self._ended = False
        module._compiled_call_impl = self

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the module."""
        if self._before is not None and not self._ended:
            self._before(self._module, args, kwargs)
        output = self._run(*args, **kwargs)
        if self._after is not None and not self._ended:
            self._after(self._module, args, output)
        return output

    def remove(self) -> None:
        """End it; whoever stands in front of it keeps his place."""
        self._ended = True
        while isinstance(first := self._module._compiled_call_impl, _CompiledCall) and first._ended:
            self._module._compiled_call_impl = first._run
