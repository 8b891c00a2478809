"""Two networks on handwritten digits, one of them trained to be modular: does that show, and what does it cost?

The units of both hidden layers are divided into four modules beforehand. One network is trained as usual; the other
with a term in its loss that is small where a module of the second layer depends on the same module of the first, and
not on the other units there: `lightning_separation.functional.modularity_loss`, the information between modules on soft
bins, through which gradients lead. Whether it has become modular is measured as always: on hard bins, on images not
trained on, as the modularity of the given partition (Newman's Q) against partitions at random, and by what each module
says of itself and the others of it.

    python -m pip install -e ".[examples]"
    python examples/modularity.py
    tensorboard --logdir lightning_logs/modularity
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

from lightning_separation import Modularity, Run, SeparationMonitor, load_run
from lightning_separation.functional import modularity_loss

WIDTH, MODULES = 32, 4
MODULE_OF_UNIT = [unit * MODULES // WIDTH for unit in range(WIDTH)]
VARIANTS = {"usual": 0.0, "modular": 0.2}


class Classifier(LightningModule):
    """An MLP 64-32-32-10 with tanh, whose loss may ask for modules."""

    def __init__(self, modularity_weight: float) -> None:
        super().__init__()
        self.modularity_weight = modularity_weight
        self.layer1 = nn.Sequential(nn.Linear(64, WIDTH), nn.Tanh())
        self.layer2 = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.Tanh())
        self.logits = nn.Linear(WIDTH, 10)

    def forward(self, images: Tensor) -> Tensor:
        """Logits ``[N, 10]`` of images ``[N, 64]``."""
        return self.logits(self.layer2(self.layer1(images)))

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Cross-entropy of a batch, and what its modules owe to others."""
        images, digits = batch
        first = self.layer1(images)
        second = self.layer2(first)
        loss = cross_entropy(self.logits(second), digits)
        if self.modularity_weight:
            modules = [[unit for unit in range(WIDTH) if MODULE_OF_UNIT[unit] == m] for m in range(MODULES)]
            owed = torch.stack([modularity_loss(first, second, module, module) for module in modules])
            loss = loss + self.modularity_weight * owed.sum()
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Log the accuracy."""
        images, digits = batch
        self.log("accuracy", (self(images).argmax(1) == digits).float().mean(), batch_size=len(digits))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Adam."""
        return torch.optim.Adam(self.parameters(), lr=0.005)


def load_data() -> tuple[TensorDataset, TensorDataset]:
    """1,257 images for training, 540 for validation, pixels from -1 to 1."""
    images, digits = load_digits(return_X_y=True)
    parts = train_test_split(images / 8 - 1, digits, test_size=0.3, stratify=digits, random_state=0)
    train, val, train_digits, val_digits = (torch.as_tensor(part) for part in parts)
    return TensorDataset(train.float(), train_digits), TensorDataset(val.float(), val_digits)


def train(variant: str, epochs: int, logdir: Path) -> tuple[Run, float]:
    """Train one of the networks; its run, and its accuracy."""
    seed_everything(0, verbose=False)
    model, (train_set, val_set) = Classifier(VARIANTS[variant]), load_data()
    logger = TensorBoardLogger(logdir, name="modularity", version=variant, default_hp_metric=False)
    shutil.rmtree(logger.log_dir, ignore_errors=True)  # or TensorBoard would show old and new curves as one
    given = Modularity(modules={"layer1.1": MODULE_OF_UNIT, "layer2.1": MODULE_OF_UNIT}, edges=(-1.0, 1.0))
    trainer = Trainer(
        callbacks=[SeparationMonitor(analyses=[given], every_n_epochs=5)],
        logger=logger,
        max_epochs=epochs,
        log_every_n_steps=10,
        num_sanity_val_steps=0,
        accelerator="cpu",  # too small a network for anything else
        deterministic=True,
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=False,
    )
    trainer.fit(model, DataLoader(train_set, batch_size=128, shuffle=True), DataLoader(val_set, batch_size=270))
    return load_run(logger.log_dir), trainer.callback_metrics["accuracy"].item()


def main(arguments: list[str] | None = None) -> None:
    """Train both networks, print how modular they are."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--logdir", type=Path, default=Path("lightning_logs"))
    options = parser.parse_args(arguments)

    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)  # no tips, no list of accelerators
    warnings.filterwarnings("ignore", ".*does not have many workers")  # the data are in memory
    warnings.filterwarnings("ignore", ".*LeafSpec.* is deprecated")  # Lightning's own
    torch.set_num_threads(1)
    print("Modularity Q of the four given modules (of random ones), and H(module | all) - H(module | others), nats\n")
    print(f"{'network':10}{'accuracy':>9}{'first layer':>20}{'second layer':>20}{'all over others':>18}")
    for variant in VARIANTS:
        run, accuracy = train(variant, options.epochs, options.logdir)
        found = run.records[-1].findings["modularity"]
        cells = [f"{found[n]['modularity']:.3f} ({found[n]['null_mean']:.3f})" for n in ("layer1.1", "layer2.1")]
        others = found["layer2.1"]["all_over_others"]
        print(f"{variant:10}{accuracy:9.2f}{cells[0]:>20}{cells[1]:>20}{others:18.3f}")
    print(f"\n    tensorboard --logdir {options.logdir / 'modularity'}")


if __name__ == "__main__":
    main()
