"""Class selectivity of units as a metric."""

from __future__ import annotations

from typing import Any

from ..functional import ClassSelectivity as Result
from ..functional import class_selectivity
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
    tuple of the function.

    Raises:
        ValueError: For features that the function refuses, or when nothing was seen.

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

    def compute(self) -> Result:
        """The selectivity in the samples kept."""
        features, target = self.sample()
        return class_selectivity(features, target, threshold=self.threshold)
