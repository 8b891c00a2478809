"""A sample of the training data, and the network's answer to it, beside the training loop.

The loop's own loader is left alone: samples are read by a worker process of this module's own, from those that the
loader's sampler can give, so that neither the dataset nor a random number of the loop's sees it. What the network would
be given in validation is found on a copy of the LightningModule, whose ``validation_step`` is left when it gets there;
then the network itself is run on that.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from traceback import clear_frames
from typing import Any

import torch
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.utilities.signature_utils import is_param_in_hook_signature
from torch import nn
from torch.utils.data import DataLoader, IterableDataset, Subset

from .capture import Capture, Sample, Snapshot
from .capture.dataset_index import in_order, indices_given, original_indices
from .capture.recorder import Call
from .capture.restore import unchanged
from .capture.structures import all_tensors, map_tensors
from .capture.targets import NoClassesError, as_labels, batch_target
from .errors import MonitorError

_MOST_READ = 10  # times as many samples as are wanted, in search of rare classes


class NoTrainingDataError(Exception):
    """There are no training data to take a sample of; the message says why."""


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
        try:
            _check_weights(validation, capture)
            self._read(trainer, capture, validation)
            for note in self._notes:
                capture.report("train", note)
            return self._show(trainer, module, capture, validation, dataloader_idx, shows_progress)
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

    def _read(self, trainer: Trainer, capture: Capture, validation: Snapshot) -> None:
        """Hold the samples, unless those of this dataset are held."""
        loader = training_loader(trainer)
        if loader is None and not self._batches:
            raise NoTrainingDataError("they are not known here: in a fit they are, or with a datamodule")
        if loader is None or (self._loader is not None and loader.dataset is self._loader.dataset and self._batches):
            return
        if loader.dataset is self._failed[0]:
            raise NoTrainingDataError(self._failed[1])
        _check(loader)
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

    def _is_still_there(self, loader: DataLoader, capture: Capture) -> bool:
        """Whether samples that were chosen before, perhaps in another run, are in the dataset."""
        if not self.indices or self.indices[-1] >= len(loader.dataset):  # type: ignore[arg-type]
            return False
        if self.labels is None:
            return True
        found = [label for _, labels in _labelled(loader, self.indices, capture) for label in labels]
        return found == self.labels

    def _choose(self, trainer: Trainer, loader: DataLoader, capture: Capture, validation: Snapshot) -> None:
        given = indices_given(loader)
        batches, size = trainer.num_training_batches, _batch_size(loader)
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
        for indices, labels in _labelled(loader, searched, capture):
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
            told = ", ".join(f"{label} ({count})" for label, count in sorted(missing.items()))
            self._notes.append(f"fewer samples than in the validation of classes {told}, searched {len(searched)}")

    def _hold(self, loader: DataLoader, most_bytes: int) -> None:
        held = 0
        for batch in _batches_of(loader, self.indices):
            held += sum(tensor.nbytes for tensor in all_tensors(batch))
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
        batches = [_transferred(trainer, module, batch) for batch in self._batches]
        calls = list(_validation_calls(trainer, module, batches, networks, dataloader_idx))
        training.start()
        try:
            with unchanged(module), trainer.precision_plugin.forward_context():
                for batch, called in zip(batches, calls, strict=True):
                    training.before_batch(batch)
                    _run(networks, called)
                    training.after_batch()
            found = training.finish(trainer.precision_plugin.forward_context, shows_progress)
        finally:
            training.stop()
        found.positions = torch.tensor(original_indices(self._loader.dataset, self.indices))
        found.indexed, found.beside = True, validation
        return found


def training_loader(trainer: Trainer) -> DataLoader | None:
    """The training loop's loader; None if it is not known.

    Raises:
        NoTrainingDataError: If there are several.
    """
    loader: Any = trainer.train_dataloader
    if loader is None and (data := getattr(trainer, "datamodule", None)) is not None:
        loader = data.train_dataloader()
    parts = list(loader.values()) if isinstance(loader, Mapping) else loader
    if isinstance(parts, list | tuple) and len(parts) == 1:
        (loader,) = parts
    if loader is not None and not isinstance(loader, DataLoader):
        raise NoTrainingDataError(f"there is not one DataLoader, but a {type(loader).__name__}")
    return loader


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


def _check(loader: DataLoader) -> None:
    if isinstance(loader.dataset, IterableDataset) or not hasattr(loader.dataset, "__len__"):
        raise NoTrainingDataError("the dataset is iterable: no sample can be read by its index")
    if loader.batch_sampler is None:
        raise NoTrainingDataError("the dataset makes its batches itself (batch_size=None)")


def _batch_size(loader: DataLoader) -> int:
    return int(loader.batch_size or getattr(loader.batch_sampler, "batch_size", None) or 32)


def _batches_of(loader: DataLoader, indices: list[int]) -> Iterator[Any]:
    """Samples of a loader's dataset in its batches; what is drawn at random is always the same.

    They are read in a process of their own: what reading changes in the dataset, or opens, stays there. Where that does
    not work (files that the loop has opened in this process, data on a GPU) they are read as the loop reads them.
    """

    def read(some: list[int], workers: int) -> Iterator[Any]:
        return iter(
            DataLoader(
                Subset(loader.dataset, some),
                batch_size=_batch_size(loader),
                collate_fn=loader.collate_fn,
                num_workers=workers,
                multiprocessing_context=loader.multiprocessing_context if workers else None,
                worker_init_fn=loader.worker_init_fn,
                generator=torch.Generator().manual_seed(0),
            )
        )

    workers = 1
    if loader.num_workers == 0:
        try:
            next(read(indices[:1], workers))
        except Exception as error:  # of the user's dataset, or of what it is in
            clear_frames(error.__traceback__)  # or the process is waited for, for seconds, when they are collected
            workers = 0
    torch.manual_seed(0)
    try:
        yield from read(indices, workers)
    except Exception as error:
        clear_frames(error.__traceback__)
        raise


def _labelled(loader: DataLoader, indices: list[int], capture: Capture) -> Iterator[tuple[list[int], list[int]]]:
    """Indices and classes of samples, batch by batch."""
    start, size = 0, _batch_size(loader)
    for batch in _batches_of(loader, indices):
        try:
            labels = as_labels(batch_target(batch, capture.target_fn)).tolist()
        except NoClassesError as error:
            raise NoTrainingDataError(str(error)) from None
        part = indices[start : start + size]
        if len(labels) != len(part):
            raise NoTrainingDataError(f"collate_fn makes {len(labels)} of {len(part)} samples: which is which?")
        yield part, labels
        start += size


def _transferred(trainer: Trainer, module: LightningModule, batch: Any) -> Any:
    """A batch as ``validation_step`` gets it."""
    batch = trainer.precision_plugin.convert_input(batch)
    batch = module._on_before_batch_transfer(batch, dataloader_idx=0)
    return trainer.strategy.batch_to_device(batch, dataloader_idx=0)


def _validation_calls(
    trainer: Trainer,
    module: LightningModule,
    batches: list[Any],
    networks: Mapping[str, nn.Module],
    dataloader_idx: int,
) -> Iterator[dict[str, Call]]:
    """What each network is called with first when ``validation_step`` sees a batch.

    The step is that of a copy, and is left as soon as all networks have been called: what it changes, in weights,
    metrics or anything else that the module holds, is gone with the copy.

    Raises:
        NoTrainingDataError: If the module cannot be copied, the step fails, or it calls no network.
    """
    try:
        twin = deepcopy(module)  # it knows no Trainer, so it cannot log
    except Exception as error:
        raise NoTrainingDataError(f"the LightningModule cannot be copied: {error!r}") from error
    twin.__dict__.update(log=_nothing, log_dict=_nothing)
    for part in twin.modules():
        part._forward_hooks.clear()  # they may belong to somebody who counts
    takes_index = is_param_in_hook_signature(twin.validation_step, "batch_idx", min_args=2)
    several = len(trainer.num_val_batches) > 1
    with unchanged(twin), trainer.precision_plugin.val_step_context():
        for index, batch in enumerate(batches):
            arguments = [*([index] if takes_index else []), *([dataloader_idx] if several else [])]
            with _left_when_called({name: twin.get_submodule(name) for name in networks}) as called:
                try:
                    twin.validation_step(map_tensors(torch.clone, batch), *arguments)
                except Exception as error:
                    raise NoTrainingDataError(
                        f"validation_step does not take a training batch outside of the loop: {error!r}"
                    ) from error
            if not called:
                raise NoTrainingDataError("validation_step calls no network for a training batch")
            yield called


def _run(networks: Mapping[str, nn.Module], called: Mapping[str, Call]) -> None:
    try:
        for name, (args, kwargs) in called.items():
            networks[name](*args, **kwargs)
    except Exception as error:
        told = "the network does not take what validation_step makes of a training batch"
        raise NoTrainingDataError(f"{told}: {error!r}") from error


class _AllCalledError(BaseException):
    """Leaves a step; no ``except Exception`` of the user's stops it."""


@contextmanager
def _left_when_called(networks: Mapping[str, nn.Module]) -> Iterator[dict[str, Call]]:
    """Leave the block when every network is called; yields with what, by name."""
    called: dict[str, Call] = {}

    def seen(name: str) -> Callable[..., None]:
        def hook(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            if name not in called:
                called[name] = Call(*map_tensors(torch.clone, (args, kwargs)))
            if len(called) == len(networks):
                raise _AllCalledError

        return hook

    handles = [
        network.register_forward_pre_hook(seen(name), with_kwargs=True, prepend=True)
        for name, network in networks.items()
    ]
    try:
        yield called
    except _AllCalledError:
        pass
    finally:
        for handle in handles:
            handle.remove()


def _nothing(*_: Any, **__: Any) -> None:
    """Instead of the module's ``log``."""
