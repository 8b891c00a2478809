"""Which units respond differently to the classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, get_args

import torch
from torch import Tensor

from ..capture import Snapshot
from ..capture.buffers import Pooling
from ..checks import check_choice, check_number
from ..functional._inputs import Classes, as_classes, full_precision
from ..functional._neurons import NeuronSample
from ..functional.class_selectivity import class_histograms
from ..functional.k_sample import brown_forsythe_of
from ..functional.multiple_testing import false_discovery_control
from ..functional.neuron_significance import NeuronTests, significance
from ..functional.shapiro_wilk import pooled_normality
from ..records import Findings
from .base import LayerAnalysis, large_enough
from .cost import Facts, Forwards
from .selectivity import preferred_class

FEWEST_SAMPLES = 3
_BINS = 24
_EXAMPLES = 4  # of each group
_AT_ONCE = 1 << 22  # numbers to work on at a time
_RESULTS = 20  # of each unit and class


@dataclass
class Significance(LayerAnalysis):
    """Which units of every layer respond differently to the classes, and how strongly.

    Two classes: Welch's t-test where both are normal by Shapiro and Wilk, else Mann-Whitney's; more: Welch's analysis
    of variance, else Kruskal-Wallis; adjusted for the number of units (Benjamini-Hochberg). Where the location does not
    differ, the spread may: Brown-Forsythe. See :func:`lightning_separation.functional.neuron_significance`. A class
    with fewer than 3 samples is left out, by name; with fewer than two classes left all is NaN.

    Args:
        alpha: A unit is significant if its q is below.
        pooling: ``"mean"`` or ``"max"`` over the positions of convolutions and sequences.
        layers: Names or glob patterns that narrow the monitor's.
        every_n_epochs: Narrows the monitor's schedule.

    Found for each layer, for each unit: ``statistic``, ``p_value``, ``q_value``, ``effect_size``, ``significant``,
    ``test`` (index into ``functional.TEST_NAMES``), ``spread_p_value``, ``spread_q_value``, ``spread_only`` (the spread
    differs, the location not), ``normality`` and ``normality_p_value`` (Shapiro and Wilk's W and p over all classes),
    ``preferred_class`` (place of the class with the largest mean, -1 for none) and ``dead`` (the same value for every
    sample); as numbers ``significant_fraction`` and ``dead_fraction`` of the units that have finite values,
    ``best_effect_size`` (the largest absolute one); ``tested`` (class; whether it has enough samples); of the four most
    and least significant and most and least normal units ``example_unit`` (axis: example), ``example_histogram``
    (example, class, bin) and ``example_edges``.

    Raises:
        ValueError: For impossible settings.

    Example:
        >>> from torch.utils.data import DataLoader, TensorDataset
        >>> from lightning_separation import analyze
        >>> x = torch.stack([torch.arange(40.0) // 20, torch.arange(40.0) % 20 / 19], 1)
        >>> loader = DataLoader(TensorDataset(x, torch.arange(40) // 20), batch_size=40)  # x[:, 0] tells the class
        >>> record = analyze(torch.nn.Identity(), loader, [Significance(alpha=0.01)])
        >>> record.findings["significance"]["input"]["significant"]
        array([ True, False])
    """

    alpha: float = 0.05
    pooling: Pooling = "mean"

    name: ClassVar[str] = "significance"
    needs_classes: ClassVar[bool] = True
    by_layer: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("alpha", self.alpha, 0, 1)
        check_choice("pooling", self.pooling, get_args(Pooling))

    @property
    def axes(self) -> Mapping[str, Sequence[str]]:
        """Quantities and their axes."""
        units = [*NeuronTests._fields, "spread_p_value", "spread_q_value", "spread_only", "normality"]
        units += ["normality_p_value", "preferred_class", "dead"]
        numbers = ("significant_fraction", "dead_fraction", "best_effect_size")
        return {
            **dict.fromkeys(units, ("unit",)),
            **dict.fromkeys(numbers, ()),
            "tested": ("class",),
            "example_unit": ("example",),
            "example_histogram": ("example", "class", "bin"),
            "example_edges": ("example", "edge"),
        }

    def forwards(self, facts: Facts) -> Forwards:
        """None: it only looks."""
        return Forwards()

    def compute(self, snapshot: Snapshot) -> Findings:
        """Measure every chosen layer; say which classes are too small."""
        large_enough(snapshot, FEWEST_SAMPLES, self.name, "tests")
        return super().compute(snapshot)

    def measure(self, layer: str, snapshot: Snapshot) -> Mapping[str, Any]:
        """The tests of one layer's units."""
        assert snapshot.target is not None  # needs_classes
        kept = snapshot.counts >= FEWEST_SAMPLES
        units = snapshot.units(layer, self.pooling)
        if int(kept.sum()) < 2:
            return {**self._untested(units.shape[1]), "tested": kept}
        rows = kept[snapshot.target]
        matrix = units if bool(rows.all()) else units[rows.to(units.device)]
        with full_precision(matrix.device):
            classes = as_classes(snapshot.target[rows], len(matrix), matrix.device)
            at_once = max(1, _AT_ONCE // (len(matrix) + _RESULTS * len(classes.counts)))
            parts = [self._tests(NeuronSample(some, classes)) for some in matrix.split(at_once, 1)]
            found = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
            finite = found.pop("finite")
            if not bool(finite.all()):
                bad = int((~finite).sum())
                snapshot.report(layer, f"{self.name}: {bad} of {len(finite)} units hold NaN or infinite values")
            found["preferred_class"] = _with_left_out(found["preferred_class"], kept)
            found |= self._among_all(found, finite)
            found |= {"tested": kept, **self._examples(found, matrix, finite, classes, kept)}
        return {name: value.cpu() for name, value in found.items()}

    def _tests(self, sample: NeuronSample) -> dict[str, Tensor]:
        """What can be said of each unit without the others, and whether it has finite values."""
        tests, normality, spread = significance(sample, self.alpha), pooled_normality(sample), brown_forsythe_of(sample)
        return {
            **tests._asdict(),
            "spread_p_value": spread.p_value,
            "normality": normality.statistic,
            "normality_p_value": normality.p_value,
            "preferred_class": preferred_class(sample.only_finite(sample.mean)),
            "dead": sample.finite & (sample.largest == sample.smallest),
            "finite": sample.finite,
        }

    def _among_all(self, found: Mapping[str, Tensor], finite: Tensor) -> dict[str, Tensor]:
        """What depends on all units of the layer."""
        q_value, spread_q_value = (false_discovery_control(found[p]) for p in ("p_value", "spread_p_value"))
        significant = q_value < self.alpha
        alive = found["effect_size"][found["effect_size"].isfinite()].abs()
        known = finite.sum().double()
        return {
            "q_value": q_value,
            "significant": significant,
            "spread_q_value": spread_q_value,
            "spread_only": (spread_q_value < self.alpha) & ~significant,
            "significant_fraction": significant.sum() / known,
            "dead_fraction": found["dead"].sum() / known,
            "best_effect_size": alive.max() if len(alive) else torch.tensor(torch.nan, dtype=torch.float64),
        }

    def _examples(
        self, found: Mapping[str, Tensor], matrix: Tensor, finite: Tensor, classes: Classes, kept: Tensor
    ) -> dict[str, Tensor]:
        """Class distributions of the most and least significant and the most and least normal units that are alive."""
        alive = (finite & ~found["dead"]).nonzero().squeeze(1)
        # By p, which says how sure, and where it is too small for a number, by effect.
        by_effect = alive[found["effect_size"][alive].abs().argsort(descending=True, stable=True)]
        by_p = by_effect[found["p_value"][by_effect].argsort(stable=True)]
        by_normality = alive[found["normality"][alive].argsort(descending=True, stable=True)]
        num = min(_EXAMPLES, len(alive))
        chosen = torch.cat([by_p[:num], by_p.flip(0)[:num], by_normality[:num], by_normality.flip(0)[:num]])
        few = NeuronSample(matrix[:, chosen] if num else matrix[:, :1], classes)
        counts, edges = class_histograms(few, _BINS)
        histogram = counts.new_zeros(len(chosen), len(kept), _BINS, dtype=torch.int32)
        histogram[:, kept.to(counts.device)] = counts[: len(chosen)].int()
        return {"example_unit": chosen, "example_histogram": histogram, "example_edges": edges[: len(chosen)]}

    def _untested(self, num_units: int) -> dict[str, Tensor]:
        values = {"test": 0, "preferred_class": -1, **dict.fromkeys(("significant", "spread_only", "dead"), False)}
        found = {
            quantity: torch.full((num_units,) * len(axes), values.get(quantity, torch.nan))
            for quantity, axes in self.axes.items()
            if set(axes) <= {"unit"}
        }
        return {**found, "example_unit": torch.zeros(0, dtype=torch.int64)}


def _with_left_out(place: Tensor, kept: Tensor) -> Tensor:
    """Places among the classes kept as places among all; -1 stays."""
    among_all = kept.nonzero().squeeze(1).to(place.device)
    return torch.where(place >= 0, among_all[place.clamp(min=0)], -1)
