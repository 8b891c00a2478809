"""Three kinds of iris, a network of 4-12-3 units: which units are active for which kind, and what drives them?

The smallest network in which the questions can be asked. After training:

- which hidden units are active for which kind of iris, and how exclusively;
- which of the four measurements of a flower raise or lower them, for the true and for the predicted kind;
- the path of one given flower through the network to its answer, as a picture.

    python -m pip install -e ".[examples]"
    python examples/iris.py
    tensorboard --logdir lightning_logs/iris
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
from sklearn.datasets import load_iris
from sklearn.model_selection import train_test_split
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

from lightning_separation import (
    HenzePenrose,
    InputFeatures,
    Record,
    Selectivity,
    SeparationMonitor,
    Significance,
    WeightContributions,
    load_run,
    trace_path,
)

FEATURES = ["sepal length", "sepal width", "petal length", "petal width"]
KINDS = ["setosa", "versicolor", "virginica"]
WATCHED = "activation1"


class IrisClassifier(LightningModule):
    """4 measurements, 12 hidden units, 3 kinds."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden1 = nn.Linear(4, 12)
        self.activation1 = nn.ReLU()
        self.output = nn.Linear(12, 3)

    def forward(self, flowers: Tensor) -> Tensor:
        """Logits ``[N, 3]`` of flowers ``[N, 4]``."""
        return self.output(self.activation1(self.hidden1(flowers)))

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Cross-entropy of a batch."""
        flowers, kinds = batch
        return cross_entropy(self(flowers), kinds)

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Log the accuracy."""
        flowers, kinds = batch
        self.log("accuracy", (self(flowers).argmax(1) == kinds).float().mean(), batch_size=len(kinds))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Adam."""
        return torch.optim.Adam(self.parameters(), lr=0.02)


def load_data() -> tuple[TensorDataset, TensorDataset]:
    """90 flowers for training, 60 (20 of each kind) for validation, standardised by the training flowers."""
    flowers, kinds = load_iris(return_X_y=True)
    parts = train_test_split(flowers, kinds, test_size=0.4, stratify=kinds, random_state=0)
    train, val, train_kinds, val_kinds = (torch.as_tensor(part) for part in parts)
    mean, std = train.mean(0), train.std(0)
    standardised = [((flowers - mean) / std).float() for flowers in (train, val)]
    return TensorDataset(standardised[0], train_kinds), TensorDataset(standardised[1], val_kinds)


def format_table(record: Record) -> str:
    """Per kind of iris the hidden units that are active for it, and what drives them, as text."""
    selectivity = record.findings["selectivity"][WATCHED]["active_fraction"]
    drive = record.findings["input_features"][WATCHED]["drive"]
    lines = ["Hidden units that are active for at least half of the flowers of a kind, and what drives them", ""]
    lines.append(f"{'kind':12}{'active units (share of flowers)':44}{'raised by':28}lowered by")
    for k, kind in enumerate(KINDS):
        most = selectivity[:, k].argsort()[::-1]
        units = [f"{unit} ({selectivity[unit, k]:.0%})" for unit in most if selectivity[unit, k] >= 0.5]
        order = drive[k].argsort()[::-1]
        raised = [FEATURES[f] for f in order if drive[k, f] > 0]
        lowered = [FEATURES[f] for f in order[::-1] if drive[k, f] < 0]
        for row in range(max(len(raised), len(lowered), -(-len(units) // 4))):
            cells = [kind if row == 0 else "", ", ".join(units[4 * row : 4 * row + 4])]
            cells += [features[row] if row < len(features) else "" for features in (raised, lowered)]
            lines.append(f"{cells[0]:12}{cells[1]:44}{cells[2]:28}{cells[3]}".rstrip())
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> None:
    """Train, print the table, draw one flower's path."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--flower", type=int, default=0, help="of the validation flowers, the one whose path is drawn")
    parser.add_argument("--logdir", type=Path, default=Path("lightning_logs"))
    options = parser.parse_args(arguments)

    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)  # no tips, no list of accelerators
    warnings.filterwarnings("ignore", ".*does not have many workers")  # the data are in memory
    warnings.filterwarnings("ignore", ".*LeafSpec.* is deprecated")  # Lightning's own
    torch.set_num_threads(1)
    seed_everything(0, verbose=False)
    model, (train, val) = IrisClassifier(), load_data()
    logger = TensorBoardLogger(options.logdir, name="iris", version="", default_hp_metric=False)
    shutil.rmtree(logger.log_dir, ignore_errors=True)  # or TensorBoard would show old and new curves as one
    monitor = SeparationMonitor(
        analyses=[
            HenzePenrose(),
            Significance(),
            Selectivity(layers=[WATCHED]),
            InputFeatures(feature_names=FEATURES, layers=["hidden1", WATCHED]),
            WeightContributions(),
        ],
        every_n_epochs=10,
        class_names=KINDS,
    )
    trainer = Trainer(
        callbacks=[monitor],
        logger=logger,
        max_epochs=options.epochs,
        log_every_n_steps=1,
        num_sanity_val_steps=0,
        accelerator="cpu",  # too small a network for anything else
        deterministic=True,
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=False,
    )
    trainer.fit(model, DataLoader(train, batch_size=32, shuffle=True), DataLoader(val, batch_size=60))
    print(f"accuracy {trainer.callback_metrics['accuracy']:.2f} on {len(val)} flowers not trained on\n")
    print(format_table(load_run(logger.log_dir).records[-1]))

    flower, kind = val[options.flower]
    path = trace_path(model, flower)
    answer = KINDS[int(path.values[-1].argmax())]
    picture = Path(logger.log_dir) / "one_flower.png"
    title = f"Flower {options.flower}, a {KINDS[int(kind)]}: the network says {answer}"
    path.plot(FEATURES, KINDS, title=title).savefig(picture)
    print(f"\nThe path of one flower through the network: {picture}\nCurves, figures and tables:\n")
    print(f"    tensorboard --logdir {options.logdir / 'iris'}")


if __name__ == "__main__":
    main()
