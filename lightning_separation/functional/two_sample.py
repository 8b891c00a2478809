"""Tests of two samples."""

from __future__ import annotations

from scipy.special import ndtr, stdtr
from torch import Tensor

from ._inputs import full_precision
from ._neurons import NeuronSample, SignificanceTest, sample_of_two, special


def welch_t_test(x: Tensor, y: Tensor) -> SignificanceTest:
    r"""Welch's t-test of every unit: have x and y the same mean? Two-sided; the variances may differ.

    :math:`t = (\bar x - \bar y) / \sqrt{v_x/m + v_y/n}` with Satterthwaite's degrees of freedom, :math:`(v_x/m +
    v_y/n)^2 / [(v_x/m)^2/(m-1) + (v_y/n)^2/(n-1)]`. Two constant samples: NaN if they are equal, else t is infinite
    and p = 0.

    Args:
        x: ``[m, U]`` or ``[m]``, real, m at least 3. Half precision, integers and bool are converted exactly.
        y: ``[n, U]`` or ``[n]``, the same units.

    Returns:
        ``statistic`` (t, positive where x is larger) and ``p_value``, each ``[U]`` float64 on the device of x. NaN for
        a unit with NaN or infinite values.

    Raises:
        ValueError: For fewer than 3 values in a sample, units that differ, or what is no dense real matrix.

    References:
        Welch, Biometrika 34 (1947).

    Example:
        >>> import torch
        >>> result = welch_t_test(torch.tensor([3.0, 4.0, 5.0]), torch.tensor([1.0, 2.0, 3.0]))
        >>> result.statistic, result.p_value  # 2 / sqrt(1/3 + 1/3)
        (tensor([2.4495], dtype=torch.float64), tensor([0.0705], dtype=torch.float64))
    """
    sample = sample_of_two(x, y)
    with full_precision(sample.device):
        return welch_t(sample, 0, 1)


def mann_whitney_u(x: Tensor, y: Tensor) -> SignificanceTest:
    r"""Mann-Whitney U test of every unit: are values of x as often above as below those of y? Two-sided, asymptotic.

    :math:`U_1 = R_1 - m(m+1)/2` with the sum :math:`R_1` of the ranks of x, equal values sharing their mean rank.
    :math:`z = (\max(U_1, mn - U_1) - mn/2 - 1/2) / s` with :math:`s^2 = \frac{mn}{12} [N + 1 - \sum (t^3 - t) / (N
    (N-1))]` over groups of t equal values: corrected for ties and continuity. p = 1 if all values are equal.

    Args:
        x: ``[m, U]`` or ``[m]``, real, m at least 3. Half precision, integers and bool are converted exactly.
        y: ``[n, U]`` or ``[n]``, the same units.

    Returns:
        ``statistic`` (U1, above mn/2 where x is larger) and ``p_value``, each ``[U]`` float64 on the device of x. NaN
        for a unit with NaN or infinite values.

    Raises:
        ValueError: For fewer than 3 values in a sample, units that differ, or what is no dense real matrix.

    References:
        Mann & Whitney, Annals of Mathematical Statistics 18 (1947).

    Example:
        >>> import torch
        >>> result = mann_whitney_u(torch.tensor([3.0, 4.0, 5.0]), torch.tensor([1.0, 2.0, 3.0]))
        >>> result.statistic, result.p_value  # x wins 8 of 9 comparisons, one is a tie
        (tensor([8.5000], dtype=torch.float64), tensor([0.1212], dtype=torch.float64))
    """
    sample = sample_of_two(x, y)
    with full_precision(sample.device):
        return mann_whitney(sample, 0, 1)


def welch_t(sample: NeuronSample, x: int, y: int) -> SignificanceTest:
    """Welch's t-test of class x against class y."""
    difference = sample.moments.location[:, x] - sample.moments.location[:, y]
    error = sample.variance / sample.counts
    total = error[:, x] + error[:, y]
    t = difference / total.sqrt()
    share_x, share_y = error[:, x] / total, error[:, y] / total  # their squares cannot overflow
    freedom = 1 / (share_x**2 / (sample.counts[x] - 1) + share_y**2 / (sample.counts[y] - 1))
    p_value = 2 * special(stdtr, freedom, -t.abs())
    return sample.result(t, p_value.where(~t.isinf(), 0))


def mann_whitney(sample: NeuronSample, x: int, y: int) -> SignificanceTest:
    """Mann-Whitney U test of class x against class y, of two classes."""
    n = len(sample)
    pairs = sample.counts[x] * sample.counts[y]
    excess = sample.ranks.total[:, x]  # U1 - mn/2
    # Of ranks drawn without replacement; the formula above, as sum(t^3 - t) is what ties take from the sum of squares.
    variance = pairs / (n * (n - 1)) * sample.ranks.squares
    z = (excess.abs() - 0.5) / variance.sqrt()
    p_value = 2 * special(ndtr, -z)
    return sample.result(excess + pairs / 2, p_value.clamp(max=1))


def share_above(sample: NeuronSample, x: int, y: int) -> Tensor:
    """U1 / (mn) of class x against class y, of two classes: the share of pairs in which x is larger, ties as half."""
    area = 0.5 + sample.ranks.total[:, x] / (sample.counts[x] * sample.counts[y])
    return sample.only_finite(area)
