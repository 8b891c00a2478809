"""Fits that one process and two must see alike; run as a script, all that are named, under ``strategy="ddp"``."""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from pytorch_lightning import LightningDataModule, LightningModule, Trainer, seed_everything
from torch import nn
from torch.utils.data import BatchSampler, DataLoader, Dataset, IterableDataset, SequentialSampler, TensorDataset

from lightning_separation import (
    Ablation,
    Confusion,
    DirectionAblation,
    FeatureInformation,
    GroupAblation,
    HenzePenrose,
    LabelSuspects,
    LayerInformation,
    MembershipTest,
    Modularity,
    NextLayerEffect,
    PermutationImportance,
    PrincipalComponents,
    Selectivity,
    SeparationMonitor,
    Significance,
    WeightContributions,
)
from lightning_separation.records import Findings
from tests.compatibility.harness import TAGS, Diary, outcome
from tests.helpers import Classifier, blobs, trainer

SAMPLES = blobs(per_class=20, spread=2.0)
ODD = TensorDataset(*(tensor[:59] for tensor in SAMPLES.tensors))  # two processes: one sample comes twice
TRAIN = blobs(seed=1)


def rank() -> int:
    return torch.distributed.get_rank() if torch.distributed.is_initialized() else 0


class Still(Classifier):
    """Its weights stay as they are: one process and two have the same, whatever their batches."""

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.0)


class Itself(Still):
    """Its step calls ``self(x)``."""

    def forward(self, x):
        return self.net(x)

    def training_step(self, batch, batch_idx):
        return self.loss(self(batch[0]), batch[1])

    def validation_step(self, batch, batch_idx, dataloader_idx=0):
        self.log("val_loss", self.loss(self(batch[0]), batch[1]), sync_dist=True)


class Case(NamedTuple):
    """What is run.

    Attributes:
        monitor: Makes the monitor.
        module: Makes the module.
        data: Makes the validation loader.
        settings: Of the Trainer.
        go: Runs it; None: ``fit``.
    """

    monitor: Callable[[], SeparationMonitor] = SeparationMonitor
    module: Callable[[], LightningModule] = Still
    data: Callable[[], Any] = lambda: DataLoader(ODD, 8)
    settings: dict[str, Any] = {}  # noqa: RUF012
    go: Callable[[Trainer, LightningModule, Any], Any] | None = None


class Reads(IterableDataset):
    """Samples one after the other; of several processes each may read only its own, or the first all."""

    def __init__(self, which: str) -> None:
        self.which = which

    def __iter__(self):
        others, numbers = torch.distributed.is_initialized() and self.which != "all", range(len(SAMPLES))
        if others and self.which == "shards":
            numbers = numbers[rank() :: 2]
        if others and self.which == "first":
            numbers = numbers if rank() == 0 else []
        return (SAMPLES[i] for i in numbers)


class Words(Dataset):
    """Sequences; how long depends on the sample, batches are as long as their longest."""

    def __len__(self):
        return 40

    def __getitem__(self, i):
        generator = torch.Generator().manual_seed(i)
        return torch.randn(3 + i % 5 + 4 * (i % 2), 6, generator=generator) + i % 2, i % 2


def padded(samples):
    return nn.utils.rnn.pad_sequence([x for x, _ in samples], batch_first=True), torch.tensor([y for _, y in samples])


class Sequences(Still):
    def __init__(self):
        super().__init__(nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3)))

    def training_step(self, batch, batch_idx):
        return self.loss(self.net(batch[0]).mean(1), batch[1])

    def validation_step(self, batch, batch_idx, dataloader_idx=0):
        self.log("val_loss", self.loss(self.net(batch[0]).mean(1), batch[1]))


class FailsInOne(HenzePenrose):
    """An analysis of the user's own that fails in the second process."""

    def measure(self, layer, snapshot):
        if rank() == 1 or not torch.distributed.is_initialized():
            raise RuntimeError("out of luck")
        return super().measure(layer, snapshot)


class Whole:
    """An analysis of the user's own, made by one process."""

    name, needs_classes = "whole", False

    def compute(self, snapshot):
        return Findings({"rows": ()}, {layer: {"rows": len(snapshot.activations(layer))} for layer in snapshot.layers})


class FailsBefore(SeparationMonitor):
    """The user's own monitor whose hook fails in the second process."""

    def __init__(self, **settings: Any) -> None:
        super().__init__([HenzePenrose()], target_fn=_target, **settings)


def _target(batch):
    if rank() == 1:
        raise RuntimeError("no target here")
    return batch[1]


class Tally:
    """An analysis of the user's own that remembers."""

    needs_classes = False

    def __init__(self, name: str, every_n_epochs: int) -> None:
        self.name, self.every_n_epochs, self.calls = name, every_n_epochs, 0

    def compute(self, snapshot):
        self.calls += 1
        return Findings({"calls": ()}, {"input": {"calls": self.calls}})


class Takes(nn.Module):
    """Is given, beside the data, something that no other process can be sent."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(6, 3)

    def forward(self, x, activation):
        return activation(self.linear(x))


class GivesFunctions(Still):
    def __init__(self) -> None:
        super().__init__(Takes())

    def training_step(self, batch, batch_idx):
        return self.loss(self.net(batch[0], lambda x: x.tanh()), batch[1])

    def validation_step(self, batch, batch_idx, dataloader_idx=0):
        self.net(batch[0], lambda x: x.tanh())


class Communicates(nn.Linear):
    """Waits in each call for the other processes."""

    def forward(self, x):
        made = super().forward(x)
        if torch.distributed.is_initialized():
            torch.distributed.all_reduce(torch.zeros(1))
        return made


class Batches(BatchSampler):
    """The user's own."""


class LoaderInFirst(LightningDataModule):
    """Its training loader can be made by one process only."""

    def train_dataloader(self):
        if rank() == 1:
            raise RuntimeError("no training loader here")
        return DataLoader(TRAIN, 8)

    def val_dataloader(self):
        return DataLoader(ODD, 8)


def everything(**settings: Any) -> SeparationMonitor:
    made = [HenzePenrose(), Significance(), Ablation(), PrincipalComponents(), LabelSuspects(), Confusion()]
    made += [GroupAblation(fraction=1), NextLayerEffect(fraction=1), LayerInformation(), Modularity()]
    made += [PermutationImportance(repeats=3), WeightContributions(), Whole(), Selectivity(), FeatureInformation()]
    made += [DirectionAblation(count=4)]
    return SeparationMonitor(made, **settings)


def validate_twice(t: Trainer, module: LightningModule, loaders: Any) -> None:
    t.validate(module, loaders[1], verbose=False)
    t.test(module, loaders[1], verbose=False)


CASES = {
    "trained": Case(module=Classifier),
    "without-monitor": Case(module=Classifier),
    "default": Case(),
    "everything": Case(everything),
    "capped": Case(lambda: SeparationMonitor([HenzePenrose(), LabelSuspects()], samples_per_class=7)),
    "step-calls-itself": Case(lambda: SeparationMonitor([HenzePenrose(), Ablation()]), Itself),
    "little-memory": Case(lambda: SeparationMonitor(max_memory="15KB")),
    "without-classes": Case(
        lambda: SeparationMonitor([PrincipalComponents(), LayerInformation()], target_fn=False, max_samples=25)
    ),
    "shuffled": Case(lambda: SeparationMonitor([HenzePenrose()]), data=lambda: DataLoader(ODD, 8, shuffle=True)),
    "all-read-all": Case(lambda: SeparationMonitor([HenzePenrose()]), settings={"use_distributed_sampler": False}),
    "iterable-all": Case(lambda: SeparationMonitor([HenzePenrose()]), data=lambda: DataLoader(Reads("all"), 8)),
    "iterable-shards": Case(lambda: SeparationMonitor([HenzePenrose()]), data=lambda: DataLoader(Reads("shards"), 8)),
    "one-without-data": Case(data=lambda: DataLoader(Reads("first"), 8)),
    "sequences": Case(
        lambda: SeparationMonitor([HenzePenrose(), Significance()], target_fn=lambda batch: batch[1]),
        Sequences,
        lambda: DataLoader(Words(), 4, collate_fn=padded),
    ),
    "half-precision": Case(lambda: SeparationMonitor([HenzePenrose()]), settings={"precision": "bf16-mixed"}),
    "fails-in-one": Case(lambda: SeparationMonitor([FailsInOne(), Significance()])),
    "no-target-in-one": Case(FailsBefore),
    "rhythms": Case(lambda: SeparationMonitor([Tally("a", 2), Tally("b", 1)]), settings={"max_epochs": 4}),
    "own-batches": Case(
        lambda: SeparationMonitor([HenzePenrose()]),
        data=lambda: DataLoader(ODD, batch_sampler=Batches(SequentialSampler(ODD), 8, False)),
    ),
    "cannot-be-sent": Case(lambda: SeparationMonitor([HenzePenrose(), Ablation()]), GivesFunctions),
    "communicates": Case(
        lambda: SeparationMonitor([HenzePenrose(), Ablation(), PermutationImportance(repeats=2)]),
        lambda: Still(nn.Sequential(Communicates(6, 3))),
        lambda: DataLoader(SAMPLES, 10),
    ),
    "validate-and-test": Case(lambda: SeparationMonitor([HenzePenrose()]), go=validate_twice),
    "training-loader-in-one": Case(
        lambda: SeparationMonitor([HenzePenrose()], splits=("val", "train")),
        go=lambda t, module, _: t.validate(module, datamodule=LoaderInFirst(), verbose=False),
    ),
    "training-data": Case(
        lambda: SeparationMonitor(
            [HenzePenrose(), Significance(), MembershipTest(num_permutations=19)], splits=("val", "train")
        )
    ),
}


def run(root: Path, name: str, **settings: Any) -> None:
    """Run a case; what each process has in the end is left in ``<root>/<name>-<rank>.json``."""
    case = CASES[name]
    seed_everything(7, verbose=False)
    module, diary = case.module(), Diary()
    monitors = [] if name == "without-monitor" else [case.monitor()]
    t = trainer(root / name, *monitors, diary, **{**settings, **case.settings})
    train = (
        DataLoader(Words(), 4, collate_fn=padded) if case.module is Sequences else DataLoader(TRAIN, 10, shuffle=True)
    )
    loaders = (train, case.data())
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        if case.go is None:
            t.fit(module, *loaders)
        else:
            case.go(t, module, loaders)
    found = outcome(t, module, diary, TAGS)
    told = {
        "log_dir": str(t.log_dir),
        "folders": [str(monitor.folder) for monitor in monitors],
        "metrics": {key: value.item() for key, value in t.callback_metrics.items()},
        "weights": found.weights,
        "optimizers": found.optimizers,
        "randoms": found.randoms,
        "diary": json.loads(json.dumps(found.diary)),
        "hooks": found.hooks,
        "warnings": [str(warning.message) for warning in caught],
    }
    (root / f"{name}-{t.global_rank}.json").write_text(json.dumps(told))


if __name__ == "__main__":
    folder, processes, *names = sys.argv[1:]
    torch.set_num_threads(1)
    CASES["raises"] = Case(lambda: SeparationMonitor([FailsInOne()], on_error="raise"))
    for case_name in names:
        run(Path(folder), case_name, strategy="ddp", devices=int(processes))
