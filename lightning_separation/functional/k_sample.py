"""Tests of two or more classes."""

from __future__ import annotations

import torch
from scipy.special import chdtrc, fdtrc
from torch import Tensor

from ._inputs import full_precision
from ._neurons import NeuronSample, SignificanceTest, sample_of_classes, special


def welch_anova(x: Tensor, target: Tensor) -> SignificanceTest:
    r"""Welch's analysis of variance of every unit: have all classes the same mean? Their variances may differ.

    With weights :math:`w_k = n_k / v_k`, shares :math:`h_k = w_k / \sum w` and the weighted mean :math:`\tilde x`:
    :math:`F = \frac{\sum w_k (\bar x_k - \tilde x)^2 / (K-1)}{1 + 2 (K-2) \Lambda / (K^2-1)}` where
    :math:`\Lambda = \sum (1 - h_k)^2 / (n_k - 1)`; the degrees of freedom are K - 1 and
    :math:`(K^2 - 1) / (3 \Lambda)`. NaN if a class has no variance.

    Args:
        x: ``[N, U]`` or ``[N]``, real. Half precision, integers and bool are converted exactly.
        target: ``[N]`` integers; at least 2 classes of at least 3 samples.

    Returns:
        ``statistic`` (F) and ``p_value``, each ``[U]`` float64 on the device of x. NaN for a unit with NaN or infinite
        values.

    Raises:
        ValueError: For too few classes or samples, a target that is not integer, or what is no dense real matrix.

    References:
        Welch, Biometrika 38 (1951).

    Example:
        >>> import torch
        >>> x, y = torch.tensor([1.0, 2.0, 3.0, 3.0, 4.0, 5.0]), torch.tensor([0, 0, 0, 1, 1, 1])
        >>> result = welch_anova(x, y)
        >>> result.statistic, result.p_value  # of two classes, the square of Welch's t
        (tensor([6.], dtype=torch.float64), tensor([0.0705], dtype=torch.float64))
    """
    sample = sample_of_classes(x, target)
    with full_precision(sample.device):
        return welch_analysis(sample)


def kruskal_wallis(x: Tensor, target: Tensor) -> SignificanceTest:
    r"""Kruskal-Wallis test of every unit: do all classes have the same distribution? Corrected for ties.

    With the mean rank :math:`\bar R_k` of each class, equal values sharing their mean rank:
    :math:`H = \frac{12}{N (N+1)} \sum n_k (\bar R_k - \frac{N+1}2)^2 / [1 - \sum (t^3 - t) / (N^3 - N)]` over groups
    of t equal values; p from chi-squared with K - 1 degrees of freedom. NaN if all values are equal.

    Args:
        x: ``[N, U]`` or ``[N]``, real. Half precision, integers and bool are converted exactly.
        target: ``[N]`` integers; at least 2 classes of at least 3 samples.

    Returns:
        ``statistic`` (H) and ``p_value``, each ``[U]`` float64 on the device of x. NaN for a unit with NaN or infinite
        values.

    Raises:
        ValueError: For too few classes or samples, a target that is not integer, or what is no dense real matrix.

    References:
        Kruskal & Wallis, Journal of the American Statistical Association 47 (1952).

    Example:
        >>> import torch
        >>> x, y = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0, 6.0]), torch.tensor([0, 0, 0, 1, 1, 1])
        >>> result = kruskal_wallis(x, y)
        >>> result.statistic, result.p_value  # 12 / (6 * 7) * 3 * (1.5^2 + 1.5^2)
        (tensor([3.8571], dtype=torch.float64), tensor([0.0495], dtype=torch.float64))
    """
    sample = sample_of_classes(x, target)
    with full_precision(sample.device):
        return kruskal(sample)


def brown_forsythe(x: Tensor, target: Tensor) -> SignificanceTest:
    r"""Brown-Forsythe test of every unit: have all classes the same spread?

    Levene's test about the median: with the distances :math:`z` of the values from the median of their class, :math:`F
    = \frac{\sum n_k (\bar z_k - \bar z)^2 / (K-1)}{\sum (z - \bar z_k)^2 / (N-K)}` with K - 1 and N - K degrees of
    freedom. NaN if both sums are 0.

    Args:
        x: ``[N, U]`` or ``[N]``, real. Half precision, integers and bool are converted exactly.
        target: ``[N]`` integers; at least 2 classes of at least 3 samples.

    Returns:
        ``statistic`` (F) and ``p_value``, each ``[U]`` float64 on the device of x. NaN for a unit with NaN or infinite
        values.

    Raises:
        ValueError: For too few classes or samples, a target that is not integer, or what is no dense real matrix.

    References:
        Brown & Forsythe, Journal of the American Statistical Association 69 (1974).

    Example:
        >>> import torch
        >>> x, y = torch.tensor([1.0, 2.0, 3.0, 2.0, 4.0, 6.0]), torch.tensor([0, 0, 0, 1, 1, 1])
        >>> result = brown_forsythe(x, y)
        >>> result.statistic, result.p_value  # distances 1, 0, 1 and 2, 0, 2: (2/3) / (10/3 / 4)
        (tensor([0.8000], dtype=torch.float64), tensor([0.4216], dtype=torch.float64))
    """
    sample = sample_of_classes(x, target)
    with full_precision(sample.device):
        return brown_forsythe_of(sample)


def welch_analysis(sample: NeuronSample) -> SignificanceTest:
    """Welch's analysis of variance of all classes."""
    k, n, mean = sample.num_classes, sample.counts, sample.moments.location
    weight = n / sample.variance
    total = weight.sum(1, keepdim=True)
    centre = (weight * mean).sum(1, keepdim=True) / total
    unevenness = ((1 - weight / total) ** 2 / (n - 1)).sum(1)
    f = (weight * (mean - centre) ** 2).sum(1) / (k - 1)
    f = f / (1 + 2 * (k - 2) / (k**2 - 1) * unevenness)
    return sample.result(f, special(fdtrc, k - 1, (k**2 - 1) / (3 * unevenness), f))


def kruskal(sample: NeuronSample) -> SignificanceTest:
    """Kruskal-Wallis test of all classes."""
    # The formula of kruskal_wallis, as sum(t^3 - t) / 12 is what ties take from the sum of squares (N^3 - N) / 12.
    between = (sample.ranks.total**2 / sample.counts).sum(1)
    h = (len(sample) - 1) * between / sample.ranks.squares
    return sample.result(h, special(chdtrc, sample.num_classes - 1, h))


def brown_forsythe_of(sample: NeuronSample) -> SignificanceTest:
    """Brown-Forsythe test of all classes."""
    k, n = sample.num_classes, len(sample)
    within = sample.within.deviation_squares.sum(1)
    f = between_classes(sample.counts, sample.within.deviation) / (k - 1) / (within / (n - k))
    return sample.result(f, special(fdtrc, k - 1, n - k, f))


def between_classes(counts: Tensor, mean: Tensor) -> Tensor:
    """Sum of squares between the means ``[U, K]`` of classes of ``counts [K]`` samples, ``[U]``."""
    mean = mean - mean[:, :1]  # equal means give exactly 0
    centre = (counts * mean).sum(1, keepdim=True) / counts.sum()
    return torch.sum(counts * (mean - centre) ** 2, 1)
