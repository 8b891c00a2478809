"""Whatever data a fit is given: what is recorded is right, or it is said why not; the fit is the same as without."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from pytorch_lightning import LightningDataModule, LightningModule
from pytorch_lightning.utilities import CombinedLoader
from torch import Tensor, nn
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    IterableDataset,
    SequentialSampler,
    Subset,
    TensorDataset,
)

from lightning_separation import Ablation, HenzePenrose, Run, SeparationMonitor, Significance
from lightning_separation.capture import Snapshot
from lightning_separation.functional import henze_penrose_divergence
from lightning_separation.records import Findings, Record
from tests.compatibility.harness import run_twice
from tests.helpers import Classifier, blobs, loader, mlp

X, Y = blobs().tensors
COMPUTES_NOTHING = (nn.Dropout, nn.Flatten)
EVERY = ["input", "net.0", "net.1", "net.3"]
NO_CLASSES = "; what needs classes is left out: henze_penrose, significance"


class Rows:
    """Keeps what every layer made of the sample."""

    name = "rows"
    needs_classes = False

    def compute(self, snapshot: Snapshot) -> Findings:
        found = {}
        for layer in snapshot.layers:
            try:
                found[layer] = {"rows": snapshot.activations(layer).flatten(1).cpu()}
            except ValueError:  # said by the other analyses
                continue
        return Findings({"rows": ("sample", "feature")}, found)


def monitor(*more: Any, **settings: Any) -> Callable[[], SeparationMonitor]:
    """What makes the monitor of these tests; drawing figures takes most of the time, and here adds nothing."""
    settings = {"emit": ["scalars"], **settings}
    return lambda: SeparationMonitor([Rows(), HenzePenrose(), Significance(), *more], **settings)


class Unpacks(Classifier):
    """Makes inputs and classes of whatever a batch is."""

    def __init__(self, unpack: Callable[[Any], Sequence[Tensor]] = tuple, net: nn.Module | None = None) -> None:
        super().__init__(net)
        self.unpack = unpack

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        x, y = self.unpack(batch)
        return self.loss(self.net(x), y)

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        x, y = self.unpack(batch)
        self.log("val_loss", self.loss(self.net(x), y), batch_size=len(y))


def both(**settings: Any) -> list[DataLoader]:
    """Loaders of training and validation data."""
    return [loader(blobs(seed=seed), **settings) for seed in (1, 0)]


def stacked(make_batch: Callable[[Tensor, Tensor], Any]) -> Callable[[list[tuple[Tensor, Tensor]]], Any]:
    """A collate_fn."""

    def collate(samples: list[tuple[Tensor, Tensor]]) -> Any:
        x, y = zip(*samples, strict=True)
        return make_batch(torch.stack(x), torch.stack(y))

    return collate


def is_of(
    run: Run, module: LightningModule, x: Tensor, y: Tensor | None, indices: Sequence[int] | None = None
) -> Record:
    """Make sure that the last record is of these samples, in this order, as the trained network sees them."""
    record = run.records[-1]
    module.eval()
    layers, h = {"input": x}, x
    with torch.no_grad():
        for name, part in module.net.named_children():
            h = layers[f"net.{name}"] = part(h)
    unseen = {f"net.{name}" for name, part in module.net.named_children() if isinstance(part, COMPUTES_NOTHING)}
    assert set(record.layers) == layers.keys() - unseen
    for layer in record.layers:
        rows = torch.from_numpy(record.findings["rows"][layer]["rows"])
        torch.testing.assert_close(rows, layers[layer].flatten(1), rtol=1e-5, atol=1e-5)
        if y is not None:
            divergence = record.findings["henze_penrose"][layer]["divergence"]
            np.testing.assert_array_equal(divergence, henze_penrose_divergence(rows, y))
    assert record.counts.tolist() == ([] if y is None else y.unique(return_counts=True)[1].tolist())
    assert run.info["sample"] == list(range(len(x)) if indices is None else indices)
    return record


def said(recwarn: pytest.WarningsRecorder) -> list[str]:
    """What the monitor warned of."""
    told = [str(warning.message).partition("SeparationMonitor 'separation': ") for warning in recwarn]
    return [message for _, name, message in told if name]


# Labels


@pytest.mark.parametrize(
    ("convert", "classes", "names", "note"),
    [
        pytest.param(Tensor.float, Tensor.long, "012", None, id="float"),
        pytest.param(nn.functional.one_hot, lambda y: y.argmax(1), "012", None, id="one-hot"),
        pytest.param(
            lambda y: nn.functional.one_hot(y).float(), lambda y: y.argmax(1), "012", None, id="one-hot-float"
        ),
        pytest.param(lambda y: y[:, None], lambda y: y[:, 0], "012", None, id="column"),
        pytest.param(lambda y: y[:, None].double(), lambda y: y[:, 0].long(), "012", None, id="column-float64"),
        pytest.param(lambda y: y.to(torch.uint8), Tensor.long, "012", None, id="uint8"),
        pytest.param(lambda y: y.to(torch.int32), Tensor.long, "012", None, id="int32"),
        pytest.param(lambda y: y > 0, Tensor.long, "01", None, id="bool"),
        pytest.param(Tensor.tolist, torch.tensor, "012", None, id="list"),
        pytest.param(lambda y: tuple(y.tolist()), torch.tensor, "012", None, id="tuple"),
        pytest.param(Tensor.numpy, torch.from_numpy, "012", None, id="numpy"),
        pytest.param(
            lambda y: 2 * (y > 0) - 1,
            lambda y: (y > 0).long(),
            ["-1", "1"],
            "the target has class -1; classes count from 0 (-100 is ignored)",
            id="minus-one-and-one",
        ),
        pytest.param(
            lambda y: 2.0 * (y > 0) - 1,
            lambda y: (y > 0).long(),
            ["-1", "1"],
            "the target has class -1; classes count from 0 (-100 is ignored)",
            id="minus-one-and-one-float",
        ),
        pytest.param(
            lambda y: y + 1000,
            lambda y: y - 1000,
            ["1000", "1001", "1002"],
            "the target has class 1002, the output only 3 columns",
            id="from-1000",
        ),
    ],
)
def test_labels(tmp_path, recwarn, convert, classes, names, note):
    def make():
        data = both(collate_fn=stacked(lambda x, y: (x, convert(y))))
        return Unpacks(lambda batch: (batch[0], classes(batch[1]))), data

    run, _, module = run_twice(tmp_path, make, monitor(Ablation()), max_epochs=1)
    record = is_of(run, module, X, classes(convert(Y)))
    assert record.class_names == list(names)
    if note is None:
        assert list(record.findings["ablation"]) == EVERY[1:]
        assert record.notes == []
    else:  # the step knows which output is of which class; we do not
        assert "ablation" not in record.findings
        assert record.notes == [
            f"ablation: nothing to measure the network by: {note}, and the network makes (3,) of (6,)"
        ]
    assert said(recwarn) == record.notes


@pytest.mark.parametrize(
    ("convert", "back", "note"),
    [
        pytest.param(
            lambda y: ["abc"[label] for label in y],
            lambda y: torch.tensor(["abc".index(label) for label in y]),
            "the target is a list of str, not a tensor; give target_fn=",
            id="strings",
        ),
        pytest.param(
            lambda y: nn.functional.one_hot(y) * 0.8 + 0.1,
            lambda y: y.argmax(1),
            "the target, of shape (16, 3), is not one class for each sample",
            id="soft",
        ),
        pytest.param(lambda y: y + 0.5, Tensor.long, "the target holds numbers that are not integers", id="halves"),
    ],
)
def test_labels_that_are_no_classes(tmp_path, recwarn, convert, back, note):
    def make():
        data = both(collate_fn=stacked(lambda x, y: (x, convert(y))))
        return Unpacks(lambda batch: (batch[0], back(batch[1]))), data

    run, _, module = run_twice(tmp_path, make, monitor())
    assert is_of(run, module, X, None).notes == [f"target: {note}{NO_CLASSES}"]
    assert said(recwarn) == [f"target: {note}{NO_CLASSES}"]  # once, in two epochs


# Batches


class Named(NamedTuple):
    inputs: Tensor
    mask: Tensor
    label: Tensor


@dataclass
class Made:
    inputs: Tensor
    label: Tensor


class Plain:
    """An object of the user's own."""

    def __init__(self, x: Tensor, y: Tensor) -> None:
        self.x, self.y = x, y


TRAIN = {"splits": ("val", "train")}  # read by a process of its own, which takes its time


@pytest.mark.parametrize(
    ("make_batch", "unpack", "settings"),
    [
        pytest.param(lambda x, y: {"x": x, "y": y}, lambda b: (b["x"], b["y"]), {}, id="dict"),
        pytest.param(lambda x, y: {"label": y, "x": x}, lambda b: (b["x"], b["label"]), {}, id="dict-labels-first"),
        pytest.param(
            lambda x, y: {"in": {"x": x}, "targets": y}, lambda b: (b["in"]["x"], b["targets"]), {}, id="nested"
        ),
        pytest.param(
            lambda x, y: {"names": ["a"] * len(y), "x": x, "y": y},
            lambda b: (b["x"], b["y"]),
            TRAIN,
            id="dict-with-names",
        ),
        pytest.param(lambda x, y: Named(x, x > 0, y), lambda b: (b.inputs, b.label), {}, id="named-tuple"),
        pytest.param(Made, lambda b: (b.inputs, b.label), {}, id="dataclass"),
        pytest.param(Plain, lambda b: (b.x, b.y), TRAIN, id="object"),
        pytest.param(
            lambda x, y: (x, ["name"] * len(y), y),
            lambda b: b[::2],
            {"target_fn": lambda b: b[2], **TRAIN},
            id="labels-third",
        ),
        pytest.param(lambda x, y: [x, y, len(y), "text", object], lambda b: b[:2], {}, id="with-python-objects"),
        pytest.param(lambda x, y: ("text", y, x), lambda b: (b[2], b[1]), {}, id="text-first"),
        pytest.param(
            lambda x, y: torch.cat([x, y[:, None]], 1),
            lambda b: (b[:, :6], b[:, 6].long()),
            {"target_fn": lambda b: b[:, 6]},
            id="one-tensor-with-target_fn",
        ),
    ],
)
def test_batches(tmp_path, make_batch, unpack, settings):
    run, _, module = run_twice(
        tmp_path,
        lambda: (Unpacks(unpack), both(collate_fn=stacked(make_batch))),
        monitor(on_error="raise", **settings),
        max_epochs=1,
    )
    assert is_of(run, module, X, Y).notes == []
    if "splits" in settings:
        training = run.train.records[-1]
        assert training.counts.tolist() == [20, 20, 20]
        rows = training.findings["rows"]["input"]["rows"]
        np.testing.assert_array_equal(rows, blobs(seed=1).tensors[0])


def test_a_batch_that_is_one_tensor(tmp_path, recwarn):
    class Autoencoder(Unpacks):
        def training_step(self, batch, batch_idx):
            return (self.net(batch) - batch).square().mean()

        def validation_step(self, batch, batch_idx):
            self.log("val_loss", (self.net(batch) - batch).square().mean())

    run, _, module = run_twice(
        tmp_path,
        lambda: (Autoencoder(net=mlp(6, 6)), both(collate_fn=stacked(lambda x, y: x))),
        monitor(Ablation()),
    )
    record = is_of(run, module, X, None)
    assert record.notes == [f"target: the batch, a Tensor, has no second element; give target_fn={NO_CLASSES}"]
    assert said(recwarn) == record.notes
    errors = 100 * (module.net(X) - X).norm(dim=1) / X.norm(dim=1)
    assert record.findings["ablation"]["net.0"]["clean_loss"] == pytest.approx(errors.mean().item(), rel=1e-4)


# Loaders


class Stream(IterableDataset):
    """Samples one after the other."""

    def __init__(self, data: Dataset) -> None:
        self.data = data

    def __iter__(self):
        return iter([self.data[i] for i in range(len(self.data))])


class SizedStream(Stream):
    def __len__(self) -> int:
        return len(self.data)


class Uneven(BatchSampler):
    """Batches of 1, 2, 3, ... samples, from the last to the first."""

    def __init__(self, data: Dataset) -> None:
        super().__init__(SequentialSampler(data), 1, False)
        ends = np.cumsum(range(1, len(data)))
        self.batches = np.split(np.arange(len(data))[::-1], ends[ends < len(data)])

    def __iter__(self):
        return iter([batch.tolist() for batch in self.batches])

    def __len__(self) -> int:
        return len(self.batches)


class WholeBatches(Dataset):
    """Makes them itself."""

    def __getitem__(self, i):
        return X[10 * i : 10 * i + 10], Y[10 * i : 10 * i + 10]

    def __len__(self):
        return 6


class NoLoader:
    """Any iterable that can be begun again."""

    def __iter__(self):
        return zip(X.split(16), Y.split(16), strict=True)


class Data(LightningDataModule):
    """Makes its data in setup."""

    def prepare_data(self):
        self.prepared = True

    def setup(self, stage):
        assert self.prepared
        self.val = blobs()

    def train_dataloader(self):
        return loader(blobs(seed=1))

    def val_dataloader(self):
        return loader(self.val)


def other():
    return loader(blobs(seed=5))


def loaders(val):
    return [loader(blobs(seed=1), shuffle=True), val]


SECOND = {"dataloader_idx": 1}
BACKWARDS = range(59, -1, -1)
ODD = range(59, 10, -2)


@pytest.mark.parametrize(
    ("data", "samples", "settings"),
    [
        pytest.param(lambda: loaders([loader(blobs()), other()]), range(60), {}, id="list-first"),
        pytest.param(lambda: loaders([other(), loader(blobs())]), range(60), SECOND, id="list-second"),
        pytest.param(lambda: loaders({"a": other(), "b": loader(blobs())}), range(60), SECOND, id="dict-second"),
        pytest.param(
            lambda: loaders(CombinedLoader([other(), loader(blobs())], "sequential")), range(60), SECOND, id="combined"
        ),
        pytest.param(lambda: loaders(loader(Stream(blobs()))), range(60), {}, id="iterable"),
        pytest.param(lambda: loaders(loader(SizedStream(blobs()))), range(60), {}, id="iterable-with-length"),
        pytest.param(
            lambda: loaders(DataLoader(blobs(), batch_sampler=Uneven(blobs()))), BACKWARDS, {}, id="uneven-batches"
        ),
        pytest.param(lambda: loaders(loader(blobs(), 59)), range(60), {}, id="last-batch-of-one"),
        pytest.param(lambda: loaders(loader(blobs(), 1)), range(60), {}, id="batches-of-one"),
        pytest.param(lambda: loaders(loader(blobs(), 60)), range(60), {}, id="one-batch"),
        pytest.param(lambda: loaders(loader(blobs(), drop_last=True)), range(48), {}, id="drop-last"),
        pytest.param(lambda: loaders(loader(Subset(blobs(), ODD))), ODD, {}, id="subset"),
        pytest.param(lambda: loaders(DataLoader(WholeBatches(), batch_size=None)), range(60), {}, id="no-batch-size"),
        pytest.param(lambda: loaders(NoLoader()), range(60), {}, id="any-iterable"),
        pytest.param(lambda: loaders(loader(blobs(), num_workers=2)), range(60), {}, id="workers"),
        pytest.param(
            lambda: loaders(loader(blobs(), num_workers=2, persistent_workers=True, pin_memory=True)),
            range(60),
            {},
            id="persistent-workers-pinned",
        ),
        pytest.param(lambda: [Data()], range(60), {}, id="datamodule"),
        pytest.param(lambda: loaders(loader(blobs())), range(32), {"limit_val_batches": 2}, id="limit-2"),
        pytest.param(lambda: loaders(loader(blobs())), range(32), {"limit_val_batches": 0.5}, id="limit-half"),
    ],
)
def test_loaders(tmp_path, data, samples, settings):
    ours = {key: value for key, value in settings.items() if key == "dataloader_idx"}
    theirs = {key: value for key, value in settings.items() if key not in ours}
    run, _, module = run_twice(tmp_path, lambda: (Unpacks(), data()), monitor(on_error="raise", **ours), **theirs)
    assert run.epochs == [0, 1]
    # Where a batch sampler of the user's own gives them, places in the loader; else indices in the whole dataset.
    indices = range(60) if samples is BACKWARDS else samples
    assert is_of(run, module, X[list(samples)], Y[list(samples)], indices).notes == []


def test_a_loader_that_shuffles_is_said_once(tmp_path, recwarn):
    run, _, _ = run_twice(
        tmp_path, lambda: (Unpacks(), both(shuffle=True)), monitor(samples_per_class=10), max_epochs=3
    )
    note = "sample: other samples than in the first pass: the loader shuffles, so epochs compare less well"
    assert [record.notes for record in run.records] == [[], [note], [note]]
    assert said(recwarn) == [note]
    assert run.records[0].counts.tolist() == [10, 10, 10]
    for record in run.records:  # each says itself which samples it has
        assert record.counts.sum() == 30
        rows = torch.from_numpy(record.findings["rows"]["input"]["rows"])
        labels = Y[(rows[:, None] == X).all(2).int().argmax(1)]
        assert labels.bincount().tolist() == record.counts.tolist()
        divergence = record.findings["henze_penrose"]["input"]["divergence"]
        np.testing.assert_array_equal(divergence, henze_penrose_divergence(rows, labels))


def empty():
    return loader(TensorDataset(X[:0], Y[:0]))


@pytest.mark.parametrize(
    ("val", "note"),
    [
        pytest.param(empty, "schedule: no validation was analysed: none ran", id="empty"),
        pytest.param(list, "schedule: no validation was analysed: none ran", id="no-loaders"),
        pytest.param(lambda: None, "validation: there is no validation loop", id="none"),
        pytest.param(lambda: loader(Stream(TensorDataset(X[:0]))), "separation: no sample was seen", id="empty-stream"),
        pytest.param(lambda: [empty(), other()], "separation: no sample was seen", id="first-of-two-empty"),
    ],
)
def test_nothing_to_see(tmp_path, recwarn, val, note):
    with pytest.raises(FileNotFoundError, match=r"no run\.json"):  # when all has been compared
        run_twice(tmp_path, lambda: (Unpacks(), loaders(val())), monitor())
    (message,) = said(recwarn)
    assert message.startswith(note)


class Changes(Data):
    """Other validation data in each epoch."""

    def __init__(self, *sizes: int) -> None:
        super().__init__()
        self.sizes, self.made = sizes, 0

    def val_dataloader(self):
        self.made += 1
        return loader(Subset(blobs(seed=self.made), range(self.sizes[self.made - 1])))


SHORTER = "sample: 40 of 60 samples were seen: the loader has become shorter"


@pytest.mark.parametrize(
    ("sizes", "epochs", "samples", "notes"),
    [
        pytest.param((60, 60), [0, 1], 60, [], id="new"),
        pytest.param((60, 40), [0, 1], 40, [SHORTER], id="shorter"),
        pytest.param((40, 60), [0, 1], 40, [], id="longer"),
        pytest.param((60, 0), [0], 60, [], id="then-empty"),
        pytest.param((0, 60), [1], 60, [], id="first-empty"),
    ],
)
def test_data_that_change_from_epoch_to_epoch(tmp_path, recwarn, sizes, epochs, samples, notes):
    run, _, _ = run_twice(
        tmp_path,
        lambda: (Unpacks(), [Changes(*sizes)]),
        monitor(),
        reload_dataloaders_every_n_epochs=1,
        num_sanity_val_steps=0,
    )
    assert run.epochs == epochs
    record = run.records[-1]
    x, y = (part[:samples] for part in blobs(seed=epochs[-1] + 1).tensors)
    np.testing.assert_array_equal(record.findings["rows"]["input"]["rows"], x)
    divergence = record.findings["henze_penrose"]["input"]["divergence"]
    np.testing.assert_array_equal(divergence, henze_penrose_divergence(x, y))
    assert record.notes == said(recwarn) == notes


# Classes


TEN = [f"class {i}" for i in range(10)]
SORTED = Y.argsort(stable=True)
ONE_CLASS = [
    "henze_penrose: pairs need two classes with 5 samples; seen: 1",
    "significance: tests need two classes with 3 samples; seen: 1",
]


@pytest.mark.parametrize(
    ("x", "y", "settings", "names", "notes"),
    [
        pytest.param(X, 3 * Y, {"class_names": TEN}, ["class 0", "class 3", "class 6"], [], id="missing-ones"),
        pytest.param(X[SORTED], Y[SORTED], {}, ["0", "1", "2"], [], id="last-batches-only"),
        pytest.param(X[SORTED], Y[SORTED], {"samples_per_class": 7}, ["0", "1", "2"], [], id="last-batches-capped"),
        pytest.param(X, torch.ones_like(Y), {}, ["1"], ONE_CLASS, id="one-class"),
        pytest.param(
            X,
            torch.where(torch.arange(60) < 4, 7, Y),
            {},
            ["0", "1", "2", "7"],
            ["henze_penrose: class 7 (4) left out of pairs: fewer than 5 samples"],
            id="a-small-class",
        ),
        pytest.param(
            X,
            Y,
            {"class_names": ["a", "b"]},
            ["a", "b", "2"],
            ["class_names: 2 names, none for class 2; its number is shown"],
            id="unnamed",
        ),
    ],
)
def test_classes(tmp_path, recwarn, x, y, settings, names, notes):
    run, _, _ = run_twice(
        tmp_path,
        lambda: (Unpacks(net=mlp(6, 10)), [loader(blobs(seed=1)), loader(TensorDataset(x, y))]),
        monitor(Ablation(), emit=None, **settings),
        max_epochs=1,
    )
    record = run.records[-1]
    most = settings.get("samples_per_class", 100)
    labels, counts = y.unique(return_counts=True)
    assert record.class_names == names
    assert record.counts.tolist() == counts.clamp(max=most).tolist()
    rows = torch.cat([torch.where(y == label)[0][:most] for label in labels]).sort().values
    np.testing.assert_array_equal(record.findings["rows"]["input"]["rows"], x[rows])
    large = [place for place, count in enumerate(counts) if count >= 5]
    if len(large) > 1:
        kept = rows[torch.isin(y[rows], labels[large])]
        divergence = record.findings["henze_penrose"]["input"]["divergence"]
        np.testing.assert_array_equal(divergence[np.ix_(large, large)], henze_penrose_divergence(x[kept], y[kept]))
        assert np.isnan(np.delete(divergence, large, 0)).all()
    else:
        assert "henze_penrose" not in record.findings
    assert list(record.findings["ablation"]) == EVERY[1:]
    assert record.notes == said(recwarn) == notes


def test_more_than_a_thousand_classes(tmp_path):
    data = blobs(1001, 5, spread=0.1)
    run, _, _ = run_twice(
        tmp_path,
        lambda: (Unpacks(net=mlp(6, 1001)), [loader(data, 500), loader(data, 500)]),
        lambda: SeparationMonitor([HenzePenrose(layers="net.0"), Significance()], ["net.0"], on_error="raise"),
        max_epochs=1,
        num_sanity_val_steps=0,
    )
    (record,) = run.records
    assert record.counts.tolist() == [5] * 1001
    divergence = record.findings["henze_penrose"]["net.0"]["divergence"]
    assert divergence.shape == (1001, 1001)
    assert np.median(divergence) == pytest.approx(0.8)  # one edge of nine: 1 - 10 / (2 * 5 * 5)
    assert record.findings["significance"]["net.0"]["significant"].all()
    assert record.notes == []
    assert sum(file.stat().st_size for file in tmp_path.rglob("*.npz")) < 10e6  # 48 MB of numbers


# Values


def features(change: Callable[[Tensor], Tensor]) -> list[DataLoader]:
    """Loaders of changed inputs."""
    return [loader(TensorDataset(change(blobs(seed=seed).tensors[0]), Y)) for seed in (1, 0)]


def embedding() -> nn.Module:
    return nn.Sequential(nn.Embedding(9, 4), nn.Flatten(), nn.Linear(24, 3))


def linear(dtype: torch.dtype = torch.float32) -> nn.Module:
    return nn.Sequential(nn.Linear(6, 8, dtype=dtype), nn.ReLU(), nn.Linear(8, 3, dtype=dtype))


def as_floats(batch):
    return batch[0].float(), batch[1]


@pytest.mark.parametrize(
    ("change", "unpack", "net"),
    [
        pytest.param(torch.ones_like, tuple, linear, id="constant"),
        pytest.param(lambda x: x + 1e8, tuple, linear, id="offset"),
        pytest.param(lambda x: x.double() + 1e8, tuple, lambda: linear(torch.float64), id="offset-float64"),
        pytest.param(Tensor.double, as_floats, linear, id="float64-to-float32"),
        pytest.param(lambda x: (10 * x).to(torch.uint8), as_floats, linear, id="uint8"),
        pytest.param(lambda x: x.long().clamp(-4, 4) + 4, tuple, embedding, id="integers"),
    ],
)
def test_values(tmp_path, change, unpack, net):
    run, _, module = run_twice(
        tmp_path,
        lambda: (Unpacks(unpack, net()), features(change)),
        monitor(Ablation(), on_error="raise"),
        max_epochs=1,
    )
    x, _ = unpack((change(X), Y))
    record = is_of(run, module, x, Y)
    assert list(record.findings["ablation"]) == list(record.layers[1:])
    assert record.notes == []


@pytest.mark.filterwarnings("ignore:Sparse CSR")
@pytest.mark.parametrize(
    ("to_sparse", "notes"),
    [
        pytest.param(Tensor.to_sparse, [], id="coordinates"),
        pytest.param(
            Tensor.to_sparse_csr,
            ["ablation: RuntimeError('Sparse CSR tensors do not have is_contiguous')"],
            id="compressed-rows",
        ),
    ],
)
def test_sparse_inputs(tmp_path, recwarn, to_sparse, notes):
    def make():
        return Unpacks(net=linear()), both(collate_fn=stacked(lambda x, y: (to_sparse(x.relu()), y)))

    run, _, module = run_twice(tmp_path, make, monitor(Ablation()))
    assert is_of(run, module, X.relu(), Y).notes == said(recwarn) == notes


@pytest.mark.parametrize(
    ("value", "units"),
    [pytest.param(torch.nan, (6, 8, 8, 3), id="nan"), pytest.param(torch.inf, (1, 8, 4, 3), id="infinite")],
)
def test_a_sample_without_numbers(tmp_path, recwarn, value, units):
    def spoil(x):
        x = x.clone()
        x[3, slice(None) if value != value else 1] = value
        return x

    def make():
        return Unpacks(), [loader(blobs(seed=1)), loader(TensorDataset(spoil(X), Y))]

    run, _, module = run_twice(tmp_path, make, monitor(Ablation()), num_sanity_val_steps=0, max_epochs=1)
    (record,) = run.records
    assert "henze_penrose: features hold NaN or infinite values in 1 of 60 rows" in record.notes[0]
    assert record.notes[0].startswith(", ".join(EVERY))  # all layers in one sentence
    assert record.notes[-1] == "ablation: the network gives NaN for 1 samples: they are left out"
    bad = [int(np.isnan(record.findings["significance"][layer]["p_value"]).sum()) for layer in EVERY]
    assert all(found >= 1 for found in bad)
    assert bad[0] == units[0]
    assert said(recwarn) == record.notes
    good = torch.arange(60) != 3
    clean = nn.functional.cross_entropy(module.net.eval()(X[good]), Y[good]).item()
    assert record.findings["ablation"]["net.0"]["clean_loss"] == pytest.approx(clean, rel=1e-4)


# Shapes that vary


class Sequences(Dataset):
    """Frames or tokens, longer in later batches of 16."""

    def __init__(self, tokens: bool) -> None:
        self.tokens = tokens

    def __len__(self):
        return 60

    def __getitem__(self, i):
        steps = torch.arange(3 + i // 16)
        return (Y[i] + steps if self.tokens else X[i] + steps[:, None]), Y[i]


class Images(Dataset):
    """Larger in later batches of 16."""

    def __len__(self):
        return 60

    def __getitem__(self, i):
        height, width = 4 + i // 16, 5 + i // 16
        return X[i, :2, None, None] * torch.linspace(0, 1, height * width).view(height, width), Y[i]


class Recurrent(nn.Module):
    def __init__(self, tokens: bool) -> None:
        super().__init__()
        self.first = nn.Embedding(12, 8) if tokens else nn.Linear(6, 8)
        self.gru = nn.GRU(8, 5, batch_first=True)
        self.head = nn.Linear(5, 3)

    def forward(self, x):
        return self.head(self.gru(self.first(x))[0][:, -1])

    def each(self, x):
        first = self.first(x)
        return {"input": x, "net.first": first, "net.gru": self.gru(first)[0], "net.head": self(x)}


class Convolutional(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 4, 3)
        self.relu = nn.ReLU()
        self.head = nn.Linear(4, 3)

    def forward(self, x):
        return self.head(self.relu(self.conv(x)).mean((2, 3)))

    def each(self, x):
        conv = self.conv(x)
        return {"input": x, "net.conv": conv, "net.relu": conv.relu(), "net.head": self(x)}


UNEQUAL = [
    f"input: {name}: its rows have shapes (3,) and (4,): no axis in common to compare them along"
    for name in ("henze_penrose", "significance")
]


@pytest.mark.parametrize(
    ("data", "net", "pooled", "axes", "over"),
    [
        pytest.param(
            Sequences(False), lambda: Recurrent(False), ["net.first, net.gru", "input"], (1,), "axis 1", id="sequences"
        ),
        pytest.param(Sequences(True), lambda: Recurrent(True), ["net.first, net.gru"], (1,), "axis 1", id="tokens"),
        pytest.param(Images(), Convolutional, ["net.conv, net.relu", "input"], (2, 3), "axes 2 and 3", id="images"),
    ],
)
@pytest.mark.parametrize(
    ("pooling", "max_memory"),
    [pytest.param("mean", "2GB", id="mean"), pytest.param("max", "110KB", id="max-in-groups")],
)
def test_rows_that_differ_in_length(tmp_path, recwarn, data, net, pooled, axes, over, pooling, max_memory):
    run, _, module = run_twice(
        tmp_path,
        lambda: (Unpacks(net=net()), [loader(data), loader(data)]),
        monitor(pooling=pooling, max_memory=max_memory),
    )
    record = run.records[-1]
    notes = [
        f"{layers}: rows differ in length from batch to batch: their {pooling} over {over} is analysed"
        for layers in pooled
    ]
    assert sorted(record.notes) == sorted(notes + ([] if len(pooled) > 1 else UNEQUAL))
    assert said(recwarn) == record.notes  # once, in two epochs
    batches = [module.net.eval().each(x) for x, _ in loader(data)]
    for layer, found in record.findings["rows"].items():
        parts = [batch[layer].detach() for batch in batches]
        if layer in ", ".join(pooled).split(", "):
            parts = [part.amax(axes) if pooling == "max" else part.mean(axes) for part in parts]
        torch.testing.assert_close(torch.from_numpy(found["rows"]), torch.cat(parts), rtol=1e-4, atol=1e-5)
    assert set(record.findings["rows"]) == set(batches[0]) - (set() if len(pooled) > 1 else {"input"})


# What the user's code does with a batch


class Before(Unpacks):
    def on_before_batch_transfer(self, batch, dataloader_idx):
        return 2 * batch[0], batch[1]


class Transfer(Unpacks):
    def transfer_batch_to_device(self, batch, device, dataloader_idx):
        return 2 * batch[0].to(device), batch[1].to(device)


class After(Unpacks):
    def on_after_batch_transfer(self, batch, dataloader_idx):
        return {"x": 2 * batch[0], "y": batch[1]}

    def unpacked(self, batch):
        return batch["x"], batch["y"]


class Pops(After):
    """Takes its batch apart."""

    def unpacked(self, batch):
        return batch.pop("x"), batch.pop("y")


class InPlace(Unpacks):
    """Works on the batch itself, and spoils it in the end."""

    def training_step(self, batch, batch_idx):
        return self.loss(self.net(batch[0].mul_(2)), batch[1])

    def validation_step(self, batch, batch_idx):
        output = self.net(batch[0].mul_(2))
        self.log("val_loss", self.loss(output, batch[1]))
        for tensor in (*batch, output):
            tensor.zero_()


class BatchStart(Unpacks):
    def on_validation_batch_start(self, batch, batch_idx, dataloader_idx=0):
        batch[0].mul_(2)


@pytest.mark.parametrize("kind", [Before, Transfer, After, Pops, InPlace, BatchStart])
def test_the_sample_is_what_the_network_sees(tmp_path, kind):
    def make():
        module = kind()
        module.unpack = getattr(module, "unpacked", module.unpack)
        return module, both()

    run, _, module = run_twice(tmp_path, make, monitor(Ablation(), on_error="raise"))
    assert is_of(run, module, 2 * X, Y).notes == []


def test_a_step_that_skips_batches_is_said(tmp_path, recwarn):
    class Skips(Unpacks):
        def validation_step(self, batch, batch_idx):
            if batch_idx % 2:
                super().validation_step(batch, batch_idx)

    with pytest.raises(FileNotFoundError, match=r"no run\.json"):  # when all has been compared
        run_twice(tmp_path, lambda: (Skips(), both()), monitor())
    (message,) = said(recwarn)
    assert message.startswith("separation: the step called the network for 28 of 60 samples only")


def test_loaders_that_are_read_together_need_a_target_fn(tmp_path, recwarn):
    def make(val=lambda: CombinedLoader([loader(blobs()), other()], "min_size")):
        return Unpacks(lambda batch: batch if isinstance(batch[1], Tensor) else batch[0]), loaders(val())

    run, _, module = run_twice(tmp_path / "a", make, monitor(target_fn=lambda batch: batch[0][1]))
    assert is_of(run, module, X, Y).notes == []
    run, _, module = run_twice(tmp_path / "b", make, monitor())
    note = f"target: the target is a list of Tensor, not a tensor; give target_fn={NO_CLASSES}"
    assert is_of(run, module, X, None).notes == said(recwarn) == [note]
