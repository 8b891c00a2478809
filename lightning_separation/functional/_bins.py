"""Activations on bins: which bin every value lies in, how many lie in every pair of bins, what entropy that is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from ._inputs import device_of
from ._neurons import as_units

Correction = Literal["miller-madow"]
Edges = Tensor | Sequence[Tensor | None]  # for both sides, or a pair
_BLOCK = 1 << 24  # numbers to work on at a time


class Binned(NamedTuple):
    """U columns of N values on B bins."""

    codes: Tensor  # [U, N] int32, bin of every value
    bins: int
    finite: Tensor  # [U] bool, columns without NaN or infinite values

    def counts(self) -> Tensor:
        """Values in every bin, ``[U, B]`` int64."""
        units = len(self.codes)
        place = self.codes + torch.arange(units, device=self.codes.device)[:, None] * self.bins
        return place.flatten().bincount(minlength=units * self.bins).view(units, self.bins)

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
        ValueError: For an x that is not dense, real, filled and of one or two axes, or fewer than one bin.

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
    if bins < 1:
        raise ValueError(f"bins must be at least 1, not {bins}")
    wide = high > low
    low, high = low.where(wide, low - 0.5), high.where(wide, high + 0.5)
    step = torch.arange(bins, dtype=low.dtype, device=low.device)
    return torch.cat([step * ((high - low) / bins)[:, None] + low[:, None], high[:, None]], 1)


def as_columns(x: Tensor, name: str = "x") -> Tensor:
    """Columns ``[N, U]`` of float32 or float64 with the very values of x, ``[N, U]`` or ``[N]``.

    Raises:
        ValueError: With the reason.
    """
    device_of(x)
    if x.ndim > 2:
        raise ValueError(
            f"{name} must be [N, U] or [N], but has shape {tuple(x.shape)}; unit_activations makes one column of every "
            "unit, flatten(1) one of every place"
        )
    return as_units(x, name)


def binned(x: Tensor, bins: int, edges: Tensor | None, name: str = "x") -> Binned:
    """The bins of every column's values, whose last is closed; values outside the edges lie in the outermost bins."""
    x = as_columns(x, name)
    # Not finite either where the range alone is too large for float64.
    finite = (x.amax(0).double() - x.amin(0).double()).isfinite()
    edges = bin_edges(x, bins) if edges is None else checked_edges(edges.to(x.device), x.shape[1], name)
    bins, inner = edges.shape[1] - 1, edges[:, 1:-1].contiguous()
    step = max(1, _BLOCK // len(x))
    codes = [
        torch.searchsorted(some, columns.T.double().contiguous(), right=True, out_int32=True)
        for some, columns in zip(inner.split(step), x.split(step, 1), strict=True)
    ]
    return Binned(torch.cat(codes), bins, finite)


def binned_pair(x: Tensor, y: Tensor, bins: int, edges: Edges | None) -> tuple[Binned, Binned]:
    """The bins of two sets of columns of the same samples, on the device of x."""
    edges_x, edges_y = edges_of_sides(edges)
    first, second = binned(x, bins, edges_x, "x"), binned(y, bins, edges_y, "y")
    if first.codes.shape[1] != second.codes.shape[1]:
        raise ValueError(f"x and y must have the same samples, but have {len(x)} and {len(y)}")
    device = first.codes.device
    return first, second._replace(codes=second.codes.to(device), finite=second.finite.to(device))


def edges_of_sides(edges: Edges | None) -> tuple[Tensor | None, Tensor | None]:
    """Edges of both sides, from edges for both or a pair."""
    if edges is None or isinstance(edges, Tensor):
        return edges, edges
    if len(edges) != 2 or not all(e is None or isinstance(e, Tensor) for e in edges):
        raise ValueError(
            "edges must be a tensor, or a pair of tensors for the two sides, None where they are not given"
        )
    return edges[0], edges[1]


def checked_edges(edges: Tensor, num_columns: int, name: str = "x") -> Tensor:
    """Given edges as ``[U, B + 1]`` float64.

    Raises:
        ValueError: If they do not fit the columns or do not increase.
    """
    fits = edges.ndim == 1 or (edges.ndim == 2 and len(edges) == num_columns)
    if not fits or edges.shape[-1] < 2:
        raise ValueError(
            f"edges of {name} must be [B + 1] or [{num_columns}, B + 1] with at least one bin, not {tuple(edges.shape)}"
        )
    edges = edges.detach().double()
    if not bool((edges.diff() > 0).all()):
        raise ValueError(f"edges of {name} must increase strictly")
    return edges.expand(num_columns, -1)


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
    """Entropy of every column of x with every column of y, ``[U, V]`` float64.

    Inside :func:`full_precision`: the numbers of samples in all pairs of bins are one matrix product of zeros and ones.
    """
    total = x.codes.shape[1]
    dtype = torch.float32 if total <= 1 << 24 else torch.float64  # holds every count exactly

    def members(some: Binned) -> Iterator[Tensor]:
        """Which samples lie in which bin of some columns at a time, ``[columns, B, N]``."""
        each = torch.arange(some.bins, device=some.codes.device)[:, None]
        for codes in some.codes.split(max(1, min(1024, _BLOCK // total) // some.bins)):
            yield (codes[:, None] == each).to(dtype)

    def of_rows(of_x: Tensor) -> Tensor:
        counts = (torch.tensordot(of_x, of_y, ([2], [2])) for of_y in members(y))  # [u, B, v, B]
        return torch.cat([entropies(c, total, correction, (1, 3)) for c in counts], 1)

    return torch.cat([of_rows(of_x) for of_x in members(x)])


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
