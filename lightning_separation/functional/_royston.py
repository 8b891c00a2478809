"""Shapiro and Wilk's W and its p-value by Royston's algorithm AS R94, to the digits of its published constants."""

from __future__ import annotations

import numpy as np
import torch
from numpy.polynomial.polynomial import polyval
from torch import Tensor


def lack_of_fit(centred: Tensor, a: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """1 - W of ascending values ``[..., n]``, float64, one of which was subtracted from all: that at n // 2.

    W is the squared correlation of the values with ``a``, the :func:`coefficients`. Sums about the middle value are as
    good as sums about the mean: the two are never further apart than one standard deviation.

    Returns:
        1 - W (0 for equal values), the mean, and the sum of squares about the mean.
    """
    n = centred.shape[-1]
    mean = centred.mean(-1)
    squares = centred.square().sum(-1) - n * mean**2
    fit = (centred * a).sum(-1)  # the coefficients sum to 0
    scale = (squares * (a @ a)).sqrt()
    unlike = ((scale - fit) / scale * ((scale + fit) / scale)).clamp(min=0)
    return unlike.where(centred[..., -1] > centred[..., 0], 0), mean, squares.clamp_(min=0)


def coefficients(n: int, device: torch.device) -> Tensor:
    """Royston's approximation of the weights of the ordered values, ``[n]`` float64, antisymmetric."""
    half = n // 2
    if n == 3:
        upper = np.array([np.sqrt(0.5)])
    else:
        m = -_normal_quantile((np.arange(1, half + 1) - 0.375) / (n + 0.25))  # largest first
        total = 2 * (m**2).sum()
        u = 1 / np.sqrt(n)
        ends = [polyval(u, [m[0] / np.sqrt(total), 0.221157, -0.147981, -2.07119, 4.434685, -2.706056])]
        if n > 5:
            ends.append(polyval(u, [m[1] / np.sqrt(total), 0.042981, -0.293762, -1.752461, 5.682633, -3.582633]))
        upper = m.copy()
        upper[: len(ends)] = ends
        rest = m[len(ends) :]
        if len(rest):
            upper[len(ends) :] = rest / np.sqrt(
                (total - 2 * (m[: len(ends)] ** 2).sum()) / (1 - 2 * np.square(ends).sum())
            )
    return torch.from_numpy(np.concatenate([-upper, np.zeros(n % 2), upper[::-1]])).to(device)


def p_value(unlike: np.ndarray, n: int | np.ndarray) -> np.ndarray:
    """P-value from 1 - W of n values; the two broadcast."""
    n = np.broadcast_to(np.asarray(n, dtype=np.float64), unlike.shape)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        y, log_n = np.log(unlike), np.log(n)
        # For n of 3, Shapiro and Wilk's exact distribution; to 11, y has a largest value; then it is about normal.
        exact = np.maximum(1 - 6 / np.pi * np.arcsin(np.sqrt(np.minimum(unlike, 0.25))), 0)
        most = -2.273 + 0.459 * n
        few = -np.log(most - y) - polyval(n, [0.5440, -0.39978, 0.025054, -0.0006714])
        few /= np.exp(polyval(n, [1.3822, -0.77857, 0.062767, -0.0020322]))
        many = y - polyval(log_n, [-1.5861, -0.31082, -0.083751, 0.0038915])
        many /= np.exp(polyval(log_n, [-0.4803, -0.082676, 0.0030302]))
        z = np.where(n <= 11, few, many)
    return np.select([n == 3, (n <= 11) & (y >= most)], [exact, 1e-19], _upper_tail(z))


def _upper_tail(x: np.ndarray) -> np.ndarray:
    """Algorithm AS 66: the share of a normal distribution above x, to nine digits; 0 beyond 38."""
    z = np.abs(x)
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        y = z * z / 2
        fraction = 5.75885480458 - 29.8213557808 / (y + 2.62433121679 + 48.6959930692 / (y + 5.92885724438))
        centre = 0.5 - z * (0.398942280444 - 0.399903438504 * y / (y + fraction))
        fraction = z + 4.8385912808 - 15.1508972451 / (z + 0.742380924027 + 30.789933034 / (z + 3.99019417011))
        fraction = z + 3.98064794e-4 + 1.98615381364 / (z - 0.151679116635 + 5.29330324926 / fraction)
        tail = 0.398942280385 * np.exp(-y) / (z - 3.8052e-8 + 1.00000615302 / fraction)
    tail = np.where(z <= 1.28, centre, np.where(z <= 38, tail, 0))
    return np.where(x > 0, tail, 1 - tail)


def _normal_quantile(p: np.ndarray) -> np.ndarray:
    """Algorithm AS 111: the quantile of a normal distribution at p < 1/2, to seven digits."""
    q = p - 0.5
    r = q * q
    centre = q * polyval(r, [2.50662823884, -18.61500062529, 41.39119773534, -25.44106049637])
    centre /= polyval(r, [1, -8.47351093090, 23.08336743743, -21.06224101826, 3.13082909833])
    r = np.sqrt(-np.log(p))
    tail = polyval(r, [-2.78718931138, -2.29796479134, 4.85014127135, 2.32121276858])
    tail /= polyval(r, [1, 3.54388924762, 1.63706781897])
    return np.where(np.abs(q) <= 0.42, centre, -tail)
