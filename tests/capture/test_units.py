"""Which axis counts the units: channels of convolutions and of what follows them, else the last."""

import pytest
import torch
from torch import nn

from lightning_separation.capture import Capture, Sample, select_layers
from lightning_separation.capture.replay import unchanged
from tests.helpers import blobs, loader


def snapshot(network, batches, said=(), **settings):
    reports = []
    capture = Capture(
        network,
        select_layers(network),
        {"": network},
        Sample(100, 100),
        target_fn=None,
        class_names=None,
        pooling="mean",
        max_memory=2 * 10**9,
        report=lambda subject, reason, harmless=False: reports.append(f"{subject}: {reason}"),
        explicit=False,
        **settings,
    )
    network.eval()
    capture.start()
    with unchanged(network):
        for batch in batches:
            capture.before_batch(batch)
            network(batch[0])
            capture.after_batch()
    found = capture.finish()
    assert reports == list(said)
    return found


def batch(*shape):
    return [(torch.randn(12, *shape, generator=torch.Generator().manual_seed(0)), torch.arange(12) % 2)]


class Permute(nn.Module):
    def forward(self, x):
        return x.movedim(1, -1)


@pytest.mark.parametrize(
    "network, shape, widths",
    [
        (nn.Sequential(nn.Linear(6, 8), nn.ReLU()), (6,), {"input": 6, "0": 8, "1": 8}),
        (
            nn.Sequential(nn.Conv2d(3, 5, 3), nn.ReLU(), nn.MaxPool2d(2)),
            (3, 8, 8),
            {"input": 3, "0": 5, "1": 5, "2": 5},
        ),
        (nn.Sequential(nn.Conv1d(3, 5, 3), nn.ReLU()), (3, 9), {"input": 3, "0": 5, "1": 5}),
        (nn.Sequential(nn.Linear(6, 8), nn.GELU()), (4, 6), {"input": 6, "0": 8, "1": 8}),
        (nn.Sequential(nn.LSTM(6, 8, batch_first=True)), (4, 6), {"input": 6, "0": 8}),
        # Channels last, as in Swin and ConvNeXt.
        (
            nn.Sequential(nn.Conv2d(3, 5, 3), Permute(), nn.LayerNorm(5), nn.Linear(5, 7), nn.GELU()),
            (3, 8, 8),
            {"input": 3, "0": 5, "2": 5, "3": 7, "4": 7},
        ),
        (nn.Sequential(nn.Conv2d(3, 5, 3), nn.Flatten(), nn.Linear(180, 4)), (3, 8, 8), {"0": 5, "2": 4}),
        # Normalised over channels and positions: the channels stay where they are.
        (nn.Sequential(nn.Conv2d(3, 5, 3), nn.LayerNorm([5, 6, 6]), nn.ReLU()), (3, 8, 8), {"0": 5, "1": 5, "2": 5}),
        (nn.Sequential(nn.Conv1d(3, 5, 3), nn.LayerNorm([5, 7]), nn.ReLU()), (3, 9), {"0": 5, "1": 5, "2": 5}),
    ],
)
def test_units_of_networks(network, shape, widths):
    found = snapshot(network, batch(*shape))
    assert {layer: found.units(layer).shape[1] for layer in widths} == widths


@pytest.mark.parametrize("pooling", ["mean", "max"])
def test_positions_are_pooled(pooling):
    network = nn.Sequential(nn.Conv2d(3, 5, 3))
    found = snapshot(network, batch(3, 8, 8))
    maps = network(batch(3, 8, 8)[0][0])
    expected = maps.mean((2, 3)) if pooling == "mean" else maps.amax((2, 3))
    torch.testing.assert_close(found.units("0", pooling), expected.detach())


class Squeeze(nn.Module):
    def forward(self, x):
        return x.squeeze(1)


def test_an_output_without_an_axis_of_units_is_one_unit():
    found = snapshot(nn.Sequential(nn.Linear(6, 1), Squeeze()), batch(6))
    assert found.units("1").shape == (12, 1)
    torch.testing.assert_close(found.units("1"), found.units("0"))


def test_sequences_of_several_lengths_keep_their_units():
    network = nn.Sequential(nn.Conv1d(3, 5, 3, padding=1), nn.ReLU())
    batches = [(torch.randn(6, 3, length), torch.arange(6) % 2) for length in (7, 9)]
    pooled = "0, 1: rows differ in length from batch to batch: their mean over axis 2 is analysed"
    found = snapshot(network, batches, [pooled])
    expected = torch.cat([network(x).mean(2) for x, _ in batches])
    torch.testing.assert_close(found.units("1"), expected.detach())


def test_replay_with_gradients_in_a_network_that_works_in_place():
    network = nn.Sequential(nn.Linear(6, 8), nn.ReLU(inplace=True), nn.Dropout(0.5), nn.Linear(8, 3))
    with torch.inference_mode():
        found = snapshot(network, loader(blobs(2)))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    rows, gradients = [], []

    def visit(p):
        rows.append(p.rows)
        (gradient,) = torch.autograd.grad(p.made["0"].sum(), p.input)
        gradients.append(gradient)
        torch.testing.assert_close(p.given["3"], p.made["0"].relu())
        torch.testing.assert_close(p.made["0"].detach(), found.activations("0")[p.rows])

    found.replay(["0", "3"], visit, gradients=True)
    assert torch.cat(gradients).shape == (40, 6)
    torch.testing.assert_close(torch.cat(gradients), network[0].weight.sum(0).expand(40, 6).detach())
    assert torch.equal(torch.cat(rows), torch.arange(40))
    assert all(parameter.grad is None for parameter in network.parameters())
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_replay_leaves_no_hook_and_no_mode_behind_when_a_visitor_raises():
    network = nn.Sequential(nn.Linear(6, 8), nn.ReLU())
    found = snapshot(network, loader(blobs(2)))

    def visit(p):
        raise RuntimeError("mine")

    with torch.no_grad():
        with pytest.raises(RuntimeError, match="mine"):
            found.replay(["0"], visit, gradients=True)
        assert not torch.is_grad_enabled()
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())
