"""Bounds of the Bayes error from Henze-Penrose divergences."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class BayesErrorBounds(NamedTuple):
    """Result of :func:`bayes_error_bounds`; K classes, float64."""

    lower: Tensor
    upper: Tensor
    total_lower: Tensor
    total_upper: Tensor


def bayes_error_bounds(divergence: Tensor, counts: Tensor) -> BayesErrorBounds:
    r"""Bounds of the error that the best possible classifier makes, for every pair of classes and for all together.

    With p and q the shares of the two classes in a pair, :math:`u = 4 p q D + (p - q)^2` clipped to [0, 1]:
    :math:`\frac12 - \frac12\sqrt{u} \le \epsilon \le \frac12 - \frac12 u`, both at most min(p, q). For all classes with
    shares :math:`p_i`: :math:`\frac2K \sum_{i<j} (p_i + p_j) l_{ij} \le \epsilon \le \sum_{i<j} (p_i + p_j) u_{ij}`,
    both at most 1 - max p. The shares are those of the sample: a class-balanced sample bounds the error under equal
    priors, not under those of the data that it was drawn from.

    Args:
        divergence: ``[K, K]`` Henze-Penrose divergences, symmetric.
        counts: ``[K]`` samples (or weights) of each class, positive.

    Returns:
        ``lower`` and ``upper``, ``[K, K]`` with zero diagonal, and the scalars ``total_lower`` and ``total_upper``;
        float64 on the divergence's device.

    Raises:
        ValueError: If shapes do not fit or a count is not positive.

    References:
        Berisha, Wisler, Hero & Spanias, IEEE Transactions on Signal Processing 64 (2016).

    Example:
        >>> import torch
        >>> bounds = bayes_error_bounds(torch.tensor([[0.0, 0.64], [0.64, 0.0]]), torch.tensor([50, 50]))
        >>> round(bounds.total_lower.item(), 6), round(bounds.total_upper.item(), 6)  # 1/2 - 0.8/2, 1/2 - 0.64/2
        (0.1, 0.18)
    """
    counts = torch.as_tensor(counts, dtype=torch.float64, device=divergence.device)
    num = len(counts) if counts.ndim == 1 else -1
    if divergence.shape != (num, num):
        raise ValueError(
            f"divergence must be [K, K] and counts [K], not {tuple(divergence.shape)} and {tuple(counts.shape)}"
        )
    if not bool((counts > 0).all()):
        raise ValueError(f"counts must be positive, not {counts.tolist()}")
    off = ~torch.eye(num, dtype=torch.bool, device=divergence.device)
    share = counts[:, None] / (counts[:, None] + counts)
    u = (4 * share * share.T * divergence.double() + (share - share.T) ** 2).clamp(0, 1)
    most = torch.minimum(share, share.T)
    lower = torch.minimum(0.5 - u.sqrt() / 2, most).where(off, 0)
    upper = torch.minimum(0.5 - u / 2, most).where(off, 0)
    prior = counts / counts.sum()
    weight = (prior[:, None] + prior).triu(1)
    most_in_all = 1 - prior.max()
    return BayesErrorBounds(
        lower,
        upper,
        torch.minimum(2 / num * (weight * lower).sum(), most_in_all),
        torch.minimum((weight * upper).sum(), most_in_all),
    )
