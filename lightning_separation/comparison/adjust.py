"""Many comparisons at once."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def adjusted(p: ArrayLike) -> NDArray[np.float64]:
    """Benjamini-Hochberg adjusted p-values: of all comparisons with q below alpha, at most alpha are expected false.

    Args:
        p: ``[...]`` p-values, such as layers by epochs; NaN are no comparisons.

    Returns:
        q, ``[...]`` float64; NaN where p is.

    Raises:
        ValueError: For p outside [0, 1].

    References:
        Benjamini & Hochberg, Journal of the Royal Statistical Society B 57 (1995).

    Example:
        >>> adjusted([[0.01, 0.04], [float("nan"), 0.03]])
        array([[0.03, 0.04],
               [ nan, 0.04]])
    """
    from scipy.stats import false_discovery_control  # takes seconds to import

    q = np.array(p, dtype=np.float64)
    tests = ~np.isnan(q)
    q[tests] = false_discovery_control(q[tests])
    return q
