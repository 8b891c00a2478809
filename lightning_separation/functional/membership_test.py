"""Whether samples that a network was trained on are separated better than others."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ._bins import check_count, check_generator, check_tensor
from ._inputs import as_classes, as_matrix, device_of
from ._points import Distance
from .friedman_rafsky import henze_penrose_divergence

_ROUNDING = 1e-12  # means of divergences that differ by less are the same


class MembershipTest(NamedTuple):
    """Result of :func:`membership_test`, 0-dim float64 each."""

    gap: Tensor
    p_value: Tensor


def membership_test(
    train_features: Tensor,
    train_target: Tensor,
    features: Tensor,
    target: Tensor,
    *,
    num_permutations: int = 99,
    generator: torch.Generator | None = None,
    distance: Distance = "euclidean",
) -> MembershipTest:
    """Exact test of memorising: are the classes further apart among training samples than among others of their kind?

    If training has left no trace in the features, it is chance which samples of a class are those trained on. So it is
    permuted within every class which samples belong to which of the two sets, each keeping its size, and the mean
    divergence over pairs of classes is found again in both.

    Args:
        train_features: ``[N, ...]``, real, finite; flattened. The features of training samples.
        train_target: ``[N]`` integers.
        features: ``[M, ...]``, of samples not trained on.
        target: ``[M]`` integers. Classes that are not in both sets are left out.
        num_permutations: Random memberships drawn.
        generator: Of the memberships; None: torch's global one.
        distance: ``"euclidean"`` or ``"cosine"``.

    Returns:
        ``gap``, the mean divergence over pairs of classes among training samples less that among the others, and
        ``p_value``, one-sided for a positive gap: (memberships with a gap at least as large + 1) /
        (num_permutations + 1). On the device of train_features. Divergences depend on the number of samples: a gap
        between sets of unequal sizes is none of memorising alone, while p allows for it.

    Raises:
        ValueError: As :func:`friedman_rafsky`; for features of different widths, fewer than two classes in both sets,
            no permutations, or a generator of another type.

    Example:
        >>> import torch
        >>> _ = torch.manual_seed(0)
        >>> target = torch.arange(2).repeat(30)
        >>> trained = torch.randn(60, 3) + 5 * target[:, None]
        >>> found = membership_test(trained, target, torch.randn(60, 3), target)
        >>> found.gap > 0.5, found.p_value
        (tensor(True), tensor(0.0100, dtype=torch.float64))
    """
    check_count(num_permutations, "num_permutations")
    check_generator(generator)
    device = device_of(train_features)
    check_tensor(features, "features")
    train, others = as_matrix(train_features), as_matrix(features).to(device)
    if train.shape[1] != others.shape[1]:
        raise ValueError(f"both sets need the same features, but have {train.shape[1]} and {others.shape[1]}")
    of_train, of_others = as_classes(train_target, len(train), device), as_classes(target, len(others), device)
    label = torch.cat([classes.labels[classes.of_sample].long() for classes in (of_train, of_others)])
    trained_on = torch.arange(len(label), device=device) < len(train)
    common = torch.isin(label, label[trained_on]) & torch.isin(label, label[~trained_on])
    pooled, label, trained_on = torch.cat([train, others])[common], label[common], trained_on[common]
    labels, label = label.unique(return_inverse=True)
    num = len(labels)
    if num < 2:
        raise ValueError(f"at least two classes must be in both sets, not {num}")

    def gap(members: Tensor) -> Tensor:
        """Difference of the mean divergence of one set and that of the other."""
        of_set = (henze_penrose_divergence(pooled[m], label[m], distance=distance) for m in (members, ~members))
        return next(of_set).sub(next(of_set)).sum() / (num * (num - 1))

    observed = gap(trained_on)
    # Samples stand class by class, in random order inside; the places of the training samples are always the same.
    place = trained_on[label.argsort(stable=True)]
    source = device if generator is None else generator.device
    extreme = 0
    for _ in range(num_permutations):
        key = torch.rand(len(label), generator=generator, dtype=torch.float64, device=source)
        rank = (label + key.to(device)).argsort().argsort()
        extreme += int(gap(place[rank]) >= observed - _ROUNDING)
    return MembershipTest(observed, observed.new_tensor((extreme + 1) / (num_permutations + 1)))
