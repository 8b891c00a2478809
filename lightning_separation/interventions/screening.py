"""Estimates, from a few backward passes, of what would change without each unit."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..capture.structures import output_tensor
from .batches import Batch, Context, running
from .outcomes import IGNORED, Loss, Readout
from .patching import unit_edit

_DRAWS = 4  # of a class for each sample
_AT_ONCE = 1 << 20  # numbers to work on at a time
NUM_BACKWARDS = 1 + _DRAWS
"""Backward passes of an estimate: of the loss and of each draw."""
Replace = Callable[[str, Tensor, int], Tensor]
"""Of a layer, its output and the axis of its units what each unit is replaced by, of the output's shape."""


class Estimates(NamedTuple):
    """Of each unit of a layer, sums over samples; NaN where no gradient leads to the layer.

    Attributes:
        loss: ``[U]`` float64, first-order change of the loss; NaN without one.
        kl: ``[U]`` float64, second-order KL(clean || ablated); NaN for an output that is no distribution.
    """

    loss: Tensor
    kl: Tensor

    @property
    def size(self) -> Tensor:
        """By what units are ranked, ``[U]``: the change of the loss with the divergence as its second-order part."""
        return (
            (self.loss.nan_to_num(0) + self.kl.nan_to_num(0))
            .abs()
            .where(self.loss.isfinite() | self.kl.isfinite(), torch.nan)
        )


def estimated_deltas(
    network: nn.Module,
    layers: Sequence[str],
    batch: Batch,
    axes: Mapping[str, int],
    replace: Replace,
    readout: Readout,
    loss: Loss | None,
    forward_context: Context,
) -> dict[str, Estimates]:
    """Estimate the change of the loss, and the divergence of the output, without each unit.

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

    Raises:
        ValueError: If there is neither a loss nor a distribution.
    """
    seen: dict[str, list[tuple[Tensor, int]]] = {layer: [] for layer in layers}

    def watcher(layer: str) -> Callable[[Tensor, int], Tensor]:
        def watch(output: Tensor, axis: int) -> Tensor:
            cut = not torch.is_grad_enabled() or output.is_inference()  # by the network itself
            leaf = output if output.requires_grad or cut else output.detach().requires_grad_()
            seen[layer].append((leaf, max(axes.get(layer, axis), 1)))
            return leaf.clone()  # what comes behind may work in place

        return watch

    edits = {layer: unit_edit(network, layer, watcher(layer)) for layer in layers}
    with running(network, batch, edits, forward_context, gradients=True) as (args, kwargs):
        returned = network(*args, **kwargs)
        score, drawn, positions = _scores(returned, batch, readout, loss)
        if score is None and not drawn:
            raise ValueError("plain outputs and no target: nothing to screen by")
        of_loss = _changes(score, seen, replace)
        of_logs = [_changes(one, seen, replace) for one in drawn]
    estimates = {}
    for layer, found in seen.items():
        undefined = torch.full((found[0][0].shape[found[0][1]],), torch.nan, dtype=torch.float64)
        squares = [changes[layer][1] for changes in of_logs if layer in changes]
        kl = torch.stack(squares).mean(0) / (2 * positions) if squares else undefined
        estimates[layer] = Estimates(of_loss[layer][0] if layer in of_loss else undefined.to(kl.device), kl)
    return estimates


def _changes(
    score: Tensor | None, seen: Mapping[str, list[tuple[Tensor, int]]], replace: Replace
) -> dict[str, tuple[Tensor, Tensor]]:
    """By layer that a gradient leads to: of gradient times change sum and sum of squares over samples, ``[U]`` each."""
    reached = {layer: calls for layer, calls in seen.items() if all(leaf.requires_grad for leaf, _ in calls)}
    leaves = [leaf for calls in reached.values() for leaf, _ in calls]
    if score is None or not score.requires_grad or not leaves:
        return {}
    # In place and made first: what stays would lie between what goes, and that memory could not be used again.
    found = {layer: _no_sums(*calls[0]) for layer, calls in reached.items()}
    gradients = iter(torch.autograd.grad(score, leaves, retain_graph=True, allow_unused=True))
    for layer, calls in reached.items():
        parts = [(leaf.detach(), next(gradients), replace(layer, leaf.detach(), axis), axis) for leaf, axis in calls]
        _add_sums(found[layer], parts)
    return found


def _no_sums(output: Tensor, axis: int) -> tuple[Tensor, Tensor]:
    first, second = torch.zeros(2, output.shape[axis], dtype=torch.float64, device=output.device)
    return first, second


def _add_sums(sums: tuple[Tensor, Tensor], calls: Sequence[tuple[Tensor, Tensor | None, Tensor, int]]) -> None:
    """Add over samples what all calls of a layer change together, and its square.

    Args:
        sums: ``[U]`` each.
        calls: Of each the output, its gradient, what it is replaced by, and the axis of its units.
    """
    output = calls[0][0]
    rows = max(1, _AT_ONCE // max(1, output[0].numel()))
    for start in range(0, len(output), rows):
        some = slice(start, start + rows)
        changes = [_change(x[some], None if g is None else g[some], new[some], at) for x, g, new, at in calls]
        change = torch.stack(changes).sum(0)
        sums[0].add_(change.sum(0))
        sums[1].add_(change.square_().sum(0))


def _scores(
    returned: object, batch: Batch, readout: Readout, loss: Loss | None
) -> tuple[Tensor | None, list[Tensor], int]:
    """The loss; sums of log p(y) of classes drawn from the output; and how many such there are for a sample."""
    output = output_tensor(returned, batch.size)
    score = None
    if loss is not None:
        score = loss(returned, batch.target).sum()  # type: ignore[arg-type]  # None where the caller has none
    elif batch.target is not None:
        score = readout.loss(output, batch.target).sum()
        if readout.class_axis is not None:
            # As in the exact mean, positions that do not count are left out.
            targets = readout.targets(batch.target, output)
            score = score * (targets.numel() / max(int((targets != IGNORED).sum()), 1))
    logs = readout.log_probabilities(output)
    if logs is None:
        return score, [], 1
    flat = logs.flatten(0, -2)
    generator = torch.Generator(logs.device).manual_seed(0)
    drawn = (
        flat.detach().exp().nan_to_num(0).clamp(min=1e-30).multinomial(_DRAWS, replacement=True, generator=generator)
    )
    return score, list(flat.gather(1, drawn).sum(0)), len(flat) // batch.size


def _change(output: Tensor, gradient: Tensor | None, new: Tensor, axis: int) -> Tensor:
    """Gradient times change of each sample and unit, ``[N, U]``."""
    if gradient is None:
        return torch.zeros(len(output), output.shape[axis], dtype=torch.float64, device=output.device)
    change = gradient.double() * (new - output).double()
    return change.movedim(axis, 1).flatten(2).sum(2) if output.ndim > 2 else change
