"""Which layers differ between three runs, since when, and is it more than chance?

Three networks learn handwritten digits: one as it should be, one on random labels, one with a fifth of the width. All
are validated on the same digits with their true labels, and the monitor looks at as many training samples beside:

- random labels: the deeper a layer, the worse it tells the digits apart, from early on. On its training samples the
  last layer nevertheless separates the random labels: they were learnt by heart.
- small network: all its layers are a little worse, by less than the pairs of digits differ among themselves.

A difference between two single runs may be one of their seeds. `--seeds 3` trains each variant three times and
compares the variants with the run as the unit.

    python -m pip install -e ".[examples]"
    python examples/compare_runs.py
    lightning-separation compare lightning_logs/compare_runs/*_0 --output comparison
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

from lightning_separation import Confusion, HenzePenrose, LabelSuspects, SeparationMonitor, load_run
from lightning_separation.runs import Comparison, Run, compare_groups

COMMAND = "lightning-separation compare"
WIDTHS = {"baseline": (128, 64, 32), "random_labels": (128, 64, 32), "small": (24, 12, 6)}


class Classifier(LightningModule):
    """An MLP with three hidden layers."""

    def __init__(self, widths: tuple[int, int, int]) -> None:
        super().__init__()
        first, second, third = widths
        self.layer1 = nn.Sequential(nn.Linear(64, first), nn.ReLU())
        self.layer2 = nn.Sequential(nn.Linear(first, second), nn.ReLU())
        self.layer3 = nn.Sequential(nn.Linear(second, third), nn.ReLU())
        self.logits = nn.Linear(third, 10)

    def forward(self, images: Tensor) -> Tensor:
        """Logits ``[N, 10]`` of images ``[N, 64]``."""
        return self.logits(self.layer3(self.layer2(self.layer1(images))))

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Cross-entropy of a batch."""
        images, labels = batch
        return cross_entropy(self(images), labels)

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Log the accuracy."""
        images, labels = batch
        self.log("accuracy", (self(images).argmax(1) == labels).float().mean(), batch_size=len(labels))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Adam, without any regularisation: memorising shall be possible."""
        return torch.optim.Adam(self.parameters(), lr=2e-3)


def monitor(every_n_epochs: int) -> SeparationMonitor:
    """The part that this example is about: both splits, and what is compared between runs."""
    return SeparationMonitor(
        analyses=[HenzePenrose(), Confusion(), LabelSuspects()],
        layers=["layer?", "logits"],
        splits=("val", "train"),
        every_n_epochs=every_n_epochs,
        samples_per_class=60,
    )


def load_data(random_labels: bool) -> tuple[TensorDataset, TensorDataset]:
    """Half of the digits to train on, with true or with shuffled labels, and half to validate with their true ones."""
    images, labels = load_digits(return_X_y=True)
    halves = train_test_split(images / 16, labels, test_size=0.5, stratify=labels, random_state=0)
    train_images, images, train_labels, labels = (torch.as_tensor(half) for half in halves)
    if random_labels:
        train_labels = train_labels[torch.randperm(len(train_labels))]
    return TensorDataset(train_images.float(), train_labels), TensorDataset(images.float(), labels)


def train(variant: str, seed: int, epochs: int, logdir: Path) -> Run:
    """Train and watch one network; its run goes to ``<logdir>/compare_runs/<variant>_<seed>``."""
    seed_everything(seed, verbose=False)
    model = Classifier(WIDTHS[variant])
    data, validation = load_data(random_labels=variant == "random_labels")
    logger = TensorBoardLogger(logdir, name="compare_runs", version=f"{variant}_{seed}", default_hp_metric=False)
    shutil.rmtree(logger.log_dir, ignore_errors=True)  # or TensorBoard would show old and new curves as one
    trainer = Trainer(
        callbacks=[monitor(every_n_epochs=max(1, epochs // 8))],
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
    trainer.fit(model, DataLoader(data, batch_size=32, shuffle=True), DataLoader(validation, batch_size=256))
    print(f"{variant.replace('_', ' ')}, seed {seed}: accuracy {trainer.callback_metrics['accuracy'].item():.2f}")
    return load_run(logger.log_dir)


def format_comparison(found: Comparison) -> str:
    """The last epoch's differences as text."""
    header = f"{'layer':8}{'mean':>8}{'baseline':>10}{'difference':>12}{'95% interval':>20}{'q':>8}  since epoch"
    lines = [found.title, header]
    since = found.since()
    for row in found.last:
        numbers = f"{row.mean:8.3f}{row.other_mean:10.3f}{row.effect:+12.3f}"
        epoch = "not shown" if since[row.layer] is None else since[row.layer]
        lines.append(f"{row.layer:8}{numbers}{f'{row.low:+.3f} to {row.high:+.3f}':>20}{row.q_value:8.3f}  {epoch}")
    told = "q: p adjusted for the number of layers and epochs; not shown: q is not below 0.05"
    return "\n".join([*lines, told, *found.notes])


def format_splits(runs: dict[str, Run]) -> str:
    """The last epoch's separation of training and validation samples by layer."""
    lines = ["Separation at the end", f"{'':8}" + "".join(f"{name.replace('_', ' '):>24}" for name in runs)]
    lines.append("layer   " + "".join(f"{split:>12}" for _ in runs for split in ("validation", "train")))
    gaps = [run.gap().last for run in runs.values()]
    for rows in zip(*gaps, strict=True):
        lines.append(f"{rows[0].layer:8}" + "".join(f"{row.other_mean:12.3f}{row.mean:12.3f}" for row in rows))
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> None:
    """Train all variants, print how they differ and how to look at it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--epochs", type=int, default=160, help="memorising random labels takes about 150")
    parser.add_argument("--seeds", type=int, default=1, help="networks of each variant")
    parser.add_argument("--logdir", type=Path, default=Path("lightning_logs"))
    options = parser.parse_args(arguments)

    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)  # no tips, no list of accelerators
    warnings.filterwarnings("ignore", ".*does not have many workers")  # the data are in memory
    warnings.filterwarnings("ignore", ".*LeafSpec.* is deprecated")  # Lightning's own
    torch.set_num_threads(1)  # so small a network gains nothing from more, and any machine gets the same numbers
    runs = {
        variant: [train(variant, seed, options.epochs, options.logdir) for seed in range(options.seeds)]
        for variant in WIDTHS
    }
    print(f"\n{format_splits({variant: found[0] for variant, found in runs.items()})}\n")
    baseline = runs["baseline"][0]
    pairs = [runs[variant][0].compare(baseline) for variant in WIDTHS if variant != "baseline"]
    found = compare_groups(runs) if options.seeds > 1 else pairs
    print("\n\n".join(format_comparison(comparison) for comparison in found))
    print(f"\n{found[0].assumes}")

    logs = options.logdir / "compare_runs"
    print(f"\nOne page with tables and figures, then the curves:\n\n    {COMMAND} {logs}/*_0 --output comparison")
    print(f"    tensorboard --logdir {logs}")


if __name__ == "__main__":
    main()
