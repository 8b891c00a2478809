"""Small real data, a real LightningModule, a real Trainer."""

from __future__ import annotations

from typing import Any

import torch
from pytorch_lightning import LightningModule, Trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset


def blobs(num_classes: int = 3, per_class: int = 20, dim: int = 6, spread: float = 1.0, seed: int = 0) -> TensorDataset:
    """Gaussian classes, interleaved."""
    generator = torch.Generator().manual_seed(seed)
    target = torch.arange(num_classes).repeat(per_class)
    centres = 2 * torch.randn(num_classes, dim, generator=torch.Generator().manual_seed(99))
    return TensorDataset(centres[target] + spread * torch.randn(len(target), dim, generator=generator), target)


def loader(dataset: Any, batch_size: int = 16, **kwargs: Any) -> DataLoader:
    return DataLoader(dataset, batch_size=batch_size, **kwargs)


def mlp(dim: int = 6, classes: int = 3) -> nn.Sequential:
    return nn.Sequential(nn.Linear(dim, 8), nn.ReLU(), nn.Dropout(0.1), nn.Linear(8, classes))


class Classifier(LightningModule):
    """Wraps a network and logs its validation loss."""

    def __init__(self, net: nn.Module | None = None) -> None:
        super().__init__()
        self.net = mlp() if net is None else net
        self.loss = nn.CrossEntropyLoss()

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        return self.loss(self.net(batch[0]), batch[1])

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int, dataloader_idx: int = 0) -> None:
        self.log("val_loss", self.loss(self.net(batch[0]), batch[1]))

    def test_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        self.log("test_loss", self.loss(self.net(batch[0]), batch[1]))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), 1e-2)


def trainer(root: Any, *callbacks: Any, **settings: Any) -> Trainer:
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "log_every_n_steps": 1, "accelerator": "cpu"}
    return Trainer(default_root_dir=root, callbacks=list(callbacks), **{**quiet, "max_epochs": 2, **settings})


def hooks(module: nn.Module) -> int:
    """How many forward hooks hang on a module and its parts."""
    return sum(len(part._forward_hooks) + len(part._forward_pre_hooks) for part in module.modules())
