"""Units, groups and directions removed while a network trains: in real Trainers, with real loggers."""

import copy
import warnings

import numpy as np
import pytest
import torch
from pytorch_lightning import Callback, LightningModule
from pytorch_lightning.callbacks import StochasticWeightAveraging
from pytorch_lightning.loggers import TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn

from lightning_separation import (
    Ablation,
    DirectionAblation,
    GroupAblation,
    HenzePenrose,
    NextLayerEffect,
    SeparationMonitor,
    load_run,
)
from tests.analyses.test_ablation import QUANTITIES, Branches, Tokens, assert_as_plain, images, words
from tests.helpers import Classifier, blobs, hooks, loader, mlp, trainer
from tests.interventions.plain_loop import plain_deltas, plain_outputs


def fit(root, *callbacks, module=None, data=None, **settings):
    module = Classifier() if module is None else module
    t = trainer(root, *callbacks, **settings)
    t.fit(module, loader(blobs(seed=1)), loader(blobs()) if data is None else data)
    return t, module


def said_by(root, monitor, *callbacks, before=(), **settings):
    """Fit; all that the monitor said, and the records."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        t, module = fit(root, *before, monitor, *callbacks, **settings)
    ours = [str(w.message) for w in caught if "SeparationMonitor" in str(w.message)]
    assert hooks(module) == 0
    return ours, load_run(t.log_dir).records


class CallsItself(LightningModule):
    """The LightningModule is the network, and its forward looks at no child alone."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(6, 7), nn.Linear(7, 3)

    def forward(self, x):
        return self.b(torch.relu(self.a(x)))

    def training_step(self, batch, batch_idx):
        return nn.functional.cross_entropy(self(batch[0]), batch[1])

    def validation_step(self, batch, batch_idx):
        self.log("val_loss", nn.functional.cross_entropy(self(batch[0]), batch[1]))

    test_step = validation_step

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), 1e-2)


def test_the_default_monitor_shows_what_units_are_needed(tmp_path):
    torch.manual_seed(0)
    logger = TensorBoardLogger(tmp_path, name="tb")
    t, module = fit(tmp_path, SeparationMonitor(on_error="raise"), logger=logger)
    run = load_run(t.log_dir)
    events = EventAccumulator(t.log_dir, size_guidance=dict.fromkeys(("images", "histograms", "tensors"), 0))
    events.Reload()
    steps = [event.step for event in events.Scalars("val_loss")]
    for layer in ("net.0", "net.1", "net.3"):
        found = [record.findings["ablation"][layer] for record in run.records]
        scalars = events.Scalars(f"ablation_max_loss/{layer}")
        assert [event.step for event in scalars] == steps
        np.testing.assert_allclose([event.value for event in scalars], [one["max_loss"] for one in found], rtol=1e-6)
        histograms = events.Histograms(f"ablation_loss/{layer}")
        assert [event.histogram_value.num for event in histograms] == [len(one["loss"]) for one in found]
        assert histograms[-1].histogram_value.max == pytest.approx(found[-1]["loss"].max())
        assert [event.step for event in events.Images(f"ablation_figures/{layer}")] == steps
        assert f"ablation_max_loss/{layer}" in t.callback_metrics
    assert "ablation_max_loss/input" not in t.callback_metrics
    assert len(events.Images("ablation_figures/effect_size_by_loss")) == 2
    for table in ("most_needed", "layers", "selective_or_used"):
        text = events.Tensors(f"ablation_tables/{table}/text_summary")[-1].tensor_proto.string_val[0].decode()
        assert "net.1" in text
    x, y = blobs().tensors
    module.eval()
    for layer in ("net.0", "net.1", "net.3"):
        assert_as_plain(run.records[-1].findings["ablation"][layer], module.net, layer[4:], x, y)


@pytest.mark.parametrize("make", [mlp, images])
def test_validate_and_test_run_in_inference_mode(tmp_path, make):
    torch.manual_seed(0)
    module = Classifier(make())
    t = trainer(tmp_path, SeparationMonitor([Ablation()], on_error="raise"))
    t.validate(module, loader(blobs()), verbose=False)
    t.test(module, loader(blobs(seed=3)), verbose=False)
    records = {record.stage: record for record in load_run(t.log_dir).records}
    module.eval()
    for stage, seed in (("validate", 0), ("test", 3)):
        x, y = blobs(seed=seed).tensors
        for layer in ("0", "1") if make is mlp else ("1", "2", "5"):
            assert_as_plain(records[stage].findings["ablation"][f"net.{layer}"], module.net, layer, x, y)


def test_tokens_in_batches_of_different_size(tmp_path):
    torch.manual_seed(0)
    x, y = words()
    batches = loader([(x[:31], y[:31]), (x[31:40], y[31:40]), (x[40:], y[40:])], None)
    module = Classifier(Tokens())
    t = trainer(tmp_path, SeparationMonitor([Ablation(max_samples=30)], on_error="raise"), max_epochs=2)
    t.fit(module, batches, batches)
    found = load_run(t.log_dir).records[-1].findings["ablation"]
    assert "net.encoder.layers.1.linear2" in found
    first = torch.arange(30)  # classes are interleaved: ten of each
    module.eval()
    assert_as_plain(found["net.embed"], module.net, "embed", x[first], y[first], axis=2)
    assert_as_plain(found["net.head"], module.net, "head", x[first], y[first])


def test_a_module_that_is_the_network(tmp_path):
    torch.manual_seed(0)
    t, module = fit(tmp_path, SeparationMonitor([Ablation()], on_error="raise"), module=CallsItself())
    found = load_run(t.log_dir).records[-1].findings["ablation"]
    plain = nn.Sequential(module.a, nn.ReLU(), module.b)
    x, y = blobs().tensors
    assert_as_plain(found["a"], plain, "0", x, y)
    assert_as_plain(found["b"], plain, "2", x, y)


def test_the_users_step_is_not_called_again_and_logs_the_same(tmp_path):
    class Counts(Classifier):
        def __init__(self):
            super().__init__()
            self.calls, self.forwards = 0, 0

        def validation_step(self, batch, batch_idx, dataloader_idx=0):
            self.calls += 1
            super().validation_step(batch, batch_idx)
            self.log("drawn", torch.rand(()))

    logged = []
    every = [Ablation(), DirectionAblation(count=4), GroupAblation(fraction=0.5), NextLayerEffect(fraction=0.5)]
    for callbacks in ([], [SeparationMonitor(every)]):
        torch.manual_seed(0)
        module = Counts()
        t, _ = fit(tmp_path, *callbacks, module=module, max_epochs=2, num_sanity_val_steps=0)
        logged.append((module.calls, *(t.callback_metrics[name].item() for name in ("val_loss", "drawn"))))
    assert logged[0] == logged[1]
    assert logged[0][0] == 8


def test_layers_and_rhythm_of_its_own(tmp_path):
    analyses = [HenzePenrose(), Ablation(layers=["net.3"], every_n_epochs=2)]
    t, _ = fit(tmp_path, SeparationMonitor(analyses, on_error="raise"), max_epochs=4)
    there = {record.epoch: list(record.findings.get("ablation", ())) for record in load_run(t.log_dir).records}
    assert there == {0: ["net.3"], 1: [], 2: ["net.3"], 3: ["net.3"]}  # the last epoch always


def test_screening_is_said_once_and_the_same_in_each_epoch(tmp_path):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 40), nn.Sigmoid(), nn.Linear(40, 3))
    monitor = SeparationMonitor([Ablation(max_forwards=20)], on_error="raise")  # harmless: does not raise
    said, records = said_by(tmp_path, monitor, module=Classifier(net), max_epochs=3)
    assert len(said) == 1
    assert "83 units, max_forwards=20" in said[0]
    for record in records:
        exact = [int(one["exact"].sum()) for one in record.findings["ablation"].values()]
        assert sum(exact) == 20
        assert min(exact[:2]) >= 9
        assert exact == [int(one["exact"].sum()) for one in records[0].findings["ablation"].values()]
        assert any("max_forwards=20" in note for note in record.notes)


def test_a_network_that_branches_is_said_once(tmp_path):
    torch.manual_seed(0)
    module = Classifier(Branches())
    said, records = said_by(tmp_path, SeparationMonitor([Ablation()], on_error="raise"), module=module)
    assert len(said) == 1
    assert "net.a: its code" in said[0]
    assert "the whole network is run for each unit" in said[0]
    x, y = blobs().tensors
    module.eval()
    for layer in ("a", "b", "c"):
        assert_as_plain(records[-1].findings["ablation"][f"net.{layer}"], module.net, layer, x, y)


class Regressor(Classifier):
    def __init__(self):
        super().__init__(mlp(6, 1))
        self.loss = nn.MSELoss()


@pytest.mark.parametrize("target_fn", [None, False])
def test_what_values_to_predict_do_not_allow_is_left_out_without_harm(tmp_path, target_fn):
    x = blobs().tensors[0]
    data = loader(torch.utils.data.TensorDataset(x, x[:, :1] + 0.5))
    on_error = "warn" if target_fn is None else "raise"  # that there is no target is what the user wants
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        t = trainer(tmp_path, SeparationMonitor(target_fn=target_fn, on_error=on_error))
        t.fit(Regressor(), data, data)
    left_out, *more = [str(w.message) for w in caught if "SeparationMonitor" in str(w.message)]
    assert left_out.endswith("what needs classes is left out: henze_penrose, significance")
    assert len(more) == (target_fn is False)
    assert all("nothing to measure the network by" in message for message in more)
    assert t.current_epoch == 2


def test_layers_with_nan_cost_no_other(tmp_path):
    class Broken(nn.Module):
        def forward(self, x):
            return x if self.training else x * torch.nan

    class Mend(nn.Module):
        def forward(self, x):
            return x.nan_to_num(0.5)

    torch.manual_seed(0)
    module = Classifier(nn.Sequential(nn.Linear(6, 5), Broken(), Mend(), nn.Linear(5, 3)))
    _, records = said_by(tmp_path, SeparationMonitor(), module=module)
    found = records[-1].findings["ablation"]
    assert list(found) == ["net.0", "net.1", "net.2", "net.3"]
    module.eval()
    x, y = blobs().tensors
    assert not found["net.0"]["loss"].any()  # what comes behind does not see it
    clean, ablated = plain_outputs(module.net, "1", 1, x)
    np.testing.assert_allclose(found["net.1"]["loss"], plain_deltas(clean, ablated, y)[0], atol=1e-5)
    assert_as_plain(found["net.3"], module.net, "3", x, y)


@pytest.mark.parametrize("precision", ["bf16-mixed", "bf16-true", "64-true"])
@pytest.mark.parametrize("stage", ["fit", "validate"])
def test_precisions(tmp_path, precision, stage):
    torch.manual_seed(0)
    module = Classifier(nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 3)))
    every = [Ablation(), DirectionAblation(directions=["random", "search"], count=4)]
    t = trainer(tmp_path, SeparationMonitor(every, on_error="raise"), precision=precision)
    data = loader(blobs())
    if stage == "fit":
        t.fit(module, loader(blobs(seed=1)), data)
    else:
        t.validate(module, data, verbose=False)
    record = load_run(t.log_dir).records[-1]
    assert not record.notes
    module.eval()
    x, y = blobs().tensors
    x = t.precision_plugin.convert_input(x)
    clean_and_ablated = []
    for layer in ("0", "1", "2"):
        with t.precision_plugin.forward_context():
            clean, ablated = plain_outputs(module.net, layer, 1, x)
        assert clean.dtype == (torch.float64 if precision == "64-true" else torch.bfloat16)
        expected = plain_deltas(clean, ablated, y)
        close = 1e-9 if precision == "64-true" else 6e-3  # a step of bfloat16 is 4e-3 of a logit
        for quantity, numbers in zip(QUANTITIES, expected, strict=True):
            if quantity != "accuracy" or precision == "64-true":
                np.testing.assert_allclose(record.findings["ablation"][f"net.{layer}"][quantity], numbers, atol=close)
        clean_and_ablated.append(expected[0].abs().max())
    assert max(clean_and_ablated) > 0.02
    directions = record.findings["direction_ablation"]["net.1"]
    assert np.isfinite(directions["kl"]).all()
    assert directions["kl"].argmax() == 4


class Average(Callback):
    """Weights of the average while validation runs, as many such callbacks do it."""

    def on_validation_start(self, trainer, pl_module):
        self.own = copy.deepcopy(pl_module.state_dict())
        for parameter in pl_module.parameters():
            parameter.data.mul_(0.5)

    def on_validation_epoch_end(self, trainer, pl_module):
        pl_module.load_state_dict(self.own)


INTERVENTIONS = (
    lambda: Ablation(),
    lambda: DirectionAblation(count=4),
    lambda: GroupAblation(fraction=0.5),
    lambda: NextLayerEffect(fraction=0.5),
)


def test_weights_that_were_swapped_back_are_not_ablated(tmp_path):
    monitor = SeparationMonitor([HenzePenrose(), *(make() for make in INTERVENTIONS)])
    said, records = said_by(tmp_path / "a", monitor, before=[Average()])
    for record in records:
        assert set(record.findings["henze_penrose"]) == {"input", "net.0", "net.1", "net.3"}
        assert [name for name, found in record.findings.items() if len(found)] == ["henze_penrose"]
    for name in ("ablation", "direction_ablation", "group_ablation", "next_layer_effect"):
        (message,) = (m for m in said if f": {name}: " in m)
        assert "weights are no longer those of the validation (a callback that averages them?)" in message
    # Listed behind the monitor it does no harm.
    said, records = said_by(tmp_path / "b", SeparationMonitor([Ablation()], on_error="raise"), Average())
    assert not said
    assert len(records[-1].findings["ablation"]) == 3


def test_averaging_that_starts_later_is_noticed_when_it_does(tmp_path):
    class Late(Average):
        def on_validation_start(self, trainer, pl_module):
            self.own = copy.deepcopy(pl_module.state_dict())
            if trainer.current_epoch == 1:
                super().on_validation_start(trainer, pl_module)

    _, records = said_by(tmp_path, SeparationMonitor([HenzePenrose(), Ablation()]), before=[Late()], max_epochs=3)
    assert [len(record.findings.get("ablation", ())) for record in records] == [3, 0, 3]


def test_lightnings_own_weight_averaging(tmp_path):
    average = StochasticWeightAveraging(swa_lrs=1e-2, swa_epoch_start=1)
    said, records = said_by(tmp_path, SeparationMonitor([Ablation()]), before=[average], max_epochs=4)
    there = [len(record.findings.get("ablation", ())) for record in records]
    assert all(count in (0, 3) for count in there)
    assert there[0] == 3
    assert len(said) == (0 in there)


def test_a_network_that_draws_random_numbers_is_compared_under_the_same_ones(tmp_path):
    class Noisy(nn.Module):
        def forward(self, x):
            return x + torch.randn_like(x)

    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 5), Noisy(), nn.Linear(5, 3))
    monitor = SeparationMonitor([HenzePenrose(), *(make() for make in INTERVENTIONS)])
    said, records = said_by(tmp_path, monitor, module=Classifier(net))
    assert sum("network: it draws random numbers" in message for message in said) == 1
    assert sum("next_layer_effect: the network draws random numbers" in message for message in said) == 1
    assert "next_layer_effect" not in records[-1].findings
    x, y = blobs().tensors
    found = records[-1].findings["ablation"]["net.2"]["loss"]  # behind what is drawn: an output, set to zero
    assert np.isfinite(found).all()
    state, losses = torch.get_rng_state(), []
    for unit in (None, 0, 1, 2):  # the same numbers each time, though not those of the monitor
        torch.set_rng_state(state)
        output = net.eval()(x).detach()
        if unit is not None:
            output[:, unit] = 0
        losses.append(nn.functional.cross_entropy(output, y).item())
    np.testing.assert_allclose(found, np.array(losses[1:]) - losses[0], atol=0.35)


def test_two_networks_in_one_step_ask_for_one(tmp_path):
    class Both(Classifier):
        def __init__(self):
            super().__init__(nn.Linear(6, 4))
            self.head = nn.Linear(4, 3)

        def training_step(self, batch, batch_idx):
            return self.loss(self.head(self.net(batch[0])), batch[1])

        def validation_step(self, batch, batch_idx, dataloader_idx=0):
            self.log("val_loss", self.loss(self.head(self.net(batch[0])), batch[1]))

    said, records = said_by(tmp_path / "a", SeparationMonitor([HenzePenrose(), Ablation()]), module=Both())
    assert sum("the step calls net, head: choose one by network=" in message for message in said) == 1
    assert len(records[-1].findings["henze_penrose"]) == 3
    module = Both()
    said, records = said_by(tmp_path / "b", SeparationMonitor([Ablation()], network="head"), module=module)
    assert not said
    x, y = blobs().tensors
    with torch.no_grad():
        assert_as_plain(records[-1].findings["ablation"]["head"], module.head, "", module.net(x), y)


@pytest.mark.parametrize("at", ["compute", "forward"])
def test_an_analysis_that_raises_in_the_middle_leaves_all_as_it_was(tmp_path, monkeypatch, at):
    """Training too: bit for bit the same."""

    def state(callbacks):
        torch.manual_seed(5)
        module = Classifier(images())
        module.net[2].eval()
        t, _ = fit(tmp_path, *callbacks, module=module, max_epochs=2)
        assert hooks(module) == 0
        assert [part.training for part in module.net] == [part is not module.net[2] for part in module.net]
        return [*module.state_dict().values(), torch.get_rng_state()], t

    expected, _ = state([])
    every = [make() for make in INTERVENTIONS]
    if at == "compute":
        monkeypatch.setattr("lightning_separation.interventions.outcomes.Comparison.deltas", _fail)
        monkeypatch.setattr("lightning_separation.analyses.unit_groups.replace_units", _fail)
    else:
        monkeypatch.setattr("lightning_separation.interventions.clean_run.CleanRun._differs_when_changed", _fail)
        monkeypatch.setattr("lightning_separation.analyses.unit_groups.patched", _fail)
    with pytest.warns(UserWarning, match="in the middle"):
        found, t = state([SeparationMonitor(every)])
    for a, b in zip(expected, found, strict=True):
        assert torch.equal(a, b)
    assert t.current_epoch == 2


def _fail(*args, **kwargs):
    torch.rand(3)
    raise RuntimeError("in the middle")


def test_an_interrupt_in_the_middle_leaves_no_hook(tmp_path, monkeypatch):
    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr("lightning_separation.interventions.clean_run.CleanRun._find", interrupt)
    module = Classifier()
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        fit(tmp_path, SeparationMonitor([Ablation()]), module=module)
    assert hooks(module) == 0
