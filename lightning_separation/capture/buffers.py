"""Rows that come batch by batch, in one preallocated tensor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

Pooling = Literal["mean", "max"]


class UnevenRowsError(ValueError):
    """Rows that differ in length along every axis: nothing can be pooled that would make them equal."""


class RowBuffer:
    """Rows appended one batch after the other.

    Rows of one layer can differ in length from batch to batch (sequences). Then the axes that differ are pooled.

    Args:
        capacity: Rows to make room for at first; it doubles when they do not suffice.
        pooling: ``"mean"`` or ``"max"``.

    Attributes:
        pooled: The axes of a row that were pooled, none at first.
    """

    def __init__(self, capacity: int, pooling: Pooling) -> None:
        self._capacity = max(1, capacity)
        self._pooling = pooling
        self._data: Tensor | None = None
        self._count = 0
        self.pooled: tuple[int, ...] = ()

    @property
    def nbytes(self) -> int:
        """Memory held."""
        return 0 if self._data is None else self._data.nbytes

    @property
    def row_bytes(self) -> int:
        """Memory of one row."""
        return 0 if self._data is None else self._data[:1].nbytes

    @property
    def rows(self) -> Tensor:
        """What was appended: a view ``[N, ...]``."""
        return torch.empty(0) if self._data is None else self._data[: self._count]

    @classmethod
    def of(cls, rows: Tensor, pooling: Pooling, pooled: tuple[int, ...] = ()) -> RowBuffer:
        """Around rows ``[N, ...]`` of which some axes were pooled before."""
        buffer = cls(len(rows), pooling)
        buffer._data, buffer._count, buffer.pooled = rows, len(rows), pooled
        return buffer

    def pool(self, axes: Sequence[int]) -> None:
        """Pool axes of a row, numbered as they were before anything was pooled, also those of rows to come."""
        more = [axis for axis in axes if axis not in self.pooled]
        if more and self._data is not None:
            left = self._axes_left(self._data.ndim)
            self._data = self._pool(self._data, tuple(left.index(axis) + 1 for axis in more))
        self.pooled = tuple(sorted({*self.pooled, *more}))

    def append(self, rows: Tensor) -> None:
        """Copy rows ``[r, ...]``; nothing of their memory is kept.

        Raises:
            ValueError: If the number of axes differs from that of earlier rows, or every axis does.
        """
        if self._data is not None:
            rows = self._fit(rows)
        if self._data is None:
            self._data = rows.new_empty(self._capacity, *rows.shape[1:])
        end = self._count + len(rows)
        if end > len(self._data):
            wider = rows.new_empty(max(end, 2 * len(self._data)), *rows.shape[1:])
            wider[: self._count] = self.rows
            self._data = wider
        self._data[self._count : end] = rows
        self._count = end

    def _fit(self, rows: Tensor) -> Tensor:
        held = self.rows
        rows = self._pool(rows, self.pooled)
        if rows.ndim != held.ndim:
            raise ValueError(f"its output has shape {tuple(rows.shape)} after {tuple(held.shape)}")
        differ = tuple(axis for axis in range(1, rows.ndim) if rows.shape[axis] != held.shape[axis])
        if differ:
            if len(differ) == rows.ndim - 1:
                shapes = f"{tuple(held.shape[1:])} and {tuple(rows.shape[1:])}"
                raise UnevenRowsError(f"its rows have shapes {shapes}: no axis in common to compare them along")
            self.pool([self._axes_left(rows.ndim)[axis - 1] for axis in differ])
            rows = self._pool(rows, differ)
        return rows

    def _axes_left(self, num_axes: int) -> list[int]:
        """Axes of a row that are not pooled, numbered as they were before any was."""
        return [axis for axis in range(1, num_axes + len(self.pooled)) if axis not in self.pooled]

    def _pool(self, rows: Tensor, axes: tuple[int, ...]) -> Tensor:
        if not axes:
            return rows
        if self._pooling == "max":
            return rows.amax(axes)
        # In double precision the mean of equal numbers is that number, however many they are.
        mean = (rows.float() if rows.device.type == "mps" else rows.double()).mean(axes)
        return mean.to(rows.dtype) if rows.is_floating_point() else mean.float()
