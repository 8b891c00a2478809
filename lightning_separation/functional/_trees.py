"""Spanning trees of one set of points and of every pair of classes, whatever their number and sizes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ._forest import Edges, Forest, TooFewTreesError, kruskal
from ._members import Members, Unions
from ._points import Points

_LARGEST = 1024  # points of a class whose distances to each other are held at once
_SMALLEST = 32  # points that are worth the overhead of a piece
_NODES = 1 << 15  # nodes of unions of classes whose trees are sought together


def spanning_tree(points: Points) -> Edges:
    """Minimum spanning tree of all points."""
    return _ClassTrees(points, [torch.arange(len(points), device=points.device)]).trees


def pair_trees(points: Points, members: Members, num_trees: int = 1) -> Iterator[tuple[Unions, list[Edges]]]:
    """Edge-disjoint minimum spanning trees of all pairs of classes.

    Args:
        points: Distinct points.
        members: Their classes.
        num_trees: Trees per pair: each the minimum spanning tree of what the earlier ones leave.

    Yields:
        The unions of some pairs, and ``num_trees`` edge sets; ``graph`` is i * K + j for classes i < j.

    Raises:
        TooFewTreesError: If a pair has fewer trees.
    """
    classes = [torch.from_numpy(nodes).to(points.device) for nodes in members.nodes]
    own = _ClassTrees(points, classes)
    num = len(classes)
    rows = max(1, _NODES // (2 * sum(len(nodes) for nodes in classes)))
    for start in range(0, num - 1, rows):
        first = range(start, min(start + rows, num - 1))
        i, j = np.array([(i, j) for i in first for j in range(i + 1, num)]).T
        unions = Unions(members, i, j)
        trees = [own.pairs(members, i, j, unions)]
        while len(trees) < num_trees:
            used = Edges.join(trees)
            pair = np.searchsorted(i * num + j, used.graph)
            groups = [torch.cat([classes[a], classes[b]]).unique() for a, b in zip(i, j, strict=True)]
            try:
                tree = Forest(points, groups, without=used.of(pair)).trees
            except TooFewTreesError as error:
                raise TooFewTreesError(f"num_trees={num_trees} is too many: {error}") from None
            trees.append(tree.of((i * num + j)[tree.graph]))
        yield unions, trees


class _ClassTrees:
    """Minimum spanning trees of classes and of pairs of them.

    An edge of the tree of a set is in the tree of every part that holds both its ends. So classes are cut into pieces
    of about one size, however unequal the classes are, and never are all distances held at once.

    Attributes:
        trees: The trees of the classes, which are their ``graph``.
    """

    def __init__(self, points: Points, classes: list[Tensor]) -> None:
        sizes = np.array([len(nodes) for nodes in classes])
        size = _LARGEST
        while size > _SMALLEST and _padded(sizes, size) > 2 * sizes.sum():
            size //= 2
        pieces = [nodes.tensor_split(-(-len(nodes) // size)) for nodes in classes]
        self._class = np.repeat(np.arange(len(classes)), [len(parts) for parts in pieces])
        self._forest = Forest(points, [piece for parts in pieces for piece in parts])
        self.trees = self._forest.trees
        if len(self._class) > len(classes):
            same = np.triu(self._class[:, None] == self._class, 1)
            inside = self._forest.between(range(len(same)), same)
            edges = Edges.join(
                [self.trees.of(self._class[self.trees.graph]), inside.of(self._class[inside.graph // len(same)])]
            )
            ends = np.stack([edges.u, edges.v]) + edges.graph * len(points)
            self.trees = kruskal(edges, *np.unique(ends, return_inverse=True)[1].reshape(2, -1))
        self.trees = self.trees[np.argsort(self.trees.graph, kind="stable")]
        self._tree = np.split(np.arange(len(self.trees)), np.cumsum(sizes - 1)[:-1])

    def pairs(self, members: Members, first: NDArray, second: NDArray, unions: Unions) -> Edges:
        """The trees of some pairs of classes; ``graph`` as in their unions."""
        start, stop = np.searchsorted(self._class, [first.min(), first.max() + 1])
        cross = self._forest.between(range(start, stop), self._class[:, None] < self._class)
        i, j = self._class[np.stack(np.divmod(cross.graph, len(self._class)))]
        cross = cross.of(i * len(members.nodes) + j)
        num = len(members.nodes)
        own, other = (
            self.trees[np.concatenate([self._tree[c] for c in part])].of(
                np.repeat(first * num + second, [len(self._tree[c]) for c in part])
            )
            for part in (first, second)
        )
        if not members.disjoint:  # what lies inside a class is among that class's own edges; once if inside both
            cross = cross[~(members.hold(cross.u, cross.v, i) | members.hold(cross.u, cross.v, j))]
            other = other[~members.hold(other.u, other.v, other.graph // num)]
        edges = Edges.join([own, other, cross])
        return kruskal(edges, unions.number(edges.u, edges.graph), unions.number(edges.v, edges.graph))


def _padded(sizes: NDArray, size: int) -> int:
    """Points in all when classes are cut into pieces of at most a size, which are all padded to the largest."""
    pieces = -(-sizes // size)
    return int(pieces.sum() * (-(-sizes // pieces)).max())
