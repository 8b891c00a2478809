"""Modules of units that share more information among themselves than with others."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ._bins import Numbers, as_numbers, check_count, check_generator, check_tensor
from ._inputs import device_of

_BLOCK = 1 << 20  # numbers to work on at a time
_ROUNDING = 1e-12  # values of Q that differ by less are the same


class Modularity(NamedTuple):
    """Result of :func:`modularity`, 0-dim float64 each."""

    value: Tensor
    null_mean: Tensor
    null_std: Tensor
    p_value: Tensor


def modularity(
    weights: Tensor,
    modules: Numbers,
    *,
    num_permutations: int = 1000,
    generator: torch.Generator | None = None,
) -> Modularity:
    r"""Newman's modularity of a partition of units, and that of partitions with the same sizes at random.

    :math:`Q = \sum_c [W_c / W - (S_c / W)^2]` with W the sum of all weights, :math:`W_c` that of the weights within
    module c and :math:`S_c` that of all weights of its units: how much more of the weight lies within modules than if
    every unit shared its weight out with no regard to them. A graph without any weight has Q = 0 and p = 1.

    Args:
        weights: ``[U, U]``, real, finite and symmetric, such as the information between units; their absolute values
            count, and the diagonal does not.
        modules: ``[U]`` integers, the module of every unit; any labels.
        num_permutations: Partitions drawn for the null, the labels being shuffled over the units.
        generator: Of the shuffles; None: torch's global one.

    Returns:
        ``value``; ``null_mean`` and ``null_std``, the mean and (population) standard deviation of the null; and
        ``p_value``, one-sided, that is (partitions with Q at least as large + 1) / (num_permutations + 1). On the
        device of weights.

    Raises:
        ValueError: For weights that are not square, finite and symmetric (up to rounding of float32), modules that do
            not fit, no permutations, or a generator of another type.

    Example:
        >>> import torch
        >>> weights = torch.block_diag(torch.ones(3, 3), torch.ones(3, 3))  # two triangles
        >>> found = modularity(weights, [0, 0, 0, 1, 1, 1], generator=torch.Generator().manual_seed(0))
        >>> found.value
        tensor(0.5000, dtype=torch.float64)
        >>> found.p_value < 0.2  # one of ten partitions
        tensor(True)
    """
    graph = _graph(weights)
    label = as_numbers(modules, "modules").to(graph.device)
    if label.is_floating_point() or label.is_complex() or label.shape != graph.shape[:1]:
        raise ValueError(f"modules must hold one integer for each of {len(graph)} units, not {tuple(label.shape)}")
    check_count(num_permutations, "num_permutations")
    check_generator(generator)
    label = label.unique(return_inverse=True)[1]
    num = int(label.max()) + 1
    device = graph.device if generator is None else generator.device
    value = _modularities(graph, label[None], num)[0]
    value = value.where(value.abs() > _ROUNDING, 0)  # of a single module
    found, step = [], max(1, _BLOCK // graph.numel())
    for start in range(0, num_permutations, step):
        size = (min(step, num_permutations - start), len(label))
        key = torch.rand(size, generator=generator, dtype=torch.float64, device=device)
        found.append(_modularities(graph, label[key.argsort(1).to(graph.device)], num))
    null = torch.cat(found)
    p_value = ((null >= value - _ROUNDING).sum() + 1).double() / (num_permutations + 1)
    return Modularity(value, null.mean(), null.std(correction=0), p_value)


def find_modules(weights: Tensor, *, resolution: float = 1.0, seed: int = 0) -> Tensor:
    """The modules that Louvain's search for the largest modularity finds, by networkx.

    Args:
        weights: ``[U, U]``, as for :func:`modularity`.
        resolution: Above 1 for more and smaller modules, below 1 for fewer and larger ones.
        seed: Of the order in which units are tried; equal seeds give equal modules.

    Returns:
        ``[U]`` int64 on the device of weights; module of every unit, 0 for the largest, those of one size in the order
        of their first units. A unit without any weight is a module of its own: no module could gain or lose by it.

    Raises:
        ValueError: For weights that :func:`modularity` refuses, or a resolution that is not positive.

    References:
        Blondel, Guillaume, Lambiotte & Lefebvre, Journal of Statistical Mechanics (2008) P10008.

    Example:
        >>> import torch
        >>> find_modules(torch.block_diag(torch.ones(2, 2), torch.ones(3, 3)))
        tensor([1, 1, 0, 0, 0])
    """
    import networkx  # type: ignore[import-untyped]  # takes as long to import as the rest of the package's arithmetic

    graph = _graph(weights)
    if not resolution > 0:
        raise ValueError(f"resolution must be positive, not {resolution}")
    network = networkx.from_numpy_array(graph.cpu().numpy())
    found = networkx.community.louvain_communities(network, resolution=resolution, seed=seed)
    modules = torch.empty(len(graph), dtype=torch.int64)
    for label, members in enumerate(sorted(map(sorted, found), key=lambda units: (-len(units), units))):
        modules[members] = label
    return modules.to(graph.device)


def _graph(weights: Tensor) -> Tensor:
    """Checked weights as float64, absolute, exactly symmetric, 0 on the diagonal, the largest 1."""
    check_tensor(weights, "weights")
    device = device_of(weights)
    if weights.is_complex() or weights.layout != torch.strided or weights.is_nested:
        raise ValueError(f"weights must be a dense real tensor, not {weights.layout} of {weights.dtype}")
    if weights.ndim != 2 or weights.shape[0] != weights.shape[1] or not len(weights):
        raise ValueError(f"weights must be [U, U], not {tuple(weights.shape)}")
    graph = weights.detach().to(device).double().abs()
    if not bool(graph.isfinite().all()):
        raise ValueError("weights hold NaN or infinite values; leave out the units that have them")
    graph = graph.clone().fill_diagonal_(0)
    graph /= graph.max().where(graph.max() > 0, 1)
    if not torch.allclose(graph, graph.T, rtol=1e-5, atol=1e-9):
        raise ValueError("weights must be symmetric: (weights + weights.T) / 2 are")
    return (graph + graph.T) / 2


def _modularities(graph: Tensor, labels: Tensor, num: int) -> Tensor:
    """Q of P partitions ``labels [P, U]`` into ``num`` modules, ``[P]``."""
    strength = graph.sum(1)
    total = strength.sum()
    if total == 0:
        return graph.new_zeros(len(labels))
    together = labels[:, :, None] == labels[:, None]
    inside = graph.where(together, 0).sum((1, 2)) / total  # faster than products with one-hot labels: no factor C
    of_module = graph.new_zeros(len(labels), num).scatter_add_(1, labels, strength.expand_as(labels))
    return inside - (of_module / total).square_().sum(1)
