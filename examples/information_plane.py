"""Handwritten digits in the information plane: what the units of each layer keep of the image, and of its class.

A unit of a trained network is a function of the image: the entropy of its activation is what it says of the image, and
part of that is information about the digit. Drawn against each other, epoch by epoch, that is the information plane
(Tishby and Zaslavsky 2015; Saxe et al. 2018 show that what happens there depends on the activation and on the bins, so
both are named here: tanh, whose range is known, in 10 bins from -1 to 1 in every epoch).

- Do units first take in the image and then forget what does not matter ("compression")?
- Which layer's units say most about the digit, and since when?
- Do the units of a layer fall into modules that share more information among themselves, and does training make them?

    python -m pip install -e ".[examples]"
    python examples/information_plane.py
    tensorboard --logdir lightning_logs/information_plane
"""

from __future__ import annotations

import argparse
import logging
import shutil
import warnings
from pathlib import Path

import torch
from pytorch_lightning import LightningModule, Trainer, seed_everything
from pytorch_lightning.loggers import TensorBoardLogger
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

from lightning_separation import LayerInformation, Modularity, Run, SeparationMonitor, load_run

LAYERS = ["tanh1", "tanh2", "tanh3"]
RANGE = (-1.0, 1.0)


class Classifier(LightningModule):
    """An MLP 64-64-32-16-10 with tanh."""

    def __init__(self) -> None:
        super().__init__()
        self.linear1, self.tanh1 = nn.Linear(64, 64), nn.Tanh()
        self.linear2, self.tanh2 = nn.Linear(64, 32), nn.Tanh()
        self.linear3, self.tanh3 = nn.Linear(32, 16), nn.Tanh()
        self.logits = nn.Linear(16, 10)

    def forward(self, images: Tensor) -> Tensor:
        """Logits ``[N, 10]`` of images ``[N, 64]``."""
        hidden = self.tanh1(self.linear1(images))
        hidden = self.tanh3(self.linear3(self.tanh2(self.linear2(hidden))))
        return self.logits(hidden)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Cross-entropy of a batch."""
        images, digits = batch
        return cross_entropy(self(images), digits)

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Log the accuracy."""
        images, digits = batch
        self.log("accuracy", (self(images).argmax(1) == digits).float().mean(), batch_size=len(digits))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Adam."""
        return torch.optim.Adam(self.parameters(), lr=0.002)


def load_data() -> tuple[TensorDataset, TensorDataset]:
    """1,257 images for training, 540 for validation, pixels from -1 to 1."""
    images, digits = load_digits(return_X_y=True)
    parts = train_test_split(images / 8 - 1, digits, test_size=0.3, stratify=digits, random_state=0)
    train, val, train_digits, val_digits = (torch.as_tensor(part) for part in parts)
    return TensorDataset(train.float(), train_digits), TensorDataset(val.float(), val_digits)


def format_table(run: Run) -> str:
    """Of each layer entropy, information and modularity in the first and the last epoch, as text."""
    first, last = run.records[0], run.records[-1]
    bound = last.findings["layer_information"]["tanh1"]["label_entropy"]
    lines = [
        f"Means over the units of a layer, in nats, epoch {first.epoch} -> {last.epoch}. A unit's entropy is at most",
        f"log 10 = 2.30, what it says of the digit at most {bound:.2f}; chance is taken off.",
        "",
        f"{'layer':8}{'entropy':>18}{'says of the digit':>22}{'modularity Q':>20}",
    ]
    for layer in run.layers:
        cells = []
        for analysis, quantity in (
            ("layer_information", "entropy_mean"),
            ("layer_information", "label_excess_mean"),
            ("modularity", "modularity"),
        ):
            cells.append(" -> ".join(f"{record.findings[analysis][layer][quantity]:.2f}" for record in (first, last)))
        lines.append(f"{layer:8}{cells[0]:>18}{cells[1]:>22}{cells[2]:>20}")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> None:
    """Train, print where each layer went."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--logdir", type=Path, default=Path("lightning_logs"))
    options = parser.parse_args(arguments)

    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)  # no tips, no list of accelerators
    warnings.filterwarnings("ignore", ".*does not have many workers")  # the data are in memory
    warnings.filterwarnings("ignore", ".*LeafSpec.* is deprecated")  # Lightning's own
    torch.set_num_threads(1)
    seed_everything(0, verbose=False)
    model, (train, val) = Classifier(), load_data()
    logger = TensorBoardLogger(options.logdir, name="information_plane", version="", default_hp_metric=False)
    shutil.rmtree(logger.log_dir, ignore_errors=True)  # or TensorBoard would show old and new curves as one
    monitor = SeparationMonitor(
        analyses=[LayerInformation(edges=RANGE), Modularity(edges=RANGE)], layers=LAYERS, every_n_epochs=3
    )
    trainer = Trainer(
        callbacks=[monitor],
        logger=logger,
        max_epochs=options.epochs,
        log_every_n_steps=10,
        num_sanity_val_steps=0,
        accelerator="cpu",  # too small a network for anything else
        deterministic=True,
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=False,
    )
    trainer.fit(model, DataLoader(train, batch_size=64, shuffle=True), DataLoader(val, batch_size=270))
    print(f"accuracy {trainer.callback_metrics['accuracy']:.2f} on {len(val)} digits not trained on\n")
    print(format_table(load_run(logger.log_dir)))
    print("\nThe plane, and the modules of each layer, in the figures:\n")
    print(f"    tensorboard --logdir {options.logdir / 'information_plane'}")


if __name__ == "__main__":
    main()
