"""What the network loses without each single unit."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, get_args

import torch
from torch import Tensor

from ..capture import Snapshot
from ..capture.structures import output_tensor
from ..checks import check_choice, check_positive, check_share
from ..errors import MonitorError
from ..interventions.ablation import AblationDeltas, UnitAblation, exact_counts
from ..interventions.batches import Batch
from ..interventions.clean_run import NUM_CLEAN_RUNS
from ..interventions.outcomes import Outcome, Readout, relative_error
from ..interventions.patching import Named
from ..interventions.screening import NUM_BACKWARDS
from ..records import Findings
from .base import LayerChoice, reason_of
from .cost import Facts, Forwards
from .objective import Objective, Wanted, find_objective, is_wanted
from .rerun import names_in_network, sample_batches
from .unit_groups import can_be_removed

_MOST_NAMED = 5  # layers in a message


@dataclass
class Ablation(LayerChoice):
    """What the network loses without each single unit: the change of loss, accuracy, output distribution and entropy.

    Each unit of each layer is set to zero in turn, at every call of the layer, and everything behind it is computed
    again (see :func:`lightning_separation.interventions.ablation_deltas`): a unit that tells the classes apart may not
    be used, and one that is used may not tell them apart. Without classes the loss is the squared error of the values
    to be predicted or, of a network that reproduces its input, the relative error in percent. Only what comes behind a
    layer is run again, many units at once; the user's ``validation_step`` is not called. If the network, run again,
    does not give what it gave in the validation, nothing is ablated, and the reason is said.

    Args:
        value: What a unit is replaced by: ``"zero"``, ``"mean"`` (its own over the sample) or ``"resample"`` (what it
            is for another sample).
        screen: Share of each layer's units to compute exactly, those with the largest first-order estimate of the
            change of the loss; of the others the estimate stands. None: all, unless they are more than
            ``max_forwards``.
        max_forwards: The most units, over all layers, to compute exactly. If there are more, as large a share of each
            layer is screened as fits in, and that is said. A unit stands for one run of the network on the sample (what
            comes behind it costs less); layers that lose the same, as a Linear and the ReLU behind it, count once.
        max_samples: At most so many samples are used, evenly of each class.
        objective: What the loss is of: ``"target"``, the classes or values of the data; ``"input"``, the first input
            with as many numbers as the output, which the network is to reproduce; ``"auto"``: the target if the output
            can be read so, else the input. Where it could be either, the classes only if there is one number for each,
            and that is said.
        layers: Names or glob patterns that narrow the monitor's; the input is left out.
        every_n_epochs: Narrows the monitor's schedule.

    Found for each layer, for each unit: ``loss``, ``accuracy``, ``kl`` and ``entropy`` (ablated minus clean, means
    over the samples; KL(clean || ablated) in nats) and ``exact`` (False: ``loss`` is an estimate, the others NaN); as
    numbers ``clean_loss``, ``clean_accuracy``, ``clean_entropy``, ``max_loss`` (largest increase without one unit),
    ``exact_fraction``, ``is_output`` (1 if the units are the network's own outputs) and ``objective`` (index into
    ``records.OBJECTIVES``). What the objective does not define is NaN: the accuracy of values, for one.

    Raises:
        ValueError: For impossible settings.

    Example:
        >>> from torch.utils.data import DataLoader, TensorDataset
        >>> from lightning_separation import analyze
        >>> x = torch.stack([torch.arange(40.0) // 20 - 0.5, torch.arange(40.0) % 20 / 19], 1)
        >>> loader = DataLoader(TensorDataset(x, torch.arange(40) // 20), batch_size=40)  # x[:, 0] tells the class
        >>> network = torch.nn.Sequential(torch.nn.Linear(2, 2, bias=False), torch.nn.Linear(2, 2, bias=False))
        >>> network[0].weight.data, network[1].weight.data = torch.eye(2), torch.tensor([[-4.0, 0.0], [4.0, 0.0]])
        >>> record = analyze(network, loader, [Ablation(objective="target")])
        >>> record.findings["ablation"]["0"]["accuracy"]  # without the first unit half is wrong
        array([-0.5,  0. ])
    """

    value: Named = "zero"
    screen: float | None = None
    max_forwards: int = 500
    max_samples: int = 256
    objective: Wanted = "auto"

    name: ClassVar[str] = "ablation"
    needs_classes: ClassVar[bool] = False
    by_layer: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("value", self.value, get_args(Named))
        if self.screen is not None:
            check_share("screen", self.screen)
        check_choice("objective", self.objective, get_args(Wanted))
        check_positive(max_forwards=self.max_forwards, max_samples=self.max_samples)

    @property
    def axes(self) -> Mapping[str, Sequence[str]]:
        """Quantities and their axes."""
        numbers = (
            "clean_loss",
            "clean_accuracy",
            "clean_entropy",
            "max_loss",
            "exact_fraction",
            "is_output",
            "objective",
        )
        return {**dict.fromkeys(AblationDeltas._fields, ("unit",)), **dict.fromkeys(numbers, ())}

    def looks_at(self, layer: str, snapshot: Snapshot) -> bool:
        """Every layer but the input; of one that runs several times all calls at once."""
        return can_be_removed(layer)

    def forwards(self, facts: Facts) -> Forwards:
        """Behind a layer for each unit; of all to check, to record, to check the record and, if screened, to rank."""
        sizes = {layer: facts.units[layer] for layer in self.chosen(facts.one)}
        exact = sum(exact_counts(sizes, self.screen or 1.0, self.max_forwards).values())
        screened, some = exact < sum(sizes.values()), facts.some(self.max_samples)
        rows = facts.rows_to_check + (NUM_CLEAN_RUNS + screened) * some
        return Forwards(facts.runs(rows), exact, some, NUM_BACKWARDS * screened)

    def compute(self, snapshot: Snapshot) -> Findings:
        """Ablate every unit of every chosen layer."""
        layers = self.chosen(snapshot)
        if not layers:
            return Findings(self.axes, {})
        try:
            snapshot.check_replay()
            found = self._ablate(layers, snapshot)
        except MonitorError:
            raise
        except Exception as error:  # the other analyses can still be made
            snapshot.report(self.name, reason_of(error), harmless=is_wanted(error, snapshot))
            found = {}
        return Findings(self.axes, found)

    def _ablate(self, layers: Sequence[str], snapshot: Snapshot) -> dict[str, dict[str, Any]]:
        """All layers together; without those that make that impossible, which are reported."""
        objective = find_objective(snapshot, self.objective)
        objective.tell(self.name, snapshot)
        batches = sample_batches(snapshot, self.max_samples, self.name, objective.target)
        try:
            return self._together(layers, snapshot, batches, objective, snapshot.processes.deal)
        except MonitorError:
            raise
        except Exception:  # found again, layer by layer, and reported there; one that is of no layer is raised again
            usable = self._usable(layers, snapshot, batches, objective)
            return self._together(usable, snapshot, batches, objective, list) if usable else {}

    def _usable(
        self, layers: Sequence[str], snapshot: Snapshot, batches: Sequence[Batch], objective: Objective
    ) -> list[str]:
        """The layers of which a unit can be ablated; the others are reported.

        Raises:
            ValueError: If there is none, for one reason: then that is not for the layers to say.
        """
        failed: dict[str, str] = {}
        for layer in layers:
            name = ""
            try:
                (name,) = names_in_network(snapshot, [layer]).values()
                self._work([layer], snapshot, objective).deltas(batches, {name: [0]})
            except Exception as error:  # the other layers can still be ablated
                failed[layer] = reason_of(error).removeprefix(f"{name}: ")
        if 1 < len(layers) == len(failed) and len(set(failed.values())) == 1:
            raise ValueError(failed[layers[0]])
        for layer, reason in failed.items():
            snapshot.report(layer, f"{self.name}: {reason}")
        return [layer for layer in layers if layer not in failed]

    def _work(self, layers: Sequence[str], snapshot: Snapshot, objective: Objective) -> UnitAblation:
        reproduces = objective.kind == "input"
        names = names_in_network(snapshot, layers)
        return UnitAblation(
            snapshot.network,
            list(names.values()),
            value=self.value,
            axes={names[layer]: snapshot.unit_axis(layer) for layer in layers},
            references={name: snapshot.units(layer) for layer, name in names.items()} if self.value == "mean" else None,
            loss=_reproduction_error if reproduces else None,
            readout=Readout("values") if reproduces else None,
            forward_context=snapshot.forward_context,
        )

    def _together(
        self,
        layers: Sequence[str],
        snapshot: Snapshot,
        batches: Sequence[Batch],
        objective: Objective,
        deal: Callable[[Sequence[str]], Sequence[str]],
    ) -> dict[str, dict[str, Any]]:
        names, work = names_in_network(snapshot, layers), self._work(layers, snapshot, objective)
        layer_of = {name: layer for layer, name in names.items()}
        work.advance = lambda steps, total, name: snapshot.progress.advance(steps, total, layer_of[name])
        deltas = work.deltas(batches, screen=self.screen, max_forwards=self.max_forwards, deal=deal)
        for reason in dict.fromkeys(work.whole.values()):
            concerned = [layer for layer, name in names.items() if work.whole.get(name) == reason]
            told = f"{_listed(concerned)}: {reason}"
            snapshot.report(self.name, f"{told}; the whole network is run for each unit", harmless=True)
        if work.limited:
            told = (
                f"{work.num_units} units, max_forwards={self.max_forwards}: only those with the largest estimates are"
            )
            less = "set it, max_samples, layers or every_n_epochs"
            snapshot.report(self.name, f"{told} computed exactly; for more, or less work, {less}", harmless=True)
        if work.unscreened:
            unknown = [layer for layer, name in names.items() if name in work.unscreened]
            reason = f"no gradient leads to {_listed(unknown)}: some units, evenly spread, are computed"
            snapshot.report(self.name, reason, harmless=True)
        return {
            layer: {
                **self._quantities(deltas[name], work.clean),
                "is_output": float(name in work.outputs),
                "objective": objective.code,
            }
            for layer, name in names.items()
            if name in deltas
        }

    def _quantities(self, deltas: AblationDeltas, clean: Outcome) -> dict[str, Any]:
        loss = deltas.loss[deltas.loss.isfinite()]
        return {
            **{quantity: values.cpu() for quantity, values in deltas._asdict().items()},
            "clean_loss": clean.loss[0],
            "clean_accuracy": clean.accuracy[0],
            "clean_entropy": clean.entropy[0],
            "max_loss": loss.max().cpu() if len(loss) else torch.tensor(torch.nan, dtype=torch.float64),
            "exact_fraction": deltas.exact.double().mean().cpu(),
        }


def _reproduction_error(returned: Any, given: Tensor) -> Tensor:
    outputs = output_tensor(returned, len(given))
    return relative_error(outputs.reshape(len(given), -1), given.reshape(len(given), -1))


def _listed(layers: Sequence[str]) -> str:
    more = f" and {len(layers) - _MOST_NAMED} more" if len(layers) > _MOST_NAMED else ""
    return f"{', '.join(layers[:_MOST_NAMED])}{more}"
