"""Which columns say nearly the same."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ._bins import as_columns
from ._inputs import full_precision

_ROWS = 256  # columns to correlate with the others at a time


def correlated_features(x: Tensor, threshold: float = 0.9) -> list[list[int]]:
    """Groups of columns that are linked by strong correlation, directly or through others.

    Two columns are linked if their absolute Pearson correlation is larger than the threshold. Permuting one of them
    alone shows little, as a model can read the other: permute the group.

    Args:
        x: ``[N, D]`` or ``[N]``, real.
        threshold: From 0 to less than 1.

    Returns:
        Every column in exactly one group; ascending in a group, groups by their first column. Columns that are
        constant, or hold NaN or infinite values, stand alone.

    Raises:
        ValueError: For an x that is not dense, real, filled and of one or two axes, or a threshold out of range.

    Example:
        >>> import torch
        >>> correlated_features(torch.tensor([[1.0, 2.0, 1.0], [2.0, 0.0, 2.5], [3.0, 2.0, 3.0]]))
        [[0, 2], [1]]
    """
    if not 0 <= threshold < 1:
        raise ValueError(f"threshold must be from 0 to less than 1, not {threshold}")
    x = as_columns(x)
    low, high = x.amin(0), x.amax(0)
    varying = ((high > low) & high.isfinite() & low.isfinite()).nonzero()[:, 0]
    columns = x[:, varying].double() / high[varying].maximum(-low[varying])  # no square overflows or vanishes
    columns -= columns.mean(0)
    columns /= columns.amax(0).maximum(-columns.amin(0))
    columns /= columns.norm(dim=0)
    group = np.arange(x.shape[1])
    at = varying.cpu().numpy()
    with full_precision(x.device):
        for start in range(0, len(at), _ROWS):
            some, later = columns[:, start : start + _ROWS], columns[:, start:]
            linked = ((some.T @ later).abs_() > threshold).fill_diagonal_(True).cpu().numpy()
            for row in linked:
                _join(group, at[start:][row])
    order = np.argsort(group, kind="stable")
    return [part.tolist() for part in np.split(order, np.flatnonzero(np.diff(group[order])) + 1)]


def _join(group: NDArray[np.int64], linked: NDArray[np.int64]) -> None:
    """Makes the groups of all linked columns one, in place; a group is called after its first column."""
    joined = group[linked]
    first = joined.min()
    if joined.max() > first:
        moves = np.zeros(len(group), dtype=bool)
        moves[joined] = True
        group[moves[group]] = first
