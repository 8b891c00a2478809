"""FeatureInformation against scikit-learn, and the weights on the way worked out by hand."""

import warnings

import numpy as np
import pytest
import torch
from sklearn.metrics import mutual_info_score
from torch import nn

from lightning_separation import FeatureInformation, SeparationMonitor, analyze, load_run
from tests.helpers import Classifier, blobs, hooks, loader, mlp, trainer

X, Y = blobs(3, per_class=40).tensors
NAMES = ["age", "pulse", "sugar", "iron", "salt", "fat"]


def found(network, analysis=None, x=X, y=Y, **settings):
    """The findings, and what was warned of."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        record = analyze(network, [(x[:50], y[:50]), (x[50:], y[50:])], [analysis or FeatureInformation()], **settings)
    return record.findings["feature_information"], [str(w.message) for w in said]


def codes(unit, bins=10):
    """Bins of one width as NumPy lays them."""
    edges = np.histogram_bin_edges(np.float64(unit), bins)
    return np.clip(np.digitize(np.float64(unit), edges[1:-1]), 0, bins - 1)


def informations(features, units, bins=10):
    return [[mutual_info_score(codes(f, bins), codes(u, bins)) for u in units.T] for f in features.T]


def tanh_net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3))


def of_layers(network, x=X):
    with torch.no_grad():
        return {str(i): network[: i + 1](x).flatten(1).numpy() for i in range(len(network))}


@pytest.mark.parametrize("bins", [4, 10])
def test_the_same_as_scikit_learn(bins):
    network = tanh_net()
    layers, said = found(network, FeatureInformation(bins=bins))
    assert not said
    assert list(layers) == ["0", "1", "2"]
    for layer, units in of_layers(network).items():
        expected = informations(X.numpy(), units, bins)
        np.testing.assert_allclose(layers[layer]["information"], expected, atol=1e-9)
        np.testing.assert_allclose(layers[layer]["feature_mean"], layers[layer]["excess"].mean(1))
        np.testing.assert_array_equal(layers[layer]["example_unit"], np.arange(units.shape[1]))


def test_the_correction_is_that_of_miller_and_madow():
    network = nn.Sequential(nn.Linear(6, 2))
    plain, corrected = (found(network, FeatureInformation(correction=c))[0]["0"] for c in (None, "miller-madow"))
    units = of_layers(network)["0"]
    for i, feature in enumerate(X.numpy().T):
        for j, unit in enumerate(units.T):
            a, b = codes(feature), codes(unit)
            filled = len(set(a)) + len(set(b)) - len(set(zip(a, b, strict=True))) - 1
            expected = plain["information"][i, j] + filled / (2 * len(X))
            assert corrected["information"][i, j] == pytest.approx(expected)


def test_excess_is_what_shuffled_samples_do_not_share():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1000, 6, generator=generator)
    network = nn.Sequential(nn.Linear(6, 1, bias=False))
    network[0].weight.data = torch.tensor([[1.0, 0.5, 0, 0, 0, 0]])
    one = found(network, x=x, y=torch.arange(1000) % 2, samples_per_class=500)[0]["0"]
    random = np.random.default_rng(0)
    units = of_layers(network, x)["0"]
    for feature in range(6):
        chance = [mutual_info_score(codes(x[:, feature]), random.permutation(codes(units[:, 0]))) for _ in range(50)]
        assert one["excess"][feature, 0] == pytest.approx(
            one["information"][feature, 0] - np.mean(chance), abs=4 * np.std(chance)
        )
    assert one["excess"][0, 0] > 3 * one["excess"][1, 0] > 0.1
    assert np.abs(one["excess"][2:]).max() < 0.02


def test_a_unit_that_copies_a_feature_tells_all_of_it():
    network = nn.Sequential(nn.Linear(6, 2, bias=False))
    network[0].weight.data = torch.eye(6)[[4, 1]] * torch.tensor([[1.0], [-2.0]])
    one = found(network, FeatureInformation(feature_names=NAMES))[0]["0"]
    for unit, feature in ((0, 4), (1, 1)):
        shares = np.bincount(codes(X[:, feature])) / len(X)
        entropy = -(shares[shares > 0] * np.log(shares[shares > 0])).sum()
        assert one["information"][feature, unit] == pytest.approx(entropy)
        assert one["excess"][:, unit].argmax() == feature
    np.testing.assert_allclose(one["weight_magnitude"][[0, 2, 3, 5]], 0)


def test_a_layer_that_ignores_the_input_tells_nothing():
    network = nn.Sequential(nn.Linear(6, 4), nn.Linear(4, 3))
    nn.init.zeros_(network[0].weight)
    layers, said = found(network)
    assert not said
    np.testing.assert_array_equal(layers["0"]["information"], 0)
    np.testing.assert_array_equal(layers["0"]["excess"], 0)
    assert np.isnan(layers["0"]["weight_magnitude"]).all()


def test_a_constant_feature_tells_nothing_and_one_with_nan_is_unknown():
    x = X.clone()
    x[:, 2], x[3, 5] = 7.0, torch.nan
    network = nn.Sequential(nn.Linear(6, 4))
    network[0].weight.data[:, 5] = 0
    layers, _ = found(nn.Sequential(nn.Sequential(NoNan(), network)), x=x)
    one = layers["0.1.0"]
    np.testing.assert_array_equal(one["information"][2], 0)
    assert np.isnan(one["information"][5]).all()
    assert np.isnan(one["feature_mean"][5])
    assert np.isfinite(one["information"][[0, 1, 3, 4]]).all()


class NoNan(nn.Module):
    def forward(self, x):
        return x.nan_to_num(0.0)


# The weights that lead from a feature


def shares(*weights, x=X):
    product = np.eye(x.shape[1])
    for weight in weights:
        product = np.abs(weight.detach().double().numpy()) @ product
    sizes = product.sum(0) * x.double().std(0).numpy()
    return sizes / sizes.sum()


def test_weights_by_hand():
    x = torch.tensor([[-1.0, 2.0], [1.0, -2.0]]).repeat(30, 1)  # standard deviations 1 : 2
    network = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1))
    network[0].weight.data = torch.tensor([[1.0, -2.0], [3.0, 0.0]])
    network[2].weight.data = torch.tensor([[-1.0, 2.0]])
    layers, _ = found(network, x=x, y=torch.arange(60) % 2)
    np.testing.assert_allclose(layers["0"]["weight_magnitude"], [4 / 8, 4 / 8])  # 1 + 3 and 2 * 2
    np.testing.assert_allclose(layers["2"]["weight_magnitude"], [7 / 11, 4 / 11])  # 1 + 6 and 2 * 2
    assert "weight_magnitude" not in layers["1"]


@pytest.mark.parametrize("frozen", [False, True])
def test_weights_through_several_layers(frozen):
    network = tanh_net()
    network.requires_grad_(not frozen)
    layers, _ = found(network)
    np.testing.assert_allclose(layers["0"]["weight_magnitude"], shares(network[0].weight))
    np.testing.assert_allclose(layers["2"]["weight_magnitude"], shares(network[0].weight, network[2].weight))
    assert all(weight.requires_grad != frozen and weight.grad is None for weight in network.parameters())
    assert hooks(network) == 0


class Skips(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(self, x):
        return self.second(self.first(x).tanh() + x)


class Branches(nn.Module):
    def __init__(self):
        super().__init__()
        self.left, self.right, self.head = nn.Linear(6, 4), nn.Linear(6, 4), nn.Linear(4, 3)

    def forward(self, x):
        return self.head(self.left(x).tanh() * self.right(x).sigmoid())


CONVOLUTION = [nn.Unflatten(1, (1, 6)), nn.Conv1d(1, 1, 3, padding=1), nn.Flatten(), nn.Linear(6, 3)]


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize(
    ("network", "with_weights", "settings"),
    [
        (nn.Sequential(*CONVOLUTION), set(), {}),  # as wide as the input, but no longer the input
        (nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5), nn.Linear(5, 3)), {"0"}, {}),
        (nn.Sequential(nn.LayerNorm(6), nn.Linear(6, 3)), set(), {}),
        (Skips(), {"first"}, {}),
        (Branches(), {"left", "right"}, {}),
        (nn.Sequential(nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 3)), set(), {"layers": ["2"]}),  # the first is unseen
        (nn.Sequential(nn.Dropout(0.5), nn.Linear(6, 3), nn.ReLU(), nn.Linear(3, 2)), {"1", "3"}, {}),
    ],
)
def test_weights_only_where_nothing_else_has_any(network, with_weights, settings, frozen):
    network.requires_grad_(not frozen)
    layers, _ = found(network, **settings)
    assert {layer for layer in layers if "weight_magnitude" in layers[layer]} == with_weights


def test_without_gradients_there_are_no_weights():
    words = torch.randint(0, 20, (120, 5), generator=torch.Generator().manual_seed(0))
    network = nn.Sequential(nn.Embedding(20, 4), nn.Flatten(), nn.Linear(20, 3))
    layers, said = found(network, x=words)
    assert not said
    assert all("weight_magnitude" not in one for one in layers.values())
    expected = informations(words.numpy(), of_layers(network, words)["2"])
    np.testing.assert_allclose(layers["2"]["information"], expected, atol=1e-9)


# Features


def test_one_number_for_each_sample_is_one_feature():
    tokens = torch.randint(0, 20, (120,), generator=torch.Generator().manual_seed(0))
    network = nn.Sequential(nn.Embedding(20, 4))
    layers, said = found(network, x=tokens)
    assert not said
    expected = informations(tokens.numpy()[:, None], of_layers(network, tokens)["0"])
    np.testing.assert_allclose(layers["0"]["information"], expected, atol=1e-9)


def test_names_of_features():
    layers, said = found(tanh_net(), FeatureInformation(feature_names=NAMES))
    assert layers.labels == {"feature": NAMES}
    assert not said


def test_a_wrong_number_of_names_is_said_and_costs_the_names_only():
    layers, said = found(tanh_net(), FeatureInformation(feature_names=NAMES[:4]))
    assert layers.labels == {}
    assert len(layers) == 3
    (message,) = said
    assert message == "analyze: feature_information: 4 feature_names for 6 features; numbers are shown"


def test_images_of_many_pixels_are_pooled_to_channels():
    torch.manual_seed(0)
    x = torch.randn(120, 3, 4, 4)
    network = nn.Sequential(nn.Flatten(), nn.Linear(48, 2))
    pixels, _ = found(network, x=x)
    assert pixels["1"]["information"].shape == (48, 2)
    np.testing.assert_allclose(pixels["1"]["weight_magnitude"], shares(network[1].weight, x=x.flatten(1)), rtol=1e-6)
    channels, _ = found(network, FeatureInformation(max_features=47, feature_names=["red", "green", "blue"]), x=x)
    units = of_layers(network, x)["1"]
    expected = informations(x.mean((2, 3)).numpy(), units)
    np.testing.assert_allclose(channels["1"]["information"], expected, atol=1e-9)
    assert channels.labels["feature"] == ["red", "green", "blue"]
    assert "weight_magnitude" not in channels["1"]


def test_of_wide_layers_evenly_spaced_units():
    network = tanh_net()
    layers, _ = found(network, FeatureInformation(max_units=3))
    assert layers["0"]["example_unit"].tolist() == [0, 4, 7]
    expected = informations(X.numpy(), of_layers(network)["0"][:, [0, 4, 7]])
    np.testing.assert_allclose(layers["0"]["information"], expected, atol=1e-9)
    np.testing.assert_allclose(layers["0"]["weight_magnitude"], shares(network[0].weight))  # of all units


def test_the_input_is_left_out_and_layers_can_be_chosen():
    layers, said = found(tanh_net(), FeatureInformation(layers=["[12]"]))
    assert list(layers) == ["1", "2"]
    assert not said
    layers, said = found(tanh_net(), FeatureInformation(layers="input"))
    assert not len(layers)
    assert "layers=['input'] fit none of 0, 1, 2" in said[0]


def test_without_classes_and_the_same_each_time():
    network, state = tanh_net(), torch.get_rng_state()
    one, two, other = (found(network, target_fn=False, seed=seed)[0]["2"] for seed in (0, 0, 1))
    for quantity in one:
        np.testing.assert_array_equal(one[quantity], two[quantity])
    assert (one["excess"] != other["excess"]).any()
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize("edges", ["run", "epoch", (-2.0, 2.0)])
def test_bins_over_the_epochs_of_a_fit(tmp_path, edges):
    monitor = SeparationMonitor([FeatureInformation(edges=edges)], on_error="raise")
    t = trainer(tmp_path, monitor, max_epochs=2)
    weights = []

    class Watched(Classifier):
        def on_validation_start(self):
            if not self.trainer.sanity_checking:
                weights.append({name: value.clone() for name, value in self.net.state_dict().items()})

    torch.manual_seed(0)
    module = Watched(mlp())
    t.fit(module, loader(blobs(seed=1)), loader(blobs(), batch_size=60))
    x = blobs().tensors[0]
    module.eval()

    def laid(values):
        if isinstance(edges, tuple):
            return [np.linspace(*edges, 11)] * values.shape[1]
        return [np.histogram_bin_edges(np.float64(column), 10) for column in values.T]

    first = None
    for record, state in zip(load_run(t.log_dir).records, weights, strict=True):
        module.net.load_state_dict(state)
        with torch.no_grad():
            units = module.net(x).numpy()
        first = laid(units) if first is None or edges == "epoch" else first
        expected = [
            [
                mutual_info_score(np.digitize(f, of_f[1:-1]), np.digitize(np.float64(u), of_u[1:-1]))
                for u, of_u in zip(units.T, first, strict=True)
            ]
            for f, of_f in zip(np.float64(x.numpy()).T, laid(x.numpy()), strict=True)
        ]
        found_there = record.findings["feature_information"]["net.3"]["information"]
        np.testing.assert_allclose(found_there, expected, atol=1e-9)


@pytest.mark.parametrize(
    "settings",
    [
        {"bins": 0},
        {"max_units": -1},
        {"max_features": 0.5},
        {"edges": "all"},
        {"correction": "none"},
        {"pooling": "sum"},
        {"feature_names": "age"},
    ],
)
def test_impossible_settings(settings):
    with pytest.raises(ValueError, match=next(iter(settings))):
        FeatureInformation(**settings)
