"""The minimum spanning tree of a set of points."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ._inputs import as_points, device_of, full_precision
from ._points import Distance
from ._trees import spanning_tree


class SpanningTree(NamedTuple):
    """Result of :func:`minimum_spanning_tree`."""

    edges: Tensor
    weights: Tensor


def minimum_spanning_tree(features: Tensor, *, distance: Distance = "euclidean") -> SpanningTree:
    """Minimum spanning tree of the complete graph of distances between points.

    Exact: the distances that decide are computed by differences in float64. Memory grows with N d, not with N^2.
    Equal rows are joined by edges of length 0; tied distances are ordered by what the rows hold.

    Args:
        features: ``[N, ...]``, real, finite; flattened to ``[N, d]``.
        distance: ``"euclidean"`` or ``"cosine"`` (1 - cos; rows of zeros are at distance 0 from each other and 1 from
            all other rows).

    Returns:
        ``edges [N - 1, 2]`` int64, each ``u < v``, and ``weights [N - 1]`` float64, the edges' lengths, ascending; both
        on the features' device.

    Raises:
        ValueError: For NaN or infinite features or an unknown distance.

    Example:
        >>> import torch
        >>> minimum_spanning_tree(torch.tensor([[0.0], [5.0], [1.0]]))
        SpanningTree(edges=tensor([[0, 2],
                [1, 2]]), weights=tensor([1., 4.], dtype=torch.float64))
    """
    device = device_of(features)
    with full_precision(device):
        points = as_points(features, distance)
        tree = spanning_tree(points)
        order = points.node.argsort(stable=True)
        equal = points.node[order][1:] == points.node[order][:-1]
        twins = torch.stack([order[:-1][equal], order[1:][equal]], 1)
        first = torch.cat([equal.new_ones(1, dtype=torch.bool), ~equal])
        between = (
            order[first][torch.from_numpy(tree.u).to(order.device)],
            order[first][torch.from_numpy(tree.v).to(order.device)],
        )
        edges = torch.cat([twins, torch.stack(between, 1)]).sort(1).values
        weights = points.lengths(torch.from_numpy(tree.weight).to(order.device))
        weights = torch.cat([weights.new_zeros(len(twins)), weights])
    return SpanningTree(edges.to(device), weights.to(device))
