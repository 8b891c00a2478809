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
    """

    def __init__(self, node: NDArray, label: NDArray, num_points: int) -> None:
        key, count = np.unique(label * num_points + node, return_counts=True)
        label, node = np.divmod(key, num_points)
        size = np.bincount(label)
        self.nodes = np.split(node, size.cumsum()[:-1])
        place = np.arange(len(node)) - np.repeat(size.cumsum() - size, size)
        self._shared = np.bincount(node, minlength=num_points) > 1
        self._row = np.cumsum(self._shared) * self._shared
        self._home = np.zeros((3, num_points), dtype=np.int64)
        self._home[:, node] = label, count, place
        # Counts and places [2, S + 1, K] at the points shared by classes; row 0 is for all others.
        self._table = np.zeros((2, int(self._shared.sum()) + 1, len(size)), dtype=np.int64)
        self._table[:, self._row[node], label] = count, place

    def count(self, nodes: NDArray, label: NDArray) -> NDArray:
        """How many samples of the classes sit at the nodes."""
        home, count, _ = self._home[:, nodes]
        return np.where(self._shared[nodes], self._table[0, self._row[nodes], label], count * (home == label))

    def hold(self, u: NDArray, v: NDArray, label: NDArray) -> NDArray:
        """Whether both nodes are among those of the classes."""
        return (self.count(u, label) > 0) & (self.count(v, label) > 0)

    def place(self, nodes: NDArray, label: NDArray) -> NDArray:
        """Where the nodes are in ``self.nodes`` of the classes; they must be there."""
        return np.where(self._shared[nodes], self._table[1, self._row[nodes], label], self._home[2, nodes])


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
        self._start = np.zeros((2, self._classes**2), dtype=np.int64)
        self._start[:, first * self._classes + second] = (sizes.cumsum() - sizes.ravel()).reshape(-1, 2).T
        self.graph = np.repeat(first * self._classes + second, sizes.sum(1))
        self.node = np.concatenate([nodes for pair in zip(of_first, of_second, strict=True) for nodes in pair])
        i, j = np.divmod(self.graph, self._classes)
        self.a, self.b = members.count(self.node, i), members.count(self.node, j)
        repeated = self.number(self.node, self.graph) != np.arange(len(self.node))
        self.a[repeated] = self.b[repeated] = 0

    def number(self, nodes: NDArray, graph: NDArray) -> NDArray:
        """The numbers of nodes of graphs."""
        i, j = np.divmod(graph, self._classes)
        in_second = self._members.count(nodes, i) == 0
        return self._start[in_second.astype(int), graph] + self._members.place(nodes, np.where(in_second, j, i))
