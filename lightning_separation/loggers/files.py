"""What no logger takes, as files in the folder of records."""

from __future__ import annotations

import csv
import hashlib
import io
import re
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from numpy.typing import NDArray

from ..records.storage import write_whole
from ..tables import Table
from .bins import binned

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_FORBIDDEN = re.compile(r'[<>:"/\\|?*\x00-\x1f]')  # in names of files, on some system
_LONGEST = 120  # bytes; systems take 255, and an ending, a number and a first part are added


def distinct(name: str, forbidden: re.Pattern[str] = _FORBIDDEN) -> str:
    """A name as a part of a path; a changed one ends in a number made from the whole, so that no two become one.

    Args:
        name: Any text.
        forbidden: Matches characters that become ``-``.

    Example:
        >>> distinct("net.0#2"), distinct("a/b"), distinct("a:b")
        ('net.0#2', 'a-b~c14cddc0', 'a-b~6783a31e')
    """
    clean = forbidden.sub("-", name).encode(errors="replace")
    if len(clean) <= _LONGEST and clean.decode() == name:
        return name
    return f"{clean[:_LONGEST].decode(errors='ignore')}~{hashlib.sha256(name.encode(errors='replace')).hexdigest()[:8]}"


def distinct_parts(tag: str, forbidden: re.Pattern[str] = _FORBIDDEN) -> list[str]:
    """A tag's part before its first slash and the rest, each as a part of a path."""
    return [distinct(part, forbidden) for part in tag.split("/", 1)]


class Folder:
    """Keeps figures as PNG and tables and histograms as CSV; what is of the same step is replaced.

    Args:
        path: Of the records. Files go to ``figures/``, ``tables/`` and ``histograms/`` in it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def figure(self, tag: str, draw: Callable[[], Figure], step: int) -> None:
        """Draw a figure and save it."""
        write_whole(self._file("figures", tag, step, "png"), partial(draw().savefig, format="png"))

    def table(self, tag: str, table: Table, step: int) -> None:
        """Save a table."""
        self._write("tables", tag, step, table.to_csv())

    def histograms(self, tag: str, layers: Mapping[str, NDArray], step: int) -> None:
        """Save the distributions of one quantity in all layers: a row for each bin, ``layer,low,high,count``."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["layer", "low", "high", "count"])
        for layer, values in layers.items():
            counts, edges = (made.tolist() for made in binned(values))
            writer.writerows(zip([layer] * len(counts), edges, edges[1:], counts, strict=False))
        self._write("histograms", tag, step, text.getvalue())

    def _write(self, kind: str, tag: str, step: int, text: str) -> None:
        write_whole(self._file(kind, tag, step, "csv"), lambda file: file.write(text.encode()))

    def _file(self, kind: str, tag: str, step: int, ending: str) -> Path:
        stem = "-".join(distinct_parts(tag.replace(f"_{kind}/", "/")))
        return self._path / kind / f"{stem}-step={step:08d}.{ending}"
