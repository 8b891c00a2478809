"""For which classes the units of every layer are active."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, get_args

import torch
from torch import Tensor

from ..capture import Snapshot
from ..capture.buffers import Pooling
from ..checks import check_choice, check_number
from ..functional import class_selectivity
from .base import LayerAnalysis
from .cost import Facts, Forwards


@dataclass
class Selectivity(LayerAnalysis):
    """For every unit of every layer and every class: how often it is active, and its mean and spread.

    Args:
        threshold: A unit is active for a sample if its activation is above.
        pooling: ``"mean"`` or ``"max"`` over the positions of convolutions and sequences.
        layers: Names or glob patterns that narrow the monitor's.
        every_n_epochs: Narrows the monitor's schedule.

    Found for each layer: ``active_fraction``, ``mean``, ``std`` (axes: unit, class); ``kl`` (unit; divergence between
    the class distributions, nats), ``preferred_class`` (unit; place of the class with the largest mean, -1 where there
    is none), ``class_divergence`` (mean of ``kl`` over units).

    Raises:
        ValueError: For impossible settings.

    Example:
        >>> from torch.utils.data import DataLoader, TensorDataset
        >>> from lightning_separation import analyze
        >>> x = torch.stack([torch.arange(40.0) // 20, torch.arange(40.0) % 20 / 19], 1)
        >>> loader = DataLoader(TensorDataset(x, torch.arange(40) // 20), batch_size=40)  # x[:, 0] tells the class
        >>> record = analyze(torch.nn.Identity(), loader, [Selectivity(threshold=0.5)])
        >>> record.findings["selectivity"]["input"]["active_fraction"]
        array([[0. , 1. ],
               [0.5, 0.5]])
    """

    threshold: float = 0.0
    pooling: Pooling = "mean"

    name: ClassVar[str] = "selectivity"
    needs_classes: ClassVar[bool] = True
    by_layer: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("threshold", self.threshold)
        check_choice("pooling", self.pooling, get_args(Pooling))

    @property
    def axes(self) -> Mapping[str, Sequence[str]]:
        """Quantities and their axes."""
        both = dict.fromkeys(("active_fraction", "mean", "std"), ("unit", "class"))
        return {**both, "kl": ("unit",), "preferred_class": ("unit",), "class_divergence": ()}

    def forwards(self, facts: Facts) -> Forwards:
        """None: it only looks."""
        return Forwards()

    def measure(self, layer: str, snapshot: Snapshot) -> Mapping[str, Any]:
        """The selectivity of one layer's units."""
        assert snapshot.target is not None  # needs_classes
        found = class_selectivity(snapshot.units(layer, self.pooling), snapshot.target, threshold=self.threshold)
        values = {**found._asdict(), "preferred_class": preferred_class(found.mean)}
        values["class_divergence"] = found.kl.nanmean()
        return {name: value.cpu() for name, value in values.items()}


def preferred_class(mean: Tensor) -> Tensor:
    """Place of the class with the largest mean of ``mean [U, K]``; -1 where all are equal or one is unknown."""
    distinct = mean.amax(1) > mean.amin(1)
    return torch.where(distinct, mean.nan_to_num(0).argmax(1), -1)
