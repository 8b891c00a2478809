"""Which units tell the classes apart."""

from __future__ import annotations

import warnings
from typing import NamedTuple

import torch
from torch import Tensor

from ._inputs import full_precision
from ._neurons import NeuronSample, SignificanceTest, sample_of_classes
from .effect_sizes import rank_eta_squared_of
from .k_sample import kruskal, welch_analysis
from .multiple_testing import false_discovery_control
from .shapiro_wilk import MOST_SAMPLES, class_normality
from .two_sample import mann_whitney, share_above, welch_t
from .units import unit_activations

TEST_NAMES = ("welch_t", "mann_whitney_u", "welch_anova", "kruskal_wallis")


class NeuronTests(NamedTuple):
    """Result of :func:`neuron_significance` for U units, each ``[U]``; float64 but for the last two."""

    statistic: Tensor
    p_value: Tensor
    q_value: Tensor
    effect_size: Tensor
    significant: Tensor  # bool
    test: Tensor  # int64, index into TEST_NAMES


def neuron_significance(features: Tensor, target: Tensor, *, alpha: float = 0.05) -> NeuronTests:
    """Tests every unit of a layer for a difference between the classes.

    Two classes: Welch's t-test if the Shapiro-Wilk test finds both classes normal (p > 0.05), otherwise
    Mann-Whitney's. Statistic and effect are positive where the larger label has the larger values. More classes:
    Welch's analysis of variance if all are normal and none is constant, otherwise Kruskal-Wallis. q-values are
    p-values adjusted for the number of units by :func:`false_discovery_control`.

    Args:
        features: ``[N, ...]``, real, as :func:`unit_activations` takes them: channels of 4 axes or more, else the last
            axis, means over the others.
        target: ``[N]`` integers; at least 2 classes of at least 3 samples.
        alpha: Share of false discoveries to expect among the significant units.

    Returns:
        For every unit ``statistic``, ``p_value``, ``q_value``, ``effect_size`` (the rank-biserial correlation of two
        classes, else eta squared of the ranks), ``significant`` (q < alpha) and ``test``, the index in ``TEST_NAMES``;
        on the device of features. A unit with NaN or infinite values is NaN and not significant; nor is a constant
        one.

    Raises:
        ValueError: For too few classes or samples in one, a target that is not integer, features that are not dense and
            real, or an alpha outside (0, 1).

    Warns:
        UserWarning: Once, if a class has more than 5000 samples: Shapiro-Wilk is not meant for more.

    Example:
        >>> import torch
        >>> x = torch.tensor([[1.0, 0.0], [2.0, 0.0], [3.0, 0.0], [7.0, 0.0], [8.0, 0.0], [9.5, 0.0]])
        >>> result = neuron_significance(x, torch.tensor([0, 0, 0, 1, 1, 1]))
        >>> result.significant, result.effect_size  # the second unit is dead
        (tensor([ True, False]), tensor([1., 0.], dtype=torch.float64))
        >>> TEST_NAMES[result.test[0]]
        'welch_t'
    """
    sample = sample_of_classes(unit_activations(features), target)
    most = int(sample.classes.counts.max())
    if most > MOST_SAMPLES:
        message = f"p-values of Shapiro-Wilk are extrapolated beyond {MOST_SAMPLES} samples; a class has {most}"
        warnings.warn(message, stacklevel=2)
    with full_precision(sample.device):
        return significance(sample, alpha)


def significance(sample: NeuronSample, alpha: float = 0.05) -> NeuronTests:
    """The tests of :func:`neuron_significance` on a sample of two classes or more, each of 3 samples or more."""
    if not 0 < alpha < 1:
        raise ValueError(f"alpha must lie between 0 and 1, not {alpha}")
    normal = (class_normality(sample).p_value > 0.05).all(1)
    if sample.num_classes == 2:
        parametric, ranks = welch_t(sample, 1, 0), mann_whitney(sample, 1, 0)
        effect_size = 2 * share_above(sample, 1, 0) - 1
        test = torch.where(normal, 0, 1)
    else:
        normal = normal & (sample.variance > 0).all(1)
        parametric, ranks = welch_analysis(sample), kruskal(sample)
        effect_size = rank_eta_squared_of(sample)
        test = torch.where(normal, 2, 3)
    chosen = SignificanceTest(*(a.where(normal, b) for a, b in zip(parametric, ranks, strict=True)))
    q_value = false_discovery_control(chosen.p_value)
    return NeuronTests(*chosen, q_value, effect_size, q_value < alpha, test)
