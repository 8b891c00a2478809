"""Tensors in what networks are given and return: tuples, lists, mappings, dataclasses."""

from __future__ import annotations

from collections.abc import Callable, Mapping, MutableMapping
from copy import copy
from typing import Any

from torch import Tensor


def map_tensors(function: Callable[[Tensor], Tensor], value: Any) -> Any:
    """A copy of nested tuples, lists, mappings and dataclasses with every tensor replaced; the rest as it is."""
    if isinstance(value, Tensor):
        return function(value)
    if isinstance(value, MutableMapping):
        made: Any = copy(value)
        for key, item in value.items():
            made[key] = map_tensors(function, item)
        return made
    if isinstance(value, Mapping):
        return type(value)({key: map_tensors(function, item) for key, item in value.items()})  # type: ignore[call-arg]
    if isinstance(value, list):
        made = copy(value)
        made[:] = [map_tensors(function, item) for item in value]
        return made
    if hasattr(value, "__dataclass_fields__") and not isinstance(value, type):
        made = copy(value)
        for name in value.__dataclass_fields__:
            object.__setattr__(made, name, map_tensors(function, getattr(value, name)))  # also of frozen ones
        return made
    if isinstance(value, tuple):
        items = [map_tensors(function, item) for item in value]
        return type(value)(*items) if hasattr(value, "_fields") else tuple(items)
    return value


def all_tensors(value: Any) -> list[Tensor]:
    """Every tensor in nested tuples, lists, mappings and dataclasses, in order."""
    found: list[Tensor] = []

    def keep(tensor: Tensor) -> Tensor:
        found.append(tensor)
        return tensor

    map_tensors(keep, value)
    return found


def nbytes(value: Any) -> int:
    """Memory of all tensors in a structure; of sparse ones what they will need as features."""
    return sum(tensor.numel() * tensor.element_size() for tensor in all_tensors(value))


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


def with_first_tensor(value: Any, new: Tensor) -> Any:
    """A copy of nested containers with that tensor replaced which :func:`first_tensor` finds."""
    if isinstance(value, Tensor):
        return new
    items: dict[Any, Any]
    if isinstance(value, Mapping):
        items = dict(value)
    elif isinstance(value, tuple | list):
        items = dict(enumerate(value))
    else:
        items = {name: getattr(value, name) for name in value.__dataclass_fields__}
    key = next(key for key, item in items.items() if first_tensor(item) is not None)
    item = with_first_tensor(items[key], new)
    if isinstance(value, tuple):
        parts = [item if place == key else part for place, part in items.items()]
        return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)
    made = copy(value)
    if isinstance(made, MutableMapping | list):
        made[key] = item
    else:
        object.__setattr__(made, key, item)  # also of frozen ones
    return made


def output_tensor(returned: Any, size: int) -> Tensor:
    """The tensor that counts in what a network returned: the logits if it names them, else the first with rows.

    Args:
        returned: A tensor, tuple, list, mapping or dataclass-like output.
        size: Samples that the network was given.

    Raises:
        ValueError: If there is no floating-point tensor with one row for each sample.
    """
    logits = returned.get("logits") if isinstance(returned, Mapping) else getattr(returned, "logits", None)
    values = list(returned.values()) if isinstance(returned, Mapping) else returned
    candidates = [logits, *values] if isinstance(values, tuple | list) else [logits, values]
    for candidate in candidates:
        tensor = first_tensor(candidate)
        if tensor is not None and tensor.is_floating_point() and tensor.ndim and len(tensor) == size:
            return tensor
    raise ValueError(f"the network returns a {type(returned).__name__} without floating-point rows for {size} samples")
