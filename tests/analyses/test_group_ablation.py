"""GroupAblation on real networks, against networks whose weights are zeroed as in the heart-disease notebook."""

from copy import deepcopy

import numpy as np
import pytest
import torch
from pytorch_lightning import Callback
from torch import nn
from torch.utils.data import TensorDataset

from lightning_separation import GroupAblation, NextLayerEffect, SeparationMonitor, Significance, analyze, load_run
from lightning_separation.analyses.halves import second_half
from lightning_separation.analyses.unit_groups import constant_units, draw_groups
from lightning_separation.functional import neuron_significance
from tests.helpers import Classifier, blobs, hooks, loader, trainer


def halves(num_classes=2, outputs=None, width=8):
    """One half of the hidden units carries the class, the other noise that the output does not look at."""
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(40 * num_classes) % num_classes
    x = torch.cat([nn.functional.one_hot(y, num_classes), torch.randn(len(y), 1, generator=generator)], 1)
    x[:, :num_classes] += 0.01 * torch.randn(len(y), num_classes, generator=generator)
    network = nn.Sequential(nn.Linear(num_classes + 1, 2 * width), nn.ReLU(), nn.Linear(2 * width, outputs or 2))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
        for unit in range(width):
            network[0].weight[unit, unit % num_classes] = 1
            if outputs == 1:
                network[2].weight[0, unit] = 1 if unit % 2 else -1
            else:
                network[2].weight[unit % num_classes, unit] = 1
        network[0].weight[width:, -1] = torch.rand(width, generator=generator) - 0.5
    return network, x, y


def trained():
    """Three classes that overlap, and two inputs that are noise, to which half of the hidden units are turned."""
    x, y = blobs(3, per_class=30, spread=1.5).tensors
    x = torch.cat([x, torch.randn(len(x), 2, generator=torch.Generator().manual_seed(5))], 1)
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(8, 24), nn.ReLU(), nn.Linear(24, 16), nn.ReLU(), nn.Linear(16, 3))
    optimizer = torch.optim.Adam(network.parameters(), 1e-2)
    for _ in range(30):
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(x), y).backward()
        optimizer.step()
    with torch.no_grad():
        network[0].weight[14:, :6] = 0
        network[2].weight[10:, :14] = 0
    return network.eval(), TensorDataset(x, y)


class Slow(Classifier):
    """Learns so slowly that units of noise stay units of noise."""

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 1e-4)


def found(network, data, analysis, **settings):
    record = analyze(network, data, [analysis], **settings)
    return record, record.findings["group_ablation"]


def test_what_one_half_carries_is_lost_with_it():
    network, x, y = halves()
    _, values = found(network, [(x, y)], GroupAblation(fraction=1))
    assert list(values) == ["0", "1", "*"]
    for layer, one in values.items():
        assert one["accuracy_without_significant"].tolist() == [0.5] * 10
        assert one["accuracy_without_others"].tolist() == [1] * 10
        assert (one["clean_accuracy"], one["difference"], one["difference_std"]) == (1, 0.5, 0)
        size = 16 if layer == "*" else 8
        assert [one[f"removed_{kind}"] for kind in ("significant", "others")] == [size, size]
        assert [one["significant_units"], one["other_units"]] == [size, size]
        assert one["dead_others"] == 0


def test_others_that_are_dead_on_the_half_that_units_are_told_apart_on_are_counted():
    network, x, y = halves()
    network[0].weight.data[[8, 9, 10]] = 0
    network[0].bias.data[9] = 0.5  # always active: dead all the same
    network[0].weight.data[10, -1], network[0].bias.data[10] = 1, -1e4  # only behind the ReLU
    network[0].weight.data[[11, 12], -1] = 1
    network[0].bias.data[11] = -2 * x[~second_half(y), -1].max()
    x[second_half(y).nonzero()[0], -1] = 1000  # 11 is active for this sample, on which nothing is tested
    _, values = found(network, [(x, y)], GroupAblation(fraction=1, repeats=1))
    tested = ~second_half(y)
    for layer, expected in (("0", [8, 9]), ("1", [8, 9, 10, 11])):
        units = network[: int(layer) + 1](x)
        assert (units[tested] == units[tested][0]).all(0).nonzero().squeeze(1).tolist() == expected
        assert values[layer]["dead_others"] == len(expected)
    assert (units == units[0]).all(0).nonzero().squeeze(1).tolist() == [8, 9, 10]
    assert values["*"]["dead_others"] == 6
    assert [values["*"][f"{kind}_units"] for kind in ("significant", "other")] == [16, 16]


def test_units_that_are_not_finite_are_not_dead():
    rows = torch.tensor([True, True, False])
    for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        units = torch.tensor([[1, torch.nan, torch.inf, 2, 0], [1, torch.nan, torch.inf, 3, -0.0], [2, 1, 1, 2, 5]])
        assert constant_units(units.to(dtype), rows).tolist() == [True, False, False, False, True]
    assert constant_units(torch.zeros(4, 0), torch.ones(4, dtype=torch.bool)).shape == (0,)


def test_one_output_that_is_a_logit():
    network, x, y = halves(outputs=1)
    network[2].weight.data *= 0.1  # logits that lie between 0 and 1 once they are moved
    network[2].bias.data += 0.45
    _, values = found(network, [(x, y)], GroupAblation(fraction=1, repeats=2))
    assert values["0"]["clean_accuracy"] == 0.5  # all above 0
    probability = nn.Sequential(*network, nn.Sigmoid())
    network[2].bias.data -= 0.45
    _, values = found(probability, [(x, y)], GroupAblation(fraction=1, repeats=2))
    assert list(values) == ["0", "1", "*"]  # neither the last linear layer nor the sigmoid
    assert values["0"]["clean_accuracy"] == 1
    assert values["0"]["difference"] == 0.5


@pytest.mark.parametrize("counts", ["equal", "each"])
def test_the_same_as_zeroing_weights_as_the_notebook_does(counts):
    network, dataset = trained()
    x, y = dataset.tensors
    analysis = GroupAblation(fraction=0.6, repeats=4, counts=counts, layers=["0", "2"])
    record, values = found(network, loader(dataset), analysis, seed=3)
    assert not record.notes
    scored = second_half(y)
    groups = {}
    with torch.no_grad():
        for layer in ("0", "2"):
            tests = neuron_significance(network[: int(layer) + 1](x)[~scored], y[~scored])
            drawn = draw_groups(layer, tests.significant, 0.6, repeats=4, counts=counts, seed=3)
            groups[layer] = drawn
            assert tests.significant[drawn.significant].all()
            assert not tests.significant[drawn.others].any()
            sizes = [int(0.6 * n) for n in (tests.significant.sum(), (~tests.significant).sum())]
            sizes = sizes if counts == "each" else [min(sizes)] * 2
            assert [drawn.significant.shape[1], drawn.others.shape[1]] == sizes
            assert [values[layer]["removed_significant"], values[layer]["removed_others"]] == sizes
    for name, layers in (("0", ["0"]), ("2", ["2"]), ("*", ["0", "2"])):
        for kind in ("significant", "others"):
            accuracies = []
            for repeat in range(4):
                masked = deepcopy(network)
                for layer in layers:
                    units = getattr(groups[layer], kind)[repeat]
                    masked[int(layer)].weight.data[units] = 0
                    masked[int(layer)].bias.data[units] = 0
                accuracies.append((masked(x).argmax(1) == y)[scored].double().mean().item())
            np.testing.assert_allclose(values[name][f"accuracy_without_{kind}"], accuracies, rtol=1e-12)
        paired = values[name]["accuracy_without_others"] - values[name]["accuracy_without_significant"]
        assert values[name]["difference"] == pytest.approx(paired.mean())
        assert values[name]["difference_std"] == pytest.approx(paired.std(ddof=1))
        assert values[name]["clean_accuracy"] == (network(x).argmax(1) == y)[scored].double().mean()
    assert len({tuple(drawn) for drawn in groups["0"].significant.tolist()}) > 1


def test_halves_are_disjoint_and_stratified():
    y = torch.tensor([2, 2, 0, 1, 2, 0, 0, 1, 2, 0, 5])
    half = second_half(y)
    for k in y.unique():
        assert half[y == k].tolist() == [bool(i % 2) for i in range(int((y == k).sum()))]
    # Labels of the half that is scored play no part in which units are drawn.
    network, dataset = trained()
    x, y = dataset.tensors
    shuffled = x.clone()
    shuffled[second_half(y)] = x[second_half(y)].flip(0)
    one, two = (found(network, [(inputs, y)], GroupAblation(repeats=2))[1]["0"] for inputs in (x, shuffled))
    assert one["significant_units"] == two["significant_units"]
    assert one["clean_accuracy"] > two["clean_accuracy"]


def test_one_seed_gives_one_result_and_nothing_else_changes():
    network, dataset = trained()
    state, rng = deepcopy(network.state_dict()), torch.get_rng_state()
    first = found(network, loader(dataset), GroupAblation(fraction=0.5))[1]
    torch.rand(3)
    second = found(network, loader(dataset, batch_size=7), GroupAblation(fraction=0.5))[1]
    torch.set_rng_state(rng)
    alone = found(network, loader(dataset), GroupAblation(fraction=0.5, layers=["2"]))[1]
    assert torch.equal(rng, torch.get_rng_state())
    other = found(network, loader(dataset), GroupAblation(fraction=0.5), seed=1)[1]
    for layer in first:
        for quantity, value in first[layer].items():
            np.testing.assert_array_equal(value, second[layer][quantity])
    for quantity, value in alone["2"].items():
        np.testing.assert_array_equal(value, first["2"][quantity])
    assert any(
        (first[k]["accuracy_without_significant"] != other[k]["accuracy_without_significant"]).any() for k in first
    )
    assert hooks(network) == 0
    for name, value in network.state_dict().items():
        assert torch.equal(value, state[name])


def test_a_layer_with_units_of_one_kind_only_is_reported():
    network, x, y = halves()
    network.insert(2, nn.Linear(16, 16))
    network[2].weight.data = torch.eye(16)
    network[2].weight.data[8:, 0] = 1.0  # all tell the classes apart
    network[2].bias.data.zero_()
    with pytest.warns(UserWarning, match="2: group_ablation: 16 of its 16 units are significant: too few others"):
        record, values = found(network, [(x, y)], GroupAblation())
    assert list(values) == ["0", "1", "*"]
    assert values["*"]["removed_others"] == 14
    small = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 2))
    small[0].weight.data = torch.tensor([[1.0, 0, 0], [0, 0, 1]])
    with pytest.warns(UserWarning, match="1 of its 2 units are significant"):
        record, values = found(small, [(x, y)], GroupAblation())
    assert not values
    assert len(record.to_pandas()) == 0


def test_the_output_layer_is_left_out_however_the_network_ends():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            network = halves()[0]
            self.head, self.relu, self.hidden = network[2], network[1], network[0]

        def forward(self, x):
            return nn.functional.log_softmax(self.head(self.relu(self.hidden(x))), -1)

    _, x, y = halves()
    analysis = GroupAblation(fraction=1, repeats=1)
    assert list(found(Net(), [(x, y)], analysis)[1]) == ["hidden", "relu", "*"]
    assert list(found(Net(), [(x, y)], analysis, layers=["hidden", "relu"])[1]) == ["hidden", "relu", "*"]
    whole = nn.Sequential(halves()[0], nn.Softmax(-1))
    assert list(found(whole, [(x, y)], analysis, layers=["*"])[1]) == ["0.0", "0.1", "*"]
    assert np.isnan(found(Net(), [(x, y)], analysis)[1]["*"]["difference_std"])


def test_a_module_that_runs_twice_is_one_layer():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            network = halves()[0]
            self.first, self.relu, self.second, self.head = network[0], nn.ReLU(), nn.Linear(16, 16), network[2]
            nn.init.eye_(self.second.weight)
            nn.init.zeros_(self.second.bias)

        def forward(self, x):
            return self.head(self.relu(self.second(self.relu(self.first(x)))))

    _, x, y = halves()
    record, values = found(Net(), [(x, y)], GroupAblation(fraction=1, repeats=2))
    assert "relu#2" in record.layers
    assert list(values) == ["first", "relu", "second", "*"]
    assert values["relu"]["difference"] == 0.5


def test_channels_of_a_convolution():
    torch.manual_seed(0)
    y = torch.arange(80) % 2
    x = torch.randn(80, 2, 5, 5)
    x[:, 0] += 3 * (2 * y - 1)[:, None, None]
    network = nn.Sequential(nn.Conv2d(2, 6, 1, bias=False), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 2))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
        network[0].weight[:3, 0] = network[0].weight[3:, 1] = 1
        network[3].weight[0, :3], network[3].weight[1, :3] = -1, 1
    _, values = found(network, [(x, y)], GroupAblation(fraction=1, repeats=2))
    assert list(values) == ["0", "1", "*"]
    for one in values.values():
        assert one["difference"] == 0.5


def test_a_small_class_is_left_out_of_the_tests_and_an_output_that_says_nothing_is_reported():
    network, x, y = halves(num_classes=3, outputs=3)
    few = torch.cat([(y != 2).nonzero().squeeze(1), (y == 2).nonzero().squeeze(1)[:5]])
    with pytest.warns(UserWarning, match=r"class 2 \(5\) left out of tests: fewer than 6 samples"):
        _, values = found(network, [(x[few], y[few])], GroupAblation(fraction=1, repeats=1))
    assert values["0"]["clean_accuracy"] == 1
    with pytest.warns(UserWarning, match="two classes"):
        _, values = found(network, [(x[y == 0], y[y == 0])], GroupAblation())
    assert not values
    with pytest.warns(UserWarning, match="group_ablation: .*the target has class 7"):
        _, values = found(network, [(x, torch.where(y == 2, 7, y))], GroupAblation())
    assert not values


def test_in_a_real_fit(tmp_path):
    network, x, y = halves(num_classes=3, outputs=3, width=9)
    data = loader(TensorDataset(x, y))
    t = trainer(tmp_path, SeparationMonitor([GroupAblation(fraction=1, repeats=3)], on_error="raise"), max_epochs=1)
    t.validate(Classifier(network), data, verbose=False)
    (record,) = load_run(t.log_dir).records
    values = record.findings["group_ablation"]
    assert list(values) == ["net.0", "net.1", "*"]
    for one in values.values():
        assert one["clean_accuracy"] == 1
        np.testing.assert_allclose(one["difference"], 2 / 3)
    module, without = Slow(deepcopy(network)), Slow(deepcopy(network))
    t = trainer(tmp_path / "fit", SeparationMonitor([GroupAblation(repeats=2)], every_n_epochs=1), max_epochs=2)
    for each, callbacks in ((module, t), (without, trainer(tmp_path / "plain", max_epochs=2))):
        torch.manual_seed(1)
        callbacks.fit(each, data, data)
    for one, two in zip(module.parameters(), without.parameters(), strict=True):
        assert torch.equal(one, two)
    assert [len(r.findings["group_ablation"]) for r in load_run(t.log_dir).records] == [3, 3]


class OtherWeights(Callback):
    """Changes the weights behind the validation, as one that averages them and swaps them back does."""

    def on_validation_epoch_end(self, trainer, pl_module):
        with torch.no_grad():
            pl_module.net[0].weight.mul_(1.5)


@pytest.mark.parametrize("analysis", [GroupAblation(), NextLayerEffect()])
def test_another_network_than_the_one_that_was_validated_is_not_looked_at(tmp_path, analysis):
    network, x, y = halves()
    t = trainer(tmp_path, OtherWeights(), SeparationMonitor([analysis, Significance()]))
    with pytest.warns(
        UserWarning, match=f"{analysis.name}: the network's weights are no longer those of the validation"
    ):
        t.validate(Classifier(network), loader(TensorDataset(x, y)), verbose=False)
    (record,) = load_run(t.log_dir).records
    assert not record.findings.get(analysis.name)
    assert record.findings["significance"]


@pytest.mark.parametrize(
    "settings",
    [{"fraction": 0}, {"fraction": 1.1}, {"repeats": 0}, {"counts": "some"}, {"alpha": 1}, {"pooling": "median"}],
)
def test_bad_settings(settings):
    with pytest.raises(ValueError):
        GroupAblation(**settings)
