"""The same small fit with the classes of either name of Lightning."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

import lightning_separation
from lightning_separation import Run
from tests.helpers import blobs, loader, mlp

NAMES = ("pytorch_lightning", "lightning.pytorch")
ANALYSES = [
    name for name in lightning_separation.__all__ if hasattr(getattr(lightning_separation, name), "needs_classes")
]


def seeded_loaders() -> tuple[Any, Any]:
    """Training data in an order that is always the same, and validation data."""
    return loader(blobs(seed=1), shuffle=True, generator=torch.Generator().manual_seed(0)), loader(blobs())


def classifier(lightning: Any, *, late: bool = False) -> Any:
    """A LightningModule of a namespace, with seeded weights; ``late``: it has no layers until ``setup``."""

    class Classifier(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.loss = nn.CrossEntropyLoss()
            if not late:
                self.net = mlp()

        def training_step(self, batch, batch_idx):
            return self.loss(self.net(batch[0]), batch[1])

        def validation_step(self, batch, batch_idx):
            self.log("val_loss", self.loss(self.net(batch[0]), batch[1]))

        def test_step(self, batch, batch_idx):
            self.log("test_loss", self.loss(self.net(batch[0]), batch[1]))

        def configure_optimizers(self):
            return torch.optim.Adam(self.parameters(), 1e-2)

    class Late(Classifier):
        def setup(self, stage):
            self.net = mlp()

    torch.manual_seed(3)
    return Late() if late else Classifier()


def trainer(lightning: Any, root: Any, *callbacks: Any, **settings: Any) -> Any:
    """A quiet Trainer of a namespace."""
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "log_every_n_steps": 1, "accelerator": "cpu"}
    own = {"default_root_dir": root, "callbacks": list(callbacks), "logger": False, "max_epochs": 2}
    return lightning.Trainer(**{**quiet, **own, **settings})


def assert_same_records(first: Run, second: Run, *, since: int = 0) -> None:
    """Two runs found the same numbers, to the last bit; of the first, what it found from an epoch on."""
    both = [(first, second)] if first.train is None else [(first, second), (first.train, second.train)]
    for one, other in both:
        expected = [record for record in one.records if record.epoch >= since]
        assert len(expected) == len(other.records) > 0
        for a, b in zip(expected, other.records, strict=True):
            assert (a.epoch, a.step, a.stage, a.layers, a.notes) == (b.epoch, b.step, b.stage, b.layers, b.notes)
            assert {name: list(found) for name, found in a.findings.items()} == {
                name: list(found) for name, found in b.findings.items()
            }
            for name, layers in a.findings.items():
                for layer, quantities in layers.items():
                    for quantity, value in quantities.items():
                        np.testing.assert_array_equal(value, b.findings[name][layer][quantity], f"{name} of {layer}")
