"""A difference of two means, how sure it is, and what that assumes."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtr, stdtrit  # scipy.stats takes seconds to import

ROUNDING = 1e-12  # separations are of order 1: what differs by no more is the same

ASSUMES = {
    "jackknife": (
        "The classes count as a sample of classes and the answer is about further classes, not about further seeds: "
        "two runs that differ by it may still differ by their seeds alone. Where nothing differs, p falls below 0.05 "
        "in about 2 to 6 of 100 comparisons, and in fewer the nearer separations are to their largest value."
    ),
    "fisher": (
        "Pairs of classes count as independent, which they are not, as pairs share classes: where nothing differs, "
        "p falls below 0.05 in up to 36 of 100 comparisons of 10 classes."
    ),
    "welch": (
        "The runs of each side count as independent runs of one kind with normally distributed means: the answer is "
        "about further runs on these classes and samples, not about further classes."
    ),
}


class Difference(NamedTuple):
    """A difference of means: float64 arrays of one shape, 0-dim for a single difference.

    ``effect`` is the mean of x minus that of y, ``low`` and ``high`` its 95% interval, ``p_value`` is two-sided.
    """

    effect: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    p_value: NDArray[np.float64]


def student_difference(effect: ArrayLike, error: ArrayLike, freedom: ArrayLike) -> Difference:
    """The difference that an effect and its standard error make, if their ratio has Student's distribution.

    Effects and errors of up to 1e-12 are rounding and count as none. Without error p = 0, or 1 where there is no effect
    either.

    Args:
        effect: ``[...]``.
        error: Standard error, ``[...]``.
        freedom: Degrees of freedom, ``[...]``; of no matter where there is no error.
    """
    effect, error = (np.where(np.abs(value) <= ROUNDING, 0.0, value) for value in (effect, error))
    certain = error == 0
    t = np.abs(effect) / np.where(certain, 1, error)
    p_value = np.where(certain, effect == 0, 2 * stdtr(freedom, -t))
    margin = np.where(certain, 0, stdtrit(freedom, 0.975) * error)
    return Difference(*(np.asarray(value) for value in (effect, effect - margin, effect + margin, p_value)))
