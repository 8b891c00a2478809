"""What the units of a layer say of the network's input features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, get_args

from torch import Tensor

from ..capture import INPUT, Snapshot
from ..capture.buffers import Pooling
from ..checks import check_choice, check_positive
from ..errors import MonitorError
from ..functional import unit_activations
from ..functional._bins import Correction
from ..functional._inputs import device_of
from ..interventions.batches import Batch
from ..interventions.gate import chosen_input
from ..records import Findings
from .base import Failures, LayerChoice, one_by_one, reason_of
from .cost import Facts, Forwards
from .finite_units import finite_units, usable_rows
from .layer_information import evenly_spaced
from .named_features import check_argument, check_feature_names, feature_labels
from .run_bins import RunBins, check_bins, check_edges
from .shared_information import shared_information
from .sources import NOWHERE, layers_given, linear_layers, linear_sources

if TYPE_CHECKING:
    from .run_bins import Edges
else:
    Edges = Any  # Hydra refuses unions of containers; a command line reads the block above

_MOST_NAMED = 10  # features in a message


@dataclass
class FeatureInformation(LayerChoice):
    """Information between each feature of the network's input and each unit of a layer, in nats.

    Meant for the latent layer of an autoencoder: features that it says more of matter more for what is kept of the
    input. What they share in random order of the samples, by chance, is taken off. Beside it stands the oldest measure
    of a feature, the size of the weights that lead from it.

    Args:
        bins: Of every feature and unit, of one width; at least 2.
        edges: ``"epoch"``: bins go from smallest to largest value each time, so that a layer that grows tells no less;
            ``"run"``: those of the first analysed epoch are kept; or a range for all of them, see
            :class:`LayerInformation`.
        correction: ``"miller-madow"`` adds (bins with samples - 1) / (2N) to each entropy.
        feature_names: Names of the input's features, flattened; None: their numbers.
        argument: Which of several inputs of the network: a name, or the position of an argument. None: the first.
        pooling: ``"mean"`` or ``"max"`` over the positions of convolutions and sequences.
        max_units: Of wider layers so many units, evenly spaced.
        max_features: An input of more features, flattened, is pooled as layers are: to its channels or last axis. If
            these are more, nothing is measured, and that is said.
        layers: Names or glob patterns that narrow the monitor's; the input itself is left out.
        every_n_epochs: Narrows the monitor's schedule.

    Found for each layer: ``information`` and ``excess`` (feature, example; without and with chance taken off),
    ``example_unit`` (example: which units), ``feature_mean`` (feature; mean excess over the units), and where only
    linear layers with weights lie between the input and the layer, the first is given the features as they are, and
    each unit's activation goes to the next by itself, ``weight_magnitude`` (feature): the product of their absolute
    weight matrices, summed over the units, times the feature's standard deviation, as a share of 1. NaN for units
    and features with NaN or infinite values, of which the features are reported; samples for which the network gives
    NaN are left out.

    Raises:
        ValueError: For impossible settings.

    Example:
        >>> import torch
        >>> from torch.utils.data import DataLoader, TensorDataset
        >>> from lightning_separation import analyze
        >>> x = torch.stack([torch.arange(40.0) // 20 - 0.5, torch.arange(40.0) % 20 / 19], 1)
        >>> loader = DataLoader(TensorDataset(x, torch.arange(40) // 20), batch_size=40)  # x[:, 0] tells the class
        >>> network = torch.nn.Sequential(torch.nn.Identity(), torch.nn.Linear(2, 2, bias=False))
        >>> network[1].weight.data = torch.tensor([[-4.0, 0.0], [4.0, 0.0]])
        >>> record = analyze(network, loader, [FeatureInformation(feature_names=["age", "pulse"])])
        >>> record.findings["feature_information"]["1"]["weight_magnitude"]
        array([1., 0.])
    """

    bins: int = 10
    edges: Edges = "epoch"
    correction: Correction | None = None
    feature_names: Sequence[str] | None = None
    argument: int | str | None = None
    pooling: Pooling = "mean"
    max_units: int = 256
    max_features: int = 1024

    name: ClassVar[str] = "feature_information"
    needs_classes: ClassVar[bool] = False

    _run_bins: RunBins = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_bins(self.bins)
        check_positive(max_units=self.max_units, max_features=self.max_features)
        self.edges = check_edges(self.edges)
        check_choice("correction", self.correction, (None, *get_args(Correction)))
        check_choice("pooling", self.pooling, get_args(Pooling))
        check_argument(self.argument)
        self.feature_names = check_feature_names(self.feature_names)
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

    def forwards(self, facts: Facts) -> Forwards:
        """To find the linear layers that are given the features, and where the others have from what they are given."""
        linear = linear_layers(facts.one)
        return Forwards(1 + bool(linear), backwards=2 * len(linear))

    def compute(self, snapshot: Snapshot) -> Findings:
        """Measure every chosen layer."""
        layers, found = self.chosen(snapshot), {}
        try:
            features, rows = self._features(snapshot), usable_rows(snapshot, self.name)
        except MonitorError:
            raise
        except Exception as error:  # the other analyses can still be made
            snapshot.report(self.name, reason_of(error))
            return Findings(self.axes, {})
        labels = feature_labels(self.feature_names, features.shape[1], self.name, snapshot)
        weights = _feature_weights(features, snapshot, self.pooling)
        features = features[rows.to(features.device)]
        self._tell_of_bad_features(features, labels, snapshot)
        failures = Failures(self.name)
        for layer in one_by_one(layers, snapshot):
            with failures.of(layer):
                units = finite_units(snapshot, layer, self.pooling, rows)
                found[layer] = self._measure(layer, units, features, snapshot)
                if layer in weights:
                    found[layer]["weight_magnitude"] = _magnitude(weights[layer].to(features.device), features).cpu()
        failures.tell(snapshot)
        return Findings(self.axes, found, labels)

    def _features(self, snapshot: Snapshot) -> Tensor:
        """The features of all samples, ``[N, D]``.

        Raises:
            ValueError: If there are too many, or the network is given no such input.
        """
        given = snapshot.activations(INPUT) if self.argument is None else self._argument(self.argument, snapshot)
        given = given.to(device_of(given))
        features = given.reshape(len(given), -1)
        if features.shape[1] > self.max_features:
            as_held = self.argument is None
            features = (
                snapshot.pool(INPUT, given, self.pooling) if as_held else unit_activations(given, pooling=self.pooling)
            )
        if features.shape[1] > self.max_features:
            raise ValueError(f"{features.shape[1]} features, max_features={self.max_features}: raise it")
        return features

    def _argument(self, argument: str | int, snapshot: Snapshot) -> Tensor:
        batches = [Batch(call.args, len(rows), call.kwargs) for rows, call in snapshot.calls]
        inputs = [chosen_input(batch, argument) for batch in batches]
        if len(shapes := {tuple(x.shape[1:]) for x in inputs}) > 1:
            told = " or ".join(map(str, sorted(shapes)))
            raise ValueError(f"argument={argument!r} has samples of shape {told}: features must be there for every one")
        return snapshot.joined(inputs)

    def _tell_of_bad_features(self, features: Tensor, labels: Mapping[str, Sequence[str]], snapshot: Snapshot) -> None:
        if bad := (~features.isfinite()).any(0).nonzero().flatten().tolist():
            names = ", ".join(labels["feature"][i] if labels else str(i) for i in bad[:_MOST_NAMED])
            more = f" and {len(bad) - _MOST_NAMED} more" if len(bad) > _MOST_NAMED else ""
            told = f"NaN or infinite values in features {names}{more}: nothing is found of these"
            snapshot.report(self.name, told)

    def _measure(self, layer: str, units: Tensor, features: Tensor, snapshot: Snapshot) -> dict[str, Tensor]:
        some = evenly_spaced(units.shape[1], self.max_units).to(units.device)
        edges = self._run_bins.of_units(INPUT, features), self._run_bins.of_units(layer, units)[some]
        shared = shared_information(features, units[:, some], edges, layer, snapshot, self.correction)
        found = {
            "information": shared.value,
            "excess": shared.excess,
            "example_unit": some,
            "feature_mean": shared.excess.nanmean(1),
        }
        return {quantity: value.cpu() for quantity, value in found.items()}


def _magnitude(weights: Tensor, features: Tensor) -> Tensor:
    """Weights ``[D]`` in standard deviations of the features ``[N, D]``, as shares of 1."""
    sizes = weights * features.double().std(0, correction=0)
    return sizes / sizes.nansum()


def _feature_weights(features: Tensor, snapshot: Snapshot, pooling: Pooling) -> dict[str, Tensor]:
    """How strong the ways are from each feature to the units of linear layers, ``[D]`` float64, up to a factor.

    Of the layers for which the product of the absolute weights from the features on means that.
    """
    products: dict[str, Tensor] = {}
    if first := layers_given(features, snapshot, pooling):
        sources = linear_sources(snapshot)
        for layer, module in linear_layers(snapshot).items():
            if module.weight.shape != (module.out_features, module.in_features):
                continue  # packed into other numbers
            weight, source = module.weight.detach(), sources.get(layer, NOWHERE)
            weight = weight.to(device_of(weight)).double().abs()
            if layer in first:
                products[layer] = weight
            elif source.one_to_one and (before := snapshot.layers[source.place]) in products:
                product = weight @ products[before]
                products[layer] = product / product.sum()  # of many layers it would be beyond all numbers
    return {layer: product.sum(0) for layer, product in products.items()}
