"""Numbers and lists as tables and sentences have them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .. import tables
from ..listing import counted as counted
from ..runs import Comparison
from ..tables import interval as interval
from .facts import ALPHA, num_tests

_BLOCKS = "▁▂▃▄▅▆▇█"
_WIDEST = 24


def sparkline(values: Sequence[float], width: int = _WIDEST) -> str:
    """A line of blocks on a fixed scale from 0 to 1; of more values than ``width`` an even choice with both ends.

    Example:
        >>> sparkline([-0.1, 0.0, 0.5, float("nan"), 1.0])
        '▁▁▅ █'
        >>> len(sparkline([0.5] * 300))
        24
    """
    chosen = np.asarray(values)[np.linspace(0, len(values) - 1, min(len(values), width)).round().astype(int)]
    heights = np.nan_to_num(chosen * len(_BLOCKS)).clip(0, len(_BLOCKS) - 1).astype(int)
    return "".join(_BLOCKS[height] if known else " " for height, known in zip(heights, ~np.isnan(chosen), strict=True))


def chance(p: float) -> str:
    """A p- or q-value; a star says that it is below 0.05.

    Example:
        >>> chance(0.2), chance(0.0123), chance(1e-9)
        ('0.200', '0.012 *', '<0.001 *')
    """
    return f"{tables.chance(p)} *" if p < ALPHA else tables.chance(p)


def adjusted_for(comparison: Comparison) -> str:
    """What the column q of a table has."""
    if not (num := num_tests(comparison)):
        return "there is no test."
    epochs = len(comparison.moments)
    of = "layers" if epochs == 1 else f"layers at {epochs} epochs"
    return f"p adjusted for {counted(num, 'test')} ({of}); *: below {ALPHA}."
