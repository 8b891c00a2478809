"""Sorting rows, and the ranks that come of it. On a CPU NumPy sorts several times as fast as torch."""

from __future__ import annotations

import torch
from torch import Tensor


def sort_last(values: Tensor) -> Tensor:
    """Sorts ``[rows, ..., n]`` along its last axis, in place on a CPU: for tensors that nobody else holds."""
    if values.device.type != "cpu":
        return values.sort(dim=-1).values
    values.numpy().sort(axis=-1)
    return values


def sort_labelled(values: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
    """Sorts every row and takes the labels of the columns along.

    Args:
        values: ``[rows, n]``, finite.
        label: ``[n]`` int64, not negative.

    Returns:
        ``[rows, n]`` of what is equal where values are equal, ascending; and the labels in that order. Which label
        comes first among equal values is left open.
    """
    if values.device.type != "cpu" or values.dtype != torch.float32:
        ordered, index = values.sort(dim=1)
        return ordered, label.expand_as(index).gather(1, index)
    # The bits of a float, the lower ones flipped if it is negative, are an integer with the same order. With the label
    # behind them one sort of integers does for both.
    bits = (values + 0.0).view(torch.int32)  # -0.0 becomes 0.0
    bits ^= (bits >> 31).bitwise_and_(0x7FFFFFFF)
    width = int(label.max()).bit_length()
    key = sort_last(bits.long().bitwise_left_shift_(width).bitwise_or_(label))
    label = key & ((1 << width) - 1)
    return key.bitwise_right_shift_(width), label


def centred_ranks(ordered: Tensor) -> Tensor:
    """Ranks less their mean, of ascending rows ``[rows, n]``; equal values share the mean of their ranks. float64."""
    rows, n = ordered.shape
    rank = torch.arange(n, dtype=torch.float64, device=ordered.device).sub_((n - 1) / 2).expand(rows, n)
    tied = torch.zeros(rows, n + 1, dtype=torch.bool, device=ordered.device)  # with the one before; an extra column
    tied[:, 1:-1] = ordered[:, 1:] == ordered[:, :-1]
    before, after = tied[:, :-1], tied[:, 1:]
    ends = (before != after).view(-1).nonzero().squeeze(1)  # of every group its first, then its last
    if not len(ends):
        return rank.clone()
    first, last = ends.view(-1, 2).T
    shared = (first % n + last % n - (n - 1)).double() / 2
    return rank.masked_scatter(before | after, shared.repeat_interleave(last - first + 1))
