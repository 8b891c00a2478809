"""Whether two matrices over the same classes go together."""

from __future__ import annotations

from itertools import permutations as all_orders
from math import factorial
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

_ELEMENTS = 1 << 20  # of permuted matrices held at once


class Mantel(NamedTuple):
    """Result of :func:`mantel_test`; NaN both where all pairs of x or of y are equal."""

    correlation: float
    p_value: float


def mantel_test(x: ArrayLike, y: ArrayLike, *, permutations: int = 999, seed: int = 0) -> Mantel:
    """Whether pairs of classes that are high in x are high in y: Mantel's test with Spearman's correlation.

    Pairs share classes, so the classes of y are permuted, not the pairs.

    Args:
        x: ``[K, K]``, a number for every pair of classes; only those above the diagonal are read. A class that is NaN
            with every other is left out of both matrices.
        y: The same of the same classes.
        permutations: Random orders of the classes; where there are no more than these in all, every one is used.
        seed: Of the random orders.

    Returns:
        ``correlation`` of the ranks of all pairs, and ``p_value``, one-sided for a positive one, that is
        (orders with a correlation at least as large + 1) / (permutations + 1), or their share of all orders.

    Raises:
        ValueError: For shapes other than one [K, K], fewer than 3 classes with values, or NaN for some pairs of a class
            only.

    References:
        Mantel, Cancer Research 27 (1967).

    Example:
        >>> separation = [[0, 0.2, 0.9, 0.8], [0, 0, 0.7, 0.6], [0, 0, 0, 0.3], [0, 0, 0, 0]]
        >>> confusion = [[0, 9, 0, 1], [0, 0, 2, 3], [0, 0, 0, 5], [0, 0, 0, 0]]
        >>> found = mantel_test([[-d for d in row] for row in separation], confusion)
        >>> print(f"{found.correlation:.2f}, p = {found.p_value:.3f}")  # only one of the 24 orders
        1.00, p = 0.042
    """
    x, y = (np.asarray(values, dtype=np.float64) for values in (x, y))
    if x.ndim != 2 or x.shape[0] != x.shape[1] or x.shape != y.shape:
        raise ValueError(f"x and y must be [K, K] of the same classes, but have shapes {x.shape} and {y.shape}")
    known = ~(_of_no_pair(x) | _of_no_pair(y))
    x, y = (values[np.ix_(known, known)] for values in (x, y))
    classes = len(x)
    if classes < 3:
        raise ValueError(f"the test needs at least 3 classes with values, not {classes}")
    of_x, of_y = _centred_ranks(x), _centred_ranks(y)
    spread = np.sqrt((of_x**2).sum() * (of_y**2).sum())
    if spread == 0:
        return Mantel(np.nan, np.nan)
    observed = (of_x * of_y).sum()  # multiples of 1/4: sums are exact, ties are ties
    if factorial(classes) <= permutations:
        orders, given = np.array(list(all_orders(range(classes)))), 0
    else:
        orders, given = np.tile(np.arange(classes), (permutations, 1)), 1
        np.random.default_rng(seed).permuted(orders, axis=1, out=orders)
    extreme = 0
    for part in np.array_split(orders, -(-len(orders) * classes**2 // _ELEMENTS)):
        permuted = of_y[part[:, :, None], part[:, None, :]]
        extreme += int((np.einsum("pij,ij->p", permuted, of_x) >= observed).sum())
    return Mantel(float(observed / spread), float((extreme + given) / (len(orders) + given)))


def _of_no_pair(values: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Classes that are NaN with every other."""
    missing = np.triu(np.isnan(values), 1)
    return (missing | missing.T).sum(1) == len(values) - 1


def _centred_ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Ranks of the pairs, less their mean, in a symmetric matrix with zeros on the diagonal."""
    pairs = np.triu_indices(len(values), 1)
    if np.isnan(values[pairs]).any():
        raise ValueError("x and y must be NaN for all pairs of a class or for none")
    _, place, counts = np.unique(values[pairs], return_inverse=True, return_counts=True)
    ranks = np.zeros_like(values)
    ranks[pairs] = (counts.cumsum() - (counts - 1) / 2)[place] - (len(place) + 1) / 2
    return ranks + ranks.T
