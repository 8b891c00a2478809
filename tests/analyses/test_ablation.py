"""Ablation of every unit of a network in a record, against a plain loop over units on the same samples."""

import warnings
from copy import deepcopy

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

from lightning_separation import Ablation, analyze
from tests.helpers import blobs, hooks, loader, mlp
from tests.interventions.plain_loop import plain_deltas, plain_outputs

QUANTITIES = ("loss", "accuracy", "kl", "entropy")


def found(network, data, analysis=None, **settings):
    """The record, the findings, and what was warned of."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        record = analyze(network, data, [analysis or Ablation()], **settings)
    return record, record.findings["ablation"], [str(w.message) for w in said if "analyze:" in str(w.message)]


def assert_as_plain(values, network, layer, x, y, axis=1, atol=1e-5, value="zero"):
    clean, ablated = plain_outputs(network, layer, axis, x, value=value)
    expected = plain_deltas(clean, ablated, y)
    for quantity, numbers in zip(QUANTITIES, expected, strict=True):
        np.testing.assert_allclose(values[quantity], numbers, atol=atol, err_msg=f"{layer} {quantity}")
    assert values["exact"].all()
    assert values["exact_fraction"] == 1
    assert values["max_loss"] == values["loss"].max()
    logs = clean.double().log_softmax(-1)
    loss = nn.functional.cross_entropy(logs.flatten(0, -2), y.flatten())
    np.testing.assert_allclose(values["clean_loss"], loss, rtol=1e-5)
    np.testing.assert_allclose(values["clean_accuracy"], (logs.argmax(-1) == y).double().mean(), rtol=1e-6)
    np.testing.assert_allclose(values["clean_entropy"], -(logs.exp() * logs).sum(-1).mean(), rtol=1e-5)
    assert np.abs(values["loss"]).max() > 1e-3


class Tokens(nn.Module):
    """Whole numbers in, a fused encoder, one class for each sequence."""

    def __init__(self, positions=True):
        super().__init__()
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.embed = nn.Embedding(20, 8)
        self.encoder = nn.TransformerEncoder(layer, 2)
        self.head = nn.Linear(8, 3)

    def forward(self, tokens):
        return self.head(self.encoder(self.embed(tokens)).mean(1))


def images():
    body = [nn.Unflatten(1, (1, 2, 3)), nn.Conv2d(1, 6, 2, padding=1), nn.BatchNorm2d(6), nn.ReLU(inplace=True)]
    return nn.Sequential(*body, nn.Dropout2d(0.2), nn.Conv2d(6, 4, 2), nn.AdaptiveAvgPool2d(1), nn.Flatten(), mlp(4, 3))


def batches(x, y, sizes=(25, 7, 28)):
    return list(zip(x.split(list(sizes)), y.split(list(sizes)), strict=True))


def words():
    y = torch.arange(60) % 3
    x = torch.randint(0, 20, (60, 5), generator=torch.Generator().manual_seed(0))
    x[:, 0] = y
    return x, y


@pytest.mark.parametrize("memory", ["2GB", "300KB"])
@pytest.mark.parametrize(
    ("make", "data", "axes"),
    [
        (mlp, blobs, {"0": 1, "1": 1, "3": 1}),
        (images, blobs, {"1": 1, "2": 1, "3": 1, "5": 1, "6": 1, "8.0": 1, "8.1": 1, "8.3": 1}),
        (Tokens, words, {"embed": 2, "encoder.layers.0.linear1": 2, "encoder.layers.1.norm2": 2, "head": 1}),
    ],
)
def test_the_same_as_a_loop_over_units(make, data, axes, memory):
    torch.manual_seed(3)
    network = make()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
            module.weight.data.normal_()
    x, y = data().tensors if data is blobs else data()
    record, values, _ = found(network, batches(x, y), max_memory=memory)
    assert not record.notes
    assert set(axes) <= set(values)
    assert list(values) == [layer for layer in record.layers if layer != "input"]
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # hooks inside would not be called
    try:
        for layer, axis in axes.items():
            assert_as_plain(values[layer], network, layer, x, y, axis)
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)


@pytest.mark.parametrize("value", ["mean", "resample"])
def test_other_values_than_zero(value):
    torch.manual_seed(0)
    network, (x, y) = mlp(), blobs().tensors
    _, values, _ = found(network, [(x, y)], Ablation(value=value))
    if value == "mean":
        assert_as_plain(values["0"], network, "0", x, y, value="mean")
    assert values["0"]["kl"].min() >= 0
    assert values["0"]["kl"].max() > 1e-3
    again = found(network, [(x, y)], Ablation(value=value))[1]
    np.testing.assert_array_equal(values["1"]["loss"], again["1"]["loss"])


@pytest.mark.parametrize(
    ("max_samples", "counts"), [(1000, (20, 20, 4)), (30, (10, 10, 4)), (7, (2, 2, 2)), (1, (1,) * 3)]
)
def test_the_first_samples_of_each_class_count(max_samples, counts):
    x, y = blobs().tensors
    few = (y != 2) | (torch.arange(60) < 12)
    x, y = x[few], y[few]
    order = torch.cat([(y == 0).nonzero(), (y == 2).nonzero(), (y == 1).nonzero()]).squeeze(1)  # no even mixture
    x, y = x[order], y[order]
    torch.manual_seed(0)
    network = mlp()
    _, values, _ = found(network, batches(x, y, (5, 3, 36)), Ablation(max_samples=max_samples))
    first = torch.cat([(y == k).nonzero()[:count, 0] for k, count in enumerate(counts)])
    assert_as_plain(values["1"], network, "1", x[first], y[first])


def test_a_linear_and_the_relu_behind_it_lose_the_same():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(6, 9), nn.ReLU(), nn.Linear(9, 3))
    _, values, _ = found(network, loader(blobs()))
    for quantity in QUANTITIES:
        np.testing.assert_array_equal(values["0"][quantity], values["1"][quantity])
    assert (values["0"]["loss"] != values["2"]["loss"].max()).all()
    # 12 units of their own: within max_forwards=12 nothing has to be estimated, within 11 something.
    for most, share in ((12, 1), (11, 8 / 9)):
        _, values, said = found(network, loader(blobs()), Ablation(max_forwards=most))
        assert values["0"]["exact_fraction"] == pytest.approx(share)
        assert values["1"]["exact_fraction"] == pytest.approx(share)
        assert len(said) == (share < 1)


@pytest.mark.parametrize("screen", [0.3, 0.5, 1])
def test_screening_computes_the_largest_estimates_exactly(screen):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(6, 20), nn.Sigmoid(), nn.Linear(20, 3))
    x, y = blobs().tensors
    full = found(network, [(x, y)])[1]
    _, values, said = found(network, [(x, y)], Ablation(screen=screen))
    assert not said  # asked for: not worth a word
    for layer in ("0", "1"):
        one, exact = values[layer], values[layer]["exact"]
        assert exact.sum() == round(screen * 20)
        assert one["exact_fraction"] == exact.mean()
        for quantity in QUANTITIES:
            np.testing.assert_allclose(one[quantity][exact], full[layer][quantity][exact], atol=1e-9)
            assert np.isnan(one[quantity][~exact]).all() == (quantity != "loss") or screen == 1
        # the estimate: gradient times activation, with minus, by hand
        hidden = network[: int(layer) + 1](x).detach().requires_grad_()
        loss = nn.functional.cross_entropy(network[int(layer) + 1 :](hidden), y)
        (gradient,) = torch.autograd.grad(loss, hidden)
        estimate = -(gradient * hidden.detach()).sum(0).numpy()
        np.testing.assert_allclose(one["loss"][~exact], estimate[~exact], atol=1e-6)
        if screen < 1:  # by first and second order; near the first order alone
            assert np.abs(estimate[exact]).mean() > np.abs(estimate[~exact]).mean()


def test_the_budget_of_forwards_is_kept_and_said():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(6, 40), nn.Sigmoid(), nn.Linear(40, 20), nn.Sigmoid(), nn.Linear(20, 3))
    record, values, said = found(network, loader(blobs()), Ablation(max_forwards=50))
    exact = sum(int(one["exact"].sum()) for one in values.values())
    assert exact == 50
    for one, units in zip(values.values(), (40, 40, 20, 20, 3), strict=True):
        assert abs(one["exact"].sum() - 50 / 123 * units) <= 1
    (message,) = said
    assert "123 units, max_forwards=50" in message
    assert record.notes == [message.removeprefix("analyze: ")]
    _, values, said = found(network, loader(blobs()), Ablation(max_forwards=50, screen=0.1))
    assert not said  # fewer than the budget anyway
    assert [int(one["exact"].sum()) for one in values.values()][:4] == [4, 4, 2, 2]


def binary(head=()):
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 1), *head)


@pytest.mark.parametrize("head", [(), (nn.Sigmoid(),)])
@pytest.mark.parametrize("shape", [(-1, 1), (-1,)])
def test_binary_networks_with_one_output_and_float_labels(head, shape):
    network = binary(head)
    x, y = blobs(2).tensors
    _, values, said = found(network, batches(x, y.float().view(shape), (16, 24)))
    assert not said

    def score(net, unit=None):
        with torch.no_grad():
            h = net[1](net[0](x)).double()
            if unit is not None:
                h[:, unit] = 0
            logit = (h @ net[2].weight.double().T + net[2].bias.double()).squeeze(1)
        losses = nn.functional.binary_cross_entropy_with_logits(logit, y.double())
        return losses, ((logit > 0) == (y > 0)).double().mean()

    loss, accuracy = score(network)
    for unit in range(5):
        new_loss, new_accuracy = score(network, unit)
        assert values["1"]["loss"][unit] == pytest.approx((new_loss - loss).item(), abs=1e-5)
        assert values["1"]["accuracy"][unit] == pytest.approx((new_accuracy - accuracy).item(), abs=1e-9)
    assert values["1"]["clean_loss"] == pytest.approx(loss.item(), rel=1e-5)
    assert values["1"]["kl"].min() >= 0
    assert values["1"]["kl"].max() > 1e-3


def test_labels_that_leave_out_numbers():
    torch.manual_seed(0)
    network = mlp(6, 8)
    x, y = blobs().tensors
    y = torch.tensor([1, 4, 7])[y]
    _, values, _ = found(network, batches(x, y))
    assert_as_plain(values["1"], network, "1", x, y)


def test_labels_that_the_output_has_no_place_for_are_said():
    x, y = blobs().tensors
    _, values, said = found(mlp(), [(x, y + 10)])
    assert not values
    (message,) = said
    assert "the target has class 12, the output only 3 columns" in message
    _, values, said = found(mlp(), [(x, y - 5)])
    assert len(values) == 3 or said  # negative classes are what torch ignores


class Branches(nn.Module):
    """Looks at its values."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Linear(6, 5), nn.Linear(5, 5), nn.Linear(5, 3)

    def forward(self, x):
        h = self.a(x)
        if h.abs().mean() > 0.5 or float(h[:, 0].sum()) == 0:
            h = h.tanh() * 3
        return self.c(self.b(h).relu())


def test_a_network_that_branches_on_its_values_is_run_whole():
    torch.manual_seed(0)
    network = Branches()
    x, y = blobs().tensors
    _, values, said = found(network, [(x, y)])
    assert sum("the whole network is run for each unit" in message for message in said) == 1
    assert said[0].startswith("analyze: ablation: a: ")
    for layer in ("a", "b", "c"):
        assert_as_plain(values[layer], network, layer, x, y)


class Halves(nn.Module):
    """A layer of whole numbers beside layers that can be ablated."""

    def __init__(self):
        super().__init__()
        self.a, self.bins, self.table, self.out = nn.Linear(6, 4), Bins(), nn.Embedding(3, 4), nn.Linear(8, 3)

    def forward(self, x):
        h = self.a(x)
        return self.out(torch.cat([h, self.table(self.bins(h)).mean(1)], 1))


class Bins(nn.Module):
    def forward(self, h):
        return (h > 0).long() + (h > 1).long()


def test_a_layer_that_cannot_be_ablated_costs_only_itself():
    torch.manual_seed(0)
    network = Halves()
    x, y = blobs().tensors
    _, values, said = found(network, [(x, y)])
    assert any("bins: ablation: its output is torch.int64" in message for message in said)
    assert list(values) == ["a", "table", "out"]
    record, few, said = found(network, [(x, y)], Ablation(max_forwards=8))
    assert len(said) == len(record.notes) == 2
    assert any("11 units, max_forwards=8" in message for message in said)
    assert sum(int(one["exact"].sum()) for one in few.values()) == 8
    assert_as_plain(values["a"], network, "a", x, y)
    assert_as_plain(values["table"], network, "table", x, y, axis=2)


def test_padded_encoders_whose_layers_see_nested_tensors():
    class Padded(Tokens):
        def forward(self, tokens):
            mask = tokens == 0
            h = self.encoder(self.embed(tokens), src_key_padding_mask=mask)
            return self.head(h.masked_fill(mask.unsqueeze(2), 0).sum(1) / (~mask).sum(1, keepdim=True))

    torch.manual_seed(0)
    network = Padded().eval()
    x, y = words()
    x = x.clone() + 1
    x = x % 20
    x[::2, 3:] = 0
    x[:, :2] = x[:, :2].clamp(min=1)
    _, values, said = found(network, batches(x, y))
    assert {"embed", "head"} <= set(values), said
    clean, ablated = plain_outputs(network, "embed", 2, x)
    expected = plain_deltas(clean, ablated, y)
    np.testing.assert_allclose(values["embed"]["loss"], expected[0], atol=1e-5)
    assert_as_plain(values["head"], network, "head", x, y)


def test_one_class_only():
    torch.manual_seed(0)
    network, (x, y) = mlp(), blobs().tensors
    one = y == 1
    _, values, said = found(network, [(x[one], y[one])])
    assert not said
    assert_as_plain(values["0"], network, "0", x[one], y[one])


def test_activations_that_are_not_finite_in_a_layer_nobody_reads():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.bad, self.b = nn.Linear(6, 4), nn.Identity(), nn.Linear(4, 3)

        def forward(self, x):
            h = self.a(x)
            return self.b(torch.nan_to_num(self.bad(h / torch.zeros_like(h)), 0.0, 1.0, -1.0) + h)

    torch.manual_seed(0)
    network, (x, y) = Net(), blobs().tensors
    _, values, _ = found(network, [(x, y)], layers=["a", "b"])
    assert_as_plain(values["b"], network, "b", x, y)
    assert np.isfinite(values["b"]["loss"]).all()


def test_an_output_that_is_not_finite_ends_nothing():
    class Net(nn.Sequential):
        def forward(self, x):
            return super().forward(x) * torch.nan

    _, values, _ = found(Net(*mlp()), loader(blobs()))
    for one in values.values():
        assert not np.isfinite(one["loss"]).any()
        assert np.isnan(one["max_loss"])


def test_values_to_predict_have_no_classes_but_an_error():
    x = blobs().tensors[0]
    network, y = mlp(6, 1).eval(), x[:, :1] + 0.5
    found = analyze(network, [(x, y)], [Ablation()]).findings["ablation"]["1"]
    hidden = network[1](network[0](x)).detach()
    for unit in range(8):
        without = hidden.clone()
        without[:, unit] = 0
        change = nn.functional.mse_loss(network[3](without), y) - nn.functional.mse_loss(network(x), y)
        assert found["loss"][unit] == pytest.approx(change.item(), abs=1e-5)
    assert found["clean_loss"] == pytest.approx(nn.functional.mse_loss(network(x), y).item(), rel=1e-5)
    assert np.isnan(found["accuracy"]).all()
    assert np.isnan(found["kl"]).all()


def test_an_autoencoder_has_a_relative_error():
    x = blobs().tensors[0] + 3
    network = mlp(6, 6).eval()
    found = analyze(network, [x], [Ablation()]).findings["ablation"]["1"]
    hidden = network[1](network[0](x)).detach()

    def error(activations):
        return (100 * (network[3](activations) - x).norm(dim=1) / x.norm(dim=1)).mean().item()

    for unit in range(8):
        without = hidden.clone()
        without[:, unit] = 0
        assert found["loss"][unit] == pytest.approx(error(without) - error(hidden), abs=1e-4)


def test_nothing_of_the_network_changes():
    torch.manual_seed(0)
    network = images().train()
    network[2].eval()
    network[1].weight.grad = torch.ones_like(network[1].weight)
    state, modes = deepcopy(network.state_dict()), [part.training for part in network.modules()]
    data, random = list(loader(blobs())), torch.get_rng_state()
    for analysis in (Ablation(), Ablation(screen=0.2), Ablation(value="resample", max_forwards=5)):
        found(network, data, analysis)
        assert torch.equal(random, torch.get_rng_state())
        assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())
        assert [part.training for part in network.modules()] == modes
        assert hooks(network) == 0
        assert (network[1].weight.grad == 1).all()
        assert network[5].weight.grad is None


@pytest.mark.parametrize(
    "settings",
    [
        {"value": "one"},
        {"value": None},
        {"screen": 0},
        {"screen": 1.5},
        {"max_forwards": 0},
        {"max_samples": 0},
        {"max_samples": 2.5},
        {"every_n_epochs": 0},
    ],
)
def test_bad_settings(settings):
    with pytest.raises(ValueError, match=next(iter(settings))):
        Ablation(**settings)


def test_layers_are_chosen_by_pattern():
    _, values, _ = found(mlp(), loader(blobs()), Ablation(layers=["[01]"]))
    assert list(values) == ["0", "1"]
    with pytest.warns(UserWarning, match="fit none of"):
        record = analyze(mlp(), loader(blobs()), [Ablation(layers=["x*"])])
    assert not record.findings["ablation"]


def test_a_layer_that_runs_twice_is_ablated_at_both_calls():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.f, self.b = nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 3)

        def forward(self, x):
            return self.b(self.f(self.a(self.f(self.a(x)))))

    torch.manual_seed(0)
    network, (x, y) = Twice(), blobs().tensors
    record, values, _ = found(network, [(x, y)])
    assert "f#2" in record.layers
    assert list(values) == ["a", "f", "b"]
    for layer in values:
        assert_as_plain(values[layer], network, layer, x, y)


def test_classes_for_every_sample_however_they_are_batched():
    torch.manual_seed(0)
    network, data = mlp(), TensorDataset(*blobs().tensors)
    first, second = (found(network, loader(data, size))[1] for size in (60, 7))
    for layer in first:
        for quantity in QUANTITIES:
            np.testing.assert_allclose(first[layer][quantity], second[layer][quantity], atol=1e-7)


@pytest.mark.parametrize("head", [nn.Identity, lambda: nn.Softmax(-1), lambda: nn.LogSoftmax(-1)])
def test_the_networks_own_outputs_are_told_apart(head):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3), head())
    _, values, _ = found(network, loader(blobs()))
    assert [name for name, one in values.items() if one["is_output"]] == [name for name in values if name >= "2"]
