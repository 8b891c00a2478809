"""Sorting rows, and the ranks that come of it. On a CPU NumPy sorts several times as fast as torch."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

_PARALLEL = 1 << 15  # values; below, a thread costs more than it saves


def sort_last(values: Tensor) -> Tensor:
    """Sorts ``[rows, ..., n]`` along its last axis, in place on a CPU: for tensors that nobody else holds.

    A view with gaps between its rows is fine.
    """
    if values.device.type != "cpu":
        return values.sort(dim=-1).values
    array = values.numpy()
    threads = min(torch.get_num_threads(), len(array))
    if threads == 1 or array.size < _PARALLEL:
        array.sort(axis=-1)
        return values
    step = -(-len(array) // threads)
    with ThreadPoolExecutor(threads) as pool:  # NumPy sorts without Python's lock
        list(pool.map(lambda start: array[start : start + step].sort(axis=-1), range(0, len(array), step)))
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
        return ordered, label[index]
    # The bits of a float, the lower ones flipped if it is negative, are an integer with the same order. With the label
    # behind them one sort of integers does for both.
    bits = (values + 0.0).view(torch.int32)  # -0.0 becomes 0.0
    bits ^= (bits >> 31) & 0x7FFFFFFF
    width = int(label.max()).bit_length()
    key = sort_last(bits.long().bitwise_left_shift_(width).bitwise_or_(label))
    return key >> width, key & ((1 << width) - 1)


def centred_ranks(ordered: Tensor) -> Tensor:
    """Ranks less their mean, of ascending rows ``[rows, n]``; equal values share the mean of their ranks. float64."""
    rows, n = ordered.shape
    rank = torch.arange(n, dtype=torch.float64, device=ordered.device).sub_((n - 1) / 2).repeat(rows, 1)
    tied = torch.nn.functional.pad(ordered[:, 1:] == ordered[:, :-1], (1, 1))  # with the one before; one column more
    before, after = tied[:, :-1], tied[:, 1:]
    first, last = (after & ~before).nonzero(), (before & ~after).nonzero()
    if len(first):
        first, last = first[:, 1], last[:, 1]
        shared = (first + last - (n - 1)).double() / 2
        rank.masked_scatter_(before | after, shared.repeat_interleave(last - first + 1))
    return rank
