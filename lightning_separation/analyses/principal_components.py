"""Where the samples lie on the plane of a layer's largest variance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from ..capture import Snapshot
from ..functional import principal_components
from ..records import ALL_LAYERS, Findings
from .base import LayerAnalysis
from .cost import Facts, Forwards
from .finite_units import finite_rows


@dataclass
class PrincipalComponents(LayerAnalysis):
    """The first two principal components of what every layer computes, with all its positions.

    To be looked at beside the measures of the whole layer: two components can hide a separation that is there, and what
    they do show should be found in the measures, too.

    Args:
        layers: Names or glob patterns that narrow the monitor's.
        every_n_epochs: Narrows the monitor's schedule.

    Found for each layer: ``projection`` (sample, component), NaN for a sample with NaN or infinite values, and
    ``explained_variance_ratio`` (component). Of all layers together: ``sample_class`` (sample), index into the record's
    ``class_names``, -1 without classes.

    Raises:
        ValueError: For impossible settings.

    Example:
        >>> from torch.utils.data import DataLoader, TensorDataset
        >>> from lightning_separation import analyze
        >>> x = torch.stack([torch.arange(40.0) // 20, torch.arange(40.0) % 20 / 19], 1)
        >>> loader = DataLoader(TensorDataset(x, torch.arange(40) // 20), batch_size=40)  # x[:, 0] tells the class
        >>> record = analyze(torch.nn.Identity(), loader, [PrincipalComponents()])
        >>> record.findings["principal_components"]["input"]["explained_variance_ratio"].round(2)
        array([0.73, 0.27])
    """

    name: ClassVar[str] = "principal_components"
    needs_classes: ClassVar[bool] = False
    by_layer: ClassVar[bool] = True

    @property
    def axes(self) -> Mapping[str, Sequence[str]]:
        """Quantities and their axes."""
        return {
            "projection": ("sample", "component"),
            "explained_variance_ratio": ("component",),
            "sample_class": ("sample",),
        }

    def forwards(self, facts: Facts) -> Forwards:
        """None: it only looks."""
        return Forwards()

    def compute(self, snapshot: Snapshot) -> Findings:
        """Project every chosen layer."""
        found = super().compute(snapshot)
        target = torch.full_like(snapshot.positions, -1) if snapshot.target is None else snapshot.target
        return Findings(self.axes, {**found, ALL_LAYERS: {"sample_class": target}} if found else {})

    def measure(self, layer: str, snapshot: Snapshot) -> Mapping[str, Any]:
        """The plane of one layer."""
        activations, rows = finite_rows(layer, snapshot, self.name)
        projected, ratio = principal_components(activations)
        projection = torch.full((len(rows), projected.shape[1]), torch.nan, dtype=projected.dtype)
        projection[rows] = projected.cpu()
        return {"projection": projection, "explained_variance_ratio": ratio.cpu()}
