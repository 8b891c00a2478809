"""Which samples of a batch to keep."""

from __future__ import annotations

import torch
from torch import Tensor


def rows_within_cap(target: Tensor, cap: int, seen: Tensor) -> Tensor:
    """Rows of the first samples of each class, up to a cap.

    Args:
        target: ``[B]`` integer labels of new samples.
        cap: Samples to keep of each class, those seen before included.
        seen: ``[M]`` labels of the samples kept before.

    Returns:
        Ascending row indices, int64.
    """
    labels, member, counts = target.unique(return_inverse=True, return_counts=True)
    order = member.argsort(stable=True)
    rank = torch.empty_like(order)
    rank[order] = torch.arange(len(order), device=order.device) - (counts.cumsum(0) - counts)[member[order]]
    place = torch.searchsorted(labels, seen).clamp(max=max(len(labels) - 1, 0))
    known = labels[place] == seen if len(labels) else torch.zeros_like(seen, dtype=torch.bool)
    before = place[known].bincount(minlength=len(labels))
    return (rank + before[member] < cap).nonzero().squeeze(1)
