"""When a validation is analysed."""

from __future__ import annotations

from collections.abc import Sequence

from pytorch_lightning import Trainer


def is_due(epoch: int, last: int | None, every_n_epochs: int, is_final: bool) -> bool:
    """The first validation, then the first at least n epochs after the last analysed, and the final epoch's."""
    return last is None or epoch - last >= every_n_epochs or (is_final and epoch != last)


def never_validated(trainer: Trainer, epochs: Sequence[int]) -> list[int]:
    """Those of ``epochs`` in which the Trainer will run no validation."""
    if getattr(trainer, "fast_dev_run", False):
        return []
    every, most = trainer.check_val_every_n_epoch or 1, trainer.max_epochs
    beyond = float("inf") if most in (None, -1) else most
    return [epoch for epoch in epochs if epoch >= beyond or (epoch + 1) % every]


def is_final_epoch(trainer: Trainer) -> bool:
    """Whether no later epoch of this fit will be validated."""
    every, most = trainer.check_val_every_n_epoch or 1, trainer.max_epochs
    if trainer.should_stop:
        return True
    steps = trainer.max_steps
    if steps not in (None, -1) and trainer.num_training_batches != float("inf"):
        until_next = every * trainer.num_training_batches // trainer.accumulate_grad_batches
        if trainer.global_step + until_next > steps:
            return True
    return most not in (None, -1) and trainer.current_epoch + every >= most


def is_last_in_epoch(trainer: Trainer) -> bool:
    """Whether no later validation will run in the current epoch; True where that cannot be known."""
    batches, interval = trainer.num_training_batches, getattr(trainer, "val_check_batch", None)
    if interval is None or interval == float("inf") or batches == float("inf"):
        return True
    done = trainer.fit_loop.epoch_loop.batch_progress.current.ready
    return trainer.should_stop or done + interval > batches
