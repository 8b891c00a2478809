"""Estimates from gradients, against gradients taken by hand and against exact deltas."""

import pytest
import torch
from scipy.stats import spearmanr
from sklearn.datasets import load_digits
from torch import nn
from torch.nn.functional import cross_entropy

from lightning_separation.interventions import ablation_deltas
from tests.interventions.odd_networks import CASES, IMAGES, ROWS, STEPS, TARGET


def trained(rate):
    """A network trained for 100 steps, and samples that it has not seen."""
    x, y = load_digits(return_X_y=True)
    x, y = torch.tensor(x / 16, dtype=torch.float32), torch.tensor(y)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = nn.Sequential(nn.Linear(64, 40), nn.ReLU(), nn.Linear(40, 30), nn.ReLU(), nn.Linear(30, 10))
        optimizer = torch.optim.Adam(network.parameters(), rate)
        for _ in range(100):
            optimizer.zero_grad()
            cross_entropy(network(x[:1200]), y[:1200]).backward()
            optimizer.step()
    network.zero_grad()
    return network, x[1200:], y[1200:]


@pytest.fixture(scope="module")
def digits():
    return trained(1e-3)


@pytest.mark.parametrize("layer", ["0", "2"])
@pytest.mark.parametrize(("rate", "with_target"), [(1e-3, True), (1e-3, False), (1e-2, False)])
def test_estimates_rank_the_units_of_a_trained_network(rate, with_target, layer):
    network, x, y = trained(rate)
    target = y if with_target else None
    exact = ablation_deltas(network, layer, x, target)
    found = ablation_deltas(network, layer, x, target, screen=1e-9)
    quantity = "loss" if with_target else "kl"
    wanted, estimated = getattr(exact, quantity), getattr(found, quantity)
    guessed = ~found.exact
    assert guessed.sum() == len(wanted) - 1
    assert spearmanr(wanted[guessed], estimated[guessed]).statistic > 0.7


@pytest.mark.parametrize("layer", ["0", "2"])
def test_the_units_that_count_are_chosen_near_a_minimum_too(layer):
    """To first order little changes there; the divergence, of second order, chooses them."""
    network, x, y = trained(1e-2)
    loss = ablation_deltas(network, layer, x, y).loss
    found = ablation_deltas(network, layer, x, y, screen=0.3)
    most = loss.argsort(descending=True)[: len(loss) // 10]
    assert found.exact[most].double().mean() >= 0.8


@pytest.mark.parametrize("share", [1e-9, 0.1, 0.26, 0.5, 0.95, 1.0])
def test_so_many_units_are_exact_and_the_rest_says_that_it_is_not(digits, share):
    network, x, y = digits
    full = ablation_deltas(network, "0", x, y)
    found = ablation_deltas(network, "0", x, y, screen=share)
    assert found.exact.sum() == max(1, round(share * 40))
    for a, b in zip(found[:4], full[:4], strict=True):
        torch.testing.assert_close(a[found.exact], b[found.exact], rtol=0, atol=1e-6)
    for undefined in (found.accuracy, found.kl, found.entropy):
        assert undefined[~found.exact].isnan().all()
    assert found.loss.isfinite().all()
    if share < 0.9:  # the last few are dead
        assert (found.loss - full.loss)[~found.exact].abs().max() > 1e-4


def by_hand(network, layer, inputs, target, axis, new=torch.zeros_like, loss=None):
    """Gradient times change, a mean over samples, by a hook and autograd."""
    seen = []

    def keep(module, args, output):
        output.retain_grad() if output.requires_grad else output.requires_grad_()
        seen.append(output)

    handle = dict(network.named_modules())[layer].register_forward_hook(keep)
    output = network.eval()(inputs)
    handle.remove()
    losses = cross_entropy(output, target, reduction="none") if loss is None else loss(output, target)
    losses.mean().backward()
    changes = [(h.grad * (new(h) - h)).detach().double().movedim(axis, 0).flatten(1).sum(1) for h in seen]
    network.zero_grad()
    return sum(changes)


@pytest.mark.parametrize(
    ("name", "inputs", "axis"),
    [
        ("functional calls", ROWS, 1),
        ("less the batch's mean", ROWS, 1),
        ("depthwise", IMAGES, 1),
        ("called several times: block.0", ROWS, 1),
        ("attention by bmm", STEPS, 2),
        ("GRU both ways, steps first", STEPS, 2),
    ],
)
def test_estimates_are_gradient_times_change(name, inputs, axis):
    torch.manual_seed(0)
    network, layer = CASES[name].make(), CASES[name].layer
    if name.startswith("GRU"):
        network.a = network.a.eval()
        expected = None
        sequence = network.a(inputs.transpose(0, 1))[0].detach().requires_grad_()
        output = network.b(sequence.transpose(0, 1)[:, 2:5].tanh().mean(1))
        (gradient,) = torch.autograd.grad(cross_entropy(output, TARGET), sequence)
        expected = -(gradient * sequence).detach().double().sum((0, 1))
    else:
        expected = by_hand(network, layer, inputs, TARGET, axis)
    found = ablation_deltas(network, layer, inputs, TARGET, screen=1e-9)
    guessed = ~found.exact
    torch.testing.assert_close(found.loss[guessed], expected[guessed], rtol=0, atol=1e-6)
    assert found.exact.sum() == 1
    assert expected[guessed].abs().max() > 1e-6


def test_estimates_of_means_and_of_a_loss_of_ones_own():
    network = CASES["functional calls"].make()

    def loss(outputs, target):
        return outputs[:, 0] ** 2 + target

    for settings, new in (({}, torch.zeros_like), ({"value": "mean"}, lambda h: h.mean(0).expand_as(h))):
        expected = by_hand(network, "a", ROWS, TARGET, 1, new, loss)
        found = ablation_deltas(network, "a", ROWS, TARGET, screen=1e-9, loss=loss, **settings)
        guessed = ~found.exact
        torch.testing.assert_close(found.loss[guessed], expected[guessed], rtol=0, atol=1e-6)


def test_estimates_count_the_positions_that_the_loss_counts():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(8, 6), nn.Tanh(), nn.Linear(6, 3))
    target = TARGET.unsqueeze(1).repeat(1, 7)
    target[:, 3:] = -100
    found = ablation_deltas(network, "1", STEPS, target, screen=1e-9)
    expected = by_hand(
        network, "1", STEPS, target, 2, loss=lambda o, t: cross_entropy(o.flatten(0, 1), t.flatten()).unsqueeze(0)
    )
    guessed = ~found.exact
    torch.testing.assert_close(found.loss[guessed], expected[guessed], rtol=0, atol=1e-6)


def test_chosen_units_and_several_layers():
    network = CASES["one axis flattened"].make()
    inputs = CASES["one axis flattened"].inputs
    found = ablation_deltas(network, ["a", "bn", "fc"], inputs, TARGET, screen=0.5)
    assert {layer: int(deltas.exact.sum()) for layer, deltas in found.items()} == {"a": 2, "bn": 2, "fc": 2}
    some = ablation_deltas(network, "a", inputs, TARGET, units=[3, 1], screen=0.5)
    alone = ablation_deltas(network, "a", inputs, TARGET, screen=1e-9)
    assert some.exact.sum() == 1
    for place, unit in enumerate([3, 1]):
        if not some.exact[place] and not alone.exact[unit]:
            torch.testing.assert_close(some.loss[place], alone.loss[unit], rtol=0, atol=1e-9)
    full = ablation_deltas(network, "a", inputs, TARGET)
    torch.testing.assert_close(some.loss[some.exact], full.loss[[3, 1]][some.exact], rtol=0, atol=1e-6)


def test_layers_of_the_same_deltas_have_the_same_estimates():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 3))
    found = ablation_deltas(network, ["0", "1"], ROWS, TARGET, screen=0.25)
    for a, b in zip(found["0"], found["1"], strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0, equal_nan=True)


def test_a_layer_that_nothing_depends_on_is_estimated_at_zero():
    found = ablation_deltas(CASES["a layer that is not used"].make(), ["a", "b"], ROWS, TARGET, screen=0.3)
    assert (found["a"].loss == 0).all()
    assert found["b"].loss.abs().max() > 0


def test_without_gradients_units_are_chosen_evenly():
    network = CASES["without gradients by decorator"].make()
    every = ablation_deltas(network, "a", ROWS, TARGET)
    found = ablation_deltas(network, "a", ROWS, TARGET, screen=0.5)
    chosen = found.exact.nonzero().squeeze(1)
    assert len(chosen) == round(len(every.loss) / 2)
    assert chosen[0] == 0
    assert chosen[-1] == len(every.loss) - 1
    torch.testing.assert_close(found.loss[chosen], every.loss[chosen], rtol=0, atol=0)
    assert found.loss[~found.exact].isnan().all()
