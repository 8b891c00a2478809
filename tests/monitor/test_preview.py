"""The line that says before training what an analysed epoch will cost, against what it then costs."""

import logging
import re

import pytest
import torch
from pytorch_lightning.callbacks import LambdaCallback
from torch import nn
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from lightning_separation import (
    Ablation,
    Confusion,
    DirectionAblation,
    FeatureInformation,
    GroupAblation,
    HenzePenrose,
    InputFeatures,
    LayerInformation,
    NextLayerEffect,
    PermutationImportance,
    SeparationMonitor,
    Significance,
    WeightContributions,
    load_run,
)
from lightning_separation import analyses as every_analysis
from lightning_separation.analyses.cost import Foreseeable
from lightning_separation.records import Findings
from tests.compatibility.harness import run_twice
from tests.helpers import Classifier, blobs, hooks, loader, mlp, trainer

LOGGER = "lightning_separation.monitor"
NO_ANALYSES = {"Analysis", "LayerAnalysis", "Findings"}


class Stream(IterableDataset):
    """Data without a length."""

    def __iter__(self):
        return iter(list(zip(*blobs().tensors, strict=True)))


class Counting(nn.Module):
    """A network that notes how many samples it is given outside of training; its code may look at values."""

    def __init__(self, net, looks=False):
        super().__init__()
        self.net, self.looks, rows = net, looks, []
        self.note, self.rows = rows.append, lambda: sum(rows)

    def forward(self, x):
        if not self.training:
            self.note(len(x))
        outputs = self.net(x)
        return outputs * 2 if self.looks and outputs.mean() > 1e9 else outputs


class Own:
    """A user's analysis that does not say what it will cost."""

    name, needs_classes = "own", False

    def compute(self, snapshot):
        return Findings({"width": ()}, {"input": {"width": float(snapshot.units("input").shape[1])}})


class OwnThatSays(Own):
    name = "own_that_says"

    def forwards(self, facts):
        return 2 * len(facts.layers)


class OwnThatFails(Own):
    def forwards(self, facts):
        raise RuntimeError("no idea")


def previews(caplog):
    said = [record.getMessage() for record in caplog.records if record.name == LOGGER and record.levelname == "INFO"]
    return [line for line in said if not re.search(r"', (epoch|validate,|test,|before)[ \w]*: ", line)]


def fit(root, monitor, module=None, val=None, **settings):
    monitors = monitor if isinstance(monitor, list) else [monitor]
    t = trainer(root, *monitors, **{"max_epochs": 1, "logger": False, **settings})
    t.fit(Classifier() if module is None else module, loader(blobs(seed=1)), loader(blobs()) if val is None else val)
    assert hooks(t.lightning_module) == 0
    return t


def cnn():
    parts = [nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(16, 3)]
    return nn.Sequential(*parts)


def fused():
    """Whose encoder layer runs as one kernel in evaluation, so that hooks on its parts see nothing."""
    encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(6, 2, 8, batch_first=True), 1)
    return nn.Sequential(nn.Unflatten(1, (1, 6)), encoder, nn.Flatten(), nn.LayerNorm(6), nn.Linear(6, 3))


def images():
    x, y = blobs(dim=16).tensors
    return TensorDataset(x.reshape(-1, 1, 4, 4), y)


THREE = "up to 60 samples (at most 100 of each class; 3 classes seen so far)"
# What is held of 60 samples: 19 units and 6 features in float32.
SMALL = "6 kB of activations (max_memory 2 GB)"
LOOKS = [HenzePenrose(), Significance()]
NONE = "forwards per analysed epoch, at most: none for henze_penrose, significance"
ALONE = "forwards per analysed epoch, for the layers seen alone: none for henze_penrose, significance"
MAY_NEED_MORE = "may need more memory and forwards than all this"


@pytest.mark.parametrize(
    "make, settings, expected",
    [
        pytest.param(
            SeparationMonitor,
            {},
            f"each validated epoch: 3 layers of net, 19 units, {THREE}; {SMALL}; forwards per analysed epoch, at most: "
            "19 of parts of the network + 5 of the whole for ablation, none for henze_penrose, significance",
            id="mlp",
        ),
        pytest.param(
            lambda: SeparationMonitor(LOOKS, class_names=list("abcd"), every_n_epochs=5, samples_per_class=10),
            {},
            "every 5 epochs: 3 layers of net, 19 units, up to 40 samples (10 of each of 4 classes); 4 kB of "
            f"activations (max_memory 2 GB); {NONE}",
            id="class-names",
        ),
        pytest.param(
            lambda: SeparationMonitor(LOOKS, samples_per_class=10, epochs=[0]),
            {},
            "in epoch 0: 3 layers of net, 19 units, about 30 samples (at most 10 of each class; "
            "3 classes seen so far); 3 kB of "
            f"activations (max_memory 2 GB); {NONE}",
            id="classes-unsure",
        ),
        pytest.param(
            lambda: SeparationMonitor([*LOOKS, LayerInformation()], target_fn=False, max_samples=50),
            {},
            "each validated epoch: 3 layers of net, 19 units, up to 50 samples without classes; 5 kB of activations "
            "(max_memory 2 GB); forwards per analysed epoch, at most: none for layer_information; left out without "
            "classes: henze_penrose, significance",
            id="without-classes",
        ),
        pytest.param(
            lambda: SeparationMonitor([*LOOKS, OwnThatSays(), Own()]),
            {"num_sanity_val_steps": 0},
            f"each validated epoch: 3 layers of net, 19 units, {THREE}; {SMALL}; forwards per analysed epoch, at most: "
            "6 of the whole network for own_that_says, not known of own, none for henze_penrose, significance",
            id="no-sanity-check-and-own-analyses",
        ),
        pytest.param(
            lambda: SeparationMonitor(LOOKS),
            {"val": DataLoader(Stream(), batch_size=16)},
            "each validated epoch: 3 layers of net, 19 units, about 300 samples (at most 100 of each class; "
            "3 classes seen so far); "
            f"30 kB of activations (max_memory 2 GB); {NONE}",
            id="no-length",
        ),
        pytest.param(
            lambda: SeparationMonitor(LOOKS),
            {"limit_val_batches": 2},
            "each validated epoch: 3 layers of net, 19 units, up to 32 samples (at most 100 of each class; "
            "3 classes seen so far); "
            f"3.2 kB of activations (max_memory 2 GB); {NONE}",
            id="limited-batches",
        ),
        pytest.param(
            lambda: SeparationMonitor(
                [HenzePenrose(layers="net.0"), Ablation(layers="net.3", max_samples=30, every_n_epochs=2)],
                layers=["net.0", "net.3"],
                splits=("val", "train"),
            ),
            {},
            f"each validated epoch: 2 layers of net, 11 units, {THREE}; 4.08 kB of activations (max_memory 2 GB); "
            "forwards per analysed epoch, at most: 3 of parts of the network on 30 samples + 3 of the whole for "
            "ablation (every 2 epochs), none for henze_penrose; as much again for the training data",
            id="chosen-layers-and-training-data",
        ),
        pytest.param(
            lambda: SeparationMonitor(LOOKS),
            {"module": lambda: Classifier(nn.Sequential(torch.compile(mlp(), backend="eager"), nn.Softplus()))},
            f"each validated epoch: 1 layer of net, 3 units, {THREE}; at least 2.16 kB of activations (max_memory "
            f"2 GB); {ALONE}; 3 layers not seen yet (compiled, fused or not called) {MAY_NEED_MORE}",
            id="compiled",
        ),
        pytest.param(
            lambda: SeparationMonitor(LOOKS),
            {"module": lambda: Classifier(fused())},
            # 6 floats in, 6 of the norm behind the fused layer, 3 out
            f"each validated epoch: 2 layers of net, 9 units, {THREE}; at least 3.6 kB of activations (max_memory "
            f"2 GB); {ALONE}; 5 layers not seen yet (compiled, fused or not called) {MAY_NEED_MORE}",
            id="fused",
        ),
        pytest.param(
            lambda: SeparationMonitor(LOOKS, target_fn=lambda batch: (1000 * batch[0][:, 0]).round()),
            {},
            f"each validated epoch: 3 layers of net, 19 units, up to 60 samples without classes; {SMALL}; left out "
            "without classes: henze_penrose, significance",
            id="whole-numbers-that-are-values",
        ),
        pytest.param(
            lambda: SeparationMonitor(LOOKS),
            {"module": lambda: Classifier(cnn()), "val": loader(images())},
            # 1x4x4, 2 x 4x4x4, 4x2x2, 3 floats
            f"each validated epoch: 4 layers of net, 15 units, {THREE}; 39.1 kB of activations (max_memory 2 GB); "
            f"{NONE}",
            id="cnn",
        ),
    ],
)
def test_the_line(tmp_path, caplog, make, settings, expected):
    caplog.set_level(logging.INFO, logger=LOGGER)
    module, val = settings.get("module", Classifier)(), settings.get("val", loader(blobs()))
    settings = {key: value for key, value in settings.items() if key not in ("module", "val")}
    train = val if isinstance(module.net[0], nn.Conv2d) else loader(blobs(seed=1))
    t = trainer(tmp_path, make(), max_epochs=1, logger=False, **settings)
    t.fit(module, train, val)
    assert hooks(module) == 0
    assert previews(caplog) == [f"SeparationMonitor 'separation', {expected}"]


@pytest.mark.parametrize("looks", [False, True], ids=["in-parts", "whole-network"])
@pytest.mark.parametrize(
    "analysis, at_least",
    [
        pytest.param(Ablation(), 0.5, id="ablation"),
        pytest.param(Ablation(max_forwards=10, max_samples=30), 0.5, id="ablation-screened"),
        pytest.param(Confusion(), 0.5, id="confusion"),
        pytest.param(GroupAblation(fraction=0.5, repeats=3, alpha=1e-9), 0.5, id="group"),
        pytest.param(NextLayerEffect(fraction=0.5, alpha=1e-9), 0.5, id="next-layer"),
        pytest.param(
            DirectionAblation(directions=["random", "principal", "class_means"], count=8), 0.5, id="direction"
        ),
        pytest.param(DirectionAblation("search", count=8, layers="net.net.2"), 0.05, id="direction-search"),
        pytest.param(PermutationImportance(repeats=5), 0.5, id="permutation"),
        pytest.param(PermutationImportance(max_forwards=20, groups={"some": [0, 1]}), 0.5, id="permutation-groups"),
        pytest.param(InputFeatures(max_units=2), 1.0, id="input-features"),
        pytest.param(FeatureInformation(), 1.0, id="feature-information"),
        pytest.param(WeightContributions(), 1.0, id="weight-contributions"),
        pytest.param(HenzePenrose(), 1.0, id="henze-penrose"),
    ],
)
def test_forwards_are_what_the_network_runs(tmp_path, caplog, analysis, at_least, looks):
    caplog.set_level(logging.INFO, logger=LOGGER)
    torch.manual_seed(0)
    network = Counting(nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3)), looks)
    fit(tmp_path, SeparationMonitor([analysis], on_error="raise"), Classifier(network))
    (line,) = previews(caplog)
    whole, parts = (re.search(rf"([\d,]+) of {what}", line) for what in ("the whole", "parts of the network"))
    some = re.search(r"parts of the network on (\d+) samples", line)
    bound = int(whole[1]) * 60 if whole else 0
    if looks and parts:  # the whole network is run where only a part of it was to be
        bound += int(parts[1].replace(",", "")) * (int(some[1]) if some else 60)
    ran = network.rows() - 32 - 60  # the sanity check and the validation
    assert at_least * bound <= ran <= bound


@pytest.mark.parametrize("analysis", [Ablation(), Ablation(max_forwards=6)], ids=["all", "screened"])
def test_parts_are_the_units_that_are_computed_exactly(tmp_path, caplog, analysis):
    caplog.set_level(logging.INFO, logger=LOGGER)
    fit(tmp_path, SeparationMonitor([analysis], on_error="raise"))
    parts = int(re.search(r"(\d+) of parts", previews(caplog)[0])[1])
    (record,) = load_run(tmp_path).records
    exact = {layer: int(found["exact"].sum()) for layer, found in record.findings["ablation"].items()}
    # A Linear and the ReLU behind it lose the same, which is computed once.
    assert exact["net.1"] + exact["net.3"] <= parts <= 2 * (exact["net.1"] + exact["net.3"])


@pytest.mark.parametrize(
    "max_memory, groups",
    [
        pytest.param(6 * 6200, 0, id="all-held"),
        pytest.param(6 * 4200, 1, id="one-again"),
        pytest.param(6 * 3000, 2, id="two-groups"),
    ],
)
def test_layers_that_do_not_fit_are_run_again_as_often_as_it_says(tmp_path, caplog, max_memory, groups):
    caplog.set_level(logging.INFO, logger=LOGGER)
    network = Counting(mlp())
    monitor = SeparationMonitor(LOOKS, max_memory=max_memory, on_error="raise")
    seen = []
    each = LambdaCallback(on_validation_end=lambda *_: seen.append(network.rows()))
    fit(tmp_path, [monitor, each], Classifier(network), max_epochs=2)
    (line,) = previews(caplog)
    assert ("computed again" in line) == (groups > 0)
    assert ("computed again in 2 groups" in line) == (groups == 2)
    # In the second epoch, when the number of samples is known beforehand; in the first buffers grow by doubling.
    every = len(LOOKS) if groups > 1 else 1  # what is in one group is kept from one analysis to the next
    assert seen[2] - seen[1] - 60 == groups * every * 60


@pytest.mark.parametrize(
    "max_memory, said",
    [
        pytest.param(6 * 1000, "the inputs alone are more than max_memory leaves (1 kB): raise it", id="inputs"),
        pytest.param(6 * 1800, "; 2 layers too large to be analysed", id="layers"),
    ],
)
def test_it_says_what_cannot_fit(tmp_path, caplog, max_memory, said):
    caplog.set_level(logging.INFO, logger=LOGGER)
    with pytest.warns(UserWarning, match="max_memory leaves"):
        fit(tmp_path, SeparationMonitor(LOOKS, max_memory=max_memory))
    (line,) = previews(caplog)
    assert said in line


def test_each_monitor_has_its_line_and_a_second_fit_knows_the_samples(tmp_path, caplog):
    caplog.set_level(logging.INFO, logger=LOGGER)
    monitors = [SeparationMonitor(LOOKS, name=name, samples_per_class=7) for name in ("one", "two")]
    t = fit(tmp_path, monitors)
    assert [line.split("'")[1] for line in previews(caplog)] == ["one", "two"]
    t.fit_loop.max_epochs = 2
    t.fit(t.lightning_module, loader(blobs(seed=1)), loader(blobs()))
    assert all("19 units, 21 samples; " in line for line in previews(caplog)[2:])
    assert len(previews(caplog)) == 4


@pytest.mark.parametrize("settings", [{}, {"num_sanity_val_steps": 0}], ids=["sanity-check", "no-sanity-check"])
def test_training_is_the_same_to_the_last_bit(tmp_path, caplog, settings):
    caplog.set_level(logging.INFO, logger=LOGGER)
    data = lambda: (loader(blobs(seed=1), shuffle=True), loader(blobs()))  # noqa: E731
    network = lambda: nn.Sequential(torch.compile(mlp(), backend="eager"), nn.Dropout(), nn.Linear(3, 3))  # noqa: E731
    run, *_ = run_twice(tmp_path, lambda: (Classifier(network()), data()), max_epochs=1, **settings)
    assert run.epochs == [0]
    assert len(previews(caplog)) == 1


@pytest.mark.parametrize(
    "level, settings",
    [
        pytest.param(logging.WARNING, {}, id="warning"),
        pytest.param(logging.INFO, {"fast_dev_run": True}, id="fast-dev-run"),
        pytest.param(logging.INFO, {"limit_val_batches": 0}, id="no-validation"),
    ],
)
def test_nothing_is_said(tmp_path, caplog, level, settings):
    caplog.set_level(level, logger=LOGGER)
    fit(tmp_path, SeparationMonitor(LOOKS), **settings)
    assert not previews(caplog)


def test_without_logging_set_up_it_is_seen_where_lightnings_lines_are(tmp_path, monkeypatch):
    seen, lightning = [], logging.getLogger("pytorch_lightning")
    handler = logging.Handler()
    handler.emit = lambda record: seen.append(record.getMessage())
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    lightning.addHandler(handler)
    try:
        fit(tmp_path, SeparationMonitor(LOOKS))
    finally:
        lightning.removeHandler(handler)
    assert sum("3 layers of net, 19 units" in line for line in seen) == 1


def test_a_preview_that_fails_costs_nothing_else(tmp_path, caplog):
    caplog.set_level(logging.DEBUG, logger="lightning_separation")
    fit(tmp_path, SeparationMonitor([OwnThatFails()], on_error="raise"))
    (record,) = load_run(tmp_path).records
    assert record.findings["own"]["input"]["width"] == 6
    assert record.notes == []
    (said,) = [r for r in caplog.records if r.name == "lightning_separation.preview"]
    assert said.levelname == "DEBUG"
    assert "no idea" in str(said.exc_info[1])


def test_no_hook_stays_behind_a_sanity_check_that_raises(tmp_path, caplog):
    class Raises(Classifier):
        def validation_step(self, batch, batch_idx):
            super().validation_step(batch, batch_idx)
            raise RuntimeError("the user's own")

    caplog.set_level(logging.INFO, logger=LOGGER)
    module = Raises()
    with pytest.raises(RuntimeError, match="the user's own"):
        trainer(tmp_path, SeparationMonitor(LOOKS)).fit(module, loader(blobs(seed=1)), loader(blobs()))
    assert hooks(module) == 0
    assert not previews(caplog)


def test_every_analysis_says_what_it_will_cost():
    made = [getattr(every_analysis, name)() for name in every_analysis.__all__ if name not in NO_ANALYSES]
    assert HenzePenrose() in made
    assert [analysis.name for analysis in made if not isinstance(analysis, Foreseeable)] == []
