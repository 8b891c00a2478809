"""Class selectivity of units as a metric."""

from __future__ import annotations

from typing import Any

import torch
from torchmetrics.utilities import rank_zero_warn

from ..functional import ClassSelectivityResult, class_selectivity
from ..functional._inputs import device_of
from .sample_buffer import SampleBuffer


class ClassSelectivity(SampleBuffer):
    """For which classes each unit is active, and how far its class distributions are apart.

    Accumulates the first ``samples_per_class`` samples of each class; ``compute`` calls
    :func:`lightning_separation.functional.class_selectivity`. Call ``update``, not ``forward``, at each step: forward
    would compute at each step.

    Args:
        threshold: A unit is active for a sample if its activation is above.
        samples_per_class: How many samples of each class are kept, the first that come.
        **kwargs: Of ``torchmetrics.Metric``.

    ``update(features, target)`` takes ``[B, ...]`` real features and ``[B]`` integers. ``compute`` returns the named
    tuple of the function; when nothing was seen, one unit of no class, NaN, and a warning.

    Raises:
        ValueError: For features that the function refuses.

    Example:
        >>> import torch
        >>> metric = ClassSelectivity()
        >>> metric.update(torch.tensor([[0.0], [2.0], [0.0], [0.0]]), torch.tensor([0, 0, 1, 1]))
        >>> metric.compute().active_fraction
        tensor([[0.5000, 0.0000]], dtype=torch.float64)
    """

    higher_is_better = None

    def __init__(self, threshold: float = 0.0, samples_per_class: int = 100, **kwargs: Any) -> None:
        super().__init__(samples_per_class, **kwargs)
        self.threshold = threshold

    def compute(self) -> ClassSelectivityResult:
        """The selectivity in the samples kept."""
        features, target = self.sample()
        if not len(target):
            rank_zero_warn("ClassSelectivity saw no samples", UserWarning)
            nothing = torch.full((1,), torch.nan, dtype=torch.float64, device=device_of(features))
            of_classes = nothing.new_zeros(1, 0)
            return ClassSelectivityResult(of_classes, of_classes, of_classes, nothing)
        return class_selectivity(features, target, threshold=self.threshold)
