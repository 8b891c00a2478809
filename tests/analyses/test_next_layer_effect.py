"""NextLayerEffect on real networks, against networks whose weights are zeroed."""

from copy import deepcopy

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

from lightning_separation import NextLayerEffect, SeparationMonitor, analyze, load_run
from lightning_separation.analyses.unit_groups import draw_groups
from lightning_separation.functional import henze_penrose_divergence, neuron_significance
from lightning_separation.functional.kolmogorov_smirnov import kolmogorov_smirnov_distance
from tests.analyses.test_group_ablation import Slow, halves, trained
from tests.helpers import Classifier, hooks, loader, trainer


def found(network, data, analysis=None, **settings):
    record = analyze(network, data, [analysis or NextLayerEffect()], **settings)
    return record, record.findings["next_layer_effect"]


def test_the_same_as_zeroing_weights():
    network, dataset = trained()
    x, y = dataset.tensors
    record, values = found(network, loader(dataset), NextLayerEffect(fraction=0.6), seed=5)
    assert record.layers == ["input", "0", "1", "2", "3", "4"]
    assert {layer: list(one["follower"]) for layer, one in values.items()} == {
        "0": [2, 3, 4, 5], "1": [3, 4, 5], "2": [4, 5], "3": [5]
    }  # fmt: skip

    def look(net):
        with torch.no_grad():
            return [net[: k + 1](x) for k in range(5)]

    def separation(features):
        return henze_penrose_divergence(features, y)[tuple(torch.triu_indices(3, 3, 1))].mean()

    def fraction(features):
        return neuron_significance(features, y).significant.double().mean()

    clean = look(network)
    for layer in (0, 2):
        groups = draw_groups(str(layer), neuron_significance(clean[layer], y).significant, 0.6, seed=5)
        one = values[str(layer)]
        assert one["removed_units"] == groups.others.shape[1] == groups.significant.shape[1] > 1
        behind = range(layer + 1, 5)
        np.testing.assert_allclose(one["separation"], [separation(clean[k]) for k in behind], atol=0.02)
        np.testing.assert_allclose(one["significant_fraction"], [fraction(clean[k]) for k in behind])
        for kind in ("significant", "others"):
            masked, units = deepcopy(network), getattr(groups, kind)[0]
            masked[layer].weight.data[units] = 0
            masked[layer].bias.data[units] = 0
            changed = look(masked)
            np.testing.assert_allclose(
                one[f"separation_without_{kind}"], [separation(changed[k]) for k in behind], atol=0.02
            )
            np.testing.assert_allclose(
                one[f"significant_fraction_without_{kind}"], [fraction(changed[k]) for k in behind]
            )
            shifts = [
                np.mean([stats.ks_2samp(*pair).statistic for pair in zip(clean[k].T.numpy(), changed[k].T.numpy())])  # noqa: B905
                for k in behind
            ]
            np.testing.assert_allclose(one[f"shift_without_{kind}"], shifts, atol=0.02)


def test_what_carries_the_classes_takes_them_along():
    network, x, y = halves()
    _, values = found(network, [(x, y)], NextLayerEffect(fraction=1))
    for one in values.values():
        assert (one["separation"] > 0.9).all()
        np.testing.assert_array_equal(one["separation_without_others"][-1], one["separation"][-1])
        assert one["separation_without_significant"][-1] == 0  # collapsed
        assert one["shift_without_significant"][-1] > 0.7  # all to 0, where some were before
        assert one["shift_without_others"][-1] == 0
        assert one["significant_fraction"][-1] == 1
        assert one["significant_fraction_without_significant"][-1] == 0
        assert one["removed_units"] == 8


def test_a_branch_that_is_not_made_from_the_layer_does_not_change():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.tanh, self.head = halves()[0][0], nn.Linear(3, 4), nn.Tanh(), nn.Linear(20, 2)

        def forward(self, x):
            return self.head(torch.cat([self.tanh(self.a(x)), self.tanh(self.b(x))], 1))

    torch.manual_seed(0)
    _, x, y = halves()
    record, values = found(Net(), [(x[:50], y[:50]), (x[50:], y[50:])], NextLayerEffect(fraction=1, layers=["a"]))
    one = values["a"]
    names = [record.layers[k] for k in one["follower"]]
    assert names == ["tanh", "b", "tanh#2", "head"]
    assert (one["shift_without_significant"] > 0).tolist() == [True, False, False, True]
    for k in (1, 2):
        for quantity in ("separation", "significant_fraction"):
            assert one[quantity][k] == one[f"{quantity}_without_significant"][k] == one[f"{quantity}_without_others"][k]


def test_little_memory_changes_nothing():
    network, dataset = trained()
    first = found(network, loader(dataset))[1]
    for memory in ("60KB", "100KB"):
        record, second = found(network, loader(dataset), max_memory=memory)
        assert not record.notes
        for layer, one in first.items():
            for quantity, value in one.items():
                np.testing.assert_array_equal(value, second[layer][quantity])


def test_convolutions_and_sequences():
    torch.manual_seed(0)
    y = torch.arange(60) % 2
    x = torch.randn(60, 2, 8)
    x[:, 0] += 2 * y[:, None]

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.relu, self.lstm = nn.Conv1d(2, 6, 3), nn.ReLU(), nn.LSTM(6, 5)
            self.head = nn.Linear(5, 2)
            with torch.no_grad():
                self.conv.weight[:3, 1] = 0
                self.conv.weight[3:, 0] = 0
                self.lstm.weight_ih_l0[:, 3:] = 0

        def forward(self, x):
            steps = self.relu(self.conv(x)).permute(2, 0, 1)
            return self.head(self.lstm(steps)[1][0][-1])

    _, values = found(Net(), [(x, y)], NextLayerEffect(fraction=1, layers=["conv", "relu"]))
    for one in values.values():
        assert one["removed_units"] == 3
        assert (one["shift_without_significant"][-2:] > 0.3).all()
        assert (one["shift_without_others"][-2:] == 0).all()


def test_a_small_class_is_left_out_and_one_kind_of_units_reported():
    network, x, y = halves(num_classes=3, outputs=3)
    few = torch.cat([(y != 2).nonzero().squeeze(1), (y == 2).nonzero().squeeze(1)[:4]])
    with pytest.warns(UserWarning, match=r"class 2 \(4\) left out of pairs: fewer than 5 samples"):
        _, values = found(network, [(x[few], y[few])])
    assert np.isfinite(values["0"]["separation"]).all()
    with pytest.warns(UserWarning, match="two classes"):
        assert not found(network, [(x[y == 0], y[y == 0])])[1]
    network[0].weight.data[:] = network[0].weight.data[0]
    with pytest.warns(UserWarning, match="next_layer_effect: 16 of its 16 units are significant: too few others"):
        assert not found(network, [(x, y)])[1]


def test_infinite_activations_behind_cost_that_layer_only():
    class Inverse(nn.Module):
        def forward(self, x):
            return 1 / x

    network, x, y = halves()
    network.insert(2, Inverse())  # of dead units: infinite
    _, values = found(network, [(x, y)], NextLayerEffect(fraction=1, layers=["0"]))
    assert np.isfinite(values["0"]["separation"][0])
    assert np.isnan(values["0"]["separation"][1])


def test_one_seed_gives_one_result_and_nothing_else_changes():
    network, dataset = trained()
    state, rng = deepcopy(network.state_dict()), torch.get_rng_state()
    batches = [(x, y) for x, y in loader(dataset)]
    torch.set_rng_state(rng)
    first = found(network, batches)[1]
    assert torch.equal(rng, torch.get_rng_state())
    torch.rand(3)
    second = found(network, batches)[1]
    alone = found(network, batches, NextLayerEffect(layers=["2"]))[1]
    for one, others in ((first, second), (alone, first)):
        for layer in one:
            for quantity, value in one[layer].items():
                np.testing.assert_array_equal(value, others[layer][quantity])
    assert hooks(network) == 0
    for name, value in network.state_dict().items():
        assert torch.equal(value, state[name])


def test_in_a_real_fit(tmp_path):
    network, x, y = halves(num_classes=3, outputs=3, width=9)
    data = loader(torch.utils.data.TensorDataset(x, y))
    t = trainer(tmp_path, SeparationMonitor([NextLayerEffect(fraction=1)], on_error="raise"), max_epochs=1)
    t.validate(Classifier(network), data, verbose=False)
    (record,) = load_run(t.log_dir).records
    values = record.findings["next_layer_effect"]["net.0"]
    assert [record.layers[k] for k in values["follower"]] == ["net.1", "net.2"]
    assert values["separation_without_significant"].tolist()[-1] == 0
    t = trainer(tmp_path / "fit", SeparationMonitor([NextLayerEffect()]), max_epochs=2)
    t.fit(Slow(network), data, data)
    assert len(load_run(t.log_dir).records) == 2


@pytest.mark.parametrize("settings", [{"fraction": 0}, {"fraction": 2}, {"alpha": 0}, {"pooling": "median"}])
def test_bad_settings(settings):
    with pytest.raises(ValueError):
        NextLayerEffect(**settings)


@pytest.mark.parametrize(("m", "n"), [(50, 50), (30, 70), (1, 4)])
@pytest.mark.parametrize("step", [0, 0.5, 3])
def test_kolmogorov_smirnov_as_scipy_has_it(m, n, step):
    generator = torch.Generator().manual_seed(m + n)
    x, y = torch.randn(m, 40, generator=generator), 1.5 * torch.randn(n, 40, generator=generator) + 0.3
    if step:  # many values are equal
        x, y = (x / step).round() * step, (y / step).round() * step
    expected = [stats.ks_2samp(x[:, u], y[:, u]).statistic for u in range(40)]
    np.testing.assert_allclose(kolmogorov_smirnov_distance(x, y), expected, rtol=1e-12)
    assert not kolmogorov_smirnov_distance(x, x).any()


def test_kolmogorov_smirnov_of_many_units_and_of_bad_ones(monkeypatch):
    x, y = torch.randn(20, 9), torch.randn(20, 9)
    whole = kolmogorov_smirnov_distance(x, y)
    monkeypatch.setattr("lightning_separation.functional.kolmogorov_smirnov._VALUES_AT_ONCE", 80)
    assert torch.equal(kolmogorov_smirnov_distance(x, y), whole)
    assert kolmogorov_smirnov_distance(x.bfloat16(), y.bfloat16().double()).dtype == torch.float64
    x[3, 2], y[4, 5] = torch.nan, torch.inf
    assert kolmogorov_smirnov_distance(x, y).isnan().nonzero().squeeze(1).tolist() == [2, 5]
    with pytest.raises(ValueError, match="x has 9 units, y 8"):
        kolmogorov_smirnov_distance(x, y[:, 1:])
