"""The target of every sample of a batch, and its class."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

import torch
from torch import Tensor

TargetFn = Callable[[Any], Any]
_KEYS = ("y", "label", "labels", "target", "targets")
_MOST_OWN = 0.5  # share of samples that could be of a class of their own


NO_TARGET = "target_fn=False"
"""Why there are no classes where the user wants none."""


class NoClassesError(Exception):
    """The batch has no class for every sample; the message says why."""


def batch_target(batch: Any, target_fn: TargetFn | Literal[False] | None) -> Tensor:
    """What a batch says that the network is to predict, ``[B, ...]``.

    Args:
        batch: As the DataLoader gives it.
        target_fn: Gets the target out of the batch. None takes the key y, label(s) or target(s) of a mapping, or the
            attribute of that name, else the second element of a tuple or list; False means that there is none.

    Raises:
        NoClassesError: If there is no target.
    """
    if target_fn is False:
        raise NoClassesError(NO_TARGET)
    if target_fn is not None:
        try:
            target = target_fn(batch)
        except Exception as error:  # the user's own function
            raise NoClassesError(f"target_fn failed: {error!r}") from error
    elif (key := next((key for key in _KEYS if _has(batch, key)), None)) is not None:
        target = batch[key] if isinstance(batch, Mapping) else getattr(batch, key)
    elif isinstance(batch, tuple | list) and len(batch) > 1:
        target = batch[1]
    else:
        lacks = "no second element" if isinstance(batch, tuple | list | Tensor) else f"none of {', '.join(_KEYS)}"
        raise NoClassesError(f"the batch, a {type(batch).__name__}, has {lacks}; give target_fn=")
    try:
        return torch.as_tensor(target).detach()
    except (TypeError, ValueError, RuntimeError):
        of = f" of {type(target[0]).__name__}" if isinstance(target, tuple | list) and target else ""
        raise NoClassesError(f"the target is a {type(target).__name__}{of}, not a tensor; give target_fn=") from None


def as_labels(target: Tensor) -> Tensor:
    """Integer class labels ``[B]`` of a batch.

    Args:
        target: Integers or integral floats ``[B]`` or ``[B, 1]``, or one-hot ``[B, K]``.

    Raises:
        NoClassesError: If it is not one class for each sample.
    """
    if target.ndim == 2 and target.shape[1] == 1:
        target = target.squeeze(1)
    if target.ndim == 2 and _is_one_hot(target):
        target = target.argmax(1)
    if target.ndim != 1:
        raise NoClassesError(f"the target, of shape {tuple(target.shape)}, is not one class for each sample")
    if target.is_floating_point() or target.is_complex():
        if target.is_complex() or not bool((target.isfinite() & (target == target.round())).all()):
            raise NoClassesError("the target holds numbers that are not integers")
        target = target.long()
    return target.long() if target.dtype == torch.bool else target


def are_values(labels: Tensor, given: torch.dtype) -> bool:
    """Whether whole numbers are values to predict: they come as floats, and most samples have one of their own.

    Args:
        labels: ``[N]`` as integers.
        given: As what they came.
    """
    return given.is_floating_point and len(labels.unique()) > max(2, _MOST_OWN * len(labels))


def _has(batch: Any, key: str) -> bool:
    return key in batch if isinstance(batch, Mapping) else hasattr(batch, key)


def _is_one_hot(target: Tensor) -> bool:
    return bool(((target == 0) | (target == 1)).all()) and bool((target.sum(1) == 1).all())
