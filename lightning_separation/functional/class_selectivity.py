"""What every unit does for every class."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ._inputs import as_classes, full_precision
from ._neurons import NeuronSample
from .units import unit_activations


class ClassSelectivityResult(NamedTuple):
    """Result of :func:`class_selectivity` for U units and K classes; float64."""

    active_fraction: Tensor
    mean: Tensor
    std: Tensor
    kl: Tensor


def class_selectivity(
    features: Tensor, target: Tensor, *, threshold: float = 0.0, bins: int = 10, smoothing: float = 0.5
) -> ClassSelectivityResult:
    r"""How active every unit is for every class, and how far its distributions for the classes diverge.

    The divergence is Kullback and Leibler's in nats between histograms of two classes, the mean of both directions,
    and the mean over all pairs of classes. A unit's histograms share ``bins`` bins of one width from its smallest to
    its largest value, closed on the left, the last on both sides, as NumPy's do; ``smoothing`` is added to every
    count. Over the shares :math:`p_k` of class k in a bin it is :math:`[K \sum p_k \log p_k - \sum p_k \sum \log p_k]
    / (K (K-1))`, summed over the bins.

    Args:
        features: ``[N, ...]``, real, as :func:`unit_activations` takes them.
        target: ``[N]`` integers; any number of classes, in ascending order in the result.
        threshold: A unit is active on a sample if its activation is larger.
        bins: Number of bins.
        smoothing: Pseudo-count of every bin, positive.

    Returns:
        ``active_fraction``, ``mean`` and ``std`` (N - 1 in the denominator; NaN for one sample), each ``[U, K]``, and
        ``kl [U]``, in float64 on the device of features. kl is 0 for a constant unit and NaN for a single class. A
        unit with NaN or infinite values is NaN.

    Raises:
        ValueError: For features that are not dense and real, a target that is not integer, fewer than one bin or a
            smoothing that is not positive.

    Example:
        >>> import torch
        >>> x, y = torch.tensor([0.0, 0.0, 1.0, 0.0, 1.0, 1.0]), torch.tensor([0, 0, 0, 1, 1, 1])
        >>> found = class_selectivity(x, y, bins=2)
        >>> found.active_fraction
        tensor([[0.3333, 0.6667]], dtype=torch.float64)
        >>> found.kl  # shares 5/8, 3/8 and 3/8, 5/8: (1/4) log(5/3)
        tensor([0.1277], dtype=torch.float64)
    """
    if bins < 1 or not smoothing > 0:
        raise ValueError(f"bins must be at least 1 and smoothing positive, not {bins} and {smoothing}")
    matrix = unit_activations(features).detach()
    sample = NeuronSample(matrix, as_classes(target, len(matrix), matrix.device))
    with full_precision(matrix.device):
        return selectivity(sample, threshold, bins, smoothing)


class ClassHistograms(NamedTuple):
    """Histograms of U units for K classes on B bins of each unit's own."""

    counts: Tensor  # [U, K, B] int64
    edges: Tensor  # [U, B + 1] float64


def selectivity(sample: NeuronSample, threshold: float, bins: int, smoothing: float) -> ClassSelectivityResult:
    """:func:`class_selectivity` of a sample."""
    counts, edges = class_histograms(sample, bins)
    share = counts.double() + smoothing
    share = share / share.sum(2, keepdim=True)
    k, log = sample.num_classes, share.log()
    spread = k * (share * log).sum(1) - share.sum(1) * log.sum(1)  # 0 where all classes have one share
    kl = spread.sum(1).clamp(min=0) / (k * (k - 1)) if k > 1 else torch.full_like(edges[:, 0], torch.nan)
    kl = kl.where((sample.largest > sample.smallest) | kl.isnan(), 0)

    def count_active(values: Tensor, units: slice) -> tuple[Tensor]:
        total = torch.zeros(len(values), k, dtype=torch.float64, device=values.device)
        return (total.scatter_add_(1, sample.label.expand_as(values), (values.double() > threshold).double()),)

    (active,) = sample.over_blocks(count_active)
    found = (active / sample.counts, sample.mean, sample.std, kl)
    return ClassSelectivityResult(*map(sample.only_finite, found))


def class_histograms(sample: NeuronSample, bins: int = 10) -> ClassHistograms:
    """Histograms of every unit for every class, on bins of one width between the unit's smallest and largest value.

    A constant unit gets bins from 1/2 below to 1/2 above its value, as in NumPy. What is said of a unit with NaN or
    infinite values means nothing.
    """
    low, high = sample.smallest / sample.unit, sample.largest / sample.unit  # of a constant unit, the value itself
    wide = high > low
    low, high = low.where(wide, low - 0.5), high.where(wide, high + 0.5)
    step = torch.arange(bins + 1, dtype=torch.float64, device=low.device)
    edges = step * ((high - low) / bins)[:, None] + low[:, None]
    edges[:, -1] = high
    edges *= sample.unit[:, None]
    k = sample.num_classes

    def of_block(values: Tensor, units: slice) -> tuple[Tensor]:
        unit = torch.arange(len(values), device=values.device)[:, None]
        place = (unit * k + sample.label) * bins
        values = values.double()
        for left in edges[units, 1:-1].T:
            place += values >= left[:, None]
        return (place.flatten().bincount(minlength=len(values) * k * bins).view(-1, k, bins),)

    (counts,) = sample.over_blocks(of_block)
    return ClassHistograms(counts, edges)
