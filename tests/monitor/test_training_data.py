"""The training data's sample: the right numbers, as many as of the validation data, and nothing disturbed."""

import os
import random
from collections import deque

import numpy as np
import pytest
import torch
from lightning_fabric.utilities.distributed import DistributedSamplerWrapper
from pytorch_lightning import Callback, LightningDataModule, seed_everything
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn
from torch.utils.data import (
    BatchSampler,
    ConcatDataset,
    DataLoader,
    Dataset,
    DistributedSampler,
    IterableDataset,
    Subset,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
    get_worker_info,
)
from torchmetrics.classification import MulticlassAccuracy

from lightning_separation import (
    HenzePenrose,
    LabelSuspects,
    LayerInformation,
    MembershipTest,
    SeparationMonitor,
    load_run,
)
from lightning_separation.capture.dataset_index import indices_given
from lightning_separation.functional import henze_penrose_divergence
from lightning_separation.train_split import reading
from tests.compatibility.harness import run_twice
from tests.helpers import Classifier, blobs, hooks, loader, mlp, trainer

BOTH = {"splits": ("val", "train"), "emit": ["scalars"], "analyses": [HenzePenrose()]}


def watched(root, module=None, train=None, val=None, monitor=None, **settings):
    monitor = SeparationMonitor(**BOTH, on_error="raise") if monitor is None else monitor
    t = trainer(root, monitor, **{"num_sanity_val_steps": 0, **settings})
    module = Classifier() if module is None else module
    t.fit(module, loader(blobs(seed=1), shuffle=True) if train is None else train, val or loader(blobs(per_class=9)))
    return t, load_run(t.log_dir), module


def divergence(run, layer, split="train"):
    records = (run.train if split == "train" else run).records
    return records[-1].findings["henze_penrose"][layer]["divergence"]


def test_the_numbers_are_those_of_the_training_samples_in_eval_mode(tmp_path):
    _, run, module = watched(tmp_path)
    assert run.train.epochs == run.epochs == [0, 1]
    assert run.train.records[-1].split == "train"
    indices = run.info["training_sample"]
    assert indices == sorted(set(indices))
    x, y = (
        torch.stack([torch.as_tensor(part) for part in parts])
        for parts in zip(*(blobs(seed=1)[i] for i in indices), strict=True)
    )
    assert y.bincount().tolist() == [9, 9, 9] == run.records[-1].counts.tolist()
    module.eval()
    with torch.no_grad():
        expected = henze_penrose_divergence(module.net(x), y)
    np.testing.assert_array_equal(divergence(run, "net.3"), expected)
    x, y = blobs(per_class=9).tensors
    with torch.no_grad():
        np.testing.assert_array_equal(divergence(run, "net.3", "val"), henze_penrose_divergence(module.net(x), y))


def test_the_gap_is_logged_and_drawn(tmp_path):
    monitor = SeparationMonitor(splits=("val", "train"), analyses=[HenzePenrose()], on_error="raise")
    t, run, _ = watched(tmp_path, monitor=monitor)
    last = t.callback_metrics
    gap = last["separation_train/net.3"] - last["separation/net.3"]
    assert last["separation_gap/net.3"].item() == pytest.approx(gap.item(), abs=1e-6)
    assert run.gap().last[-1].effect == pytest.approx(gap.item(), abs=1e-6)
    seen = EventAccumulator(t.log_dir).Reload().Tags()
    assert "separation_figures/train_validation_gap" in seen["images"]
    assert "separation_train_figures/depth" in seen["images"]
    assert "separation_tables/gap/text_summary" in seen["tensors"]
    assert {"separation_train/net.3", "separation_gap/input", "separation_train_min/net.0"} <= set(seen["scalars"])


class Augmented(Dataset):
    """Draws from every generator there is, as augmentations do."""

    def __init__(self):
        self.data = blobs(seed=1)

    def __len__(self):
        return len(self.data)

    def __getitem__(self, index):
        x, y = self.data[index]
        return x + 0.1 * torch.randn(6) + 0.1 * random.random() + 0.1 * np.float32(np.random.rand()), y  # noqa: NPY002


class Metrics(Classifier):
    """Batch norm, dropout, a metric, and something counted before the network is called."""

    def __init__(self):
        super().__init__(nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 3)))
        self.accuracy = MulticlassAccuracy(3)
        self.seen, self.kept = 0, []

    def validation_step(self, batch, batch_idx):
        self.seen += len(batch[1])
        self.kept.append(len(batch[1]))
        self.log("batch_mean", batch[0].mean())
        try:
            scores = self.net(batch[0])
        except Exception:
            raise AssertionError("nobody may notice") from None
        self.accuracy.update(scores, batch[1])
        self.log("accuracy", self.accuracy)


@pytest.mark.parametrize("workers", [0, 2])
def test_training_and_the_users_metrics_are_bit_identical(tmp_path, workers):
    found = []
    for splits in (("val",), ("val", "train")):
        seed_everything(3, verbose=False)
        module = Metrics()
        train = loader(Augmented(), shuffle=True, num_workers=workers, persistent_workers=workers > 0)
        monitor = SeparationMonitor(splits=splits, emit=["scalars"], on_error="raise")
        t, _, _ = watched(tmp_path / str(len(splits)), module, train, monitor=monitor, max_epochs=3)
        metrics = {name: t.callback_metrics[name].item() for name in ("accuracy", "batch_mean")}
        drawn = random.random(), np.random.rand(), torch.rand(1).item()  # noqa: NPY002
        found.append((module.state_dict(), metrics, module.seen, module.kept, drawn))
        assert hooks(module) == 0
        assert not {"log", "log_dict"} & set(vars(module))
    (weights, *rest), (same, *as_before) = found
    assert rest == as_before
    assert all(torch.equal(weights[name], same[name]) for name in weights)


def test_augmentations_are_drawn_once(tmp_path):
    _, run, _ = watched(tmp_path, train=loader(Augmented(), shuffle=True), max_epochs=3)
    inputs = run.train.array("henze_penrose", "divergence")[:, 0]
    np.testing.assert_array_equal(inputs[0], inputs[1])
    np.testing.assert_array_equal(inputs[0], inputs[2])


def test_what_the_step_does_before_the_network_is_done(tmp_path):
    class Scales(Classifier):
        def validation_step(self, batch):  # no batch_idx
            self.log("val_loss", self.loss(self.net(batch["image"].flatten(1) / 10), batch["label"]))

        def training_step(self, batch, batch_idx):
            return self.loss(self.net(batch["image"].flatten(1) / 10), batch["label"])

    class Images(Dataset):
        def __init__(self, seed):
            self.data = blobs(seed=seed)

        def __len__(self):
            return len(self.data)

        def __getitem__(self, index):
            x, y = self.data[index]
            return {"image": x.reshape(2, 3), "label": y}

    _, run, module = watched(tmp_path, Scales(), loader(Images(1), shuffle=True), loader(Images(0)))
    x = torch.stack([blobs(seed=1)[i][0] for i in run.info["training_sample"]])
    y = torch.stack([blobs(seed=1)[i][1] for i in run.info["training_sample"]])
    module.eval()
    with torch.no_grad():
        np.testing.assert_array_equal(divergence(run, "net.3"), henze_penrose_divergence(module.net(x / 10), y))


def test_several_networks_and_the_module_itself(tmp_path):
    class Two(Classifier):
        def __init__(self):
            super().__init__()
            self.head = nn.Linear(3, 3)

        def validation_step(self, batch, batch_idx):
            self.log("val_loss", self.loss(self.head(self.net(batch[0])), batch[1]))

    class Itself(Classifier):
        def forward(self, x):
            return self.net(x)

        def validation_step(self, batch, batch_idx):
            self.log("val_loss", self.loss(self(batch[0]), batch[1]))

    _, run, _ = watched(tmp_path / "two", Two())
    assert run.train.layers == ["input", "net.0", "net.1", "net.3", "head"]
    _, run, _ = watched(tmp_path / "itself", Itself())
    assert run.train.layers == ["input", "net.0", "net.1", "net.3"]


def test_several_validation_loaders_and_mixed_precision(tmp_path):
    val = [loader(blobs()), loader(blobs(seed=4, per_class=7))]
    monitor = SeparationMonitor(**BOTH, dataloader_idx=1, on_error="raise")
    _, run, _ = watched(tmp_path, val=val, monitor=monitor, precision="bf16-mixed")
    assert run.train.records[-1].counts.tolist() == [7, 7, 7]


def test_a_compiled_network(tmp_path):
    module = Classifier(torch.compile(mlp(), backend="eager"))
    _, run, _ = watched(tmp_path, module, max_epochs=1)
    assert len(run.train.layers) == len(run.layers) > 2
    assert all(layer in run.train.records[0].findings["henze_penrose"] for layer in run.layers)


def test_as_many_of_each_class_as_of_the_validation_data(tmp_path):
    x, y = blobs(per_class=30, seed=1).tensors
    order = y.argsort(stable=True)  # sorted by class, and class 2 is rare
    train = TensorDataset(x[order][:64], y[order][:64])
    val = Subset(blobs(), [i for i in range(60) if blobs()[i][1] != 1 or i < 30])
    monitor = SeparationMonitor(**{**BOTH, "splits": ["val", "train"]}, samples_per_class=12)
    with pytest.warns(UserWarning, match="train: fewer samples than in the validation: 8 of class 2 are missing"):
        _, run, _ = watched(tmp_path, train=loader(train, shuffle=True), val=loader(val), monitor=monitor)
    assert run.records[-1].counts.tolist() == [12, 10, 12]
    assert run.train.records[-1].counts.tolist() == [12, 10, 4]
    assert any("unequal" in note for note in run.gap().notes) or run.gap().last[0].classes == 2


def test_resume_looks_at_the_same_samples(tmp_path):
    t, run, _ = watched(tmp_path / "a", enable_checkpointing=True)
    settings = {"max_epochs": 3}
    monitor = SeparationMonitor(**BOTH, seed=5)  # would choose others
    again = trainer(tmp_path / "b", monitor, **settings)
    again.fit(
        Classifier(), loader(blobs(seed=1)), loader(blobs(per_class=9)), ckpt_path=t.checkpoint_callback.best_model_path
    )
    assert load_run(again.log_dir).info["training_sample"] == run.info["training_sample"]
    assert load_run(again.log_dir).train.epochs == [2]


def test_without_classes(tmp_path):
    class Autoencoder(Classifier):
        def training_step(self, batch, batch_idx):
            return nn.functional.mse_loss(self.net(batch[0]), batch[0])

        def validation_step(self, batch, batch_idx):
            self.log("val_loss", nn.functional.mse_loss(self.net(batch[0]), batch[0]))

    monitor = SeparationMonitor(
        splits=("val", "train"), analyses=[LayerInformation()], target_fn=False, emit=["scalars"], on_error="raise"
    )
    _, run, _ = watched(tmp_path, Autoencoder(mlp(6, 6)), monitor=monitor)
    assert len(run.info["training_sample"]) == 27
    assert "layer_information" in run.train.records[-1].findings
    with pytest.raises(ValueError, match="no separation"):
        run.gap()


def test_label_suspects_are_named_by_their_place_in_the_training_data(tmp_path):
    x, y = blobs(per_class=40, spread=0.1, seed=1).tensors
    wrong = [4, 50, 77]
    y = y.clone()
    y[wrong] = (y[wrong] + 1) % 3
    monitor = SeparationMonitor(
        splits=("val", "train"), analyses=[LabelSuspects(), MembershipTest(num_permutations=9)], emit=["scalars"]
    )
    val = loader(blobs(per_class=40, spread=0.1))
    torch.manual_seed(0)
    _, run, _ = watched(
        tmp_path, train=loader(TensorDataset(x, y), shuffle=True), val=val, monitor=monitor, max_epochs=1
    )
    seen = set(run.info["training_sample"])
    found = {row["index"]: row for row in run.train.label_suspects() if row["layers"] == 1}
    # One or two more may hang in the tree by a wrong one alone.
    assert set(wrong) & seen <= set(found)
    assert len(found) <= len(wrong) + 2
    assert all(found[i]["label"] == str(y[i].item()) for i in found)
    assert "membership_test" in run.train.records[0].findings
    assert len(run.train.records[0].findings["membership_test"]) > 1


class Stream(IterableDataset):
    def __iter__(self):
        return iter(blobs(seed=1))


class Strange(Classifier):
    """Whose training data are no pairs."""

    def training_step(self, batch, batch_idx):
        return self.loss(self.net(batch[2]), batch[1])


@pytest.mark.parametrize(
    "train, message",
    [
        (lambda: loader(Stream()), "iterable"),
        (lambda: [loader(blobs(seed=1)), loader(blobs(seed=2))], "not one DataLoader, but a list"),
        (lambda: loader(TensorDataset(*blobs(seed=1).tensors), batch_size=None, sampler=torch.utils.data.BatchSampler(
            torch.utils.data.SequentialSampler(blobs(seed=1)), 8, False)), "makes its batches itself"),
    ],
)  # fmt: skip
def test_training_data_that_cannot_be_sampled_are_said_and_validation_goes_on(tmp_path, train, message):
    class Any(Classifier):
        def training_step(self, batch, batch_idx):
            batch = batch[0] if isinstance(batch[0], list | tuple) else batch
            return super().training_step(batch, batch_idx)

    with pytest.warns(UserWarning, match=f"no sample of the training data is analysed: .*{message}"):
        _, run, module = watched(tmp_path, Any(), train(), monitor=SeparationMonitor(**BOTH))
    assert run.epochs == [0, 1]
    assert run.train is None
    assert hooks(module) == 0


def test_a_step_that_does_not_take_training_batches_is_said(tmp_path):
    class Views(Dataset):
        def __len__(self):
            return 60

        def __getitem__(self, index):
            x, y = blobs(seed=1)[index]
            return x.tile(2), y, x

    with pytest.warns(UserWarning, match="the network does not take what validation_step makes of a .* RuntimeError"):
        _, run, module = watched(tmp_path, Strange(), loader(Views()), monitor=SeparationMonitor(**BOTH))
    assert run.epochs == [0, 1]
    assert hooks(module) == 0
    assert not {"log", "log_dict"} & set(vars(module))


def test_training_data_of_other_classes_and_too_large_ones(tmp_path):
    x, y = blobs(seed=1).tensors
    other = ConcatDataset([TensorDataset(x[:20], y[:20] % 1 + 2)])
    val = Subset(blobs(), [i for i in range(60) if blobs()[i][1] < 2])
    with pytest.warns(UserWarning, match="none of 20 samples is of a class of the validation data"):
        watched(tmp_path / "a", train=loader(other), val=loader(val), monitor=SeparationMonitor(**BOTH), max_epochs=1)
    big = TensorDataset(torch.randn(60, 6), torch.arange(60) % 3, torch.randn(60, 10_000))

    class First(Classifier):
        def training_step(self, batch, batch_idx):
            return super().training_step(batch[:2], batch_idx)

    monitor = SeparationMonitor(**BOTH, max_memory="1MB")
    with pytest.warns(UserWarning, match="the first samples need .* max_memory leaves"):
        watched(tmp_path / "b", First(), loader(big), monitor=monitor, max_epochs=1)


def test_before_training(tmp_path):
    class Data(LightningDataModule):
        def train_dataloader(self):
            return loader(blobs(seed=1), shuffle=True)

        def val_dataloader(self):
            return loader(blobs(per_class=9))

    monitor = SeparationMonitor(**BOTH, on_error="raise")
    t, module = trainer(tmp_path, monitor), Classifier()
    t.validate(module, datamodule=Data(), verbose=False)
    t.fit(module, datamodule=Data())
    run = load_run(t.log_dir)
    assert list(run.train.moments) == list(run.moments) == ["before", 0, 1]
    assert run.train.training_effect().rows[-1].versus == "before training"
    with pytest.warns(UserWarning, match="they are not known here"):
        trainer(tmp_path / "b", SeparationMonitor(**BOTH)).validate(Classifier(), loader(blobs()), verbose=False)


def test_validation_must_be_among_the_splits():
    with pytest.raises(ValueError, match='splits must have "val"'):
        SeparationMonitor(splits=("train",))
    with pytest.raises(ValueError, match="splits"):
        SeparationMonitor(splits=("val", "test"))


def same_training(root, make, train=None, *, val=None, callbacks=(), **settings):
    """Weights, validation loss and the module after fits without and with the training sample."""
    found = []
    for splits in (("val",), ("val", "train")):
        seed_everything(3, verbose=False)
        module, monitor = make(), SeparationMonitor(splits=splits, emit=["scalars"], analyses=[HenzePenrose()])
        t = trainer(root / str(len(splits)), monitor, *callbacks, num_sanity_val_steps=0, **settings)
        t.fit(module, loader(blobs(seed=1), shuffle=True) if train is None else train(), val or loader(blobs()))
        found.append((module, t))
    (plain, t), (watched_too, t2) = found
    assert all(torch.equal(a, b) for a, b in zip(plain.parameters(), watched_too.parameters(), strict=True))
    assert t.callback_metrics["val_loss"] == t2.callback_metrics["val_loss"]
    assert hooks(watched_too) == 0
    return plain, watched_too, load_run(t2.log_dir)


class TogglesGradients(Classifier):
    def validation_step(self, batch, batch_idx):
        self.net.requires_grad_(False)
        loss = self.loss(self.net(batch[0]), batch[1])
        self.net.requires_grad_(True)
        self.log("val_loss", loss)


class Swaps(Classifier):
    """Exchanges its weights for others while it validates."""

    def __init__(self):
        super().__init__()
        self.others = [torch.zeros_like(p) for p in self.net.parameters()]

    def swap(self):
        with torch.no_grad():
            for p, other in zip(self.net.parameters(), self.others, strict=True):
                kept = p.clone()
                p.copy_(other)
                other.copy_(kept)

    def validation_step(self, batch, batch_idx):
        self.swap()
        loss = self.loss(self.net(batch[0]), batch[1])
        self.swap()
        self.log("val_loss", loss)


class Keeps(Classifier):
    """Has state of every kind that a step can change before it calls the network."""

    def __init__(self):
        super().__init__()
        self.tensor, self.array = torch.zeros(()), np.zeros(1)
        self.queue, self.nested = deque(), {"list": [[]]}
        self.accuracy = MulticlassAccuracy(3)

    def validation_step(self, batch, batch_idx):
        self.tensor += 1
        self.array += 1
        self.queue.append(1)
        self.nested["list"][0].append(1)
        self.accuracy.update(batch[1], batch[1])
        self.log("val_loss", self.loss(self.net(batch[0]), batch[1]))

    def state(self):
        counted = self.accuracy.tp.sum().item() if hasattr(self.accuracy, "tp") else 0
        return self.tensor.item(), self.array.item(), len(self.queue), len(self.nested["list"][0]), counted


class Sometimes(Classifier):
    """Calls a second network in its first batch only."""

    def __init__(self):
        super().__init__()
        self.probe = nn.Linear(3, 2)
        self.seen = torch.zeros(())

    def validation_step(self, batch, batch_idx):
        scores = self.net(batch[0])
        if batch_idx == 0:
            self.probe(scores)
        self.seen += len(scores)
        self.log("val_loss", self.loss(scores, batch[1]))


@pytest.mark.parametrize("make", [TogglesGradients, Swaps, Keeps, Sometimes])
def test_steps_that_change_what_they_hold_change_it_as_without(tmp_path, make):
    odd = loader(blobs(per_class=25))  # five batches
    plain, watched_too, run = same_training(tmp_path, make, val=odd, max_epochs=3)
    if make is Keeps:
        assert plain.state() == watched_too.state()
    if make is Sometimes:
        assert plain.seen == watched_too.seen
    if make is Swaps:  # the weights that were validated are gone
        assert run.train is None
        assert any("another output than in the validation" in note for note in run.records[0].notes)
    else:
        assert run.train.epochs == [0, 1, 2]


class OwnGenerator(Dataset):
    def __init__(self):
        self.data, self.generator = blobs(seed=1), np.random.default_rng(0)

    def __len__(self):
        return len(self.data)

    def __getitem__(self, index):
        x, y = self.data[index]
        return x + self.generator.random(dtype=np.float32), y


class OpensOnce(OwnGenerator):
    """As files are opened by a worker when it first needs them."""

    opened = None

    def __getitem__(self, index):
        self.opened = self.opened or os.getpid()
        if self.opened != os.getpid():
            raise RuntimeError("opened in another process")
        return self.data[index]


@pytest.mark.parametrize("make, workers", [(OwnGenerator, 0), (OwnGenerator, 1), (OpensOnce, 0), (OpensOnce, 1)])
def test_datasets_with_state_do_not_see_it(tmp_path, make, workers):
    train = lambda: loader(make(), shuffle=True, num_workers=workers)  # noqa: E731
    _, _, run = same_training(tmp_path, Classifier, train)
    assert run.train.epochs == [0, 1]


def test_only_what_the_sampler_gives_and_the_loop_takes(tmp_path):
    allowed = list(range(0, 60, 2))
    given = loader(blobs(seed=1), sampler=SubsetRandomSampler(allowed))
    _, run, _ = watched(tmp_path / "subset", train=given)
    assert set(run.info["training_sample"]) <= set(allowed)
    repeated = WeightedRandomSampler([1.0] * 10 + [0.0] * 50, 200, generator=torch.Generator().manual_seed(0))
    monitor = SeparationMonitor(**BOTH)
    with pytest.warns(UserWarning, match="fewer samples"):
        _, run, _ = watched(tmp_path / "weighted", train=loader(blobs(seed=1), sampler=repeated), monitor=monitor)
    assert set(run.info["training_sample"]) <= set(range(10))
    many = TensorDataset(*(part.repeat_interleave(2, 0) for part in blobs(per_class=30, seed=1).tensors))
    settings = {"monitor": SeparationMonitor(**BOTH), "limit_train_batches": 1}
    with pytest.warns(UserWarning, match="fewer samples"):
        _, run, _ = watched(tmp_path / "few", train=loader(many), **settings)
    assert set(run.info["training_sample"]) <= set(range(16))
    with pytest.warns(UserWarning, match="shuffled: the sample may hold some that were not trained on"):
        watched(
            tmp_path / "some", train=loader(many, shuffle=True), **{**settings, "monitor": SeparationMonitor(**BOTH)}
        )


def averaging():
    class Averages(Callback):
        """Validates averaged weights, as EMA callbacks do."""

        def on_validation_start(self, trainer, pl_module):
            self.kept = [p.detach().clone() for p in pl_module.parameters()]
            self._scale(pl_module, [0.5 * p for p in self.kept])

        def on_validation_epoch_end(self, trainer, pl_module):
            self._scale(pl_module, self.kept)

        def _scale(self, pl_module, weights):
            with torch.no_grad():
                for p, weight in zip(pl_module.parameters(), weights, strict=True):
                    p.copy_(weight)

    return Averages()


def test_averaged_weights_are_not_compared_with_others(tmp_path):
    for order, known in (("before", False), ("after", True)):
        monitor, averages = SeparationMonitor(**BOTH), averaging()
        callbacks = [averages, monitor] if order == "before" else [monitor, averages]
        t = trainer(tmp_path / order, *callbacks, num_sanity_val_steps=0)
        t.fit(Classifier(), loader(blobs(seed=1)), loader(blobs()))
        run = load_run(t.log_dir)
        assert run.epochs == [0, 1]
        assert (run.train is not None) == known
        assert known or "weights are no longer those of the validation" in run.records[0].notes[-1]


def test_other_training_data_are_read_anew(tmp_path):
    monitor = SeparationMonitor(**BOTH)

    def inputs(seed):
        t = trainer(tmp_path / str(seed), monitor)
        t.validate(Classifier(), datamodule=Data(seed), verbose=False)
        return load_run(t.log_dir).train.array("henze_penrose", "divergence")[0, 0]

    first = inputs(1)
    with pytest.warns(UserWarning, match="another object than before: its samples are read anew"):
        second = inputs(2)
    assert not np.array_equal(first, second)


class Data(LightningDataModule):
    def __init__(self, seed):
        super().__init__()
        self.seed = seed

    def train_dataloader(self):
        return loader(blobs(seed=self.seed, spread=3.0), shuffle=True)

    def val_dataloader(self):
        return loader(blobs(per_class=9))


class Damaged(Dataset):
    def __len__(self):
        return 60

    def __getitem__(self, index):
        if index % 7 == 3:
            raise OSError("cannot be read")
        return blobs(seed=1)[index]


def drop_odd(samples):
    kept = [sample for i, sample in enumerate(samples) if i % 2 == 0]
    return torch.utils.data.default_collate(kept)


def test_trouble_with_the_training_data_costs_no_record(tmp_path):
    readable = [i for i in range(60) if i % 7 != 3]

    class Unfit(Data):
        def train_dataloader(self):
            return self.nowhere

    for name, train, message in (
        ("damaged", DataLoader(Damaged(), batch_sampler=Listed(readable)), None),
        ("collate", loader(blobs(seed=1), collate_fn=drop_odd), "collate_fn makes 8 of 16 samples"),
    ):
        monitor = SeparationMonitor(**BOTH)
        if message is None:
            _, run, _ = watched(tmp_path / name, train=train, monitor=monitor)
            assert set(run.info["training_sample"]) <= set(readable)
        else:
            with pytest.warns(UserWarning, match=message):
                _, run, _ = watched(tmp_path / name, train=train, monitor=monitor)
            assert run.train is None
            assert any(message in note for note in run.records[0].notes)
        assert run.epochs == [0, 1]
    monitor = SeparationMonitor(**BOTH, dirpath=tmp_path / "unfit")
    with pytest.warns(UserWarning, match="no sample of the training data is analysed: AttributeError"):
        trainer(tmp_path, monitor).validate(Classifier(), datamodule=Unfit(1), verbose=False)
    assert len(load_run(tmp_path / "unfit").records) == 1


class Listed:
    """A batch sampler of one's own."""

    batch_size = 8

    def __init__(self, indices):
        self.indices = indices

    def __iter__(self):
        return iter([self.indices[i : i + 8] for i in range(0, len(self.indices), 8)])

    def __len__(self):
        return -(-len(self.indices) // 8)


def test_treated_like_the_monitors_validation_loader(tmp_path):
    class Branches(Classifier):
        def validation_step(self, batch, batch_idx, dataloader_idx=0):
            x = 10 * batch[0] if dataloader_idx == 1 else torch.zeros_like(batch[0])
            self.log("val_loss", self.loss(self.net(x), batch[1]))

    val = [loader(blobs()), loader(blobs(seed=4))]
    monitor = SeparationMonitor(**BOTH, dataloader_idx=1, on_error="raise")
    _, run, _ = watched(tmp_path, Branches(), val=val, monitor=monitor, max_epochs=1)
    assert np.nanmax(divergence(run, "input")) > 0.5  # and not all at one point


def test_suspects_are_named_by_their_index_in_the_whole_dataset(tmp_path):
    x, y = blobs(per_class=40, spread=0.1).tensors
    y = y.clone()
    y[77] = (y[77] + 1) % 3
    order = torch.randperm(120, generator=torch.Generator().manual_seed(1)).tolist()
    part = Subset(TensorDataset(x, y), order)
    settings = {"analyses": [LabelSuspects()], "emit": ["scalars"]}
    monitor = SeparationMonitor(splits="val", **settings)
    _, run, _ = watched(tmp_path / "subset", val=loader(part), monitor=monitor, max_epochs=1)
    assert [row["index"] for row in run.label_suspects() if row["layers"] == 1] == [77]
    assert not any("place in the loader" in note for note in run.records[0].notes)
    monitor = SeparationMonitor(**settings)
    with pytest.warns(UserWarning, match="samples are named by their place in the loader"):
        watched(tmp_path / "shuffled", val=loader(part, shuffle=True), monitor=monitor, max_epochs=1)


class UnsendableError(Exception):
    """Pickle finds no class of its name."""


UnsendableError.__qualname__ = "main.<locals>.UnsendableError"


class OnlyHere(Dataset):
    """Cannot be read by a worker; the error cannot be sent, either."""

    def __len__(self):
        return 60

    def __getitem__(self, index):
        if get_worker_info() is not None:
            raise UnsendableError
        return blobs(seed=1)[index]


def with_function(samples):
    return *torch.utils.data.default_collate(samples), lambda: 0


def with_function_once(samples):
    batch = torch.utils.data.default_collate(samples)
    has_last = (batch[0] == blobs(seed=1)[59][0]).all(1).any()
    return *batch, (lambda: 0) if has_last else None


def needs_the_dataset(_):
    assert get_worker_info().dataset.tensors[1].shape == (60,)


class Copies(DistributedSampler):
    """Gives some of its dataset only."""

    def __iter__(self):
        return iter([index for index in super().__iter__() if index < 20])


@pytest.mark.parametrize(
    "train",
    [
        pytest.param(lambda: loader(blobs(seed=1), shuffle=True, collate_fn=with_function), id="no-batch-can-be-sent"),
        pytest.param(
            lambda: loader(blobs(seed=1), shuffle=True, collate_fn=with_function_once), id="one-batch-cannot-be-sent"
        ),
        pytest.param(lambda: loader(OnlyHere(), shuffle=True), id="an-error-that-cannot-be-sent"),
        pytest.param(
            lambda: loader(blobs(seed=1), shuffle=True, num_workers=1, worker_init_fn=needs_the_dataset),
            id="workers-that-look-at-their-dataset",
        ),
    ],
)
def test_whatever_cannot_be_sent_by_another_process_is_read_in_this_one(tmp_path, monkeypatch, train):
    monkeypatch.setattr(reading, "_PATIENCE", 5.0 if train().num_workers else 0.5)
    monitor = lambda: SeparationMonitor(**BOTH, on_error="raise")  # noqa: E731
    run, _, module = run_twice(
        tmp_path, lambda: (Classifier(), (train(), loader(blobs()))), monitor, max_epochs=1, num_sanity_val_steps=0
    )
    assert run.info["training_sample"] == list(range(60))
    assert not run.records[0].notes
    assert not run.train.records[0].notes
    x, y = blobs(seed=1).tensors
    module.eval()
    with torch.no_grad():
        np.testing.assert_array_equal(divergence(run, "net.3"), henze_penrose_divergence(module.net(x), y))


def test_what_the_loops_own_workers_cannot_send_is_said_in_one_line(tmp_path):
    class Workers(Data):
        def train_dataloader(self):
            return loader(blobs(seed=1), num_workers=1, collate_fn=with_function)

    t = trainer(tmp_path, SeparationMonitor(**BOTH, dirpath=tmp_path))
    with pytest.warns(UserWarning, match="analysed: a process that reads them fails: .*pickle local object .*$"):
        t.validate(Classifier(), datamodule=Workers(1), verbose=False)
    assert load_run(tmp_path).train is None


def among_two(sampler):
    return DistributedSamplerWrapper(sampler, num_replicas=2, rank=0, shuffle=True)


def weighted():
    weights = [1.0] * 30 + [0.0] * 30
    return WeightedRandomSampler(weights, 25, generator=torch.Generator().manual_seed(4))


DATA = blobs(seed=1)


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        pytest.param(lambda: DistributedSampler(DATA, 2, 0), range(60), id="all"),
        pytest.param(lambda: DistributedSampler(range(59), 2, 1), range(59), id="all-of-something-as-long"),
        pytest.param(lambda: Copies(DATA, 2, 0), range(20), id="the-users-own"),
        pytest.param(lambda: among_two(SubsetRandomSampler(range(1, 60, 2))), range(1, 60, 2), id="subset"),
        pytest.param(lambda: among_two(weighted()), set(weighted()), id="weighted"),
        pytest.param(weighted, set(weighted()), id="weighted-in-one-process"),
    ],
)
@pytest.mark.parametrize("batches", [BatchSampler, type("Own", (BatchSampler,), {})], ids=["batches", "own-batches"])
def test_one_of_several_processes_finds_what_all_are_given(make, expected, batches):
    given = DataLoader(DATA, batch_sampler=batches(make(), 8, False))
    before = torch.get_rng_state()
    assert indices_given(given) == indices_given(given) == sorted(expected)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(0)
    found = list(given.batch_sampler.sampler)
    torch.manual_seed(0)
    assert found == list(make())
