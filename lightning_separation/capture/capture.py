"""One pass over the data, from the first batch to a snapshot."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ..listing import listed
from ..processes import Processes
from ..progress import Progress
from .buffers import Pooling
from .gathering import Seen, bring_together
from .recorder import Recorder, Report
from .replay import Context
from .sample import Sample, Shard
from .snapshot import Snapshot
from .structures import first_tensor
from .targets import NoClassesError, TargetFn, are_values, as_labels, batch_target


class NothingCapturedError(RuntimeError):
    """A pass left nothing to analyse; the message says why."""


class Capture:
    """Watches passes over the data and makes a snapshot of each.

    Args:
        root: The module that names the layers.
        layers: The chosen modules by name.
        networks: The modules whose calls count, by name; None finds them.
        sample: Which samples are kept.
        target_fn: See :func:`batch_target`.
        class_names: Names of classes by their numbers; None: the numbers.
        pooling: For layers whose rows differ in length.
        max_memory: Bytes that held activations and the work on them may take. A sixth may be held from the pass (the
            network's inputs included), a sixth by layers computed again; the work on one layer takes a few times its
            size.
        report: Told of what is left out, and why.
        explicit: Whether the user named the layers.
        seed: Of what analyses draw at random.
        split: Which data it is: ``"val"``, ``"train"`` or ``"test"``.
        processes: Each of which watches its part of the data; every one gets the snapshot of all.
        wrapped: Whether the step itself is run as a call of ``root``.
    """

    def __init__(
        self,
        root: nn.Module,
        layers: Mapping[str, nn.Module],
        networks: Mapping[str, nn.Module] | None,
        sample: Sample,
        *,
        target_fn: TargetFn | Literal[False] | None,
        class_names: Mapping[int, str] | None,
        pooling: Pooling,
        max_memory: int,
        report: Report,
        explicit: bool,
        seed: int = 0,
        split: str = "val",
        processes: Processes | None = None,
        wrapped: bool = False,
    ) -> None:
        self.split = split
        self.processes = processes or Processes()
        self.wrapped = wrapped
        self.root = root
        self.layers = layers
        self.networks = networks
        self.sample = sample
        self.target_fn = target_fn
        self.class_names = class_names
        self.pooling = pooling
        self.max_memory = max_memory
        self.budget = max_memory // 6
        self.report = report
        self.explicit = explicit
        self.seed = seed
        self._recorder: Recorder | None = None
        self._labels: list[Tensor] | None = None
        self._no_classes = ""
        self._values: list[Tensor] | None = None
        self._value_bytes = 0

    def of_other_data(self, sample: Sample, split: str) -> Capture:
        """A capture of the same network and layers, by the same settings, on other data."""
        return Capture(
            self.root,
            self.layers,
            self.networks,
            sample,
            target_fn=self.target_fn,
            class_names=self.class_names,
            pooling=self.pooling,
            max_memory=self.max_memory,
            report=self.report,
            explicit=self.explicit,
            seed=self.seed,
            split=split,
        )

    @property
    def running(self) -> bool:
        """Whether a pass is being watched."""
        return self._recorder is not None

    def start(self, shard: Shard | None = None) -> None:
        """A pass over all data, or a part of them, begins: register the hooks."""
        self.stop()
        was_chosen = self.sample.chosen
        self.sample.begin(shard)
        if was_chosen and not self.sample.chosen:
            told = "it is chosen anew: other processes than before share the data, in a way that is not known"
            self.report("sample", told, harmless=True)
        without_classes = self.sample.chosen and self.sample.labels is None
        self._labels = None if without_classes else []
        self._values, self._value_bytes = [], 0
        self._recorder = Recorder(
            self.root,
            self.layers,
            self.networks,
            pooling=self.pooling,
            budget=self.budget,
            expected=len(self.sample.positions),
            wrapped=self.wrapped,
            report=self.report,
        )
        self._recorder.attach()

    def stop(self) -> None:
        """Remove all hooks and forget the pass; harmless when there is none."""
        if self._recorder is not None:
            self._recorder.detach()
        self._recorder = None

    @property
    def awaits(self) -> bool:
        """Whether the network is to see a batch of which rows are kept."""
        return self._recorder is not None and self._recorder.awaits

    def unhook(self) -> None:
        """From now on see only what runs in :meth:`hooked`."""
        if self._recorder is not None:
            self._recorder.detach()

    @contextmanager
    def hooked(self) -> Iterator[None]:
        """The network sees here the batch that :meth:`before_batch` was told of."""
        if self._recorder is not None:
            self._recorder.attach(everywhere=True)
        try:
            yield
            if self._recorder is not None:
                self._recorder.end_batch()
        finally:
            self.unhook()

    def before_batch(self, batch: Any) -> None:
        """The network is about to see this batch."""
        if self._recorder is None or self.sample.passed:
            return
        target = self._batch_target(batch)
        labels = self._batch_labels(target)
        first = first_tensor(list(batch.values()) if isinstance(batch, Mapping) else batch)
        if labels is not None:
            size = len(labels)
        elif first is not None and first.ndim > 0:
            size = len(first)
        else:
            return
        rows = self.sample.rows(size, labels)
        if labels is not None and self._labels is not None:
            self._labels.append(labels.cpu()[rows].long())
        self._keep_values(target, rows, size)
        self._recorder.begin_batch(rows, size)

    def after_batch(self) -> None:
        """The network has seen it."""
        if self._recorder is not None:
            self._recorder.end_batch()
            if self._recorder.call_bytes > self.budget:
                told = self._too_large(self._recorder)
                self.stop()
                self.report("input", told)
            elif self.sample.passed:
                self._recorder.detach()

    def finish(self, forward_context: Context = nullcontext, progress: Progress | None = None) -> Snapshot:
        """The pass is over: remove the hooks.

        Args:
            forward_context: In what the network is run again where that is needed.
            progress: Where long work on the snapshot shows how far it is; None: nowhere.

        Raises:
            NothingCapturedError: If the pass had no samples, or the network was never called.
        """
        recorder = self._recorder
        self.stop()
        if recorder is None:
            raise NothingCapturedError("no pass was watched")
        recorder.drop_incomplete()
        seen = Seen(self.sample.seen, _joined(self._labels), _joined(self._values), self._no_classes)
        if self.processes.size > 1:
            seen = bring_together(recorder, self.sample, seen, self.processes)
        recorder.tell_incomplete()
        if not seen.positions:
            raise NothingCapturedError("no sample was seen")
        if not any(recorder.calls):
            known = f"network={', '.join(self.networks)!r} was" if self.networks else "the network was"
            raise NothingCapturedError(f"{known} never called in the step; name the module to analyse by network=")
        if recorder.num_called < recorder.num_rows:
            told = f"the step called the network for {recorder.num_called} of {recorder.num_rows} samples only"
            raise NothingCapturedError(f"{told}: it must for each batch (limit_val_batches leaves out the last ones)")
        if recorder.call_bytes > self.budget:
            raise NothingCapturedError(self._too_large(recorder))
        self.sample.finish()
        self.networks = recorder.networks
        self._no_classes, labels = seen.no_classes, seen.labels
        if labels is not None and seen.values is not None and are_values(labels, seen.values.dtype):
            kinds = f"{len(labels.unique())} different numbers for {len(labels)} samples"
            self._no_classes = f"the target has {kinds}: no classes, but values"
            labels = self.sample.labels = None
        self.sample.no_classes = "" if labels is not None else self.sample.no_classes or self._no_classes
        self._check_same_samples(labels, len(seen.positions))
        names = self._names(labels)
        return self.processes.agree(
            lambda: Snapshot(
                recorder,
                labels,
                names,
                forward_context,
                self.report,
                self.explicit,
                self.seed,
                progress,
                no_classes=self.sample.no_classes,
                values=seen.values if labels is None else None,
                positions=torch.tensor(seen.positions, dtype=torch.int64),
                split=self.split,
                processes=self.processes,
            )
        )

    def _batch_target(self, batch: Any) -> Tensor | None:
        try:
            return batch_target(batch, self.target_fn)
        except NoClassesError as error:
            self._no_classes = str(error)
            return None

    def _batch_labels(self, target: Tensor | None) -> Tensor | None:
        try:
            labels = None if target is None else as_labels(target)
        except NoClassesError as error:
            self._no_classes, labels = self._no_classes or str(error), None
        if labels is None or self._labels is None:
            self._labels = labels = None
            if not self.sample.chosen:
                self.sample.labels = None
        return labels

    def _keep_values(self, target: Tensor | None, rows: Tensor, size: int) -> None:
        """What is to be predicted, in case that it is no class; nothing unless every batch has it in the same shape."""
        if self._values is None:
            return
        if target is None or target.ndim == 0 or len(target) != size:
            self._values = None
            return
        kept = target[rows.to(target.device)].cpu()
        self._value_bytes += kept.nbytes
        if (self._values and self._values[0].shape[1:] != kept.shape[1:]) or self._value_bytes > self.budget:
            self._values = None
        else:
            self._values.append(kept)

    def _too_large(self, recorder: Recorder) -> str:
        rows, need = recorder.num_rows, recorder.call_bytes
        sizes = f"the inputs of the first {rows} samples need {need:,} bytes, max_memory leaves {self.budget:,}"
        return f"{sizes}: raise it, or take fewer samples"

    def _names(self, labels: Tensor | None) -> list[str]:
        if labels is None:
            return []
        present = labels.unique().tolist()
        if self.class_names is None:
            return [str(label) for label in present]
        unnamed = [label for label in present if label not in self.class_names]
        if unnamed:
            many = len(unnamed) > 1
            which = f"{'classes' if many else 'class'} {listed([str(label) for label in unnamed])}"
            shown = "their numbers are shown" if many else "its number is shown"
            self.report("class_names", f"{len(self.class_names)} names, none for {which}; {shown}")
        return [str(label) if label in unnamed else self.class_names[label] for label in present]

    def _check_same_samples(self, labels: Tensor | None, rows: int) -> None:
        if rows != len(self.sample.positions):
            self.report(
                "sample", f"{rows} of {len(self.sample.positions)} samples were seen: the loader has become shorter"
            )
        elif labels is not None and self.sample.labels is not None and not torch.equal(labels, self.sample.labels):
            self.report(
                "sample", "other samples than in the first pass: the loader shuffles, so epochs compare less well"
            )


def _joined(batches: list[Tensor] | None) -> Tensor | None:
    return torch.cat(batches) if batches else None
