"""What the processes of a distributed run tell each other."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor
from torchmetrics.utilities.distributed import gather_all_tensors

if TYPE_CHECKING:
    from pytorch_lightning import Trainer

T = TypeVar("T")
_IN_PIECES = ("FSDPStrategy", "DeepSpeedStrategy", "ModelParallelStrategy", "XLAFSDPStrategy")


@dataclass(frozen=True)
class Processes:
    """The processes that train one network together; by default this one alone.

    Every method but ``deal`` must be called by all of them, in the same order. An error in one is raised in all, so
    that none waits for another that has given up.

    Args:
        rank: Number of this process, from 0.
        size: How many there are.
        device: Where tensors must be to be sent.
    """

    rank: int = 0
    size: int = 1
    device: torch.device = torch.device("cpu")  # noqa: RUF009  # a constant

    @classmethod
    def of(cls, trainer: Trainer) -> Processes:
        """Those of a Trainer that is running."""
        if trainer.world_size == 1:
            return cls()
        return cls(trainer.global_rank, trainer.world_size, trainer.strategy.root_device)

    def gather(self, work: Callable[[], T]) -> list[T]:
        """What each of them makes of some work, by rank.

        Raises:
            Exception: That of the first process whose work failed.
        """
        if self.size == 1:
            return [work()]
        error = None
        try:
            sent = pickle.dumps((work(), None))
        except Exception as caught:  # of the work, or of what cannot be sent
            error, sent = caught, pickle.dumps((None, _sent(caught)))
        got: list[Any] = [None] * self.size
        torch.distributed.all_gather_object(got, sent)
        parts = [pickle.loads(part) for part in got]
        for rank, (_, raised) in enumerate(parts):
            if raised is not None:
                raise raised from (error if rank == self.rank else None)
        return [made for made, _ in parts]

    def agree(self, work: Callable[[], T]) -> T:
        """What this one makes of some work, if it succeeds in all of them.

        Raises:
            Exception: That of the first process whose work failed.
        """
        if self.size == 1:
            return work()
        made: list[T] = []
        self.gather(lambda: made.append(work()))
        return made[0]

    def first(self, work: Callable[[], T]) -> T:
        """What the first of them makes of some work that the others leave to it.

        Raises:
            Exception: If it fails.
        """
        return self.gather(lambda: work() if self.rank == 0 else None)[0]  # type: ignore[return-value]

    def all(self, condition: bool) -> bool:
        """Whether it is so in every one of them."""
        return all(self.gather(lambda: condition))

    def gather_rows(self, rows: Tensor) -> list[Tensor]:
        """Rows ``[r, ...]`` of each of them, by rank, to the last bit; only their number may differ."""
        if self.size == 1:
            return [rows]
        width = rows[:1].nbytes if len(rows) else torch.empty(1, *rows.shape[1:], dtype=rows.dtype).nbytes
        sent = rows.contiguous().view(-1).view(torch.uint8).view(len(rows), width).to(self.device)
        return [
            got.contiguous().view(-1).view(rows.dtype).view(len(got), *rows.shape[1:]).to(rows.device)
            for got in gather_all_tensors(sent)
        ]

    def deal(self, things: Sequence[T]) -> list[T]:
        """Those of some things that are for this process to work on, so that each is worked on by one."""
        return list(things[self.rank :: self.size])


def check_strategy(trainer: Trainer) -> None:
    """Raise ValueError where no process has the whole network."""
    for base in type(trainer.strategy).__mro__:
        if base.__name__ in _IN_PIECES:
            raise ValueError(
                f"SeparationMonitor cannot look at a network that is in pieces on several devices, as with "
                f"{type(trainer.strategy).__name__}: train with strategy='ddp', or analyse checkpoints by "
                "trainer.validate on one device"
            )


def _sent(error: Exception) -> Exception:
    """An error as another process can raise it."""
    try:
        sent = pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(repr(error))
    return sent if type(sent) is type(error) and str(sent) == str(error) else RuntimeError(repr(error))
