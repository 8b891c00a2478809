"""Findings for other programs: JSON and CSV."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterable, Sequence
from io import StringIO
from typing import Any


def to_json(found: Any) -> str:
    r"""Any findings; NaN and infinity as null, named tuples as objects.

    Example:
        >>> to_json({"q": float("nan"), "layers": ("a",)})
        '{\n "q": null,\n "layers": [\n  "a"\n ]\n}'
    """
    return json.dumps(_plain(found), indent=1, ensure_ascii=False, allow_nan=False)


def to_csv(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    r"""Rows under a header; NaN and None as empty cells.

    Example:
        >>> to_csv(["layer", "q"], [["fc", float("nan")]])
        'layer,q\nfc,\n'
    """
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows([_plain(cell) for cell in row] for row in rows)
    return text.getvalue()


def _plain(found: Any) -> Any:
    if isinstance(found, float):
        return found if math.isfinite(found) else None
    if isinstance(found, dict):
        return {key: _plain(value) for key, value in found.items()}
    if isinstance(found, (list, tuple)):
        items = zip(found._fields, found, strict=True) if hasattr(found, "_fields") else None
        return {key: _plain(value) for key, value in items} if items else [_plain(value) for value in found]
    return found
