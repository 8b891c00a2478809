"""When a validation is analysed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from pytorch_lightning import Trainer

from .analyses import Analysis


def is_due(epoch: int, last: int | None, every_n_epochs: int, is_final: bool) -> bool:
    """The first validation, then the first at least n epochs after the last analysed, and the final one.

    Of several validations in one epoch the last counts: where it cannot be known, each of an epoch that is due.
    """
    return last is None or epoch == last or epoch - last >= every_n_epochs or is_final


def never_validated(trainer: Trainer, epochs: Sequence[int]) -> list[int]:
    """Those of ``epochs`` in which the Trainer will run no validation."""
    if getattr(trainer, "fast_dev_run", False):
        return []
    every, most = trainer.check_val_every_n_epoch or 1, trainer.max_epochs
    beyond = math.inf if most in (None, -1) else most
    return [epoch for epoch in epochs if epoch >= beyond or (epoch + 1) % every]


def check_validated(trainer: Trainer, epochs: Sequence[int]) -> None:
    """Raise ValueError if the Trainer will run no validation in one of the epochs."""
    if never := never_validated(trainer, epochs):
        raise ValueError(
            f"epochs={never} are never validated with max_epochs={trainer.max_epochs} and "
            f"check_val_every_n_epoch={trainer.check_val_every_n_epoch} (the first epoch is 0)"
        )


def due_analyses(trainer: Trainer, analyses: Sequence[Analysis], analysed: Mapping[str, int]) -> list[Analysis]:
    """Those whose own rhythm has come.

    Args:
        trainer: In a validation.
        analyses: All of them.
        analysed: By name the last epoch in which one was made.
    """
    if trainer.state.fn != "fit":
        return list(analyses)
    epoch, final = trainer.current_epoch, is_final(trainer)
    rhythms = {analysis.name: getattr(analysis, "every_n_epochs", None) or 1 for analysis in analyses}
    return [a for a in analyses if is_due(epoch, analysed.get(a.name), rhythms[a.name], final)]


def is_last_in_epoch(trainer: Trainer) -> bool:
    """Whether no later validation will run in the current epoch; True where that cannot be known."""
    interval = _interval(trainer)
    if math.isinf(interval) or math.isinf(trainer.num_training_batches):
        return True
    return _stops(trainer) or interval > min(_left_in_epoch(trainer), _left_by_steps(trainer))


def is_final(trainer: Trainer) -> bool:
    """Whether no later validation will run in this fit, as far as can be known: early stopping comes unannounced."""
    batches, most = trainer.num_training_batches, trainer.max_epochs
    left_in_epoch, left = _left_in_epoch(trainer), _left_by_steps(trainer)
    if most not in (None, -1):
        left = min(left, left_in_epoch + (most - 1 - trainer.current_epoch) * batches)
    every = trainer.check_val_every_n_epoch
    if every is None or not is_last_in_epoch(trainer):
        until_next = _interval(trainer)
    else:
        until_next = left_in_epoch + (every - 1) * batches + min(_interval(trainer), batches)
    if math.isinf(until_next):  # the length of an epoch is not known
        epochs_over = most not in (None, -1) and trainer.current_epoch + (every or 1) >= most
        return _stops(trainer) or left <= 0 or epochs_over
    return _stops(trainer) or until_next > left


def _stops(trainer: Trainer) -> bool:
    """Whether the Trainer stops after this validation, and not only when ``min_epochs`` are over."""
    return trainer.should_stop and getattr(trainer.fit_loop, "_can_stop_early", True)


def _interval(trainer: Trainer) -> float:
    """Batches from one validation to the next in an epoch; infinite: one, at its end."""
    interval = getattr(trainer, "val_check_batch", None)
    return math.inf if interval is None else interval


def _left_in_epoch(trainer: Trainer) -> float:
    return trainer.num_training_batches - trainer.fit_loop.epoch_loop.batch_progress.current.ready


def _left_by_steps(trainer: Trainer) -> float:
    """Batches until ``max_steps``, at the rate of optimizer steps so far (accumulation, several optimizers)."""
    if trainer.max_steps in (None, -1):
        return math.inf
    batches = trainer.fit_loop.epoch_loop.total_batch_idx + 1
    rate = max(trainer.global_step, 1) / max(batches, 1)
    return math.ceil((trainer.max_steps - trainer.global_step) / rate)
