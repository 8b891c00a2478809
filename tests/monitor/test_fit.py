"""The monitor in real Trainers: what it leaves behind, when it looks, what it never touches."""

import random

import numpy as np
import pytest
import torch
from pytorch_lightning import Callback, seed_everything
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint
from pytorch_lightning.loggers import CSVLogger, TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn
from torch.utils.data import IterableDataset

from lightning_separation import (
    Ablation,
    Confusion,
    DirectionAblation,
    FeatureInformation,
    GroupAblation,
    HenzePenrose,
    InputFeatures,
    LabelSuspects,
    LayerInformation,
    Modularity,
    NextLayerEffect,
    PermutationImportance,
    PrincipalComponents,
    Selectivity,
    SeparationMonitor,
    Significance,
    WeightContributions,
    load_run,
)
from lightning_separation.functional import henze_penrose_divergence
from tests.helpers import Classifier, blobs, hooks, loader, trainer

LAYERS = ["input", "net.0", "net.1", "net.3"]


def fit(root, *callbacks, module=None, data=None, **settings):
    module = Classifier() if module is None else module
    t = trainer(root, *callbacks, **settings)
    t.fit(module, loader(blobs(seed=1), shuffle=True), loader(blobs()) if data is None else data)
    return t, module


def test_one_record_an_epoch_with_every_layer_and_the_right_numbers(tmp_path):
    t, module = fit(tmp_path, SeparationMonitor(on_error="raise"), max_epochs=3)
    run = load_run(t.log_dir)
    assert run.epochs == [0, 1, 2]
    assert run.layers == LAYERS
    assert run.class_names == ["0", "1", "2"]
    x, y = blobs().tensors
    module.eval()
    with torch.no_grad():
        expected = henze_penrose_divergence(module.net(x), y)
    last = run.records[-1].findings["henze_penrose"]["net.3"]
    np.testing.assert_array_equal(last["divergence"], expected)
    upper = expected[np.triu_indices(3, 1)]
    assert last["separation"] == pytest.approx(upper.mean().item())
    assert last["separation_min"] == pytest.approx(upper.min().item())
    assert run.array("henze_penrose", "divergence").shape == (3, 4, 3, 3)


def test_scalars_reach_callback_metrics_checkpoints_and_early_stopping(tmp_path):
    checkpoint = ModelCheckpoint(monitor="separation_last", mode="max", filename="{epoch}-{separation_last:.3f}")
    stop = EarlyStopping("separation_last", mode="max", patience=1, min_delta=10.0)
    t, _ = fit(tmp_path, stop, SeparationMonitor(), checkpoint, max_epochs=10)
    assert t.current_epoch == 2  # patience of one, and nothing can improve by 10
    assert "separation_last=" in checkpoint.best_model_path
    for layer in LAYERS:
        assert {f"separation/{layer}", f"separation_min/{layer}", f"bayes_error/{layer}"} <= set(t.callback_metrics)
    assert t.callback_metrics["separation_last"] == t.callback_metrics["separation/net.3"]


def test_tensorboard_and_csv_show_it_on_the_users_own_axis(tmp_path):
    loggers = [TensorBoardLogger(tmp_path, name="tb"), CSVLogger(tmp_path, name="csv")]
    t, _ = fit(tmp_path, SeparationMonitor(), logger=loggers)
    events = EventAccumulator(loggers[0].log_dir, size_guidance=dict.fromkeys(("images", "histograms", "tensors"), 0))
    events.Reload()
    tags = events.Tags()
    steps = [event.step for event in events.Scalars("val_loss")]
    assert len(steps) == 2
    for layer in LAYERS:
        assert [event.step for event in events.Scalars(f"separation/{layer}")] == steps
        assert [event.step for event in events.Histograms(f"separation_pairs/{layer}")] == steps
    assert {"separation_figures/layers_by_pairs", "separation_figures/depth"} <= set(tags["images"])
    assert [event.step for event in events.Images("separation_figures/depth")] == steps
    for layer in LAYERS:
        for word in ("significant_fraction", "dead_fraction", "best_effect_size"):
            assert [event.step for event in events.Scalars(f"{word}/{layer}")] == steps
        assert [event.step for event in events.Histograms(f"effect_size/{layer}")] == steps
        assert [event.step for event in events.Histograms(f"neg_log10_q/{layer}")] == steps
        assert [event.step for event in events.Images(f"significance_figures/{layer}")] == steps
    text = events.Tensors("significance_tables/layers/text_summary")[-1].tensor_proto.string_val[0].decode()
    assert "| net.3 | 3 |" in text
    text = events.Tensors("separation_tables/hardest_pairs/text_summary")[-1].tensor_proto.string_val[0].decode()
    assert "| class a | class b |" in text
    metrics = (tmp_path / "csv" / "version_0" / "metrics.csv").read_text()
    assert "separation/net.3" in metrics.splitlines()[0]
    assert load_run(t.log_dir).records[-1].step == steps[-1]


def test_figures_that_no_logger_takes_are_png(tmp_path):
    t, _ = fit(tmp_path, SeparationMonitor(), logger=CSVLogger(tmp_path))
    names = {path.name for path in (tmp_path / t.log_dir / "separation" / "figures").iterdir()}
    figures = ["separation-depth", "separation-layers_by_pairs", *(f"significance-{layer}" for layer in LAYERS)]
    figures += ["ablation-effect_size_by_loss", *(f"ablation-{layer}" for layer in LAYERS[1:])]
    steps = [record.step for record in load_run(t.log_dir).records]
    assert names == {f"{figure}-step={step:08d}.png" for figure in figures for step in steps}


def images(folder, tag):
    """Numbers of the validations that have an image of this tag."""
    events = EventAccumulator(folder, size_guidance={"images": 0, "scalars": 0})
    events.Reload()
    steps = [event.step for event in events.Scalars("val_loss")]
    return [steps.index(event.step) for event in events.Images(tag)]


def test_figures_of_single_layers_are_drawn_for_the_first_second_fourth_eighth_and_final_one(tmp_path):
    logger = TensorBoardLogger(tmp_path, name="tb")
    fit(tmp_path, SeparationMonitor(layers=["net.3"]), logger=logger, max_epochs=6)
    assert images(logger.log_dir, "separation_figures/depth") == [0, 1, 2, 3, 4, 5]
    for layer in ("input", "net.3"):
        assert images(logger.log_dir, f"significance_figures/{layer}") == [0, 1, 3, 5]


def test_an_analysis_with_a_rhythm_of_its_own_is_drawn_by_that(tmp_path):
    logger = TensorBoardLogger(tmp_path, name="tb")
    monitor = SeparationMonitor([HenzePenrose(), Significance(every_n_epochs=2)], layers=[])
    fit(tmp_path, monitor, logger=logger, max_epochs=7)
    assert images(logger.log_dir, "significance_figures/input") == [0, 2, 6]  # of 0, 2, 4, 6


def test_a_fit_that_stops_early_has_the_figures_of_its_last_record(tmp_path):
    logger = TensorBoardLogger(tmp_path, name="tb")
    stop = EarlyStopping("val_loss", patience=4, mode="max", min_delta=100)
    fit(tmp_path, SeparationMonitor(layers=[]), stop, logger=logger, max_epochs=50)
    assert images(logger.log_dir, "significance_figures/input") == [0, 1, 3, 4]


def test_without_a_logger_the_records_are_there(tmp_path):
    fit(tmp_path, SeparationMonitor(), logger=False, enable_checkpointing=False)
    assert load_run(tmp_path).epochs == [0, 1]


def test_emit_and_save_and_dirpath(tmp_path):
    monitor = SeparationMonitor(emit=["histograms"], dirpath=tmp_path / "mine")
    t, _ = fit(tmp_path, monitor)
    events = EventAccumulator(t.log_dir)
    events.Reload()
    assert "separation/net.3" not in events.Tags()["scalars"]
    assert events.Tags()["images"] == []
    assert "separation_pairs/net.3" in events.Tags()["histograms"]
    assert "separation_last" in t.callback_metrics
    assert load_run(tmp_path / "mine").epochs == [0, 1]
    t, _ = fit(tmp_path / "other", SeparationMonitor(save=False))
    with pytest.raises(FileNotFoundError, match=r"run\.json"):
        load_run(t.log_dir)


@pytest.mark.parametrize(
    ("settings", "trainer_settings", "expected"),
    [
        ({"every_n_epochs": 2}, {"max_epochs": 6}, [0, 2, 4, 5]),
        ({"every_n_epochs": 3}, {"max_epochs": 4}, [0, 3]),
        ({"every_n_epochs": 2}, {"max_epochs": 6, "check_val_every_n_epoch": 2}, [1, 3, 5]),
        ({"every_n_epochs": 3}, {"max_epochs": 7, "check_val_every_n_epoch": 2}, [1, 5]),
        ({"epochs": [1, 3]}, {"max_epochs": 5}, [1, 3]),
        ({}, {"max_epochs": 2, "val_check_interval": 0.25}, [0, 1]),
        ({}, {"max_epochs": 2, "val_check_interval": 3, "check_val_every_n_epoch": None}, [0, 1]),
        ({"every_n_epochs": 10}, {"max_epochs": -1, "max_steps": 10}, [0, 1]),
        ({"every_n_epochs": 10}, {"max_epochs": -1, "max_steps": 5, "accumulate_grad_batches": 2}, [0, 1]),
        ({"every_n_epochs": 10}, {"max_epochs": -1, "max_steps": 6, "val_check_interval": 0.5}, [0, 1]),
        ({"every_n_epochs": 6}, {"max_epochs": 9, "val_check_interval": 10, "check_val_every_n_epoch": None}, [2, 7]),
    ],
)
def test_schedule(tmp_path, settings, trainer_settings, expected):
    t, _ = fit(tmp_path, SeparationMonitor(**settings), **trainer_settings)
    assert load_run(t.log_dir).epochs == expected


def test_of_several_validations_in_an_epoch_the_last(tmp_path):
    t, module = fit(tmp_path, SeparationMonitor(), max_epochs=1, val_check_interval=0.25)
    record = load_run(t.log_dir).records[0]
    x, y = blobs().tensors
    module.eval()
    with torch.no_grad():
        expected = henze_penrose_divergence(module.net(x), y)  # the weights at the epoch's end
    np.testing.assert_array_equal(record.findings["henze_penrose"]["net.3"]["divergence"], expected)


def test_the_sanity_check_is_left_out(tmp_path):
    seen = []

    class Spy(Callback):
        def on_sanity_check_end(self, trainer, pl_module):
            seen.append((hooks(pl_module), dict(trainer.callback_metrics)))

    t, _ = fit(tmp_path, SeparationMonitor(), Spy(), num_sanity_val_steps=2)
    assert seen == [(0, {})] or (seen[0][0] == 0 and "separation_last" not in seen[0][1])
    assert load_run(t.log_dir).epochs == [0, 1]


def test_the_same_samples_each_epoch_capped_and_later_passes_stop_early(tmp_path):
    live = []

    class Spy(Callback):
        def on_validation_batch_end(self, trainer, pl_module, outputs, batch, batch_idx, dataloader_idx=0):
            live.append((trainer.current_epoch, batch_idx, hooks(pl_module) > 0))

    monitor = SeparationMonitor(samples_per_class=5)
    t, _ = fit(tmp_path, monitor, Spy(), num_sanity_val_steps=0)
    run = load_run(t.log_dir)
    assert [record.counts.tolist() for record in run.records] == [[5, 5, 5]] * 2
    assert run.info["sample"] == list(range(15))  # classes are interleaved: the first five of each
    # Batches of 16 hold all of them in the first; the first epoch's pass has to see all batches, the second need not.
    assert [hooked for epoch, _, hooked in live if epoch == 0] == [True] * 4
    assert [hooked for epoch, _, hooked in live if epoch == 1] == [False] * 4
    inputs = run.array("henze_penrose", "divergence")[:, 0]
    np.testing.assert_array_equal(inputs[0], inputs[1])


def state(t, module):
    legacy = np.random.get_state()[1].tolist()  # noqa: NPY002 - that state is what must not change
    randoms = (torch.get_rng_state().tolist(), legacy, random.getstate())
    weights = {name: value.clone() for name, value in module.state_dict().items()}
    moments = [v.clone() for s in t.optimizers[0].state_dict()["state"].values() for v in s.values()]
    metrics = {k: v.item() for k, v in t.callback_metrics.items() if k == "val_loss"}
    return weights, moments, metrics, randoms


@pytest.mark.parametrize("max_memory", ["2GB", "15KB"])
def test_training_is_bit_identical(tmp_path, max_memory):
    results = []
    for callbacks in ([], [SeparationMonitor(max_memory=max_memory, on_error="raise")]):
        seed_everything(7, verbose=False)
        results.append(state(*fit(tmp_path, *callbacks, max_epochs=3)))
    without, with_monitor = results
    for name, value in without[0].items():
        assert torch.equal(value, with_monitor[0][name]), name
    assert all(torch.equal(a, b) for a, b in zip(without[1], with_monitor[1], strict=True))
    assert without[2:] == with_monitor[2:]


EVERY = (
    HenzePenrose,
    Significance,
    Selectivity,
    InputFeatures,
    WeightContributions,
    Ablation,
    lambda: DirectionAblation(directions=["random", "principal", "class_means", "search"], count=8),
    lambda: GroupAblation(fraction=1),
    lambda: NextLayerEffect(fraction=1),
    LayerInformation,
    Modularity,
    lambda: PermutationImportance(repeats=3),
    FeatureInformation,
    PrincipalComponents,
    LabelSuspects,
    Confusion,
)


def watched_net():
    """With all that running a network once more could disturb."""
    hidden = [nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(inplace=True), nn.Dropout(0.3)]
    return nn.Sequential(*hidden, nn.Unflatten(1, (2, 4)), nn.Conv1d(2, 4, 3), nn.GELU(), nn.Flatten(), nn.Linear(8, 3))


def test_training_is_bit_identical_under_every_analysis(tmp_path):
    results, gradients = [], []
    overlapping = loader(blobs(spread=5))  # so that some units are significant and some are not
    for callbacks in ([], [SeparationMonitor([make() for make in EVERY])]):
        seed_everything(7, verbose=False)
        module = Classifier(watched_net())
        module.net[1].eval()  # a frozen batch norm stays as it is
        results.append(state(*fit(tmp_path, *callbacks, module=module, data=overlapping, max_epochs=3)))
        gradients.append([parameter.grad for parameter in module.parameters()])
        assert hooks(module) == 0
        assert [part.training for part in module.net] == [part is not module.net[1] for part in module.net]
    for record in load_run(tmp_path / "lightning_logs" / "version_1").records:
        assert len(record.findings) == len(EVERY)
        assert all("too few" in note or "outside the bins" in note for note in record.notes)  # in some layers
    without, with_monitor = results
    for name, value in without[0].items():
        assert torch.equal(value, with_monitor[0][name]), name
    assert all(torch.equal(a, b) for a, b in zip(without[1], with_monitor[1], strict=True))
    assert without[2:] == with_monitor[2:]
    for a, b in zip(*gradients, strict=True):
        assert (a is None and b is None) or torch.equal(a, b)


def test_layers_replayed_in_groups_give_the_same_numbers(tmp_path):
    # 60 rows of 8 units are 1,920 bytes: a sixth of 15 KB holds one such layer, not two.
    runs = []
    for memory in ("2GB", "15KB"):
        seed_everything(3, verbose=False)
        t, _ = fit(tmp_path, SeparationMonitor(max_memory=memory, on_error="raise"), max_epochs=2)
        runs.append(load_run(t.log_dir))
    assert runs[0].layers == runs[1].layers == LAYERS
    np.testing.assert_allclose(*(run.array("henze_penrose", "divergence") for run in runs))


def test_validate_and_test_make_records_of_their_own(tmp_path):
    monitor = SeparationMonitor()
    t, module = trainer(tmp_path, monitor), Classifier()
    t.validate(module, loader(blobs()), verbose=False)
    t.validate(module, loader(blobs(seed=5)), verbose=False)
    t.fit(module, loader(blobs(seed=1)), loader(blobs()))
    t.test(module, loader(blobs()), verbose=False)
    run = load_run(t.log_dir)
    stages = [record.stage for record in run.records]
    assert sorted(stages) == ["fit", "fit", "test", "validate", "validate"]
    assert hooks(module) == 0
    assert all(record.findings["henze_penrose"]["net.3"]["separation"] > 0.5 for record in run.records[-1:])


def test_two_monitors_at_once_on_two_loaders(tmp_path):
    monitors = [SeparationMonitor(samples_per_class=10), SeparationMonitor(name="second", dataloader_idx=1)]
    t = trainer(tmp_path, *monitors)
    t.fit(Classifier(), loader(blobs(seed=1)), [loader(blobs()), loader(blobs(seed=4))])
    first, second = load_run(t.log_dir + "/separation"), load_run(t.log_dir + "/second")
    assert first.records[0].counts.tolist() == [10, 10, 10]
    assert second.records[0].counts.tolist() == [20, 20, 20]
    assert {"separation_last", "second_last", "second/net.3", "second_min/net.3"} <= set(t.callback_metrics)
    assert "second_bayes_error/net.3" in t.callback_metrics
    with pytest.raises(ValueError, match="several monitors"):
        load_run(t.log_dir)


def test_resume_goes_on_with_the_same_samples_and_curves(tmp_path):
    t, _ = fit(tmp_path / "a", SeparationMonitor(samples_per_class=7), max_epochs=2)
    path = t.checkpoint_callback.best_model_path
    monitor = SeparationMonitor(samples_per_class=7)
    module = Classifier()
    t2 = trainer(tmp_path / "b", monitor, max_epochs=4)
    t2.fit(module, loader(blobs(seed=1)), loader(blobs()), ckpt_path=path)
    assert load_run(t2.log_dir).epochs == [2, 3]
    assert load_run(t2.log_dir).info["sample"] == load_run(t.log_dir).info["sample"]
    assert list(monitor._output.presenters["val"]._memory) == [0, 1, 2, 3]  # what the depth figure draws


@pytest.mark.parametrize("error", [RuntimeError("mine"), KeyboardInterrupt()])
def test_hooks_are_gone_after_an_exception_in_the_users_step(tmp_path, error):
    class Breaks(Classifier):
        def validation_step(self, batch, batch_idx, dataloader_idx=0):
            super().validation_step(batch, batch_idx)
            if batch_idx == 1 and not self.trainer.sanity_checking:
                assert hooks(self) > 0
                raise error

    module = Breaks()
    with pytest.raises((RuntimeError, KeyboardInterrupt, SystemExit)):
        fit(tmp_path, SeparationMonitor(), module=module)
    assert hooks(module) == 0


def test_hooks_are_gone_when_another_callback_fails_first(tmp_path):
    class Fails(Callback):
        def on_validation_batch_end(self, *args, **kwargs):
            if not args[0].sanity_checking:
                raise RuntimeError("mine")

        def on_exception(self, *args):
            raise RuntimeError("even here")

    module, monitor = Classifier(), SeparationMonitor()
    with pytest.raises(RuntimeError):
        fit(tmp_path, Fails(), monitor, module=module)
    t = trainer(tmp_path, monitor)
    t.fit(module, loader(blobs(seed=1)), loader(blobs()))
    assert hooks(module) == 0
    assert load_run(t.log_dir).epochs == [0, 1]


def test_inside_the_step_of_an_epoch_that_is_not_analysed_there_is_no_hook(tmp_path):
    seen = {}

    class Spy(Classifier):
        def validation_step(self, batch, batch_idx, dataloader_idx=0):
            super().validation_step(batch, batch_idx)
            if not self.trainer.sanity_checking:
                seen.setdefault(self.current_epoch, hooks(self) > 0)

        def training_step(self, batch, batch_idx):
            assert hooks(self) == 0
            return super().training_step(batch, batch_idx)

    fit(tmp_path, SeparationMonitor(epochs=[1]), module=Spy(), max_epochs=3)
    assert seen == {0: False, 1: True, 2: False}


def test_analyses_can_have_their_own_layers_and_rhythm(tmp_path):
    analysis = HenzePenrose(layers=["net.[13]"], every_n_epochs=2, distance="cosine", num_trees=2)
    t, _ = fit(tmp_path, SeparationMonitor([analysis], on_error="raise"), max_epochs=4)
    run = load_run(t.log_dir)
    assert run.epochs == [0, 2, 3]
    assert list(run.records[0].findings["henze_penrose"]) == ["net.1", "net.3"]


def test_one_monitor_in_two_fits(tmp_path):
    monitor = SeparationMonitor()
    fit(tmp_path, monitor, max_epochs=3)
    t, module = fit(tmp_path, monitor, data=loader(blobs(per_class=8)), max_epochs=2)
    run = load_run(t.log_dir)
    assert run.epochs == [0, 1]
    assert run.records[0].counts.tolist() == [8, 8, 8]
    assert list(monitor._output.presenters["val"]._memory) == [0, 1]
    t.fit_loop.max_epochs = 4
    t.fit(module, loader(blobs(seed=1)), loader(blobs(per_class=8)))
    assert load_run(t.log_dir).epochs == [0, 1, 2, 3]
    assert list(monitor._output.presenters["val"]._memory) == [0, 1, 2, 3]


def test_min_epochs_and_early_stopping_keep_the_rhythm(tmp_path):
    stop = EarlyStopping("val_loss", mode="max", patience=1, min_delta=100.0)
    t, _ = fit(tmp_path, stop, SeparationMonitor(every_n_epochs=3), max_epochs=20, min_epochs=8)
    assert load_run(t.log_dir).epochs == [0, 3, 6]


def test_a_training_loader_of_unknown_length(tmp_path):
    class Stream(IterableDataset):
        def __iter__(self):
            return iter(blobs())

    monitor = SeparationMonitor()
    t = trainer(tmp_path, monitor, val_check_interval=2)
    module = Classifier()
    t.fit(module, loader(Stream()), loader(blobs()))
    run = load_run(t.log_dir)
    assert run.epochs == [0, 1]
    x, y = blobs().tensors
    module.eval()
    with torch.no_grad():
        expected = henze_penrose_divergence(module.net(x), y)  # four batches: the last validation is at the end
    np.testing.assert_array_equal(run.records[-1].findings["henze_penrose"]["net.3"]["divergence"], expected)


def test_a_fit_replaces_what_an_earlier_one_left_in_the_folder(tmp_path):
    fit(tmp_path, SeparationMonitor(), logger=False, enable_checkpointing=False, max_epochs=4)
    fit(tmp_path, SeparationMonitor(layers=["net.0"]), logger=False, enable_checkpointing=False, max_epochs=2)
    run = load_run(tmp_path)
    assert run.epochs == [0, 1]
    assert run.info["layers"] == run.layers == ["input", "net.0"]
