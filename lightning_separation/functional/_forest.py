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
from functools import cached_property

import numpy as np
import torch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import minimum_spanning_tree as _csgraph_tree
from torch import Tensor

from ._members import Members
from ._points import Points

_FAR = 1e30  # squared distance of padding to anything; coordinates are scaled to at most 1
_TILE = 1 << 21  # distances held at once
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

    @staticmethod
    def join(parts: list[Edges]) -> Edges:
        return Edges(*(np.concatenate([getattr(part, name) for part in parts]) for name in Edges.__annotations__))


def kruskal(edges: Edges, num_nodes: int) -> Edges:
    """Minimum spanning forest of every graph, edges by ascending length; ties in the order of their nodes' content."""
    edges = edges[np.lexsort((edges.v, edges.u, edges.weight))]
    ends = np.concatenate([edges.graph * num_nodes + edges.u, edges.graph * num_nodes + edges.v])
    nodes, ends = np.unique(ends, return_inverse=True)
    rank = np.arange(1, len(edges) + 1, dtype=np.float64)  # no zeros, no ties: csgraph reads zero as "no edge"
    shape = (len(nodes), len(nodes))
    tree = _csgraph_tree(coo_array((rank, (ends[: len(edges)], ends[len(edges) :])), shape=shape).tocsr())
    return edges[np.sort(tree.data).astype(np.int64) - 1]


class Forest:
    """Minimum spanning trees of groups of points, and of every pair of groups.

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
        num, size = self.index.shape
        # Of every group: when Prim's algorithm visited each point, and an upper bound of the step that led to it.
        self._visit = torch.zeros(num, size, dtype=torch.int64, device=points.device)
        self._step = torch.zeros(num, size, dtype=torch.float64, device=points.device)
        self.trees = self._own_trees(without)
        self._longest_step = _RangeMaximum(self._step)
        self._to_root = self._step.cummax(1).values.gather(1, self._visit)  # largest step from each point to the root

    def pairs(self, i: int) -> Edges:
        """Trees of the unions of group ``i`` with every later group; ``graph`` is the later group's position."""
        num, size = self.index.shape
        per = max(1, _TILE // size**2)
        between = [self._between(i, slice(j, min(j + per, num))) for j in range(i + 1, num, per)]
        own = self.trees[self.trees.graph == i]
        later = self.trees[self.trees.graph > i]
        repeated = [Edges(np.full(len(own), j), own.u, own.v, own.weight) for j in range(i + 1, num)]
        # Groups may share points: what then lies inside a group is among that group's own edges, once.
        count = self._members.count
        later = later[(count(later.u, i) == 0) | (count(later.v, i) == 0)]
        cross = Edges.join(between)
        inside_i = (count(cross.u, i) > 0) & (count(cross.v, i) > 0)
        inside_j = (count(cross.u, cross.graph) > 0) & (count(cross.v, cross.graph) > 0)
        return kruskal(Edges.join([*repeated, later, cross[~(inside_i | inside_j)]]), len(self.points))

    @cached_property
    def _members(self) -> Members:
        groups = [nodes.cpu().numpy() for nodes in self.groups]
        return Members(groups, [np.ones(len(nodes)) for nodes in groups], len(self.points))

    def _own_trees(self, without: Edges | None) -> Edges:
        num, size = self.index.shape
        used = np.zeros((0, 3), dtype=np.int64)
        if without is not None:
            used = np.stack([without.graph, without.u, without.v], 1)
        todo = torch.arange(num, device=self.points.device)
        trees = []
        for dtype in (torch.float32, torch.float64):
            coarse = [todo[:0]]
            for group in todo.split(max(1, _TILE // size**2)):
                at, u, v = self._inside(group, torch.from_numpy(used).to(self.points.device), dtype)
                many = at.bincount(minlength=len(group)) > 4 * size + _COARSE * size**2
                if dtype is torch.float32:
                    coarse.append(group[many])
                    at, u, v = (x[~many[at]] for x in (at, u, v))
                trees.append(self._verified(group[at], self.index[group[at], u], self.index[group[at], v]))
            todo = torch.cat(coarse)
        return kruskal(Edges.join(trees), len(self.points))

    def _inside(self, group: Tensor, used: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
        """Edges that may be in the trees of the groups: position in ``group``, two positions in that group."""
        bounds = self._bounds(dtype)
        size = self.index.shape[1]
        block = torch.bmm(bounds.left(group), bounds.right[group].mT)
        for g, number in enumerate(group.tolist() if len(used) else []):
            u, v = torch.searchsorted(self.groups[number], used[used[:, 0] == number, 1:].T.contiguous())
            block[g, u, v] = block[g, v, u] = _FAR
        start = bounds.right[group, :, -1].argmin(1)  # the point nearest to the centre of all
        order, step = _prim(block, start)
        step = step.double() + 4 * bounds.largest_slack[group, None]
        step[:, 0] = 0
        real = torch.arange(size, device=step.device) < self.counts[group, None]
        if bool((step[real] >= _FAR / 2).any()):
            raise TooFewTreesError("a group of points has no further spanning tree without the edges used")
        step.masked_fill_(~real, 0)
        visit = torch.empty_like(order).scatter_(1, order, torch.arange(size, device=order.device).expand_as(order))
        self._visit[group], self._step[group] = visit, step
        reach = _round_up(step.cummax(1).values.gather(1, visit), dtype)
        mask = (block <= reach[:, :, None]).logical_or_(block <= reach[:, None, :])
        flat = mask.view(-1).nonzero().squeeze(1)
        at, u, v = flat // size**2, flat // size % size, flat % size
        value = block.view(-1)[flat]
        keep = (u < v) & (value <= _RangeMaximum(step)(at, visit[at, u], visit[at, v]))
        return at[keep], u[keep], v[keep]

    def _between(self, i: int, js: slice, dtype: torch.dtype = torch.float32) -> Edges:
        """Edges between group i and the groups js that may be in the tree of i with one of them."""
        bounds = self._bounds(dtype)
        size = self.index.shape[1]
        num = js.stop - js.start
        n = int(self.counts[i])
        block = (bounds.left(i)[:n] @ bounds.right[js].flatten(0, 1).T).view(n, num, size)
        slack = _round_up(2 * (bounds.largest_slack[i] + bounds.largest_slack[js]), dtype)[:, None]  # [J, 1]
        root_i = _round_up(self._to_root[i, :n], dtype)  # [n]
        root_j = _round_up(self._to_root[js], dtype)  # [J, size]
        # Largest step on a path to the other group's root by one edge between the groups, and from root to root.
        work = torch.maximum(block, root_i[:, None, None])
        j_to_i = work.amin(0) + slack  # [J, size]
        torch.maximum(block, root_j, out=work)
        i_to_j = work.amin(2) + slack.T  # [n, J]
        link = torch.maximum(j_to_i, root_j).amin(1)  # [J]
        limit_i = torch.minimum(root_i[:, None], torch.maximum(i_to_j, link))  # [n, J], to the root of i
        limit_j = torch.minimum(j_to_i, torch.maximum(root_j, link[:, None]))  # [J, size], to the root of i
        mask = (block <= limit_i[:, :, None]).logical_or_(block <= limit_j)
        flat = mask.view(-1).nonzero().squeeze(1)
        u, j, v, value = flat // (num * size), flat // size % num, flat % size, block.view(-1)[flat]
        # By a point's nearest survivor in the other group, then inside that group.
        keep = value <= self._detour(u * num + j, v, value, j + js.start, slack[j, 0])
        keep &= value <= self._detour(j * size + v, u, value, torch.full_like(u, i), slack[j, 0])
        u, j, v = u[keep], j[keep], v[keep]
        if dtype is torch.float32 and len(u) > num * (4 * size + _COARSE * size**2):
            return self._between(i, js, torch.float64)
        return self._verified(j + js.start, self.index[i, u], self.index[j + js.start, v])

    def _detour(self, source: Tensor, target: Tensor, value: Tensor, group: Tensor, slack: Tensor) -> Tensor:
        """For edges from a source to a target in a group: the largest step by way of the source's nearest target."""
        nearest = torch.full(
            (int(source.max()) + 1 if len(source) else 0,), math.inf, dtype=value.dtype, device=value.device
        )
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
            self._products[dtype] = _LowerBounds(self.points, self.groups, dtype)
        return self._products[dtype]


class _LowerBounds:
    """Lower bounds of squared distances between points of groups, as one matrix product in a given precision.

    A row is [-2x, s, 1] on the left and [y, 1, t] on the right, s and t the squared norms less their share of the error
    bound, so that the product itself is the lower bound |x - y|^2 - slack_x - slack_y.
    """

    def __init__(self, points: Points, groups: list[Tensor], dtype: torch.dtype) -> None:
        size, width = max(len(nodes) for nodes in groups), points.dim + 2
        self.right = torch.zeros(len(groups), size, width, dtype=dtype, device=points.device)
        self.largest_slack = torch.zeros(len(groups), dtype=torch.float64, device=points.device)
        # Median over groups of their means: near most points even when one group lies far from the others.
        centre = (
            torch.stack([points.rows[nodes].double().mul_(points.scale).mean(0) for nodes in groups]).median(0).values
        )
        unit = torch.finfo(dtype).eps / 2
        # Rounding error of a sum of m products, relative to the sum of their magnitudes: at most m units, in practice
        # below 8 sqrt(m) (Higham & Mary 2019), with room for long sums whose errors share a sign.
        relative = min(width, max(8 * math.sqrt(width), width / 16)) * unit
        shift = 2.0**-52 * math.sqrt(points.dim) * (centre.abs().max().item() + 1)  # error of centring in float64
        for g, nodes in enumerate(groups):
            n = len(nodes)
            x = (points.rows[nodes].double().mul_(points.scale) - centre).to(dtype)
            square = x.double().square().sum(1)
            slack = (2 * relative + 8 * unit) * square + 4 * shift * (square.sqrt() + shift)
            self.right[g, :n, :-2] = x
            self.right[g, :n, -1] = (square - slack).to(dtype)
            self.right[g, :, -2] = 1
            self.right[g, n:, -1] = _FAR
            self.largest_slack[g] = slack.max()

    def left(self, groups: Tensor | int) -> Tensor:
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


def _prim(block: Tensor, start: Tensor) -> tuple[Tensor, Tensor]:
    """Prim's algorithm on distance matrices ``[G, n, n]``: the order of visits and the step to each, ``[G, n]``."""
    num, n, _ = block.shape
    rows, first = block.view(num * n, n), torch.arange(num, device=block.device) * n
    order = torch.empty(n, num, dtype=torch.int64, device=block.device)
    step = torch.empty(n, num, dtype=block.dtype, device=block.device)
    nearest = torch.full((num, n), math.inf, dtype=block.dtype, device=block.device)
    seen = torch.zeros(num, n, dtype=torch.bool, device=block.device)
    value, at = nearest[:, 0], start
    for i in range(n):
        order[i], step[i] = at, value
        seen.scatter_(1, at[:, None], True)
        torch.minimum(nearest, rows.index_select(0, first + at), out=nearest)
        nearest.masked_fill_(seen, math.inf)
        value, at = nearest.min(1)
    return order.T, step.T


def _round_up(x: Tensor, dtype: torch.dtype) -> Tensor:
    """To a shorter type, not below the value."""
    return (x * (1 + torch.finfo(dtype).eps)).to(dtype)
