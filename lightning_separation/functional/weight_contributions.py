"""Where the class differences of a linear layer's units come from."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ._inputs import as_classes, as_matrix

_ROUNDING = 1e-12  # a spread so much smaller than the values is that of sums of equal numbers
_KNOWN = 0.99  # of the contributions to a unit must come from sources whose difference can be standardised


class WeightContributionsResult(NamedTuple):
    """Result of :func:`weight_contributions`; V units, U sources, K classes, float64."""

    difference: Tensor
    source_difference: Tensor
    contribution: Tensor
    amplification: Tensor


def weight_contributions(weight: Tensor, features: Tensor, target: Tensor) -> WeightContributionsResult:
    r"""How much of each unit's class difference comes from which unit before it, through which weight.

    A linear layer computes :math:`z = W h + b`. The difference between the mean of class k and the mean of the other
    classes' means is carried linearly: :math:`\Delta_k z_v = \sum_u w_{vu} \Delta_k h_u`. In units of the standard
    deviation of :math:`z_v` within the classes (pooled, N - K degrees of freedom) the terms are the contributions, and
    their sum is the standardised difference of unit v.

    Args:
        weight: ``[V, U]``, as ``nn.Linear.weight``.
        features: ``[N, U]``, what the layer is given.
        target: ``[N]`` integers, K classes.

    Returns:
        Four tensors on the device of ``features``.

        - ``difference [V, K]``: standardised difference of each unit.
        - ``source_difference [U, K]``: the same of the units before the layer.
        - ``contribution [V, U, K]``: parts of ``difference``; they sum to it over U.
        - ``amplification [V, K]``: the unit's absolute difference over the mean of its sources' absolute differences,
          each weighted by its absolute contribution. Above 1 the weights create or strengthen the dissociation of the
          class, about 1 they keep it, below 1 it is lost. Sources without spread within the classes are left out of it;
          where they contribute more than 1 % it is NaN.

        A unit without spread within the classes has NaN.

    Raises:
        ValueError: If shapes do not fit, features are not finite, or there are fewer than two classes or not more
            samples than classes.

    Example:
        >>> import torch
        >>> features = torch.tensor([[0.0, 1.0], [2.0, 3.0], [4.0, 1.0], [6.0, 3.0]])  # only the first one differs
        >>> found = weight_contributions(torch.tensor([[1.0, 0.0]]), features, torch.tensor([0, 0, 1, 1]))
        >>> found.contribution[0, :, 1]  # class means 1 and 5, standard deviation in the classes sqrt(2)
        tensor([2.8284, 0.0000], dtype=torch.float64)
        >>> found.amplification
        tensor([[1., 1.]], dtype=torch.float64)
    """
    matrix = as_matrix(features).double()
    if weight.ndim != 2 or features.ndim != 2 or weight.shape[1] != features.shape[1]:
        raise ValueError(
            f"weight must be [V, U] for features [N, U], not {tuple(weight.shape)} for {tuple(features.shape)}"
        )
    classes = as_classes(target, len(matrix), matrix.device)
    num = len(classes.labels)
    if num < 2 or len(matrix) <= num:
        raise ValueError(f"a class difference needs two classes and more samples than classes, not {num} classes")
    linear = weight.detach().to(matrix.device, torch.float64)
    members = torch.nn.functional.one_hot(classes.of_sample, num).double()  # [N, K]

    def centred(values: Tensor) -> tuple[Tensor, Tensor]:
        """Difference of every class from the others' mean, ``[n, K]``, and the spread within the classes, ``[n]``."""
        values = values - values.mean(0)
        means = values.T @ members / classes.counts
        inside = values - means.T[classes.of_sample]
        spread = (inside.square().sum(0) / (len(values) - num)).sqrt()
        others = (means.sum(1, keepdim=True) - means) / (num - 1)
        varies = spread > _ROUNDING * values.abs().amax(0)
        return means - others, torch.where(varies, spread, torch.nan)

    source, source_spread = centred(matrix)
    _, spread = centred(matrix @ linear.T)
    contribution = (linear / spread.unsqueeze(1)).unsqueeze(2) * source
    difference = contribution.sum(1)
    source_difference = source / source_spread.unsqueeze(1)
    share = contribution.abs()
    known = source_difference.isfinite()
    carried = torch.where(known, share, 0.0).sum(1)  # [V, K]
    kept = (share * source_difference.abs().nan_to_num(0.0, posinf=0.0)).sum(1) / carried
    amplification = torch.where(carried >= _KNOWN * share.sum(1), difference.abs() / kept, torch.nan)
    return WeightContributionsResult(difference, source_difference, contribution, amplification)
