"""The two names of Lightning, ``pytorch_lightning`` and ``lightning.pytorch``: classes of their own, all alike."""

from __future__ import annotations

import logging
import sys
from typing import Any

import lightning_utilities.core.rank_zero as lightning_speech
from torch import nn

_log = logging.getLogger(__name__)
_NAMES = {"pytorch_lightning": "pytorch_lightning", "lightning": "lightning.pytorch"}  # by the package's
_HOOKS = tuple(f"{name}.core." for name in _NAMES.values())  # where Lightning has its own


def _other_callback() -> Any:
    """``lightning.pytorch.Callback``; where it cannot be had, what any class has as its base."""
    import pytorch_lightning  # noqa: F401  # the user may have imported neither

    first = next(package for package, loaded in sys.modules.items() if loaded and package in _NAMES)
    try:
        from lightning.pytorch import Callback
    except Exception:  # an install that is broken, however that is, must not break the other's
        _log.debug("lightning.pytorch is not there", exc_info=True)
        return object
    finally:  # or both would speak by the logger of the one that was imported last, perhaps here
        lightning_speech.log = logging.getLogger(f"{_NAMES[first]}.utilities.rank_zero")
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
