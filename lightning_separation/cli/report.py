"""What is said of runs, in order: to print, or for a page. Imports nothing, so that text comes at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ..tables import Table

BLOCKS = "over epochs"
"""The column of sparklines."""
# May look like numbers:
_TEXTS = {"layer", "after", "hardest pair", "label", "neighbours", "class a", "class b", "since", "differs since"}


@dataclass(frozen=True)
class Section:
    """A heading with a table, or lines of text, below it."""

    heading: str
    table: Table | None = None
    lines: Sequence[str] = ()


@dataclass(frozen=True)
class Report:
    """Everything that is said.

    Attributes:
        title: Of what.
        about: Of which runs, data and epochs, in a line or two.
        conclusion: A sentence each.
        sections: What that rests on.
    """

    title: str
    about: Sequence[str]
    conclusion: Sequence[str]
    sections: Sequence[Section]


Kind = Literal["text", "number", "blocks"]


def kinds(table: Table) -> list[Kind]:
    """What each column holds: numbers are aligned at the right, blocks are never broken.

    Example:
        >>> kinds(Table(["layer", "over epochs", "loss"], [["3", "▁▂", "−0.5"], ["4", "▂▃", "–"]], ""))
        ['text', 'blocks', 'number']
    """
    return [_kind(name, [row[i] for row in table.rows]) for i, name in enumerate(table.header)]


def _kind(name: str, cells: Sequence[str]) -> Kind:
    if name == BLOCKS:
        return "blocks"
    numbers = name not in _TEXTS and all(cell[:1] in "+−–<0123456789" for cell in cells)
    return "number" if numbers else "text"
