"""Two halves of a sample: what is chosen on the one is measured on the other."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import one_hot


def second_half(target: Tensor) -> Tensor:
    """Every other sample of each class, ``[N]`` bool; the smaller half where their number is odd.

    Example:
        >>> import torch
        >>> second_half(torch.tensor([0, 0, 1, 0, 1]))
        tensor([False,  True, False, False,  True])
    """
    place = one_hot(target).cumsum(0).gather(1, target.unsqueeze(1)).squeeze(1)
    return place % 2 == 0
