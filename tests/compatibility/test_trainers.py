"""Whatever the Trainer is told to do, the record is right, or it is said why there is none; the run is as without."""

import warnings
from datetime import timedelta
from shutil import copytree, which

import numpy as np
import pytest
import torch
from pytorch_lightning import Callback, LightningDataModule
from pytorch_lightning.callbacks import (
    BackboneFinetuning,
    BatchSizeFinder,
    DeviceStatsMonitor,
    EarlyStopping,
    EMAWeightAveraging,
    GradientAccumulationScheduler,
    LearningRateFinder,
    LearningRateMonitor,
    ModelCheckpoint,
    ModelSummary,
    RichProgressBar,
    StochasticWeightAveraging,
    Timer,
    WeightAveraging,
)
from torch import nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from lightning_separation import HenzePenrose, Selectivity, SeparationMonitor, Significance, load_run
from lightning_separation.functional import henze_penrose_divergence
from tests.compatibility.harness import run_twice
from tests.helpers import Classifier, blobs, hooks, loader, trainer


def mlp():
    """Without random numbers of its own: a resumed run repeats the uninterrupted one."""
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))


class Witness(Classifier):
    """Keeps by epoch what the first and the last layer made in the latest validation, found without hooks."""

    def __init__(self, net=None):
        super().__init__(mlp() if net is None else net)
        self.seen = {}
        self.lr, self.batch_size = 0.1, 16

    @property
    def backbone(self):
        """What ``BackboneFinetuning`` freezes."""
        return self.net[0]

    def apart(self, batch):
        """What the layers make of a batch, by name."""
        first = functional.linear(batch[0], *self.net[0].parameters())
        return {"net.0": first, "net.2": self.net(batch[0])}

    def validation_step(self, batch, batch_idx, dataloader_idx=0):
        made = self.apart(batch)
        self.log("val_loss", self.loss(list(made.values())[-1], batch[1]))
        return {**made, "target": batch[1]}

    def on_validation_epoch_start(self):
        self.parts = []

    def on_validation_batch_end(self, outputs, batch, batch_idx, dataloader_idx=0):
        self.parts.append({name: value.clone() for name, value in outputs.items()})

    def on_validation_epoch_end(self):
        if not self.trainer.sanity_checking:
            self.seen[self.current_epoch] = {name: torch.cat([p[name] for p in self.parts]) for name in self.parts[0]}

    def configure_optimizers(self):
        return torch.optim.SGD([p for p in self.parameters() if p.requires_grad], self.lr)


def make(module=Witness):
    return module(), (loader(blobs(seed=1), shuffle=True), loader(blobs()))


def monitor(analyses=None, **settings):
    return SeparationMonitor(analyses, emit=["scalars"], **{"on_error": "raise", **settings})


def quick(**settings):
    return monitor([HenzePenrose(), Significance()], **settings)


def assert_right(run, module, epochs=None, ablated=True):
    """The run has a record of each epoch with what the network made in its last validation, and no trouble."""
    assert run.epochs == sorted(module.seen if epochs is None else epochs)
    for record in run.records:
        seen = dict(module.seen[record.epoch])
        target = seen.pop("target")
        for layer, made in seen.items():
            found = record.findings["henze_penrose"][layer]["divergence"]
            np.testing.assert_array_equal(found, henze_penrose_divergence(made, target), layer)
        if ablated:  # the loss of a unit of the last layer, by hand
            logits = made.float() if made.dtype == torch.float16 else made
            without = [logits * (torch.arange(3) != unit) for unit in range(3)]
            losses = torch.stack([functional.cross_entropy(outputs.double(), target) for outputs in (logits, *without)])
            close = 1e-5 if made.dtype in (torch.float32, torch.float64) else 2e-2
            np.testing.assert_allclose(record.findings["ablation"][layer]["loss"], losses[1:] - losses[0], atol=close)
        assert not record.notes
    assert hooks(module) == 0


def said(go):
    """What the monitor warns of while something runs."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        go()
    return [str(w.message) for w in caught if str(w.message).startswith("SeparationMonitor")]


def stops():
    return [EarlyStopping("val_loss", patience=1, min_delta=9)]


LATE = {"max_epochs": 5, "check_val_every_n_epoch": 2}
BY_BATCHES = {"max_epochs": 4, "check_val_every_n_epoch": None, "val_check_interval": 6}


@pytest.mark.parametrize(
    "settings, epochs",
    [
        pytest.param({"precision": "bf16-mixed"}, [0, 1], id="bf16-mixed"),
        pytest.param({"precision": "16-mixed"}, [0, 1], id="16-mixed"),
        pytest.param({"precision": "bf16-true"}, [0, 1], id="bf16-true"),
        pytest.param({"precision": "16-true"}, [0, 1], id="16-true"),
        pytest.param({"precision": "64-true"}, [0, 1], id="64-true"),
        pytest.param({"accumulate_grad_batches": 3}, [0, 1], id="accumulation"),
        pytest.param({"gradient_clip_val": 0.01}, [0, 1], id="clip-norm"),
        pytest.param({"gradient_clip_val": 0.01, "gradient_clip_algorithm": "value"}, [0, 1], id="clip-value"),
        pytest.param(LATE, [1, 3], id="check_val_every_n_epoch"),
        pytest.param(BY_BATCHES, [1, 2], id="check_val_every_n_epoch-none"),
        pytest.param({"val_check_interval": 0.5}, [0, 1], id="val_check_interval-fraction"),
        pytest.param({"val_check_interval": 3}, [0, 1], id="val_check_interval-int"),
        pytest.param({"limit_val_batches": 2}, [0, 1], id="limit_val_batches-int"),
        pytest.param({"limit_val_batches": 0.5}, [0, 1], id="limit_val_batches-fraction"),
        pytest.param({"limit_train_batches": 1}, [0, 1], id="limit_train_batches"),
        pytest.param({"overfit_batches": 2}, [0, 1], id="overfit_batches-int"),
        pytest.param({"overfit_batches": 0.5}, [0, 1], id="overfit_batches-fraction"),
        pytest.param({"max_steps": 9, "max_epochs": -1}, [0, 1], id="max_steps"),
        pytest.param({"max_epochs": -1, "callbacks": stops}, [0, 1], id="max_epochs-without-end"),
        pytest.param({"max_time": timedelta(hours=1)}, [0, 1], id="max_time"),
        pytest.param({"num_sanity_val_steps": 0}, [0, 1], id="sanity-none"),
        pytest.param({"num_sanity_val_steps": 2}, [0, 1], id="sanity-two"),
        pytest.param({"num_sanity_val_steps": -1}, [0, 1], id="sanity-all"),
        pytest.param({"barebones": True, "log_every_n_steps": 0}, [0, 1], id="barebones"),
        pytest.param({"enable_checkpointing": False}, [0, 1], id="no-checkpoints"),
        pytest.param({"logger": False}, [0, 1], id="no-logger"),
        pytest.param({"inference_mode": False}, [0, 1], id="no-inference_mode"),
        pytest.param({"use_distributed_sampler": False}, [0, 1], id="no-distributed-sampler"),
        pytest.param({"detect_anomaly": True}, [0, 1], id="detect_anomaly"),
        pytest.param({"deterministic": True}, [0, 1], id="deterministic"),
        pytest.param({"benchmark": True}, [0, 1], id="benchmark"),
        pytest.param({"profiler": "simple"}, [0, 1], id="profiler"),
        pytest.param({"reload_dataloaders_every_n_epochs": 1}, [0, 1], id="reload_dataloaders"),
    ],
)
def test_settings(tmp_path, settings, epochs):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        run, t, module = run_twice(tmp_path, make, monitor, **settings)
    assert_right(run, module, epochs)
    assert not [w for w in caught if "SeparationMonitor" in str(w.message)]
    torch.use_deterministic_algorithms(False)
    assert t.barebones or t.callback_metrics["separation_last"] == pytest.approx(
        float(run.records[-1].findings["henze_penrose"]["net.2"]["separation"])
    )


def files(root):
    return [path for path in root.rglob("*") if path.is_file()]


@pytest.mark.parametrize("batches", [True, 3])
def test_fast_dev_run_leaves_no_file_and_no_earlier_record_goes(tmp_path, batches):
    t = trainer(tmp_path / "run", quick(dirpath=tmp_path / "mine"), max_epochs=2)
    module, loaders = make()
    t.fit(module, *loaders)
    before = {path: path.stat().st_mtime_ns for path in files(tmp_path)}
    again = SeparationMonitor(dirpath=tmp_path / "mine", on_error="raise")
    t = trainer(tmp_path / "dev", again, fast_dev_run=batches)
    assert not said(lambda: t.fit(module, *loaders))
    assert {path: path.stat().st_mtime_ns for path in files(tmp_path)} == before
    t.validate(module, loaders[1], verbose=False)
    assert {path: path.stat().st_mtime_ns for path in files(tmp_path)} == before


@pytest.mark.parametrize(
    "settings, message",
    [
        pytest.param({"limit_val_batches": 0}, "there is no validation loop", id="limit_val_batches-0"),
        pytest.param({"check_val_every_n_epoch": 3}, "no validation was analysed", id="never-validated"),
        pytest.param({"limit_train_batches": 0}, None, id="limit_train_batches-0"),
        pytest.param({"max_steps": 0}, None, id="max_steps-0"),
        pytest.param({"max_epochs": 0}, None, id="max_epochs-0"),
        pytest.param({"max_time": timedelta(0)}, None, id="max_time-over"),
    ],
)
def test_where_nothing_is_validated_that_is_said_and_no_record_is_left(tmp_path, settings, message):
    module, loaders = make()
    t = trainer(tmp_path, monitor(on_error="warn"), **settings)
    warned = said(lambda: t.fit(module, *loaders))
    assert len(warned) == (message is not None)
    assert all(message in text for text in warned)
    assert not [path for path in files(tmp_path) if path.suffix == ".npz"]
    assert hooks(module) == 0


class Own(LightningDataModule):
    """Its batches are as large as it, or who looks for the largest, says."""

    def __init__(self):
        super().__init__()
        self.batch_size = 16

    def train_dataloader(self):
        return loader(blobs(seed=1), self.batch_size)

    def val_dataloader(self):
        return loader(blobs(), self.batch_size)


def last(t):
    """Put the monitor behind the other callbacks (checkpoints stay last)."""
    t.callbacks.sort(key=lambda c: (isinstance(c, ModelCheckpoint), isinstance(c, SeparationMonitor)))


SWAPPED = "ablation: the network's weights are no longer those of the validation (a callback that averages them?)"


def swa():
    return StochasticWeightAveraging(1e-2, swa_epoch_start=1)


def ema():
    return EMAWeightAveraging(decay=0.9)


def lr_finder():
    return LearningRateFinder(num_training_steps=3)


def size_finder():
    return BatchSizeFinder(max_trials=1, steps_per_trial=1)


@pytest.mark.parametrize(
    "other, place",
    [
        pytest.param(swa, "behind", id="stochastic-weight-averaging"),
        pytest.param(swa, "before", id="stochastic-weight-averaging-before"),
        pytest.param(WeightAveraging, "behind", id="weight-averaging"),
        pytest.param(WeightAveraging, "before", id="weight-averaging-before"),
        pytest.param(ema, "behind", id="ema-weight-averaging"),
        pytest.param(ema, "before", id="ema-weight-averaging-before"),
        pytest.param(lr_finder, "behind", id="learning-rate-finder"),
        pytest.param(lr_finder, "before", id="learning-rate-finder-before"),
        pytest.param(size_finder, "before", id="batch-size-finder-before"),
        pytest.param(lambda: BackboneFinetuning(1), "behind", id="backbone-finetuning"),
        pytest.param(lambda: BackboneFinetuning(1), "before", id="backbone-finetuning-before"),
        pytest.param(Timer, "behind", id="timer"),
        pytest.param(LearningRateMonitor, "behind", id="learning-rate-monitor"),
        pytest.param(ModelSummary, "behind", id="model-summary"),
        pytest.param(RichProgressBar, "behind", id="rich-progress-bar"),
        pytest.param(DeviceStatsMonitor, "behind", id="device-stats"),
        pytest.param(lambda: GradientAccumulationScheduler({1: 2}), "behind", id="gradient-accumulation-scheduler"),
    ],
)
def test_other_callbacks(tmp_path, other, place):
    def go(t, module, data):
        if place == "before":
            last(t)
        t.fit(module, datamodule=data)

    run, t, module = run_twice(
        tmp_path,
        lambda: (Witness(), Own()),
        lambda: monitor(on_error="warn"),
        callbacks=lambda: [other()],
        go=go,
        max_epochs=2,
        enable_progress_bar=other is RichProgressBar,
    )
    swapped = other in (WeightAveraging, ema) and place == "before"  # it put its weights back before the monitor looked
    assert [record.notes for record in run.records] == [[SWAPPED] if swapped else []] * len(run.records)
    for record in run.records:
        record.notes.clear()
    assert_right(run, module, range(t.current_epoch), ablated=not swapped)


class Manual(Witness):
    automatic_optimization = False

    def training_step(self, batch, batch_idx):
        for optimizer in self.optimizers():
            optimizer.zero_grad()
            self.manual_backward(super().training_step(batch, batch_idx))
            optimizer.step()

    def configure_optimizers(self):
        return [torch.optim.SGD(part.parameters(), 0.1) for part in (self.net[0], self.net[2])]


class Brings(Witness):
    def configure_callbacks(self):
        return [monitor()] if any(isinstance(c, SeparationMonitor) for c in self.trainer.callbacks) else []


def checkpointing(reentrant):
    class Checkpointing(Witness):
        def training_step(self, batch, batch_idx):
            x = batch[0].clone().requires_grad_()
            return self.loss(checkpoint(self.net, x, use_reentrant=reentrant), batch[1])

        def apart(self, batch):
            outputs = checkpoint(self.net, batch[0], use_reentrant=reentrant)
            return {"net.0": functional.linear(batch[0], *self.net[0].parameters()), "net.2": outputs}

    return Checkpointing


@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad")
@pytest.mark.parametrize(
    "module",
    [
        pytest.param(Manual, id="manual-optimization"),
        pytest.param(Brings, id="configure_callbacks"),
        pytest.param(checkpointing(True), id="gradient-checkpointing-reentrant"),
        pytest.param(checkpointing(False), id="gradient-checkpointing"),
    ],
)
def test_modules(tmp_path, module):
    run, _, made = run_twice(tmp_path, lambda: make(module), monitor)
    assert_right(run, made, [0, 1])


# Compiled networks


class Counted:
    """A compiler that runs graphs as they are and counts those of layers (Lightning's ``log`` has some of its own)."""

    def __init__(self):
        self.graphs = 0

    def __call__(self, graph, inputs):
        self.graphs += any("linear" in str(node.target) for node in graph.graph.nodes)
        return graph.forward


class Inner(nn.Module):
    """No Sequential: the compiler takes another way around those."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(6, 8), nn.Linear(8, 3)

    def forward(self, x):
        return self.last(self.first(x).relu())


class Wraps(Witness):
    """A network whose layers are found under other names once it is compiled; to compile ``log`` would take long."""

    def __init__(self, prefix="net."):
        super().__init__(Inner())
        self.plain, self.prefix = [self.net.first], prefix  # in a list, so that the layer has one name

    def apart(self, batch):
        first = functional.linear(batch[0], *self.plain[0].parameters())
        return {f"{self.prefix}first": first, f"{self.prefix}last": self.net(batch[0])}

    def validation_step(self, batch, batch_idx, dataloader_idx=0):
        return {**self.apart(batch), "target": batch[1]}


class Calls(Wraps):
    """Is the network itself: the step calls ``self(x)``."""

    def forward(self, x):
        return self.net(x)

    def training_step(self, batch, batch_idx):
        return self.loss(self(batch[0]), batch[1])

    def apart(self, batch):
        return {**super().apart(batch), "net.last": self(batch[0])}


def whole(compiler):
    return torch.compile(Wraps(), backend=compiler)


def whole_that_is_called(compiler):
    return torch.compile(Calls(), backend=compiler)


def whole_in_place(compiler):
    module = Wraps()
    module.compile(backend=compiler)
    return module


def called_in_place(compiler):
    module = Calls()
    module.compile(backend=compiler)
    return module


def child(compiler):
    module = Wraps("net._orig_mod.")
    module.net = torch.compile(module.net, backend=compiler)
    return module


def child_in_place(compiler):
    module = Wraps()
    module.net.compile(backend=compiler)
    return module


def layers_in_place(compiler):
    module = Wraps()
    for layer in module.net.children():
        layer.compile(backend=compiler)
    return module


def one_layer(compiler):
    module = Wraps()
    module.net.last.forward = torch.compile(module.net.last.forward, backend=compiler)
    return module


def forward_of_child(compiler):
    module = Wraps()
    module.net.forward = torch.compile(module.net.forward, backend=compiler)
    return module


@pytest.mark.parametrize(
    "made, sanity",
    [
        pytest.param(whole, 2, id="torch.compile-of-the-module"),
        pytest.param(whole_that_is_called, 0, id="torch.compile-of-a-module-that-is-called"),
        pytest.param(whole_in_place, 2, id="module.compile"),
        pytest.param(called_in_place, 2, id="module.compile-of-a-module-that-is-called"),
        pytest.param(child, 2, id="torch.compile-of-the-child"),
        pytest.param(child, 0, id="torch.compile-of-the-child-under-the-monitor"),
        pytest.param(child_in_place, 2, id="child.compile"),
        pytest.param(child_in_place, 0, id="child.compile-under-the-monitor"),
        pytest.param(layers_in_place, 2, id="layer.compile"),
        pytest.param(one_layer, 2, id="compiled-forward-of-a-layer"),
        pytest.param(forward_of_child, 0, id="compiled-forward-of-the-child"),
    ],
)
def test_compiled(tmp_path, made, sanity):
    compilers = []

    def compiled():
        torch._dynamo.reset()
        compilers.append(Counted())
        return made(compilers[-1]), (loader(blobs(seed=1)), loader(blobs()))

    both = {"splits": ("val", "train")}
    run, t, _ = run_twice(tmp_path, compiled, lambda: monitor(**both), num_sanity_val_steps=sanity)
    module = t.lightning_module
    assert_right(run, module, [0, 1])
    x, y = blobs(seed=1).tensors
    found = run.train.records[-1].findings["henze_penrose"][f"{module.prefix}last"]["divergence"]
    np.testing.assert_array_equal(found, henze_penrose_divergence(module.net(x).detach(), y))
    without, with_monitor = compilers
    assert without.graphs == with_monitor.graphs
    assert without.graphs > 0 or made in (whole_in_place, layers_in_place)  # never called; too small to be compiled


@pytest.mark.slow
@pytest.mark.skipif(not any(map(which, ("c++", "g++", "clang++"))), reason="the default backend needs a C++ compiler")
@pytest.mark.parametrize("made", [whole, child, child_in_place])
def test_compiled_by_the_default_backend(tmp_path, made):
    def compiled():
        torch._dynamo.reset()
        return made("inductor"), (loader(blobs(seed=1)), loader(blobs()))

    run, t, _ = run_twice(tmp_path, compiled, monitor)
    assert_right(run, t.lightning_module, [0, 1])


def test_a_compiled_step_that_cannot_be_run_without_its_trainer_is_said(tmp_path):
    class Asks(Wraps):
        def validation_step(self, batch, batch_idx, dataloader_idx=0):
            assert self.trainer.validating or self.trainer.sanity_checking
            return super().validation_step(batch, batch_idx)

    def go(t, module, loaders):
        found.append(said(lambda: t.fit(module, *loaders)))

    found = []
    made = lambda: (torch.compile(Asks(), backend="eager"), (loader(blobs(seed=1)), loader(blobs())))  # noqa: E731
    with pytest.raises(FileNotFoundError):  # no record, else as without the monitor
        run_twice(tmp_path, made, lambda: monitor(on_error="warn"), go=go)
    without, (message,) = found
    assert not without
    assert "validation_step: it is compiled, and run without that on a copy of the module it fails" in message
    assert message.endswith("Compile the network instead")


# Resumed runs


def fit(root, monitors=(), *others, module=None, until=4, data=None, **settings):
    """Batches in a fixed order and no dropout, so that a resumed run repeats the uninterrupted one."""
    torch.manual_seed(5)
    module = Witness() if module is None else module
    ckpt_path = settings.pop("ckpt_path", None)
    t = trainer(root, *monitors, *others, max_epochs=until, **settings)
    t.fit(module, loader(blobs(seed=1)), loader(blobs()) if data is None else data, ckpt_path=ckpt_path)
    return t, module


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """The uninterrupted run and checkpoints of all kinds; ``none`` was made without a monitor."""
    root = tmp_path_factory.mktemp("runs")
    fit(root, [monitor(dirpath=root / "full")])
    every = {"save_top_k": -1, "filename": "{step}"}
    kinds = {
        "epoch": ModelCheckpoint(root / "epoch", **every),
        "validation": ModelCheckpoint(root / "validation", every_n_epochs=2, save_on_train_epoch_end=False, **every),
        "middle": ModelCheckpoint(root / "middle", every_n_train_steps=6, **every),
    }
    fit(root, [monitor(dirpath=root / "half")], *kinds.values(), until=3)
    fit(root, [], ModelCheckpoint(root / "none", **every), until=2)
    return root


def assert_equal(expected, run):
    """Records of both are the same, to the last bit."""
    for a, b in zip(expected, run, strict=True):
        assert (a.epoch, a.step, a.layers, a.notes) == (b.epoch, b.step, b.layers, b.notes)
        assert a.findings.keys() == b.findings.keys()
        for analysis, found in a.findings.items():
            for layer in found:
                for quantity, array in found[layer].items():
                    np.testing.assert_array_equal(b.findings[analysis][layer][quantity], array, f"{analysis} {layer}")


@pytest.mark.parametrize(
    "checkpoint, folder, first",
    [
        pytest.param("epoch/step=8.ckpt", "same", 0, id="same-folder"),
        pytest.param("epoch/step=8.ckpt", "new", 2, id="new-folder"),
        pytest.param("validation/step=8.ckpt", "same", 0, id="after-a-validation"),
    ],
)
def test_resumed_records_are_those_of_the_uninterrupted_run(runs, tmp_path, checkpoint, folder, first):
    if folder == "same":
        copytree(runs / "half", tmp_path / "here")
    resumed = monitor(dirpath=tmp_path / "here")
    fit(tmp_path, [resumed], ckpt_path=runs / checkpoint)
    run = load_run(tmp_path / "here")
    assert_equal(load_run(runs / "full").records[first:], run.records)
    assert list(resumed._output.presenters["val"]._memory) == [0, 1, 2, 3]  # the curves in the figures are whole
    assert run.info["sample"] == load_run(runs / "full").info["sample"]


def test_resume_in_the_middle_of_an_epoch_replaces_its_record_and_later_ones(runs, tmp_path):
    copytree(runs / "half", tmp_path / "here")  # epochs 0 to 2
    _, module = fit(tmp_path, [monitor(dirpath=tmp_path / "here")], until=2, ckpt_path=runs / "middle" / "step=6.ckpt")
    run = load_run(tmp_path / "here")
    assert run.epochs == [0, 1]
    assert [record.step for record in run.records] == [3, 7]
    assert_equal(load_run(runs / "full").records[:1], run.records[:1])
    run.records.pop(0)
    assert_right(run, module, [1])


CHOSEN = (
    "sample: the checkpoint's was chosen by samples_per_class=100; another is chosen now, so epochs compare less well"
)


@pytest.mark.parametrize(
    "checkpoint, settings, epochs, counts, message",
    [
        pytest.param("none", {}, [2, 3], 20, None, id="checkpoint-without-monitor"),
        pytest.param("epoch", {"name": "other"}, [2, 3], 20, None, id="another-name"),
        pytest.param("epoch", {"samples_per_class": 7}, [2, 3], 7, CHOSEN, id="fewer-samples"),
        pytest.param("epoch", {"every_n_epochs": 2}, [3], 20, None, id="another-rhythm"),
        pytest.param("epoch", {"layers": ["net.[02]"]}, [2, 3], 20, None, id="other-layers"),
        pytest.param("epoch", {"analyses": [HenzePenrose(), Selectivity()]}, [2, 3], 20, None, id="other-analyses"),
    ],
)
def test_resume_with_other_settings(runs, tmp_path, checkpoint, settings, epochs, counts, message):
    with_settings = (
        quick(on_error="warn", dirpath=tmp_path / "here", **settings)
        if "analyses" not in settings
        else (monitor(**settings, on_error="warn", dirpath=tmp_path / "here"))
    )
    made = []
    warned = said(lambda: made.append(fit(tmp_path, [with_settings], ckpt_path=runs / checkpoint / "step=8.ckpt")))
    assert warned == ([] if message is None else [f"SeparationMonitor 'separation': {message}"])
    run = load_run(tmp_path / "here")
    assert [record.counts.tolist() for record in run.records] == [[counts] * 3] * len(epochs)
    assert [list(record.findings) for record in run.records] == [[a.name for a in with_settings.analyses]] * len(epochs)
    assert run.epochs == epochs
    if counts == 20:
        assert_right(run, made[0][1], epochs, ablated=False)


def test_a_state_of_another_version_costs_only_what_it_holds(runs, tmp_path):
    state = torch.load(runs / "epoch" / "step=8.ckpt", weights_only=True)
    state["callbacks"]["SeparationMonitor[separation]"] = {"from": "elsewhere"}
    torch.save(state, tmp_path / "strange.ckpt")
    again, made = monitor(dirpath=tmp_path / "here"), []
    (message,) = said(lambda: made.append(fit(tmp_path, [again], ckpt_path=tmp_path / "strange.ckpt")))
    assert "checkpoint: what it has of this monitor cannot be read: KeyError('sample')" in message
    assert_right(load_run(tmp_path / "here"), made[0][1], [2, 3])


# Runs that end early, and runs after others


class Stop(Exception):  # noqa: N818 - whatever the user raises
    pass


def raising(base, hook, error):
    """An object of which one hook raises, but in the sanity check."""

    def method(self, *args, **kwargs):
        if (args[0] if base is Callback else self.trainer).sanity_checking:
            return getattr(base, hook)(self, *args, **kwargs)
        raise error

    return type("Raises", (base,), {hook: method})()


def ends_with(error, root, monitors, *others, module):
    """The fit ends with the user's own exception (an interrupt with what Lightning makes of it)."""
    with pytest.raises((type(error), SystemExit)) as caught:
        fit(root, monitors, *others, module=module, until=1)
    assert caught.value is error or isinstance(error, KeyboardInterrupt)


def assert_works(root, again, module=None):
    """The same monitor in another fit records what there is."""
    _, module = fit(root, [again], module=module, until=1)
    assert_right(load_run(again.dirpath), module, [0], ablated=False)


MODULE_HOOKS = (
    "on_fit_start", "on_train_start", "training_step", "on_validation_start", "on_validation_epoch_start",
    "on_validation_batch_start", "validation_step", "on_validation_batch_end", "on_validation_epoch_end",
    "on_validation_end", "on_train_epoch_end", "on_train_end", "on_save_checkpoint", "teardown",
)  # fmt: skip


@pytest.mark.parametrize("hook", MODULE_HOOKS)
def test_hooks_of_the_module_that_raise(tmp_path, hook):
    again = quick(dirpath=tmp_path / "here")
    error = Stop(hook)
    module = raising(Witness, hook, error)
    ends_with(error, tmp_path, [again], module=module)
    assert hooks(module) == 0
    assert_works(tmp_path, again)


CALLBACK_HOOKS = ("setup", *(h for h in MODULE_HOOKS if h not in ("training_step", "validation_step")))


@pytest.mark.parametrize("place", ["before", "behind"])
@pytest.mark.parametrize("hook", CALLBACK_HOOKS)
def test_hooks_of_another_callback_that_raise(tmp_path, hook, place):
    again, module = quick(dirpath=tmp_path / "here"), Witness()
    error = Stop(hook)
    other = raising(Callback, hook, error)
    ends_with(error, tmp_path, *([[again], other] if place == "behind" else [[other], again]), module=module)
    assert hooks(module) == 0
    assert_works(tmp_path, again)


@pytest.mark.parametrize("step", ["training_step", "validation_step"])
@pytest.mark.parametrize("error", [KeyboardInterrupt(), Stop("mine")], ids=["interrupt", "exception"])
def test_a_run_that_is_stopped_in_a_step(tmp_path, error, step):
    again = quick(dirpath=tmp_path / "here")
    broken = raising(Witness, step, error)
    ends_with(error, tmp_path, [again], module=broken)
    assert hooks(broken) == 0
    assert_works(tmp_path, again)


def test_one_monitor_after_another_fit_and_with_another_trainer(tmp_path):
    again = quick(dirpath=tmp_path / "here")
    t, module = fit(tmp_path, [again], until=2)
    t.fit_loop.max_epochs = 3
    t.fit(module, loader(blobs(seed=1)), loader(blobs()))
    assert_right(load_run(tmp_path / "here"), module, [0, 1, 2], ablated=False)
    assert_works(tmp_path, again)  # of the fits before nothing is left


def test_outside_of_fit(tmp_path):
    def forward(self, x):
        return self.net(x)

    watching, module = quick(dirpath=tmp_path / "here"), type("Predicts", (Witness,), {"forward": forward})()
    t = trainer(tmp_path, watching)
    for repeat in range(3):
        with torch.no_grad():
            module.net[2].weight.add_(repeat)
        t.validate(module, loader(blobs()), verbose=False)
    t.test(module, loader(blobs(seed=4)), verbose=False)
    assert not said(lambda: t.predict(module, loader(blobs().tensors[0])))
    run = load_run(tmp_path / "here")
    assert [record.stage for record in run.records] == ["test", "validate", "validate", "validate"]
    for record, data in ((run.records[0], blobs(seed=4)), (run.records[3], blobs())):
        x, y = data.tensors
        found = record.findings["henze_penrose"]["net.2"]["divergence"]
        np.testing.assert_array_equal(found, henze_penrose_divergence(module.net(x).detach(), y))
    assert hooks(module) == 0


def test_two_monitors(tmp_path):
    first, second = quick(layers=["net.0"]), quick(name="second", dataloader_idx=1, layers=["net.2"])
    t = trainer(tmp_path, first, second)
    module = Classifier(mlp())
    t.fit(module, loader(blobs(seed=1)), [loader(blobs()), loader(blobs(seed=4))])
    for name, data, layer in (("separation", blobs(), "net.0"), ("second", blobs(seed=4), "net.2")):
        run = load_run(f"{t.log_dir}/{name}")
        assert run.layers == ["input", layer]
        x, y = data.tensors
        made = module.net[0](x) if layer == "net.0" else module.net(x)
        found = run.records[-1].findings["henze_penrose"][layer]["divergence"]
        np.testing.assert_array_equal(found, henze_penrose_divergence(made.detach(), y))
    with pytest.raises(ValueError, match="2 SeparationMonitors are called 'separation'; give each its own name="):
        trainer(tmp_path, quick(), quick()).fit(module, loader(blobs()), loader(blobs()))
