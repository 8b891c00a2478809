"""A small convolutional network on Fashion-MNIST, watched with the monitor's default settings.

Which kinds of clothes does which layer tell apart? The table at the end shows the hardest pairs, layer by layer.

    apt install dataset-fashion-mnist
    python examples/fashion_mnist.py
    tensorboard --logdir lightning_logs/fashion_mnist
"""

from __future__ import annotations

import argparse
import gzip
import logging
import warnings
from pathlib import Path

import numpy as np
import torch
from pytorch_lightning import LightningModule, Trainer, seed_everything
from pytorch_lightning.loggers import TensorBoardLogger
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

from lightning_separation import Run, SeparationMonitor, load_run

CLASSES = ["T-shirt", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Boot"]


class Classifier(LightningModule):
    """Two convolutions and two linear layers."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, 3)
        self.relu1 = nn.ReLU()
        self.pool1 = nn.MaxPool2d(2)
        self.conv2 = nn.Conv2d(16, 32, 3)
        self.relu2 = nn.ReLU()
        self.pool2 = nn.MaxPool2d(2)
        self.fc = nn.Linear(32 * 5 * 5, 64)
        self.relu3 = nn.ReLU()
        self.logits = nn.Linear(64, 10)

    def forward(self, images: Tensor) -> Tensor:
        """Logits ``[N, 10]`` of images ``[N, 1, 28, 28]``."""
        x = self.pool1(self.relu1(self.conv1(images)))
        x = self.pool2(self.relu2(self.conv2(x)))
        return self.logits(self.relu3(self.fc(x.flatten(1))))

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Cross-entropy of a batch."""
        images, labels = batch
        loss = cross_entropy(self(images), labels)
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Log the accuracy."""
        images, labels = batch
        self.log("val_accuracy", (self(images).argmax(1) == labels).float().mean(), prog_bar=True)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Adam."""
        return torch.optim.Adam(self.parameters(), lr=2e-3)


def read_idx(path: Path) -> Tensor:
    """An array in the format of the MNIST family, gzipped: magic number, sizes, then bytes."""
    content = gzip.decompress(path.read_bytes())
    dimensions = content[3]
    sizes = np.frombuffer(content, ">i4", count=dimensions, offset=4)
    return torch.from_numpy(np.frombuffer(content, np.uint8, offset=4 + 4 * dimensions).reshape(sizes).copy())


def load_data(folder: Path, part: str) -> TensorDataset:
    """Images ``[N, 1, 28, 28]`` in 0 to 1, and labels ``[N]``.

    Args:
        folder: With the four files of the data set.
        part: "train" (60,000 images) or "t10k" (10,000).

    Raises:
        SystemExit: Without the files, saying how to get them.
    """
    images, labels = folder / f"{part}-images-idx3-ubyte.gz", folder / f"{part}-labels-idx1-ubyte.gz"
    for file in (images, labels):
        if not file.is_file():
            raise SystemExit(
                f"There is no {file}. On Debian and Ubuntu: apt install dataset-fashion-mnist\n"
                "Elsewhere get the four .gz files from https://github.com/zalandoresearch/fashion-mnist "
                "and name their folder with --data."
            )
    return TensorDataset(read_idx(images).unsqueeze(1) / 255, read_idx(labels).long())


def format_table(run: Run, most: int = 8) -> str:
    """The pairs that are hardest in the last layer, at the end of training, layers from left to right."""
    record = run.records[-1]
    found = record.findings["henze_penrose"]
    first, second = np.triu_indices(len(record.class_names), 1)
    hardest = np.argsort(found[record.layers[-1]]["divergence"][first, second])[:most]
    lines = ["pair".ljust(20) + "".join(f"{layer:>8}" for layer in record.layers)]
    for a, b in zip(first[hardest], second[hardest], strict=True):
        pair = f"{record.class_names[a]}, {record.class_names[b]}"
        lines.append(f"{pair:20}" + "".join(f"{found[layer]['divergence'][a, b]:8.2f}" for layer in record.layers))
    mean = "".join(f"{found[layer]['separation'].item():8.2f}" for layer in record.layers)
    return "\n".join([*lines, f"{'mean of 45 pairs':20}{mean}"])


def main(arguments: list[str] | None = None) -> None:
    """Train, then print the table and how to look at the rest."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", type=Path, default=Path("/usr/share/datasets/fashion-mnist"))
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--logdir", type=Path, default=Path("lightning_logs"))
    options = parser.parse_args(arguments)

    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)  # no tips, no list of accelerators
    warnings.filterwarnings("ignore", ".*does not have many workers")  # the data are in memory
    warnings.filterwarnings("ignore", ".*LeafSpec.* is deprecated")  # Lightning's own
    seed_everything(0, verbose=False)
    training, validation = load_data(options.data, "train"), load_data(options.data, "t10k")
    trainer = Trainer(
        max_epochs=options.epochs,
        callbacks=[SeparationMonitor(class_names=CLASSES)],
        logger=TensorBoardLogger(options.logdir, name="fashion_mnist"),
    )
    trainer.fit(
        Classifier(),
        DataLoader(training, batch_size=128, shuffle=True),
        DataLoader(validation, batch_size=500),
    )
    assert trainer.log_dir is not None
    print(f"\nValidation accuracy {trainer.callback_metrics['val_accuracy']:.3f}")
    print(f"Separation of the hardest pairs (0 is chance, 1 is complete):\n\n{format_table(load_run(trainer.log_dir))}")
    print(f"\nThe curves, heatmaps and tables:\n\n    tensorboard --logdir {options.logdir / 'fashion_mnist'}")


if __name__ == "__main__":
    main()
