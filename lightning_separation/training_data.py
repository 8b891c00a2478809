"""A sample of the training data, and the network's answer to it, beside the training loop.

The loop's own loader, its workers and its random numbers are left alone: the samples are read from its dataset in this
process. The network is reached as in validation, through the user's ``validation_step``; that is left as soon as the
network has answered, so that no metric of the user's sees these samples.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.utilities.signature_utils import is_param_in_hook_signature
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset, Subset

from .capture import Capture, NothingCapturedError, Sample, Snapshot
from .capture.restore import unchanged
from .capture.structures import all_tensors
from .capture.targets import NoClassesError, as_labels, batch_target

_MOST_READ = 20  # times as many samples as are wanted, in search of rare classes


class NoTrainingDataError(Exception):
    """There are no training data to take a sample of; the message says why."""


class TrainingSample:
    """The same samples of the training data at every analysed epoch: as many of each class as of the validation data.

    Separations can only be compared at equal numbers of samples. The order in which the dataset is searched is random,
    as datasets are often sorted; what is drawn at random in reading (augmentations) is drawn once.

    Attributes:
        indices: Into the training dataset, ascending; empty until chosen.
        labels: Their classes; None without classes.
    """

    def __init__(self) -> None:
        self.indices: list[int] = []
        self.labels: list[int] | None = None
        self._batches: list[Any] = []

    def snapshot(
        self,
        trainer: Trainer,
        module: LightningModule,
        capture: Capture,
        validation: Snapshot,
        shows_progress: bool = False,
    ) -> Snapshot | None:
        """What the network makes of the samples now.

        Args:
            trainer: In its validation.
            module: In the modes that the validation gave it.
            capture: Of the validation, finished.
            validation: What it left.
            shows_progress: Whether long work on the snapshot may show a bar.

        Returns:
            None, and that is reported, if there is no such sample.
        """
        try:
            loader = training_loader(trainer)
            if not self.indices:
                self._choose(loader, capture, validation)
            batches = self._read_once(loader, capture.budget)
            sample = Sample(len(self.indices), len(self.indices))
            at, why = list(range(len(self.indices))), validation.no_classes
            sample.load_state_dict({"positions": at, "labels": self.labels, "no_classes": why})
            training = capture.of_other_data(sample, "train")
            training.start()
            try:
                _show(trainer, module, batches, training)
                found = training.finish(trainer.precision_plugin.forward_context, shows_progress)
            finally:
                training.stop()
        except (NoTrainingDataError, NothingCapturedError) as error:
            capture.report("train", f"no sample of the training data is analysed: {error}")
            return None
        found.positions = torch.tensor(self.indices)
        found.beside = validation
        return found

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint needs to find the same samples again."""
        return {"indices": self.indices, "labels": self.labels}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over the choice of an earlier run."""
        self.indices, self.labels, self._batches = list(state["indices"]), state["labels"], []

    def _choose(self, loader: DataLoader, capture: Capture, validation: Snapshot) -> None:
        left = Counter(dict(zip(validation.labels.tolist(), validation.counts.tolist(), strict=True)))
        order = torch.randperm(
            len(loader.dataset),  # type: ignore[arg-type]
            generator=torch.Generator().manual_seed(capture.seed),
        ).tolist()
        if not left:
            self.indices, self.labels = sorted(order[: len(validation.positions)]), None
            return
        order = order[: _MOST_READ * left.total()]
        searched = iter(order)
        chosen: dict[int, int] = {}
        for batch in _read(loader, order):
            for label in _labels(batch, capture).tolist():
                index = next(searched)
                if left[label] > 0:
                    chosen[index] = label
                    left[label] -= 1
            if left.total() == 0:
                break
        if not chosen:
            raise NoTrainingDataError("none of the samples is of a class of the validation data")
        self.indices = sorted(chosen)
        self.labels = [chosen[index] for index in self.indices]
        if missing := +left:
            told = ", ".join(f"{label} ({count})" for label, count in sorted(missing.items()))
            capture.report("train", f"fewer samples than in the validation of classes {told}, found in {len(order)}")

    def _read_once(self, loader: DataLoader, most_bytes: int) -> list[Any]:
        if not self._batches:
            batches, held = [], 0
            for batch in _read(loader, self.indices):
                held += sum(tensor.nbytes for tensor in all_tensors(batch))
                if held > most_bytes:
                    sizes = f"the first samples need {held:,} bytes, max_memory leaves {most_bytes:,}"
                    raise NoTrainingDataError(f"{sizes}: raise it, or take fewer samples")
                batches.append(batch)
            self._batches = batches
        return self._batches


def training_loader(trainer: Trainer) -> DataLoader:
    """The training loop's loader, whose dataset can be read by index.

    Raises:
        NoTrainingDataError: If it is not known, there are several, or they cannot be read so.
    """
    loader: Any = trainer.train_dataloader
    if loader is None and (data := getattr(trainer, "datamodule", None)) is not None:
        loader = data.train_dataloader()
    if loader is None:
        raise NoTrainingDataError("they are not known here: in a fit, or with a datamodule, they are")
    if not isinstance(loader, DataLoader):
        raise NoTrainingDataError(f"there is not one DataLoader, but a {type(loader).__name__}")
    if isinstance(loader.dataset, IterableDataset) or not hasattr(loader.dataset, "__len__"):
        raise NoTrainingDataError("the dataset is iterable: no sample can be read by its index")
    if loader.batch_sampler is None:
        raise NoTrainingDataError("the dataset makes its batches itself (batch_size=None)")
    return loader


def _show(trainer: Trainer, module: LightningModule, batches: list[Any], capture: Capture) -> None:
    """Let the network see batches as the user's ``validation_step`` gives them to it, while a capture watches."""
    several = len(trainer.num_val_batches) > 1
    takes_index = is_param_in_hook_signature(module.validation_step, "batch_idx", min_args=2)
    for index, batch in enumerate(batches):
        batch = trainer.precision_plugin.convert_input(batch)
        batch = module._on_before_batch_transfer(batch, dataloader_idx=0)
        batch = trainer.strategy.batch_to_device(batch, dataloader_idx=0)
        capture.before_batch(batch)
        others = [0] if several else []
        with unchanged(module), trainer.precision_plugin.val_step_context(), _silent(module):
            try:
                with _left_after(capture.networks or {}):
                    module.validation_step(batch, *([index] if takes_index else []), *others)
            except Exception as error:
                raise NoTrainingDataError(f"validation_step does not take a training batch: {error!r}") from error
        capture.after_batch()


def _labels(batch: Any, capture: Capture) -> Tensor:
    try:
        return as_labels(batch_target(batch, capture.target_fn))
    except NoClassesError as error:
        raise NoTrainingDataError(str(error)) from None


def _read(loader: DataLoader, indices: list[int]) -> Iterator[Any]:
    """Samples of a loader's dataset in its batches; what is drawn at random is the same every time."""
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002  # that of the user's dataset
    torch.manual_seed(0)
    size = loader.batch_size or getattr(loader.batch_sampler, "batch_size", None) or 32
    yield from DataLoader(Subset(loader.dataset, indices), batch_size=size, collate_fn=loader.collate_fn)


class _AllAnsweredError(BaseException):
    """Leaves a step; no ``except Exception`` of the user's stops it."""


@contextmanager
def _left_after(networks: Mapping[str, nn.Module]) -> Iterator[None]:
    """Leave the block when every network has returned once."""
    waiting = set(networks)

    def returned(name: str) -> Callable[..., None]:
        def hook(*_: Any) -> None:
            waiting.discard(name)
            if not waiting:
                raise _AllAnsweredError

        return hook

    handles = [network.register_forward_hook(returned(name)) for name, network in networks.items()]
    try:
        yield
    except _AllAnsweredError:
        pass
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def _silent(module: LightningModule) -> Iterator[None]:
    """Whatever the step logs before it calls the network is not logged."""

    def nothing(*_: Any, **__: Any) -> None:
        pass

    module.__dict__.update(log=nothing, log_dict=nothing)
    try:
        yield
    finally:
        del module.__dict__["log"], module.__dict__["log_dict"]
