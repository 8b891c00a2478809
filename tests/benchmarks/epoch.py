"""What the default monitor costs: epochs of a real Trainer with and without it, in turn.

    python tests/benchmarks/epoch.py [--rounds 3]

MLP 784-512-512-10, 20,000 training and 5,000 validation samples, batch 128. In each round every contestant trains
eleven epochs from the same weights. The first warms up and chooses the sample; the mean of the others counts: figures
of single layers are not drawn in each. The share is that of the medians over all rounds.
"""

from __future__ import annotations

import argparse
import logging
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from itertools import pairwise

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_separation import HenzePenrose, SeparationMonitor, Significance


class Model(LightningModule):
    """The network of the comparison."""

    def __init__(self) -> None:
        super().__init__()
        widths = (784, 512, 512)
        hidden = [part for a, b in pairwise(widths) for part in (nn.Linear(a, b), nn.ReLU())]
        self.net = nn.Sequential(*hidden, nn.Linear(512, 10))

    def training_step(self, batch: list[Tensor], _: int) -> Tensor:
        """Cross entropy."""
        return nn.functional.cross_entropy(self.net(batch[0]), batch[1])

    def validation_step(self, batch: list[Tensor], _: int) -> None:
        """Cross entropy, logged."""
        self.log("val_loss", nn.functional.cross_entropy(self.net(batch[0]), batch[1]))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Plain SGD."""
        return torch.optim.SGD(self.parameters(), 0.01)


class EpochTimer(Callback):
    """Seconds from one epoch's start to the next's: training, validation and everything that callbacks do."""

    def __init__(self) -> None:
        self.marks: list[float] = []

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Mark."""
        self.marks.append(time.perf_counter())

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Mark."""
        self.marks.append(time.perf_counter())


def digits_like(num: int, seed: int) -> TensorDataset:
    """Ten classes in 784 dimensions, not quite separated."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(10, 784, generator=torch.Generator().manual_seed(0))
    target = torch.randint(10, (num,), generator=generator)
    return TensorDataset(0.1 * centres[target] + torch.randn(num, 784, generator=generator), target)


def seconds_per_epoch(callbacks: list[Callback], train: DataLoader, val: DataLoader) -> float:
    """Train eleven epochs; the mean time of the last ten."""
    timer = EpochTimer()
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(
            max_epochs=11,
            callbacks=[timer, *callbacks],
            default_root_dir=folder,
            enable_progress_bar=False,
            enable_model_summary=False,
            enable_checkpointing=False,
            num_sanity_val_steps=0,
            accelerator="cpu",
        )
        trainer.fit(Model(), train, val)
    return (timer.marks[-1] - timer.marks[1]) / (len(timer.marks) - 2)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    train = DataLoader(digits_like(20_000, 1), batch_size=128, shuffle=True)
    val = DataLoader(digits_like(5_000, 2), batch_size=128)
    contestants: dict[str, Callable[[], list[Callback]]] = {
        "none": list,
        "`[HenzePenrose()]`, scalars only": lambda: [SeparationMonitor([HenzePenrose()], emit=["scalars"])],
        "`[HenzePenrose()]`": lambda: [SeparationMonitor([HenzePenrose()])],
        "`[HenzePenrose(), Significance()]`, scalars only": lambda: [
            SeparationMonitor([HenzePenrose(), Significance()], emit=["scalars"])
        ],
        "default, scalars only": lambda: [SeparationMonitor(emit=["scalars"])],
        "default": lambda: [SeparationMonitor()],
    }
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, make in contestants.items():
            seconds[name].append(seconds_per_epoch(make(), train, val))
    base = statistics.median(seconds["none"])
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {rounds} rounds of 10 epochs\n")
    print("| monitor | seconds an epoch (median of the rounds) | more than without |\n|---|---|---|")
    for name, values in seconds.items():
        print(f"| {name} | {statistics.median(values):.2f} | {(statistics.median(values) - base) / base:+.0%} |")


if __name__ == "__main__":
    main()
