"""How far every layer separates the classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, get_args

import torch
from torch import Tensor

from ..capture import Snapshot
from ..checks import check_choice, check_positive
from ..comparison import jackknife_mean
from ..functional import bayes_error_bounds, friedman_rafsky, generalized_henze_penrose
from ..functional._forest import TooFewTreesError
from ..functional._points import Distance
from ..listing import listed
from ..records import Findings
from .base import LayerAnalysis, large_enough
from .cost import Facts, Forwards

FEWEST_SAMPLES = 5
_SIXTHS = 2  # of max_memory; two are for activations, two for work on a layer
_WORK = 2  # times what is found of one layer, beside it


@dataclass
class HenzePenrose(LayerAnalysis):
    """Henze-Penrose separation of every pair of classes in every layer, and the Bayes error that it allows.

    A class with fewer than 5 samples is left out of the pairs, by name; its cells are NaN.

    Args:
        distance: ``"euclidean"`` or ``"cosine"``.
        num_trees: Edge-disjoint spanning trees per pair. A layer that has fewer is measured with those it has.
        multiclass: ``"pairwise"``: one tree for each pair of classes. ``"global"``: one tree over all points
            (generalised Henze-Penrose), another quantity: a third class can stand between two others.
        layers: Names or glob patterns that narrow the monitor's.
        every_n_epochs: Narrows the monitor's schedule.

    Found for each layer: ``divergence``, ``cross_edges``, and with ``"pairwise"`` ``z``, ``p_value``, ``bayes_lower``,
    ``bayes_upper`` (axes: pair); ``separation`` (mean divergence over pairs), ``separation_error`` (its standard error
    by leaving out one class, NaN for fewer than 3), ``separation_min`` (the hardest pair), ``separation_max`` (the
    easiest), ``bayes_error_lower`` and ``bayes_error`` (bounds for all classes, under the sample's balance of classes).

    Raises:
        ValueError: For impossible settings.

    Example:
        >>> from torch.utils.data import DataLoader, TensorDataset
        >>> from lightning_separation import analyze
        >>> x = torch.arange(20.0)[:, None]
        >>> loader = DataLoader(TensorDataset(x, torch.arange(20) // 10), batch_size=20)
        >>> record = analyze(torch.nn.Identity(), loader, [HenzePenrose()])
        >>> record.findings["henze_penrose"]["input"]["separation"].item()  # 1 edge joins them: 1 - 20 / (2 * 10 * 10)
        0.9
    """

    distance: Distance = "euclidean"
    num_trees: int = 1
    multiclass: Literal["pairwise", "global"] = "pairwise"

    name: ClassVar[str] = "henze_penrose"
    needs_classes: ClassVar[bool] = True
    by_layer: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("distance", self.distance, get_args(Distance))
        check_choice("multiclass", self.multiclass, ("pairwise", "global"))
        check_positive(num_trees=self.num_trees)
        if self.multiclass == "global" and self.num_trees > 1:
            raise ValueError(f"num_trees must be 1 for a global tree, not {self.num_trees}")

    @property
    def axes(self) -> Mapping[str, Sequence[str]]:
        """Quantities and their axes."""
        pairs = ["divergence", "cross_edges"]
        if self.multiclass == "pairwise":
            pairs += ["z", "p_value", "bayes_lower", "bayes_upper"]
        separation = [f"separation{of}" for of in ("", "_error", "_min", "_max")]
        numbers = [*separation, "bayes_error_lower", "bayes_error"]
        return {**dict.fromkeys(pairs, ("pair",)), **dict.fromkeys(numbers, ())}

    def forwards(self, facts: Facts) -> Forwards:
        """None: it only looks."""
        return Forwards()

    def compute(self, snapshot: Snapshot) -> Findings:
        """Measure every chosen layer, if at least two classes have enough samples."""
        if int(large_enough(snapshot, FEWEST_SAMPLES, self.name, "pairs").sum()) < 2:
            return Findings(self.axes, {})
        return super().compute(snapshot)

    def chosen(self, snapshot: Snapshot) -> list[str]:
        """The layers that are asked for, of very many classes the last that there is room for."""
        layers = super().chosen(snapshot)
        need = 8 * len(snapshot.class_names) ** 2 * list(self.axes.values()).count(("pair",))
        room = _SIXTHS * snapshot.budget
        most = max(0, room // need - _WORK)
        if left := layers[: max(0, len(layers) - most)]:
            sizes = f"all pairs of {len(snapshot.class_names)} classes need {need:,} bytes in each layer"
            told = f"{sizes}, and {_WORK * need:,} for work, max_memory leaves {room:,}"
            snapshot.report(listed(left), f"{self.name}: {told}: raise it, or take fewer classes or layers")
        return layers[len(left) :]

    def measure(self, layer: str, snapshot: Snapshot) -> Mapping[str, Any]:
        """The separation of one layer."""
        assert snapshot.target is not None  # needs_classes
        activations = snapshot.activations(layer)
        kept = snapshot.counts >= FEWEST_SAMPLES
        features, target, counts = activations, snapshot.target, snapshot.counts
        if not bool(kept.all()):
            rows = kept[target]
            features, target, counts = activations[rows.to(activations.device)], target[rows], counts[kept]
        if self.multiclass == "global":
            tree = generalized_henze_penrose(features, target, distance=self.distance)
            pairs = {"divergence": tree.divergence, "cross_edges": tree.cross_edges}
            lower, upper = tree.lower, tree.upper
        else:
            test = self._test(features, target, snapshot)
            bounds = bayes_error_bounds(test.divergence, counts)
            pairs = {
                "divergence": test.divergence,
                "cross_edges": test.cross_edges,
                "z": test.z,
                "p_value": test.p_value,
            }
            pairs |= {"bayes_lower": bounds.lower, "bayes_upper": bounds.upper}
            lower, upper = bounds.total_lower, bounds.total_upper
        values = pairs["divergence"][tuple(torch.triu_indices(len(counts), len(counts), 1))]
        numbers = {"separation": values.mean(), "separation_min": values.min(), "separation_max": values.max()}
        numbers |= {"bayes_error_lower": lower, "bayes_error": upper}
        numbers["separation_error"] = torch.from_numpy(jackknife_mean(pairs["divergence"].cpu()).standard_error)
        every = {name: _with_left_out(value.cpu(), kept) for name, value in pairs.items()}
        return {**every, **{name: value.cpu() for name, value in numbers.items()}}

    def _test(self, features: Tensor, target: Tensor, snapshot: Snapshot) -> Any:
        for num_trees in range(self.num_trees, 0, -1):
            try:
                return friedman_rafsky(features, target, distance=self.distance, num_trees=num_trees)
            except TooFewTreesError as error:
                snapshot.report(self.name, f"{error}; measured with {num_trees - 1}")
        raise AssertionError("one spanning tree always exists")


def _with_left_out(pairs: Tensor, kept: Tensor) -> Tensor:
    if bool(kept.all()):
        return pairs
    full = torch.full((len(kept), len(kept)), torch.nan, dtype=torch.float64)
    full[kept.nonzero(), kept.nonzero().squeeze(1)] = pairs
    return full
