"""Which training data are looked at, and what the network makes of them."""

from __future__ import annotations

from collections import Counter
from typing import Any, NamedTuple

import torch
from pytorch_lightning import LightningModule, Trainer
from torch.utils.data import DataLoader

from ..capture import Capture, Sample, Snapshot
from ..capture.dataset_index import in_order, indices_given, original_indices
from ..capture.restore import unchanged
from ..capture.structures import all_tensors
from ..errors import MonitorError
from .calls import run, transferred, validation_calls
from .errors import NoTrainingDataError
from .reading import batch_size, batches_of, check_loader, labelled, training_loader

_MOST_READ = 10  # times as many samples as are wanted, in search of rare classes


class _Read(NamedTuple):
    """What was read; see :class:`TrainingSample`."""

    indices: list[int]
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
        self._loader: DataLoader | None = None  # whose samples are held
        self._batches: list[Any] = []
        self._notes: list[str] = []
        self._failed: tuple[Any, str] = (None, "")  # with which dataset, and why

    def snapshot(
        self,
        trainer: Trainer,
        module: LightningModule,
        capture: Capture,
        validation: Snapshot,
        dataloader_idx: int = 0,
        shows_progress: bool = False,
    ) -> Snapshot | None:
        """What the network makes of the samples now.

        Args:
            trainer: In its validation.
            module: In the modes that the validation gave it.
            capture: Of the validation, finished.
            validation: What it left.
            dataloader_idx: Which validation loader the samples are treated like.
            shows_progress: Whether long work on the snapshot may show a bar.

        Returns:
            None, and that is reported, if there is no such sample.
        """
        processes = validation.processes
        try:
            processes.agree(lambda: _check_weights(validation, capture))
            self._share(trainer, processes.first(lambda: self._read(trainer, capture, validation)))
            for note in self._notes:
                capture.report("train", note, harmless=True)
            return processes.agree(
                lambda: self._show(trainer, module, capture, validation, dataloader_idx, shows_progress)
            )
        except MonitorError:
            raise
        except Exception as error:  # the user's dataset, sampler, collate_fn or step may raise anything
            told = str(error) if isinstance(error, NoTrainingDataError) else repr(error)
            capture.report("train", f"no sample of the training data is analysed: {told}")
            return None

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint needs to find the same samples again."""
        return {"indices": self.indices, "labels": self.labels}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over the choice of an earlier run."""
        self.__init__()  # type: ignore[misc]
        self.indices, self.labels = list(state.get("indices", [])), state.get("labels")

    def _share(self, trainer: Trainer, read: _Read | None) -> None:
        """Hold what the first process has read: its samples, as drawn, are those of all."""
        if read is not None:
            self._loader = training_loader(trainer)
            self.indices, self.labels, self._batches, self._notes = read

    def _read(self, trainer: Trainer, capture: Capture, validation: Snapshot) -> _Read | None:
        """Hold the samples; nothing is returned if they were held before."""
        loader = training_loader(trainer)
        if loader is None and not self._batches:
            raise NoTrainingDataError("they are not known here: in a fit they are, or with a datamodule")
        if loader is None or (self._loader is not None and loader.dataset is self._loader.dataset and self._batches):
            return None
        if loader.dataset is self._failed[0]:
            raise NoTrainingDataError(self._failed[1])
        check_loader(loader)
        again = self._loader is not None
        self._loader, self._batches, self._notes = loader, [], []
        try:
            if not self._is_still_there(loader, capture):
                self._choose(trainer, loader, capture, validation)
            self._hold(loader, capture.budget)
        except Exception as error:
            told = str(error) if isinstance(error, NoTrainingDataError) else repr(error)
            self._failed, self._batches = (loader.dataset, told), []
            raise
        if again:
            self._notes.append("the training dataset is another object than before: its samples are read anew")
        return _Read(self.indices, self.labels, self._batches, self._notes)

    def _is_still_there(self, loader: DataLoader, capture: Capture) -> bool:
        """Whether samples that were chosen before, perhaps in another run, are in the dataset."""
        if not self.indices or self.indices[-1] >= len(loader.dataset):  # type: ignore[arg-type]
            return False
        if self.labels is None:
            return True
        found = [label for _, labels in labelled(loader, self.indices, capture) for label in labels]
        return found == self.labels

    def _choose(self, trainer: Trainer, loader: DataLoader, capture: Capture, validation: Snapshot) -> None:
        given = indices_given(loader)
        batches, size = trainer.num_training_batches, batch_size(loader)
        if batches < len(loader) and in_order(loader):
            given = given[: int(batches) * size]
        elif batches < len(loader):
            told = f"the loop takes {batches} of {len(loader)} batches, shuffled"
            self._notes.append(f"{told}: the sample may hold some that were not trained on")
        order = torch.randperm(len(given), generator=torch.Generator().manual_seed(capture.seed)).tolist()
        left = Counter(dict(zip(validation.labels.tolist(), validation.counts.tolist(), strict=True)))
        if not left:
            self.indices, self.labels = sorted(given[i] for i in order[: len(validation.positions)]), None
            return
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
        self.indices = sorted(chosen)
        self.labels = [chosen[index] for index in self.indices]
        if missing := +left:
            told = ", ".join(f"{count} of class {label}" for label, count in sorted(missing.items()))
            self._notes.append(f"fewer samples than in the validation: {told} are missing, searched {len(searched)}")

    def _hold(self, loader: DataLoader, most_bytes: int) -> None:
        held = 0
        for batch in batches_of(loader, self.indices):
            held += sum(tensor.numel() * tensor.element_size() for tensor in all_tensors(batch))
            if held > most_bytes:
                sizes = f"the first samples need {held:,} bytes, max_memory leaves {most_bytes:,}"
                raise NoTrainingDataError(f"{sizes}: raise it, or take fewer samples")
            self._batches.append(batch)

    def _show(
        self,
        trainer: Trainer,
        module: LightningModule,
        capture: Capture,
        validation: Snapshot,
        dataloader_idx: int,
        shows_progress: bool,
    ) -> Snapshot:
        """Let the network see the samples, while another capture watches."""
        assert self._loader is not None
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
            found = training.finish(trainer.precision_plugin.forward_context, shows_progress)
        finally:
            training.stop()
        found.positions = torch.tensor(original_indices(self._loader.dataset, self.indices))
        found.indexed, found.beside, found.processes = True, validation, validation.processes
        return found


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
