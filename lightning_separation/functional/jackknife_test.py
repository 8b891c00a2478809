"""The difference of two sets of class separations."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ..comparison import jackknife_difference
from ._bins import check_tensor
from ._inputs import device_of


class JackknifeTest(NamedTuple):
    """Result of :func:`jackknife_test`, ``[...]`` float64 each."""

    statistic: Tensor
    p_value: Tensor
    low: Tensor
    high: Tensor


def jackknife_test(divergence_x: Tensor, divergence_y: Tensor) -> JackknifeTest:
    r"""Whether the mean over pairs of classes differs: of two layers, epochs, splits or runs. Two-sided.

    With :math:`d_c` the mean difference over the pairs without class c, :math:`v = \frac{K-1}{K} \sum_c (d_c - \bar
    d)^2` and the mean difference over :math:`\sqrt v` has Student's t with K - 1 degrees of freedom. Where nothing
    differs p falls below 0.05 in about 2 to 6 of 100 comparisons, of independent samples or of the same, and in fewer
    the nearer separations are to their largest value. It generalises over classes, not over seeds: two networks that
    differ by it may still differ by their seeds alone.

    Args:
        divergence_x: ``[..., K, K]``, such as the divergence of :func:`friedman_rafsky`; only what is above the
            diagonal is read.
        divergence_y: The same of the same classes. Differences of up to 1e-12 are rounding and count as none.

    Returns:
        ``statistic`` (mean of x minus mean of y), ``p_value``, and the 95% interval from ``low`` to ``high``; on the
        device of x. Without any difference p = 1; with one that does not change when a class is left out p = 0, which
        says little: of three classes up to 1 of 100 differences are so by chance.

    Raises:
        ValueError: For fewer than 3 classes, shapes that differ, or NaN or infinite values above the diagonal.

    Example:
        >>> import torch
        >>> x = torch.tensor([[0.0, 0.5, 0.7, 0.8], [0, 0, 0.6, 0.9], [0, 0, 0, 0.7], [0, 0, 0, 0]])
        >>> y = torch.tensor([[0.0, 0.4, 0.5, 0.6], [0, 0, 0.4, 0.8], [0, 0, 0, 0.6], [0, 0, 0, 0]])
        >>> found = jackknife_test(x, y)
        >>> found.statistic, found.p_value
        (tensor(0.1500, dtype=torch.float64), tensor(0.0138, dtype=torch.float64))
    """
    check_tensor(divergence_x, "divergence_x")
    check_tensor(divergence_y, "divergence_y")
    x, y = (divergence.detach().cpu().double().numpy() for divergence in (divergence_x, divergence_y))
    effect, low, high, p_value = (torch.from_numpy(value) for value in jackknife_difference(x, y))
    found = JackknifeTest(effect, p_value, low, high)
    return JackknifeTest(*(value.to(device_of(divergence_x)) for value in found))
