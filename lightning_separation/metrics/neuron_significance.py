"""Neuron significance as a metric."""

from __future__ import annotations

from typing import Any

import torch
from torchmetrics.utilities import rank_zero_warn

from ..functional import NeuronTests, neuron_significance, unit_activations
from ..functional._inputs import device_of
from .sample_buffer import SampleBuffer

_FEWEST_SAMPLES = 3


class NeuronSignificance(SampleBuffer):
    """Which units respond differently to the classes, and how strongly.

    Accumulates the first ``samples_per_class`` samples of each class; ``compute`` calls
    :func:`lightning_separation.functional.neuron_significance`. Call ``update``, not ``forward``, at each step:
    forward would compute at each step.

    Args:
        alpha: A unit is significant if its q, the p-value adjusted for all units, is below.
        samples_per_class: How many samples of each class are kept, the first that come.
        **kwargs: Of ``torchmetrics.Metric``.

    ``update(features, target)`` takes ``[B, ...]`` real features and ``[B]`` integers. ``compute`` returns the named
    tuple of the function, ``[U]`` each (a number if there is one unit only). A class with fewer than 3 samples is left
    out with a warning that names it; with fewer than two classes left all is NaN.

    Raises:
        ValueError: For an impossible alpha, or features that the function refuses.

    Example:
        >>> import torch
        >>> metric = NeuronSignificance()
        >>> features = torch.stack([torch.arange(20.0), torch.arange(20.0) % 10], 1)
        >>> metric.update(features, torch.arange(20) // 10)
        >>> metric.compute().significant
        tensor([ True, False])
    """

    higher_is_better = None

    def __init__(self, alpha: float = 0.05, samples_per_class: int = 100, **kwargs: Any) -> None:
        super().__init__(samples_per_class, **kwargs)
        if not 0 < alpha < 1:
            raise ValueError(f"alpha must be between 0 and 1, not {alpha}")
        self.alpha = alpha

    def compute(self) -> NeuronTests:
        """The tests of the samples kept."""
        features, target = self.sample()
        labels, place, counts = target.unique(return_inverse=True, return_counts=True)
        kept = counts >= _FEWEST_SAMPLES
        few = [f"{label} ({n})" for label, n in zip(labels[~kept].tolist(), counts[~kept].tolist(), strict=True)]
        if few:
            more = f" and {len(few) - 10} more" if len(few) > 10 else ""
            classes = f"class{'es' * (len(few) > 1)} {', '.join(few[:10])}{more}"
            rank_zero_warn(
                f"NeuronSignificance leaves {classes} out of tests: fewer than {_FEWEST_SAMPLES} samples", UserWarning
            )
        num_classes = int(kept.sum())
        if num_classes < 2:
            rank_zero_warn(
                f"NeuronSignificance saw {num_classes} class{'es' * (num_classes != 1)} of {_FEWEST_SAMPLES} or more "
                "samples: tests need two",
                UserWarning,
            )
            num = unit_activations(features).shape[1] if len(features) else 1
            nothing = torch.full((num,), torch.nan, dtype=torch.float64, device=device_of(features))
            tests = torch.zeros_like(nothing, dtype=torch.int64)
            return NeuronTests(nothing, nothing, nothing, nothing, tests.bool(), tests)
        rows = kept[place]
        return neuron_significance(features[rows], target[rows], alpha=self.alpha)
