"""A monitor that is set up in a YAML file and on the command line, by LightningCLI.

Everything of the Trainer, the network, the data, the monitor and each of its analyses is set in ``config.yaml``, and
can be set anew on the command line. With ``lightning.pytorch`` in place of ``pytorch_lightning`` in the two lines below
it is all the same.

    python -m pip install -e ".[cli,examples]"
    python examples/cli/main.py fit --config examples/cli/config.yaml
    python examples/cli/main.py fit --config examples/cli/config.yaml --trainer.callbacks.every_n_epochs=1
    python examples/cli/main.py fit --config examples/cli/config.yaml --trainer.callbacks.analyses+=Selectivity
    python examples/cli/main.py fit --config examples/cli/config.yaml --print_config=comments
    python examples/cli/main.py fit --trainer.callbacks+=SeparationMonitor --trainer.callbacks.every_n_epochs=4
    python examples/cli/main.py fit --trainer.callbacks.help=SeparationMonitor
    tensorboard --logdir lightning_logs

``--trainer.callbacks.<argument>`` sets an argument of the last callback in the list, so the monitor is the last of
``config.yaml``; those of the others are set in the file. Of the monitor's analyses it is the last, too:
``--trainer.callbacks.analyses.<argument>``.
"""

from __future__ import annotations

import torch
from pytorch_lightning import LightningDataModule, LightningModule
from pytorch_lightning.cli import LightningCLI
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

# A command line knows only what is imported by a short name, as in --trainer.callbacks+=SeparationMonitor.
from lightning_separation import SeparationMonitor  # noqa: F401


class Digits(LightningDataModule):
    """Handwritten digits, 8 x 8 pixels: three of four are trained on, the others are for validation.

    Args:
        batch_size: Digits in a batch.
    """

    def __init__(self, batch_size: int = 64) -> None:
        super().__init__()
        self.batch_size = batch_size
        digits = load_digits()
        images = torch.tensor(digits.data / 16, dtype=torch.float32)
        self.digits = TensorDataset(images, torch.as_tensor(digits.target, dtype=torch.int64))

    def train_dataloader(self) -> DataLoader:
        """Those that are trained on, in random order."""
        return self._loader([i for i in range(len(self.digits)) if i % 4], shuffle=True)

    def val_dataloader(self) -> DataLoader:
        """The others."""
        return self._loader([i for i in range(len(self.digits)) if not i % 4], shuffle=False)

    def _loader(self, indices: list[int], *, shuffle: bool) -> DataLoader:
        return DataLoader(torch.utils.data.Subset(self.digits, indices), self.batch_size, shuffle=shuffle)


class Classifier(LightningModule):
    """An MLP. Nothing in it knows that it is watched.

    Args:
        hidden: Units of each of the two hidden layers.
        learning_rate: Of Adam.
    """

    def __init__(self, hidden: int = 32, learning_rate: float = 3e-3) -> None:
        super().__init__()
        self.learning_rate = learning_rate
        self.hidden1 = nn.Sequential(nn.Linear(64, hidden), nn.ReLU())
        self.hidden2 = nn.Sequential(nn.Linear(hidden, hidden), nn.ReLU())
        self.logits = nn.Linear(hidden, 10)

    def forward(self, images: Tensor) -> Tensor:
        """Logits ``[N, 10]`` of images ``[N, 64]``."""
        return self.logits(self.hidden2(self.hidden1(images)))

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Cross-entropy of a batch."""
        images, labels = batch
        return cross_entropy(self(images), labels)

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Log the accuracy."""
        images, labels = batch
        self.log("val_acc", (self(images).argmax(1) == labels).float().mean(), prog_bar=True)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Adam."""
        return torch.optim.Adam(self.parameters(), self.learning_rate)


if __name__ == "__main__":
    LightningCLI(Classifier, Digits)
