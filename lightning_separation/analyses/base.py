"""What an analysis is."""

from __future__ import annotations

import io
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import partial
from typing import Any, ClassVar, Protocol, TypeVar, runtime_checkable

import torch
from torch import Tensor

from ..capture import INPUT, Snapshot
from ..capture.buffers import UnevenRowsError
from ..capture.recorder import Report
from ..capture.targets import NO_TARGET
from ..checks import as_names, check_positive
from ..errors import MonitorError
from ..listing import listed
from ..records import Findings

T = TypeVar("T")
_MOST_INPUTS = 2  # that are known again: of the validation data and of the training data


@runtime_checkable
class Analysis(Protocol):
    """What a monitor can compute. A user's own class needs no base, only these.

    Example:
        >>> from lightning_separation import analyze
        >>> class Spread:
        ...     name = "spread"
        ...     needs_classes = False
        ...     def compute(self, snapshot):
        ...         found = {layer: {"spread": snapshot.units(layer).std(0)} for layer in snapshot.layers}
        ...         return Findings({"spread": ("unit",)}, found)
        >>> data = torch.utils.data.TensorDataset(torch.tensor([[1.0], [2.0], [3.0]]))
        >>> record = analyze(torch.nn.Identity(), torch.utils.data.DataLoader(data), [Spread()])
        >>> record.findings["spread"]["input"]["spread"]
        array([1.], dtype=float32)
    """

    @property
    def name(self) -> str:
        """Key of its findings in a record; unique in a monitor."""

    @property
    def needs_classes(self) -> bool:
        """Whether it is left out where samples have no classes."""

    def compute(self, snapshot: Snapshot) -> Findings:
        """Find what there is to find in a snapshot.

        Args:
            snapshot: Activations of the sample by layer.

        Returns:
            Arrays by layer and quantity; they become ``record.findings[analysis.name]``.

        Raises:
            Exception: If it cannot; the monitor reports it, and the other analyses are made.
        """


@runtime_checkable
class Lasting(Protocol):
    """An analysis that keeps something from one snapshot of a run to the next."""

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint needs to go on with it."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take it over; of an empty state: begin anew."""


def states(analyses: Sequence[Analysis], report: Report) -> dict[str, dict[str, Any]]:
    """What the analyses keep, by name; one whose state cannot be had or saved is reported."""
    kept = {}
    for analysis in analyses:
        try:
            if isinstance(analysis, Lasting):
                state = analysis.state_dict()
                torch.save(state, io.BytesIO())
                kept[analysis.name] = state
        except Exception as error:  # a user's analysis may keep anything; it must not end the training
            report(analysis.name, f"its state cannot be saved: {error!r}", harmless=True)
    return kept


def load_states(analyses: Sequence[Analysis], kept: Mapping[str, dict[str, Any]], report: Report) -> None:
    """Give the analyses back what they kept; one of which nothing is known begins anew. What fails is reported."""
    for analysis in analyses:
        try:
            if isinstance(analysis, Lasting):
                analysis.load_state_dict(kept.get(analysis.name, {}))
        except Exception as error:  # of a user's analysis, or what another version has left
            report(analysis.name, f"it cannot go on from its state: {error!r}", harmless=True)


def begun_anew(analyses: Sequence[Analysis]) -> list[Analysis]:
    """The same analyses, of those that keep something copies that know nothing yet."""
    made = [deepcopy(analysis) if isinstance(analysis, Lasting) else analysis for analysis in analyses]
    for analysis in made:
        if isinstance(analysis, Lasting):
            analysis.load_state_dict({})
    return made


@dataclass(kw_only=True)
class LayerChoice(Analysis):
    """Which layers an analysis looks at, and when.

    Args:
        layers: Names or glob patterns that narrow the monitor's; None: all of them.
        every_n_epochs: Narrows the monitor's schedule; None: each time.
    """

    layers: Sequence[str] | None = None
    every_n_epochs: int | None = None

    name: ClassVar[str]  # of the analysis
    by_layer: ClassVar[bool] = False  # whether several processes share out the layers; else one looks at all

    def __post_init__(self) -> None:
        self.layers = as_names("layers", self.layers)
        if self.every_n_epochs is not None:
            check_positive(every_n_epochs=self.every_n_epochs)

    def looks_at(self, layer: str, snapshot: Snapshot) -> bool:
        """Whether it has something to say of a layer."""
        return True

    def chosen(self, snapshot: Snapshot) -> list[str]:
        """The layers that are asked for, of those that it looks at."""
        layers = [layer for layer in snapshot.layers if self.looks_at(layer, snapshot)]
        if not layers:
            snapshot.report(self.name, "there is no layer of the kind that it looks at", harmless=True)
        if self.layers is None:
            return layers
        chosen = [layer for layer in layers if any(layer == p or fnmatchcase(layer, p) for p in self.layers)]
        if layers and not chosen:
            snapshot.report(self.name, f"layers={self.layers} fit none of {', '.join(layers)}")
        return chosen


class OfInput:
    """What was found of the network's inputs, for as long as they are the same: training does not change them."""

    def __init__(self) -> None:
        self._found: dict[bytes, Any] = {}  # by the input, and what is drawn at random beside it; the latest last

    def once(self, layer: str, snapshot: Snapshot, find: Callable[[], T], rows: Tensor | None = None) -> T:
        """What there is to find of a layer; of the same input what was found before.

        Args:
            layer: Its name.
            snapshot: With the layer.
            find: Finds it.
            rows: ``[N]`` bool, of which samples; None: all.
        """
        if layer != INPUT or (digest := snapshot.input_digest()) is None:
            return find()
        drawn = digest + repr((snapshot.seed, None if rows is None else rows.tolist())).encode()
        found = self._found.pop(drawn) if drawn in self._found else find()
        self._found[drawn] = found
        while len(self._found) > _MOST_INPUTS:
            del self._found[next(iter(self._found))]
        return found  # type: ignore[no-any-return]


class Failures:
    """Layers that an analysis cannot measure; where the reason is the same it is told of all of them at once.

    Args:
        name: The analysis.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._failed: dict[tuple[str, bool], list[str]] = defaultdict(list)
        self._errors: dict[tuple[str, bool], Exception] = {}

    @contextmanager
    def of(self, layer: str, harmless: type[Exception] | tuple[()] = ()) -> Iterator[None]:
        """Around the work on a layer: if it fails, the other layers can still be measured.

        Args:
            layer: Its name.
            harmless: Errors that are no trouble.
        """
        try:
            yield
        except MonitorError:
            raise
        except Exception as error:
            kind = reason_of(error), isinstance(error, harmless)
            self._failed[kind].append(layer)
            self._errors.setdefault(kind, error)

    def tell(self, snapshot: Snapshot) -> None:
        """Report them, each reason with its error as the cause of what may be raised."""
        for (reason, harmless), layers in self._failed.items():
            try:
                raise self._errors.pop((reason, harmless))
            except Exception:
                snapshot.report(listed(layers), f"{self._name}: {reason}", harmless=harmless)


def one_by_one(layers: Sequence[str], snapshot: Snapshot) -> Iterator[str]:
    """The layers to work on; shows which one that is, if it takes long, and how many are done."""
    for layer in layers:
        snapshot.progress.advance(0, len(layers), layer)
        yield layer
        snapshot.progress.advance(1, len(layers), layer)


@dataclass(kw_only=True)
class LayerAnalysis(LayerChoice, ABC):
    """An analysis that looks at one layer after the other. A layer that it cannot measure is left out by name.

    Args:
        layers: Names or glob patterns that narrow the monitor's; None: all of them.
        every_n_epochs: Narrows the monitor's schedule; None: each time.

    Example:
        >>> class Largest(LayerAnalysis):
        ...     name = "largest"
        ...     needs_classes = False
        ...     axes = {"largest": ("unit",)}
        ...     def measure(self, layer, snapshot):
        ...         return {"largest": snapshot.units(layer).amax(0)}
        >>> Largest(layers=["encoder.*"], every_n_epochs=5)
        Largest(layers=['encoder.*'], every_n_epochs=5)
    """

    _of_input: OfInput = field(default_factory=OfInput, init=False, repr=False, compare=False)

    def compute(self, snapshot: Snapshot) -> Findings:
        """Measure every chosen layer of the snapshot.

        Args:
            snapshot: Activations of the sample by layer.
        """
        found, failures = {}, Failures(self.name)
        layers = self.chosen(snapshot)
        for layer in one_by_one(snapshot.processes.deal(layers) if self.by_layer else layers, snapshot):
            # Tokens in sequences of any length can be no baseline; that is in the nature of the data.
            with failures.of(layer, harmless=UnevenRowsError if layer == INPUT else ()):
                found[layer] = self._of_input.once(layer, snapshot, partial(self.measure, layer, snapshot))
        failures.tell(snapshot)
        return Findings(self.axes, found)

    @property
    @abstractmethod
    def axes(self) -> Mapping[str, Sequence[str]]:
        """Quantities and their axes; see :class:`~lightning_separation.records.Findings`."""

    @abstractmethod
    def measure(self, layer: str, snapshot: Snapshot) -> Mapping[str, Any]:
        """The quantities of one layer.

        Args:
            layer: Its name.
            snapshot: With its activations, ``snapshot.activations(layer)`` or ``snapshot.units(layer)``.

        Returns:
            An array, a number or a tensor on the CPU for each of the quantities in ``axes``.

        Raises:
            ValueError: If the layer cannot be measured; the message says why.
        """


def possible(analyses: Sequence[Analysis], snapshot: Snapshot, chosen: bool = True) -> list[Analysis]:
    """The analyses that can be made of a snapshot; those that need classes where there are none are reported.

    Args:
        analyses: Those that are due.
        snapshot: With or without classes.
        chosen: Whether the user chose them: then it is trouble to leave one out.
    """
    left = [analysis.name for analysis in analyses if analysis.needs_classes and snapshot.target is None]
    if left:
        told = f"{snapshot.no_classes}; what needs classes is left out: {', '.join(left)}"
        snapshot.report("target", told, harmless=not chosen or snapshot.no_classes == NO_TARGET)
    return [analysis for analysis in analyses if analysis.name not in left]


def reason_of(error: Exception) -> str:
    """What a user should read of an error: a message of this package's own, or else all there is."""
    return str(error) if isinstance(error, ValueError) else repr(error)


def large_enough(snapshot: Snapshot, fewest: int, name: str, kind: str) -> Tensor:
    """Which classes have at least so many samples, ``[K]`` bool; the others are reported by name.

    Args:
        snapshot: With classes.
        fewest: Samples that a class needs.
        name: The analysis.
        kind: What the small classes are left out of, in the plural.
    """
    kept = snapshot.counts >= fewest
    counts = zip(snapshot.class_names, snapshot.counts.tolist(), strict=True)
    few = [f"{name} ({count})" for name, count in counts if count < fewest]
    if few:
        classes = f"class{'es' * (len(few) > 1)} {listed(few, 10)}"
        snapshot.report(name, f"{classes} left out of {kind}: fewer than {fewest} samples")
    if int(kept.sum()) < 2:
        seen = listed(snapshot.class_names, 10)
        snapshot.report(name, f"{kind} need two classes with {fewest} samples; seen: {seen}")
    return kept
