"""Settings that cannot work raise and say what to do; trouble on the way is said once and costs nothing else."""

import warnings

import numpy as np
import pytest
import torch
from pytorch_lightning.loggers import TensorBoardLogger
from torch import nn
from torch.utils.data import TensorDataset

from lightning_separation import (
    Ablation,
    DirectionAblation,
    GroupAblation,
    HenzePenrose,
    NextLayerEffect,
    SeparationMonitor,
    load_run,
)
from lightning_separation.monitor import MonitorError
from tests.helpers import Classifier, blobs, hooks, loader, mlp, trainer


def fit(root, monitor, module=None, val=None, train=None, **settings):
    module = Classifier() if module is None else module
    t = trainer(root, monitor, **settings)
    t.fit(module, loader(blobs(seed=1)) if train is None else train, loader(blobs()) if val is None else val)
    return t


def said(root, monitor, *parts, **kwargs):
    """Fit to the end; exactly one warning holds all the parts. Returns the run and its trainer."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        t = fit(root, monitor, **kwargs)
    assert t.current_epoch == 2  # training went on to the end
    ours = [str(w.message) for w in caught if "SeparationMonitor" in str(w.message)]
    assert sum(all(part in message for part in parts) for message in ours) == 1, ours
    assert hooks(t.lightning_module) == 0
    return t


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"every_n_epochs": 0}, "every_n_epochs"),
        ({"samples_per_class": 2.5}, "samples_per_class"),
        ({"max_samples": -1}, "max_samples"),
        ({"pooling": "median"}, "pooling"),
        ({"on_error": "ignore"}, "on_error"),
        ({"emit": ["scalar"]}, "'scalars'"),
        ({"splits": ["train"]}, "splits"),
        ({"name": "a/b"}, "name"),
        ({"name": ""}, "name"),
        ({"name": ".."}, "name"),
        ({"dataloader_idx": -1}, "dataloader_idx"),
        ({"epochs": [0.5]}, "epochs"),
        ({"class_names": "abc"}, "class_names"),
        ({"class_names": ["a", "a"]}, "class_names"),
        ({"epochs": []}, "epochs"),
        ({"epochs": [-1]}, "epochs"),
        ({"max_memory": "lots"}, "max_memory"),
        ({"analyses": [HenzePenrose(), HenzePenrose()]}, "two are called"),
        ({"analyses": [HenzePenrose]}, "is a class"),
        ({"analyses": ["HenzePenrose"]}, r"HenzePenrose\(\) is meant"),
        ({"analyses": ["henze_penrose"]}, "compute"),
    ],
)
def test_impossible_settings_raise_at_once(settings, message):
    with pytest.raises(ValueError, match=message):
        SeparationMonitor(**settings)


@pytest.mark.parametrize(
    "settings",
    [
        {"distance": "manhattan"},
        {"multiclass": "one"},
        {"num_trees": 0},
        {"multiclass": "global", "num_trees": 2},
        {"num_trees": 1.5},
        {"every_n_epochs": 0},
    ],
)
def test_impossible_analyses_raise_at_once(settings):
    with pytest.raises(ValueError):
        HenzePenrose(**settings)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Ablation(screen=2),
        lambda: Ablation(value="nothing"),
        lambda: DirectionAblation(directions="best"),
        lambda: GroupAblation(fraction=0),
        lambda: NextLayerEffect(alpha=0),
    ],
)
def test_impossible_interventions_raise_at_once(make):
    with pytest.raises(ValueError, match=r"screen|value|directions|fraction|alpha"):
        make()


INTERVENTIONS = [
    Ablation,
    lambda: DirectionAblation(directions=["random", "principal", "class_means", "search"], count=8),
    lambda: GroupAblation(fraction=1),
    lambda: NextLayerEffect(fraction=1),
]


def interventions():
    return [make() for make in INTERVENTIONS]


def test_an_output_that_is_no_prediction_costs_only_the_interventions(tmp_path):
    class Embeds(Classifier):
        """Ends in numbers that are no classes; its step makes some of them."""

        def training_step(self, batch, batch_idx):
            return self.net(batch[0]).square().mean()

        def validation_step(self, batch, batch_idx, dataloader_idx=0):
            self.log("val_loss", self.net(batch[0]).square().mean())

    monitor = SeparationMonitor([HenzePenrose(), *interventions()])
    net = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 8), nn.Unflatten(1, (2, 4)))
    reason = "nothing to measure the network by: an output of shape (16, 2, 4) does not fit a target"
    t = said(tmp_path, monitor, f"'separation': ablation: {reason}", module=Embeds(net))
    found = load_run(t.log_dir).records[-1].findings
    assert list(found["henze_penrose"]) == ["input", "net.0", "net.1", "net.2"]
    assert not found.get("ablation")
    assert not found.get("direction_ablation")


def test_a_layer_of_whole_numbers_costs_only_its_own_ablation(tmp_path):
    class Rounds(nn.Module):
        def forward(self, x):
            return x.round().long()

    class Floats(nn.Module):
        def forward(self, x):
            return x.float()

    net = nn.Sequential(nn.Linear(6, 8), nn.Linear(8, 8), Rounds(), Floats(), nn.Linear(8, 3))
    t = said(
        tmp_path, SeparationMonitor([Ablation()]), "net.2: ablation: its output is torch.int64", module=Classifier(net)
    )
    for record in load_run(t.log_dir).records:
        assert list(record.findings["ablation"]) == ["net.0", "net.1", "net.3", "net.4"]
    with pytest.raises(MonitorError, match=r"net\.2: ablation: its output is torch.int64"):
        fit(tmp_path, SeparationMonitor([Ablation()], on_error="raise"), Classifier(net))
    assert hooks(net) == 0


def test_one_class_is_enough_for_ablation_and_too_little_for_groups(tmp_path):
    one = TensorDataset(torch.randn(30, 6), torch.zeros(30, dtype=torch.int64))
    t = said(tmp_path, SeparationMonitor(interventions()), "group_ablation: ", val=loader(one))
    found = load_run(t.log_dir).records[-1].findings
    assert np.isfinite(found["ablation"]["net.0"]["loss"]).all()
    assert np.isfinite(found["direction_ablation"]["net.0"]["kl"]).all()


def test_an_unknown_layer_raises_before_training_with_the_nearest_names(tmp_path):
    with pytest.raises(ValueError, match=r"no module fits 'nett\.0'; nearest names: .*net\.0"):
        fit(tmp_path, SeparationMonitor(layers=["net.1", "nett.0"]))


def test_an_unknown_network_raises_before_training(tmp_path):
    with pytest.raises(ValueError, match=r"no submodule 'nets'; nearest names: net"):
        fit(tmp_path, SeparationMonitor(network="nets"))


@pytest.mark.parametrize(
    ("epochs", "settings"), [([7], {}), ([0, 5], {"max_epochs": 3}), ([0], {"check_val_every_n_epoch": 2})]
)
def test_epochs_that_are_never_validated_raise_before_training(tmp_path, epochs, settings):
    with pytest.raises(ValueError, match=r"never validated with max_epochs=. and check_val_every_n_epoch="):
        fit(tmp_path, SeparationMonitor(epochs=epochs), **settings)


def test_two_monitors_of_one_name_raise_in_setup(tmp_path):
    t = trainer(tmp_path, SeparationMonitor(), SeparationMonitor())
    with pytest.raises(ValueError, match="give each its own name="):
        t.fit(Classifier(), loader(blobs()), loader(blobs()))


def test_a_module_called_input_raises_with_the_way_out(tmp_path):
    module = Classifier()
    module.input = nn.Linear(2, 2)
    with pytest.raises(ValueError, match="Rename the module, or choose layers="):
        fit(tmp_path, SeparationMonitor(), module)
    fit(tmp_path, SeparationMonitor(layers=["net.*"]), module)


def test_no_validation_loop_is_said(tmp_path):
    t = trainer(tmp_path, SeparationMonitor())
    with pytest.warns(UserWarning, match="there is no validation loop"):
        t.fit(Classifier(), loader(blobs()))
    with pytest.warns(UserWarning, match="there is no validation loop"):
        fit(tmp_path, SeparationMonitor(), limit_val_batches=0)


def test_a_loader_that_does_not_exist_is_said(tmp_path):
    said(tmp_path, SeparationMonitor(dataloader_idx=3), "dataloader_idx=3", "1 validation loader")


def test_one_class_only(tmp_path):
    one = TensorDataset(torch.randn(30, 6), torch.zeros(30, dtype=torch.int64))
    t = said(tmp_path, SeparationMonitor(), "need two classes with 5 samples; seen: 0", val=loader(one))
    assert "separation_last" not in t.callback_metrics


def test_a_class_with_one_sample_is_left_out_by_name(tmp_path):
    x, y = blobs(num_classes=2).tensors
    data = TensorDataset(torch.cat([x, torch.randn(1, 6)]), torch.cat([y, torch.tensor([2])]))
    monitor = SeparationMonitor(class_names=["cat", "dog", "fox"])
    t = said(tmp_path, monitor, "class fox (1) left out of pairs", val=loader(data))
    record = load_run(t.log_dir).records[0]
    assert record.counts.tolist() == [20, 20, 1]
    divergence = record.findings["henze_penrose"]["net.3"]["divergence"]
    assert np.isfinite(divergence[:2, :2]).all()
    assert np.isnan(divergence[2]).all()
    assert any("fox" in note for note in record.notes)


class Broken(nn.Module):
    """Gives what it is told to; the next layer makes it finite again."""

    def __init__(self, value):
        super().__init__()
        self.value = value

    def forward(self, x):
        return x if self.training else torch.full_like(x, self.value)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_layer_with_nan_is_skipped_by_name_and_the_others_reported(tmp_path, value):
    net = nn.Sequential(nn.Linear(6, 8), Broken(value), Mend(), nn.Linear(8, 3))
    t = said(tmp_path, SeparationMonitor(), "net.1", "NaN or infinite values in 60 of 60 rows", module=Classifier(net))
    found = load_run(t.log_dir).records[0].findings["henze_penrose"]
    assert list(found) == ["input", "net.0", "net.2", "net.3"]


class Mend(nn.Module):
    def forward(self, x):
        return x.nan_to_num(0.0, 0.0, 0.0)


def test_a_dead_layer_has_separation_zero(tmp_path):
    net = nn.Sequential(nn.Linear(6, 8), Broken(0.0), nn.Linear(8, 3))
    t = fit(tmp_path, SeparationMonitor(on_error="raise"), Classifier(net))
    found = load_run(t.log_dir).records[0].findings["henze_penrose"]
    for layer in ("net.1", "net.2"):
        assert found[layer]["separation"] == 0
        assert (found[layer]["p_value"] == 1).all()


def test_raise_stops_with_the_reason(tmp_path):
    net = nn.Sequential(nn.Linear(6, 8), Broken(float("nan")), Mend(), nn.Linear(8, 3))
    module = Classifier(net)
    with pytest.raises(MonitorError, match=r"net\.1: henze_penrose: features hold NaN"):
        fit(tmp_path, SeparationMonitor(on_error="raise"), module)
    assert hooks(module) == 0


def test_labels_that_are_not_classes_are_said_once(tmp_path):
    x, y = blobs().tensors

    class Regressor(Classifier):
        def training_step(self, batch, batch_idx):
            return self.net(batch[0]).square().mean()

        def validation_step(self, batch, batch_idx, dataloader_idx=0):
            self.log("val_loss", self.net(batch[0]).square().mean())

    soft = TensorDataset(x, y + 0.5)
    t = said(tmp_path, SeparationMonitor(), "numbers that are not integers", module=Regressor(), val=loader(soft))
    assert "separation_last" not in t.callback_metrics


def test_a_step_that_never_calls_the_network_is_said(tmp_path):
    class Lazy(Classifier):
        def validation_step(self, batch, batch_idx, dataloader_idx=0):
            self.log("val_loss", 1.0)

    said(tmp_path, SeparationMonitor(), "was never called in the step", module=Lazy())


def test_a_selected_layer_that_never_runs_is_reported_by_name(tmp_path):
    class Unused(nn.Sequential):
        def __init__(self):
            super().__init__(*mlp())
            self.spare = nn.Linear(2, 2)

        def forward(self, x):
            for i in range(4):
                x = self[i](x)
            return x

    t = said(tmp_path / "a", SeparationMonitor(), "without calling net.spare", module=Classifier(Unused()))
    named = SeparationMonitor(layers=["net.*"])
    said(tmp_path / "b", named, "net.spare", "it produced nothing", module=Classifier(Unused()))
    fit(tmp_path / "c", SeparationMonitor(on_error="raise"), Classifier(Unused()))  # harmless if nobody named it
    with pytest.raises(MonitorError, match=r"net\.spare"):
        fit(tmp_path / "d", SeparationMonitor(layers=["net.*"], on_error="raise"), Classifier(Unused()))
    assert load_run(t.log_dir).layers == ["input", "net.0", "net.1", "net.3"]


def test_a_layer_without_one_row_a_sample_is_reported_by_name(tmp_path):
    class Total(nn.Module):
        def forward(self, x):
            return x.sum(0)

    class Net(nn.Sequential):
        def forward(self, x):
            self[1](x)
            return self[0](x)

    net = Net(nn.Linear(6, 3), Total())
    t = said(tmp_path, SeparationMonitor(), "net.1", "not one row for each", module=Classifier(net))
    assert load_run(t.log_dir).layers == ["input", "net.0"]


def test_an_unwritable_directory_costs_only_the_records(tmp_path):
    (tmp_path / "file").write_text("in the way")
    t = said(tmp_path, SeparationMonitor(dirpath=tmp_path / "file"), "records", "not saved")
    assert "separation_last" in t.callback_metrics


def test_a_logger_that_raises_costs_only_its_own(tmp_path):
    class Failing(TensorBoardLogger):
        @property
        def experiment(self):
            inner = super().experiment

            class Experiment:
                def __getattr__(self, name):
                    if name in ("add_histogram", "add_figure", "add_text"):
                        raise OSError("the disk is full")
                    return getattr(inner, name)

            return Experiment()

    t = said(tmp_path, SeparationMonitor(), "Failing", "figures", logger=Failing(tmp_path))
    assert load_run(t.log_dir).epochs == [0, 1]


def test_an_analysis_that_raises_costs_only_its_own_findings(tmp_path):
    class Breaks:
        name = "mine"
        needs_classes = False

        def compute(self, snapshot):
            raise AssertionError("no luck")

    t = said(tmp_path, SeparationMonitor([Breaks(), HenzePenrose()]), "mine", "no luck")
    assert list(load_run(t.log_dir).records[0].findings) == ["henze_penrose"]


def test_a_loader_that_shuffles_is_said(tmp_path):
    data = loader(blobs(spread=0.3), shuffle=True)
    said(tmp_path, SeparationMonitor(samples_per_class=6), "the loader shuffles", val=data)


def test_too_little_memory_for_one_layer_names_it_and_the_need(tmp_path):
    t = said(tmp_path, SeparationMonitor(max_memory="10KB"), "net.0", "60 rows need 1,920 bytes")
    assert load_run(t.log_dir).layers == ["input", "net.3"]


def test_fast_dev_run_leaves_nothing_and_fails_nothing(tmp_path):
    fit(tmp_path, SeparationMonitor(epochs=[5]), fast_dev_run=True)
    fit(tmp_path, SeparationMonitor(on_error="raise", samples_per_class=5), fast_dev_run=3)
    assert not list(tmp_path.rglob("*.npz"))


def test_an_unwritable_directory_without_any_logger(tmp_path):
    (tmp_path / "file").write_text("in the way")
    monitor = SeparationMonitor(dirpath=tmp_path / "file")
    said(tmp_path, monitor, "figures", "not drawn", logger=False, enable_checkpointing=False)


def test_a_target_fn_that_fails(tmp_path):
    said(tmp_path, SeparationMonitor(target_fn=lambda batch: batch["y"]), "target_fn failed")


def test_a_schedule_that_never_comes_is_said(tmp_path):
    with pytest.warns(UserWarning, match="no validation was analysed"):
        fit(tmp_path, SeparationMonitor(), check_val_every_n_epoch=10, max_epochs=3)


def test_an_unknown_layer_of_a_module_that_builds_itself_raises_before_training(tmp_path):
    class Late(Classifier):
        def __init__(self):
            super().__init__()
            self.steps = 0

        def configure_model(self):
            self.late = nn.Linear(2, 2)

        def training_step(self, batch, batch_idx):
            self.steps += 1
            return super().training_step(batch, batch_idx)

    module = Late()
    with pytest.raises(ValueError, match="no module fits 'lat'; nearest names: late"):
        fit(tmp_path, SeparationMonitor(layers=["lat"]), module)
    assert module.steps == 0
    fit(tmp_path, SeparationMonitor(layers=["net.*", "late"]), Late())


def test_activations_too_small_for_any_arithmetic_cost_only_their_layer(tmp_path):
    class Tiny(nn.Module):
        def forward(self, x):
            return x if self.training else x * 1e-42

    net = nn.Sequential(nn.Linear(6, 8), Tiny(), nn.Linear(8, 3))
    t = fit(tmp_path, SeparationMonitor(), Classifier(net))
    assert {"input", "net.0", "net.2"} <= set(load_run(t.log_dir).records[0].findings["henze_penrose"])


def test_inputs_that_do_not_fit_are_said_with_the_need(tmp_path):
    said(tmp_path, SeparationMonitor(max_memory="1KB"), "input", "the inputs of the first", "need 384 bytes")


def test_a_metric_of_the_users_that_has_our_tag(tmp_path):
    class Clash(Classifier):
        def validation_step(self, batch, batch_idx, dataloader_idx=0):
            super().validation_step(batch, batch_idx)
            self.log("separation/input", torch.zeros(3))

    with pytest.raises(ValueError, match="single element"):  # the user's own mistake stays the user's
        fit(tmp_path, SeparationMonitor(), Clash())


def test_a_batch_that_nobody_can_read_costs_only_the_analysis(tmp_path):
    class Odd(Classifier):
        def validation_step(self, batch, batch_idx, dataloader_idx=0):
            self.log("val_loss", self.net(batch["x"]["pixels"]).mean())

        def training_step(self, batch, batch_idx):
            return self.net(batch["x"]["pixels"]).mean()

    x, _ = blobs().tensors
    batches = loader([{"x": {"pixels": part}, "y": torch.tensor(1.5)} for part in x.split(16)], None)
    said(
        tmp_path,
        SeparationMonitor(),
        "target",
        "what needs classes is left out",
        module=Odd(),
        val=batches,
        train=batches,
    )
