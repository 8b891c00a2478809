"""Which columns say nearly the same."""

from __future__ import annotations

import numpy as np
import torch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from ._bins import as_columns
from ._inputs import full_precision


def correlated_features(x: Tensor, threshold: float = 0.9) -> list[list[int]]:
    """Groups of columns that are linked by strong correlation, directly or through others.

    Two columns are linked if their absolute Pearson correlation is larger than the threshold. Permuting one of them
    alone shows little, as a model can read the other: permute the group.

    Args:
        x: ``[N, D]`` or ``[N]``, real.
        threshold: From 0 to less than 1.

    Returns:
        Every column in exactly one group: ascending in a group, groups by their first column. Columns that are
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
    columns = columns - columns.mean(0)
    columns = columns / columns.abs().amax(0)
    columns = columns / columns.norm(dim=0)
    with full_precision(x.device):
        blocks = [(some.T @ columns).abs() > threshold for some in columns.split(1024, 1)]
    first, second = torch.cat([x.new_zeros(0, len(varying), dtype=torch.bool), *blocks]).nonzero(as_tuple=True)
    links = varying[first].cpu().numpy(), varying[second].cpu().numpy()
    width = x.shape[1]
    num, group = connected_components(coo_array((np.ones(len(first)), links), shape=(width, width)), directed=False)
    members = [np.flatnonzero(group == i).tolist() for i in range(num)]
    return sorted(members)
