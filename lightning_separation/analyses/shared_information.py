"""Information between the units of two layers, over what chance makes of it."""

from __future__ import annotations

from torch import Tensor

from ..capture import Snapshot
from ..functional import MutualInformation, mutual_information
from ..functional._bins import Correction
from .rerun import private_generator

_MOST_SHUFFLES = 20
_PAIRS_AT_COST = 2**14  # pairs of units in random order that cost little


def shared_information(
    x: Tensor,
    y: Tensor,
    edges: tuple[Tensor, Tensor],
    layer: str,
    snapshot: Snapshot,
    correction: Correction | None = None,
) -> MutualInformation:
    """Information between every unit of x and every unit of y.

    Chance is the mean over 20 random orders of the samples, or fewer, but one, where units are many: the same orders at
    every epoch.

    Args:
        x: ``[N, U]``.
        y: ``[N, V]``.
        edges: Of both; see :func:`lightning_separation.functional.mutual_information`.
        layer: Whose orders to take.
        snapshot: Of which x and y are.
        correction: Of the entropies.
    """
    pairs = x.shape[1] * y.shape[1]
    return mutual_information(
        x,
        y,
        edges=edges,
        correction=correction,
        generator=private_generator(snapshot.seed, layer),
        shuffles=max(1, min(_MOST_SHUFFLES, _PAIRS_AT_COST // pairs)),
    )
