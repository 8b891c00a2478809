"""Which input features drive the units."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ..capture import INPUT, Snapshot
from ..capture.buffers import Pooling
from ..capture.recorder import first_tensor
from ..capture.replay import Pass
from ..functional import class_selectivity
from ..records import Findings
from .base import LayerAnalysis

_MOST_CELLS = 4_000_000  # gradients kept for one layer


@dataclass
class InputFeatures(LayerAnalysis):
    """Which features of the network's input drive its units, and the active units of each class.

    For every sample the gradient of a unit's activation with respect to the input says what would raise it; means of it
    over the samples of a class say what drives the unit in that class. Summed over the units that are active for a
    sample, and scaled to one standard deviation of each feature, it says which features drive what is active in that
    class: by true class, and by the class that the network predicts.

    Args:
        feature_names: Names of the input's features, flattened; None: their numbers.
        threshold: A unit is active for a sample if its activation is above.
        pooling: ``"mean"`` or ``"max"`` over the positions of convolutions and sequences.
        max_units: Gradients of single units are kept for at most so many of a layer: those whose distributions differ
            most between the classes.
        layers: Names or glob patterns that narrow the monitor's; the input itself is left out.
        every_n_epochs: Narrows the monitor's schedule.

    Found for each layer: ``drive`` and, where outputs stand for classes, ``drive_predicted`` (axes: class, feature;
    change of the summed activation of the active units per standard deviation of the feature, mean over the class);
    ``example_unit`` (example: the units kept), their ``gradient`` (example, feature, class; mean over the class),
    ``active_fraction`` and ``mean`` (example, class), and ``weight`` (example, feature) if the layer is linear and is
    given the input itself; ``feature_std`` (feature), the standard deviations over the sample.

    Example:
        >>> InputFeatures(feature_names=["age", "pulse"]).name
        'input_features'
    """

    feature_names: Sequence[str] | None = None
    threshold: float = 0.0
    pooling: Pooling = "mean"
    max_units: int = 24

    name: ClassVar[str] = "input_features"  # type: ignore[misc]
    needs_classes: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.max_units < 1:
            raise ValueError(f"max_units must be at least 1, not {self.max_units}")
        if isinstance(self.feature_names, str):
            raise ValueError(f"feature_names must be a list of names, not {self.feature_names!r}")

    @property
    def axes(self) -> Mapping[str, Sequence[str]]:
        """Quantities and their axes."""
        return {
            "drive": ("class", "feature"),
            "drive_predicted": ("class", "feature"),
            "example_unit": ("example",),
            "gradient": ("example", "feature", "class"),
            "active_fraction": ("example", "class"),
            "mean": ("example", "class"),
            "weight": ("example", "feature"),
            "feature_std": ("feature",),
        }

    def looks_at(self, layer: str, snapshot: Snapshot) -> bool:
        """Every layer but the input itself."""
        return layer != INPUT

    def compute(self, snapshot: Snapshot) -> Findings:
        """Measure every chosen layer; name the features."""
        found = super().compute(snapshot)
        if self.feature_names is None or not found:
            return found
        num = next(iter(found.values()))["drive"].shape[1]
        if len(self.feature_names) != num:
            snapshot.report(self.name, f"{len(self.feature_names)} feature_names for {num} features; numbers are shown")
            return found
        return Findings(found.axes, found, {"feature": [str(name) for name in self.feature_names]})

    def measure(self, layer: str, snapshot: Snapshot) -> Mapping[str, Any]:
        """What drives one layer's units."""
        assert snapshot.target is not None  # needs_classes
        target, num_classes = snapshot.target, len(snapshot.labels)
        units = snapshot.units(layer, self.pooling).cpu()
        selectivity = class_selectivity(units, target, threshold=self.threshold)
        features = snapshot.activations(INPUT)[0].numel()
        room = min(self.max_units, _MOST_CELLS // (features * num_classes))
        if room == 0:
            raise ValueError(f"gradients of {features} features for {num_classes} classes are too many to keep")
        # By their order in the layer: a unit keeps its place from epoch to epoch if the same ones are kept.
        chosen = selectivity.kl.nan_to_num(-1).argsort(descending=True, stable=True)[:room].sort().values
        with torch.inference_mode(False):  # or a visit could not add to them
            drives = torch.zeros(len(target), features, dtype=torch.float64)
            gradient = torch.zeros(len(chosen), num_classes, features, dtype=torch.float64)
        inputs, outputs, given = [], [], []

        def visit(p: Pass) -> None:
            activations = snapshot.pool(layer, p.made[layer], self.pooling)
            active = (activations > self.threshold).to(activations.dtype)
            drives[p.rows] = _gradient(activations, active, p.input)
            for place, unit in enumerate(chosen.tolist()):
                one = torch.zeros_like(active)
                one[:, unit] = 1
                gradient[place].index_add_(0, target[p.rows], _gradient(activations, one, p.input))
            inputs.append(p.input.detach().flatten(1).double().cpu())
            outputs.append(first_tensor(p.output))
            if layer in p.given:
                given.append(p.given[layer].detach().flatten(1).cpu())

        snapshot.replay([layer], visit, gradients=True)
        scale = torch.cat(inputs).std(0)
        found = {
            "drive": _class_means(drives, target, num_classes) * scale,
            "example_unit": chosen,
            "gradient": gradient.movedim(1, 2) / snapshot.counts,
            "active_fraction": selectivity.active_fraction[chosen],
            "mean": selectivity.mean[chosen],
            "feature_std": scale,
        }
        predicted = _predicted(outputs, snapshot.labels)
        if predicted is None:
            snapshot.report(self.name, "the network's output has no column for each class: no predicted classes")
        else:
            found["drive_predicted"] = _class_means(drives, predicted, num_classes) * scale
        module = snapshot.module(layer)
        if isinstance(module, nn.Linear) and torch.equal(torch.cat(given).double(), torch.cat(inputs)):
            found["weight"] = module.weight.detach()[chosen.to(module.weight.device)].double().cpu()
        return found


def _gradient(activations: Tensor, chosen: Tensor, inputs: Tensor) -> Tensor:
    """Of the sum of each sample's chosen activations: ``[rows, features]``; 0 where the input plays no part."""
    (gradient,) = torch.autograd.grad(activations, inputs, chosen, retain_graph=True, materialize_grads=True)
    return gradient.flatten(1).double().cpu()


def _class_means(values: Tensor, members: Tensor, num_classes: int) -> Tensor:
    """Mean of ``values [N, F]`` over each class, ``[K, F]``; NaN for one without members. -1 is in no class."""
    known = members >= 0
    sums = torch.zeros(num_classes, values.shape[1], dtype=values.dtype).index_add_(0, members[known], values[known])
    return sums / members[known].bincount(minlength=num_classes).unsqueeze(1)


def _predicted(outputs: Sequence[Tensor | None], labels: Tensor) -> Tensor | None:
    """Place in ``labels`` of each sample's predicted class, -1 for a class not among them; None if outputs do not say.

    One output is the logit, or the probability, of class 1.
    """
    if any(output is None for output in outputs):
        return None
    scores = torch.cat([output.detach().float().cpu() for output in outputs if output is not None])
    scores = scores.unsqueeze(1) if scores.ndim == 1 else scores
    if scores.ndim != 2 or int(labels.min()) < 0 or int(labels.max()) >= max(scores.shape[1], 2):
        return None
    if scores.shape[1] == 1:
        probabilities = bool(((scores >= 0) & (scores <= 1)).all())
        classes = (scores.squeeze(1) > (0.5 if probabilities else 0.0)).long()
    else:
        classes = scores.argmax(1)
    places = torch.searchsorted(labels, classes).clamp(max=len(labels) - 1)
    return torch.where(labels[places] == classes, places, -1)
