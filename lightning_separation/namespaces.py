"""The two names of Lightning, ``pytorch_lightning`` and ``lightning.pytorch``: classes of their own, all alike."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

_log = logging.getLogger(__name__)
_HOOKS = ("pytorch_lightning.core.", "lightning.pytorch.core.")  # where Lightning has its own
_SPEECH = "lightning_utilities.core.rank_zero"  # has the logger by which both speak: of the one imported last


@contextmanager
def _same_speech() -> Iterator[None]:
    """Whatever is imported inside, Lightning goes on to speak by the logger it has, if it is there at all."""
    before = getattr(sys.modules.get(_SPEECH), "log", None)
    try:
        yield
    finally:
        if before is not None and before.name != _SPEECH:  # else nobody has imported Lightning
            sys.modules[_SPEECH].log = before  # type: ignore[attr-defined]


with _same_speech():
    import pytorch_lightning  # noqa: F401  # here, before any other of our modules does


def _other_callback() -> Any:
    """``lightning.pytorch.Callback``; where it cannot be had, what any class has as its base."""
    try:
        with _same_speech():
            from lightning.pytorch import Callback
    except Exception:  # an install that is broken, however that is, must not break the other's
        _log.debug("lightning.pytorch is not there", exc_info=True)
        return object
    return Callback


OtherCallback = _other_callback()
"""A second base, beside ``pytorch_lightning.Callback``, for what the command lines of both are to take."""


def is_overridden(hook: str, module: nn.Module) -> bool:
    """Whether a LightningModule of either name has a hook that is not Lightning's own.

    Args:
        hook: Its name.
        module: With that hook.

    Example:
        >>> from pytorch_lightning import LightningModule
        >>> is_overridden("setup", LightningModule())
        False
    """
    return not str(getattr(getattr(module, hook), "__module__", "")).startswith(_HOOKS)
