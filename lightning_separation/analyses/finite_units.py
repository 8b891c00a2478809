"""The activations of a layer that something can be made of: samples and units without NaN or infinite values."""

from __future__ import annotations

import torch
from torch import Tensor

from ..capture import INPUT, Snapshot
from ..capture.buffers import Pooling


def usable_rows(snapshot: Snapshot, name: str) -> Tensor:
    """Samples for which the network does not return NaN, ``[N]`` bool; the others are reported. All if it always does.

    Args:
        snapshot: Of one network or several; what several return is not known.
        name: The analysis.
    """
    try:
        bad = snapshot.nan_rows
    except ValueError:  # several networks
        bad = torch.zeros(len(snapshot.activations(INPUT)), dtype=torch.bool)
    if bool(bad.any()) and not bool(bad.all()):
        snapshot.report(name, f"the network gives NaN for {int(bad.sum())} samples: they are left out")
        return ~bad
    return torch.ones_like(bad)


def finite_units(snapshot: Snapshot, layer: str, pooling: Pooling, rows: Tensor) -> Tensor:
    """A layer's units for some of the samples, ``[rows, U]``, not all of them with NaN or infinite values.

    Raises:
        ValueError: If all have some.
    """
    units = snapshot.units(layer, pooling)
    units = units[rows.to(units.device)]
    if not bool(units.isfinite().all(0).any()):
        raise ValueError("its activations hold NaN or infinite values")
    return units


def finite_rows(layer: str, snapshot: Snapshot, name: str) -> tuple[Tensor, Tensor]:
    """A layer's activations for the samples for which all are finite, and which these are, ``[N]`` bool on the CPU.

    The others are reported in the name of the analysis.

    Raises:
        ValueError: If there are none.
    """
    activations = snapshot.activations(layer)
    finite = activations.reshape(len(activations), -1).isfinite().all(1)
    rows = finite.cpu()
    if not bool(rows.any()):
        raise ValueError("its activations hold NaN or infinite values")
    if bad := int((~rows).sum()):
        snapshot.report(layer, f"{name}: {bad} samples with NaN or infinite values are left out")
    return activations[finite], rows
