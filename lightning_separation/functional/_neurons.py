"""The activations of many units in several classes, sorted once for all tests of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ._inputs import Classes, as_classes, device_of
from ._royston import coefficients, lack_of_fit
from ._sorting import centred_ranks, sort_labelled, sort_last

BlockFunction = Callable[[Tensor, slice], Sequence[Tensor]]


class SignificanceTest(NamedTuple):
    """Result of a test of every unit: ``statistic`` and ``p_value``, ``[U]`` float64."""

    statistic: Tensor
    p_value: Tensor


class Moments(NamedTuple):
    """Location and spread of every unit in every class, ``[U, K]`` float64, in the sample's ``unit``."""

    origin: Tensor  # [U], a value of the unit
    location: Tensor  # mean less origin: differences between classes keep their digits, however far from 0 they lie
    squares: Tensor  # sum of squares about the mean; exactly 0 for equal values


class Within(NamedTuple):
    """What the order of the values inside every class gives, ``[U, K]`` float64."""

    moments: Moments
    lack_of_fit: Tensor  # 1 - W of Shapiro and Wilk
    deviation: Tensor  # mean distance from the median of the class, in the sample's unit
    deviation_squares: Tensor  # sum of squares of these distances about their mean


class Ranks(NamedTuple):
    """Ranks of every unit over all samples, equal values sharing their mean rank; less (N + 1) / 2; float64."""

    total: Tensor  # [U, K], sum over a class
    squares: Tensor  # [U], sum of squares over all samples: (N^3 - N) / 12 less sum(t^3 - t) / 12 for ties of t values


class NeuronSample:
    """Activations ``[N, U]`` of U units on the samples of K classes, and the sums that the tests are made of.

    Everything is found when first asked for, in blocks of units, and kept; the sorted values are not. A unit with NaN
    or infinite values counts as 0 here; :meth:`only_finite` turns what was found of it into NaN.

    Args:
        matrix: From :func:`as_units`.
        classes: Of its rows.

    Attributes:
        device: Of the results.
        classes: As given.
        counts: ``[K]`` float64, samples of every class.
        finite: ``[U]`` bool, units without NaN or infinite values.
        smallest: ``[U]``, smallest value of every unit.
        largest: ``[U]``, the largest.
        unit: ``[U]`` float64, what values are measured in before they are squared: a power of two near the range of
            float64 values, so that nothing overflows or vanishes; 1 for float32, whose squares are doubles.
        label: ``[N]`` int64, class of every sample in the order that :meth:`over_blocks` hands them out in.
    """

    def __init__(self, matrix: Tensor, classes: Classes) -> None:
        self.device = matrix.device
        self.counts = classes.counts.double()
        self.classes = classes
        smallest, largest = matrix.amin(0), matrix.amax(0)  # NaN if there is one
        self.finite = smallest.isfinite() & largest.isfinite()
        self.smallest, self.largest = smallest.where(self.finite, 0), largest.where(self.finite, 0)
        self.unit = _unit_of(self.smallest, self.largest, self.counts.new_ones(()))
        # Classes of one size lie side by side: one array [units, classes, samples].
        by_size = classes.counts.argsort(stable=True)
        self._sizes = Counter(classes.counts[by_size].tolist())  # ascending
        self._place = by_size.argsort()
        order = self._place.index_select(0, classes.of_sample).argsort(stable=True)
        self.label = classes.of_sample.index_select(0, order)
        self._matrix = matrix
        self._order = order if bool((order[1:] < order[:-1]).any()) else None  # None: as it is
        self._origin = (matrix[order[0]] / self.unit).where(self.finite, 0)

    def __len__(self) -> int:
        """Number of samples."""
        return len(self._matrix)

    @property
    def num_units(self) -> int:
        """U."""
        return self._matrix.shape[1]

    @property
    def num_classes(self) -> int:
        """K."""
        return len(self.counts)

    @cached_property
    def moments(self) -> Moments:
        """Means and sums of squares."""
        if "within" in self.__dict__:  # sorted before: they are there
            return self.within.moments
        step = 512 if self.device.type == "cpu" else self.num_units
        location, squares = self._in_blocks(self._moments_of, step)
        return Moments(self._origin, location.where(self.finite[:, None], 0), squares.where(self.finite[:, None], 0))

    @cached_property
    def variance(self) -> Tensor:
        """Variance (N - 1) of every unit in every class, ``[U, K]``, in squares of ``unit``."""
        return self.moments.squares / (self.counts - 1)

    @cached_property
    def mean(self) -> Tensor:
        """Mean of every unit in every class, ``[U, K]``, as large as the values themselves."""
        return (self.moments.origin[:, None] + self.moments.location) * self.unit[:, None]

    @cached_property
    def std(self) -> Tensor:
        """Standard deviation (N - 1) of every unit in every class, ``[U, K]``, as large as the values themselves."""
        return self.variance.sqrt() * self.unit[:, None]

    @cached_property
    def within(self) -> Within:
        """One sort inside every class."""
        weights = {n: coefficients(n, self.device) for n in self._sizes}

        def of_block(values: Tensor, units: slice) -> tuple[Tensor, ...]:
            values = sort_last(values)
            n = values.shape[-1]
            own = _unit_of(values[..., 0], values[..., -1], self.unit[units, None])  # its range may be much smaller
            shift = values[..., n // 2] / own
            centred = _in_unit(values, own[..., None]) - shift[..., None]
            unlike, mean, squares = lack_of_fit(centred, weights[n])
            below = centred[..., (n - 1) // 2] / 2  # of an even number the median is half way to the next
            first, deviation, deviation_squares = _moments(centred.sub_(below[..., None]).abs_())
            ratio = own / self.unit[units, None]
            location = values[..., n // 2] / self.unit[units, None] - self._origin[units, None] + mean * ratio
            return location, squares * ratio**2, unlike, (first + deviation) * ratio, deviation_squares * ratio**2

        location, squares, *others = self._by_class(of_block)
        return Within(Moments(self._origin, location, squares), *others)

    @cached_property
    def ranks(self) -> Ranks:
        """One sort of all samples, with the classes taken along."""

        def of_block(values: Tensor, units: slice) -> tuple[Tensor, Tensor]:
            ordered, label = sort_labelled(values, self.label)
            rank = centred_ranks(ordered)
            total = rank.new_zeros(len(rank), self.num_classes)
            total.scatter_add_(1, label, rank)  # exact: multiples of 1/2
            return total, rank.square_().sum(1)

        return Ranks(*self.over_blocks(of_block))

    @cached_property
    def pooled_lack_of_fit(self) -> Tensor:
        """1 - W of Shapiro and Wilk over all samples, ``[U]``."""
        weights = coefficients(len(self), self.device)

        def of_block(values: Tensor, units: slice) -> tuple[Tensor, ...]:
            values = _in_unit(sort_last(values), self.unit[units, None])
            return lack_of_fit(values - values[:, len(self) // 2, None].double(), weights)

        return self.over_blocks(of_block)[0]

    def over_blocks(self, function: BlockFunction) -> list[Tensor]:
        """Applies a function to some units after the other and joins what it returns, ``[units, ...]`` each.

        Args:
            function: Of ``[units, N]``, its own to change, the samples of a class side by side as in ``label``; and of
                the slice of units that this is. It runs in several threads.
        """
        rows = self._rows

        def of_rows(units: slice) -> Sequence[Tensor]:
            return function(rows[units].clone(), units)

        return self._in_blocks(of_rows, max(1, self._in_cache // len(self)))

    def only_finite(self, values: Tensor) -> Tensor:
        """NaN in the units that hold NaN or infinite values; ``[U, ...]``."""
        return values.where(self.finite.reshape(-1, *[1] * (values.ndim - 1)), torch.nan)

    def result(self, statistic: Tensor, p_value: Tensor) -> SignificanceTest:
        """A test's result, NaN in the units that hold NaN or infinite values."""
        return SignificanceTest(self.only_finite(statistic), self.only_finite(p_value))

    @cached_property
    def _rows(self) -> Tensor:
        """``[U, N]``, samples in the order of ``label``, units that are not finite 0."""
        matrix = self._matrix if self._order is None else self._matrix.index_select(0, self._order)
        rows = matrix.new_empty(matrix.shape[::-1]).copy_(matrix.T)
        if not bool(self.finite.all()):
            rows[~self.finite] = 0
        return rows

    @property
    def _in_cache(self) -> int:
        """How many values to work on at a time."""
        # On a CPU a block stays in its core's cache, and is too small for torch to share it among threads: the blocks
        # are shared instead, and no core waits for another. (Indexing by [tensor] shares always, index_select not.)
        return 28_000 if self.device.type == "cpu" else 1 << 25

    def _in_blocks(self, function: Callable[[slice], Sequence[Tensor]], step: int) -> list[Tensor]:
        """Applies a function to slices of so many units, in several threads, and joins what it returns."""
        blocks = [slice(start, min(start + step, self.num_units)) for start in range(0, self.num_units, step)]

        @torch.no_grad()
        def run(units: slice) -> Sequence[Tensor]:
            return function(units)

        on_cpu = self.device.type == "cpu"
        threads = min(torch.get_num_threads(), self._matrix.numel() >> 19) if on_cpu else 1  # for less they cost more
        if threads <= 1:
            parts = [run(units) for units in blocks]
        else:
            with ThreadPoolExecutor(threads) as pool:
                parts = list(pool.map(run, blocks))
        return [torch.cat(part) for part in zip(*parts, strict=True)]

    def _moments_of(self, units: slice) -> tuple[Tensor, Tensor]:
        """Location and squares of some units, whose columns are read as they lie: a transposed copy would take longer.

        Sums are taken about the first value of a class as in :func:`_moments`.
        """
        columns, unit, origin = self._matrix[:, units], self.unit[units], self._origin[units]
        room = max(1, self._in_cache // columns.shape[1])
        found, start = [], 0
        for n, num in self._sizes.items():
            step = max(1, room // n)  # classes at a time; of a large one some samples at a time
            for some in range(start, start + n * num, n * step):
                rows = slice(some, min(some + n * step, start + n * num))
                values = columns[rows] if self._order is None else columns.index_select(0, self._order[rows])
                values = values.unflatten(0, (-1, n))
                first = values[:, :1] / unit
                total = squares = torch.zeros_like(first)
                for part in values.split(room, 1):
                    centred = _in_unit(part, unit) - first
                    total = total + centred.sum(1, keepdim=True)
                    squares = squares + centred.square_().sum(1, keepdim=True)
                squares = (squares - total**2 / n).clamp_(min=0)
                found.append(torch.cat([first - origin + total / n, squares], 1))
            start += n * num
        location, squares = torch.cat(found).index_select(0, self._place).unbind(1)
        return location.T, squares.T

    def _by_class(self, function: BlockFunction) -> list[Tensor]:
        """Applies a function of ``[units, classes, samples]`` to classes of one size at a time; each result [U, K]."""

        def of_block(values: Tensor, units: slice) -> list[Tensor]:
            parts, start = [], 0
            for n, num in self._sizes.items():
                parts.append(function(values[:, start : start + n * num].unflatten(1, (num, n)), units))
                start += n * num
            return [torch.cat(part, 1) for part in zip(*parts, strict=True)]

        return [found.index_select(1, self._place) for found in self.over_blocks(of_block)]


def _moments(values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """First value, mean less the first value, and sum of squares about the mean, along the last axis; float64.

    Sums are taken about a value of the sample itself, so that equal values give exactly 0. As the square of its
    distance from the mean is part of the sum of squares, no more than log2(n) bits are lost.
    """
    first = values[..., 0].double()
    centred = values - first[..., None]
    mean = centred.mean(-1)
    squares = centred.square_().sum(-1) - values.shape[-1] * mean**2
    return first, mean, squares.clamp_(min=0)


def _unit_of(smallest: Tensor, largest: Tensor, of_constant: Tensor) -> Tensor:
    """A power of two near the range of float64 values, and what is given where that is 0; 1 for float32."""
    if smallest.dtype == torch.float32:
        return torch.ones_like(smallest, dtype=torch.float64)
    half = largest / 2 - smallest / 2  # the range itself may be infinite
    exponent = (half.view(torch.int64) >> 52).clamp(23, 2023)  # +-1000: a power and its inverse are normal numbers
    return (exponent << 52).view(torch.float64).where(largest > smallest, of_constant)


def _in_unit(values: Tensor, unit: Tensor) -> Tensor:
    """Values measured in what :func:`_unit_of` gave, exactly; float32 as it is."""
    return values if values.dtype == torch.float32 else values / unit


def as_units(x: Tensor, name: str = "x") -> Tensor:
    """Activations ``[N, U]`` or ``[N]`` as a matrix of float32 or float64 with the very same values.

    Raises:
        ValueError: With the reason.
    """
    device = device_of(x)
    if x.is_complex() or x.layout != torch.strided or x.is_nested:
        raise ValueError(f"{name} must be a dense real tensor, not {x.layout} of {x.dtype}")
    if x.ndim not in (1, 2) or x.numel() == 0:
        raise ValueError(f"{name} must be [N, U] or [N] and not empty, but has shape {tuple(x.shape)}")
    exact_in_float32 = x.dtype == torch.float32 or x.dtype.itemsize <= 2
    x = x.detach().to(device).to(torch.float32 if exact_in_float32 else torch.float64)
    return x[:, None] if x.ndim == 1 else x


def sample_of_classes(x: Tensor, target: Tensor, *, at_least: int = 3, num_classes: int = 2) -> NeuronSample:
    """Units and the classes of their samples, checked.

    Raises:
        ValueError: If there are too few classes, or too few samples in one.
    """
    matrix = as_units(x)
    classes = as_classes(target, len(matrix), matrix.device)
    if len(classes.labels) < num_classes:
        raise ValueError(f"at least {num_classes} classes are needed, but target holds only {classes.labels.tolist()}")
    few = classes.counts < at_least
    if bool(few.any()):
        counts = dict(zip(classes.labels[few].tolist(), classes.counts[few].tolist(), strict=True))
        raise ValueError(f"every class needs at least {at_least} samples, but these have fewer: {counts}")
    return NeuronSample(matrix, classes)


def sample_of_two(x: Tensor, y: Tensor, *, at_least: int = 3) -> NeuronSample:
    """Two samples of the same units as classes 0 and 1.

    Raises:
        ValueError: If they do not fit together, or one is too small.
    """
    x, y = as_units(x, "x"), as_units(y, "y")
    if x.shape[1] != y.shape[1]:
        raise ValueError(f"x and y must have the same units, but have {x.shape[1]} and {y.shape[1]}")
    if min(len(x), len(y)) < at_least:
        raise ValueError(f"x and y need at least {at_least} values each, but have {len(x)} and {len(y)}")
    dtype = torch.promote_types(x.dtype, y.dtype)
    matrix = torch.cat([x.to(dtype), y.to(x.device, dtype)])
    counts = torch.tensor([len(x), len(y)], device=x.device)
    labels = torch.arange(2, device=x.device)
    return NeuronSample(matrix, Classes(labels, labels.repeat_interleave(counts), counts))


def special(function: Callable[..., np.ndarray], *arguments: Tensor | float) -> Tensor:
    """A function of scipy.special, element by element."""
    device = next(a.device for a in arguments if isinstance(a, Tensor))
    arrays = [a.cpu().numpy() if isinstance(a, Tensor) else a for a in arguments]
    return torch.from_numpy(np.asarray(function(*arrays))).to(device)
