"""What the units of a layer say of the network's input features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, get_args

from torch import Tensor, nn

from ..capture import INPUT, Snapshot
from ..capture.buffers import Pooling
from ..checks import check_choice, check_positive
from ..errors import MonitorError
from ..functional._bins import Correction
from ..records import Findings
from .base import LayerChoice, reason_of
from .layer_information import evenly_spaced
from .named_features import check_feature_names, feature_labels
from .run_bins import Edges, RunBins, check_edges
from .shared_information import shared_information
from .sources import source_layer


@dataclass
class FeatureInformation(LayerChoice):
    """Information between each feature of the network's input and each unit of a layer, in nats.

    Meant for the latent layer of an autoencoder: features that it says more of matter more for what is kept of the
    input. What they share in random order of the samples, by chance, is taken off. Beside it stands the oldest measure
    of a feature, the size of the weights that lead from it.

    Args:
        bins: Of every feature and unit, of one width.
        edges: ``"epoch"``: bins go from smallest to largest value each time, so that a layer that grows tells no less;
            ``"run"``: those of the first analysed epoch are kept; or a range for all of them, see
            :class:`LayerInformation`.
        correction: ``"miller-madow"`` adds (bins with samples - 1) / (2N) to each entropy.
        feature_names: Names of the input's features, flattened; None: their numbers.
        pooling: ``"mean"`` or ``"max"`` over the positions of convolutions and sequences.
        max_units: Of wider layers so many units, evenly spaced.
        max_features: An input of more features, flattened, is pooled as layers are: to its channels or last axis. If
            these are more, nothing is measured, and that is said.
        layers: Names or glob patterns that narrow the monitor's; the input itself is left out.
        every_n_epochs: Narrows the monitor's schedule.

    Found for each layer: ``information`` and ``excess`` (feature, example; without and with chance taken off),
    ``example_unit`` (example: which units), ``feature_mean`` (feature; mean excess over the units), and where only
    linear layers with weights lie between the input and the layer, ``weight_magnitude`` (feature): the product of
    their absolute weight matrices, summed over the units, times the feature's standard deviation, as a share of 1.

    Raises:
        ValueError: For impossible settings.

    Example:
        >>> FeatureInformation(feature_names=["age", "pulse"], layers="encoder.4").name
        'feature_information'
    """

    bins: int = 10
    edges: Edges = "epoch"
    correction: Correction | None = None
    feature_names: Sequence[str] | None = None
    pooling: Pooling = "mean"
    max_units: int = 256
    max_features: int = 1024

    name: ClassVar[str] = "feature_information"
    needs_classes: ClassVar[bool] = False

    _run_bins: RunBins = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(bins=self.bins, max_units=self.max_units, max_features=self.max_features)
        check_edges(self.edges)
        check_choice("correction", self.correction, (None, *get_args(Correction)))
        check_choice("pooling", self.pooling, get_args(Pooling))
        check_feature_names(self.feature_names)
        self._run_bins = RunBins(self.bins, self.edges)

    @property
    def axes(self) -> Mapping[str, Sequence[str]]:
        """Quantities and their axes."""
        return {
            "information": ("feature", "example"),
            "excess": ("feature", "example"),
            "example_unit": ("example",),
            "feature_mean": ("feature",),
            "weight_magnitude": ("feature",),
        }

    def state_dict(self) -> dict[str, Any]:
        """The run's bins."""
        return self._run_bins.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take them over; of an empty state: begin anew."""
        self._run_bins.load_state_dict(state)

    def looks_at(self, layer: str, snapshot: Snapshot) -> bool:
        """Every layer but the input itself."""
        return layer != INPUT

    def compute(self, snapshot: Snapshot) -> Findings:
        """Measure every chosen layer."""
        layers, found = self.chosen(snapshot), {}
        try:
            features = self._features(snapshot)
        except MonitorError:
            raise
        except Exception as error:  # the other analyses can still be made
            snapshot.report(self.name, reason_of(error))
            return Findings(self.axes, {})
        for layer in layers:
            try:
                found[layer] = self._measure(layer, features, snapshot)
            except MonitorError:
                raise
            except Exception as error:  # the other layers can still be measured
                snapshot.report(layer, f"{self.name}: {reason_of(error)}")
        labels = feature_labels(self.feature_names, features.shape[1], self.name, snapshot)
        return Findings(self.axes, found, labels)

    def _features(self, snapshot: Snapshot) -> Tensor:
        given = snapshot.activations(INPUT)
        for features in (given.reshape(len(given), -1), snapshot.units(INPUT, self.pooling)):
            if features.shape[1] <= self.max_features:
                return features
        raise ValueError(f"{features.shape[1]} features, max_features={self.max_features}: raise it")

    def _measure(self, layer: str, features: Tensor, snapshot: Snapshot) -> dict[str, Tensor]:
        units = snapshot.units(layer, self.pooling)
        some = evenly_spaced(units.shape[1], self.max_units).to(units.device)
        edges = self._run_bins.of_units(INPUT, features), self._run_bins.of_units(layer, units)[some]
        shared = shared_information(features, units[:, some], edges, layer, snapshot, self.correction)
        found = {
            "information": shared.value,
            "excess": shared.excess,
            "example_unit": some,
            "feature_mean": shared.excess.nanmean(1),
        }
        if (weights := _path_weights(layer, snapshot)) is not None and weights.shape[1] == features.shape[1]:
            sizes = weights.sum(0).to(features.device) * features.double().std(0, correction=0)
            found["weight_magnitude"] = sizes / sizes.sum()
        return {quantity: value.cpu() for quantity, value in found.items()}


def _path_weights(layer: str, snapshot: Snapshot) -> Tensor | None:
    """Product of the absolute weights of all linear layers from the input to a layer, ``[units, features]``."""
    product: Tensor | None = None
    while layer != INPUT:
        module = snapshot.module(layer)
        if not isinstance(module, nn.Linear):
            return None
        weight = module.weight.detach().double().abs()
        product = weight if product is None else product @ weight
        place = source_layer(layer, snapshot, directly=True)
        if place < 0:
            return None
        layer = snapshot.layers[place]
    return product
