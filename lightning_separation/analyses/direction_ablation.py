"""What the network loses without directions in the space of a layer's units."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias, get_args

import torch
from torch import Tensor

from ..capture import Snapshot
from ..checks import check_choice, check_positive
from ..errors import MonitorError
from ..interventions.clean_run import NUM_CLEAN_RUNS, CleanRun
from ..interventions.directions import (
    DirectionSearch,
    class_mean_directions,
    num_searched,
    principal_directions,
    random_directions,
    without_directions,
)
from ..interventions.outcomes import Comparison, Readout, readout_of
from ..interventions.patching import as_tensor, described, unit_vector
from ..records import DIRECTION_KINDS, Findings
from .base import LayerAnalysis
from .cost import Facts, Forwards
from .objective import find_objective
from .rerun import names_in_network, private_generator, sample_batches
from .unit_groups import can_be_removed

Kind = Literal["random", "principal", "class_means", "search"]
Vectors = Sequence[float] | Sequence[Sequence[float]] | Tensor

if TYPE_CHECKING:
    Directions: TypeAlias = Kind | Sequence[Kind] | Mapping[str, Vectors]
else:
    Directions = Any  # Hydra refuses unions of containers; a command line reads the block above

_CHOICES = ", ".join(map(repr, get_args(Kind)))
_RESTARTS, _STEPS = 3, 30  # of the search


@dataclass
class DirectionAblation(LayerAnalysis):
    """What the network loses without a direction of a layer: many units at once, each a little.

    Activations h become ``h - (h . v) v`` for a direction v of length 1, at every call and position, and everything
    behind is computed again. A network can hardly notice the loss of any one unit and still depend on a few directions.

    Args:
        directions: Which: ``"random"``, evenly distributed; ``"principal"``: principal components of the layer's units;
            ``"class_means"``: differences of the means of two classes; ``"search"``: the one whose removal moves the
            output distribution most, found by gradient ascent
            (:func:`lightning_separation.interventions.search_direction`); several of these; or for each layer
            directions ``[k, U]`` of your own, or one ``[U]``.
        count: At most so many of each kind, ``"search"`` gives one.
        max_samples: At most so many samples are used, evenly of each class.
        layers: Names or glob patterns that narrow the monitor's; the input is left out.
        every_n_epochs: Narrows the monitor's schedule.

    Found for each layer, for each direction: ``kl`` (KL(clean || without it), in nats), ``loss``, ``accuracy`` and
    ``entropy`` (without it minus clean, means over the samples), ``kind`` (index into ``records.DIRECTION_KINDS``);
    ``strongest`` (unit; the direction of the largest KL); as numbers ``max_kl``, ``clean_loss``, ``clean_accuracy``.

    Raises:
        ValueError: For impossible settings.

    Example:
        >>> from torch.utils.data import DataLoader, TensorDataset
        >>> from lightning_separation import analyze
        >>> x = torch.stack([torch.arange(40.0) // 20 - 0.5, torch.arange(40.0) % 20 / 19], 1)
        >>> loader = DataLoader(TensorDataset(x, torch.arange(40) // 20), batch_size=40)  # x[:, 0] tells the class
        >>> network = torch.nn.Sequential(torch.nn.Linear(2, 2, bias=False), torch.nn.Linear(2, 2, bias=False))
        >>> network[0].weight.data, network[1].weight.data = torch.eye(2), torch.tensor([[-4.0, 0.0], [4.0, 0.0]])
        >>> record = analyze(network, loader, [DirectionAblation("class_means")])
        >>> record.findings["direction_ablation"]["0"]["strongest"].round(2)
        array([1., 0.])
        >>> record.findings["direction_ablation"]["0"]["accuracy"]
        array([-0.5])
    """

    directions: Directions = "random"
    count: int = 128
    max_samples: int = 256

    name: ClassVar[str] = "direction_ablation"
    needs_classes: ClassVar[bool] = True
    by_layer: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(count=self.count, max_samples=self.max_samples)
        if isinstance(self.directions, Mapping):
            if not self.directions:
                raise ValueError("directions are given for no layer")
            self.directions = {layer: self._given(layer) for layer in self.directions}
            return
        if not isinstance(self.directions, Sequence) or not self.directions:
            given = "none" if isinstance(self.directions, Sequence) else described(self.directions)
            raise ValueError(f"directions must be one or several of {_CHOICES}, or tensors by layer, not {given}")
        self.directions = self._kinds  # a list of its own
        for kind in self._kinds:
            check_choice("directions", kind, get_args(Kind))
        if twice := [kind for kind in get_args(Kind) if self._kinds.count(kind) > 1]:
            raise ValueError(f"directions name {twice[0]!r} twice; they are one or several of {_CHOICES}")

    @property
    def axes(self) -> Mapping[str, Sequence[str]]:
        """Quantities and their axes."""
        return {
            **dict.fromkeys(("kl", "loss", "accuracy", "entropy", "kind"), ("direction",)),
            **dict.fromkeys(("max_kl", "clean_loss", "clean_accuracy"), ()),
            "strongest": ("unit",),
        }

    def looks_at(self, layer: str, snapshot: Snapshot) -> bool:
        """Every layer but the input, or those that directions are given for."""
        return can_be_removed(layer) and not (isinstance(self.directions, Mapping) and layer not in self.directions)

    def chosen(self, snapshot: Snapshot) -> list[str]:
        """The layers that are asked for; those among them that are not there are reported."""
        chosen = super().chosen(snapshot)
        if isinstance(self.directions, Mapping) and (
            missing := [name for name in self.directions if name not in chosen]
        ):
            there = [layer for layer in snapshot.layers if can_be_removed(layer)]
            snapshot.report(
                self.name, f"directions are given for {', '.join(missing)}, but looked at are {', '.join(there[:20])}"
            )
        return chosen

    def forwards(self, facts: Facts) -> Forwards:
        """To check; then of each layer to record, and behind it for each direction; the search climbs beside that."""
        layers, some = self.chosen(facts.one), facts.some(self.max_samples)
        climbs = _RESTARTS * _STEPS * ("search" in self._kinds)
        per_layer = facts.rows_to_check - facts.samples + (NUM_CLEAN_RUNS + climbs) * some
        parts = sum(self._num_directions(layer, facts) for layer in layers)
        return Forwards(facts.runs(facts.samples + len(layers) * per_layer), parts, some, len(layers) * climbs)

    def compute(self, snapshot: Snapshot) -> Findings:
        """Remove directions from one chosen layer after the other."""
        try:
            snapshot.check_replay()
        except MonitorError:
            raise
        except ValueError as error:
            snapshot.report(self.name, str(error))
            return Findings(self.axes, {})
        return super().compute(snapshot)

    def measure(self, layer: str, snapshot: Snapshot) -> Mapping[str, Any]:
        """The directions of one layer."""
        (name,) = names_in_network(snapshot, [layer]).values()
        kind, labels, _ = find_objective(snapshot)
        if kind != "classes":
            raise ValueError("the network's outputs are not of classes: there is no distribution to compare")
        axis = max(1, snapshot.unit_axis(layer))  # an output [N] is run as [N, 1]
        vectors, kinds = self._vectors(layer, snapshot)
        if not len(vectors) and "search" not in self._kinds:
            raise ValueError("there is no direction to remove")
        total, found, clean = 0, torch.zeros(()), torch.zeros(())
        readout: Readout | None = None
        for batch in sample_batches(snapshot, self.max_samples, self.name, labels):
            run = CleanRun(snapshot.network, [name], batch, {name: axis}, snapshot.forward_context)
            readout = readout or readout_of(run.output, batch.target, made_by=run.made_by)
            if not total and "search" in self._kinds:
                search = DirectionSearch(snapshot.network, name, batch, run, snapshot.forward_context, readout)
                best = search.climb(
                    search.beginnings(self.count, private_generator(snapshot.seed, layer)), _RESTARTS, _STEPS
                )
                vectors = torch.cat([vectors.to(best.direction), best.direction.unsqueeze(0)])
                kinds += ["search"]
            compare = Comparison(readout, run.output, batch.target)
            changes = without_directions(run, name, vectors.to(run.output.device), compare)
            found = found + torch.stack(changes).cpu() * batch.size
            clean = clean + torch.stack(compare.clean).cpu() * batch.size
            total += batch.size
        loss, accuracy, kl, entropy = found / total
        strongest = kl.nan_to_num(-1).argmax()
        return {
            "kl": kl,
            "loss": loss,
            "accuracy": accuracy,
            "entropy": entropy,
            "kind": torch.tensor([DIRECTION_KINDS.index(kind) for kind in kinds]),
            "strongest": vectors[strongest].cpu(),
            "max_kl": kl[strongest],
            "clean_loss": clean[0, 0] / total,
            "clean_accuracy": clean[1, 0] / total,
        }

    @property
    def _kinds(self) -> list[Kind]:
        if isinstance(self.directions, Mapping):
            return []
        return [self.directions] if isinstance(self.directions, str) else list(self.directions)

    def _num_directions(self, layer: str, facts: Facts) -> int:
        """At most so many are removed from a layer, those that the search tries among them."""
        width, pairs = facts.units[layer], facts.classes * (facts.classes - 1) // 2
        numbers = {
            "random": self.count,
            "principal": min(self.count, width),
            "class_means": min(self.count, pairs),
            "search": num_searched(width, self.count, _RESTARTS, _STEPS) + 1,
        }
        given = len(self._given(layer)) if isinstance(self.directions, Mapping) else 0
        return given + sum(numbers[kind] for kind in self._kinds)

    def _given(self, layer: str) -> Tensor:
        """The user's directions of a layer at length 1, ``[k, U]`` float64.

        Raises:
            ValueError: For what is none.
        """
        assert isinstance(self.directions, Mapping)
        if not isinstance(layer, str):
            raise ValueError(f"directions must be given by names of layers, not by {described(layer)}")
        vectors = as_tensor(f"directions of {layer}", self.directions[layer])
        vectors = vectors.unsqueeze(0) if vectors.ndim == 1 else vectors
        if vectors.ndim != 2 or not len(vectors):
            raise ValueError(f"directions of {layer} must have shape [k, U] or [U], not {tuple(vectors.shape)}")
        try:
            return torch.stack([unit_vector(vector) for vector in vectors])
        except ValueError as error:
            raise ValueError(f"directions of {layer}: {error}") from error

    def _vectors(self, layer: str, snapshot: Snapshot) -> tuple[Tensor, list[str]]:
        """Directions ``[k, U]`` and the kind of each, but for the one that is searched."""
        assert snapshot.target is not None  # needs_classes
        activations, axis = snapshot.activations(layer), snapshot.unit_axis(layer)
        activations = activations.unsqueeze(1) if activations.ndim == 1 else activations
        axis = min(max(1, axis), activations.ndim - 1)  # axes that differed from batch to batch are gone
        width = activations.shape[axis]
        finite = activations.flatten(1).isfinite().all(1)
        if not bool(finite.any()) and {"principal", "class_means"}.intersection(self._kinds):
            raise ValueError("its activations hold NaN or inf for every sample")
        made = {}
        if isinstance(self.directions, Mapping):
            made["given"] = self._given(layer).cpu()
            if made["given"].shape[1] != width:
                raise ValueError(f"directions of {made['given'].shape[1]} numbers for {width} units")
        for kind in self._kinds:
            if kind == "random":
                made[kind] = random_directions(self.count, width, private_generator(snapshot.seed, layer))
            elif kind == "principal":
                made[kind] = principal_directions(activations[finite], axis, self.count).cpu()
            elif kind == "class_means":
                units, rows = snapshot.units(layer).cpu(), finite.cpu()
                made[kind] = class_mean_directions(units[rows], snapshot.target[rows], self.count)
        vectors = torch.cat([torch.zeros(0, width, dtype=torch.float64), *made.values()])
        return vectors, [kind for kind, some in made.items() for _ in some]
