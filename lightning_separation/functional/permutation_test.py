"""Fisher's permutation test of means."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import combinations, islice, product
from math import ceil, comb
from typing import NamedTuple

import torch
from torch import Tensor

from ._bins import check_count, check_generator, check_tensor
from ._inputs import device_of

_BLOCK = 1 << 20  # numbers of arrangements to work on at a time
_HELD = 1 << 20  # differences of arrangements held at a time
_ROUNDING = 100 * torch.finfo(torch.float64).eps  # differences this much closer than the values are large are tied


class PermutationTest(NamedTuple):
    """Result of :func:`permutation_test`, ``[...]`` float64 each."""

    statistic: Tensor
    p_value: Tensor
    low: Tensor
    high: Tensor


def permutation_test(
    x: Tensor,
    y: Tensor,
    *,
    paired: bool = False,
    num_permutations: int = 10000,
    generator: torch.Generator | None = None,
) -> PermutationTest:
    """Fisher's permutation test: is the difference of two means larger than if values had fallen to x or y by chance?

    Two-sided, on the absolute difference. Unpaired, it is permuted which of all values belong to x; paired, which of
    the two values of a pair does.

    On the separations of pairs of classes it is here for fidelity to arXiv 1907.04223 only: pairs share classes, and
    where nothing differs p falls below 0.05 in up to 36 of 100 comparisons of 10 classes. Use :func:`jackknife_test`.

    Args:
        x: ``[..., n]``, real, finite: a test for each place of the leading axes, all of them by the same arrangements.
        y: ``[..., m]`` with the leading axes of x; paired, n values in the order of x.
        paired: Whether ``x[..., i]`` and ``y[..., i]`` belong together.
        num_permutations: Random arrangements drawn; where there are no more than these in all, every one is used.
        generator: Of the arrangements; None: torch's global one.

    Returns:
        ``statistic`` (mean of x minus mean of y), ``p_value`` (arrangements with a difference at least as large, up to
        rounding, plus 1, over all plus 1; without the 1 where every one is used), and ``low`` and ``high``: the
        statistic less and plus the 95th percentile of the arrangements' absolute differences. On the device of x. The
        same values in x and y give p = 1.

    Raises:
        ValueError: For x or y that are not real, without values, not finite, of different leading axes, or paired and
            of different lengths, no permutations, or a generator of another type.

    References:
        Fisher, The Design of Experiments (1935); Pitman, Journal of the Royal Statistical Society, Supplement 4 (1937).

    Example:
        >>> import torch
        >>> found = permutation_test(torch.tensor([5.0, 6.0, 7.0]), torch.tensor([1.0, 2.0, 3.0]))
        >>> found.statistic, found.p_value  # 2 of the 20 arrangements are as far apart
        (tensor(4., dtype=torch.float64), tensor(0.1000, dtype=torch.float64))
    """
    check_count(num_permutations, "num_permutations")
    check_generator(generator)
    x, y = _as_samples(x, "x"), _as_samples(y, "y")
    n, m = x.shape[-1], y.shape[-1]
    if x.shape[:-1] != y.shape[:-1]:
        raise ValueError(f"x and y must have the same leading axes, not shapes {tuple(x.shape)} and {tuple(y.shape)}")
    if paired and n != m:
        raise ValueError(f"paired x and y must have one length, not {n} and {m}")
    masks, number, given = _arrangements(n, m, paired, num_permutations, generator, x.device)
    rows = max(1, _HELD // number)
    of_x, of_y = (side.reshape(-1, side.shape[-1]).split(rows) for side in (x, y.to(x.device)))
    again = masks if len(of_x) == 1 else list(masks)  # the same for all
    found = x.new_empty(4, x.shape[:-1].numel())  # small tensors kept in between would break up what is freed
    for one, two, place in zip(of_x, of_y, found.split(rows, 1), strict=True):
        place.copy_(_tested(one, two, again, number, given, paired))
    return PermutationTest(*found.reshape(4, *x.shape[:-1]))


def _arrangements(
    n: int, m: int, paired: bool, most: int, generator: torch.Generator | None, device: torch.device
) -> tuple[Iterator[Tensor], int, int]:
    """Ways to mark values, some at a time, ``[B, N]`` bool; how many; and 1 if that of the data is not among them.

    They are all there are, or ``most`` random ones if there are more.
    """
    num, size = (n, None) if paired else (n + m, n)
    step = max(1, _BLOCK // num)
    total = 2**n if size is None else comb(num, size)
    if total > most:
        return _random(num, size, most, step, generator, device), most, 1
    return _all_signs(num, step) if size is None else _all_subsets(num, size, step), total, 0


def _tested(x: Tensor, y: Tensor, masks: Iterable[Tensor], number: int, given: int, paired: bool) -> Tensor:
    """Statistic, p and the ends of the interval of ``[R, n]`` and ``[R, m]``, ``[4, R]``."""
    pooled = torch.cat([x, y], -1)
    values = x - y if paired else pooled - pooled.mean(-1, keepdim=True)
    statistic = x.mean(-1) - y.mean(-1)
    tied = _ROUNDING * pooled.abs().amax(-1)
    n, m = x.shape[-1], y.shape[-1]
    null = torch.cat([_difference(values, mask.to(x.device), n, m) for mask in masks], -1).abs_()
    p_value = ((null >= (statistic.abs() - tied)[:, None]).sum(-1) + given).double() / (number + given)
    margin = null.kthvalue(ceil(0.95 * number)).values
    return torch.stack([statistic, p_value, statistic - margin, statistic + margin])


def _as_samples(given: Tensor, name: str) -> Tensor:
    """Finite float64, ``[..., n]``."""
    check_tensor(given, name)
    if given.ndim == 0 or given.shape[-1] == 0 or given.is_complex() or given.layout != torch.strided:
        raise ValueError(f"{name} must be [..., n] real numbers, not {given.dtype} of shape {tuple(given.shape)}")
    values = given.detach().to(device_of(given)).double()
    if not bool(values.isfinite().all()):
        raise ValueError(f"{name} holds NaN or infinite values")
    return values


def _difference(values: Tensor, first: Tensor, n: int, m: int) -> Tensor:
    """1/n of the sum of the values ``[R, N]`` marked in ``first [B, N]``, less 1/m of the others': ``[R, B]``."""
    return values @ first.to(values).T * (1 / n + 1 / m) - values.sum(-1, keepdim=True) / m


def _all_signs(num: int, step: int) -> Iterator[Tensor]:
    """Every way to mark values, some at a time, ``[B, num]`` bool."""
    signs = product((True, False), repeat=num)
    while rows := list(islice(signs, step)):
        yield torch.tensor(rows)


def _all_subsets(num: int, size: int, step: int) -> Iterator[Tensor]:
    """Every way to mark so many values, some at a time, ``[B, num]`` bool."""
    subsets = combinations(range(num), size)
    while rows := list(islice(subsets, step)):
        yield torch.zeros(len(rows), num, dtype=torch.bool).scatter_(1, torch.tensor(rows), True)


def _random(
    num: int, size: int | None, count: int, step: int, generator: torch.Generator | None, device: torch.device
) -> Iterator[Tensor]:
    """So many random ways to mark so many values, or any number of them (None), ``[B, num]`` bool."""
    device = device if generator is None else generator.device
    for start in range(0, count, step):
        shape = min(step, count - start), num
        key = torch.rand(shape, generator=generator, dtype=torch.float64, device=device)
        yield key < 0.5 if size is None else key <= key.kthvalue(size, 1, keepdim=True).values
