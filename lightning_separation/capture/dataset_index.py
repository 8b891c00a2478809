"""Which samples of a dataset a loader gives, and when."""

from __future__ import annotations

from copy import deepcopy
from itertools import chain
from typing import Any

import torch
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    DistributedSampler,
    RandomSampler,
    SequentialSampler,
    Subset,
    SubsetRandomSampler,
)

from .sample import Shard
from .snapshot import Snapshot


def place(snapshot: Snapshot, loader: Any) -> None:
    """Say where a snapshot's samples are in the dataset, unless a DataLoader gives them in an order of its own."""
    if not isinstance(loader, DataLoader):
        snapshot.indexed = loader is not None
    elif in_order(loader) or _in_order_with_others(loader):
        at = original_indices(loader.dataset, snapshot.positions.tolist())
        snapshot.positions, snapshot.indexed = torch.tensor(at), True


def shard_of(loader: Any, rank: int, processes: int) -> Shard:
    """Which part of the data a process's loader gives; where it does not say, one sample in so many."""
    sampler = _sampler(loader)
    if processes == 1 or isinstance(sampler, SequentialSampler):
        return Shard()
    sampler = sampler or getattr(getattr(loader, "batch_sampler", None), "sampler", None)  # that of the user's batches
    if isinstance(sampler, DistributedSampler):
        return Shard(sampler.rank, sampler.num_replicas, len(sampler.dataset))  # type: ignore[arg-type]
    return Shard(rank, processes, known=False)


def in_order(loader: Any) -> bool:
    """Whether a loader gives its dataset from the first sample to the last."""
    return isinstance(_sampler(loader), SequentialSampler)


def indices_given(loader: DataLoader) -> list[int]:
    """Indices into the loader's dataset of what it can give, or with others of its kind, ascending, each once.

    The loader and the random numbers are left as they are.

    Raises:
        Exception: Whatever a sampler of the user's raises when it is copied or asked.
    """
    sampler, num = _sampler(loader), len(loader.dataset)  # type: ignore[arg-type]
    if isinstance(sampler, SequentialSampler | RandomSampler):
        return list(range(num))
    if isinstance(sampler, SubsetRandomSampler):
        return sorted({int(index) for index in sampler.indices})
    if type(sampler) is DistributedSampler and sampler.dataset is loader.dataset:
        return list(range(num))
    batches: Any = deepcopy(loader.batch_sampler, {id(loader.dataset): loader.dataset})
    ordering = getattr(batches, "sampler", None)
    if isinstance(ordering, DistributedSampler):  # its share is that of all, if it is the only one
        ordering.num_replicas, ordering.rank, ordering.num_samples = 1, 0, ordering.total_size
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        given: Any = chain.from_iterable(batches) if sampler is None else ordering
        return sorted({int(index) for index in given})


def original_indices(dataset: Any, indices: list[int]) -> list[int]:
    """The same samples' indices in the dataset that nested ``Subset`` (``random_split``) are parts of.

    Example:
        >>> from torch.utils.data import Subset
        >>> original_indices(Subset(Subset("abcdef", [5, 3, 1]), [2, 0]), [0, 1])
        [1, 5]
    """
    while isinstance(dataset, Subset):
        indices = [int(dataset.indices[index]) for index in indices]
        dataset = dataset.dataset
    return indices


def _in_order_with_others(loader: DataLoader) -> bool:
    """Whether it is one of several that together give their dataset from the first sample to the last."""
    sampler = _sampler(loader)
    return isinstance(sampler, DistributedSampler) and not sampler.shuffle and sampler.dataset is loader.dataset


def _sampler(loader: Any) -> Any:
    """What orders the samples, where that is not a batch sampler of the user's own."""
    batches = getattr(loader, "batch_sampler", None)
    return batches.sampler if type(batches) is BatchSampler else None
