"""What every sample is joined to in the spanning tree of all samples."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from scipy.sparse import csr_array
from torch import Tensor

from ._inputs import as_classes, as_points, device_of, full_precision
from ._points import Distance
from ._trees import spanning_tree


class TreeNeighbours(NamedTuple):
    """Result of :func:`tree_neighbours`, ``[N]`` each: float64, int64 and float64."""

    cross_share: Tensor
    neighbour_class: Tensor
    degree: Tensor


def tree_neighbours(features: Tensor, target: Tensor, *, distance: Distance = "euclidean") -> TreeNeighbours:
    """Which classes every sample's edges lead to, in the minimum spanning tree of all samples.

    A sample with ``cross_share`` 1 has no neighbour of its own class: its label may be wrong. Equal rows are told apart
    in every possible way, as in :func:`generalized_henze_penrose`: of s samples at one point every two share 2 / s
    edges, and an edge between points of s and t samples is shared out to 1 / (s t) for every two of them. Memory grows
    with N K for K classes.

    Args:
        features: ``[N, ...]``, real, finite; flattened.
        target: ``[N]`` integers; any values.
        distance: ``"euclidean"`` or ``"cosine"``.

    Returns:
        ``cross_share``, the share of a sample's edges that lead to other classes, exactly 1 or 0 if all or none do (NaN
        for a single sample, which has no edges); ``neighbour_class``, the label that most of them lead to, its own if
        that is among several, else the smallest; and ``degree``, the number of its edges. On the features' device, in
        the order of the samples.

    Raises:
        ValueError: For NaN or infinite features, lengths that differ, a target that is not integer, or an unknown
            distance.

    Example:
        >>> import torch
        >>> x = torch.tensor([[0.0], [1.0], [3.0], [10.0], [11.5], [14.0]])
        >>> found = tree_neighbours(x, torch.tensor([0, 1, 0, 1, 1, 1]))
        >>> found.cross_share
        tensor([1.0000, 1.0000, 1.0000, 0.5000, 0.0000, 0.0000], dtype=torch.float64)
        >>> found.neighbour_class
        tensor([1, 0, 1, 1, 1, 1])
    """
    device = device_of(features)
    with full_precision(device):
        points = as_points(features, distance)
        classes = as_classes(target, len(points.node), points.device)
        edges = spanning_tree(points)
    node, own = points.node.cpu().numpy(), classes.of_sample.cpu().numpy()
    samples = np.arange(len(node))
    held = csr_array((np.ones(len(node)), (node, own)), shape=(len(points), len(classes.labels)))  # adds up duplicates
    size = held.sum(axis=1)
    ends = np.concatenate([edges.u, edges.v]), np.concatenate([edges.v, edges.u])
    joined = csr_array((1 / (size[ends[0]] * size[ends[1]]), ends), shape=(len(points), len(points)))
    equal = held[node].toarray()
    equal[samples, own] -= 1  # no edge to itself
    weight = (joined @ held)[node].toarray() + equal * (2 / size[node])[:, None]
    inside = weight[samples, own]
    weight[samples, own] = 0
    outside = weight.sum(1)
    with np.errstate(invalid="ignore"):
        cross_share = outside / (outside + inside)
    weight[samples, own] = inside
    most = weight >= weight.max(1, keepdims=True) * (1 - 1e-12)
    neighbour = np.where(most[samples, own], own, most.argmax(1))
    return TreeNeighbours(
        torch.from_numpy(cross_share).to(device),
        classes.labels.long().to(device)[torch.from_numpy(neighbour).to(device)],
        torch.from_numpy(outside + inside).to(device),
    )
