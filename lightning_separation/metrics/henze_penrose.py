"""Henze-Penrose divergence as a metric."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor
from torchmetrics.utilities import rank_zero_warn

from ..functional import henze_penrose_divergence
from ..functional._inputs import device_of
from ..functional._points import Distance
from .sample_buffer import SampleBuffer


class HenzePenroseDivergence(SampleBuffer):
    """Henze-Penrose divergence between classes of features: how far they are separated, 0 (not at all) to nearly 1.

    Accumulates the first ``samples_per_class`` samples of each class; ``compute`` calls
    :func:`lightning_separation.functional.henze_penrose_divergence`. Call ``update``, not ``forward``, at each step:
    forward would compute at each step.

    Args:
        distance: ``"euclidean"`` or ``"cosine"``.
        num_trees: Edge-disjoint spanning trees per pair of classes.
        samples_per_class: How many samples of each class are kept, the first that come.
        reduction: ``"mean"`` over pairs of classes, ``"min"`` (the hardest pair), or ``"none"``: ``[K, K]`` with zero
            diagonal, classes in ascending order.
        **kwargs: Of ``torchmetrics.Metric``.

    ``update(features, target)`` takes ``[B, ...]`` real features and ``[B]`` integers. ``compute`` returns float64;
    with one class only NaN (``[1, 1]`` zero for ``"none"``) and a warning.

    Raises:
        ValueError: For impossible settings, or features that
            :func:`lightning_separation.functional.henze_penrose_divergence` refuses (NaN, inf).

    Example:
        >>> import torch
        >>> metric = HenzePenroseDivergence()
        >>> metric.update(torch.arange(8.0).view(8, 1), torch.tensor([0, 0, 0, 0, 1, 1, 1, 1]))
        >>> metric.compute()  # one of seven edges joins the classes: 1 - 1 * 8 / (2 * 4 * 4)
        tensor(0.7500, dtype=torch.float64)
    """

    higher_is_better = True
    plot_upper_bound = 1.0

    def __init__(
        self,
        distance: Distance = "euclidean",
        num_trees: int = 1,
        samples_per_class: int = 100,
        reduction: Literal["mean", "min", "none"] = "mean",
        **kwargs: Any,
    ) -> None:
        super().__init__(samples_per_class, **kwargs)
        if distance not in ("euclidean", "cosine"):
            raise ValueError(f'distance must be "euclidean" or "cosine", not {distance!r}')
        if num_trees < 1:
            raise ValueError(f"num_trees must be at least 1, not {num_trees}")
        if reduction not in ("mean", "min", "none"):
            raise ValueError(f'reduction must be "mean", "min" or "none", not {reduction!r}')
        self.distance = distance
        self.num_trees = num_trees
        self.reduction = reduction

    def compute(self) -> Tensor:
        """The divergence of the samples kept."""
        features, target = self.sample()
        num_classes = len(target.unique())
        if num_classes < 2:
            rank_zero_warn(
                f"HenzePenroseDivergence saw {num_classes} class{'es' * (num_classes != 1)}: a separation needs two",
                UserWarning,
            )
            if self.reduction != "none":
                return torch.tensor(torch.nan, dtype=torch.float64, device=device_of(features))
            return torch.zeros(num_classes, num_classes, dtype=torch.float64, device=device_of(features))
        divergence = henze_penrose_divergence(features, target, distance=self.distance, num_trees=self.num_trees)
        if self.reduction == "none":
            return divergence
        pairs = divergence[tuple(torch.triu_indices(num_classes, num_classes, 1))]
        return pairs.mean() if self.reduction == "mean" else pairs.min()
