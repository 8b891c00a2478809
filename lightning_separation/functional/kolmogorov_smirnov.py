"""How far two samples of values differ in their distributions."""

from __future__ import annotations

import torch
from torch import Tensor

from ._neurons import as_units

_VALUES_AT_ONCE = 2**22


def kolmogorov_smirnov_distance(x: Tensor, y: Tensor) -> Tensor:
    """Largest distance between the distribution functions of two samples, for every unit: the two-sample statistic.

    Args:
        x: ``[m, U]`` or ``[m]``, real.
        y: ``[n, U]`` or ``[n]``, the same units.

    Returns:
        ``[U]`` float64 from 0 (the same values equally often) to 1, on the device of x; NaN for a unit with NaN or
        infinite values.

    Raises:
        ValueError: For units that differ, or what is no dense real matrix.

    Example:
        >>> kolmogorov_smirnov_distance(torch.tensor([1.0, 2.0, 3.0, 4.0]), torch.tensor([1.0, 2.0, 0.0, 0.0]))
        tensor([0.5000], dtype=torch.float64)
    """
    x, y = as_units(x, "x").T, as_units(y, "y").T
    if len(x) != len(y):
        raise ValueError(f"x has {len(x)} units, y {len(y)}")
    units_at_once = max(1, _VALUES_AT_ONCE // (x.shape[1] + y.shape[1]))
    blocks = zip(x.split(units_at_once), y.to(x.device).split(units_at_once), strict=True)
    return torch.cat([_distance(a, b) for a, b in blocks])


def _distance(x: Tensor, y: Tensor) -> Tensor:
    finite = x.isfinite().all(1) & y.isfinite().all(1)
    dtype = torch.promote_types(x.dtype, y.dtype)
    x, y = (values.to(dtype).sort(1).values.contiguous() for values in (x, y))
    places = torch.cat([x, y], 1)
    of_x, of_y = (torch.searchsorted(values, places, right=True).double() / values.shape[1] for values in (x, y))
    return (of_x - of_y).abs().amax(1).where(finite, torch.nan)
