"""Entropy of every layer, and what it shares with the layer before and with the classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, get_args

import torch
from torch import Tensor

from ..capture import Snapshot
from ..capture.buffers import Pooling
from ..checks import check_choice, check_positive
from ..functional import entropy, pooled_information
from ..functional._bins import Correction
from ..functional.pooled_information import Pairing
from ..records import Findings
from .base import Failures, LayerChoice, OfInput, one_by_one
from .cost import Facts, Forwards
from .finite_units import finite_units, usable_rows
from .run_bins import RunBins, check_bins, check_edges
from .shared_information import shared_information

if TYPE_CHECKING:
    from .run_bins import Edges
else:
    Edges = Any  # Hydra refuses unions of containers; a command line reads the block above

_MUCH = 0.2  # share of values outside the bins that is worth a word


@dataclass
class LayerInformation(LayerChoice):
    """How much the units of every layer vary, what that says of the classes, and of the layer before; in nats.

    Each unit's activations are put into bins; entropy and information are those of the shares of samples in the bins.
    As a unit is a function of the network's input, its entropy is also what it says of the input (where no two samples
    are equal): entropy against information with the classes, layer by layer and epoch by epoch, is the information
    plane (Tishby and Zaslavsky 2015; for its limits Saxe et al. 2018), taken unit by unit, as bins of whole layers
    would hold one sample each. Few samples seem to share information by chance alone: what they share in random order
    is taken off.

    Args:
        bins: Of every unit, of one width.
        edges: ``"run"``: the bins of the first analysed epoch are kept, so that epochs are of one measure; values that
            grow beyond count to the outermost bin, and the share of these is found and, if it is large, said.
            ``"epoch"``: from smallest to largest value each time, which no growth of the activations can change. Or a
            range for all units of all layers, such as ``(-1.0, 1.0)`` for layers of tanh.
        correction: ``"miller-madow"`` adds (bins with samples - 1) / (2N) to each entropy.
        pairing: What is paired where all activations of two layers are binned together: ``"truncate"``, unit i with
            unit i as far as both layers go, or ``"all"``, every unit with every unit.
        pooling: ``"mean"`` or ``"max"`` over the positions of convolutions and sequences.
        max_units: Of wider layers so many units, evenly spaced, are compared with the layer before.
        layers: Names or glob patterns that narrow the monitor's; "before" means among these.
        every_n_epochs: Narrows the monitor's schedule.

    Found for each layer, for each unit: ``entropy``; with classes ``label_information`` and ``label_excess`` (what is
    left of it without chance); behind another layer ``previous_information`` and ``previous_excess``, means over the
    units of the layer before (NaN for units beyond ``max_units``); ``edges`` (unit, edge). As numbers the means
    ``entropy_mean``, ``label_excess_mean`` and ``previous_excess_mean``, ``label_entropy`` (the most that can be known
    of the classes), ``outside`` (share of values beyond the bins); and of all activations binned together
    ``pooled_entropy``, behind another layer ``pooled_joint_entropy``, ``pooled_conditional_entropy`` (that layer
    known) and ``pooled_information``. Samples for which the network returns NaN are left out; a unit that has NaN or
    infinite values for others is NaN, which the means leave out, and a layer of such units is left out.

    Raises:
        ValueError: For impossible settings.

    Example:
        >>> from torch.utils.data import DataLoader, TensorDataset
        >>> from lightning_separation import analyze
        >>> x = torch.stack([torch.arange(40.0) // 20, torch.arange(40.0) % 20 / 19], 1)
        >>> loader = DataLoader(TensorDataset(x, torch.arange(40) // 20), batch_size=40)  # x[:, 0] tells the class
        >>> record = analyze(torch.nn.Identity(), loader, [LayerInformation()])
        >>> record.findings["layer_information"]["input"]["label_information"].round(3)  # log 2: the whole label
        array([0.693, 0.   ])
    """

    bins: int = 10
    edges: Edges = "run"
    correction: Correction | None = None
    pairing: Pairing = "truncate"
    pooling: Pooling = "mean"
    max_units: int = 256

    name: ClassVar[str] = "layer_information"
    needs_classes: ClassVar[bool] = False

    _run_bins: RunBins = field(init=False, repr=False, compare=False)
    _of_input: OfInput = field(default_factory=OfInput, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(max_units=self.max_units)
        check_bins(self.bins)
        self.edges = check_edges(self.edges)
        check_choice("correction", self.correction, (None, *get_args(Correction)))
        check_choice("pairing", self.pairing, get_args(Pairing))
        check_choice("pooling", self.pooling, get_args(Pooling))
        self._run_bins = RunBins(self.bins, self.edges)

    @property
    def axes(self) -> Mapping[str, Sequence[str]]:
        """Quantities and their axes."""
        units = ("entropy", "label_information", "label_excess", "previous_information", "previous_excess")
        numbers = ("entropy_mean", "label_excess_mean", "label_entropy", "previous_excess_mean", "outside")
        pooled = ("pooled_entropy", "pooled_joint_entropy", "pooled_conditional_entropy", "pooled_information")
        return {**dict.fromkeys(units, ("unit",)), "edges": ("unit", "edge"), **dict.fromkeys((*numbers, *pooled), ())}

    def state_dict(self) -> dict[str, Any]:
        """The run's bins."""
        return self._run_bins.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take them over; of an empty state: begin anew."""
        self._run_bins.load_state_dict(state)

    def forwards(self, facts: Facts) -> Forwards:
        """None: it only looks."""
        return Forwards()

    def compute(self, snapshot: Snapshot) -> Findings:
        """Measure every chosen layer, and each with the one before."""
        found: dict[str, dict[str, Tensor]] = {}
        before: tuple[str, Tensor] | None = None
        layers = self.chosen(snapshot)
        rows = usable_rows(snapshot, self.name)
        failures = Failures(self.name)
        for layer in one_by_one(layers, snapshot):
            with failures.of(layer):
                units = finite_units(snapshot, layer, self.pooling, rows)
                measure = partial(self._measure, layer, units, before, rows, snapshot)
                found[layer] = self._of_input.once(layer, snapshot, measure, rows)
                before = layer, units
        failures.tell(snapshot)
        self._tell_of_values_outside(found, snapshot)
        return Findings(self.axes, found)

    def _measure(
        self, layer: str, units: Tensor, before: tuple[str, Tensor] | None, rows: Tensor, snapshot: Snapshot
    ) -> dict[str, Tensor]:
        edges = self._run_bins.of_units(layer, units)
        found = {
            "entropy": entropy(units, edges=edges, correction=self.correction),
            "edges": edges,
            "outside": torch.tensor(self._run_bins.outside(layer, units)),
        }
        found["entropy_mean"] = found["entropy"].nanmean()
        if snapshot.target is not None:
            found |= self._with_classes(layer, units, edges, snapshot.target[rows], snapshot)
        if before is None:
            all_edges = self._run_bins.of_layer(layer, units)
            found["pooled_entropy"] = entropy(units.flatten(), edges=all_edges, correction=self.correction)[0]
        else:
            found |= self._with_layer_before(layer, units, edges, *before, snapshot)
        return {quantity: value.cpu() for quantity, value in found.items()}

    def _with_classes(
        self, layer: str, units: Tensor, edges: Tensor, target: Tensor, snapshot: Snapshot
    ) -> dict[str, Tensor]:
        classes = torch.arange(len(snapshot.labels) + 1) - 0.5
        shared = shared_information(
            units, target.to(units.device)[:, None], (edges, classes), layer, snapshot, self.correction
        )
        excess = shared.excess.squeeze(1)
        return {
            "label_information": shared.value.squeeze(1),
            "label_excess": excess,
            "label_excess_mean": excess.nanmean(),
            "label_entropy": entropy(target, edges=classes, correction=self.correction)[0],
        }

    def _with_layer_before(
        self, layer: str, units: Tensor, edges: Tensor, name: str, others: Tensor, snapshot: Snapshot
    ) -> dict[str, Tensor]:
        some, some_others = (evenly_spaced(x.shape[1], self.max_units).to(x.device) for x in (units, others))
        both_edges = edges[some], self._run_bins.of_units(name, others)[some_others]
        shared = shared_information(
            units[:, some], others[:, some_others], both_edges, layer, snapshot, self.correction
        )
        pooled = pooled_information(
            units,
            others,
            edges=(self._run_bins.of_layer(layer, units), self._run_bins.of_layer(name, others)),
            correction=self.correction,
            pairing=self.pairing,
        )
        nothing = edges.new_full((units.shape[1],), torch.nan)
        excess = nothing.index_copy(0, some, shared.excess.nanmean(1))
        return {
            "previous_information": nothing.index_copy(0, some, shared.value.nanmean(1)),
            "previous_excess": excess,
            "previous_excess_mean": shared.excess.nanmean(),
            "pooled_entropy": pooled.entropy_x,
            "pooled_joint_entropy": pooled.joint_entropy,
            "pooled_conditional_entropy": pooled.conditional_entropy,
            "pooled_information": pooled.information,
        }

    def _tell_of_values_outside(self, found: Mapping[str, Mapping[str, Tensor]], snapshot: Snapshot) -> None:
        share = max((float(values["outside"]) for values in found.values()), default=0.0)
        if share > _MUCH:
            bins = "bins of the run's first epoch" if self.edges == "run" else "given range"
            snapshot.report(
                self.name,  # without the layers' names: of others in the next epoch it would be said again
                f"up to {share:.0%} of a layer's values lie outside the {bins} and count to the outermost bins (the "
                'finding "outside" says how many of each); edges="epoch" lays bins anew each time',
                harmless=True,
            )


def evenly_spaced(width: int, most: int) -> Tensor:
    """At most so many of the units, ``[k]`` int64, ascending.

    Example:
        >>> evenly_spaced(10, 4)
        tensor([0, 3, 6, 9])
    """
    return torch.linspace(0, width - 1, min(width, most)).round().long()
