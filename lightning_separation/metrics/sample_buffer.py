"""A sample of features and labels, capped per class, as torchmetrics state."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from ..functional._sampling import rows_within_cap


class SampleBuffer(Metric):
    """Keeps the first samples of each class; what is done with them is the subclass's ``compute``.

    Distributed synchronisation, reset and moves between devices are torchmetrics'. Metrics with the same cap share one
    buffer in a ``MetricCollection``.

    Args:
        samples_per_class: How many samples of each class are kept, the first that come.
        **kwargs: Of ``torchmetrics.Metric``.
    """

    is_differentiable = False
    full_state_update = True  # which samples are kept depends on those kept before
    features: list[Tensor]
    target: list[Tensor]
    samples_per_class: Tensor

    def __init__(self, samples_per_class: int = 100, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if samples_per_class < 1:
            raise ValueError(f"samples_per_class must be at least 1, not {samples_per_class}")
        # As a state: metrics of a collection share one buffer if all their states are equal, so only with equal caps.
        self.add_state("samples_per_class", torch.tensor(samples_per_class), dist_reduce_fx="max")
        self.add_state("features", [], dist_reduce_fx="cat")
        self.add_state("target", [], dist_reduce_fx="cat")

    def update(self, features: Tensor, target: Tensor) -> None:
        """Take what the caps leave room for.

        Args:
            features: ``[B, ...]``, real; kept in their shape and dtype.
            target: ``[B]`` integers.

        Raises:
            ValueError: If there is not one integer for every row of features.
        """
        if target.ndim != 1 or len(target) != len(features) or target.is_floating_point():
            raise ValueError(
                f"target must hold one integer for each of the {len(features)} rows of features, not {target.dtype} "
                f"of shape {tuple(target.shape)}"
            )
        seen = dim_zero_cat(self.target) if self.target else target[:0]
        rows = rows_within_cap(target, int(self.samples_per_class), seen)
        if len(rows):
            self.features.append(features.detach()[rows])
            self.target.append(target[rows])

    def sample(self) -> tuple[Tensor, Tensor]:
        """Features ``[N, d]`` and target ``[N]``, at most the cap of each class also after synchronisation."""
        if not len(self.target):
            return torch.zeros(0, 1, device=self.device), torch.zeros(0, dtype=torch.int64, device=self.device)
        features, target = dim_zero_cat(self.features), dim_zero_cat(self.target)
        rows = rows_within_cap(target, int(self.samples_per_class), target[:0])
        return features[rows], target[rows]
