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
        np.testing.assert_allclose(relu["gradient"][:, :, k], share[:, None] * weight, rtol=1e-5, atol=1e-9)
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


def test_tokens_have_no_gradient():
    network = nn.Sequential(nn.Embedding(10, 4), nn.Flatten(), nn.Linear(12, 3))
    tokens = torch.randint(10, (60, 3))
    with pytest.warns(UserWarning, match="no gradient leads back"):
        record, _ = found(network, x=tokens)
    assert len(record.notes) >= 1


def test_outputs_that_are_no_classes():
    with pytest.warns(UserWarning, match="no column for each class"):
        _, features = found(mlp(6, 2))
    assert "drive_predicted" not in features["1"]


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
        largest = np.sort(np.abs(values["contribution"]).ravel())[::-1][:7]
        np.testing.assert_allclose(np.abs(values["link_contribution"]), largest)
        at = tuple(values[f"link_{part}"] for part in ("unit", "source", "class"))
        np.testing.assert_allclose(values["contribution"][at], values["link_contribution"])


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
