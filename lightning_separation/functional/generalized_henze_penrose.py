"""The generalised Henze-Penrose divergence of many classes on one spanning tree."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from scipy.sparse import csr_array
from torch import Tensor

from ._inputs import as_classes, as_points, device_of, full_precision
from ._points import Distance
from ._trees import spanning_tree


class GeneralizedHenzePenrose(NamedTuple):
    """Result of :func:`generalized_henze_penrose`; K classes, float64."""

    cross_edges: Tensor
    delta: Tensor
    divergence: Tensor
    lower: Tensor
    upper: Tensor


def generalized_henze_penrose(
    features: Tensor, target: Tensor, *, distance: Distance = "euclidean"
) -> GeneralizedHenzePenrose:
    r"""Cross edges of all classes on one minimum spanning tree of all points, and what they say of the Bayes error.

    With R_ij edges between classes i and j among N points: :math:`\delta_{ij} = R_{ij} / (2N)`, and the Bayes error of
    telling the K classes apart lies between
    :math:`\frac{K-1}{K}\left(1 - \sqrt{\max(0, 1 - \frac{K}{K-1} \sum_{i<j} R_{ij} / N)}\right)` and
    :math:`\sum_{i<j} R_{ij} / N`. This is another quantity than the pairwise divergence: points of a third class can
    stand between two others. Equal rows are handled as in :func:`friedman_rafsky`.

    Args:
        features: ``[N, ...]``, real, finite; flattened.
        target: ``[N]`` integers; any values.
        distance: ``"euclidean"`` or ``"cosine"``.

    Returns:
        ``cross_edges``, ``delta`` (small = separated) and ``divergence`` (1 - R_ij N / (2 n_i n_j)), each ``[K, K]``
        with zero diagonal, and the scalars ``lower`` and ``upper``; float64 on the features' device.

    Raises:
        ValueError: For NaN or infinite features, lengths that differ, a target that is not integer, or an unknown
            distance.

    References:
        Sekeh, Oselio & Hero, "Multi-class Bayes error estimation with a global minimal spanning tree" (2018).

    Example:
        >>> import torch
        >>> x = torch.tensor([[0.0], [1.0], [3.0], [7.0], [15.0], [31.0]])
        >>> generalized_henze_penrose(x, torch.tensor([0, 0, 1, 1, 2, 2])).cross_edges
        tensor([[0., 1., 0.],
                [1., 0., 1.],
                [0., 1., 0.]], dtype=torch.float64)
    """
    device = device_of(features)
    with full_precision(device):
        points = as_points(features, distance)
        classes = as_classes(target, len(points.node), points.device)
        edges = spanning_tree(points)
    node, index = points.node.cpu().numpy(), classes.of_sample.cpu().numpy()
    counts = classes.counts.cpu().numpy().astype(np.float64)
    num, total = len(counts), counts.sum()
    held = csr_array((np.ones(len(node)), (node, index)), shape=(len(points), num))  # adds up duplicates
    size = held.sum(axis=1)
    share = csr_array(held / size[:, None])
    between = (share[edges.u].T @ share[edges.v]).toarray()
    cross = between + between.T + 2 * (held.T @ share).toarray()
    np.fill_diagonal(cross, 0)
    divergence = 1 - cross * total / (2 * np.outer(counts, counts))
    np.fill_diagonal(divergence, 0)
    upper = np.triu(cross, 1).sum() / total
    lower = (num - 1) / num * (1 - np.sqrt(max(0.0, 1 - num / (num - 1) * upper))) if num > 1 else 0.0
    results = (cross, cross / (2 * total), divergence, np.float64(lower), np.float64(upper))
    return GeneralizedHenzePenrose(*(torch.as_tensor(x, dtype=torch.float64, device=device) for x in results))
