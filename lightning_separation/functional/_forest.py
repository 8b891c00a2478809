"""Exact minimum spanning trees of many pairs of point groups at once: filter in float32, verify in float64.

Every edge of the minimum spanning tree (MST) of a union of two groups is an edge of one group's own MST or an edge
between the groups. So each group's tree is computed once, and then for every pair only the block of distances between
the two groups is looked at. Four facts make that fast and exact:

- A distance block is one float32 matrix product of centred points. Its rounding error has a bound, proportional to the
  squared norms, that is subtracted: the block holds lower bounds of the true squared distances.
- An edge longer than the largest step on some path between its ends is not in the MST (cycle property). Paths are at
  hand: inside a group by its own tree, between groups by a point's nearest neighbour in the other. Few edges survive.
- In the order in which Prim's algorithm visits points, the largest step on the path between any two of them is the
  maximum over the visits from the one to the other.
- The survivors' distances are computed again, by differences in float64; Kruskal's algorithm orders them by these, and
  by the content of their ends where they tie. Where float32 is too coarse, too many edges survive; then that block is
  done again in float64. The answer is the same.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import minimum_spanning_tree as _csgraph_tree
from torch import Tensor

from ._points import WORK_ELEMENTS, Points

_FAR = 1e30  # squared distance of padding to anything; coordinates are scaled to at most 1
_TILE = 1 << 21  # distances between groups held at once: a processor's cache should hold them
_INSIDE = 1 << 24  # distances inside groups held at once: Prim's algorithm takes one step in all of them together
_COORDINATES = 1 << 22  # of the points of these groups
_COARSE = 1 / 32  # share of surviving edges above which a float64 product costs less than verifying them one by one


class TooFewTreesError(ValueError):
    """Points have fewer edge-disjoint spanning trees than asked for."""


@dataclass(frozen=True)
class Edges:
    """Edges of several graphs: graph, two nodes u < v (indices into the points), exact squared length; all ``[E]``."""

    graph: np.ndarray
    u: np.ndarray
    v: np.ndarray
    weight: np.ndarray

    def __len__(self) -> int:
        return len(self.u)

    def __getitem__(self, index: np.ndarray | slice) -> Edges:
        return Edges(self.graph[index], self.u[index], self.v[index], self.weight[index])

    def of(self, graph: np.ndarray | int) -> Edges:
        """The same edges in other graphs."""
        return Edges(np.broadcast_to(graph, self.u.shape), self.u, self.v, self.weight)

    @staticmethod
    def join(parts: list[Edges]) -> Edges:
        return Edges(*(np.concatenate([getattr(part, name) for part in parts]) for name in Edges.__annotations__))


def kruskal(edges: Edges, u: np.ndarray, v: np.ndarray) -> Edges:
    """Minimum spanning forest of every graph, edges by ascending length; ties in the order of their nodes' content.

    Args:
        edges: Edges of any number of graphs, none twice in one.
        u: The edges' first ends, numbered from 0 so that nodes of different graphs have different numbers.
        v: The edges' second ends.
    """
    order = np.argsort(edges.weight)
    first, then = edges[order[:-1]], edges[order[1:]]
    tied = (first.weight == then.weight) & ((first.u != then.u) | (first.v != then.v))
    if tied.any():  # else equal lengths are one edge in several graphs
        order = np.lexsort((edges.v, edges.u, edges.weight))
    num = int(max(u.max(), v.max())) + 1 if len(edges) else 0
    rank = np.arange(1, len(edges) + 1, dtype=np.float64)  # no zeros, no ties: csgraph reads zero as "no edge"
    ends = u[order].astype(np.int32), v[order].astype(np.int32)  # SciPy 1.12's csgraph takes no others
    tree = _csgraph_tree(coo_array((rank, ends), shape=(num, num)).tocsr())
    return edges[order[np.sort(tree.data).astype(np.int64) - 1]]


class Forest:
    """Minimum spanning trees of groups of points, and what the trees of unions of two groups can have between them.

    Args:
        points: Distinct points.
        groups: For every group the ascending indices of its points, none empty; groups may share points.
        without: Edges that the groups' own trees must not use.

    Attributes:
        trees: The groups' own trees; ``graph`` is the group's position in ``groups``.

    Raises:
        TooFewTreesError: If a group is not connected without those edges.
    """

    def __init__(self, points: Points, groups: list[Tensor], without: Edges | None = None) -> None:
        self.points = points
        self.groups = groups
        self.counts = torch.tensor([len(nodes) for nodes in groups], device=points.device)
        self.index = torch.nn.utils.rnn.pad_sequence(groups, batch_first=True)
        self._products: dict[torch.dtype, _LowerBounds] = {}
        self._tiles: dict[torch.dtype, Tensor] = {}
        num, size = self.index.shape
        # Of every group: when Prim's algorithm visited each point, and an upper bound of the step that led to it.
        self._visit = torch.zeros(num, size, dtype=torch.int64, device=points.device)
        self._step = torch.zeros(num, size, dtype=torch.float64, device=points.device)
        self.trees = self._own_trees(without)
        self._longest_step = _RangeMaximum(self._step)
        self._to_root = self._step.cummax(1).values.gather(1, self._visit)  # largest step from each point to the root

    def between(self, first: range, wanted: np.ndarray) -> Edges:
        """Edges between two groups that may be in the tree of their union.

        Args:
            first: The groups at one end.
            wanted: Of which pairs, ``[G, G]`` bool.

        Returns:
            For group i with group j ``graph`` is i * G + j.
        """
        num, size = self.index.shape
        blocks = max(1, _TILE // size**2)
        height = max(1, min(blocks // num, num // 4))  # half of a tall block would be below the diagonal
        parts = [self._verified(*[self.counts[:0]] * 3)]
        for top in range(first.start, first.stop, height):
            rows = slice(top, min(top + height, first.stop))
            columns = np.flatnonzero(wanted[rows].any(0))
            for left in range(columns[0], columns[-1] + 1, blocks) if len(columns) else ():
                block = rows, slice(left, min(left + blocks, columns[-1] + 1))
                parts.append(self._between(*block, torch.from_numpy(~wanted[block]).to(self.points.device)))
        return Edges.join(parts)

    def _own_trees(self, without: Edges | None) -> Edges:
        num, size = self.index.shape
        used = np.zeros((0, 3), dtype=np.int64)
        if without is not None:
            used = np.stack([without.graph, without.u, without.v], 1)
        todo = torch.arange(num, device=self.points.device)
        found = []
        for dtype in (torch.float32, torch.float64):
            coarse = [todo[:0]]
            at_once = max(1, min(_INSIDE // size**2, _COORDINATES // (size * self.points.dim)))
            for group in todo.split(at_once) if len(todo) else ():
                at, u, v = self._inside(group, torch.from_numpy(used).to(self.points.device), dtype)
                many = at.bincount(minlength=len(group)) > 4 * size + _COARSE * size**2
                if dtype is torch.float32:
                    coarse.append(group[many])
                    at, u, v = (x[~many[at]] for x in (at, u, v))
                found.append(torch.stack([group[at], u, v]))
            todo = torch.cat(coarse)
        group, u, v = torch.cat(found, 1)
        edges = self._verified(group, self.index[group, u], self.index[group, v])
        return kruskal(edges, *((group * size + end).cpu().numpy() for end in (u, v)))

    def _inside(self, group: Tensor, used: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
        """Edges that may be in the trees of the groups: position in ``group``, two positions in that group."""
        bounds = self._bounds(dtype)
        size = self.index.shape[1]
        block = torch.bmm(bounds.left(group), bounds.right[group].mT)
        for g, number in enumerate(group.tolist() if len(used) else []):
            u, v = torch.searchsorted(self.groups[number], used[used[:, 0] == number, 1:].T.contiguous())
            block[g, u, v] = block[g, v, u] = _FAR
        start = bounds.right[group, :, -1].argmin(1)  # the point nearest to the centre of all
        order, step = (torch.from_numpy(x).to(block.device) for x in _prim(block.cpu().numpy(), start.cpu().numpy()))
        step = step.double() + 4 * bounds.largest_slack[group, None]
        step[:, 0] = 0
        real = torch.arange(size, device=step.device) < self.counts[group, None]
        if bool((step[real] >= _FAR / 2).any()):
            raise TooFewTreesError("a group of points has no further spanning tree without the edges used")
        step.masked_fill_(~real, 0)
        visit = torch.empty_like(order).scatter_(1, order, torch.arange(size, device=order.device).expand_as(order))
        self._visit[group], self._step[group] = visit, step
        reach = _round_up(step.cummax(1).values.gather(1, visit), dtype)  # largest step to the root
        part = max(1, _TILE // size**2)
        flat = torch.cat(
            [
                _where_at_most(x, torch.maximum(r[:, :, None], r[:, None, :])) + g * part * size**2
                for g, (x, r) in enumerate(zip(block.split(part), reach.split(part), strict=True))
            ]
        )
        at, u, v = flat // size**2, flat // size % size, flat % size
        value = block.view(-1)[flat]
        keep = (u < v) & (value <= _RangeMaximum(step)(at, visit[at, u], visit[at, v]))
        return at[keep], u[keep], v[keep]

    def _between(self, rows: slice, columns: slice, unwanted: Tensor, dtype: torch.dtype = torch.float32) -> Edges:
        """Edges between a group of rows and one of columns that may be in their tree."""
        bounds = self._bounds(dtype)
        size = self.index.shape[1]
        height, width = unwanted.shape
        block, work = self._tile(dtype, (height, size, width, size))
        torch.mm(
            bounds.left(rows).flatten(0, 1), bounds.right[columns].flatten(0, 1).T, out=block.view(height * size, -1)
        )
        slack = _round_up(2 * (bounds.largest_slack[rows, None] + bounds.largest_slack[columns]), dtype)  # [I, J]
        root_i = _round_up(self._to_root[rows], dtype)  # [I, size]
        root_j = _round_up(self._to_root[columns], dtype)  # [J, size]
        # Largest step on a path to the other group's root by one edge between the groups, and from root to root.
        torch.maximum(block, root_i[:, :, None, None], out=work)
        j_to_i = work.amin(1) + slack[:, :, None]  # [I, J, size]
        torch.maximum(block, root_j, out=work)
        i_to_j = work.amin(3) + slack[:, None]  # [I, size, J]
        link = torch.maximum(j_to_i, root_j).amin(2)  # [I, J]
        limit_i = torch.minimum(root_i[:, :, None], torch.maximum(i_to_j, link[:, None]))  # to the root of i
        limit_j = torch.minimum(j_to_i, torch.maximum(root_j, link[:, :, None]))  # to the root of i
        limit_i.masked_fill_(unwanted[:, None], -math.inf)
        limit_j.masked_fill_(unwanted[:, :, None], -math.inf)
        flat = _where_at_most(block, torch.maximum(limit_i[..., None], limit_j[:, None], out=work))
        value = block.view(-1)[flat]
        source_i, v = flat // size, flat % size
        source_u, j = source_i // width, source_i % width
        i, u = source_u // size, source_u % size
        slack = slack[i, j]
        i, j = i + rows.start, j + columns.start
        # By a point's nearest survivor in the other group, then inside that group.
        keep = value <= self._detour(source_i, v, value, j, slack)
        keep &= value <= self._detour((i - rows.start) * width * size + flat % (width * size), u, value, i, slack)
        i, u, j, v = i[keep], u[keep], j[keep], v[keep]
        if dtype is torch.float32 and len(u) > height * width * (4 * size + _COARSE * size**2):
            return self._between(rows, columns, unwanted, torch.float64)
        return self._verified(i * len(self.groups) + j, self.index[i, u], self.index[j, v])

    def _detour(self, source: Tensor, target: Tensor, value: Tensor, group: Tensor, slack: Tensor) -> Tensor:
        """For edges from a source to a target in a group: the largest step by way of the source's nearest target."""
        nearest = value.new_full((int(source.max()) + 1 if len(source) else 0,), math.inf)
        nearest.scatter_reduce_(0, source, value, "amin")
        shortest = value == nearest[source]
        via = torch.zeros_like(nearest, dtype=torch.int64)
        via[source[shortest]] = target[shortest]
        inside = self._longest_step(group, self._visit[group, via[source]], self._visit[group, target])
        return torch.maximum((nearest[source] + slack).double(), inside)

    def _verified(self, graph: Tensor, u: Tensor, v: Tensor) -> Edges:
        weight = self.points.squared_distances(u, v)
        u, v = torch.minimum(u, v), torch.maximum(u, v)
        return Edges(*(x.cpu().numpy() for x in (graph, u, v, weight)))

    def _bounds(self, dtype: torch.dtype) -> _LowerBounds:
        if dtype not in self._products:
            self._products[dtype] = _LowerBounds(self.points, self.index, self.counts, dtype)
        return self._products[dtype]

    def _tile(self, dtype: torch.dtype, shape: tuple[int, ...]) -> Tensor:
        """Two work arrays, the same memory at every call: fresh memory costs more than what is computed in it."""
        total = math.prod(shape)
        if dtype not in self._tiles or self._tiles[dtype].shape[1] < total:
            self._tiles[dtype] = torch.empty(2, total, dtype=dtype, device=self.points.device)
        return self._tiles[dtype][:, :total].view(2, *shape)


class _LowerBounds:
    """Lower bounds of squared distances between points of groups, as one matrix product in a given precision.

    A row is [-2x, s, 1] on the left and [y, 1, t] on the right, s and t the squared norms less their share of the error
    bound, so that the product itself is the lower bound |x - y|^2 - slack_x - slack_y.
    """

    def __init__(self, points: Points, index: Tensor, counts: Tensor, dtype: torch.dtype) -> None:
        (num, size), width = index.shape, points.dim + 2
        self.right = torch.ones(num, size, width, dtype=dtype, device=points.device)
        # Median over groups of their means: near most points even when one group lies far from the others. Points are
        # in the order of a hash, so the first ones are a random sample.
        means = [
            points.coordinates(nodes[: min(n, 32)]).mean(0) for nodes, n in zip(index, counts.tolist(), strict=True)
        ]
        # Any constant will do: subtracting it costs one rounding, relative to the difference.
        centre = torch.stack(means).median(0).values
        unit = torch.finfo(dtype).eps / 2
        # Rounding error of a sum of m products, relative to the sum of their magnitudes: at most m units, in practice
        # below 8 sqrt(m) (Higham & Mary 2019), with room for long sums whose errors share a sign.
        relative = min(width, max(8 * math.sqrt(width), width / 16)) * unit
        square = torch.zeros(num, size, dtype=torch.float64, device=points.device)
        rows = max(1, WORK_ELEMENTS // width)
        flat = (x.flatten(0, 1).split(rows) for x in (self.right, index, square))
        for right, nodes, out in zip(*flat, strict=True):
            x = points.coordinates(nodes)
            x = (x.to(torch.promote_types(x.dtype, dtype)) - centre).to(dtype)
            right[:, :-2] = x
            out.copy_(x.square().sum(1, dtype=torch.float64))
        slack = (2 * relative + 8 * unit) * square
        padding = torch.arange(size, device=points.device) >= counts[:, None]
        self.right[:, :, -1] = (square - slack).masked_fill_(padding, _FAR).to(dtype)
        self.largest_slack = slack.masked_fill_(padding, 0).amax(1)

    def left(self, groups: Tensor | slice) -> Tensor:
        left = self.right[groups].clone()
        left[..., :-2] *= -2
        left[..., -2:] = left[..., -2:].flip(-1)
        return left


class _RangeMaximum:
    """max(x[g, s + 1 .. t]) for many (g, s, t) at once, by a sparse table of power-of-two windows."""

    def __init__(self, x: Tensor) -> None:
        levels = [x]
        while 2 ** len(levels) <= x.shape[1]:
            half = 2 ** (len(levels) - 1)
            wide = levels[-1].clone()
            torch.maximum(levels[-1][:, :-half], levels[-1][:, half:], out=wide[:, :-half])
            levels.append(wide)
        self.table = torch.stack(levels)

    def __call__(self, g: Tensor, s: Tensor, t: Tensor) -> Tensor:
        low, high = torch.minimum(s, t) + 1, torch.maximum(s, t)
        empty = low > high
        low = torch.minimum(low, high)
        level = torch.frexp((high - low + 1).double())[1].long() - 1
        value = torch.maximum(self.table[level, g, low], self.table[level, g, high - (1 << level) + 1])
        return value.masked_fill(empty, 0)


def _prim(block: np.ndarray, start: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Prim's algorithm on distance matrices ``[G, n, n]``: the order of visits and the step to each, ``[G, n]``.

    Many small steps, one after the other: NumPy has the least overhead, also for distances that come from a GPU.
    """
    num, n, _ = block.shape
    group = np.arange(num)
    order = np.empty((n, num), dtype=np.int64)
    step = np.empty((n, num), dtype=block.dtype)
    nearest = np.full((num, n), math.inf, dtype=block.dtype)
    visited = np.full((num, n), -math.inf, dtype=block.dtype)  # infinity where visited
    candidates = np.empty_like(nearest)
    order[0], step[0] = start, math.inf
    for i in range(1, n):
        visited[group, order[i - 1]] = math.inf
        np.minimum(nearest, block[group, order[i - 1]], out=nearest)
        np.maximum(nearest, visited, out=candidates)
        candidates.argmin(1, out=order[i])
        step[i] = candidates[group, order[i]]
    return order.T, step.T


def _where_at_most(x: Tensor, limit: Tensor) -> Tensor:
    """Flat indices of the elements that do not exceed their limits."""
    if x.device.type == "cpu":  # NumPy takes a third of torch's time for this
        return torch.from_numpy(np.flatnonzero(x.numpy() <= limit.numpy()))
    return (x <= limit).view(-1).nonzero().squeeze(1)


def _round_up(x: Tensor, dtype: torch.dtype) -> Tensor:
    """To a shorter type, not below the value."""
    return (x * (1 + torch.finfo(dtype).eps)).to(dtype)
