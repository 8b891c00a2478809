"""Whether the units of a layer fall into modules that share more information among themselves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias, get_args

import torch
from torch import Tensor

from ..capture import Snapshot
from ..capture.buffers import Pooling
from ..checks import check_choice, check_positive, shown
from ..functional import ModuleComparisons, find_modules, modularity, module_comparisons, mutual_information
from ..functional.pooled_information import Pairing
from ..interventions.patching import as_tensor
from ..records import Findings
from .base import Failures, LayerChoice, OfInput, one_by_one
from .cost import Facts, Forwards
from .finite_units import finite_units, usable_rows
from .halves import second_half
from .layer_information import evenly_spaced
from .rerun import private_generator
from .run_bins import RunBins, check_bins, check_edges
from .shared_information import shared_information

How = Literal["found", "random"]
Weights = Literal["excess", "information"]

if TYPE_CHECKING:
    from .run_bins import Edges

    Modules: TypeAlias = How | Mapping[str, Sequence[int]]
else:
    Edges = Modules = Any  # Hydra refuses unions of containers; a command line reads the block above


@dataclass
class Modularity(LayerChoice):
    """Whether the units of a layer fall into modules that share more information among themselves than with others.

    The units of a layer are a graph weighted by the information between them; Newman's modularity Q of a partition of
    it is compared with that of partitions of the same sizes at random. Modules that are found are found on one half of
    the sample (every other one of each class) and measured on the other: a search finds modules in noise, too.

    Between layers, for a module P of units in both, three comparisons say how much the module depends on itself and on
    the rest (see :func:`lightning_separation.functional.module_comparisons`); of modules that are found, each of a
    layer is taken together with the one of the layer before that shares most information with it.

    Args:
        modules: ``"found"``: by Louvain's method; ``"random"``: ``num_modules`` of about one size; or the module of
            each unit by layer, ``{"fc1": [0, 0, 1, ...], ...}``, where equal numbers in two layers are one module.
        num_modules: How many random ones.
        weights: ``"excess"``: the information beyond what the same units share in random order of the samples, at least
            0; ``"information"``: all of it, of which a part that is the same for all pairs is chance: it makes every Q
            smaller, the more so the less the units share.
        bins: Of every unit, of one width.
        edges: ``"run"``: the bins of the first analysed epoch are kept; ``"epoch"``: laid anew each time; or a
            range for all of them, see :class:`LayerInformation`.
        pairing: What is paired where activations of two layers are binned together: ``"truncate"``, unit i with unit i
            as far as both slices go, or ``"all"``.
        num_permutations: Random partitions.
        max_units: Of wider layers so many units that vary, evenly spaced.
        pooling: ``"mean"`` or ``"max"`` over the positions of convolutions and sequences.
        layers: Names or glob patterns that narrow the monitor's; "before" means among these.
        every_n_epochs: Narrows the monitor's schedule.

    Found for each layer: ``modularity``, ``null_mean``, ``null_std``, ``p_value``, ``num_modules``; ``example_unit``
    (example: which units), their ``module`` (example) and ``weight`` (example, example; nats, float32, on the half that
    Q is measured on); behind another layer ``others_alone``, ``all_over_module`` and ``all_over_others``, means over
    the modules in nats, NaN if no module is part of both layers. A layer of one unit is left out.

    Raises:
        ValueError: For impossible settings.

    Example:
        >>> from torch.utils.data import DataLoader, TensorDataset
        >>> from lightning_separation import analyze
        >>> x = torch.randn(200, 2, generator=torch.Generator().manual_seed(0)).repeat_interleave(3, 1)
        >>> loader = DataLoader(TensorDataset(x), batch_size=50)
        >>> record = analyze(torch.nn.Identity(), loader, [Modularity()])
        >>> record.findings["modularity"]["input"]["module"]  # two groups of three alike
        array([0, 0, 0, 1, 1, 1])
    """

    modules: Modules = "found"
    num_modules: int = 4
    weights: Weights = "excess"
    bins: int = 10
    edges: Edges = "run"
    pairing: Pairing = "truncate"
    num_permutations: int = 1000
    max_units: int = 128
    pooling: Pooling = "mean"

    name: ClassVar[str] = "modularity"
    needs_classes: ClassVar[bool] = False

    _run_bins: RunBins = field(init=False, repr=False, compare=False)
    _of_input: OfInput = field(default_factory=OfInput, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(
            num_modules=self.num_modules,
            num_permutations=self.num_permutations,
            max_units=self.max_units,
        )
        check_bins(self.bins)
        check_choice("weights", self.weights, get_args(Weights))
        self.edges = check_edges(self.edges)
        check_choice("pairing", self.pairing, get_args(Pairing))
        check_choice("pooling", self.pooling, get_args(Pooling))
        if isinstance(self.modules, Mapping):
            self.modules = {layer: _given(f"modules of {layer}", some) for layer, some in self.modules.items()}
        else:
            check_choice("modules", self.modules, get_args(How))
        self._run_bins = RunBins(self.bins, self.edges)

    @property
    def axes(self) -> Mapping[str, Sequence[str]]:
        """Quantities and their axes."""
        numbers = ("modularity", "null_mean", "null_std", "p_value", "num_modules", *ModuleComparisons._fields)
        return {
            **dict.fromkeys(numbers, ()),
            "example_unit": ("example",),
            "module": ("example",),
            "weight": ("example", "example"),
        }

    def state_dict(self) -> dict[str, Any]:
        """The run's bins."""
        return self._run_bins.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take them over; of an empty state: begin anew."""
        self._run_bins.load_state_dict(state)

    def looks_at(self, layer: str, snapshot: Snapshot) -> bool:
        """Every layer, or those whose modules are given."""
        return not isinstance(self.modules, Mapping) or layer in self.modules

    def forwards(self, facts: Facts) -> Forwards:
        """None: it only looks."""
        return Forwards()

    def compute(self, snapshot: Snapshot) -> Findings:
        """Find and measure the modules of every chosen layer, and each with the layer before."""
        found: dict[str, dict[str, Any]] = {}
        before: _Members | None = None
        if unknown := set(() if isinstance(self.modules, str) else self.modules) - set(snapshot.layers):
            snapshot.report(self.name, f"modules are given of {', '.join(sorted(unknown))}, which are no layers here")
        layers = self.chosen(snapshot)
        rows = usable_rows(snapshot, self.name)
        failures = Failures(self.name)
        for layer in one_by_one(layers, snapshot):
            with failures.of(layer):
                units = finite_units(snapshot, layer, self.pooling, rows)
                varying = _varying(units)
                if units.shape[1] == 1:
                    continue
                if len(varying) < 2:
                    told = f"{len(varying)} of its {units.shape[1]} units vary: there is nothing to divide"
                    snapshot.report(layer, f"{self.name}: {told}", harmless=True)
                    continue
                measure = partial(self._measure, layer, units, varying, rows, snapshot)
                members, own = self._of_input.once(layer, snapshot, measure, rows)
                found[layer] = own if before is None else own | self._between(before, members)
                before = members
        failures.tell(snapshot)
        return Findings(self.axes, found)

    def _members(self, layer: str, units: Tensor, varying: Tensor, rows: Tensor, snapshot: Snapshot) -> _Members:
        some = varying[evenly_spaced(len(varying), self.max_units).to(varying.device)]
        edges, all_edges = self._run_bins.of_units(layer, units)[some], self._run_bins.of_layer(layer, units)
        members = _Members(layer, units[:, some], some, edges, all_edges, self._halves(units, rows, snapshot))
        members.modules = self._modules(members, units.shape[1], snapshot)
        return members

    def _halves(self, units: Tensor, rows: Tensor, snapshot: Snapshot) -> tuple[Tensor, Tensor]:
        """Samples to find modules on, and to measure them on, ``[N]`` bool each."""
        every = torch.ones(len(units), dtype=torch.bool, device=units.device)
        if self.modules != "found":
            return every, every
        alike = torch.zeros(len(units), dtype=torch.int64) if snapshot.target is None else snapshot.target[rows]
        second = second_half(alike).to(units.device)
        if not bool(second.any()):
            raise ValueError("no class has two samples: modules found on one half are measured on the other")
        return ~second, second

    def _modules(self, members: _Members, width: int, snapshot: Snapshot) -> Tensor:
        """The module of each unit, ``[k]`` int64."""
        if self.modules == "found":
            return find_modules(self._weights(members, members.halves[0], snapshot), seed=snapshot.seed)
        if self.modules == "random":
            drawn = torch.randperm(width, generator=private_generator(snapshot.seed, members.layer))
            return (drawn % self.num_modules).to(members.units.device)[members.chosen]
        assert isinstance(self.modules, Mapping)
        given = torch.as_tensor(self.modules[members.layer], device=members.units.device)
        if given.shape != (width,) or given.is_floating_point() or given.is_complex():
            raise ValueError(f"modules of {members.layer}: one integer for each of its {width} units is needed")
        return given.long()[members.chosen]

    def _weights(self, members: _Members, rows: Tensor, snapshot: Snapshot) -> Tensor:
        units = members.units[rows]
        shared = shared_information(units, units, (members.edges, members.edges), members.layer, snapshot)
        weights = shared.value if self.weights == "information" else shared.excess.clamp(min=0)
        return (weights + weights.T) / 2

    def _measure(
        self, layer: str, units: Tensor, varying: Tensor, rows: Tensor, snapshot: Snapshot
    ) -> tuple[_Members, dict[str, Any]]:
        members = self._members(layer, units, varying, rows, snapshot)
        weights = self._weights(members, members.halves[1], snapshot)
        result = modularity(
            weights,
            members.modules,
            num_permutations=self.num_permutations,
            generator=private_generator(snapshot.seed, members.layer),
        )
        return members, {
            "modularity": result.value.cpu(),
            "null_mean": result.null_mean.cpu(),
            "null_std": result.null_std.cpu(),
            "p_value": result.p_value.cpu(),
            "num_modules": float(len(members.modules.unique())),
            "example_unit": members.chosen.cpu(),
            "module": members.modules.cpu(),
            "weight": weights.float().cpu(),
        }

    def _between(self, before: _Members, members: _Members) -> dict[str, Tensor]:
        """The three comparisons of each module, and their means."""
        rows = members.halves[1]
        first, second = before.units[rows], members.units[rows]
        compared = [
            torch.stack(
                module_comparisons(
                    first,
                    second,
                    before.modules == own,
                    members.modules == module,
                    edges=(before.all_edges, members.all_edges),
                    pairing=self.pairing,
                )
            )
            for module, own in self._same_modules(before, members).items()
            if 0 < int((before.modules == own).sum()) < len(before.modules)
        ]
        means = torch.stack(compared).mean(0) if compared else torch.full((3,), torch.nan)
        return dict(zip(ModuleComparisons._fields, means.cpu(), strict=True))

    def _same_modules(self, before: _Members, members: _Members) -> dict[int, int]:
        """For each module of a layer the one of the layer before that counts as the same."""
        labels = members.modules.unique().tolist()
        if self.modules != "found":
            return {label: label for label in labels}
        rows = members.halves[0]
        shared = mutual_information(
            before.units[rows], members.units[rows], edges=(before.edges, members.edges), generator=torch.Generator()
        ).value
        own = before.modules.unique()
        means = torch.stack([shared[before.modules == label].mean(0) for label in own])
        return {label: int(own[means[:, members.modules == label].mean(1).argmax()]) for label in labels}


def _varying(units: Tensor) -> Tensor:
    """Which units do not have the same value for every sample, nor NaN or infinite ones, ``[k]`` int64."""
    low, high = units.aminmax(dim=0)
    return ((low < high) & low.isfinite() & high.isfinite()).nonzero().squeeze(1)


def _given(name: str, modules: Any) -> list[int]:
    """The module of each unit, as a list of its own; raise ValueError with the name for what is none."""
    numbers = as_tensor(name, modules)
    if numbers.ndim != 1 or numbers.is_floating_point():
        raise ValueError(f"{name} must be one integer for each unit, not {shown(modules)}")
    return [int(number) for number in numbers.tolist()]


@dataclass
class _Members:
    """Some units of a layer, and the modules that they are in.

    Attributes:
        layer: Its name.
        units: ``[N, k]`` their activations.
        chosen: ``[k]`` which units.
        edges: ``[k, bins + 1]`` of each unit.
        all_edges: ``[bins + 1]`` of the layer.
        halves: Samples to find modules on, and to measure them on, ``[N]`` bool each.
        modules: ``[k]`` int64.
    """

    layer: str
    units: Tensor
    chosen: Tensor
    edges: Tensor
    all_edges: Tensor
    halves: tuple[Tensor, Tensor]
    modules: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.int64))
