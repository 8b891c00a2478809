"""How many samples of each class sit at each point, and the points of unions of two classes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


class Members:
    """Counts of samples by point and class, sparse because few points are shared by classes.

    Args:
        node: The point of every sample.
        label: The class index of every sample; no class is empty.
        num_points: Points in all.

    Attributes:
        nodes: For every class the points that it has samples at, ascending.
        disjoint: Whether no point belongs to two classes.
    """

    def __init__(self, node: NDArray, label: NDArray, num_points: int) -> None:
        key, count = np.unique(label * num_points + node, return_counts=True)
        label, node = np.divmod(key, num_points)
        size = np.bincount(label)
        self.nodes = np.split(node, size.cumsum()[:-1])
        place = np.arange(len(node)) - np.repeat(size.cumsum() - size, size)
        shared = np.bincount(node, minlength=num_points) > 1
        self.disjoint = not shared.any()
        self._label, self._count, self._place = np.zeros((3, num_points), dtype=np.int64)
        self._label[node], self._count[node], self._place[node] = label, count, place
        # Counts and places [S + 1, K] at the S points shared by classes; row 0 is for all others.
        self._row = np.cumsum(shared) * shared
        self._counts, self._places = np.zeros((2, int(shared.sum()) + 1, len(size)), dtype=np.int64)
        self._counts[self._row[node], label] = count
        self._places[self._row[node], label] = place

    def count(self, nodes: NDArray, label: NDArray) -> NDArray:
        """How many samples of the classes sit at the nodes."""
        alone = self._count[nodes] * (self._label[nodes] == label)
        return alone if self.disjoint else self._either(nodes, label, alone, self._counts)

    def place(self, nodes: NDArray, label: NDArray) -> NDArray:
        """Where the nodes are in ``self.nodes`` of the classes; they must be there."""
        alone = self._place[nodes]
        return alone if self.disjoint else self._either(nodes, label, alone, self._places)

    def hold(self, u: NDArray, v: NDArray, label: NDArray) -> NDArray:
        """Whether both nodes are among those of the classes."""
        return (self.count(u, label) > 0) & (self.count(v, label) > 0)

    def _either(self, nodes: NDArray, label: NDArray, alone: NDArray, table: NDArray) -> NDArray:
        row = self._row[nodes]
        return np.where(row > 0, table[row, label], alone)


class Unions:
    """The nodes of unions of two classes, numbered through all unions.

    Args:
        members: Of the classes.
        first: Class indices ``[P]``.
        second: Class indices ``[P]``.

    Attributes:
        graph: Of every number the pair, as first * K + second.
        node: The point.
        a: Samples of the first class there.
        b: Samples of the second class. Where both are zero the number is not in use: the point has another one.
    """

    def __init__(self, members: Members, first: NDArray, second: NDArray) -> None:
        self._members = members
        self._classes = len(members.nodes)
        of_first, of_second = [members.nodes[i] for i in first], [members.nodes[j] for j in second]
        sizes = np.array([[len(u), len(v)] for u, v in zip(of_first, of_second, strict=True)])
        self._first = first.min() * self._classes
        self._start = np.zeros((2, (first.max() + 1) * self._classes - self._first), dtype=np.int64)
        place = first * self._classes + second - self._first
        self._start[:, place] = (sizes.cumsum() - sizes.ravel()).reshape(-1, 2).T
        self.graph = np.repeat(first * self._classes + second, sizes.sum(1))
        self.node = np.concatenate([nodes for pair in zip(of_first, of_second, strict=True) for nodes in pair])
        i, j = np.divmod(self.graph, self._classes)
        self.a, self.b = members.count(self.node, i), members.count(self.node, j)
        if not members.disjoint:
            repeated = self.number(self.node, self.graph) != np.arange(len(self.node))
            self.a[repeated] = self.b[repeated] = 0

    def number(self, nodes: NDArray, graph: NDArray) -> NDArray:
        """The numbers of nodes of graphs."""
        i, j = np.divmod(graph, self._classes)
        in_second = self._members.count(nodes, i) == 0
        start = self._start[in_second.astype(int), graph - self._first]
        return start + self._members.place(nodes, np.where(in_second, j, i))
