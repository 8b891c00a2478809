"""Many tests at once."""

from __future__ import annotations

import torch
from torch import Tensor

from ._inputs import device_of


def false_discovery_control(p: Tensor) -> Tensor:
    r"""Benjamini-Hochberg adjusted p-values: of all tests with q below alpha, at most alpha are expected to be false.

    :math:`q_{(i)} = \min_{j \ge i} \min(1, p_{(j)} M / j)` over the M values that are not NaN. This holds for
    independent tests and for those with positive dependence.

    Args:
        p: ``[M]`` p-values in [0, 1]; NaN are no tests.

    Returns:
        q, ``[M]`` float64 on the device of p; NaN where p is.

    Raises:
        ValueError: If p is not a vector of real numbers in [0, 1].

    References:
        Benjamini & Hochberg, Journal of the Royal Statistical Society B 57 (1995).

    Example:
        >>> import torch
        >>> false_discovery_control(torch.tensor([0.01, 0.04, float("nan"), 0.03]))
        tensor([0.0300, 0.0400,    nan, 0.0400], dtype=torch.float64)
    """
    device = device_of(p)
    if p.ndim != 1 or p.is_complex() or p.layout != torch.strided:
        raise ValueError(f"p must be a vector of real numbers, not {p.dtype} of shape {tuple(p.shape)}")
    p = p.detach().to(device).double()
    if bool(((p < 0) | (p > 1)).any()):
        raise ValueError("p must lie in [0, 1]")
    tests = ~p.isnan()
    ascending, order = p[tests].sort()
    count = len(order)
    bound = ascending * count / torch.arange(1, count + 1, dtype=torch.float64, device=device)
    least = bound.flip(0).cummin(0).values.flip(0) if count else bound
    q = torch.full_like(p, torch.nan)
    q[tests] = torch.empty_like(bound).scatter_(0, order, least.clamp(max=1))
    return q
