"""What becomes of the layers behind when units of a layer are removed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, get_args

import torch
from torch import Tensor

from ..capture import Snapshot
from ..capture.buffers import Pooling
from ..checks import check_choice, check_number, check_share
from ..errors import MonitorError
from ..functional import henze_penrose_divergence
from ..functional.kolmogorov_smirnov import kolmogorov_smirnov_distance
from ..records import Findings
from .base import Failures, LayerChoice, large_enough, one_by_one, reason_of
from .cost import Facts, Forwards
from .henze_penrose import FEWEST_SAMPLES
from .unit_groups import TooFewUnitsError, can_be_removed, draw_groups, significant_units, without


@dataclass
class NextLayerEffect(LayerChoice):
    """How the layers behind change when significant units of a layer are removed, against as many others.

    Units of a layer are set to 0, at every call of it, and the network is run again: how far every layer that runs
    behind separates the classes then, how its units' distributions have moved, and how many of them still tell the
    classes apart. What is not computed from the layer does not change. A layer that runs several times is tested by
    what it does at the first; the later times count as layers behind. A class with fewer than 5 samples is left out of
    separation and tests, by name; a layer without enough units of a kind is left out, by name.

    For each layer the sample is run twice, and each layer behind is measured twice.

    Args:
        fraction: Of the rarer kind of units, significant or not, how many of each kind to remove, rounded down.
        alpha: A unit is significant if its q is below.
        pooling: ``"mean"`` or ``"max"`` over the positions of convolutions and sequences, for tests and distributions.
        layers: Names or glob patterns that narrow the monitor's, of the layers to remove units from.
        every_n_epochs: Narrows the monitor's schedule.

    Found for each layer, for each layer behind it: ``follower`` (its place in the record's layers); ``separation``
    (mean Henze-Penrose divergence over pairs of classes), ``separation_without_significant``,
    ``separation_without_others``; ``shift_without_significant`` and ``shift_without_others`` (mean over its units of
    the Kolmogorov-Smirnov distance between their activations with and without); ``significant_fraction``,
    ``significant_fraction_without_significant``, ``significant_fraction_without_others``; as a number
    ``removed_units`` (of each kind).

    Raises:
        ValueError: For impossible settings.

    Example:
        >>> from torch.utils.data import DataLoader, TensorDataset
        >>> from lightning_separation import analyze
        >>> x = torch.stack([torch.arange(40.0) // 20 - 0.5, torch.arange(40.0) % 20 / 19], 1).repeat(1, 2)
        >>> loader = DataLoader(TensorDataset(x, torch.arange(40) // 20), batch_size=40)  # x[:, 0] tells the class
        >>> network = torch.nn.Sequential(torch.nn.Linear(4, 4, bias=False), torch.nn.Linear(4, 2, bias=False))
        >>> network[0].weight.data = torch.eye(4)  # units 0 and 2 tell the classes
        >>> network[1].weight.data = torch.tensor([[-4.0, 0.0, -4.0, 0.0], [4.0, 0.0, 4.0, 0.0]])
        >>> record = analyze(network, loader, [NextLayerEffect(fraction=1.0)])
        >>> found = record.findings["next_layer_effect"]["0"]
        >>> found["separation"], found["separation_without_significant"], found["separation_without_others"]
        (array([0.95]), array([0.]), array([0.95]))
    """

    fraction: float = 0.9
    alpha: float = 0.05
    pooling: Pooling = "mean"

    name: ClassVar[str] = "next_layer_effect"
    needs_classes: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_share("fraction", self.fraction)
        check_number("alpha", self.alpha, 0, 1)
        check_choice("pooling", self.pooling, get_args(Pooling))

    @property
    def axes(self) -> Mapping[str, Sequence[str]]:
        """Quantities and their axes."""
        groups = ("_without_significant", "_without_others")
        quantities = [f"{name}{group}" for name in ("separation", "significant_fraction") for group in ("", *groups)]
        quantities += [f"shift{group}" for group in groups]
        return {**dict.fromkeys(["follower", *quantities], ("follower",)), "removed_units": ()}

    def looks_at(self, layer: str, snapshot: Snapshot) -> bool:
        """Every layer but the input and the last; of one that runs several times all at once."""
        return can_be_removed(layer) and layer != snapshot.layers[-1]

    def forwards(self, facts: Facts) -> Forwards:
        """To check, then for each group of layers that fits into memory: as they are, and behind each without units."""
        layers, held = self.chosen(facts.one), facts.need(facts.held)

        def runs(layer: str, start: int) -> int:
            return len(facts.groups(facts.layers[facts.layers.index(layer) + start :], held))

        return Forwards(1 + runs(layers[0], 0) + 2 * sum(runs(layer, 1) for layer in layers)) if layers else Forwards()

    def compute(self, snapshot: Snapshot) -> Findings:
        """Remove units of every chosen layer and measure the layers behind."""
        enough = large_enough(snapshot, FEWEST_SAMPLES, self.name, "pairs")
        layers = self.chosen(snapshot)
        if int(enough.sum()) < 2 or not layers:
            return Findings(self.axes, {})
        try:
            snapshot.check_replay(with_pass=True)
            first = snapshot.layers.index(layers[0])
            clean = {
                layer: self._look(layer, activations, snapshot, enough)
                for layer, activations in snapshot.again(snapshot.layers[first:])
            }
        except MonitorError:
            raise
        except Exception as error:  # the other analyses can still be made
            snapshot.report(self.name, reason_of(error))
            return Findings(self.axes, {})
        found, failures = {}, Failures(self.name)
        for layer in one_by_one(layers, snapshot):
            with failures.of(layer, harmless=TooFewUnitsError):
                found[layer] = self._measure(layer, snapshot, enough, clean)
        failures.tell(snapshot)
        return Findings(self.axes, found)

    def _measure(self, layer: str, snapshot: Snapshot, enough: Tensor, clean: Mapping[str, _Look]) -> Mapping[str, Any]:
        groups = draw_groups(layer, clean[layer].significant, self.fraction, seed=snapshot.seed)
        followers = [f for f in snapshot.layers[snapshot.layers.index(layer) + 1 :] if f in clean]
        found: dict[str, Any] = {
            "follower": [snapshot.layers.index(follower) for follower in followers],
            "separation": [clean[follower].separation for follower in followers],
            "significant_fraction": [clean[follower].significant_fraction for follower in followers],
            "removed_units": groups.others.shape[1],
        }
        for group, units in (("significant", groups.significant[0]), ("others", groups.others[0])):
            with without(snapshot, {layer: units}):
                for follower, activations in snapshot.again(followers):
                    look = self._look(follower, activations, snapshot, enough)
                    shift = kolmogorov_smirnov_distance(clean[follower].units, look.units).mean().item()
                    found.setdefault(f"separation_without_{group}", []).append(look.separation)
                    found.setdefault(f"significant_fraction_without_{group}", []).append(look.significant_fraction)
                    found.setdefault(f"shift_without_{group}", []).append(shift)
        return found

    def _look(self, layer: str, activations: Tensor, snapshot: Snapshot, enough: Tensor) -> _Look:
        assert snapshot.target is not None  # needs_classes
        rows = enough[snapshot.target]
        units = snapshot.pool(layer, activations, self.pooling)
        finite = units.isfinite().all(0)
        separation = torch.nan
        if bool(activations.isfinite().all()):
            pairs = henze_penrose_divergence(activations[rows.to(activations.device)], snapshot.target[rows])
            separation = pairs[tuple(torch.triu_indices(len(pairs), len(pairs), 1))].mean().item()
        significant = significant_units(units, snapshot.target, rows, self.alpha)
        return _Look(units, separation, significant, significant.sum().item() / max(int(finite.sum()), 1))


class _Look(NamedTuple):
    """What a layer does.

    Attributes:
        units: ``[N, U]``.
        separation: Mean divergence over pairs of classes.
        significant: ``[U]`` bool.
        significant_fraction: Of its units without NaN and infinite values.
    """

    units: Tensor
    separation: float
    significant: Tensor
    significant_fraction: float
