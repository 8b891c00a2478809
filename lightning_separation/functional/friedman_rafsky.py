"""The Friedman-Rafsky test and the Henze-Penrose divergence of every pair of classes."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from scipy.special import ndtr  # torch's is 0 below -8.3
from torch import Tensor

from ._forest import Edges
from ._inputs import as_classes, as_points, device_of, full_precision
from ._members import Members, Unions
from ._points import Distance
from ._trees import pair_trees


class FriedmanRafsky(NamedTuple):
    """Result of :func:`friedman_rafsky`; K classes, float64 except ``classes``."""

    classes: Tensor
    cross_edges: Tensor
    divergence: Tensor
    expected: Tensor
    variance: Tensor
    z: Tensor
    p_value: Tensor


def friedman_rafsky(
    features: Tensor, target: Tensor, *, distance: Distance = "euclidean", num_trees: int = 1
) -> FriedmanRafsky:
    r"""Friedman-Rafsky two-sample test of every pair of classes, on their minimum spanning trees.

    For two classes with m and n points, N in all, R counts the edges of the minimum spanning tree of the pooled points
    that join the two classes. The Henze-Penrose divergence is :math:`D = 1 - R N / (2 m n)`: 0 on average when labels
    are exchangeable, at most :math:`1 - N / (2 m n)`, and never clipped. z and p come from the exact mean and variance
    of R when labels are permuted; a small p says that the classes are separated.

    Equal rows are one node of the tree. R is then its expectation over all orders in which they could be told apart:
    :math:`\sum_U 2 a_U b_U / s_U + \sum_{UV} (a_U b_V + b_U a_V) / (s_U s_V)`, with a, b points of the two classes and
    s in all at a node. So a layer collapsed to one point has D = 0. Tied distances are ordered by what the rows hold:
    the result is a function of the set of points, not of their order.

    Args:
        features: ``[N, ...]``, real, finite; flattened to ``[N, d]``. Half precision is upcast. Distances that decide
            are computed in float64.
        target: ``[N]`` integers; any values.
        distance: ``"euclidean"`` or ``"cosine"`` (all rows of zeros are one node at distance 1 from all others).
        num_trees: k edge-disjoint trees per pair: each the minimum spanning tree of the complete graph without the
            edges of the earlier ones. R is the mean over them.

    Returns:
        ``classes [K]``, ascending, and ``cross_edges`` (R), ``divergence`` (D), ``expected`` and ``variance`` of R,
        ``z`` and one-sided ``p_value``, each ``[K, K]`` float64 on the features' device. Diagonals are 0, those of
        ``p_value`` 1. With N < 4 the variance, z and p are NaN; with fewer than two distinct rows 0, 0 and 1.

    Raises:
        ValueError: For NaN or infinite features, lengths that differ, a target that is not integer, an unknown
            distance, or more trees than a pair of classes has.

    References:
        Friedman & Rafsky, Annals of Statistics 7 (1979); Henze & Penrose, Annals of Statistics 27 (1999).

    Example:
        >>> import torch
        >>> x = torch.tensor([[0.0], [1.0], [2.1], [3.3], [10.0], [11.5], [13.1], [15.0]])
        >>> y = torch.tensor([0, 0, 0, 0, 1, 1, 1, 1])
        >>> friedman_rafsky(x, y).divergence  # one of seven edges joins the classes: 1 - 1 * 8 / (2 * 4 * 4)
        tensor([[0.0000, 0.7500],
                [0.7500, 0.0000]], dtype=torch.float64)
    """
    if num_trees < 1:
        raise ValueError(f"num_trees must be at least 1, not {num_trees}")
    device = device_of(features)
    with full_precision(device):
        points = as_points(features, distance)
        classes = as_classes(target, len(points.node), points.device)
        num = len(classes.labels)
        node, index = points.node.cpu().numpy(), classes.of_sample.cpu().numpy()
        members = Members(node, index, len(points))
        counts = classes.counts.cpu().numpy().astype(np.float64)
        found = [*(np.zeros((num, num)) for _ in range(5)), np.eye(num)]  # each of them can be let go
        for unions, trees in pair_trees(points, members, num_trees):
            rows = slice(unions.graph.min() // num, unions.graph.max() // num + 1)
            i, j = np.nonzero(np.arange(num)[rows, None] < np.arange(num))
            sums = _pair_sums(unions, trees, rows, num)[:, i, j]
            i += rows.start
            for square, values in zip(found, _tested(np.stack([counts[i], counts[j]], -1), *sums), strict=True):
                square[i, j] = square[j, i] = values
    return FriedmanRafsky(classes.labels.to(device), *(torch.from_numpy(x).to(device) for x in found))


def henze_penrose_divergence(
    features: Tensor, target: Tensor, *, distance: Distance = "euclidean", num_trees: int = 1
) -> Tensor:
    r"""Henze-Penrose divergence of every pair of classes, from their minimum spanning trees.

    The ``divergence`` of :func:`friedman_rafsky`, which see for arguments, duplicates, ties and errors.

    Args:
        features: ``[N, ...]``, real, finite.
        target: ``[N]`` integers.
        distance: ``"euclidean"`` or ``"cosine"``.
        num_trees: Edge-disjoint trees per pair.

    Returns:
        ``[K, K]`` float64, symmetric, zero diagonal, classes in ascending order.

    Raises:
        ValueError: As :func:`friedman_rafsky`.

    References:
        Berisha, Wisler, Hero & Spanias, IEEE Transactions on Signal Processing 64 (2016).

    Example:
        >>> import torch
        >>> henze_penrose_divergence(torch.zeros(8, 3), torch.tensor([0, 0, 0, 0, 1, 1, 1, 1]))  # collapsed: nothing
        tensor([[0., 0.],
                [0., 0.]], dtype=torch.float64)
    """
    return friedman_rafsky(features, target, distance=distance, num_trees=num_trees).divergence


def _tested(
    counts: np.ndarray, cross: np.ndarray, s2: np.ndarray, t: np.ndarray, distinct: np.ndarray
) -> tuple[np.ndarray, ...]:
    """R, divergence, mean, variance, z and p, ``[P]`` each, of pairs of ``counts [P, 2]`` by their ``_pair_sums``."""
    expected, variance = _null_moments(counts, counts.sum(-1) - 1, s2, t)
    with np.errstate(divide="ignore", invalid="ignore"):
        z = (cross - expected) / np.sqrt(variance)
    # No variance: one point, or trees that use up the complete graph; what is left then is rounding of expected^2.
    certain = (distinct == 1) | (variance <= 1e-12 * expected**2)
    variance, z = np.where(certain, 0, variance), np.where(certain, 0, z)
    p_value = np.where(certain, 1, ndtr(z))
    divergence = 1 - cross * counts.sum(-1) / (2 * counts.prod(-1))
    return cross, divergence, expected, variance, z, p_value


def _pair_sums(unions: Unions, trees: list[Edges], rows: slice, num: int) -> np.ndarray:
    """Of graphs R, the sums of squared weights and of squared strengths, and the number of nodes: ``[4, rows, num]``.

    The mean of k trees over the points, with duplicates told apart in every possible way, is one weighted graph: weight
    2 / s between two of the s points at a node, 1 / (k s_U s_V) between points of nodes that an edge of one tree joins.
    Its strengths are the row sums of its weights. The graphs are i * num + j for some rows i.
    """
    edges, k = Edges.join(trees), len(trees)
    u, v = (unions.number(end, edges.graph) for end in (edges.u, edges.v))
    a, b, size = unions.a, unions.b, unions.a + unions.b
    degree = np.bincount(np.concatenate([u, v]), minlength=len(size))
    weight = 1 / (size[u] * size[v])

    def total(graph: np.ndarray, value: np.ndarray) -> np.ndarray:
        return np.bincount(graph - rows.start * num, value, minlength=(rows.stop - rows.start) * num)

    # Single points add integers, exact in any order. Equal points add fractions: in the order of their content, so that
    # the sums do not depend on which class comes first.
    equal = np.flatnonzero(size > 1)
    equal = equal[np.argsort(unions.node[equal], kind="stable")]
    graph, s = unions.graph[equal], size[equal]
    cross = total(graph, 2 * a[equal] * b[equal] / s) + total(edges.graph, (a[u] * b[v] + b[u] * a[v]) * weight) / k
    squares = total(graph, 2 * (s - 1) / s) + total(edges.graph, weight) / k**2
    strengths = total(unions.graph, degree**2 * (size == 1)) / k**2
    strengths = strengths + total(graph, (2 * (s - 1) + degree[equal] / k) ** 2 / s)
    return np.stack([cross, squares, strengths, total(unions.graph, size > 0)]).reshape(4, -1, num)


def _null_moments(counts: np.ndarray, s1: np.ndarray, s2: np.ndarray, t: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance of the weight between classes of a graph whose labels are permuted.

    Args:
        counts: Samples of each class, ``[..., K]``.
        s1: Sum of the graph's weights, ``[...]``.
        s2: Sum of their squares.
        t: Sum over samples of the squared sum of their weights.

    Returns:
        Mean and variance; the variance is NaN for fewer than 4 samples.
    """
    n = counts.sum(-1)
    pairs = (counts * (counts - 1)).sum(-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        same = pairs / (n * (n - 1))
        differ = 1 - same  # the ends of one edge
        n_others = n[..., None] - counts
        fork = (counts * n_others * (n_others - 1)).sum(-1) / (n * (n - 1) * (n - 2))  # both edges at a common sample
        fours = (counts * (counts - 1) * (counts - 2) * (counts - 3)).sum(-1)
        fours = fours + pairs**2 - ((counts * (counts - 1)) ** 2).sum(-1)
        apart = 1 - 2 * same + fours / (n * (n - 1) * (n - 2) * (n - 3))  # two edges without a common sample
        mean = differ * s1
        variance = differ * s2 + fork * (t - 2 * s2) + apart * (s1**2 + s2 - t) - mean**2
    return mean, np.where(n >= 4, variance, np.nan)
