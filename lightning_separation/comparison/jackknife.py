"""Means over pairs of classes, which are not independent: their error by leaving one class out."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtrit

from .difference import ROUNDING, Difference, student_difference

Array = NDArray[np.float64]


class JackknifeMean(NamedTuple):
    """Result of :func:`jackknife_mean`; float64 ``[...]``."""

    mean: Array
    standard_error: Array
    low: Array
    high: Array


def jackknife_mean(divergence: ArrayLike) -> JackknifeMean:
    r"""Mean over the pairs of classes with a standard error that allows for the classes that pairs share.

    With :math:`d_c` the mean over the pairs without class c, the squared error is
    :math:`\frac{K-1}{K} \sum_c (d_c - \bar d)^2`. It says how the mean would vary with other classes of the same kind.

    Args:
        divergence: ``[..., K, K]``, a number for every pair of classes; only those above the diagonal are read.

    Returns:
        ``mean``, ``standard_error`` and the ends ``low`` and ``high`` of the 95% interval by Student's t with K - 1
        degrees of freedom. NaN where a pair has none; with fewer than 3 classes there is a mean only, with one class
        not that.

    Raises:
        ValueError: If the last two axes are not equal, or empty.

    Example:
        >>> import numpy as np
        >>> found = jackknife_mean([[0, 0.1, 0.2], [0, 0, 0.6], [0, 0, 0]])
        >>> np.round(found.mean, 3), np.round(found.standard_error, 3)  # 2/3 of 0.3^2 + 0.1^2 + 0.2^2: sqrt(0.28 / 3)
        (np.float64(0.3), np.float64(0.306))
    """
    divergence = _of_pairs(divergence, "divergence")
    mean, error = _mean_and_error(divergence)
    margin = stdtrit(divergence.shape[-1] - 1, 0.975) * error
    return JackknifeMean(*(np.asarray(value) for value in (mean, error, mean - margin, mean + margin)))


def jackknife_difference(x: ArrayLike, y: ArrayLike) -> Difference:
    r"""Whether the mean over pairs of classes differs between x and y: two layers, epochs, splits or runs.

    The differences x - y of all pairs go through :func:`jackknife_mean`; the mean over its error is compared with
    Student's t with K - 1 degrees of freedom. Where nothing differs p falls below 0.05 in about 2 to 6 of 100
    comparisons, of independent samples or of the same, and in fewer the nearer separations are to their largest value.
    See ``ASSUMES["jackknife"]``.

    Args:
        x: ``[..., K, K]``, a number for every pair of classes; only those above the diagonal are read.
        y: The same of what x is compared with. Differences of up to 1e-12 are rounding and count as none.

    Returns:
        The difference, ``[...]`` each. Without any difference p = 1; with one that does not change when a class is left
        out p = 0, which says little: of three classes, whose separations are multiples of 1 / samples, up to 1 of 100
        differences are so by chance.

    Raises:
        ValueError: For fewer than 3 classes, shapes that differ, or NaN or infinite values above the diagonal.

    Example:
        >>> x = [[0, 0.5, 0.7, 0.8], [0, 0, 0.6, 0.9], [0, 0, 0, 0.7], [0, 0, 0, 0]]
        >>> y = [[0, 0.4, 0.5, 0.6], [0, 0, 0.4, 0.8], [0, 0, 0, 0.6], [0, 0, 0, 0]]
        >>> found = jackknife_difference(x, y)
        >>> print(f"{found.effect:.2f} from {found.low:.2f} to {found.high:.2f}, p = {found.p_value:.4f}")
        0.15 from 0.06 to 0.24, p = 0.0138
    """
    x, y = _of_pairs(x, "x"), _of_pairs(y, "y")
    classes = x.shape[-1]
    if x.shape != y.shape:
        raise ValueError(f"x and y must have one shape, not {x.shape} and {y.shape}")
    if classes < 3:
        raise ValueError(f"the jackknife needs at least 3 classes, not {classes}")
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise ValueError("x and y must be finite for every pair of classes; leave out the classes that are not")
    difference = x - y
    difference[np.abs(difference) <= ROUNDING] = 0
    return student_difference(*_mean_and_error(difference), classes - 1)


def _of_pairs(given: ArrayLike, name: str) -> Array:
    """Float64 with zeros on and below the diagonal."""
    values = np.asarray(given, dtype=np.float64)
    if values.ndim < 2 or values.shape[-1] != values.shape[-2] or not values.shape[-1]:
        raise ValueError(f"{name} must be [..., K, K] with at least one class, but has shape {values.shape}")
    return np.triu(values, 1)


def _mean_and_error(pairs: Array) -> tuple[Array, Array]:
    """Mean over the pairs and its standard error; NaN where there are too few."""
    classes = pairs.shape[-1]
    num_pairs = classes * (classes - 1) // 2
    total = pairs.sum((-2, -1))
    with np.errstate(divide="ignore", invalid="ignore"):
        without = (total[..., None] - pairs.sum(-1) - pairs.sum(-2)) / (num_pairs - (classes - 1))
        squares = ((without - without.mean(-1, keepdims=True)) ** 2).sum(-1)
        return total / num_pairs, np.sqrt((classes - 1) / classes * squares)
