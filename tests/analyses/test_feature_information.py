"""FeatureInformation against scikit-learn, and the weights on the way worked out by hand."""

import warnings

import numpy as np
import pytest
import torch
from sklearn.metrics import mutual_info_score
from torch import nn

from lightning_separation import FeatureInformation, SeparationMonitor, WeightContributions, analyze, load_run
from tests.helpers import Classifier, blobs, hooks, loader, mlp, trainer

X, Y = blobs(3, per_class=40).tensors
NAMES = ["age", "pulse", "sugar", "iron", "salt", "fat"]


def found(network, analysis=None, x=X, y=Y, **settings):
    """The findings, and what was warned of."""
    analysis = analysis or FeatureInformation()
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        record = analyze(network, [(x[:50], y[:50]), (x[50:], y[50:])], [analysis], **settings)
    return record.findings[analysis.name], [str(w.message) for w in said]


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
    layers, said = found(nn.Sequential(nn.Sequential(NoNan(), network)), x=x)
    one = layers["0.1.0"]
    assert [m for m in said if "feature_information" in m] == [
        "analyze: feature_information: NaN or infinite values in features 5: nothing is found of these"
    ]
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


class Between(nn.Module):
    """A first layer, something in between, a second layer and a third."""

    def __init__(self, between, before=lambda x: x):
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b, self.c = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 3)
        self.before, self.between = before, between

    def forward(self, x):
        return self.c(self.b(self.between(self.a(self.before(x)))).tanh())


@pytest.mark.parametrize(
    ("between", "goes_on"),
    [
        (lambda h: h, True),
        (torch.tanh, True),
        (lambda h: nn.functional.gelu(3 * h) - 0.999 * h.sin() + 1, True),
        (lambda h: h.relu_(), True),
        (lambda h: h.unsqueeze(1).sigmoid().flatten(1), True),
        (lambda h: h * (h > 0), True),
        (lambda h: h.flip(1), False),
        (lambda h: h.cumsum(1), False),
        (lambda h: h.softmax(1), False),
        (lambda h: h - h.mean(1, keepdim=True), False),
        (lambda h: h - h.mean(0), False),
        (lambda h: h[:, [1, 0, 2, 3, 4, 5]], False),
        (lambda h: nn.functional.layer_norm(h, [6]), False),
        (lambda h: h * h[:, :1], False),
        (lambda h: h.flip(0), False),
        (lambda h: h.detach(), False),
    ],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_product_goes_on_only_where_each_unit_goes_by_itself(between, goes_on, dtype):
    network, x = Between(between).to(dtype), X.to(dtype)
    layers, said = found(network, x=x)
    assert not said
    assert set(layers) == {"a", "b", "c"}
    np.testing.assert_allclose(layers["a"]["weight_magnitude"], shares(network.a.weight, x=x))
    assert ("weight_magnitude" in layers["b"], "weight_magnitude" in layers["c"]) == (goes_on, goes_on)
    if goes_on:
        weights = [network.a.weight, network.b.weight, network.c.weight]
        np.testing.assert_allclose(layers["b"]["weight_magnitude"], shares(*weights[:2], x=x))
        np.testing.assert_allclose(layers["c"]["weight_magnitude"], shares(*weights, x=x))


def test_two_units_of_one_sample_are_enough_to_see_that_they_change_places():
    torch.manual_seed(0)
    network = Between(lambda h: h.flip(1))
    network.a, network.b = nn.Linear(6, 2), nn.Linear(2, 6)
    batches = [(x[None], y[None]) for x, y in zip(X, Y, strict=True)]
    layers = analyze(network, batches, [FeatureInformation()]).findings["feature_information"]
    assert ["weight_magnitude" in layers[layer] for layer in "abc"] == [True, False, False]
    network.between = torch.tanh
    layers = analyze(network, batches, [FeatureInformation()]).findings["feature_information"]
    assert ["weight_magnitude" in layers[layer] for layer in "abc"] == [True, True, True]


@pytest.mark.parametrize(
    ("before", "is_input"),
    [
        (lambda x: x.clone(), True),
        (lambda x: x.double().float(), True),
        (lambda x: x.detach(), True),
        (lambda x: x.flip(1), False),
        (lambda x: x.roll(1, 0), False),
        (lambda x: x.flip(1) if len(x) == 50 else x, False),  # of one batch of two
        (lambda x: x[:, [0, 1, 2, 3, 5, 4]], False),
        (lambda x: x * torch.tensor([1.0, 1, 1, 1, 1, 2]), False),
    ],
)
def test_weights_lead_from_features_that_a_layer_is_given_as_they_are(before, is_input):
    layers, said = found(Between(torch.tanh, before))
    assert not said
    assert set(layers) == {"a", "b", "c"}
    assert all(("weight_magnitude" in one) == is_input for one in layers.values())


def test_integers_are_features_that_a_layer_can_be_given():
    x = torch.randint(0, 9, (120, 6), generator=torch.Generator().manual_seed(0))
    network = Between(torch.tanh, lambda x: x.float())
    layers, said = found(network, x=x)
    assert not said
    np.testing.assert_allclose(layers["b"]["weight_magnitude"], shares(network.a.weight, network.b.weight, x=x))


class Variational(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.encoder, self.decoder = nn.Linear(6, 6), nn.Linear(3, 6)

    def forward(self, x):
        mu, log_variance = self.encoder(x).chunk(2, 1)
        return self.decoder(mu + 0 * log_variance.exp() if self.training else mu)


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder, self.head = nn.Linear(6, 3), nn.Linear(6, 2)

    def forward(self, x):
        return self.head(nn.functional.linear(self.encoder(x), self.encoder.weight.T))


class Fails(nn.Module):
    """Cannot be run with gradients."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(6, 4), nn.Linear(4, 2)

    def forward(self, x):
        return self.second(torch.from_numpy(np.tanh(self.first(x).numpy())))


@pytest.mark.parametrize(
    ("network", "with_weights"), [(Variational(), "encoder"), (Tied(), "encoder"), (Fails(), "first")]
)
def test_a_layer_without_weights_to_speak_of_is_measured_all_the_same(network, with_weights):
    layers, said = found(network)
    assert not said
    assert len(layers) == 2
    assert [layer for layer in layers if "weight_magnitude" in layers[layer]] == [with_weights]
    assert all(np.isfinite(one["information"]).all() for one in layers.values())


class Sequences(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.each, self.head = nn.Linear(6, 6), nn.Linear(6, 2)

    def forward(self, x):
        return self.head(self.each(x).tanh()).mean(1)


def test_positions_share_weights():
    x = torch.randn(120, 5, 6, generator=torch.Generator().manual_seed(0))
    network = Sequences()
    layers, _ = found(network, x=x)
    assert layers["each"]["information"].shape == (30, 6)
    assert all("weight_magnitude" not in one for one in layers.values())  # they are of columns, not of positions
    layers, _ = found(network, FeatureInformation(max_features=10), x=x)
    weights = network.each.weight, network.head.weight
    np.testing.assert_allclose(layers["head"]["weight_magnitude"], shares(*weights, x=x.mean(1)), rtol=1e-5)


class Sometimes(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(6, 4), nn.Linear(4, 2)

    def forward(self, x):
        return self.second(self.first(x)) if len(x) > 50 else self.first(x)[:, :2]


def test_a_layer_that_the_first_batch_does_without_is_no_trouble():
    layers, said = found(Sometimes())
    assert list(layers) == ["first"]
    assert all("samples only" in message for message in said)


def deep(depth, width=6, scale=1.0):
    torch.manual_seed(0)
    network = nn.Sequential(*(part for _ in range(depth) for part in (nn.Linear(width, width), nn.Hardtanh())))
    for layer in network[::2]:
        layer.weight.data *= scale
    return network


@pytest.mark.parametrize("analysis", [FeatureInformation(), WeightContributions()])
def test_sources_take_one_run_however_deep(analysis):
    def runs(network):
        seen = []
        handle = network[1].register_forward_hook(lambda *_: seen.append(torch.is_grad_enabled()))
        layers, said = found(network, analysis)
        handle.remove()
        assert not said
        return sum(seen), len(layers)

    assert runs(deep(2))[0] == runs(deep(12))[0] == 2  # one for each batch


def test_very_deep_networks_have_shares_all_the_same():
    network = deep(40, scale=1e10)  # 1e400
    layers, said = found(network)
    assert not said
    product = np.eye(6)
    for layer in range(0, 80, 2):
        product = np.abs(network[layer].weight.detach().double().numpy()) @ product
        product /= product.max()
        sizes = product.sum(0) * X.double().std(0).numpy()
        np.testing.assert_allclose(layers[str(layer)]["weight_magnitude"], sizes / sizes.sum())


# NaN


def test_samples_that_the_network_fails_for_are_left_out():
    network, x = tanh_net(), X.clone()
    x[[3, 70], [1, 4]] = torch.nan
    kept = torch.ones(120, dtype=torch.bool)
    kept[[3, 70]] = False
    layers, said = found(network, x=x)
    assert [m for m in said if "feature_information" in m] == [
        "analyze: feature_information: the network gives NaN for 2 samples: they are left out"
    ]
    record = analyze(network, [(X[kept], Y[kept])], [FeatureInformation()])
    for layer, expected in record.findings["feature_information"].items():
        assert set(layers[layer]) == set(expected)
        for quantity, values in expected.items():
            np.testing.assert_allclose(layers[layer][quantity], values, err_msg=quantity)
    layers, said = found(network, x=x * torch.nan)
    assert not len(layers)
    assert "analyze: 0, 1, 2: feature_information: its activations hold NaN or infinite values" in said


class Overflows(nn.Module):
    """Of a layer all units, or one."""

    def __init__(self, units):
        super().__init__()
        self.first, self.hardtanh, self.second = nn.Linear(6, 3), nn.Hardtanh(-torch.inf, torch.inf), nn.Linear(6, 3)
        self.units = units

    def forward(self, x):
        h = self.first(x)
        h[7, self.units] = torch.inf
        self.hardtanh(h)
        return self.second(x)


def test_a_layer_with_other_infinite_values_is_left_out_by_name():
    layers, said = found(Overflows([0, 1, 2]))
    assert list(layers) == ["first", "second"]
    assert said == ["analyze: hardtanh: feature_information: its activations hold NaN or infinite values"]


def test_a_unit_with_infinite_values_is_unknown():
    layers, said = found(Overflows([1]))
    assert not said
    assert np.isnan(layers["hardtanh"]["information"]).all(0).tolist() == [False, True, False]
    np.testing.assert_array_equal(
        layers["hardtanh"]["information"][:, [0, 2]], layers["first"]["information"][:, [0, 2]]
    )
    assert np.isfinite(layers["hardtanh"]["feature_mean"]).all()


def test_a_feature_with_infinite_values_is_named():
    x = X.clone()
    x[5, 3] = torch.inf
    layers, said = found(nn.Sequential(nn.Linear(6, 3), nn.Sigmoid()), FeatureInformation(feature_names=NAMES), x=x)
    assert list(layers) == ["1"]
    assert np.isnan(layers["1"]["information"]).all(1).tolist() == [name == "iron" for name in NAMES]
    assert any("NaN or infinite values in features iron: nothing" in message for message in said)
    assert any("0: feature_information: its activations hold NaN or infinite values" in m for m in said)


# Several inputs


class TwoInputs(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.left, self.right, self.head = nn.Linear(6, 3), nn.Linear(3, 4), nn.Linear(4, 3)

    def forward(self, x, z):
        return self.left(x).tanh() + self.head(self.right(z).tanh())


Z = torch.randn(120, 3, generator=torch.Generator().manual_seed(5))


def of_two(analysis, z=(Z[:50], Z[50:])):
    """The network, the findings, and what was warned of."""
    network = TwoInputs()
    batches = [{"x": X[:50], "z": z[0], "y": Y[:50]}, {"x": X[50:], "z": z[1], "y": Y[50:]}]
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        record = analyze(network, batches, [analysis])
    return network, record.findings["feature_information"], [str(w.message) for w in said]


def test_one_of_several_inputs():
    network, layers, said = of_two(FeatureInformation(argument="z"))
    assert not said
    units = network.right(Z).detach().numpy()
    np.testing.assert_allclose(layers["right"]["information"], informations(Z.numpy(), units), atol=1e-9)
    assert layers["left"]["information"].shape == (3, 3)
    assert "weight_magnitude" not in layers["left"]  # which is given the other
    weights = network.right.weight, network.head.weight
    np.testing.assert_allclose(layers["head"]["weight_magnitude"], shares(*weights, x=Z))
    for argument in ("x", None):
        network, layers, said = of_two(FeatureInformation(argument=argument))
        assert not said
        assert {layer for layer in layers if "weight_magnitude" in layers[layer]} == {"left"}
        np.testing.assert_allclose(layers["left"]["weight_magnitude"], shares(network.left.weight))


def test_an_input_by_its_position_in_a_fit(tmp_path):
    class Module(Classifier):
        def validation_step(self, batch, batch_idx):
            self.net(batch[0], batch[0][:, :3] * 2)

        def training_step(self, batch, batch_idx):
            return self.loss(self.net(batch[0], batch[0][:, :3]), batch[1])

    monitor = SeparationMonitor([FeatureInformation(argument=1)], on_error="raise")
    t = trainer(tmp_path, monitor, max_epochs=1)
    t.fit(Module(TwoInputs()), loader(blobs(seed=1)), loader(blobs(), batch_size=7))
    layers = load_run(t.log_dir).records[-1].findings["feature_information"]
    assert {layer for layer in layers if "weight_magnitude" in layers[layer]} == {"net.right", "net.head"}
    assert all(one["information"].shape[0] == 3 for one in layers.values())


@pytest.mark.parametrize("argument", ["salt", 0])
def test_an_input_that_there_is_not(argument):
    _, layers, said = of_two(FeatureInformation(argument=argument))
    assert not len(layers)
    assert len(said) == 1
    assert said[0].startswith("analyze: feature_information: argument")


def test_an_input_must_have_the_same_shape_in_all_batches():
    class Summed(TwoInputs):
        def forward(self, x, z):
            return super().forward(x, z.unflatten(1, (-1, 3)).sum(1))

    batches = [{"x": X[:50], "z": torch.ones(50, 6), "y": Y[:50]}, {"x": X[50:], "z": torch.ones(70, 3), "y": Y[50:]}]
    with pytest.warns(UserWarning, match=r"argument='z' has samples of shape \(3,\) or \(6,\)"):
        record = analyze(Summed(), batches, [FeatureInformation(argument="z")])
    assert not len(record.findings["feature_information"])


def test_a_wide_argument_is_pooled():
    class Pictures(TwoInputs):
        def forward(self, x, z):
            return super().forward(x, z.mean((2, 3)))

    z = torch.randn(120, 3, 5, 5, generator=torch.Generator().manual_seed(0))
    batches = [{"x": X, "z": z, "y": Y}]
    network = Pictures()
    record = analyze(network, batches, [FeatureInformation(argument="z", max_features=74)])
    units = network.right(z.mean((2, 3))).detach().numpy()
    one = record.findings["feature_information"]["right"]
    np.testing.assert_allclose(one["information"], informations(z.mean((2, 3)).numpy(), units), atol=1e-9)
    with pytest.warns(UserWarning, match="3 features, max_features=2: raise it"):
        analyze(network, batches, [FeatureInformation(argument="z", max_features=2)])


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
        {"bins": 1},
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
