"""Which training data are looked at, and what the network makes of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from pytorch_lightning import LightningModule, Trainer
from torch.utils.data import DataLoader

from ..capture import Capture, Sample, Snapshot
from ..capture.dataset_index import in_order, indices_given, original_indices
from ..capture.restore import unchanged
from ..capture.structures import nbytes
from ..errors import MonitorError
from ..processes import Processes
from ..progress import Progress
from .calls import run, transferred, validation_calls
from .errors import NoTrainingDataError
from .reading import batch_size, batches_of, check_loader, labelled, training_loader

_MOST_READ = 10  # times as many samples as are wanted, in search of rare classes


class _Read(NamedTuple):
    """What was read; see :class:`TrainingSample`."""

    indices: list[int]
    positions: list[int]
    labels: list[int] | None
    batches: list[Any]
    notes: list[str]


class TrainingSample:
    """The same samples of the training data at every analysed epoch: as many of each class as of the validation data.

    Separations can only be compared at equal numbers of samples. The order of the search is random, as datasets are
    often sorted; what is drawn at random in reading (augmentations) is drawn once.

    Attributes:
        indices: Into the training loader's dataset, ascending; empty until chosen.
        labels: Their classes; None without classes.
    """

    def __init__(self) -> None:
        self.indices: list[int] = []
        self.labels: list[int] | None = None
        self._positions: list[int] = []  # in the dataset that the loader's is a part of
        self._batches: list[Any] = []
        self._notes: list[str] = []
        self._dataset: Any = None  # that was read last, in the first process
        self._unfit: Any = None  # the same, if that failed
        self._failed = ""  # why

    def snapshot(
        self,
        trainer: Trainer,
        module: LightningModule,
        capture: Capture,
        validation: Snapshot,
        dataloader_idx: int = 0,
        progress: Progress | None = None,
    ) -> Snapshot | None:
        """What the network makes of the samples now.

        Args:
            trainer: In its validation.
            module: In the modes that the validation gave it.
            capture: Of the validation, finished.
            validation: What it left.
            dataloader_idx: Which validation loader the samples are treated like.
            progress: Where long work on the snapshot shows how far it is; None: nowhere.

        Returns:
            None, and that is reported, if there is no such sample.
        """
        processes = validation.processes
        try:
            processes.agree(lambda: _check_weights(validation, capture))
            self._share(processes, lambda: self._read(trainer, capture, validation))
            for note in self._notes:
                capture.report("train", note, harmless=True)
            return processes.agree(lambda: self._show(trainer, module, capture, validation, dataloader_idx, progress))
        except MonitorError:
            raise
        except Exception as error:  # the user's dataset, sampler, collate_fn or step may raise anything
            capture.report("train", f"no sample of the training data is analysed: {_told(error)}")
            return None

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint needs to find the same samples again."""
        return {"indices": self.indices, "labels": self.labels}

    __getstate__ = state_dict  # a copy reads them anew: the dataset may be large, or bound to this process

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.load_state_dict(state)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over the choice of an earlier run."""
        self.__init__()  # type: ignore[misc]
        self.indices, self.labels = list(state.get("indices", [])), state.get("labels")

    def _share(self, processes: Processes, read: Callable[[], _Read | None]) -> None:
        """Hold what the first process reads: its samples, as drawn, are those of all."""
        try:
            found = processes.first(read)
        except Exception as error:  # in reading, or in sending it
            self._failed, self._batches = _told(error), []
            raise
        self._unfit = None
        if found is not None:
            self.indices, self._positions, self.labels, self._batches, self._notes = found

    def _read(self, trainer: Trainer, capture: Capture, validation: Snapshot) -> _Read | None:
        """The samples; nothing is returned if they are held."""
        loader = training_loader(trainer)
        if loader is None and not self._batches:
            raise NoTrainingDataError("they are not known here: in a fit they are, or with a datamodule")
        if loader is None or (loader.dataset is self._dataset and self._batches):
            return None
        if loader.dataset is self._unfit:
            raise NoTrainingDataError(self._failed)
        again = self._dataset is not None and self._dataset is not loader.dataset
        self._dataset = self._unfit = loader.dataset  # until all have what is read
        check_loader(loader)
        indices, labels = self.indices, self.labels
        notes: list[str] = []
        if not self._is_still_there(loader, capture):
            indices, labels, notes = _chosen(trainer, loader, capture, validation)
        batches = _within(batches_of(loader, indices), capture.budget)
        if again:
            notes.append("the training dataset is another object than before: its samples are read anew")
        return _Read(indices, original_indices(loader.dataset, indices), labels, batches, notes)

    def _is_still_there(self, loader: DataLoader, capture: Capture) -> bool:
        """Whether samples that were chosen before, perhaps in another run, are in the dataset."""
        if not self.indices or self.indices[-1] >= len(loader.dataset):  # type: ignore[arg-type]
            return False
        if self.labels is None:
            return True
        found = [label for _, labels in labelled(loader, self.indices, capture) for label in labels]
        return found == self.labels

    def _show(
        self,
        trainer: Trainer,
        module: LightningModule,
        capture: Capture,
        validation: Snapshot,
        dataloader_idx: int,
        progress: Progress | None,
    ) -> Snapshot:
        """Let the network see the samples, while another capture watches."""
        sample, networks = Sample(len(self.indices), len(self.indices)), capture.networks or {}
        at, why = list(range(len(self.indices))), validation.no_classes
        sample.load_state_dict({"positions": at, "labels": self.labels, "no_classes": why})
        training = capture.of_other_data(sample, "train")
        batches = [transferred(trainer, module, batch) for batch in self._batches]
        calls = list(validation_calls(trainer, module, batches, networks, dataloader_idx))
        training.start()
        try:
            with unchanged(module), trainer.precision_plugin.forward_context():
                for batch, called in zip(batches, calls, strict=True):
                    training.before_batch(batch)
                    run(networks, called)
                    training.after_batch()
            found = training.finish(trainer.precision_plugin.forward_context, progress)
        finally:
            training.stop()
        found.positions = torch.tensor(self._positions)
        found.indexed, found.beside, found.processes = True, validation, validation.processes
        return found


def _chosen(
    trainer: Trainer, loader: DataLoader, capture: Capture, validation: Snapshot
) -> tuple[list[int], list[int] | None, list[str]]:
    """Indices and classes of as many samples of each class as of the validation data, and notes."""
    given, notes = indices_given(loader), []
    batches, size = trainer.num_training_batches, batch_size(loader)
    if batches < len(loader) and in_order(loader):
        given = given[: int(batches) * size]
    elif batches < len(loader):
        told = f"the loop takes {batches} of {len(loader)} batches, shuffled"
        notes.append(f"{told}: the sample may hold some that were not trained on")
    order = torch.randperm(len(given), generator=torch.Generator().manual_seed(capture.seed)).tolist()
    left = Counter(dict(zip(validation.labels.tolist(), validation.counts.tolist(), strict=True)))
    if not left:
        return sorted(given[i] for i in order[: len(validation.positions)]), None, notes
    searched = [given[i] for i in order[: _MOST_READ * left.total()]]
    chosen: dict[int, int] = {}
    for indices, labels in labelled(loader, searched, capture):
        for index, label in zip(indices, labels, strict=True):
            if left[label] > 0:
                chosen[index] = label
                left[label] -= 1
        if left.total() == 0:
            break
    if not chosen:
        raise NoTrainingDataError(f"none of {len(searched)} samples is of a class of the validation data")
    if missing := +left:
        told = ", ".join(f"{count} of class {label}" for label, count in sorted(missing.items()))
        notes.append(f"fewer samples than in the validation: {told} are missing, searched {len(searched)}")
    return sorted(chosen), [chosen[index] for index in sorted(chosen)], notes


def _within(batches: Iterator[Any], most_bytes: int) -> list[Any]:
    """The batches, unless they are too large."""
    found, held = [], 0
    for batch in batches:
        held += nbytes(batch)
        if held > most_bytes:
            sizes = f"the first samples need {held:,} bytes, max_memory leaves {most_bytes:,}"
            raise NoTrainingDataError(f"{sizes}: raise it, or take fewer samples")
        found.append(batch)
    return found


def _told(error: Exception) -> str:
    return str(error) if isinstance(error, NoTrainingDataError) else repr(error)


def _check_weights(validation: Snapshot, capture: Capture) -> None:
    """Raise NoTrainingDataError unless the network would still give what it gave in the validation."""
    if not validation.has_same_weights:
        told = "the weights are no longer those of the validation"
        raise NoTrainingDataError(f"{told} (a callback that averages them? list it after the monitor)")
    if len(capture.networks or {}) == 1:
        try:
            validation.check_replay()
        except ValueError as error:
            raise NoTrainingDataError(str(error)) from None
