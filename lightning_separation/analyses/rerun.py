"""A snapshot's network and sample, for analyses that run it again with something changed."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import torch
from torch import Tensor

from ..capture import Snapshot
from ..functional._sampling import rows_within_cap
from ..interventions.batches import Batch, joined
from ..interventions.clean_run import tape_bytes

_KEPT = 4  # times an output is kept: in a run and one with gradients, each as the layer made it and as it is given on


def private_generator(seed: int, layer: str) -> torch.Generator:
    """The same for one seed and layer, whatever else is drawn."""
    return torch.Generator().manual_seed(zlib.crc32(f"{seed} {layer}".encode()))


def names_in_network(snapshot: Snapshot, layers: Sequence[str]) -> dict[str, str]:
    """What layers are called in the network that the step calls.

    Raises:
        ValueError: If a layer is no part of it, or the step calls several networks.
    """
    names = {module: name for name, module in snapshot.network.named_modules()}
    found = {}
    for layer in layers:
        module = snapshot.module(layer)
        if module is None or module not in names:
            raise ValueError(f"{layer} is no part of the network that the step calls")
        found[layer] = names[module]
    return found


def sample_batches(snapshot: Snapshot, max_samples: int, name: str, target: Tensor | None = None) -> list[Batch]:
    """The first samples of the snapshot, evenly of each class, in batches as large as memory allows.

    Samples for which the network gives NaN are left out, and that is reported.

    Args:
        snapshot: With or without classes.
        max_samples: At most about so many: at least one of each class.
        name: The analysis.
        target: ``[N, ...]`` the targets of the snapshot's samples; None: the batches have none.

    Raises:
        ValueError: If no sample is left.
    """
    usable = (~snapshot.nan_rows).nonzero().squeeze(1)
    if not len(usable):
        raise ValueError("the network gives NaN for every sample")
    if bad := int(snapshot.nan_rows.sum()):
        snapshot.report(name, f"the network gives NaN for {bad} samples: they are left out")
    kept = usable[:max_samples]
    if snapshot.target is not None:
        labels = snapshot.target
        kept = usable[rows_within_cap(labels[usable], max(1, max_samples // len(snapshot.labels)), labels[:0])]
    batches, places = [], []
    for rows, call in snapshot.calls:
        own = torch.isin(rows, kept).nonzero().squeeze(1)
        if len(own):
            whole = Batch(call.args, len(rows), call.kwargs, None if target is None else target[rows])
            batches.append(whole.rows(own))
            places.append(rows[own])
    batches = _in_order(batches, torch.cat(places))
    row_bytes = tape_bytes(
        snapshot.network, batches[0].rows(torch.arange(min(2, batches[0].size))), snapshot.forward_context
    )
    size = max(1, snapshot.budget // max(_KEPT * row_bytes, 1))
    return [part for batch in joined(batches, size) for part in batch.split(size)]


def _in_order(batches: list[Batch], places: Tensor) -> list[Batch]:
    """The samples in their order, if they come in another and fit into one batch: what is drawn goes by it."""
    if bool((places.diff() > 0).all()):
        return batches
    together = joined(batches, len(places))
    return [together[0].rows(places.argsort())] if len(together) == 1 else batches
