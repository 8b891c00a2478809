"""Bins that stay the same over a run, so that entropies of different epochs are of one measure."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from ..checks import as_list, check_choice, check_integer, check_number, shown
from ..functional import bin_edges

Edges = Literal["run", "epoch"] | tuple[float, float]
"""Where bins lie: between the ends of the run's first analysed validation, of each one's own, or of a given range."""

_MOST_BINS = 4096  # the square of which is the work on a pair of units


def check_edges(edges: Edges) -> Edges:
    """One of the words, or a range as plain numbers; raise ValueError unless it is either."""
    if isinstance(edges, str):
        check_choice("edges", edges, ("run", "epoch"))
        return edges
    ends = [] if isinstance(edges, set | frozenset) else as_list("edges", edges, "two numbers, or 'run' or 'epoch'")
    if len(ends) != 2:
        raise ValueError(f"edges must be 'run', 'epoch' or a range such as (-1.0, 1.0), not {shown(edges)}")
    low, high = ends
    check_number("edges", low)
    check_number("edges", high, low)
    return float(low), float(high)


def check_bins(bins: int) -> None:
    """Raise ValueError unless there are at least two: a single bin says nothing. Nor do more than samples."""
    check_integer("bins", bins, 2, _MOST_BINS)


class RunBins:
    """Bins of one width for every unit of every layer.

    The first values of a layer lay its bins, from each unit's smallest to its largest; those of a constant unit span
    the layer's. Later values outside count to the outermost bin.

    Args:
        bins: Number of bins of a unit.
        edges: ``"run"``; ``"epoch"``: every time anew; or the range of all bins of all layers.
    """

    def __init__(self, bins: int, edges: Edges) -> None:
        self._bins, self._edges = bins, edges
        self._ranges: dict[str, Tensor] = {}  # [2, U] float64 on the CPU, smallest and largest values

    def of_units(self, layer: str, units: Tensor) -> Tensor:
        """Edges for every unit of a layer, ``[U, bins + 1]`` float64.

        Args:
            layer: Its name.
            units: ``[N, U]`` its activations now.
        """
        return bin_edges(self._range(layer, units).to(units.device), self._bins)

    def of_layer(self, layer: str, units: Tensor) -> Tensor:
        """Edges for all units of a layer together, ``[bins + 1]`` float64."""
        return bin_edges(self._range(layer, units).flatten().to(units.device), self._bins)[0]

    def outside(self, layer: str, units: Tensor) -> float:
        """Share of the values that lie outside the range of their bins, of units without NaN and infinite values."""
        low, high = self._range(layer, units).to(units)
        finite = units.isfinite().all(0)
        beyond = ((units < low) | (units > high))[:, finite]
        return float(beyond.double().mean()) if beyond.numel() else 0.0

    def state_dict(self) -> dict[str, Any]:
        """The ranges by layer."""
        return dict(self._ranges)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take ranges over, or forget all."""
        self._ranges = dict(state)

    def _range(self, layer: str, units: Tensor) -> Tensor:
        """Smallest and largest values, ``[2, U]`` float64, finite, different unless the whole layer is constant."""
        if not isinstance(self._edges, str):
            return torch.tensor(self._edges, dtype=torch.float64)[:, None].expand(2, units.shape[1])
        now = torch.stack(units.aminmax(dim=0)).cpu().double()
        known = self._ranges.get(layer)
        if known is None or known.shape != now.shape or self._edges == "epoch":
            known = now
        known = known.where(known.isfinite().all(0), now)  # a unit that had NaN gets its bins once it has none
        if self._edges == "run":
            self._ranges[layer] = known
        finite = known.isfinite().all(0)
        if not bool(finite.any()):
            return torch.zeros_like(known)
        low, high = known[0, finite].min(), known[1, finite].max()
        usable = finite & (known[0] < known[1])
        return torch.stack([known[0].where(usable, low), known[1].where(usable, high)])
