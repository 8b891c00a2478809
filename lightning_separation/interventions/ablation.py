"""What a network loses without each single unit of a layer."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any, NamedTuple, overload

import torch
from torch import Tensor, nn

from ..checks import check_share
from .batches import Batch, Context, evaluating
from .clean_run import CleanRun, Copies
from .narrow import zero_stays
from .outcomes import Comparison, Loss, Outcome, Readout
from .patching import Units, Value, check_loss, check_network, chosen_units, layer_names, replacement
from .screening import Estimates, estimated_deltas
from .without_units import WithoutUnits


class AblationDeltas(NamedTuple):
    """Of each unit what changes without it: ablated minus clean, means over the samples; NaN where undefined.

    Attributes:
        loss: ``[U]`` float64.
        accuracy: ``[U]`` float64.
        kl: ``[U]`` float64, KL(clean || ablated) of the output distributions, in nats.
        entropy: ``[U]`` float64, of the output distribution, in nats.
        exact: ``[U]`` bool. False where it is only estimated, to first order: then only ``loss`` is there, or ``kl``
            (to second order) if there is no target.
    """

    loss: Tensor
    accuracy: Tensor
    kl: Tensor
    entropy: Tensor
    exact: Tensor


@overload
def ablation_deltas(
    network: nn.Module, layer: str, inputs: Any, target: Tensor | None = None, *, units: Units = None,
    value: Value = "zero", loss: Loss | None = None, screen: float | None = None,
) -> AblationDeltas: ...  # fmt: skip
@overload
def ablation_deltas(
    network: nn.Module, layer: Sequence[str], inputs: Any, target: Tensor | None = None, *,
    units: Mapping[str, Units] | None = None, value: Value = "zero", loss: Loss | None = None,
    screen: float | None = None,
) -> dict[str, AblationDeltas]: ...  # fmt: skip
def ablation_deltas(
    network: nn.Module,
    layer: str | Sequence[str],
    inputs: Any,
    target: Tensor | None = None,
    *,
    units: Units | Mapping[str, Units] = None,
    value: Value = "zero",
    loss: Loss | None = None,
    screen: float | None = None,
) -> AblationDeltas | dict[str, AblationDeltas]:
    """What a network's output loses without each single unit of a layer, or of several.

    The network runs in eval mode, on its own device. It is run whole once or twice; then for each unit only what comes
    behind its layer, many units at once. That gives what a loop over :func:`ablate` gives, up to rounding. A network
    whose code looks at values that depend on the layer is run whole for each unit; a warning says so. Afterwards
    parameters, gradients, modes, buffers, hooks and random state are as before.

    Args:
        network: Any module.
        layer: One of the names of ``network.named_modules()``, or several of them. A layer that runs several times is
            ablated at every call.
        inputs: What the network is given, N samples: a tensor, a tuple of arguments, or a mapping of them.
        target: ``[N, ...]``: integer or one-hot classes, 0 or 1 for each output, or values to predict. None: no loss,
            no accuracy.
        units: Which units, as in :func:`ablate`; of several layers by layer. None: all.
        value: What a unit is replaced by: ``"zero"``, ``"mean"``, ``"resample"`` or a tensor; see :func:`ablate`.
        loss: ``loss(outputs, target) -> [N]``, outputs being all that the network returns. None: cross-entropy for
            classes, with logits, probabilities or log-probabilities, several or one (see ``readout_of``), else the
            mean squared error.
        screen: Only this share of each layer's units, those with the largest estimate, is computed exactly; for the
            rest the first-order estimate stands. None: all.

    Returns:
        ``[k]`` each, of the units in the order given; of several layers a dictionary of such.

    Raises:
        ValueError: For an unknown layer, one that does not run or has no floating-point output, units that it does not
            have, or a loss that is not clear.

    Example:
        >>> network = nn.Linear(2, 2, bias=False)
        >>> _ = network.weight.data.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
        >>> deltas = ablation_deltas(network, "", torch.tensor([[3.0, 0.0]]), torch.tensor([0]))
        >>> [round(delta, 4) for delta in deltas.loss.tolist()], deltas.accuracy.tolist()
        ([0.6446, 0.0], [0.0, 0.0])
    """
    if screen is not None:
        check_share("screen", screen)
    check_network(network)
    check_loss(loss)
    layers = layer_names(layer)
    chosen = units if isinstance(units, Mapping) else dict.fromkeys(layers, units)
    if unknown := set(chosen) - set(layers):
        raise ValueError(f"units of {', '.join(sorted(unknown))}, which is not among the layers {', '.join(layers)}")
    work = UnitAblation(network, layers, value=value, loss=loss)
    with evaluating(network):
        found = work.deltas([Batch.of(inputs, target)], chosen, screen)
    for name, reason in work.whole.items():
        warnings.warn(f"{name}: {reason}; the whole network was run for each of its units", stacklevel=2)
    return found[layer] if isinstance(layer, str) else found


class UnitAblation:
    """Ablation of single units on a sample that comes in batches.

    Args:
        network: In the mode in which it is to be run.
        layers: Names of ``network.named_modules()``.
        value: What units are replaced by.
        axes: By layer the axis of its output, samples first, that counts the units; None: as :func:`ablate` finds it.
        references: By layer activations that means and samples are taken of.
        loss: A loss of the user's own.
        readout: How outputs are read; None: found out.
        forward_context: In what the network runs.
        advance: Told after some units how many more are done, of how many, and of which layer.

    Attributes:
        outputs: Layers that are the network's output; after the work.
        clean: Loss, accuracy, KL (0) and entropy of the clean output; after the work.
        whole: By layer why the whole network was run for each unit.
        unscreened: Layers that no gradient leads to, so that units were chosen evenly; after the work.
        limited: Whether fewer units than asked for were computed exactly, to keep within the budget; after the work.
        num_units: How many there are, those counted once that lose the same in two layers; after the work.
        advance: As given.
    """

    def __init__(
        self,
        network: nn.Module,
        layers: Sequence[str],
        *,
        value: Value = "zero",
        axes: Mapping[str, int] | None = None,
        references: Mapping[str, Tensor] | None = None,
        loss: Loss | None = None,
        readout: Readout | None = None,
        forward_context: Context = nullcontext,
        advance: Callable[[int, int, str], None] = lambda steps, total, layer: None,
    ) -> None:
        self._network, self._layers, self._value = network, layers, value
        self._values: dict[str, Value] = {}  # by layer
        self._references = references or {}
        self._axes, self._loss, self._readout = axes or {}, loss, readout
        self._forward_context = forward_context
        self.advance = advance
        self.clean = Outcome(*torch.full((4, 1), torch.nan, dtype=torch.float64))
        self.whole: dict[str, str] = {}
        self.limited = False
        self.unscreened: list[str] = []
        self.outputs: list[str] = []
        self.num_units = 0
        self._steps = 0

    def deltas(
        self,
        batches: Sequence[Batch],
        units: Mapping[str, Units] | None = None,
        screen: float | None = None,
        max_forwards: int | None = None,
        deal: Callable[[Sequence[str]], Sequence[str]] = list,
    ) -> dict[str, AblationDeltas]:
        """Of each unit of each layer what changes without it.

        Args:
            batches: The sample.
            units: By layer which; None: all.
            screen: Share of each layer's units to compute exactly; None: all.
            max_forwards: At most so many units in all are computed exactly (but one of each layer), as large a share of
                each layer. Layers of the same deltas count once.
            deal: Says which of the layers to compute; what has the deltas of another is not found.
        """
        total = sum(batch.size for batch in batches)
        plan: _Plan | None = None
        sums: dict[str, Tensor] = {}
        clean = torch.zeros(4, 1, dtype=torch.float64)
        for batch in batches:
            run = CleanRun(self._network, self._layers, batch, self._axes, self._forward_context)
            if plan is None:
                self.outputs = [layer for layer in self._layers if run.is_output(layer)]
                plan = self._plan(run, batches, units or {}, screen, max_forwards)
            compare = Comparison(plan.readout, run.output, batch.target, self._loss, run.returned)
            clean += torch.stack(compare.clean).cpu() * (batch.size / total)
            for layer in deal(plan.order):
                with run.replaying():
                    found = self._one_layer(run, layer, plan.exact[layer], compare)
                sums[layer] = sums.get(layer, 0) + torch.stack(found) * (batch.size / total)
            self.whole |= run.whole
        assert plan is not None, "no batch"
        self.clean = Outcome(*clean)
        return {layer: plan.finished(layer, sums) for layer in self._layers if plan.made_by(layer) in sums}

    def _one_layer(self, run: CleanRun, layer: str, units: Tensor, compare: Comparison) -> Outcome:
        without = WithoutUnits(run, layer, partial(self._replace, layer, axis=run.axes[layer]))
        found = torch.zeros(4, len(units), dtype=torch.float64, device=units.device)
        found[[place for place, value in enumerate(compare.clean) if bool(value.isnan())]] = torch.nan
        changing = without.matter[units].nonzero().squeeze(1)
        for some in changing.split(run.outputs_at_once) if len(changing) else ():
            parts = []
            for few in some.split(without.at_once):
                parts.append(without.copies(units[few]))
                self._step(len(few), layer)
            copies = parts[0] if len(parts) == 1 else Copies.joined(parts)
            found[:, some] = torch.stack(compare.deltas(copies.outputs, copies.returned))
        self._step(len(units) - len(changing), layer)
        return Outcome(*found)

    def _step(self, steps: int, layer: str) -> None:
        self.advance(steps, self._steps, layer)

    def _replace(self, layer: str, output: Tensor, axis: int) -> Tensor:
        try:
            return replacement(output, axis, self._values[layer], self._references.get(layer))
        except ValueError as error:
            raise ValueError(f"{layer}: {error}") from error

    def _plan(
        self,
        run: CleanRun,
        batches: Sequence[Batch],
        units: Mapping[str, Units],
        screen: float | None,
        max_forwards: int | None,
    ) -> _Plan:
        readout = self._readout or run.readout(batches, self._loss)
        device = run.output.device
        chosen: dict[str, Tensor] = {}
        for layer in self._layers:
            clean = run.clean(layer)[0]
            if not clean.is_floating_point():
                raise ValueError(f"{layer}: its output is {clean.dtype}; only floating-point units can be replaced")
            width = clean.shape[run.axes[layer]]
            try:
                chosen[layer] = chosen_units(units.get(layer), width).to(device)
            except ValueError as error:
                raise ValueError(f"{layer}: {error}") from error
            self._values[layer] = _by_unit(self._value, chosen[layer], width)
        same = _same_deltas(run, chosen) if isinstance(self._value, str) and self._value == "zero" else {}
        own = [layer for layer in run.order if layer not in same]
        sizes = {layer: len(chosen[layer]) for layer in own}
        asked_for = exact_counts(sizes, 1.0 if screen is None else screen)
        counts = exact_counts(sizes, 1.0 if screen is None else screen, max_forwards)
        self.num_units, self.limited = sum(sizes.values()), counts != asked_for
        estimates = self._estimates(batches, readout) if counts != sizes else {}
        self.unscreened = [layer for layer in estimates if bool(estimates[layer].size.isnan().all())]
        plan = _Plan(readout, chosen, same, counts, estimates)
        self._steps = len(batches) * sum(len(units) for units in plan.exact.values())
        return plan

    def _estimates(self, batches: Sequence[Batch], readout: Readout) -> dict[str, Estimates]:
        total = sum(batch.size for batch in batches)
        sums: dict[str, Tensor] = {}
        for batch in batches:
            found = estimated_deltas(
                self._network,
                self._layers,
                batch,
                self._axes,
                self._replace,
                readout,
                self._loss,
                self._forward_context,
            )
            sums = {layer: sums.get(layer, 0) + torch.stack(found[layer]) / total for layer in found}
        return {layer: Estimates(loss, kl) for layer, (loss, kl) in sums.items()}


class _Plan:
    """Which units of which layers to compute.

    Args:
        readout: How outputs are read.
        chosen: By layer the units asked for.
        same: By layer another one whose deltas it has.
        counts: By layer that has deltas of its own how many units to compute exactly.
        estimates: By layer, where these are not all.

    Attributes:
        order: The layers to compute.
        exact: By layer units to compute.
    """

    def __init__(
        self,
        readout: Readout,
        chosen: Mapping[str, Tensor],
        same: Mapping[str, str],
        counts: Mapping[str, int],
        estimates: Mapping[str, Estimates],
    ) -> None:
        self.readout, self.order = readout, list(counts)
        self._chosen, self._same, self._estimates = chosen, same, estimates
        self._places: dict[str, Tensor] = {}  # of the exact ones among the chosen
        for layer, count in counts.items():
            places = torch.arange(len(chosen[layer]), device=chosen[layer].device)
            if estimates:
                places = _largest(estimates[layer].size[chosen[layer]], count)
            self._places[layer] = places
        self.exact = {layer: chosen[layer][places] for layer, places in self._places.items()}

    def made_by(self, layer: str) -> str:
        """The layer whose deltas it has."""
        return self._same.get(layer, layer)

    def finished(self, layer: str, sums: Mapping[str, Tensor]) -> AblationDeltas:
        """What is to be returned of a layer."""
        layer = self.made_by(layer)
        chosen, places = self._chosen[layer], self._places[layer]
        found = torch.full((4, len(chosen)), torch.nan, dtype=torch.float64, device=chosen.device)
        if self._estimates:
            loss, kl = (estimate[chosen] for estimate in self._estimates[layer])
            found[0], found[2] = loss, kl if bool(loss.isnan().all()) else torch.nan
        found[:, places] = sums[layer]
        exact = torch.zeros(len(chosen), dtype=torch.bool, device=chosen.device)
        exact[places] = True
        loss, accuracy, kl, entropy = found
        return AblationDeltas(loss, accuracy, kl, entropy, exact)


def _largest(sizes: Tensor, count: int) -> Tensor:
    """Places of the largest, ascending; evenly spread where there are no sizes."""
    if bool(sizes.isnan().all()) and count:
        return torch.linspace(0, len(sizes) - 1, count, device=sizes.device).round().long().unique()
    return sizes.nan_to_num(-1).argsort(descending=True, stable=True)[:count].sort().values


def _by_unit(value: Value, units: Tensor, width: int) -> Value:
    """A value for each chosen unit as one for each of the layer's."""
    if not isinstance(value, Tensor) or value.shape != units.shape or len(value) == width:
        return value
    return value.new_zeros(width).index_put((units.to(value.device),), value)


def exact_counts(sizes: Mapping[str, int], share: float, most: int | None = None) -> dict[str, int]:
    """How many units of each layer to compute exactly, at least one of each.

    Args:
        sizes: How many it has.
        share: How many of them are asked for.
        most: Of all layers together; beyond it a smaller share of each.
    """
    counts = {layer: min(size, max(1, round(share * size))) for layer, size in sizes.items()}
    if most is None or sum(counts.values()) <= most:
        return counts
    total = sum(sizes.values())
    counts = {layer: min(size, max(1, most * size // total)) for layer, size in sizes.items()}
    left = max(0, most - sum(counts.values()))
    for layer in sorted(sizes, key=lambda layer: -(most * sizes[layer] % total))[:left]:
        counts[layer] = min(sizes[layer], counts[layer] + 1)
    return counts


def _same_deltas(run: CleanRun, chosen: Mapping[str, Tensor]) -> dict[str, str]:
    """Layers that lose the same if a unit is set to zero there, as a Linear and the ReLU behind it: first -> last."""
    same: dict[str, str] = {}
    for layer in run.order:
        suffix = run.suffix(layer)
        if suffix is None or len(suffix.marks) != 1:
            continue
        for value in zero_stays(suffix, run.axes[layer]):
            other = next((name for name in run.order if run.sole_mark(name) == value), None)
            alike = other is not None and run.axes[layer] == run.axes[other]
            if other is not None and alike and torch.equal(chosen[layer], chosen[other]):
                same[layer] = other
    return {layer: _last(layer, same) for layer in same}


def _last(layer: str, same: Mapping[str, str]) -> str:
    return _last(same[layer], same) if layer in same else layer
