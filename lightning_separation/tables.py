"""Tables of text, and numbers as their cells show them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Table:
    """Cells as text under a header, with a line of explanation above."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""

    def to_markdown(self) -> str:
        """As a Markdown table."""
        lines = [self.header, ["---"] * len(self.header), *self.rows]
        cells = ["| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines]
        return "\n".join([self.caption, "", *cells] if self.caption else cells)


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
        >>> signed(0.25), signed(-0.25), signed(4e-9), signed(0.0), signed(float("nan"))
        ('+0.25', '−0.25', '+4e−09', '0', '–')
    """
    text = plain(value, digits)
    return f"+{text}" if float(value) > 0 and text != plain(0.0, digits) and text != "–" else text


def percent(share: Any, digits: str = ".1f") -> str:
    """A share of one.

    Example:
        >>> percent(0.913), percent(float("nan"))
        ('91.3%', '–')
    """
    text = plain(100 * float(share), digits)
    return text if text == "–" else f"{text}%"
