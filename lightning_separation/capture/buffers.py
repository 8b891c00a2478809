"""Rows that come batch by batch, in one preallocated tensor."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

Pooling = Literal["mean", "max"]


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
                raise ValueError(f"its rows have shapes {shapes}: no axis in common to compare them along")
            # Axes of a row as they were before anything was pooled.
            left = [axis for axis in range(1, rows.ndim + len(self.pooled)) if axis not in self.pooled]
            self.pooled = tuple(sorted({*self.pooled, *(left[axis - 1] for axis in differ)}))
            self._data = self._pool(self._data, differ) if self._data is not None else None
            rows = self._pool(rows, differ)
        return rows

    def _pool(self, rows: Tensor, axes: tuple[int, ...]) -> Tensor:
        if not axes:
            return rows
        if self._pooling == "max":
            return rows.amax(axes)
        mean = (rows if rows.dtype == torch.float64 else rows.float()).mean(axes)
        return mean.to(rows.dtype) if rows.is_floating_point() else mean
