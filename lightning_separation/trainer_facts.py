"""What a Trainer knows of the loop that it is in."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from pytorch_lightning import LightningModule, Trainer


def logged_step(trainer: Trainer) -> int:
    """Where Lightning's own ``log`` puts this validation's metrics on the x axis."""
    loop = trainer.fit_loop.epoch_loop
    return int(getattr(loop, "_batches_that_stepped", trainer.global_step))


def saved_step(checkpoint: Mapping[str, Any]) -> int:
    """The same of the fit that saved a checkpoint, where loggers are one step behind."""
    done = checkpoint.get("global_step", 0)
    loops = checkpoint.get("loops", {}).get("fit_loop", {}).get("epoch_loop.state_dict", {})
    # With several optimizers batches are counted.
    return int(max(min(loops.get("_batches_that_stepped", done), done - 1), min(done, 1)))


def may_be_alone(trainer: Trainer, pl_module: LightningModule) -> str:
    """Why other processes may skip the validation, so that nothing can be analysed together; empty if they do not."""
    name = "allow_zero_length_dataloader_with_multiple_devices"
    allowed = any(getattr(part, name, False) for part in (pl_module, getattr(trainer, "datamodule", None)))
    told = f"nothing is analysed: with {name} a process may have no validation at all"
    return told if allowed and trainer.world_size > 1 else ""


def validation_loader(trainer: Trainer, index: int) -> Any:
    """The loader whose pass is over; None if it cannot be told."""
    loaders: Any = trainer.test_dataloaders if trainer.testing else trainer.val_dataloaders
    loaders = list(loaders.values()) if isinstance(loaders, Mapping) else loaders
    loaders = loaders if isinstance(loaders, list | tuple) else [loaders]
    return loaders[index] if index < len(loaders) else None


def num_samples(trainer: Trainer, index: int) -> int | None:
    """How many samples a validation loader gives at most in one pass, of all ranks; None if it does not say."""
    loader, sizes = validation_loader(trainer, index), []
    with suppress(TypeError, AttributeError, NotImplementedError):
        sizes.append(len(loader.dataset))
    with suppress(TypeError, AttributeError, OverflowError):  # there may be no end to the batches
        sizes.append(int(trainer.num_val_batches[index]) * loader.batch_size * trainer.world_size)
    return min(sizes, default=None)


def is_wrapped(trainer: Trainer, pl_module: LightningModule) -> bool:
    """Whether steps are run as calls of the module, through a wrapper around it."""
    return trainer.model is not pl_module
