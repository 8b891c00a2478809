"""Checks of settings."""

from __future__ import annotations

from collections.abc import Collection
from numbers import Integral, Real
from typing import Any


def check_choice(name: str, value: Any, choices: Collection[Any]) -> None:
    """Raise ValueError unless the value is one of the choices."""
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}, not {value!r}")


def check_positive(**values: int) -> None:
    """Raise ValueError unless each value is a positive integer."""
    for name, value in values.items():
        if not isinstance(value, Integral) or isinstance(value, bool) or value < 1:
            raise ValueError(f"{name} must be a positive integer, not {value!r}")


def check_number(name: str, value: float, low: float = float("-inf"), high: float = float("inf")) -> None:
    """Raise ValueError unless the value is a number between two others, neither included."""
    if not isinstance(value, Real) or isinstance(value, bool) or not low < value < high:
        raise ValueError(f"{name} must be a number above {low} and below {high}, not {value!r}")


def check_share(name: str, value: float) -> None:
    """Raise ValueError unless the value is above 0 and at most 1."""
    if isinstance(value, bool) or not isinstance(value, Real) or not 0 < value <= 1:
        raise ValueError(f"{name} must be above 0 and at most 1, not {value!r}")
