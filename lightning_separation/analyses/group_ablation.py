"""What the network's accuracy loses without the units that tell the classes apart, and without as many others."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, get_args

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from ..capture import Snapshot
from ..capture.buffers import Pooling
from ..capture.layers import add_hook, ancestors
from ..capture.replay import Pass
from ..capture.structures import output_tensor
from ..checks import check_choice, check_number, check_positive, check_share
from ..errors import MonitorError
from ..interventions.outcomes import readout_of
from ..records import ALL_LAYERS, Findings
from .base import Failures, LayerChoice, large_enough, one_by_one, reason_of
from .cost import Facts, Forwards
from .halves import second_half
from .objective import find_objective
from .significance import FEWEST_SAMPLES
from .unit_groups import (
    Counts,
    TooFewUnitsError,
    UnitGroups,
    can_be_removed,
    constant_units,
    draw_groups,
    significant_units,
    without,
)


@dataclass
class GroupAblation(LayerChoice):
    """How much accuracy the network loses without significant units, against as many others.

    Of every layer some significant units, drawn at random, are set to 0 and the network is run again; then as many
    others. Units are tested on one half of the sample, and the accuracy is that on the other half: of each class every
    other sample. A layer's units are removed at every call of it; it is tested by what it does at the first. Not looked
    at are the network's input and its output layer: the last with weights of its own, and what runs behind it. A class
    with fewer than 6 samples is left out of the tests, by name; a layer without enough units of a kind is left out, by
    name.

    The sample is run 2 x repeats times for each layer, and for all layers together.

    Args:
        fraction: Of the units of a kind to remove, rounded down.
        repeats: How often units are drawn.
        counts: ``"equal"``: as many significant units as others, the fraction of the rarer kind. ``"each"``: the
            fraction of each kind.
        alpha: A unit is significant if its q is below.
        pooling: ``"mean"`` or ``"max"`` over the positions of convolutions and sequences, for the tests.
        layers: Names or glob patterns that narrow the monitor's.
        every_n_epochs: Narrows the monitor's schedule.

    Found for each layer, and under ``"*"`` for all of them, each without its groups: ``accuracy_without_significant``
    and ``accuracy_without_others`` (axis: repeat); as numbers ``clean_accuracy``, ``difference`` (mean of without
    others less without significant: positive if significant units are needed more), ``difference_std`` (over repeats),
    ``removed_significant``, ``removed_others``, ``significant_units``, ``other_units`` (how many) and ``dead_others``
    (how many of the other units have the same value for every sample they were tested on: to lose less with others
    than with significant units says little where most of these are dead).

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
        >>> record = analyze(network, loader, [GroupAblation(fraction=1.0, repeats=3)])
        >>> record.findings["group_ablation"]["0"]["accuracy_without_significant"]
        array([0.5, 0.5, 0.5])
        >>> record.findings["group_ablation"]["0"]["accuracy_without_others"]
        array([1., 1., 1.])
    """

    fraction: float = 0.9
    repeats: int = 10
    counts: Counts = "equal"
    alpha: float = 0.05
    pooling: Pooling = "mean"

    name: ClassVar[str] = "group_ablation"
    needs_classes: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_share("fraction", self.fraction)
        check_positive(repeats=self.repeats)
        check_choice("counts", self.counts, get_args(Counts))
        check_number("alpha", self.alpha, 0, 1)
        check_choice("pooling", self.pooling, get_args(Pooling))

    @property
    def axes(self) -> Mapping[str, Sequence[str]]:
        """Quantities and their axes."""
        numbers = ["clean_accuracy", "difference", "difference_std", "removed_significant", "removed_others"]
        return {
            "accuracy_without_significant": ("repeat",),
            "accuracy_without_others": ("repeat",),
            **dict.fromkeys([*numbers, "significant_units", "other_units", "dead_others"], ()),
        }

    def looks_at(self, layer: str, snapshot: Snapshot) -> bool:
        """Every layer but the input; of one that runs several times all at once."""
        return can_be_removed(layer)

    def forwards(self, facts: Facts) -> Forwards:
        """To check, to find out what the network is to do, as it is, and for each group of units."""
        return Forwards(3 + 2 * self.repeats * (len(self.chosen(facts.one)) + 1))

    def compute(self, snapshot: Snapshot) -> Findings:
        """Draw groups of units in every chosen layer and run the network without them."""
        enough = large_enough(snapshot, 2 * FEWEST_SAMPLES, self.name, "tests")
        if int(enough.sum()) < 2:
            return Findings(self.axes, {})
        try:
            snapshot.check_replay()
            score = _Score(snapshot)
        except MonitorError:
            raise
        except Exception as error:  # the other analyses can still be made
            snapshot.report(self.name, reason_of(error))
            return Findings(self.axes, {})
        groups, dead = self._groups(snapshot, enough, score)
        removals = {layer: {layer: drawn} for layer, drawn in groups.items()}
        found, failures = {}, Failures(self.name)
        removals |= {ALL_LAYERS: groups} if groups else {}
        for name in one_by_one(list(removals), snapshot):
            with failures.of(name):
                found[name] = self._measure(removals[name], dead, snapshot, score)
        failures.tell(snapshot)
        return Findings(self.axes, found)

    def _groups(
        self, snapshot: Snapshot, enough: Tensor, score: _Score
    ) -> tuple[dict[str, UnitGroups], dict[str, int]]:
        """Of every layer the units drawn, and how many of the others are dead."""
        assert snapshot.target is not None  # needs_classes
        rows = ~score.rows & enough[snapshot.target]
        groups, dead, failures = {}, {}, Failures(self.name)
        for layer in self.chosen(snapshot):
            if snapshot.module(layer) in score.output_layers:
                continue
            with failures.of(layer, harmless=TooFewUnitsError):
                units = snapshot.units(layer, self.pooling)
                significant = significant_units(units, snapshot.target, rows, self.alpha)
                groups[layer] = draw_groups(
                    layer,
                    significant,
                    self.fraction,
                    repeats=self.repeats,
                    counts=self.counts,
                    seed=snapshot.seed,
                )
                dead[layer] = int((constant_units(units, rows) & ~significant).sum())
        failures.tell(snapshot)
        return groups, dead

    def _measure(
        self, groups: Mapping[str, UnitGroups], dead: Mapping[str, int], snapshot: Snapshot, score: _Score
    ) -> dict[str, Any]:
        def accuracies(kind: str) -> Tensor:
            found = []
            for repeat in range(self.repeats):
                with without(snapshot, {layer: getattr(drawn, kind)[repeat] for layer, drawn in groups.items()}):
                    found.append(score.accuracy(snapshot))
            return torch.stack(found)

        def total(kind: str) -> int:
            return sum(getattr(drawn, kind).shape[1] for drawn in groups.values())

        significant, others = accuracies("significant"), accuracies("others")
        width = sum(len(drawn.is_significant) for drawn in groups.values())
        num_significant = sum(int(drawn.is_significant.sum()) for drawn in groups.values())
        return {
            "accuracy_without_significant": significant,
            "accuracy_without_others": others,
            "clean_accuracy": score.clean,
            "difference": (others - significant).mean(),
            "difference_std": (others - significant).std() if self.repeats > 1 else torch.nan,
            "removed_significant": total("significant"),
            "removed_others": total("others"),
            "significant_units": num_significant,
            "other_units": width - num_significant,
            "dead_others": sum(dead[layer] for layer in groups),
        }


class _Score:
    """The accuracy on half of the sample.

    Args:
        snapshot: With classes.

    Attributes:
        rows: ``[N]`` bool, which half.
        clean: ``[]`` float64, the accuracy of the network as it is.
        output_layers: The last module that runs and has weights of its own, and all that finish behind it.

    Raises:
        ValueError: If the network's output does not say which class it predicts.
    """

    def __init__(self, snapshot: Snapshot) -> None:
        assert snapshot.target is not None
        objective = find_objective(snapshot)
        if objective.kind != "classes":
            raise ValueError("the network's output does not say which class it predicts")
        self.rows = second_half(snapshot.target)
        self._labels = objective.target
        with _Order(snapshot.root) as order:
            outputs = _outputs(snapshot, order.see)
        self.output_layers = order.output_layers()
        # Or logits that lie between 0 and 1 by chance would be taken for probabilities.
        self._readout = readout_of(outputs, self._labels, made_by="linear" if order.ends_linear else None)
        self.clean = self._of(outputs)
        if not bool(self.clean.isfinite()):
            raise ValueError("the network's output does not say which class it predicts")

    def accuracy(self, snapshot: Snapshot) -> Tensor:
        """Of the network as it is now, ``[]`` float64."""
        return self._of(_outputs(snapshot))

    def _of(self, outputs: Tensor) -> Tensor:
        rows = self.rows.to(outputs.device)
        return self._readout.accuracy(outputs[rows], self._labels[self.rows]).mean().cpu()


class _Order:
    """In which order the modules of a network finish.

    Attributes:
        ends_linear: Whether what the network returns comes straight from a linear layer.
    """

    def __init__(self, root: nn.Module) -> None:
        self.ends_linear = True
        self._root = root
        self._handles: list[RemovableHandle] = []
        self._finished: dict[nn.Module, None] = {}
        self._last: tuple[nn.Module, Any] = (root, None)

    def __enter__(self) -> _Order:
        for name, module in self._root.named_modules():
            # A fused encoder layer takes another way if one of its parts has a hook.
            if not any(isinstance(part, nn.TransformerEncoderLayer) for part in ancestors(self._root, name)):
                self._handles.append(add_hook(module, self._finish))
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.remove()
        self._last = (self._root, None)

    def see(self, output: Tensor) -> None:
        """A batch has run, and the network returned that."""
        module, made = self._last
        same = isinstance(made, Tensor) and made.untyped_storage().data_ptr() == output.untyped_storage().data_ptr()
        self.ends_linear &= same and isinstance(module, nn.Linear)

    def output_layers(self) -> set[nn.Module]:
        """The last module with weights of its own, and all that finish behind it, those around it among them."""
        finished = list(self._finished)
        weighted = [place for place, m in enumerate(finished) if next(m.parameters(recurse=False), None) is not None]
        return set(finished[weighted[-1] if weighted else -1 :])

    def _finish(self, module: nn.Module, _: Any, output: Any) -> None:
        self._finished.pop(module, None)
        self._finished[module] = None  # at the end
        if next(module.children(), None) is None:
            self._last = (module, output)


def _outputs(snapshot: Snapshot, see: Callable[[Tensor], None] | None = None) -> Tensor:
    """What the network returns now, ``[N, ...]``."""
    outputs = []

    def visit(p: Pass) -> None:
        outputs.append(output_tensor(p.output, len(p.rows)))
        if see is not None:
            see(outputs[-1])

    snapshot.replay([], visit)
    return snapshot.joined(outputs)
