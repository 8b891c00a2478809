"""Spanning trees of one set of points and of every pair of classes, whatever their number and sizes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from ._forest import Edges, Forest, TooFewTreesError, kruskal
from ._points import Points

_LARGEST = 4096  # points of a group whose distances to each other are held at once
_BLOCK = 1024


def spanning_tree(points: Points, nodes: Tensor) -> Edges:
    """Minimum spanning tree of the given nodes.

    An edge of the tree of a set is in the tree of every part that holds both its ends. So a large set is cut into
    blocks, and its tree is that of the trees of all pairs of blocks: never all distances at once.
    """
    forest = Forest(points, [nodes] if len(nodes) <= _LARGEST else list(nodes.split(_BLOCK)))
    parts = [forest.trees, *(forest.pairs(i) for i in range(len(forest.groups) - 1))]
    edges = Edges.join(parts)
    if len(parts) == 1:
        return edges
    key, first = np.unique(edges.u * len(points) + edges.v, return_index=True)
    edges = edges[first]
    return kruskal(Edges(np.zeros_like(key), edges.u, edges.v, edges.weight), len(points))


def pair_trees(points: Points, classes: list[Tensor], num_trees: int = 1) -> Iterator[list[Edges]]:
    """Edge-disjoint minimum spanning trees of class i with every later class, for i = 0 .. K - 2.

    Args:
        points: Distinct points.
        classes: The nodes of each class, ascending.
        num_trees: Trees per pair: each the minimum spanning tree of what the earlier ones leave.

    Yields:
        For one i a list of ``num_trees`` edge sets, their ``graph`` the position of the other class.

    Raises:
        TooFewTreesError: If a pair has fewer trees.
    """
    sizes = [len(nodes) for nodes in classes]
    even = max(sizes) <= _LARGEST and len(sizes) * max(sizes) <= 4 * sum(sizes)
    forest = Forest(points, classes) if even else None
    for i in range(len(classes) - 1):
        later = range(i + 1, len(classes))
        unions: list[Tensor] = []
        if forest is None or num_trees > 1:
            unions = [torch.cat([classes[i], classes[j]]).unique() for j in later]
        if forest is not None:
            trees = [forest.pairs(i)]
        else:
            parts = [spanning_tree(points, nodes) for nodes in unions]
            trees = [Edges.join([_renumber(part, np.full(len(part), j)) for j, part in zip(later, parts, strict=True)])]
        while len(trees) < num_trees:
            used = Edges.join(trees)
            used = _renumber(used, used.graph - i - 1)
            try:
                tree = Forest(points, unions, without=used).trees
            except TooFewTreesError as error:
                raise TooFewTreesError(f"num_trees={num_trees} is too many: {error}") from None
            trees.append(_renumber(tree, tree.graph + i + 1))
        yield trees


def _renumber(edges: Edges, graph: np.ndarray) -> Edges:
    return Edges(graph, edges.u, edges.v, edges.weight)
