"""Tables of text, and numbers and names as their cells show them."""

from __future__ import annotations

import csv
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from io import StringIO
from typing import Any

_NUMBER = re.compile(r"[+−]?\d+(\.\d+)?(e[+−]?\d+)?%?")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


@dataclass(frozen=True)
class Table:
    """Cells as text under a header, with a line of explanation above.

    Attributes:
        header: What each column holds.
        rows: Cells, as many in each row as in the header.
        caption: The explanation; may be empty.
    """

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""

    def to_markdown(self) -> str:
        """As a Markdown table."""
        lines = [self.header, ["---"] * len(self.header), *self.rows]
        cells = ["| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines]
        return "\n".join([self.caption, "", *cells] if self.caption else cells)

    def to_csv(self) -> str:
        r"""As CSV without the caption; numbers as programs read them, a dash as an empty cell.

        Example:
            >>> Table(["layer", "change"], [["fc", "−0.25"], ["fc, 2", "–"]]).to_csv()
            'layer,change\nfc,-0.25\n"fc, 2",\n'
        """
        text = StringIO()
        csv.writer(text, lineterminator="\n").writerows([self.header, *(map(_readable, row) for row in self.rows)])
        return text.getvalue()


def _readable(cell: str) -> str:
    """A cell as programs read it: those that :func:`plain` makes have a minus sign and a dash of their own."""
    if cell == "–":
        return ""
    return cell.replace("−", "-") if _NUMBER.fullmatch(cell) else cell


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


def interval(low: float, high: float) -> str:
    """A 95% interval of a difference, or a dash.

    Example:
        >>> interval(-0.01, 0.25)
        '−0.010 to +0.250'
    """
    return f"{signed(low, '.3f')} to {signed(high, '.3f')}" if math.isfinite(low) and math.isfinite(high) else "–"


def chance(p: float) -> str:
    """A p- or q-value.

    Example:
        >>> chance(0.2), chance(1e-9)
        ('0.200', '<0.001')
    """
    return "<0.001" if p < 0.001 else plain(p, ".3f")


def printable(text: str) -> str:
    r"""A text whose control characters, which a terminal would obey, are blanks.

    Example:
        >>> printable("fc\x1b[31m\n1")
        'fc [31m 1'
    """
    return _CONTROL.sub(" ", text)


def shorten(names: Iterable[str], most: int = 28) -> list[str]:
    """Names on one line, of at most ``most`` characters and no control characters; those that differ stay different.

    They are cut in the middle, and more is kept of the end, which says more in a dotted name; unless names that differ
    would then look the same: then elsewhere, or at both ends. What looks the same even so is numbered.

    Example:
        >>> shorten(["input", "model.encoder.layers.3.linear1"], most=20)
        ['input', 'model.…ers.3.linear1']
        >>> shorten(["stages.1.block.conv", "stages.2.block.conv"], most=13)
        ['stages.1.…onv', 'stages.2.…onv']
        >>> shorten(["a_wide_stage_1_of_many", "a_wide_stage_2_of_many"], most=9)
        ['…stage_1…', '…stage_2…']
    """
    names = [str(name) for name in names]
    whole = [" ".join(printable(name).split()) for name in names]
    best: list[str] = []
    for short in _cuts(whole, most):
        if len(set(short)) > len(set(best)):  # the first of the best
            best = short
        if len(set(best)) == len(set(names)):
            return best
    alike = Counter(short for _, short in set(zip(names, best, strict=True)))
    number_of = {name: f"…#{i}" for i, name in enumerate(dict.fromkeys(names), 1)}
    return [
        short if alike[short] == 1 else short[: most - len(number_of[name])] + number_of[name]
        for name, short in zip(names, best, strict=True)
    ]


def _cuts(names: Sequence[str], most: int) -> Iterator[list[str]]:
    """Ways to cut all names that are too long: in the middle, the best place first, then at both ends."""
    nearest = sorted(range(most), key=lambda head: abs(head - most // 3))
    for head in (most // 3, most // 2, 3 * most // 4, *nearest):
        rest = most - 1 - head
        yield [name if len(name) <= most else f"{name[:head]}…{name[len(name) - rest :]}" for name in names]
    for start in range(1, max(map(len, names), default=0) - most + 2):
        windows = (name[min(start, len(name) - most + 1) :][: most - 2] for name in names)
        yield [name if len(name) <= most else f"…{window}…" for name, window in zip(names, windows, strict=True)]
