"""Where a linear layer has its input from."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from ..capture import INPUT, Snapshot
from ..capture.replay import Pass


def source_layer(layer: str, snapshot: Snapshot, *, directly: bool = False) -> int:
    """The place of the linear layer, or the input, that alone makes what this one is given; -1 if there is none.

    Args:
        layer: A linear layer of the snapshot.
        snapshot: With the network.
        directly: Whether other weights between the two, of whatever kind, rule it out.
    """
    linear = [key for key in snapshot.layers if isinstance(snapshot.module(key), nn.Linear)]
    before = linear[: linear.index(layer)]
    sources: list[set[int]] = []

    def visit(p: Pass) -> None:
        if sources:
            return
        given = p.given[layer]
        leaves = {key: p.made[key] for key in before if key in p.made}
        if p.input.requires_grad:
            leaves[INPUT] = p.input
        if given.requires_grad and leaves:
            weights = [weight for weight in snapshot.network.parameters() if directly and weight.requires_grad]
            found = torch.autograd.grad(given.sum(), [*leaves.values(), *weights], allow_unused=True)
            reached = [gradient is not None for gradient in found]
            used = [key for key, is_used in zip(leaves, reached, strict=False) if is_used]
            sources.append({-1} if any(reached[len(leaves) :]) else {snapshot.layers.index(key) for key in used})

    try:
        with _all_weights_in_the_graph(snapshot.network):
            snapshot.replay([*before, layer], visit, gradients=True, cut=True)
    except (RuntimeError, ValueError):  # the input, or what the network computes of it, has no gradient
        return -1
    return next(iter(sources[0])) if sources and len(sources[0]) == 1 else -1


@contextmanager
def _all_weights_in_the_graph(network: nn.Module) -> Iterator[None]:
    """Gradients lead to frozen weights, too."""
    frozen = [weight for weight in network.parameters() if weight.is_floating_point() and not weight.requires_grad]
    try:
        for weight in frozen:
            weight.requires_grad_()
        yield
    finally:
        for weight in frozen:
            weight.requires_grad_(False)
