"""What drives the units, against gradients worked out by hand and by finite differences."""

import numpy as np
import pytest
import torch
from torch import nn

from lightning_separation import InputFeatures, SeparationMonitor, WeightContributions, analyze, load_run
from tests.helpers import Classifier, blobs, loader, mlp, trainer

X, Y = blobs(3).tensors


def found(network, analysis=None, x=X, y=Y, **settings):
    analysis = analysis or InputFeatures()
    record = analyze(network, [(x[:25], y[:25]), (x[25:], y[25:])], [analysis], **settings)
    return record, record.findings[analysis.name]


def test_gradients_of_a_relu_layer_by_hand():
    torch.manual_seed(0)
    network = mlp()
    _, features = found(network)
    first = features["0"]
    weight = network[0].weight.detach().double()
    np.testing.assert_allclose(first["weight"], weight)
    for k in range(3):
        np.testing.assert_allclose(first["gradient"][:, :, k], weight, rtol=1e-6)
    relu = features["1"]
    assert "weight" not in relu
    on = (network[0](X) > 0).double()
    scale = X.double().std(0)
    for k in range(3):
        share = on[k == Y].mean(0)
        np.testing.assert_allclose(relu["active_fraction"][:, k], share)
        np.testing.assert_allclose(relu["gradient"][:, :, k], share[:, None] * weight, rtol=1e-5, atol=1e-7)
        np.testing.assert_allclose(relu["drive"][k], (share @ weight) * scale, rtol=1e-5, atol=1e-9)


def test_predicted_classes_are_those_of_the_network():
    torch.manual_seed(1)
    network = mlp()
    _, features = found(network)
    network.eval()
    predicted = network(X).argmax(1)
    on = (network[0](X) > 0).double()
    weight, scale = network[0].weight.detach().double(), X.double().std(0)
    for k in range(3):
        rows = predicted == k
        expected = (on[rows].mean(0) @ weight) * scale
        np.testing.assert_allclose(features["1"]["drive_predicted"][k], expected, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize(
    "settings", [{"max_units": 2.5}, {"threshold": float("nan")}, {"pooling": "median"}, {"feature_names": "ab"}]
)
def test_bad_settings(settings):
    with pytest.raises(ValueError):
        InputFeatures(**settings)


@pytest.mark.parametrize("make", [lambda: nn.Linear(4, 1), lambda: nn.Sequential(nn.Linear(4, 1), nn.Sigmoid())])
def test_one_output_is_the_logit_or_the_probability_of_class_1(make):
    torch.manual_seed(0)
    x, y = blobs(2).tensors
    network = nn.Sequential(nn.Linear(6, 4), nn.Tanh(), make())
    _, features = found(network, x=x, y=y)
    with torch.no_grad():
        outputs = network(x).squeeze(1)
    rows = outputs > (0.5 if isinstance(network[2], nn.Sequential) else 0)
    active = (network[0](x).tanh() > 0).double()
    slope = (1 - network[0](x).tanh().double() ** 2) * active
    drive = slope @ network[0].weight.detach().double() * x.double().std(0)
    np.testing.assert_allclose(features["1"]["drive_predicted"][1], drive[rows].mean(0).detach(), rtol=1e-4)


def test_gradients_by_finite_differences():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Unflatten(1, (1, 6)), nn.Conv1d(1, 3, 3), nn.GELU(), nn.Flatten(), nn.Linear(12, 3))
    network = network.double()
    x = X.double()
    _, features = found(network, x=x)
    found_gradient = features["2"]["gradient"]
    with torch.no_grad():
        for f in range(6):
            step = torch.zeros(6, dtype=torch.float64)
            step[f] = 1e-6
            change = (network[:3](x + step).mean(2) - network[:3](x - step).mean(2)) / 2e-6
            for k in range(3):
                np.testing.assert_allclose(found_gradient[:, f, k], change[k == Y].mean(0), atol=1e-7)


def test_the_units_that_differ_most_are_kept():
    network = nn.Linear(6, 40)
    record, features = found(nn.Sequential(network), InputFeatures(max_units=5))
    kept = features["0"]["example_unit"]
    assert len(kept) == 5
    assert (np.diff(kept) > 0).all()
    assert features["0"]["gradient"].shape == (5, 6, 3)
    assert record.to_pandas() is not None


def test_names_are_kept_in_the_record(tmp_path):
    names = [f"feature {i}" for i in range(6)]
    monitor = SeparationMonitor([InputFeatures(feature_names=names), WeightContributions()], on_error="raise")
    t = trainer(tmp_path, monitor, max_epochs=1)
    t.fit(Classifier(), loader(blobs()), loader(blobs()))
    record = load_run(t.log_dir).records[-1]
    assert record.findings["input_features"].labels == {"feature": names}
    assert list(record.findings["weight_contributions"]) == ["net.0", "net.3"]
    with pytest.warns(UserWarning, match="2 feature_names for 6 features"):
        _, features = found(mlp(), InputFeatures(feature_names=["a", "b"]))
    assert features.labels == {}


def test_in_validate_under_inference_mode_and_without_a_trace_in_the_module(tmp_path):
    module = Classifier()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    t = trainer(tmp_path, SeparationMonitor([InputFeatures()], on_error="raise"))
    t.validate(module, loader(blobs()), verbose=False)
    assert load_run(t.log_dir).records[0].findings["input_features"]["net.1"]["gradient"].any()
    assert all(parameter.grad is None for parameter in module.parameters())
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())


def test_tokens_have_no_gradient_and_that_is_said_once():
    network = nn.Sequential(nn.Embedding(10, 4), nn.Flatten(), nn.Linear(12, 3))
    tokens = torch.randint(10, (60, 3))
    with pytest.warns(UserWarning, match="no gradient leads back"):
        record, _ = found(network, x=tokens)
    assert len(record.notes) == 1


@pytest.mark.parametrize("threshold", [0.0, 0.7])
def test_a_threshold_and_classes_of_several_sizes(threshold):
    torch.manual_seed(0)
    network = mlp()
    keep = (torch.arange(60) < 30) | (Y.ne(1))
    x, y = X[keep], Y[keep]
    _, features = found(network, InputFeatures(threshold=threshold), x=x, y=y)
    hidden = network[:2](x).detach()
    slope = (network[0](x) > 0).double()
    weight, scale = network[0].weight.detach().double(), x.double().std(0)
    for k in range(3):
        rows = y.eq(k)
        active = (hidden[rows] > threshold).double()
        np.testing.assert_allclose(features["1"]["active_fraction"][:, k], active.mean(0))
        expected = (active * slope[rows]).mean(0) @ weight * scale
        np.testing.assert_allclose(features["1"]["drive"][k], expected, rtol=1e-5, atol=1e-9)
        share = slope[rows].mean(0)[:, None] * weight
        np.testing.assert_allclose(features["1"]["gradient"][:, :, k], share, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("outputs", [2, 36])
def test_outputs_that_are_no_classes(outputs):
    with pytest.warns(UserWarning, match="no column for each class"):
        _, features = found(mlp(6, outputs))
    assert "drive_predicted" not in features["1"]


def test_logits_between_0_and_1_are_still_logits():
    torch.manual_seed(0)
    x, y = blobs(2).tensors
    network = nn.Sequential(nn.Linear(6, 4), nn.Linear(4, 1))
    nn.init.constant_(network[1].weight, 1e-4)
    nn.init.constant_(network[1].bias, 0.3)
    _, features = found(network, x=x, y=y)
    assert np.isnan(features["0"]["drive_predicted"][0]).all()  # all are predicted to be of class 1
    assert np.isfinite(features["0"]["drive_predicted"][1]).all()


def test_a_frozen_part_without_gradient_is_named_once():
    class Frozen(nn.Module):
        def __init__(self):
            super().__init__()
            self.body, self.head = nn.Linear(6, 5), nn.Linear(5, 3)

        def forward(self, x):
            with torch.no_grad():
                x = self.body(x)
            return self.head(x)

    with pytest.warns(UserWarning, match="no gradient leads to the input from body, head"):
        record, features = found(Frozen())
    assert not features
    assert len(record.notes) == 1


def test_many_features_and_classes_cost_the_units_only():
    x, y = torch.randn(60, 900), torch.arange(60) % 20
    _, features = found(nn.Sequential(nn.Linear(900, 20)), x=x, y=y)
    assert features["0"]["gradient"].shape == (200_000 // (900 * 20), 900, 20)
    assert features["0"]["gradient"].dtype == np.float32
    x = torch.randn(60, 11_000)
    _, features = found(nn.Sequential(nn.Linear(11_000, 20)), x=x, y=y)
    assert features["0"]["gradient"].shape == (0, 11_000, 20)
    assert features["0"]["drive"].shape == (20, 11_000)


def test_contributions_in_a_network_sum_to_the_class_differences():
    torch.manual_seed(0)
    network = mlp().double()
    _record, contributions = found(network, WeightContributions(count=7), x=X.double())
    assert list(contributions) == ["0", "3"]
    for layer, outputs in (("0", network[0](X.double())), ("3", network.eval()(X.double()))):
        values = contributions[layer]
        np.testing.assert_allclose(values["contribution"].sum(1), values["difference"])
        for k in range(3):
            z = outputs.detach().numpy()
            means = np.stack([z[c == Y].mean(0) for c in range(3)])
            spread = np.sqrt(sum(((z[c == Y] - means[c]) ** 2).sum(0) for c in range(3)) / (60 - 3))
            others = means[[c for c in range(3) if c != k]].mean(0)
            np.testing.assert_allclose(values["difference"][:, k], (means[k] - others) / spread)
        contribution, difference = values["contribution"], values["difference"]
        carried = np.minimum(contribution * np.sign(difference)[:, None], np.abs(difference)[:, None])
        at = tuple(values[f"link_{part}"] for part in ("unit", "source", "class"))
        np.testing.assert_allclose(carried[at], np.sort(carried.ravel())[::-1][:7])
        np.testing.assert_allclose(contribution[at], values["link_contribution"])


def test_links_of_two_classes_are_of_the_second_and_never_empty():
    torch.manual_seed(0)
    x, y = blobs(2).tensors
    _, contributions = found(nn.Sequential(nn.Linear(6, 3), nn.Linear(3, 1)), WeightContributions(count=50), x=x, y=y)
    for values in contributions.values():
        assert set(values["link_class"]) == {1}
        assert (np.abs(values["link_contribution"]) > 0).all()
        contribution, difference = values["contribution"][:, :, 1], values["difference"][:, 1]
        assert len(values["link_unit"]) == (contribution * difference[:, None] > 0).sum()
        at = values["link_unit"], values["link_source"]
        np.testing.assert_allclose(contribution[at], values["link_contribution"])


class Heads(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.h1, self.h2, self.out = nn.Linear(6, 5), nn.Linear(5, 5), nn.Linear(5, 5), nn.Linear(5, 3)

    def forward(self, x):
        x = self.body(x).relu_()
        return self.out(self.h1(x) + self.h2(x))


def test_the_layer_before_is_the_one_that_the_data_come_from():
    record, contributions = found(Heads(), WeightContributions())
    place = {layer: int(values["source_layer"]) for layer, values in contributions.items()}
    body = record.layers.index("body")
    assert place == {"body": 0, "h1": body, "h2": body, "out": -1}
    record, contributions = found(mlp(), WeightContributions())
    assert [int(values["source_layer"]) for values in contributions.values()] == [0, record.layers.index("0")]


def test_tokens_are_no_layer_that_another_is_made_from():
    network = nn.Sequential(nn.Embedding(10, 4), nn.Flatten(), nn.Linear(12, 8), nn.ReLU(), nn.Linear(8, 3))
    record, contributions = found(network, WeightContributions(), x=torch.randint(10, (60, 3)))
    assert [int(values["source_layer"]) for values in contributions.values()] == [-1, record.layers.index("2")]
    assert record.notes == []


def test_a_network_without_linear_layers_is_no_trouble(tmp_path):
    net = nn.Sequential(nn.Unflatten(1, (1, 6)), nn.Conv1d(1, 3, 6), nn.Flatten())
    t = trainer(tmp_path, SeparationMonitor([WeightContributions()], on_error="raise"))
    with pytest.warns(UserWarning, match="no layer of the kind"):
        t.validate(Classifier(net), loader(blobs()), verbose=False)


def test_contributions_of_a_wide_layer_in_parts_are_the_same(monkeypatch):
    torch.manual_seed(0)
    network = mlp()
    _, whole = found(network, WeightContributions())
    monkeypatch.setattr("lightning_separation.analyses.weight_contributions._MOST_CELLS", 40)
    monkeypatch.setattr("lightning_separation.analyses.weight_contributions._MOST_DRAWN", 40)
    _, parts = found(network, WeightContributions())
    assert "contribution" not in parts["0"]
    for name in ("difference", "link_contribution", "link_unit", "link_source", "link_class", "amplification"):
        np.testing.assert_allclose(parts["0"][name], whole["0"][name])
