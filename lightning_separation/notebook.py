"""What a notebook shows of a record, a run or a comparison: HTML in the notebook's own colours, without scripts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from .listing import counted
from .tables import Table, printable

_MOST_ROWS = 24
_MOST_NOTES = 20
_LEFT = ' style="text-align: left"'  # notebooks align cells at the right, as numbers are


def as_html(
    title: str, about: str, table: Table, notes: Sequence[str] = (), settings: Mapping[str, Any] | None = None
) -> str:
    r"""A heading, a table and what can be unfolded below it.

    Args:
        title: What it is.
        about: What it is of, in a line.
        table: Layers by key numbers; of very many rows the first and the last are shown.
        notes: What was left out, and why.
        settings: How it was made.

    Returns:
        HTML to be put into a page; every text in it is escaped.

    Example:
        >>> as_html("Record", "epoch 3", Table(["layer", "separation"], [["a<b", "0.5"]]))[:50]
        '<div>\n<p><strong>Record</strong> epoch 3</p>\n<tabl'
    """
    parts = [f"<p><strong>{_safe(title)}</strong> {_safe(about)}</p>", _table(table)]
    if notes:
        shown = [
            *notes[:_MOST_NOTES],
            *([f"… and {len(notes) - _MOST_NOTES} more"] if len(notes) > _MOST_NOTES else []),
        ]
        parts.append(_folded(counted(len(notes), "note"), shown))
    if settings:
        parts.append(_folded("settings", [f"{name}: {_told(value)}" for name, value in settings.items()]))
    return "\n".join(["<div>", *parts, "</div>"])


def _table(table: Table) -> str:
    head = "".join(
        f'<th scope="col"{_LEFT if i == 0 else ""}>{_safe(name)}</th>' for i, name in enumerate(table.header)
    )
    rows = [_row(row) for row in table.rows]
    if (left_out := len(rows) - _MOST_ROWS) > 0:
        half = _MOST_ROWS // 2
        gap = f'<tr><td colspan="{len(table.header)}"{_LEFT}>… {left_out} of {len(rows)} rows are not shown …</td></tr>'
        rows = [*rows[:half], gap, *rows[-half:]]
    caption = f"<caption{_LEFT}>{_safe(table.caption)}</caption>" if table.caption else ""
    body = "\n".join(rows)
    return f"<table>{caption}\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>"


def _row(cells: Sequence[str]) -> str:
    name, *values = (_safe(cell) for cell in cells)
    return f'<tr><th scope="row"{_LEFT}>{name}</th>{"".join(f"<td>{value}</td>" for value in values)}</tr>'


def _folded(summary: str, lines: Sequence[str]) -> str:
    items = "".join(f"<li>{_safe(line)}</li>" for line in lines)
    return f"<details><summary>{summary}</summary><ul>{items}</ul></details>"


def _told(value: Any) -> str:
    if isinstance(value, Mapping):
        value = list(value.values())
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _safe(text: str) -> str:
    return escape(printable(text))
