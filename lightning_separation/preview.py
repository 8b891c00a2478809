"""What an analysed epoch will cost, in one line when the fit starts."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Sequence
from typing import Any, Literal, Protocol

import torch
from pytorch_lightning import Trainer
from torch import Tensor, nn

from .analyses.base import Analysis
from .analyses.cost import Facts, Foreseeable, Forwards
from .capture import NothingCapturedError, Sample, Snapshot
from .capture.buffers import Pooling
from .capture.recorder import Recorder
from .capture.restore import same_random_numbers
from .capture.structures import first_tensor
from .capture.targets import NoClassesError, TargetFn, are_values, as_labels, batch_target
from .speech import is_heard, say

_log = logging.getLogger(__name__)
_MOST_EPOCHS = 6  # that are listed
_SIZES = ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB"))


class Settings(Protocol):
    """What it must know of a monitor."""

    name: str
    analyses: list[Analysis]
    every_n_epochs: int
    epochs: list[int] | None
    samples_per_class: int
    max_samples: int
    target_fn: TargetFn | Literal[False] | None
    class_names: dict[int, str] | None
    splits: tuple[str, ...]
    pooling: Pooling
    max_memory: int


class Preview:
    """Learns from the first batch of the user's own validation what there is to know, and says what that will cost.

    The network is not run for it, and no batch is read; but the user's ``target_fn`` is called for each batch until the
    line is said, beside the call for the record. Whatever fails in it costs the preview alone.

    Args:
        settings: Of the monitor whose epochs it is about.
        root: The module that names the layers.
        layers: The chosen modules by name.
        networks: The modules whose calls count, by name; None finds them.
        wrapped: Whether the step itself is run as a call of ``root``.

    Attributes:
        known: Whether there is something to say.
    """

    def __init__(
        self,
        settings: Settings,
        root: nn.Module,
        layers: dict[str, nn.Module],
        networks: dict[str, nn.Module] | None,
        wrapped: bool = False,
    ) -> None:
        self.known = False
        self._settings, self._lost, self._batch_size = settings, False, 0
        # Of one sample everything is kept.
        self._recorder = Recorder(
            root,
            layers,
            networks,
            pooling=settings.pooling,
            budget=sys.maxsize,
            wrapped=wrapped,
            report=_nothing_to_report,
        )
        self._unseen = 0
        self._one: Snapshot | None = None
        self._has_classes, self._labels = True, list[Tensor]()
        self._given = torch.int64  # as what the labels came

    @staticmethod
    def wanted(trainer: Trainer) -> bool:
        """Whether anybody would see it."""
        in_full = not getattr(trainer, "fast_dev_run", False)
        return in_full and trainer.is_global_zero and is_heard()

    def before_batch(self, batch: Any) -> None:
        """The network is about to see this batch."""
        self._try(self._before, batch)

    def after_batch(self) -> None:
        """It has seen it."""
        if not self.known:
            self._try(self._after)

    def stop(self) -> None:
        """Leave no hook behind; harmless when there is none."""
        self._recorder.detach()

    def say(self, sample: Sample, most: Callable[[], int | None]) -> None:
        """Log the line.

        Args:
            sample: The samples that are looked at, if they are chosen already.
            most: How many the loader has; None: unknown.
        """
        self._try(lambda: say(self._line(sample, most())))

    def _try(self, step: Callable[..., None], *args: Any) -> None:
        if self._lost:
            return
        try:
            with same_random_numbers():
                step(*args)
        except Exception:
            _log.debug("what an analysed epoch costs cannot be said", exc_info=True)
            self.stop()
            self.known, self._lost = False, True

    def _before(self, batch: Any) -> None:
        size = self._look_at_target(batch)
        if not self.known and size:
            self._batch_size = size
            self._recorder.attach()
            self._recorder.begin_batch(torch.tensor([0]), size)

    def _look_at_target(self, batch: Any) -> int:
        """Keep the classes; how many samples the batch has."""
        try:
            target = batch_target(batch, self._settings.target_fn)
            labels = as_labels(target).cpu().long()
            if self._has_classes:
                self._labels.append(labels)
                self._given = target.dtype
            return len(labels)
        except NoClassesError:
            self._has_classes, self._labels = False, []
            first = first_tensor(batch)
            return 0 if first is None or not first.ndim else len(first)

    def _after(self) -> None:
        recorder = self._recorder
        recorder.end_batch()
        recorder.detach()
        if not any(recorder.calls):
            raise NothingCapturedError("the step did not call the network")
        seen = {name: recorder.layers[name] for name in recorder.order.values()}
        # Or the snapshot would run the network to find the others.
        self._unseen, recorder.layers = len(recorder.layers) - len(seen), seen
        self._one = Snapshot(recorder, None, [], torch.no_grad, _nothing_to_report, explicit=False)
        self.known = True

    def _line(self, sample: Sample, most: int | None) -> str:
        assert self._one is not None
        settings, classes = self._settings, self._num_classes(sample)
        samples, told = self._samples(sample, most, classes)
        input_bytes, budget = self._recorder.call_bytes, settings.max_memory // 6
        facts = Facts(self._one, samples, classes, self._batch_size, input_bytes, budget)
        parts = [
            f"SeparationMonitor {settings.name!r}, {self._when()}: {self._layers(facts)}, {told}",
            "at least " * bool(self._unseen) + _memory(facts, settings.max_memory),
            *_forwards(settings.analyses, facts, "train" in settings.splits, seen_alone=bool(self._unseen)),
        ]
        if self._unseen:
            told = f"{_count(self._unseen, 'layer')} not seen yet (compiled, fused or not called)"
            parts.append(f"{told} may need more memory and forwards than all this")
        return "; ".join(parts)

    def _when(self) -> str:
        epochs, every = self._settings.epochs, self._settings.every_n_epochs
        if epochs is None:
            return "each validated epoch" if every == 1 else f"every {every} epochs"
        if len(epochs) > _MOST_EPOCHS:
            return f"in {len(epochs)} epochs"
        return f"in epoch{'s' * (len(epochs) > 1)} {', '.join(map(str, epochs))}"

    def _layers(self, facts: Facts) -> str:
        networks = ", ".join(name or type(self._recorder.root).__name__ for name in self._recorder.networks)
        units = sum(facts.units[layer] for layer in facts.layers)
        return f"{_count(len(facts.layers), 'layer')} of {networks}, {_count(units, 'unit')}"

    def _num_classes(self, sample: Sample) -> int:
        """How many there are at least; 0 without classes."""
        if sample.chosen:
            return 0 if sample.labels is None else len(sample.labels.unique())
        labels = torch.cat([torch.zeros(0, dtype=torch.int64), *self._labels])
        kinds = 0 if are_values(labels, self._given) else len(labels.unique())
        return max(kinds, len(self._settings.class_names or ())) if kinds else 0

    def _samples(self, sample: Sample, most: int | None, classes: int) -> tuple[int, str]:
        """How many there will be, and how that is said."""
        settings = self._settings
        if sample.chosen:
            return len(sample.positions), _count(len(sample.positions), "sample")
        cap = settings.samples_per_class * classes if classes else settings.max_samples
        samples = cap if most is None else min(cap, most)
        if not classes:
            return samples, f"up to {_count(samples, 'sample')} without classes"
        if len(settings.class_names or ()) >= classes:
            each = f"{settings.samples_per_class} of each of {classes} classes"
            return samples, f"up to {_count(samples, 'sample')} ({each})"
        bound = "up to" if samples == most else "about"
        seen = f"at most {settings.samples_per_class} of each class; {classes} classes seen so far"
        return samples, f"{bound} {_count(samples, 'sample')} ({seen})"


def _nothing_to_report(subject: str, reason: str, *, harmless: bool = False) -> None:
    """The analysed validation reports."""


def _memory(facts: Facts, max_memory: int) -> str:
    """What activations take, and what does not fit."""
    inputs = facts.samples * facts.input_bytes
    told = f"{_size(inputs + facts.need(facts.layers))} of activations"
    if inputs > facts.budget:
        return f"{told}, of which the inputs alone are more than max_memory leaves ({_size(facts.budget)}): raise it"
    missing = [layer for layer in facts.layers if layer not in facts.held]
    if not missing:
        return f"{told} (max_memory {_size(max_memory)})"
    groups = facts.groups(missing)
    told += f", of which max_memory {_size(max_memory)} leaves room for {_size(facts.budget)}"
    if groups:
        told += f"; {_count(sum(map(len, groups)), 'layer')} computed again"
        told += (
            " (one more forward)"
            if len(groups) == 1
            else (f" in {len(groups)} groups (one more forward each, for every analysis that looks at them)")
        )
    if refused := len(missing) - sum(map(len, groups)):
        told += f"; {_count(refused, 'layer')} too large to be analysed"
    return told


def _forwards(analyses: Sequence[Analysis], facts: Facts, with_training_data: bool, seen_alone: bool) -> list[str]:
    """What each analysis runs, and those that are left out."""
    left_out = [a.name for a in analyses if a.needs_classes and not facts.classes]
    found = {_named(a): _forwards_of(a, facts) for a in analyses if a.name not in left_out}
    told = [_told(name, forwards, facts) for name, forwards in found.items() if forwards is not None and any(forwards)]
    if unknown := [name for name, forwards in found.items() if forwards is None]:
        told.append(f"not known of {', '.join(unknown)}")
    if nothing := [name for name, forwards in found.items() if forwards is not None and not any(forwards)]:
        told.append(f"none for {', '.join(nothing)}")
    bound = "for the layers seen alone" if seen_alone else "at most"
    parts = [f"forwards per analysed epoch, {bound}: {', '.join(told)}"] if told else []
    if left_out:
        parts.append(f"left out without classes: {', '.join(left_out)}")
    if with_training_data:
        parts.append("as much again for the training data")
    return parts


def _forwards_of(analysis: Analysis, facts: Facts) -> Forwards | None:
    """What an analysis says; None where it says nothing."""
    found = analysis.forwards(facts) if isinstance(analysis, Foreseeable) else None
    return Forwards(found) if isinstance(found, int) else found


def _named(analysis: Analysis) -> str:
    every = getattr(analysis, "every_n_epochs", None) or 1
    return analysis.name + f" (every {every} epochs)" * (every > 1)


def _told(name: str, forwards: Forwards, facts: Facts) -> str:
    parts = []
    if forwards.parts:
        some = "" if forwards.part_samples == facts.samples else f" on {forwards.part_samples:,} samples"
        parts.append(f"{forwards.parts:,} of parts of the network{some}")
    parts.append(f"{forwards.whole:,} of the whole" + " network" * (not forwards.parts))
    if forwards.backwards:
        parts.append(_count(forwards.backwards, "backward pass", "es"))
    return f"{' + '.join(parts)} for {name}"


def _count(number: int, what: str, plural: str = "s") -> str:
    return f"{number:,} {what}{plural * (number != 1)}"


def _size(num_bytes: float) -> str:
    """Bytes to read, as ``max_memory`` takes them."""
    for factor, unit in _SIZES:
        if num_bytes >= 0.9995 * factor:  # or it would be rounded to 1e+03
            return f"{num_bytes / factor:.3g} {unit}"
    return f"{num_bytes:.0f} B"
