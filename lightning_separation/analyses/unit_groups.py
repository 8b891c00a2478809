"""Groups of units that tell the classes apart, and of such that do not, to be removed from a layer."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from ..capture import INPUT, Snapshot
from ..functional import neuron_significance
from ..interventions.patching import Edit, patched, replace_units, unit_edit
from .rerun import private_generator

Counts = Literal["equal", "each"]


_ROUNDING = 1e-9  # 0.7 * 90 is a little less than 63


class TooFewUnitsError(ValueError):
    """A layer has too few units of a kind to remove some."""


class UnitGroups(NamedTuple):
    """Units drawn at random from those of a layer that are significant, and from the others.

    Attributes:
        significant: ``[repeats, k]`` int64.
        others: ``[repeats, k]`` int64.
        is_significant: ``[U]`` bool.
    """

    significant: Tensor
    others: Tensor
    is_significant: Tensor


def draw_groups(
    layer: str,
    is_significant: Tensor,
    fraction: float,
    *,
    repeats: int = 1,
    counts: Counts = "equal",
    seed: int = 0,
) -> UnitGroups:
    """Draw groups of units, the same ones for the same layer, seed and units, whatever else is drawn.

    Args:
        layer: Its name.
        is_significant: ``[U]`` bool.
        fraction: Of the units of a kind, rounded down.
        repeats: How often to draw.
        counts: ``"equal"``: as many of each kind, the fraction of the rarer one. ``"each"``: the fraction of each kind.
        seed: Of the draw.

    Raises:
        TooFewUnitsError: If that leaves no unit of a kind to remove.

    Example:
        >>> groups = draw_groups("fc1", torch.arange(10) < 4, 0.5, repeats=3)
        >>> groups.significant.shape, groups.others.shape, int(groups.others.min()) >= 4
        (torch.Size([3, 2]), torch.Size([3, 2]), True)
    """
    is_significant = is_significant.cpu()
    kinds = [is_significant.nonzero().squeeze(1), (~is_significant).nonzero().squeeze(1)]
    sizes = [math.floor(fraction * len(kind) + _ROUNDING) for kind in kinds]
    if min(sizes) == 0:
        raise TooFewUnitsError(
            f"{len(kinds[0])} of its {len(is_significant)} units are significant: too few "
            f"{'significant ones' if sizes[0] == 0 else 'others'} to remove {fraction:.0%} of"
        )
    if counts == "equal":
        sizes = [min(sizes)] * 2
    generator = private_generator(seed, layer)
    significant, others = (
        torch.stack([kind[torch.randperm(len(kind), generator=generator)[:size]] for _ in range(repeats)])
        for kind, size in zip(kinds, sizes, strict=True)
    )
    return UnitGroups(significant, others, is_significant)


def significant_units(units: Tensor, target: Tensor, rows: Tensor, alpha: float) -> Tensor:
    """Which units are significant on some of the samples, ``[U]`` bool.

    Args:
        units: ``[N, U]``.
        target: ``[N]`` integers.
        rows: ``[N]`` bool.
        alpha: A unit is significant if its q is below.
    """
    return neuron_significance(units[rows.to(units.device)], target[rows], alpha=alpha).significant


def constant_units(units: Tensor, rows: Tensor) -> Tensor:
    """Which units are finite and have the same value for each of some of the samples, ``[U]`` bool.

    Args:
        units: ``[N, U]``.
        rows: ``[N]`` bool, at least one of them.

    Example:
        >>> units = torch.tensor([[0.0, 1.0, 5.0], [0.0, 2.0, 5.0], [3.0, 1.0, 5.0]])
        >>> constant_units(units, torch.tensor([True, True, False]))
        tensor([ True, False,  True])
    """
    low, high = units[rows.to(units.device)].aminmax(dim=0)
    return (low == high) & low.isfinite()


def without(snapshot: Snapshot, units: Mapping[str, Tensor]) -> AbstractContextManager[None]:
    """The snapshot's network with units of some layers set to 0, at every call of these layers."""

    def edit(layer: str, chosen: Tensor) -> Edit:
        axis = snapshot.unit_axis(layer)
        return unit_edit(snapshot.root, layer, lambda output, _: replace_units(output, axis, chosen))

    return patched(snapshot.root, {layer: edit(layer, chosen) for layer, chosen in units.items()})


def can_be_removed(layer: str) -> bool:
    """Whether units of a layer can be removed: not of the network's input, nor of one call of a module alone."""
    return layer != INPUT and "#" not in layer
