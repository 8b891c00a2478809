"""Which samples lie among those of other classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, get_args

import torch

from ..capture import Snapshot
from ..checks import check_choice
from ..functional import tree_neighbours
from ..functional._points import Distance
from ..records import ALL_LAYERS, Findings
from .base import LayerAnalysis
from .cost import Facts, Forwards
from .finite_units import finite_rows


@dataclass
class LabelSuspects(LayerAnalysis):
    """Samples whose neighbours in a layer's minimum spanning tree are all of other classes.

    Such a sample has a wrong label, or the layer cannot tell its class: a sample that is a suspect in many layers and
    epochs is worth a look. A network learns wrong labels of its training data by heart in time, which early layers and
    early epochs show; labels can be corrected there. By chance alone, a sample of a rare class is more often one than
    of a common class, and the only sample of a class always is.

    Args:
        distance: ``"euclidean"`` or ``"cosine"``.
        layers: Names or glob patterns that narrow the monitor's.
        every_n_epochs: Narrows the monitor's schedule.

    Found for each layer: ``cross_share`` (sample), share of its edges that lead to other classes, NaN for a sample with
    NaN or infinite values; ``neighbour_class`` (sample), the commonest class at their other ends, as index into the
    record's ``class_names``, -1 for none; ``suspect_fraction``, share of the samples that have none but such edges. Of
    all layers together: ``sample_index`` (sample), the place in the dataset, if the loader does not shuffle, and
    ``sample_class`` (sample), index into ``class_names``.

    Raises:
        ValueError: For impossible settings.

    Example:
        >>> from torch.utils.data import DataLoader, TensorDataset
        >>> from lightning_separation import analyze
        >>> x = torch.arange(20.0)[:, None]
        >>> target = torch.arange(20) // 10
        >>> target[3] = 1  # a wrong label
        >>> loader = DataLoader(TensorDataset(x, target), batch_size=20)
        >>> record = analyze(torch.nn.Identity(), loader, [LabelSuspects()])
        >>> record.findings["label_suspects"]["input"]["cross_share"][:6]  # of each sample's edges
        array([0. , 0. , 0.5, 1. , 0.5, 0. ])
    """

    distance: Distance = "euclidean"

    name: ClassVar[str] = "label_suspects"
    needs_classes: ClassVar[bool] = True
    by_layer: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("distance", self.distance, get_args(Distance))

    @property
    def axes(self) -> Mapping[str, Sequence[str]]:
        """Quantities and their axes."""
        samples = ("cross_share", "neighbour_class", "sample_index", "sample_class")
        return {**dict.fromkeys(samples, ("sample",)), "suspect_fraction": ()}

    def forwards(self, facts: Facts) -> Forwards:
        """None: it only looks."""
        return Forwards()

    def compute(self, snapshot: Snapshot) -> Findings:
        """Look at every chosen layer, if there are two classes."""
        assert snapshot.target is not None  # needs_classes
        if len(snapshot.labels) < 2:
            snapshot.report(self.name, f"it needs two classes; seen: {', '.join(snapshot.class_names)}")
            return Findings(self.axes, {})
        if not snapshot.indexed:
            told = "the loader does not give its dataset in order: samples are named by their place in the loader"
            snapshot.report(self.name, told, harmless=True)
        found = super().compute(snapshot)
        samples = {"sample_index": snapshot.positions, "sample_class": snapshot.target}
        return Findings(self.axes, {**found, ALL_LAYERS: samples} if found else {})

    def measure(self, layer: str, snapshot: Snapshot) -> Mapping[str, Any]:
        """The neighbours of every sample in one layer."""
        assert snapshot.target is not None
        activations, rows = finite_rows(layer, snapshot, self.name)
        near = tree_neighbours(activations, snapshot.target[rows], distance=self.distance)
        share = torch.full((len(rows),), torch.nan, dtype=torch.float64)
        share[rows] = near.cross_share.cpu()
        neighbour = torch.full((len(rows),), -1)
        neighbour[rows] = near.neighbour_class.cpu()
        return {
            "cross_share": share,
            "neighbour_class": neighbour,
            "suspect_fraction": (near.cross_share == 1).double().mean().cpu(),
        }
