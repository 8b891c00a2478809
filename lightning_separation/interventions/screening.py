"""Estimates, from a few backward passes, of what would change without each unit."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from ..capture.recorder import output_tensor
from .batches import Batch, Context, running
from .outcomes import Loss, Readout
from .patching import unit_edit

_DRAWS = 4  # of a class for each sample, where there is no target
Replace = Callable[[str, Tensor, int], Tensor]
"""Of a layer, its output and the axis of its units what each unit is replaced by, of the output's shape."""


def estimated_deltas(
    network: nn.Module,
    layers: Sequence[str],
    batch: Batch,
    axes: Mapping[str, int],
    replace: Replace,
    readout: Readout,
    loss: Loss | None,
    forward_context: Context,
) -> dict[str, Tensor]:
    """First-order estimate of the change of the loss without each unit; without a loss, second-order of the divergence.

    The loss changes by about its gradient times the change of the activation. KL(clean || ablated) has no gradient at
    0; it changes by about half the mean square of the change of log p(y), for classes y drawn from the output.

    Args:
        network: In the mode in which it is to be run; its parameters get no gradient.
        layers: Names of ``network.named_modules()``.
        batch: What it is given.
        axes: By layer the axis of its output that counts the units, where that is known.
        replace: What units are replaced by.
        readout: How its output is read.
        loss: A loss of the user's own.
        forward_context: In what it runs.

    Returns:
        For every layer ``[U]`` float64, a sum over the batch; of a layer that the output does not depend on, 0.

    Raises:
        ValueError: If there is no gradient.
    """
    seen: dict[str, list[tuple[Tensor, int]]] = {layer: [] for layer in layers}

    def watcher(layer: str) -> Callable[[Tensor, int], Tensor]:
        def watch(output: Tensor, axis: int) -> Tensor:
            leaf = output if output.requires_grad else output.detach().requires_grad_()
            seen[layer].append((leaf, axes.get(layer, axis)))
            return leaf.clone()  # what comes behind may work in place

        return watch

    edits = {layer: unit_edit(network, layer, watcher(layer)) for layer in layers}
    with running(network, batch, edits, forward_context, gradients=True) as (args, kwargs):
        returned = network(*args, **kwargs)
        scores = (
            [_scores(returned, batch, readout, loss)] if batch.target is not None else _drawn(returned, batch, readout)
        )
        leaves = [leaf for found in seen.values() for leaf, _ in found]
        if not all(score.requires_grad for score in scores):
            raise ValueError("no gradient leads from the loss to the layers: nothing to screen by")
        totals: dict[str, Tensor] = {}
        for score in scores:
            gradients = iter(torch.autograd.grad(score, leaves, retain_graph=True, allow_unused=True))
            for layer, found in seen.items():
                changes = [
                    _change(leaf, next(gradients), replace(layer, leaf.detach(), axis), axis) for leaf, axis in found
                ]
                change = torch.stack(changes).sum(0)  # [N, U]
                if batch.target is None:
                    change = change**2 / (2 * _DRAWS)
                totals[layer] = totals.get(layer, 0) + change.sum(0)
    return totals


def _scores(returned: object, batch: Batch, readout: Readout, loss: Loss | None) -> Tensor:
    assert batch.target is not None
    if loss is not None:
        return loss(returned, batch.target).sum()
    output = output_tensor(returned, batch.size)
    losses = readout.loss(output, batch.target)
    if readout.class_axis is None:
        return losses.sum()
    # As in the exact mean, positions whose class is negative do not count.
    targets = readout.targets(batch.target, output)
    return losses.sum() * (targets.numel() / max(int((targets >= 0).sum()), 1))


def _drawn(returned: object, batch: Batch, readout: Readout) -> list[Tensor]:
    """Sums of log p(y) of classes that are drawn from the output's distribution."""
    logs = readout.log_probabilities(output_tensor(returned, batch.size))
    if logs is None:
        raise ValueError("plain outputs and no target: nothing to screen by")
    generator = torch.Generator(logs.device).manual_seed(0)
    flat = logs.flatten(0, -2)
    drawn = flat.detach().exp().multinomial(_DRAWS, replacement=True, generator=generator)
    return list(flat.gather(1, drawn).sum(0))


def _change(output: Tensor, gradient: Tensor | None, new: Tensor, axis: int) -> Tensor:
    """Gradient times change of each sample and unit, ``[N, U]``."""
    if gradient is None:
        return torch.zeros(len(output), output.shape[axis], dtype=torch.float64, device=output.device)
    change = gradient.double() * (new - output.detach()).double()
    return change.movedim(axis, 1).flatten(2).sum(2) if output.ndim > 2 else change
