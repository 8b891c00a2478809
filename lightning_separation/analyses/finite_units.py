"""The activations of a layer for the samples that the network can make something of."""

from __future__ import annotations

import torch
from torch import Tensor

from ..capture import INPUT, Snapshot
from ..capture.buffers import Pooling


def usable_rows(snapshot: Snapshot, name: str) -> Tensor:
    """Samples for which the network does not return NaN, ``[N]`` bool; the others are reported.

    Args:
        snapshot: Of one network or several; what several return is not known.
        name: The analysis.

    Raises:
        ValueError: If there is none.
    """
    try:
        bad = snapshot.nan_rows
    except ValueError:  # several networks
        bad = torch.zeros(len(snapshot.activations(INPUT)), dtype=torch.bool)
    if bool(bad.all()):
        raise ValueError("the network gives NaN for every sample")
    if bool(bad.any()):
        snapshot.report(name, f"the network gives NaN for {int(bad.sum())} samples: they are left out")
    return ~bad


def finite_units(snapshot: Snapshot, layer: str, pooling: Pooling, rows: Tensor) -> Tensor:
    """A layer's units for some of the samples, ``[rows, U]``.

    Raises:
        ValueError: If they hold NaN or infinite values.
    """
    units = snapshot.units(layer, pooling)
    units = units[rows.to(units.device)]
    if bad := int((~units.isfinite()).any(1).sum()):
        raise ValueError(f"its activations hold NaN or infinite values for {bad} of {len(units)} samples")
    return units
