"""Significance and Selectivity on what a real network computes."""

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn
from torch.utils.data import TensorDataset

from lightning_separation import HenzePenrose, Selectivity, SeparationMonitor, Significance, analyze, load_run
from lightning_separation.functional import TEST_NAMES, class_selectivity, neuron_significance
from lightning_separation.metrics import ClassSelectivity, NeuronSignificance
from tests.helpers import Classifier, blobs, loader, mlp, trainer


def found(analysis, x, y, **settings):
    record = analyze(nn.Identity(), [(x, y)], [analysis], layers=[], **settings)
    return record, record.findings[analysis.name]["input"]


def rule_of_the_notebook(unit, target):
    """The decision rule of the heart-disease notebook, with SciPy."""
    sick, healthy = unit[target == 1], unit[target == 0]
    if stats.shapiro(sick).pvalue > 0.05 and stats.shapiro(healthy).pvalue > 0.05:
        return "welch_t", stats.ttest_ind(sick, healthy, equal_var=False).pvalue
    return "mann_whitney_u", stats.mannwhitneyu(sick, healthy, method="asymptotic").pvalue


def test_the_monitor_the_metric_and_the_function_agree_with_the_notebooks_rule(tmp_path):
    torch.manual_seed(0)
    module, data = Classifier(mlp(6, 2)), loader(blobs(2, per_class=40))
    t = trainer(tmp_path, SeparationMonitor(every_n_epochs=2), max_epochs=3)
    t.fit(module, data, data)
    record = load_run(t.log_dir).records[-1]
    module.eval()
    x, y = blobs(2, per_class=40).tensors
    with torch.no_grad():
        activations = {"input": x, **{f"net.{i}": module.net[: i + 1](x) for i in (0, 1, 3)}}
    assert record.layers == list(activations)
    for layer, features in activations.items():
        values = record.findings["significance"][layer]
        expected = neuron_significance(features, y)
        metric = NeuronSignificance()
        metric.update(features, y)
        for name in expected._fields:
            np.testing.assert_allclose(values[name], getattr(expected, name), rtol=1e-6)
            np.testing.assert_array_equal(getattr(expected, name), getattr(metric.compute(), name))
        for unit in range(features.shape[1]):
            test, p = rule_of_the_notebook(features[:, unit].double().numpy(), y.numpy())
            assert TEST_NAMES[values["test"][unit]] == test
            assert values["p_value"][unit] == pytest.approx(p, rel=1e-4)  # float32 in other batches


def test_selectivity_of_monitor_metric_and_function(tmp_path):
    module, data = Classifier(), loader(blobs())
    t = trainer(tmp_path, SeparationMonitor([Selectivity(threshold=0.2)]))
    t.validate(module, data, verbose=False)
    (record,) = load_run(t.log_dir).records
    module.eval()
    x, y = blobs().tensors
    with torch.no_grad():
        hidden = module.net[:2](x)
    metric = ClassSelectivity(threshold=0.2)
    metric.update(hidden, y)
    values = record.findings["selectivity"]["net.1"]
    for name, expected in class_selectivity(hidden, y, threshold=0.2)._asdict().items():
        np.testing.assert_allclose(values[name], expected, rtol=1e-5, atol=1e-7)
        torch.testing.assert_close(getattr(metric.compute(), name), expected, equal_nan=True)
    alive = hidden.amax(0) > hidden.amin(0)
    means = torch.stack([hidden[y == k].mean(0) for k in range(3)], 1)
    np.testing.assert_array_equal(values["preferred_class"], torch.where(alive, means.argmax(1), -1))


def test_where_location_does_not_differ_the_spread_may():
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(200) % 2
    x = torch.randn(200, 3, generator=generator)
    x[:, 1] *= 1 + 4 * y  # other spread
    x[:, 2] += 2 * y  # other location
    _, values = found(Significance(), x, y)
    np.testing.assert_array_equal(values["significant"], [False, False, True])
    np.testing.assert_array_equal(values["spread_only"], [False, True, False])
    for unit in range(3):
        groups = [x[y == k, unit].double().numpy() for k in (0, 1)]
        expected = stats.levene(*groups, center="median").pvalue
        assert values["spread_p_value"][unit] == pytest.approx(expected, rel=1e-7)
        assert values["normality"][unit] == pytest.approx(stats.shapiro(x[:, unit].double()).statistic, rel=1e-9)


def test_dead_units_count_and_are_never_significant():
    x, y = blobs(3).tensors
    x = torch.cat([x, torch.zeros(60, 2), torch.full((60, 2), 0.1)], 1)
    _, values = found(Significance(), x, y)
    assert values["dead"].tolist() == [False] * 6 + [True] * 4
    assert not values["significant"][6:].any()
    assert values["dead_fraction"] == 0.4
    assert values["significant_fraction"] == values["significant"][:6].sum() / 10
    assert (values["preferred_class"][6:] == -1).all()
    assert not set(values["example_unit"]) & {6, 7, 8, 9}


def test_nan_in_some_units_costs_these_units_only():
    x, y = blobs(3).tensors
    alone = found(Significance(), x[:, [0, 2, 3, 4]], y)[1]
    x[5, 1], x[7, 5] = torch.nan, torch.inf
    with pytest.warns(UserWarning, match="2 of 6 units hold NaN"):
        _, values = found(Significance(), x, y)
    for name in ("p_value", "q_value", "effect_size", "spread_q_value", "normality"):
        assert np.isnan(values[name][[1, 5]]).all()
        np.testing.assert_allclose(values[name][[0, 2, 3, 4]], alone[name], rtol=1e-12)
    assert values["significant_fraction"] == alone["significant_fraction"]
    _, values = found(Selectivity(), x, y)
    assert np.isnan(values["mean"][[1, 5]]).all()
    assert np.isfinite(values["mean"][[0, 2, 3, 4]]).all()


def test_a_rare_class_is_left_out_by_name():
    x, y = blobs(3).tensors
    alone = found(Significance(), x, y)[1]
    x, labels = torch.cat([x, torch.randn(2, 6)]), torch.cat([torch.where(y == 2, 9, y), torch.full((2,), 2)])
    with pytest.warns(UserWarning, match=r"class 2 \(2\) left out of tests: fewer than 3 samples"):
        record, values = found(Significance(), x, labels)
    assert record.class_names == ["0", "1", "2", "9"]
    np.testing.assert_array_equal(values["p_value"], alone["p_value"])
    np.testing.assert_array_equal(
        values["preferred_class"], np.where(alone["preferred_class"] == 2, 3, alone["preferred_class"])
    )
    assert values["example_histogram"][:, 2].sum() == 0


def test_without_two_classes_to_compare_all_is_nan(tmp_path):
    x, y = blobs(2).tensors
    rows = torch.cat([(y == 0).nonzero().squeeze(1), (y == 1).nonzero().squeeze(1)[:2]])
    with pytest.warns(UserWarning, match="tests need two classes"):
        record, values = found(Significance(), x[rows], y[rows])
    assert np.isnan(values["p_value"]).all()
    assert values["p_value"].shape == (6,)
    assert not values["significant"].any()
    assert np.isnan(values["significant_fraction"])
    assert len(record.to_pandas())
    t = trainer(tmp_path, SeparationMonitor([HenzePenrose(), Significance()]))
    with pytest.warns(UserWarning, match="tests need two classes"):
        t.validate(Classifier(mlp(6, 2)), loader(TensorDataset(x[rows], y[rows])), verbose=False)


def test_examples_are_the_extremes_and_their_histograms_hold_the_samples():
    x, y = blobs(3, dim=20).tensors
    _, values = found(Significance(), x, y)
    most, least, normal, not_normal = values["example_unit"].reshape(4, 4)
    p, w = values["p_value"], values["normality"]
    np.testing.assert_array_equal(p[most], np.sort(p)[:4])
    np.testing.assert_array_equal(p[least], np.sort(p)[::-1][:4])
    np.testing.assert_array_equal(w[normal], np.sort(w)[::-1][:4])
    np.testing.assert_array_equal(w[not_normal], np.sort(w)[:4])
    for place, unit in enumerate(values["example_unit"]):
        for k in range(3):
            expected, _ = np.histogram(x[y == k, unit], bins=values["example_edges"][place])
            np.testing.assert_array_equal(values["example_histogram"][place, k], expected)


def test_convolutions_have_channels_and_max_is_an_option():
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU())
    x, y = torch.randn(40, 1, 6, 6), torch.arange(40) % 2
    with torch.no_grad():
        maps = network(x)
    for pooling, pooled in (("mean", maps.mean((2, 3))), ("max", maps.amax((2, 3)))):
        record = analyze(network, [(x, y)], [Significance(pooling=pooling), Selectivity(pooling=pooling)])
        expected = neuron_significance(pooled, y)
        np.testing.assert_allclose(record.findings["significance"]["1"]["p_value"], expected.p_value, rtol=1e-5)
        np.testing.assert_allclose(
            record.findings["selectivity"]["1"]["mean"], class_selectivity(pooled, y).mean, rtol=1e-5
        )


def test_a_unit_count_that_changes_between_epochs(tmp_path):
    class Growing(Classifier):
        def on_validation_start(self):
            if self.current_epoch:
                self.net[0], self.net[3] = nn.Linear(6, 8 + self.current_epoch), nn.Linear(8 + self.current_epoch, 3)

    t = trainer(tmp_path, SeparationMonitor(on_error="raise"), max_epochs=2)
    t.fit(Growing(), loader(blobs()), loader(blobs()))
    values = load_run(t.log_dir).array("significance", "p_value")
    run = load_run(t.log_dir)
    assert values.shape[2] == 9
    assert np.isnan(values[0, run.layers.index("net.1"), 8])


@pytest.mark.parametrize(
    "settings", [{"alpha": 0}, {"alpha": 2}, {"alpha": "x"}, {"every_n_epochs": 2.5}, {"pooling": "median"}]
)
def test_bad_settings(settings):
    with pytest.raises(ValueError):
        Significance(**settings)


@pytest.mark.parametrize("settings", [{"threshold": float("nan")}, {"threshold": "a"}, {"pooling": "median"}])
def test_bad_settings_of_selectivity(settings):
    with pytest.raises(ValueError):
        Selectivity(**settings)


def test_a_spread_that_differs_beside_the_location_is_not_spread_only():
    y = torch.arange(200) % 2
    x = torch.randn(200, 1, generator=torch.Generator().manual_seed(0)) * (1 + 4 * y.unsqueeze(1)) + 20 * y.unsqueeze(1)
    _, values = found(Significance(), x, y)
    assert values["significant"].all()
    assert (values["spread_q_value"] < 0.05).all()
    assert not values["spread_only"].any()


def test_units_that_are_surest_come_first_whatever_the_sign_of_their_effect():
    y = torch.arange(60) // 30
    columns = []
    for flipped in (9, 0, 6, 3, 12):
        unit = y.clone()
        unit[:flipped], unit[30 : 30 + flipped] = 1, 0
        columns.append(1 - unit if flipped % 2 else unit)
    _, values = found(Significance(), torch.stack(columns, 1).float(), y)
    assert values["example_unit"][:8].tolist() == [1, 3, 2, 0, 4, 0, 2, 3]
    np.testing.assert_allclose(values["effect_size"], [-0.4, 1, 0.6, -0.8, 0.2])
    assert values["preferred_class"].tolist() == [0, 1, 1, 0, 1]
