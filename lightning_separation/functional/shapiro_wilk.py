"""The Shapiro-Wilk test of normality."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor

from . import _royston
from ._inputs import Classes, full_precision
from ._neurons import NeuronSample, SignificanceTest, as_units

MOST_SAMPLES = 5000  # that Royston's approximation is meant for


def shapiro_wilk(x: Tensor) -> SignificanceTest:
    r"""Shapiro-Wilk test of every unit: are its values a sample of a normal distribution?

    :math:`W = (\sum a_i x_{(i)})^2 / \sum (x_i - \bar x)^2` over the ordered values, with the weights a and the
    p-value by Royston's approximation. 1 is a perfect fit; a small p says that the values are not normal. Equal values
    have W = 1 and p = 1. p is exact for 3 values and meant for up to 5000; beyond that it is computed with a warning.

    Args:
        x: ``[N, U]`` or ``[N]``, real, N at least 3. Half precision, integers and bool are converted exactly.

    Returns:
        ``statistic`` (W) and ``p_value``, each ``[U]`` float64 on the device of x. NaN for a unit with NaN or infinite
        values.

    Raises:
        ValueError: For fewer than 3 values, or for what is no dense real matrix.

    Warns:
        UserWarning: Once, for more than 5000 values.

    References:
        Royston, Remark AS R94, Applied Statistics 44 (1995).

    Example:
        >>> import torch
        >>> result = shapiro_wilk(torch.tensor([[0.0, 0.0], [0.1, 0.0], [0.3, 0.0], [5.0, 0.0]]))
        >>> result.statistic, result.p_value  # the second unit is dead
        (tensor([0.6759, 1.0000], dtype=torch.float64), tensor([0.0059, 1.0000], dtype=torch.float64))
    """
    matrix = as_units(x)
    n = len(matrix)
    if n < 3:
        raise ValueError(f"x needs at least 3 values, but has {n}")
    if n > MOST_SAMPLES:
        message = f"p-values of Shapiro-Wilk are extrapolated beyond {MOST_SAMPLES} values; x has {n}"
        warnings.warn(message, stacklevel=2)
    with full_precision(matrix.device):
        zeros = torch.zeros(n, dtype=torch.int64, device=matrix.device)
        return pooled_normality(NeuronSample(matrix, Classes(zeros[:1], zeros, zeros[:1] + n)))


def pooled_normality(sample: NeuronSample) -> SignificanceTest:
    """Shapiro-Wilk over the samples of all classes together."""
    return _result(sample, sample.pooled_lack_of_fit, torch.tensor(len(sample)))


def class_normality(sample: NeuronSample) -> SignificanceTest:
    """Shapiro-Wilk inside every class; statistic and p-value are ``[U, K]``."""
    return _result(sample, sample.within.lack_of_fit, sample.classes.counts)


def _result(sample: NeuronSample, unlike: Tensor, n: Tensor) -> SignificanceTest:
    p_value = torch.from_numpy(_royston.p_value(unlike.cpu().numpy(), n.cpu().numpy()))
    return sample.result(1 - unlike, p_value.to(unlike.device))
