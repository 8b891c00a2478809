"""Which features of the input the network's result depends on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias, get_args

import torch
from torch import Tensor

from ..capture import INPUT, Snapshot
from ..checks import as_list, check_choice, check_positive, shown
from ..errors import MonitorError
from ..functional import correlated_features
from ..interventions.clean_run import NUM_CLEAN_RUNS
from ..interventions.gate import chosen_input
from ..interventions.permutation import FeaturePermutation
from ..records import Findings
from .base import LayerChoice, reason_of
from .cost import Facts, Forwards
from .named_features import check_argument, check_feature_names, feature_labels
from .objective import Objective, Wanted, find_objective, is_wanted
from .rerun import private_generator, sample_batches

if TYPE_CHECKING:
    Groups: TypeAlias = Mapping[str, Sequence[int | str]] | Literal["correlated"]
    """Features to permute together, by the group's name, as numbers or names; ``"correlated"``: those that are."""
else:
    Groups = Any  # Hydra refuses unions of containers; a command line reads the block above

_CORRELATED = 0.9
_MOST_ROWS = 10_000  # of a batch, to correlate features over
_MOST_CORRELATED = 2000  # features whose correlations are looked at
_MOST_NAMED = 5  # pairs of features in a message


@dataclass
class PermutationImportance(LayerChoice):
    """How much worse the network does when a feature of its input is shuffled among the samples.

    For classes (cross-entropy), values to predict (squared error) and networks that reproduce their input, as
    autoencoders do (relative error of each sample in percent; the shuffled input is what is to be reproduced). And, as
    such networks have many outputs, how much each output changes with each feature. See
    :func:`lightning_separation.interventions.permutation_importance`.

    Correlated features cannot be judged one by one: to a classifier each can look unimportant, as the others still tell
    what it told; to an autoencoder more important than all together, as it contradicts the others. Where the
    correlation is above 0.9, that is said; ``groups="correlated"`` shuffles them together.

    Args:
        repeats: How often each feature is shuffled.
        groups: Features to shuffle together, ``{"blood": ["chol", "fbs"], ...}``, by number or name; others stay as
            they are. ``"correlated"``: those with a correlation above 0.9, directly or through others; each of the rest
            alone. None: each alone.
        feature_names: Names of the features: columns of ``[N, D]``, channels of images ``[N, C, H, W]``, the last axis
            of sequences ``[N, T, D]``. None: their numbers.
        argument: Which of several inputs of the network: a name, or the position of an argument. None: the first.
        objective: What the network is measured by: ``"target"``, the classes or values of the data; ``"input"``, the
            first of its inputs that has as many numbers as its output, which it is to reproduce; ``"auto"``: the
            target if its output can be read so, else the input. Where it could be either, the classes only if there is
            one number for each, and that is said.
        max_samples: At most so many samples are used, evenly of each class.
        max_forwards: The most runs of the network on the sample, one for each feature and repeat; if there would be
            more, there are fewer repeats, and that is said.
        layers: Names or glob patterns that fit ``"input"``, the only layer that it looks at.
        every_n_epochs: Narrows the monitor's schedule.

    Found for the layer ``"input"``: ``importance`` (feature, repeat; increase of loss or error), for classes
    ``accuracy`` (feature, repeat; change), ``output_change`` (feature, output; mean absolute change), ``output_std``
    (output; over the sample) and as numbers ``clean_loss``, for classes ``clean_accuracy``, and ``objective`` (index
    into ``records.OBJECTIVES``).

    Raises:
        ValueError: For impossible settings.

    Example:
        >>> from torch.utils.data import DataLoader, TensorDataset
        >>> from lightning_separation import analyze
        >>> x = torch.stack([torch.arange(40.0) // 20 - 0.5, torch.arange(40.0) % 20 / 19], 1)
        >>> loader = DataLoader(TensorDataset(x, torch.arange(40) // 20), batch_size=40)  # x[:, 0] tells the class
        >>> network = torch.nn.Sequential(torch.nn.Identity(), torch.nn.Linear(2, 2, bias=False))
        >>> network[1].weight.data = torch.tensor([[-4.0, 0.0], [4.0, 0.0]])
        >>> record = analyze(network, loader, [PermutationImportance(repeats=20, objective="target")])
        >>> record.findings["permutation_importance"]["input"]["accuracy"].mean(1).round(2)  # half are guessed
        array([-0.48,  0.  ])
    """

    repeats: int = 50
    groups: Groups | None = None
    feature_names: Sequence[str] | None = None
    argument: int | str | None = None
    objective: Wanted = "auto"
    max_samples: int = 256
    max_forwards: int = 5000

    name: ClassVar[str] = "permutation_importance"
    needs_classes: ClassVar[bool] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(repeats=self.repeats, max_samples=self.max_samples, max_forwards=self.max_forwards)
        check_choice("objective", self.objective, get_args(Wanted))
        self.feature_names = check_feature_names(self.feature_names)
        if isinstance(self.groups, Mapping) and self.groups:
            self.groups = {str(name): as_list("groups", group, "features") for name, group in self.groups.items()}
        elif self.groups is not None and not (isinstance(self.groups, str) and self.groups == "correlated"):
            raise ValueError(f'groups must be "correlated" or lists of features by name, not {shown(self.groups)}')
        check_argument(self.argument)

    @property
    def axes(self) -> Mapping[str, Sequence[str]]:
        """Quantities and their axes."""
        return {
            "importance": ("feature", "repeat"),
            "accuracy": ("feature", "repeat"),
            "output_change": ("feature", "output"),
            "output_std": ("output",),
            "clean_loss": (),
            "clean_accuracy": (),
            "objective": (),
        }

    def looks_at(self, layer: str, snapshot: Snapshot) -> bool:
        """The input alone."""
        return layer == INPUT

    def forwards(self, facts: Facts) -> Forwards | None:
        """For each feature and repeat, and to check; not known of another input than the first."""
        named = isinstance(self.groups, Mapping)
        num = len(self.groups or ()) if named else facts.units.get(INPUT) if self.argument is None else None
        if num is None:
            return None
        some = facts.some(self.max_samples)
        rows = facts.rows_to_check + NUM_CLEAN_RUNS * some
        return Forwards(facts.runs(rows), num * min(self.repeats, self.max_forwards // num), some)

    def compute(self, snapshot: Snapshot) -> Findings:
        """Shuffle every feature or group of the input."""
        try:
            if self.chosen(snapshot):
                snapshot.check_replay()
                objective = find_objective(snapshot, self.objective)
                objective.tell(self.name, snapshot)
                return self._measure(snapshot, objective)
        except MonitorError:
            raise
        except Exception as error:  # the other analyses can still be made
            snapshot.report(self.name, reason_of(error), harmless=is_wanted(error, snapshot))
        return Findings(self.axes, {})

    def _measure(self, snapshot: Snapshot, objective: Objective) -> Findings:
        reproduces = objective.kind == "input"
        target = None if reproduces else objective.target
        batches = sample_batches(snapshot, self.max_samples, self.name, target)
        inputs = [chosen_input(batch, self.argument) for batch in batches]
        # Inputs whose length differs from batch to batch are held without that axis.
        as_held = self.argument is None and inputs[0].ndim == snapshot.activations(INPUT).ndim
        axis = snapshot.unit_axis(INPUT) if as_held else None
        groups, names = self._groups(inputs, axis, snapshot)
        work = FeaturePermutation(
            snapshot.network,
            groups=groups,
            argument=self.argument,
            axis=axis,
            reproduces=reproduces,
            forward_context=snapshot.forward_context,
        )
        repeats = self._affordable(len(groups), snapshot)
        work.advance = snapshot.progress.advance
        effects = work.effects(batches, repeats, private_generator(snapshot.seed, self.name))
        if work.whole:
            snapshot.report(
                self.name, f"{work.whole}; the whole network is run for each feature and repeat", harmless=True
            )
        outputs = work.clean_outputs.double()
        found = {
            "importance": effects.loss.cpu(),
            "output_change": effects.outputs.cpu(),
            "output_std": outputs.std(0, correction=min(1, len(outputs) - 1)),
            "clean_loss": work.clean_loss,
            "objective": objective.code,
        }
        if objective.kind != "input" and work.clean_accuracy == work.clean_accuracy:
            found |= {"accuracy": effects.accuracy.cpu(), "clean_accuracy": work.clean_accuracy}
        return Findings(self.axes, {INPUT: found}, self._labels(names, effects.outputs.shape[1], objective, snapshot))

    def _affordable(self, num_groups: int, snapshot: Snapshot) -> int:
        """How many repeats there can be.

        Raises:
            ValueError: If not one.
        """
        if num_groups > self.max_forwards:
            raise ValueError(f"{num_groups} features, max_forwards={self.max_forwards}: raise it, or give groups=")
        repeats = min(self.repeats, self.max_forwards // num_groups)
        if repeats < self.repeats:
            told = (
                f"{num_groups} features, max_forwards={self.max_forwards}: {repeats} repeats instead of {self.repeats}"
            )
            snapshot.report(self.name, told, harmless=True)
        return repeats

    def _groups(
        self, inputs: Sequence[Tensor], axis: int | None, snapshot: Snapshot
    ) -> tuple[list[list[int]], list[str]]:
        """Numbers of the features of each group, and its name; correlated features are reported."""
        first = inputs[0].unsqueeze(1) if inputs[0].ndim == 1 else inputs[0]
        axis = (1 if first.ndim >= 4 else first.ndim - 1) if axis is None else axis
        width = first.shape[axis]
        labels = feature_labels(self.feature_names, width, self.name, snapshot)
        names = labels.get("feature", [str(i) for i in range(width)])
        if isinstance(self.groups, Mapping):
            return [[_number(feature, names) for feature in group] for group in self.groups.values()], list(self.groups)
        alone = [[i] for i in range(width)]
        if width == 1 and first[0].numel() > 1:
            told = "the input has one channel, which is shuffled as a whole; for pixels give a network flat images"
            snapshot.report(self.name, told, harmless=True)
        if width > _MOST_CORRELATED:
            if self.groups == "correlated":
                raise ValueError(f'groups="correlated" is for at most {_MOST_CORRELATED} features, not {width}')
            told = (
                f"which of the {width} features are correlated is not looked at, as they are above {_MOST_CORRELATED}"
            )
            snapshot.report(self.name, told, harmless=True)
            return alone, names
        columns = torch.cat([x.reshape(len(x), -1) if x.ndim == 1 else _columns(x, axis) for x in inputs])
        together = correlated_features(columns, _CORRELATED)
        if self.groups == "correlated":
            return together, [" + ".join(names[i] for i in group) for group in together]
        if shared := [", ".join(names[i] for i in group) for group in together if len(group) > 1]:
            more = f" and {len(shared) - _MOST_NAMED} groups more" if len(shared) > _MOST_NAMED else ""
            told = (
                f"features correlated above {_CORRELATED}: {'; '.join(shared[:_MOST_NAMED])}{more}. Each alone is "
                'misjudged, as the others stand in for it or contradict it; groups="correlated" shuffles them together'
            )
            snapshot.report(self.name, told, harmless=True)
        return alone, names

    def _labels(
        self, names: list[str], num_outputs: int, objective: Objective, snapshot: Snapshot
    ) -> dict[str, list[str]]:
        """Names of features or groups, and of outputs where these are classes or the features once more."""
        labels = {"feature": names}
        if objective.kind == "classes" and snapshot.labels.tolist() == list(range(num_outputs)):
            labels["output"] = list(snapshot.class_names)
        elif objective.kind == "input" and self.feature_names is not None and len(self.feature_names) == num_outputs:
            labels["output"] = [str(name) for name in self.feature_names]
        return labels


def _columns(x: Tensor, axis: int) -> Tensor:
    """The features of an input as columns: a row for each sample and position, of many positions some."""
    rows = x.movedim(axis, -1).reshape(-1, x.shape[axis])
    return rows[:: max(1, len(rows) // _MOST_ROWS)]


def _number(feature: int | str, names: Sequence[str]) -> int:
    """A feature's number.

    Raises:
        ValueError: If there is no such feature.
    """
    number = names.index(feature) if isinstance(feature, str) and feature in names else feature
    if not isinstance(number, Integral) or not 0 <= number < len(names):
        raise ValueError(f"groups: there is no feature {feature!r} among {len(names)}")
    return int(number)
