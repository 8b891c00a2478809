"""Numbers as the cells of a table show them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray


def number(values: Mapping[str, NDArray], quantity: str) -> float:
    """A number of a layer; NaN if it has none."""
    return values[quantity].item() if quantity in values else math.nan


def plain(value: Any, digits: str = ".3g") -> str:
    """A number, or a dash for none.

    Example:
        >>> plain(-0.25), plain(float("nan")), plain(-0.001, ".1f")
        ('−0.25', '–', '0.0')
    """
    number = float(value)
    if not math.isfinite(number):
        return "–"
    text = format(number, digits)
    return (text if float(text) else text.lstrip("-")).replace("-", "−")


def signed(value: Any, digits: str = ".3g") -> str:
    """A change, whose sign is always there.

    Example:
        >>> signed(0.25), signed(-0.25), signed(0.0), signed(float("nan"))
        ('+0.25', '−0.25', '0', '–')
    """
    text = plain(value, digits)
    return f"+{text}" if text != "–" and float(text.replace("−", "-")) > 0 else text


def percent(share: Any, digits: str = ".1f") -> str:
    """A share of one.

    Example:
        >>> percent(0.913), percent(float("nan"))
        ('91.3%', '–')
    """
    text = plain(100 * float(share), digits)
    return text if text == "–" else f"{text}%"
