"""Bins of a histogram, for loggers that do not make their own."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_NUM_BINS = 64
_HARDLY_DIFFERENT = 1e-9  # relative; bins of numbers closer than that would have no width


def binned(values: NDArray) -> tuple[NDArray, NDArray]:
    """Counts ``[64]`` and edges ``[65]`` of bins of one width from the smallest to the largest value.

    Args:
        values: ``[n]``, finite, not empty.

    Example:
        >>> counts, edges = binned(np.array([0.0, 1.0, 1.0]))
        >>> counts[[0, -1]], edges[[0, -1]]
        (array([1, 2]), array([0., 1.]))
    """
    values = np.asarray(values, np.float64)
    low, high = values.min().item(), values.max().item()
    largest = max(abs(low), abs(high))
    if high - low <= _HARDLY_DIFFERENT * largest:
        margin = max(0.5, 1e-6 * largest)
        low, high = low - margin, high + margin
    return np.histogram(values, _NUM_BINS, (low, high))
