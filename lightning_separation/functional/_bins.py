"""Activations on bins: which bin every value lies in, how many lie in every pair of bins, what entropy that is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import ceil
from numbers import Integral, Real
from typing import Any, Literal, NamedTuple, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ._neurons import as_units

Correction = Literal["miller-madow"]
Numbers = Tensor | NDArray[Any] | Sequence[float]
Edges = Numbers | Sequence[Numbers | None]  # for both sides, or a pair
_BLOCK = 1 << 18  # numbers to work on at a time, which stay in a core's cache
_LARGE = 1 << 24  # and those of a matrix product


class Binned(NamedTuple):
    """U columns of N values on B bins."""

    codes: Tensor  # [U, N] int32, bin of every value
    bins: int
    finite: Tensor  # [U] bool, columns without NaN or infinite values

    def counts(self) -> Tensor:
        """Values in every bin, ``[U, B]`` int64."""
        step = ceil(_BLOCK / max(self.codes.shape[1], self.bins))
        return torch.cat([_counts(codes, self.bins) for codes in self.codes.split(step)])

    def in_order(self, order: Tensor) -> Binned:
        """The same columns with the samples in another order."""
        return self._replace(codes=self.codes.index_select(1, order))


def bin_edges(x: Tensor, bins: int = 10) -> Tensor:
    """Edges of bins of one width from the smallest to the largest value of every column, as NumPy lays them.

    Args:
        x: ``[N, U]`` or ``[N]``, real.
        bins: Number of bins B.

    Returns:
        ``[U, B + 1]`` float64; 1/2 below to 1/2 above the value of a constant column, not finite for a column with NaN
        or infinite values.

    Raises:
        ValueError: For an x that is not dense, real, filled and of one or two axes, or bins that are not an integer
            of at least 1.

    Example:
        >>> import torch
        >>> bin_edges(torch.tensor([[0.0, 7.0], [3.0, 7.0], [4.0, 7.0]]), bins=2)
        tensor([[0.0000, 2.0000, 4.0000],
                [6.5000, 7.0000, 7.5000]], dtype=torch.float64)
    """
    x = as_columns(x)
    return edges_between(x.amin(0).double(), x.amax(0).double(), bins)


def edges_between(low: Tensor, high: Tensor, bins: int) -> Tensor:
    """Edges ``[U, B + 1]`` from ``low [U]`` to ``high [U]`` with the numbers of ``np.linspace``; differentiable."""
    check_count(bins, "bins")
    wide = high > low
    low, high = low.where(wide, low - 0.5), high.where(wide, high + 0.5)
    step = torch.arange(bins, dtype=low.dtype, device=low.device)
    return torch.cat([step * ((high - low) / bins)[:, None] + low[:, None], high[:, None]], 1)


def as_columns(x: Tensor, name: str = "x") -> Tensor:
    """Columns ``[N, U]`` of float32 or float64 with the very values of x, ``[N, U]`` or ``[N]``.

    Raises:
        ValueError: With the reason.
    """
    check_tensor(x, name)
    if x.ndim > 2:
        raise ValueError(
            f"{name} must be [N, U] or [N], but has shape {tuple(x.shape)}; unit_activations makes one column of every "
            "unit, flatten(1) one of every place"
        )
    return as_units(x, name)


def binned(x: Tensor, bins: int, edges: Numbers | None, name: str = "x") -> Binned:
    """The bins of every column's values, whose last is closed; values outside the edges lie in the outermost bins."""
    x = as_columns(x, name)
    # Not finite either where the range alone is too large for float64.
    finite = (x.amax(0).double() - x.amin(0).double()).isfinite()
    limits = bin_edges(x, bins) if edges is None else checked_edges(edges, x.shape[1], x.device, name)
    inner = limits[:, 1:-1].contiguous()
    codes = torch.empty(x.shape[::-1], dtype=torch.int32, device=x.device)
    step = ceil(_BLOCK / len(x))
    for found, some, columns in zip(codes.split(step), inner.split(step), x.split(step, 1), strict=True):
        found.copy_(torch.searchsorted(some, columns.T.double().contiguous(), right=True, out_int32=True))
    return Binned(codes, limits.shape[1] - 1, finite)


def binned_pair(x: Tensor, y: Tensor, bins: int, edges: Edges | None) -> tuple[Binned, Binned]:
    """The bins of two sets of columns of the same samples, on the device of x."""
    edges_x, edges_y = edges_of_sides(edges)
    first, second = binned(x, bins, edges_x, "x"), binned(y, bins, edges_y, "y")
    if first.codes.shape[1] != second.codes.shape[1]:
        raise ValueError(f"x and y must have the same samples, but have {len(x)} and {len(y)}")
    device = first.codes.device
    return first, second._replace(codes=second.codes.to(device), finite=second.finite.to(device))


def edges_of_sides(edges: Edges | None) -> tuple[Numbers | None, Numbers | None]:
    """Edges of both sides, from edges for both or a pair; a list or tuple of numbers is no pair."""
    if isinstance(edges, list | tuple) and not all(isinstance(edge, Real) for edge in edges):
        if len(edges) != 2:
            raise ValueError(f"edges must be numbers, or a pair for the two sides, but there are {len(edges)}")
        of_x, of_y = cast("Sequence[Numbers | None]", edges)
        return of_x, of_y
    both = cast("Numbers | None", edges)
    return both, both


def checked_edges(edges: Numbers, num_columns: int, device: torch.device, name: str = "x") -> Tensor:
    """Given edges as ``[U, B + 1]`` float64.

    Raises:
        ValueError: If they are no real numbers, do not fit the columns or do not increase.
    """
    limits = as_numbers(edges, f"edges of {name}").detach().to(device)
    if limits.is_complex() or limits.layout != torch.strided or limits.is_nested:
        raise ValueError(f"edges of {name} must be dense and real, not {limits.layout} of {limits.dtype}")
    fits = limits.ndim == 1 or (limits.ndim == 2 and len(limits) == num_columns)
    if not fits or limits.shape[-1] < 2:
        raise ValueError(
            f"edges of {name} must be [B + 1] or [{num_columns}, B + 1] with at least one bin, "
            f"not {tuple(limits.shape)}"
        )
    limits = limits.double()
    if not bool((limits.diff() > 0).all()):
        raise ValueError(f"edges of {name} must increase strictly")
    return limits.expand(num_columns, -1)


def as_numbers(given: Numbers, name: str) -> Tensor:
    """Numbers in a tensor, an array or a sequence as a tensor, those that Python counts with in 64 bits.

    Raises:
        ValueError: For anything else.
    """
    if isinstance(given, Tensor):
        return given
    try:
        return torch.from_numpy(np.array(given))
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(
            f"{name} must hold numbers, in a tensor, an array or a sequence, not in {type(given).__name__}: {error}"
        ) from error


def check_tensor(given: Tensor, name: str) -> None:
    """Raises ValueError for what is no tensor."""
    if not isinstance(given, Tensor):
        raise ValueError(f"{name} must be a torch.Tensor, not {type(given).__name__}")


def check_count(given: int, name: str) -> None:
    """Raises ValueError for what is no integer of at least 1; a bool is none."""
    if isinstance(given, bool) or not isinstance(given, Integral) or given < 1:
        raise ValueError(f"{name} must be an integer of at least 1, not {given!r}")


def check_generator(given: torch.Generator | None) -> None:
    """Raises ValueError for what is no generator, such as a seed."""
    if given is not None and not isinstance(given, torch.Generator):
        raise ValueError(f"generator must be a torch.Generator or None, not {given!r}")


def check_correction(correction: Correction | None) -> None:
    """Raises ValueError for an unknown correction."""
    if correction not in (None, "miller-madow"):
        raise ValueError(f"correction must be None or 'miller-madow', not {correction!r}")


def entropies(counts: Tensor, total: int, correction: Correction | None, axes: tuple[int, ...]) -> Tensor:
    """Entropies in nats over some axes of counts, each of ``total`` values; exactly 0 if all lie in one bin."""
    share = counts.double() / total
    found = share.xlogy_(share).sum(axes).abs()
    if correction:
        found += ((counts > 0).sum(axes) - 1).double() / (2 * total)
    return found


def joint_entropies(x: Binned, y: Binned, correction: Correction | None) -> Tensor:
    """Entropy of every column of x with every column of y, ``[U, V]`` float64; inside :func:`full_precision`."""
    device, cells = x.codes.device, x.bins * y.bins
    # Measured on x86 with one thread and two: to count a value takes as long as 45 multiplications of a product, or
    # half as long as to make a zero or one for it; a product uses all threads, counting one. For a GPU 32 is a guess.
    threads = torch.get_num_threads() if device.type == "cpu" else 32
    product = cells / threads + 100 * (x.bins / len(y.codes) + y.bins / len(x.codes))
    return (_by_products if product < 45 else _by_counting)(x, y, correction)


def _by_counting(x: Binned, y: Binned, correction: Correction | None) -> Tensor:
    """Joint entropies of the pairs of columns, some at a time."""
    total, cells = x.codes.shape[1], x.bins * y.bins
    # Where most cells are empty, sorting is faster: the others are numbered. (And no place exceeds int32.)
    sparse = cells > min(8 * total, 1 << 30)
    pairs = ceil(_BLOCK / (total if sparse else max(total, cells)))
    width = min(pairs, len(y.codes))

    def of_block(of_x: Tensor, of_y: Tensor) -> Tensor:
        first = of_x.long() if sparse else of_x
        codes = (first[:, None] * y.bins + of_y).flatten(0, 1)
        counts = _counts(_numbered(codes), total) if sparse else _counts(codes, cells)
        return entropies(counts, total, correction, (1,)).view(len(of_x), len(of_y))

    rows = x.codes.split(ceil(pairs / width))
    return torch.cat([torch.cat([of_block(row, part) for part in y.codes.split(width)], 1) for row in rows])


def _by_products(x: Binned, y: Binned, correction: Correction | None) -> Tensor:
    """Joint entropies from the counts of all pairs of bins as one matrix product of zeros and ones."""
    total = x.codes.shape[1]
    dtype = torch.float32 if total <= 1 << 24 else torch.float64  # holds every count exactly

    def members(some: Binned) -> Iterator[Tensor]:
        """Which samples lie in which bin of some columns at a time, ``[columns, B, N]``."""
        each = torch.arange(some.bins, device=some.codes.device)[:, None]
        for codes in some.codes.split(max(1, min(1024, _LARGE // total) // some.bins)):
            yield (codes[:, None] == each).to(dtype)

    def of_rows(of_x: Tensor) -> Tensor:
        counts = (torch.tensordot(of_x, of_y, ([2], [2])) for of_y in members(y))  # [u, B, v, B]
        return torch.cat([entropies(c, total, correction, (1, 3)) for c in counts], 1)

    return torch.cat([of_rows(of_x) for of_x in members(x)])


def _counts(codes: Tensor, bins: int) -> Tensor:
    """How many of the codes in every row of ``[R, N]`` are 0, 1, ..., ``[R, bins]`` int64."""
    rows = len(codes)
    place = codes + torch.arange(rows, dtype=codes.dtype, device=codes.device)[:, None] * bins
    return place.flatten().bincount(minlength=rows * bins).view(rows, bins)


def _numbered(codes: Tensor) -> Tensor:
    """The codes of every row, in ascending order, numbered anew without gaps."""
    changes = codes.sort(1).values.diff(dim=1) != 0
    return torch.nn.functional.pad(changes.cumsum(1), (1, 0))


def soft_shares(x: Tensor, edges: Tensor) -> Tensor:
    """How much of every value counts to which bin, ``[N, U, B]``, differentiable with respect to values and edges.

    A value is shared between the two bins whose centres it lies between, linearly; beyond the outermost centres it
    counts to that bin alone. The shares sum to 1.

    Args:
        x: ``[N, U]``.
        edges: ``[U, B + 1]`` with at least two bins.
    """
    centres = (edges[:, 1:] + edges[:, :-1]) / 2
    bins = centres.shape[1]
    right = torch.searchsorted(centres.detach(), x.detach().T.contiguous()).clamp(1, bins - 1)
    before, after = centres.gather(1, right - 1).T, centres.gather(1, right).T
    gap = after - before
    place = (right.T - 1 + (x - before) / gap.where(gap > 0, 1)).clamp(0, bins - 1)  # 0: apart by less than rounding
    return (1 - (place[:, :, None] - torch.arange(bins, device=x.device)).abs()).relu()
