import numpy as np
import pytest
import torch
from torch import nn

from lightning_separation import trace_path


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(4, 6)
        self.norm = nn.BatchNorm1d(6)
        self.last = nn.Linear(6, 3)

    def forward(self, x):
        return self.last(nn.functional.relu_(self.norm(self.first(x))))


def test_contributions_and_biases_make_up_the_output():
    network = Net()
    network(torch.randn(20, 4))  # gives the batch norm something to remember
    before = {name: value.clone() for name, value in network.state_dict().items()}
    x = torch.tensor([1.0, -2.0, 0.5, 3.0])
    path = trace_path(network, x)
    assert path.layers == ["first", "last"]
    np.testing.assert_array_equal(path.values[0], x)
    hidden = path.contributions[0].sum(1) + network.first.bias.detach().double().numpy()
    network.eval()
    with torch.no_grad():
        expected = network.first(x.unsqueeze(0)).squeeze(0)
        answer = network(x.unsqueeze(0)).squeeze(0)
    np.testing.assert_allclose(hidden, expected, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(
        path.contributions[1].sum(1) + network.last.bias.detach().numpy(), answer, rtol=1e-4, atol=1e-6
    )
    np.testing.assert_allclose(path.values[2], answer)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_modes_and_hooks_are_as_before_also_when_it_raises():
    network = Net()
    network.norm.eval()
    with pytest.raises(ValueError, match="one sample, without positions"):
        trace_path(network, torch.randn(2, 4))
    assert network.training
    assert not network.norm.training
    assert not any(module._forward_hooks for module in network.modules())


def test_the_picture_names_features_and_classes():
    figure = trace_path(Net(), torch.randn(4)).plot(["a", "b", "c", "d"], ["x", "y", "z"], title="one")
    texts = {text.get_text() for axes in figure.axes for text in axes.texts}
    assert set("abcdxyz") <= texts


class Skip(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(4, 2)
        self.last = nn.Linear(6, 1)

    def forward(self, x):
        return self.last(torch.cat([x, self.first(x)], 1))


class Heads(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.h1, self.h2, self.out = nn.Linear(4, 5), nn.Linear(5, 5), nn.Linear(5, 5), nn.Linear(5, 1)

    def forward(self, x):
        x = self.body(x).relu()
        return self.out(self.h1(x) + self.h2(x))


@pytest.mark.parametrize(
    "network, message",
    [
        (Heads(), "h2 is not given what h1 made"),
        (nn.Sequential(nn.ReLU()), "no linear layer"),
        (Skip(), "is not given what first made, and that alone"),
    ],
)
def test_networks_without_a_chain(network, message):
    with pytest.raises(ValueError, match=message):
        trace_path(network, torch.randn(4))
