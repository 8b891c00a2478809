"""The training loop's dataset, read beside the loop."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator, Mapping
from traceback import clear_frames, format_exception_only
from typing import Any

import torch
from pytorch_lightning import Trainer
from torch.utils.data import DataLoader, IterableDataset

from ..capture import Capture
from ..capture.targets import NoClassesError, as_labels, batch_target
from .errors import NoTrainingDataError

_PATIENCE = 60.0  # seconds for a batch; a process that was started while others held a lock may never answer


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


def check_loader(loader: DataLoader) -> None:
    """Raise NoTrainingDataError if samples cannot be read by their index."""
    if isinstance(loader.dataset, IterableDataset) or not hasattr(loader.dataset, "__len__"):
        raise NoTrainingDataError("the dataset is iterable: no sample can be read by its index")
    if loader.batch_sampler is None:
        raise NoTrainingDataError("the dataset makes its batches itself (batch_size=None)")


def batch_size(loader: DataLoader) -> int:
    """Samples in a batch, or a usual number."""
    return int(loader.batch_size or getattr(loader.batch_sampler, "batch_size", None) or 32)


def batches_of(loader: DataLoader, indices: list[int]) -> Iterator[Any]:
    """Samples of a loader's dataset in its batches; what is drawn at random is always the same.

    They are read in a process of their own: what reading changes in the dataset, or opens, stays there. Where that does
    not work (files that the loop has opened in this process, data on a GPU, batches that cannot be sent) the rest is
    read as the loop reads it.

    Raises:
        NoTrainingDataError: If the loop itself has them read by other processes, and such a one fails.
        Exception: Whatever the dataset or ``collate_fn`` raises in this one.
    """
    size, done = batch_size(loader), 0
    parts = [indices[start : start + size] for start in range(0, len(indices), size)]
    try:
        for sent in _by_worker(loader, parts):
            yield pickle.loads(sent)
            done += 1
        return
    except Exception as error:  # of the user's dataset, or of what it is in
        clear_frames(error.__traceback__)  # or the process is waited for, for seconds, when they are collected
        if loader.num_workers > 0:
            *_, told = "".join(format_exception_only(error)).strip().splitlines()  # after the other one's traceback
            raise NoTrainingDataError(f"a process that reads them fails: {told}") from error
    torch.manual_seed(0)
    yield from DataLoader(loader.dataset, batch_sampler=parts[done:], collate_fn=loader.collate_fn)


class _Sent:
    """A batch as bytes: where a worker sends what cannot be sent, torch says nothing, and waits for it for ever."""

    def __init__(self, collate: Callable[[list[Any]], Any]) -> None:
        self.collate = collate

    def __call__(self, samples: list[Any]) -> bytes:
        return pickle.dumps(self.collate(samples))


def _by_worker(loader: DataLoader, parts: list[list[int]]) -> Iterator[bytes]:
    return iter(
        DataLoader(
            loader.dataset,
            batch_sampler=parts,
            collate_fn=_Sent(loader.collate_fn),
            num_workers=1,
            timeout=max(loader.timeout, _PATIENCE * (1 + loader.num_workers)),
            multiprocessing_context=loader.multiprocessing_context,
            worker_init_fn=loader.worker_init_fn,
            generator=torch.Generator().manual_seed(0),
        )
    )


def labelled(loader: DataLoader, indices: list[int], capture: Capture) -> Iterator[tuple[list[int], list[int]]]:
    """Indices and classes of samples, batch by batch."""
    start, size = 0, batch_size(loader)
    for batch in batches_of(loader, indices):
        try:
            labels = as_labels(batch_target(batch, capture.target_fn)).tolist()
        except NoClassesError as error:
            raise NoTrainingDataError(str(error)) from None
        part = indices[start : start + size]
        if len(labels) != len(part):
            raise NoTrainingDataError(f"collate_fn makes {len(labels)} of {len(part)} samples: which is which?")
        yield part, labels
        start += size
