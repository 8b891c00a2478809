"""The same fit with monitors and without: what a user would find afterwards, to the last bit."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from pytorch_lightning import Callback, LightningModule, Trainer, seed_everything
from torch import Tensor

from lightning_separation import Run, SeparationMonitor, load_run
from lightning_separation.capture.structures import all_tensors
from tests.helpers import hooks, trainer

SEED = 7


class Diary(Callback):
    """What the user's code meets in each batch: which data, in which modes of the module and of torch."""

    def __init__(self) -> None:
        self.entries: list[Any] = []

    def _write(self, pl_module: LightningModule, batch: Any, *where: Any) -> None:
        modes = [module.training for module in pl_module.modules()]
        kinds = torch.is_grad_enabled(), torch.is_inference_mode_enabled(), torch.is_autocast_enabled("cpu")
        engines = torch.backends.mha.get_fastpath_enabled(), torch.are_deterministic_algorithms_enabled()
        self.entries.append((where, digest(all_tensors(batch)), modes, kinds, engines, torch.get_num_threads()))

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self._write(pl_module, batch, "train", batch_idx)

    def on_validation_batch_end(self, trainer, pl_module, outputs, batch, batch_idx, dataloader_idx=0):
        self._write(pl_module, batch, "val", batch_idx, dataloader_idx, digest(all_tensors(outputs)))

    def on_test_batch_end(self, trainer, pl_module, outputs, batch, batch_idx, dataloader_idx=0):
        self._write(pl_module, batch, "test", batch_idx, dataloader_idx, digest(all_tensors(outputs)))


class Outcome(NamedTuple):
    """What is there after a run; equal for two runs that did the same."""

    weights: dict[str, str]
    gradients: list[str]
    optimizers: list[str]
    metrics: dict[str, str]
    randoms: tuple[str, ...]
    diary: list[Any]
    modes: list[bool]
    hooks: int
    attributes: dict[str, list[str]]


def digest(value: Any) -> str:
    """A checksum of tensors, and of what holds them."""
    found = hashlib.blake2b(digest_size=8)
    for tensor in value if isinstance(value, list) else all_tensors(value):
        dense = tensor.detach().cpu().to_dense().contiguous()
        found.update(repr((dense.dtype, dense.shape)).encode())
        found.update(bytes(dense.reshape(-1).view(torch.uint8).numpy()) if dense.numel() else b"")
    return found.hexdigest()


def outcome(t: Trainer, module: LightningModule, diary: Diary, own: Sequence[str] = ()) -> Outcome:
    """Of a run that is over; ``own``: first parts of the monitors' tags."""
    legacy = np.random.get_state()[1]  # noqa: NPY002 - that state is what must not change
    states = [optimizer.state_dict()["state"] for optimizer in t.optimizers]
    return Outcome(
        weights={name: digest([value]) for name, value in module.state_dict().items() if isinstance(value, Tensor)},
        gradients=[digest([p.grad]) if p.grad is not None else "" for p in module.parameters()],
        optimizers=[
            digest([v for part in state.values() for v in map(torch.as_tensor, part.values())]) for state in states
        ],
        metrics={k: repr(v.item()) for k, v in t.callback_metrics.items() if not k.startswith(tuple(own) or ("\0",))},
        randoms=(digest([torch.get_rng_state()]), str(legacy.tolist()), str(random.getstate())),
        diary=diary.entries,
        modes=[part.training for part in module.modules()],
        hooks=hooks(module),
        attributes={name: sorted(part.__dict__) for name, part in module.named_modules()},
    )


def assert_same(without: Outcome, with_monitor: Outcome) -> None:
    """Compare part by part, so that a failure says what differs."""
    for name in Outcome._fields:
        assert getattr(without, name) == getattr(with_monitor, name), f"{name} differ"


TAGS = ("separation", "bayes_error", "significant", "dead", "best_effect", "ablation")
"""How the tags of the default monitor begin."""


def run_twice(
    root: Path,
    make: Callable[[], tuple[LightningModule, Any]],
    monitor: Callable[[], SeparationMonitor] = lambda: SeparationMonitor(on_error="raise"),
    *,
    callbacks: Callable[[], Sequence[Callback]] = tuple,
    go: Callable[[Trainer, LightningModule, Any], Any] | None = None,
    **settings: Any,
) -> tuple[Run, Trainer, LightningModule]:
    """Run without a monitor and with it, and make sure that nothing of the user's differs, to the last bit.

    Args:
        root: Folder of both runs.
        make: Makes the module and what ``go`` needs (loaders); called for each run after seeding.
        monitor: Makes the monitor.
        callbacks: Makes the user's own callbacks, which come after it.
        go: ``go(trainer, module, loaders)``; None: ``trainer.fit(module, *loaders)``.
        settings: Of the Trainer.

    Returns:
        The records, and the Trainer and the module of the run with the monitor.
    """
    found = []
    for name, monitors in (("without", ()), ("with", (monitor,))):
        seed_everything(SEED, verbose=False)
        module, loaders = make()
        diary = Diary()
        t = trainer(root / name, *(m() for m in monitors), *callbacks(), diary, **settings)
        if go is None:
            t.fit(module, *loaders)
        else:
            go(t, module, loaders)
        found.append(outcome(t, module, diary, TAGS if monitors else ()))
    assert_same(*found)
    return load_run(t.log_dir or root / "with"), t, module
