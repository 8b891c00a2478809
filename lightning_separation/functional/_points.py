"""Distinct points in an order that their values alone decide, and exact distances between them."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

Distance = Literal["euclidean", "cosine"]

# Elements of a float64 work block: small enough for a processor's cache, and just too small for torch to share among
# threads. Thousands of short parallel regions cost up to a hundred times the work when another process needs a core.
WORK_ELEMENTS = 3 << 13
_COMPARED = 1 << 22  # elements of rows with equal hashes that are compared at once


class Points:
    """The distinct rows of a feature matrix.

    Rows are ordered by a hash of their values, so that everything computed in this order (which of two tied distances
    comes first, say) depends on the set of points and not on the order in which they were given.

    Args:
        features: Matrix ``[N, d]`` of floating point numbers, finite.
        distance: ``"cosine"`` turns rows into unit vectors first. Half the squared Euclidean distance between unit
            vectors is their cosine distance, so both distances have the same spanning trees. A row of zeros has no
            direction; an extra coordinate puts all of them on one unit vector of their own, at cosine distance 1 from
            every other.

    Attributes:
        rows: Distinct rows ``[U, d]``; those of float64 in units of ``1 / scale``.
        node: Index ``[N]`` into ``rows`` of every row of ``features``.
    """

    def __init__(self, features: Tensor, distance: Distance = "euclidean") -> None:
        rows = _unit_rows(features) if distance == "cosine" else features
        first, self.node = _distinct(rows)
        self.rows = rows[first]
        self.distance = distance
        self.dim = rows.shape[1]
        largest = torch.stack(self.rows.aminmax()).abs().max().item()
        # A power of two: the scaled coordinates are exact and their squares cannot overflow.
        exponent = min(max(math.frexp(largest)[1], -120), 1023)  # its inverse is a number in float32 or float64
        self.scale = 2.0**-exponent if largest > 0 else 1.0
        if self.rows.dtype == torch.float64:
            self.rows = self.rows * self.scale
            self._unit = 1.0
        else:  # squares of float32 numbers are far from the limits of float64: scaled when they are summed up
            self._unit = self.scale

    def __len__(self) -> int:
        return self.rows.shape[0]

    @property
    def device(self) -> torch.device:
        return self.rows.device

    def coordinates(self, nodes: Tensor) -> Tensor:
        """Rows of nodes, in units of ``1 / scale``: at most 1. Exact but for what underflows in their type."""
        return self.rows[nodes] * self._unit

    def squared_distances(self, u: Tensor, v: Tensor) -> Tensor:
        """Squared Euclidean distance, in units of ``1 / scale``, of nodes ``u[e]`` and ``v[e]``: float64 ``[E]``.

        Differences are taken before squaring, so nothing cancels. All blocks have the same shape whatever E is: the
        order of summation, and so the last bit, depends on the two rows alone.
        """
        size = min(max(2, WORK_ELEMENTS // self.dim), 1024)
        out = torch.empty(len(u), dtype=torch.float64, device=self.device)
        for start in range(0, len(u), size):
            stop = min(start + size, len(u))
            pad = (0, size - (stop - start))
            block = self.rows.index_select(0, torch.nn.functional.pad(u[start:stop], pad)).double()
            block -= self.rows.index_select(0, torch.nn.functional.pad(v[start:stop], pad)).double()
            out[start:stop] = block.square_().sum(1)[: stop - start]
        return out.mul_(self._unit**2)

    def lengths(self, squared: Tensor) -> Tensor:
        """Distances ``[E]`` in the user's units for what ``squared_distances`` returned."""
        return squared / 2 / self.scale**2 if self.distance == "cosine" else squared.sqrt() / self.scale


def _unit_rows(features: Tensor) -> Tensor:
    rows = features.double()
    largest = rows.abs().amax(1, keepdim=True)
    rows = rows / largest.where(largest > 0, 1)  # so that no square over- or underflows
    norm = rows.square().sum(1, keepdim=True).sqrt()
    return torch.cat([rows / norm.where(norm > 0, 1), (norm == 0).double()], dim=1)


def _distinct(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Index of one row per distinct row, in content order, and for every row the position of its equal there."""
    for attempt in range(16):
        key = _row_hash(rows, attempt)
        key, order = torch.sort(key)
        same = key[1:] == key[:-1]
        after, before = order[1:][same], order[:-1][same]
        parts = (index.split(max(1, _COMPARED // rows.shape[1])) for index in (after, before))
        if all(torch.equal(rows[a], rows[b]) for a, b in zip(*parts, strict=True)):
            break
    else:  # pragma: no cover - sixteen independent 64-bit hashes that all collide
        raise RuntimeError("could not hash the rows of features without collisions")
    is_first = torch.ones(len(rows), dtype=torch.bool, device=rows.device)
    is_first[1:] = ~same
    node = torch.empty_like(order)
    node[order] = is_first.cumsum(0) - 1
    return order[is_first], node


def _row_hash(rows: Tensor, attempt: int) -> Tensor:
    """A 64-bit hash of each row's values: exact integer arithmetic, so equal for equal rows on every device."""
    generator = torch.Generator("cpu").manual_seed(attempt)
    factors = torch.randint(-(2**63), 2**63 - 1, (rows.shape[1],), generator=generator, dtype=torch.int64, device="cpu")
    factors = (factors | 1).to(rows.device)
    out = torch.empty(len(rows), dtype=torch.int64, device=rows.device)
    size = max(1, WORK_ELEMENTS // rows.shape[1])
    for start in range(0, len(rows), size):
        block = rows[start : start + size].to(torch.float64) + 0.0  # + 0.0 makes -0.0 and 0.0 one value
        bits = block.view(torch.int64)
        # Short numbers have zeros in their low bits; spread the high bits before multiplying modulo 2^64.
        bits = bits ^ (bits >> 32)
        bits.mul_(-7046029254386353131)
        bits ^= bits >> 29
        out[start : start + size] = bits.mul_(factors).sum(1)
    return out
