"""Where linear layers have from what they are given."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..capture import INPUT, Snapshot
from ..capture.buffers import Pooling
from ..capture.replay import Pass
from ..functional import unit_activations

_ROUNDING = 1e-5  # of gradients, as a share of the largest; or four times the spacing of coarser numbers


class Source(NamedTuple):
    """Where a linear layer has from what it is given.

    Attributes:
        place: In the snapshot's layers, of the linear layer, or the input, that alone makes it; -1 if there is none.
        one_to_one: Whether each number is computed from the one at the same place there, and without weights.
    """

    place: int
    one_to_one: bool


NOWHERE = Source(-1, False)


def linear_layers(snapshot: Snapshot) -> dict[str, nn.Linear]:
    """The linear layers of a snapshot, in order of execution."""
    modules = {layer: snapshot.module(layer) for layer in snapshot.layers}
    return {layer: module for layer, module in modules.items() if isinstance(module, nn.Linear)}


def linear_sources(snapshot: Snapshot) -> dict[str, Source]:
    """Where all linear layers have from what they are given.

    The network is run once more, with gradients; layers that it fails before are missing.
    """
    found: dict[str, Source] = {}

    def visit(p: Pass) -> None:
        for layer in p.given.keys() - found.keys():
            found[layer] = _source(p.given[layer], p, snapshot)

    if layers := linear_layers(snapshot):
        # Parts of the network may work without gradients only.
        with suppress(Exception), _all_weights_in_the_graph(snapshot.network):
            snapshot.replay(list(layers), visit, gradients=True, cut=True)
    return found


def layers_given(features: Tensor, snapshot: Snapshot, pooling: Pooling) -> set[str]:
    """The linear layers that are given just these numbers, in this order.

    Args:
        features: ``[N, D]``, of the snapshot's samples.
        snapshot: With the network, which is run once more.
        pooling: Over the positions of sequences; see :func:`unit_activations`.
    """
    same: dict[str, bool] = {}

    def visit(p: Pass) -> None:
        for layer, given in p.given.items():
            seen = unit_activations(given, unit_axis=-1, pooling=pooling)
            expected = features[p.rows].to(seen)
            equal = seen.shape == expected.shape and torch.allclose(seen, expected, atol=0, equal_nan=True)
            same[layer] = same.get(layer, True) and equal

    with suppress(Exception):  # the step calls several networks, or this one cannot be run again
        snapshot.replay(list(linear_layers(snapshot)), visit)
        return {layer for layer, is_same in same.items() if is_same}
    return set()


def _source(given: Tensor, p: Pass, snapshot: Snapshot) -> Source:
    leaves = {**p.made, INPUT: p.input} if p.input.requires_grad else p.made
    if not given.requires_grad:
        return NOWHERE
    weights = [weight for weight in snapshot.network.parameters() if weight.requires_grad]
    generator = torch.Generator().manual_seed(0)
    directions = torch.randn(2, *given.shape, generator=generator).to(given)
    gradients = torch.autograd.grad(
        given, [*leaves.values(), *weights], directions[0], allow_unused=True, retain_graph=True
    )
    used = [(layer, g) for layer, g in zip(leaves, gradients, strict=False) if g is not None]
    if len(used) != 1:
        return NOWHERE
    ((layer, gradient),) = used
    has_weights = any(g is not None for g in gradients[len(leaves) :])
    one_to_one = not has_weights and _is_one_to_one(given, leaves[layer], directions, gradient)
    return Source(snapshot.layers.index(layer), one_to_one)


def _is_one_to_one(given: Tensor, source: Tensor, directions: Tensor, gradient: Tensor) -> bool:
    """Whether the Jacobian is diagonal: then any two gradients, by their directions, are the same.

    Args:
        given: What a layer is given.
        source: What it is computed from.
        directions: ``[2, *given.shape]`` random.
        gradient: Of given in the first direction.
    """
    if given.numel() != source.numel() or given.shape[-1:] != source.shape[-1:]:
        return False
    (other,) = torch.autograd.grad(given, source, directions[1], retain_graph=True)
    first, second = directions.flatten(1).cpu().double()
    one, two = gradient.flatten().cpu().double() * second, other.flatten().cpu().double() * first
    one, two = one.nan_to_num(0, 0, 0), two.nan_to_num(0, 0, 0)  # samples that are NaN say nothing of the others
    spacing = max(torch.finfo(given.dtype).eps, torch.finfo(source.dtype).eps)
    return bool((one - two).abs().max() <= max(_ROUNDING, 4 * spacing) * one.abs().max())


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
