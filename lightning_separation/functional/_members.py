"""How many samples of each group sit at each point."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


class Members:
    """Counts of samples by point and group, sparse because few points are shared by groups.

    Args:
        groups: For every group the indices of its points, ascending.
        counts: For every group how many of its samples sit at each of these points.
        num_points: Points in all.

    Attributes:
        groups: As given.
        shared: For every point whether it belongs to more than one group.
        table: Counts ``[S + 1, K]`` at the shared points; row 0 is empty.
    """

    def __init__(self, groups: list[NDArray], counts: list[NDArray], num_points: int) -> None:
        self.groups = groups
        nodes, size = np.concatenate(groups), np.concatenate(counts)
        graph = np.repeat(np.arange(len(groups)), [len(g) for g in groups])
        self.shared = np.bincount(nodes, minlength=num_points) > 1
        self._home = np.zeros(num_points, dtype=np.int64)
        self._home[nodes] = graph
        self._size = np.zeros(num_points)
        self._size[nodes] = size
        self._row = np.cumsum(self.shared) * self.shared
        self.table = np.zeros((int(self.shared.sum()) + 1, len(groups)))
        self.table[self._row[nodes], graph] = size
        self.table[0] = 0

    @classmethod
    def of_classes(cls, node: NDArray, index: NDArray, num_points: int) -> Members:
        """From the point and the class index of every sample."""
        key, counts = np.unique(index * num_points + node, return_counts=True)
        graph, node = np.divmod(key, num_points)
        cuts = np.flatnonzero(np.diff(graph)) + 1
        return cls(np.split(node, cuts), np.split(counts, cuts), num_points)

    def count(self, nodes: NDArray, group: NDArray | int) -> NDArray:
        """Samples of ``group`` at ``nodes``, float64, of the broadcast shape."""
        alone = self._size[nodes] * (self._home[nodes] == group)
        return np.where(self.shared[nodes], self.table[self._row[nodes], group], alone)
