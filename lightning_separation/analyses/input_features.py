"""Which input features drive the units."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, get_args

import torch
from torch import Tensor, nn

from ..capture import INPUT, Snapshot
from ..capture.buffers import Pooling
from ..capture.replay import Pass
from ..capture.structures import first_tensor
from ..checks import check_choice, check_number, check_positive
from ..errors import MonitorError
from ..functional import class_selectivity
from ..records import Findings
from .base import LayerChoice, reason_of
from .cost import Facts, Forwards
from .named_features import check_feature_names, feature_labels

_MOST_CELLS = 200_000  # gradients of single units kept for one layer


@dataclass
class InputFeatures(LayerChoice):
    """Which features of the network's input drive its units, and the active units of each class.

    For every sample the gradient of a unit's activation with respect to the input says what would raise it; means of it
    over the samples of a class say what drives the unit in that class. Summed over the units that are active for a
    sample, and scaled to one standard deviation of each feature, it says which features drive what is active in that
    class: by true class, and by the class that the network predicts. The network is run once more, and back once for
    each layer and each of the units kept.

    Args:
        feature_names: Names of the input's features, flattened; None: their numbers.
        threshold: A unit is active for a sample if its activation is above.
        pooling: ``"mean"`` or ``"max"`` over the positions of convolutions and sequences.
        max_units: Gradients of single units are kept for at most so many of a layer, fewer if features and classes are
            many: those whose distributions differ most between the classes.
        layers: Names or glob patterns that narrow the monitor's; the input itself is left out.
        every_n_epochs: Narrows the monitor's schedule.

    Found for each layer: ``drive`` and, where outputs stand for classes, ``drive_predicted`` (axes: class, feature;
    change of the summed activation of the active units per standard deviation of the feature, mean over the class);
    ``active_fraction`` (unit, class); ``example_unit`` (example: the units kept) and their ``gradient`` (example,
    feature, class; mean over the class), and ``weight`` (example, feature) if the layer is linear and is given the
    input itself; ``feature_std`` (feature), the standard deviations over the sample.

    Outputs stand for classes if there is one for each class from 0 to the largest in the sample (the largest is
    predicted), or one: a probability of class 1 if a sigmoid ran last, else its logit.

    Raises:
        ValueError: For impossible settings.

    Example:
        >>> from torch.utils.data import DataLoader, TensorDataset
        >>> from lightning_separation import analyze
        >>> x = torch.stack([torch.arange(40.0) // 20 - 0.5, torch.arange(40.0) % 20 / 19], 1)
        >>> loader = DataLoader(TensorDataset(x, torch.arange(40) // 20), batch_size=40)  # x[:, 0] tells the class
        >>> network = torch.nn.Sequential(torch.nn.Identity(), torch.nn.Linear(2, 2, bias=False))
        >>> network[1].weight.data = torch.tensor([[-4.0, 0.0], [4.0, 0.0]])
        >>> record = analyze(network, loader, [InputFeatures(feature_names=["age", "pulse"])])
        >>> record.findings["input_features"]["1"]["drive"].round(2)  # 4 for each of its standard deviations of 0.51
        array([[-2.03,  0.  ],
               [ 2.03,  0.  ]])
    """

    feature_names: Sequence[str] | None = None
    threshold: float = 0.0
    pooling: Pooling = "mean"
    max_units: int = 24

    name: ClassVar[str] = "input_features"
    needs_classes: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(max_units=self.max_units)
        check_number("threshold", self.threshold)
        check_choice("pooling", self.pooling, get_args(Pooling))
        self.feature_names = check_feature_names(self.feature_names)

    @property
    def axes(self) -> Mapping[str, Sequence[str]]:
        """Quantities and their axes."""
        return {
            "drive": ("class", "feature"),
            "drive_predicted": ("class", "feature"),
            "active_fraction": ("unit", "class"),
            "example_unit": ("example",),
            "gradient": ("example", "feature", "class"),
            "weight": ("example", "feature"),
            "feature_std": ("feature",),
        }

    def looks_at(self, layer: str, snapshot: Snapshot) -> bool:
        """Every layer but the input itself."""
        return layer != INPUT

    def forwards(self, facts: Facts) -> Forwards:
        """For the predictions and for the gradients; back for each layer and each unit kept."""
        kept = min(self.max_units, _MOST_CELLS // max(1, facts.one.activations(INPUT).numel() * facts.classes))
        return Forwards(2, backwards=sum(1 + min(kept, facts.units[layer]) for layer in self.chosen(facts.one)))

    def compute(self, snapshot: Snapshot) -> Findings:
        """Run the network again, and back from every chosen layer."""
        layers = self.chosen(snapshot)
        try:
            predicted = self._predicted(snapshot)
            drives = {layer: self._layer_drives(layer, snapshot, predicted) for layer in layers}
            snapshot.replay(layers, lambda p: self._visit(p, drives, snapshot), gradients=True)
        except MonitorError:
            raise
        except Exception as error:  # the other analyses can still be made
            snapshot.report(self.name, reason_of(error))
            return Findings(self.axes, {})
        unreached = [layer for layer in layers if not drives[layer].reached]
        if unreached:
            snapshot.report(self.name, f"no gradient leads to the input from {', '.join(unreached)}")
        found = {layer: drives[layer].found() for layer in layers if drives[layer].reached}
        num = snapshot.activations(INPUT)[0].numel()
        return Findings(self.axes, found, feature_labels(self.feature_names, num, self.name, snapshot))

    def _layer_drives(self, layer: str, snapshot: Snapshot, predicted: Tensor | None) -> _Drives:
        assert snapshot.target is not None  # needs_classes
        selectivity = class_selectivity(
            snapshot.units(layer, self.pooling).cpu(), snapshot.target, threshold=self.threshold
        )
        inputs = snapshot.activations(INPUT)
        inputs = inputs.reshape(len(inputs), -1)
        room = _MOST_CELLS // (inputs.shape[1] * len(snapshot.labels))
        # By their order in the layer: a unit keeps its place from epoch to epoch if the same ones are kept.
        most = selectivity.kl.nan_to_num(-1).argsort(descending=True, stable=True)
        chosen = most[: min(self.max_units, room)].sort().values
        scale = inputs.double().std(0).cpu()
        with torch.inference_mode(False):  # or a visit could not add to the sums
            return _Drives(chosen, selectivity.active_fraction, scale, snapshot.target, predicted, snapshot.counts)

    def _visit(self, p: Pass, drives: Mapping[str, _Drives], snapshot: Snapshot) -> None:
        for layer, sums in drives.items():
            if layer in p.made:
                activations = snapshot.pool(layer, p.made[layer], self.pooling)
                module = snapshot.module(layer)
                weight = module.weight if isinstance(module, nn.Linear) else None
                sums.add(p, activations, self.threshold, p.given.get(layer), weight)

    def _predicted(self, snapshot: Snapshot) -> Tensor | None:
        """Place of each sample's predicted class, -1 for one that no sample has; None if outputs do not say."""
        outputs: list[Tensor | None] = []
        snapshot.replay([], lambda p: outputs.append(first_tensor(p.output)))
        known = [output.detach().float().cpu() for output in outputs if output is not None]
        labels, scores = snapshot.labels, snapshot.joined(known) if len(known) == len(outputs) else torch.zeros(0)
        scores = scores.unsqueeze(1) if scores.ndim == 1 else scores
        columns = max(scores.shape[-1], 2)
        if scores.ndim != 2 or int(labels.min()) < 0 or columns != max(int(labels.max()) + 1, 2):
            snapshot.report(
                self.name, "the network's output has no column for each class: no predicted classes", harmless=True
            )
            return None
        if scores.shape[1] == 1:
            is_probability = isinstance(snapshot.module(snapshot.layers[-1]), nn.Sigmoid | nn.Hardsigmoid)
            classes = (scores.squeeze(1) > (0.5 if is_probability else 0.0)).long()
        else:
            classes = scores.argmax(1)
        places = torch.searchsorted(labels, classes).clamp(max=len(labels) - 1)
        return torch.where(labels[places] == classes, places, -1)


class _Drives:
    """Sums of one layer's gradients over the samples of each class.

    Args:
        chosen: ``[S]`` the units whose own gradients are kept.
        active_fraction: ``[U, K]``.
        scale: ``[F]`` standard deviation of each feature.
        target: ``[N]`` place of each sample's class.
        predicted: The same of the class that the network predicts, -1 for none; None if it predicts none.
        counts: ``[K]`` samples of each class.
    """

    def __init__(
        self,
        chosen: Tensor,
        active_fraction: Tensor,
        scale: Tensor,
        target: Tensor,
        predicted: Tensor | None,
        counts: Tensor,
    ) -> None:
        self.reached = False
        self._chosen, self._active_fraction, self._scale = chosen, active_fraction, scale
        self._target, self._predicted, self._counts = target, predicted, counts
        classes, features = len(counts), len(scale)
        self._true_sums = torch.zeros(classes, features, dtype=torch.float64)
        # One row more, for what is predicted to be of a class that no sample has.
        self._predicted_sums = torch.zeros(classes + 1, features, dtype=torch.float64)
        self._unit_sums = torch.zeros(len(chosen), classes, features, dtype=torch.float64)
        self._weight: Tensor | None = None
        self._given_the_input = True

    def add(self, p: Pass, activations: Tensor, threshold: float, given: Tensor | None, weight: Tensor | None) -> None:
        """Take a batch into account.

        Args:
            p: The batch.
            activations: ``[rows, U]``, one for each unit, with their graph.
            threshold: Above it a unit is active.
            given: What the layer was given.
            weight: The layer's, if it is linear.
        """
        active = (activations > threshold).to(activations.dtype)
        drive = _gradient(activations, active, p.input)
        if drive is None:
            return
        self.reached = True
        self._true_sums.index_add_(0, self._target[p.rows], drive)
        if self._predicted is not None:
            self._predicted_sums.index_add_(0, self._predicted[p.rows] % len(self._predicted_sums), drive)
        for place, unit in enumerate(self._chosen.tolist()):
            one = torch.zeros_like(active)
            one[:, unit] = 1
            if (gradient := _gradient(activations, one, p.input)) is not None:
                self._unit_sums[place].index_add_(0, self._target[p.rows], gradient)
        self._weight = weight
        same = given is not None and given.shape == p.input.shape and torch.equal(given, p.input)
        self._given_the_input &= same

    def found(self) -> dict[str, Tensor]:
        """The means."""
        found = {
            "drive": self._true_sums / self._counts.unsqueeze(1) * self._scale,
            "active_fraction": self._active_fraction,
            "example_unit": self._chosen,
            "gradient": (self._unit_sums.movedim(1, 2) / self._counts).float(),
            "feature_std": self._scale,
        }
        if self._predicted is not None:
            known = self._predicted[self._predicted >= 0]
            counts = known.bincount(minlength=len(self._counts)).unsqueeze(1)
            found["drive_predicted"] = self._predicted_sums[:-1] / counts * self._scale
        if self._weight is not None and self._given_the_input:
            found["weight"] = self._weight.detach()[self._chosen.to(self._weight.device)].float().cpu()
        return found


def _gradient(activations: Tensor, chosen: Tensor, inputs: Tensor) -> Tensor | None:
    """Of the sum of each sample's chosen activations, ``[rows, features]``; None if the input plays no part in them."""
    if not activations.requires_grad:
        return None
    (gradient,) = torch.autograd.grad(activations, inputs, chosen, retain_graph=True, allow_unused=True)
    return None if gradient is None else gradient.reshape(len(gradient), -1).double().cpu()
