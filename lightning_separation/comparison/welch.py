"""Differences between groups of runs."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from .difference import Difference, student_difference


def welch_difference(x: ArrayLike, y: ArrayLike) -> Difference:
    r"""Whether two groups of replicate runs have the same mean, by Welch's t: the run is the unit.

    The error is :math:`\sqrt{v_x/n + v_y/m}` with Satterthwaite's degrees of freedom; the variances may differ. See
    ``ASSUMES["welch"]``.

    Args:
        x: ``[n]``, one number for every run of the first group.
        y: ``[m]``, the same of the second group.

    Returns:
        The difference, 0-dim each. Of two constant groups p = 1 if they are equal up to 1e-12, else 0, which says
        little, as they have no spread to test by.

    Raises:
        ValueError: For fewer than 2 runs in a group, what is not one number a run, or NaN or infinite values.

    Example:
        >>> found = welch_difference([0.82, 0.85, 0.84], [0.71, 0.74, 0.70, 0.73])
        >>> print(f"{found.effect:.3f} from {found.low:.3f} to {found.high:.3f}, p = {found.p_value:.4f}")
        0.117 from 0.084 to 0.150, p = 0.0003
    """
    groups = [np.asarray(values, dtype=np.float64) for values in (x, y)]
    for name, values in zip("xy", groups, strict=True):
        if values.ndim != 1 or len(values) < 2:
            raise ValueError(f"{name} must hold one number for each of at least 2 runs, but has shape {values.shape}")
        if not np.isfinite(values).all():
            raise ValueError(f"{name} holds NaN or infinite values")
    groups = [values - groups[0][0] for values in groups]  # equal values have variance 0 whatever they are
    sizes = np.array([len(values) for values in groups])
    errors = np.array([values.var(ddof=1) for values in groups]) / sizes
    with np.errstate(invalid="ignore"):
        freedom = errors.sum() ** 2 / (errors**2 / (sizes - 1)).sum()
    return student_difference(groups[0].mean() - groups[1].mean(), np.sqrt(errors.sum()), freedom)
