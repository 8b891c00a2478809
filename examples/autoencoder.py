"""An autoencoder of a table: which columns does it need, and which does its latent layer tell of?

An autoencoder has as many outputs as inputs and no classes, so what asks for one output or for labels is of no use.
What can be asked:

- permutation importance: by how much does the reconstruction get worse when one column is shuffled among the rows, and
  which outputs move? Columns that are strongly correlated are also shuffled together: each stands in for the other.
- information: how much does the latent layer tell of each column, and how large are the weights that lead there?

It runs on the measurements of iris flowers, or on any table of numbers given as CSV with a header; columns that are not
numbers are left out.

    python -m pip install -e ".[examples]"
    python examples/autoencoder.py
    python examples/autoencoder.py --csv table.csv --latent 8 --epochs 100
    tensorboard --logdir lightning_logs/autoencoder
"""

from __future__ import annotations

import argparse
import logging
import shutil
import warnings
from pathlib import Path

import pandas
import torch
from pytorch_lightning import LightningModule, Trainer, seed_everything
from pytorch_lightning.loggers import TensorBoardLogger
from sklearn.datasets import load_iris
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import MinMaxScaler
from torch import Tensor, nn
from torch.nn.functional import mse_loss
from torch.utils.data import DataLoader, TensorDataset

from lightning_separation import (
    Ablation,
    FeatureInformation,
    LayerInformation,
    PermutationImportance,
    Record,
    SeparationMonitor,
    load_run,
)


class Autoencoder(LightningModule):
    """From ``columns`` numbers to ``latent`` and back."""

    def __init__(self, columns: int, latent: int) -> None:
        super().__init__()
        hidden = max(2 * columns, 8)
        self.encoder = nn.Sequential(nn.Linear(columns, hidden), nn.Tanh(), nn.Linear(hidden, latent))
        self.decoder = nn.Sequential(nn.Linear(latent, hidden), nn.Tanh(), nn.Linear(hidden, columns))

    def forward(self, rows: Tensor) -> Tensor:
        """Reconstruction ``[N, columns]`` of rows ``[N, columns]``."""
        return self.decoder(self.encoder(rows))

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        """Squared error of a batch."""
        (rows,) = batch
        return mse_loss(self(rows), rows)

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        """Log the squared error."""
        (rows,) = batch
        self.log("val_loss", mse_loss(self(rows), rows), batch_size=len(rows))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Adam."""
        return torch.optim.Adam(self.parameters(), lr=0.01)


def load_table(csv: Path | None) -> pandas.DataFrame:
    """The columns of a table that hold numbers, rows with gaps left out; of iris flowers without one."""
    if csv is None:
        return load_iris(as_frame=True).data.rename(columns=lambda name: name.removesuffix(" (cm)"))
    table = pandas.read_csv(csv).select_dtypes("number").dropna()
    if len(table) < 20 or len(table.columns) < 2:
        raise SystemExit(f"{csv}: {len(table)} rows without gaps and {len(table.columns)} columns of numbers: too few")
    return table


def split(table: pandas.DataFrame) -> tuple[TensorDataset, TensorDataset]:
    """70% of the rows for training, the rest for validation; every column between 0 and 1 in training."""
    train, val = train_test_split(table.to_numpy(dtype=float), test_size=0.3, random_state=0)
    scaler = MinMaxScaler().fit(train)
    scaled = (torch.as_tensor(scaler.transform(rows)).float() for rows in (train, val))
    return TensorDataset(next(scaled)), TensorDataset(next(scaled))


def format_table(record: Record, together: Record, latent: str) -> str:
    """Of each column what the reconstruction loses and what the latent layer tells, as text."""
    importance, information = record.findings["permutation_importance"], record.findings["feature_information"]
    names, found = importance.labels["feature"], importance["input"]
    means, spread = found["importance"].mean(1), found["importance"].std(1)
    told, weights = information[latent]["feature_mean"], information[latent]["weight_magnitude"]
    wide = max(22, *map(len, together.findings["permutation_importance"].labels["feature"]))
    error = f"Reconstruction error {found['clean_loss']:.1f}%."
    lines = [f"{error} With one column shuffled among the rows (± over 50 repeats):", ""]
    lines.append(f"{'column':{wide}}  increase (points)  latent layer tells  share of weights")
    for i in means.argsort()[::-1]:
        lines.append(f"{names[i]:{wide}}{means[i]:+10.1f} ± {spread[i]:<6.1f}{told[i]:14.2f} nats{weights[i]:17.0%}")
    groups = together.findings["permutation_importance"]
    means, spread = groups["input"]["importance"].mean(1), groups["input"]["importance"].std(1)
    if len(groups.labels["feature"]) < len(names):
        lines += ["", "Columns with a correlation above 0.9 shuffled together:", ""]
        for i in means.argsort()[::-1]:
            lines.append(f"{groups.labels['feature'][i]:{wide}}{means[i]:+10.1f} ± {spread[i]:.1f}")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> None:
    """Train, print which columns matter."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--csv", type=Path, help="a table with a header instead of iris flowers")
    parser.add_argument("--latent", type=int, default=2, help="units of the latent layer")
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--logdir", type=Path, default=Path("lightning_logs"))
    options = parser.parse_args(arguments)

    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)  # no tips, no list of accelerators
    warnings.filterwarnings("ignore", ".*does not have many workers")  # the data are in memory
    warnings.filterwarnings("ignore", ".*LeafSpec.* is deprecated")  # Lightning's own
    torch.set_num_threads(1)
    seed_everything(0, verbose=False)
    table = load_table(options.csv)
    names = [str(name) for name in table.columns]
    train, val = split(table)
    model = Autoencoder(len(names), options.latent)
    logger = TensorBoardLogger(options.logdir, name="autoencoder", version="", default_hp_metric=False)
    shutil.rmtree(logger.log_dir, ignore_errors=True)  # or TensorBoard would show old and new curves as one
    latent = "encoder.2"
    single = SeparationMonitor(
        analyses=[
            PermutationImportance(feature_names=names),
            FeatureInformation(feature_names=names, layers=[latent]),
            LayerInformation(edges="epoch"),
            Ablation(),
        ],
        every_n_epochs=20,
    )
    grouped = SeparationMonitor(
        analyses=[PermutationImportance(feature_names=names, groups="correlated")], every_n_epochs=20, name="together"
    )
    trainer = Trainer(
        callbacks=[single, grouped],
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
    trainer.fit(model, DataLoader(train, batch_size=16, shuffle=True), DataLoader(val, batch_size=256))
    records = [load_run(Path(logger.log_dir) / name).records[-1] for name in ("separation", "together")]
    print(format_table(records[0], records[1], latent))
    print("\nEvery repeat, and what moves which output, in the figures:\n")
    print(f"    tensorboard --logdir {options.logdir / 'autoencoder'}")


if __name__ == "__main__":
    main()
