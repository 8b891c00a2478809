"""Three small networks on handwritten digits: untrained, trained on the true labels, trained on random labels.

All three have the same architecture and the same initial weights. How far do their layers separate the classes?

- untrained: less and less with depth; random weights lose what the input has.
- true labels: training restores it, nearly to the ceiling, in every layer and on samples never trained on.
- random labels: the classes mean nothing, yet the deep layers learn to separate them: but only the samples that the
  network was trained on. On others the separation stays at chance, 0. The network memorised, it did not learn.

So the gap between the two curves shows memorising, layer by layer, while the network trains (arXiv:1907.04223).

    python -m pip install -e ".[examples]"
    python examples/digits.py
    tensorboard --logdir lightning_logs/digits
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

from lightning_separation import SeparationMonitor, load_run

VARIANTS = ("untrained", "true_labels", "random_labels")
SPLITS = ("validation", "train")


class Classifier(LightningModule):
    """An MLP 64-128-64-32-10. Nothing in it knows that it is watched."""

    def __init__(self) -> None:
        super().__init__()
        self.layer1 = nn.Sequential(nn.Linear(64, 128), nn.ReLU())
        self.layer2 = nn.Sequential(nn.Linear(128, 64), nn.ReLU())
        self.layer3 = nn.Sequential(nn.Linear(64, 32), nn.ReLU())
        self.logits = nn.Linear(32, 10)

    def forward(self, images: Tensor) -> Tensor:
        """Logits ``[N, 10]`` of images ``[N, 64]``."""
        return self.logits(self.layer3(self.layer2(self.layer1(images))))

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Cross-entropy of a batch."""
        images, labels = batch
        return cross_entropy(self(images), labels)

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int, dataloader_idx: int = 0) -> None:
        """Log the accuracy on each of the two loaders under a name of its own."""
        images, labels = batch
        accuracy = (self(images).argmax(1) == labels).float().mean()
        self.log(f"accuracy/{SPLITS[dataloader_idx]}", accuracy, add_dataloader_idx=False, batch_size=len(labels))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Adam, without any regularisation: memorising shall be possible."""
        return torch.optim.Adam(self.parameters(), lr=2e-3)


def monitors() -> list[SeparationMonitor]:
    """The part that this example is about: one monitor for each validation loader."""
    watched = ["layer?", "logits"]  # by default every module that computes something; the input is always there
    return [
        SeparationMonitor(layers=watched, samples_per_class=60),
        SeparationMonitor(layers=watched, samples_per_class=60, name="separation_train", dataloader_idx=1),
    ]


def load_data(random_labels: bool) -> dict[str, TensorDataset]:
    """The digits, half for training and half for validation, either with their labels or with shuffled ones."""
    images, labels = load_digits(return_X_y=True)
    halves = train_test_split(images / 16, labels, test_size=0.5, stratify=labels, random_state=0)
    train_images, images, train_labels, labels = (torch.as_tensor(half) for half in halves)
    datasets = {}
    for split, x, y in (("train", train_images, train_labels), ("validation", images, labels)):
        shuffled = y[torch.randperm(len(y))] if random_labels else y
        datasets[split] = TensorDataset(x.float(), shuffled)
    return datasets


def run(variant: str, epochs: int, logdir: Path) -> Path:
    """Train and watch one variant.

    Args:
        variant: One of ``VARIANTS``.
        epochs: To train for, unless the variant is "untrained".
        logdir: The run goes to ``<logdir>/digits/<variant>``; an earlier one there is deleted.

    Returns:
        The folder of the run.
    """
    print(f"{variant.replace('_', ' ')} ... ", end="", flush=True)
    seed_everything(0, verbose=False)  # the same initial weights in all variants
    model = Classifier()
    data = load_data(random_labels=variant == "random_labels")
    # The monitors see what validation sees. That the training samples are validated too makes them a second sample.
    validation = [DataLoader(data[split], batch_size=256) for split in SPLITS]
    training = DataLoader(data["train"], batch_size=32, shuffle=True)

    logger = TensorBoardLogger(logdir, name="digits", version=variant, default_hp_metric=False)
    folder = Path(logger.log_dir)
    shutil.rmtree(folder, ignore_errors=True)  # or TensorBoard would show old and new curves as one
    trainer = Trainer(
        callbacks=monitors(),
        logger=logger,
        max_epochs=epochs,
        check_val_every_n_epoch=min(10, epochs),
        log_every_n_steps=len(training),
        num_sanity_val_steps=0,
        accelerator="cpu",  # too small a network for anything else
        deterministic=True,
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=False,
    )
    trainer.validate(model, validation, verbose=False)  # makes a record too: the network before training
    if variant != "untrained":
        trainer.fit(model, training, validation)
    accuracy = {split: trainer.callback_metrics[f"accuracy/{split}"].item() for split in SPLITS}
    print("accuracy " + ", ".join(f"{value:.2f} ({split})" for split, value in accuracy.items()))
    return folder


def final_separation(folder: Path) -> dict[str, dict[str, float]]:
    """Mean separation over the 45 pairs of classes at the end of a run: split -> layer -> value."""
    found = {}
    for split, name in zip(SPLITS, ("separation", "separation_train"), strict=True):
        record = load_run(folder / name).records[-1]
        found[split] = {layer: record.findings["henze_penrose"][layer]["separation"].item() for layer in record.layers}
    return found


def format_table(results: dict[str, dict[str, dict[str, float]]]) -> str:
    """Layers x variants as text; ``results`` is variant -> split -> layer -> value."""
    lines = ["Mean separation over 45 pairs of digits: 0 is chance, 1 is complete", ""]
    lines.append(" " * 8 + "".join(f"{variant.replace('_', ' '):>24}" for variant in results))
    lines.append("layer   " + "".join(f"{split:>12}" for _ in results for split in SPLITS))
    columns = [result[split] for result in results.values() for split in SPLITS]
    for layer in columns[0]:
        lines.append(f"{layer:8}" + "".join(f"{column[layer]:12.3f}" for column in columns))
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> None:
    """Run all three variants, print the table and how to look at the curves."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--epochs", type=int, default=200, help="memorising random labels takes about 150")
    parser.add_argument("--logdir", type=Path, default=Path("lightning_logs"))
    options = parser.parse_args(arguments)

    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)  # no tips, no list of accelerators
    warnings.filterwarnings("ignore", ".*does not have many workers")  # the data are in memory
    warnings.filterwarnings("ignore", ".*LeafSpec.* is deprecated")  # Lightning's own
    torch.set_num_threads(1)  # so small a network gains nothing from more, and any machine gets the same numbers
    results = {}
    for variant in VARIANTS:
        results[variant] = final_separation(run(variant, options.epochs, options.logdir))
    print(f"\n{format_table(results)}\n\nThe curves, heatmaps and tables:\n")
    print(f"    tensorboard --logdir {options.logdir / 'digits'}")


if __name__ == "__main__":
    main()
