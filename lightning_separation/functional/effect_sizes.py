"""How large a difference is, whatever the number of samples."""

from __future__ import annotations

import torch
from scipy.special import gammaln
from torch import Tensor

from ._inputs import full_precision
from ._neurons import NeuronSample, sample_of_classes, sample_of_two, special
from .k_sample import between_classes, kruskal
from .two_sample import share_above


def roc_auc(x: Tensor, y: Tensor) -> Tensor:
    """Area under the ROC curve of every unit: the probability that a value of x is larger than one of y, ties as half.

    U1 / (mn) of :func:`mann_whitney_u`. 1 where all of x is larger, 1/2 where nothing tells x from y.

    Args:
        x: ``[m, U]`` or ``[m]``, real. Half precision, integers and bool are converted exactly.
        y: ``[n, U]`` or ``[n]``, the same units.

    Returns:
        ``[U]`` float64 on the device of x; NaN for a unit with NaN or infinite values.

    Raises:
        ValueError: For units that differ, or what is no dense real matrix.

    References:
        Hanley & McNeil, Radiology 143 (1982).

    Example:
        >>> import torch
        >>> roc_auc(torch.tensor([3.0, 4.0, 5.0]), torch.tensor([1.0, 2.0, 3.0]))  # 8.5 of 9
        tensor([0.9444], dtype=torch.float64)
    """
    sample = sample_of_two(x, y, at_least=1)
    with full_precision(sample.device):
        return share_above(sample, 0, 1)


def rank_biserial(x: Tensor, y: Tensor) -> Tensor:
    """Rank-biserial correlation of every unit: pairs in which x is larger less those in which y is, as a share of all.

    2 U1 / (mn) - 1 with U1 of :func:`mann_whitney_u`, also known as Cliff's delta. In [-1, 1], 0 where all values are
    equal.

    Args:
        x: ``[m, U]`` or ``[m]``, real. Half precision, integers and bool are converted exactly.
        y: ``[n, U]`` or ``[n]``, the same units.

    Returns:
        ``[U]`` float64 on the device of x; NaN for a unit with NaN or infinite values.

    Raises:
        ValueError: For units that differ, or what is no dense real matrix.

    References:
        Cureton, Psychometrika 21 (1956).

    Example:
        >>> import torch
        >>> rank_biserial(torch.tensor([3.0, 4.0, 5.0]), torch.tensor([1.0, 2.0, 3.0]))  # (8 - 0) / 9
        tensor([0.8889], dtype=torch.float64)
    """
    return 2 * roc_auc(x, y) - 1


def hedges_g(x: Tensor, y: Tensor) -> Tensor:
    r"""Hedges' g of every unit: the difference of the means in pooled standard deviations, without small-sample bias.

    :math:`g = J (\bar x - \bar y) / s` with :math:`s^2 = [(m-1) v_x + (n-1) v_y] / f`, :math:`f = m + n - 2` and the
    exact correction :math:`J = \Gamma(f/2) / [\sqrt{f/2}\, \Gamma((f-1)/2)]`, about 1 - 3 / (4f - 1). Two constant
    samples: NaN if they are equal, else infinite.

    Args:
        x: ``[m, U]`` or ``[m]``, real, m at least 2. Half precision, integers and bool are converted exactly.
        y: ``[n, U]`` or ``[n]``, the same units.

    Returns:
        ``[U]`` float64 on the device of x; NaN for a unit with NaN or infinite values.

    Raises:
        ValueError: For fewer than 2 values in a sample, units that differ, or what is no dense real matrix.

    References:
        Hedges, Journal of Educational Statistics 6 (1981).

    Example:
        >>> import torch
        >>> hedges_g(torch.tensor([3.0, 4.0, 5.0]), torch.tensor([1.0, 2.0, 3.0]))  # 2 * 0.79788
        tensor([1.5958], dtype=torch.float64)
    """
    sample = sample_of_two(x, y, at_least=2)
    with full_precision(sample.device):
        half = torch.tensor((len(sample) - 2) / 2, dtype=torch.float64)
        correction = (special(gammaln, half) - special(gammaln, half - 0.5)).exp() / half.sqrt()
        location, squares = sample.moments.location, sample.moments.squares
        deviation = (squares.sum(1) / (len(sample) - 2)).sqrt()
        return sample.only_finite(correction.to(deviation.device) * (location[:, 0] - location[:, 1]) / deviation)


def rank_eta_squared(x: Tensor, target: Tensor) -> Tensor:
    """Eta squared of the ranks of every unit: the part of their variance that the classes explain, less chance.

    (H - K + 1) / (N - K) with H of :func:`kruskal_wallis`. 0 on average, slightly negative at times, where nothing
    tells the classes apart; NaN where all values are equal.

    Args:
        x: ``[N, U]`` or ``[N]``, real. Half precision, integers and bool are converted exactly.
        target: ``[N]`` integers; at least 2 classes of at least 2 samples.

    Returns:
        ``[U]`` float64 on the device of x; NaN for a unit with NaN or infinite values.

    Raises:
        ValueError: For too few classes or samples, a target that is not integer, or what is no dense real matrix.

    References:
        Tomczak & Tomczak, Trends in Sport Sciences 21 (2014).

    Example:
        >>> import torch
        >>> x, y = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0, 6.0]), torch.tensor([0, 0, 0, 1, 1, 1])
        >>> rank_eta_squared(x, y)  # (27/7 - 1) / 4
        tensor([0.7143], dtype=torch.float64)
    """
    sample = sample_of_classes(x, target, at_least=2)
    with full_precision(sample.device):
        return rank_eta_squared_of(sample)


def omega_squared(x: Tensor, target: Tensor) -> Tensor:
    r"""Omega squared of every unit: the share of its variance that the classes explain, less that of chance.

    :math:`\omega^2 = [SS_b - (K-1) MS_w] / (SS_t + MS_w)` from the sums of squares between classes and in all, and the
    mean square within classes. NaN where all values are equal.

    Args:
        x: ``[N, U]`` or ``[N]``, real. Half precision, integers and bool are converted exactly.
        target: ``[N]`` integers; at least 2 classes of at least 2 samples.

    Returns:
        ``[U]`` float64 on the device of x; NaN for a unit with NaN or infinite values.

    Raises:
        ValueError: For too few classes or samples, a target that is not integer, or what is no dense real matrix.

    References:
        Hays, Statistics for Psychologists (1963).

    Example:
        >>> import torch
        >>> x, y = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0, 6.0]), torch.tensor([0, 0, 0, 1, 1, 1])
        >>> omega_squared(x, y)  # (13.5 - 1) / (17.5 + 1)
        tensor([0.6757], dtype=torch.float64)
    """
    sample = sample_of_classes(x, target, at_least=2)
    with full_precision(sample.device):
        k, within = sample.num_classes, sample.moments.squares.sum(1)
        between = between_classes(sample.counts, sample.moments.location)
        mean_square = within / (len(sample) - k)
        return sample.only_finite((between - (k - 1) * mean_square) / (between + within + mean_square))


def rank_eta_squared_of(sample: NeuronSample) -> Tensor:
    """Eta squared of the ranks of all classes, ``[U]``."""
    n, k = len(sample), sample.num_classes
    return (kruskal(sample).statistic - k + 1) / (n - k)
