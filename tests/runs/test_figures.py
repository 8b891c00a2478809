"""Every figure of a run, from real runs and from those that lack things."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from lightning_separation import PrincipalComponents, Run, analyze
from lightning_separation.loggers.henze_penrose import display
from lightning_separation.records import Findings
from lightning_separation.runs.figures import FIGURES, drawn, interval_bands, pair_bands
from tests.helpers import blobs, loader, mlp
from tests.plots.test_henze_penrose import assert_legible
from tests.runs.made import LAYERS, divergence, jackknife, matrix, mean, pairs, record, run


def texts(figure):
    return [text.get_text() for axes in figure.axes for text in axes.texts]


@pytest.mark.parametrize("kind", FIGURES)
def test_a_real_run_has_every_figure(fitted, kind):
    figure = fitted.run.plot(kind=kind)
    assert_legible(figure)
    assert any(axes.get_title().startswith("version_0: ") for axes in figure.axes)
    long = replace(fitted.run, name="a run with a very long name " * 5)
    assert_legible(long.plot(kind=kind))


def test_drawn_are_those_that_a_run_has_something_for(fitted):
    assert list(drawn(fitted.run)) == list(FIGURES)
    assert list(drawn(run())) == [
        "epochs", "curves", "bands", "histograms", "pairs", "bayes_error", "training_effect", "layer_steps",
        "epoch_steps",
    ]  # fmt: skip
    assert set(FIGURES) - set(drawn(run(epochs=[0]))) == {
        "training_effect",
        "epoch_steps",
        "gap",
        "forecast",
        "confusion",
        "components",
    }
    assert drawn(Run([])) == {}
    assert drawn(Run([record(0, classes="", layers=["fc"])])) == {}


@pytest.mark.parametrize("kind", FIGURES)
@pytest.mark.parametrize("lacking", [Run([]), Run([record(0, layers=["fc"])])])
def test_what_is_missing_is_said_by_name(kind, lacking):
    with pytest.raises(KeyError, match=f"{kind}: .*(no|any)"):
        lacking.plot(kind=kind)


def test_figures_that_need_more():
    for kind, message in {
        "gap": "gap: there are no records of the training data",
        "forecast": "forecast: no record has a confusion matrix",
        "confusion": "confusion: no record has findings of 'confusion'",
        "components": "components: no record has findings of 'principal_components'",
    }.items():
        with pytest.raises(KeyError, match=message):
            run().plot(kind=kind)
    with pytest.raises(ValueError, match=r"kind must be one of \['depth', 'epochs', .*, not 'pie'"):
        run().plot(kind="pie")


@pytest.mark.parametrize("classes", ["ab", "abcdefghijkl"])
@pytest.mark.parametrize("num_layers", [1, 30])
def test_few_and_many_classes_layers_and_epochs(classes, num_layers):
    layers = [f"network.blocks.{i}.attention" for i in range(num_layers)]
    for epochs in ([3], range(0, 60, 2)):
        found = drawn(run("a run", epochs=epochs, layers=layers, classes=classes))
        assert len(found) == 6 + 2 * (len(epochs) > 1) + (num_layers > 1)
        for figure in found.values():
            assert_legible(figure)


def test_a_class_and_a_layer_that_are_left_out():
    one = run(classes="abcd", counts=np.array([30, 30, 30, 2]))
    for layer in LAYERS:
        for epoch in (0, 1, 2):
            m = divergence(one, epoch, layer)
            m[3] = m[:, 3] = np.nan
    one.records[1].layers.remove("fc1")
    figures = drawn(one)
    assert len(figures) == 9
    assert "chance: 0.667" in texts(figures["bayes_error"])  # of three classes of 30
    bands, intervals = pair_bands(one.records[0]), interval_bands(one.records[0])
    assert list(bands) == list(LAYERS)
    for layer in LAYERS:
        m = divergence(one, 0, layer)[:3, :3]
        assert bands[layer] == pytest.approx((min(pairs(m)), mean(m), max(pairs(m))))
        effect, low, high, _ = jackknife(m, np.zeros((3, 3)))
        assert intervals[layer] == pytest.approx((low, effect, min(high, 1)))


def test_an_interval_ends_at_the_largest_separation_there_is():
    near = matrix(5, low=0.9, high=1.0)
    near[:4, 4] = near[4, :4] = 0.5
    intervals = interval_bands(record(0, {"low": matrix(5, low=0.2, high=0.4), "high": near}, "abcde"))
    _, low, high, _ = jackknife(near, np.zeros((5, 5)))
    assert high > 1
    assert intervals["high"] == pytest.approx((low, mean(near), 1))
    assert intervals["low"][2] < 1
    two = interval_bands(record(0, {"fc": matrix(2)}, "ab"))
    assert np.isnan([two["fc"][0], two["fc"][2]]).all()


def band_of(figure):
    bands = [part for part in figure.axes[0].collections if part.get_label() == "band"]
    return [corners for part in bands for path in part.get_paths() for corners in path.vertices[:-1].tolist()]


def test_the_last_curve_has_its_interval_in_every_depth_figure(fitted):
    last = fitted.run.moments[2]
    found = last.findings["henze_penrose"]
    margin = stats.t.ppf(0.975, len(last.class_names) - 1)
    wanted = [(found[k]["separation"], margin * found[k]["separation_error"]) for k in last.layers]
    corners = [mean - error for mean, error in wanted] + [min(mean + error, 1) for mean, error in reversed(wanted)]
    history = {2: {"separation": {layer: found[layer]["separation"].item() for layer in last.layers}}}
    in_tensorboard = display(last, history, "separation").figures["separation_figures/depth"]()
    for figure in (Run([last]).plot(), in_tensorboard):
        np.testing.assert_allclose(np.array(band_of(figure))[:, 1], np.maximum(corners, -0.1))
        assert "95% interval over classes" in texts(figure)


def test_a_class_without_enough_samples_costs_no_band():
    one = run(classes="abcde")
    for layer in LAYERS:
        m = divergence(one, 2, layer)
        m[0] = m[:, 0] = np.nan
    lows = [jackknife(divergence(one, 2, layer)[1:, 1:], np.zeros((4, 4)))[1] for layer in LAYERS]
    np.testing.assert_allclose(np.array(band_of(one.plot()))[:3, 1], np.maximum(lows, -0.1))
    assert band_of(one.plot("bayes_error")) == []
    assert band_of(run(classes="ab").plot()) == []  # one pair has no spread


def test_components_without_classes():
    found = analyze(mlp(), loader(blobs()), [PrincipalComponents()], target_fn=False)
    figure = Run([found]).plot(kind="components")
    assert_legible(figure)
    assert "all samples" in texts(figure)


def test_depth_names_every_record():
    records = [record(0, {"a": matrix(), "b": matrix()}, stage="validate", step=step) for step in (0, 0, 9)] + [
        record(epoch, {"a": matrix(), "b": matrix()}, stage="validate", step=30) for epoch in (1, 10, 1)
    ]
    shown = texts(Run(records).plot())
    labels = ["before training", "before training (2)", "validate, epoch 0", "validate, epoch 1", "validate, epoch 10"]
    for label in [*labels, "validate, epoch 1 (2)"]:
        assert label in shown


def test_depth_takes_numbers_of_layers_only():
    found = Findings({"loss": (), "many": ("unit",)}, {"fc": {"loss": 3.0, "many": [1.0, 2.0]}})
    one = Run([record(0, layers=["fc"], mine=found)])
    with pytest.raises(ValueError, match="'loss' of 'mine' is not on a scale from 0 to 1"):
        one.plot("loss", "mine")
    with pytest.raises(ValueError, match="'many' of 'mine' is more than one number for each layer"):
        one.plot("many", "mine")
    with pytest.raises(KeyError, match="no record has 'speed' of 'mine'"):
        one.plot("speed", "mine")


def test_runs_are_read_without_torch_matplotlib_or_the_slow_part_of_scipy():
    code = (
        "import sys, lightning_separation.runs;"
        "assert not {'torch', 'matplotlib', 'pandas', 'scipy.stats'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
