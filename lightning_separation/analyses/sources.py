"""Where a linear layer has its input from."""

from __future__ import annotations

import torch
from torch import nn

from ..capture import INPUT, Snapshot
from ..capture.replay import Pass


def source_layer(layer: str, snapshot: Snapshot) -> int:
    """The place of the linear layer, or the input, that alone makes what this one is given; -1 if there is none."""
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
            found = torch.autograd.grad(given.sum(), list(leaves.values()), allow_unused=True)
            used = [key for key, gradient in zip(leaves, found, strict=True) if gradient is not None]
            sources.append({snapshot.layers.index(key) for key in used})

    try:
        snapshot.replay([*before, layer], visit, gradients=True, cut=True)
    except (RuntimeError, ValueError):  # the input, or what the network computes of it, has no gradient
        return -1
    return next(iter(sources[0])) if sources and len(sources[0]) == 1 else -1
