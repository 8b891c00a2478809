"""What a network holds is as before after it was run once more."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from torch import nn

from lightning_separation.capture.restore import unchanged


class Remembers(nn.Module):
    """Changes all that it has: buffers by value, by object and in shape, attributes, lists and dictionaries."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 3)
        self.register_buffer("counter", torch.zeros(()))
        self.register_buffer("average", torch.zeros(3))
        self.register_buffer("keys", torch.zeros(1, 3))
        self.register_buffer("grows", torch.zeros(2))
        self.cache = None
        self.seen = ["first"]
        self.by_name = {"a": 1}

    def forward(self, x):
        h = self.linear(x)
        self.counter += 1
        self.average = 0.9 * self.average + 0.1 * h.detach().mean(0)
        self.keys = torch.cat([self.keys, h.detach()])
        self.grows.resize_(len(self.grows) + 1)
        self.cache, self.new = h, h
        self.seen.append(h)
        self.by_name["b"] = h
        if random.random() + np.random.rand() + torch.rand(()).item() < 0:  # noqa: NPY002
            raise AssertionError
        return h


@pytest.mark.parametrize("raises", [False, True])
def test_nothing_of_a_network_is_changed(raises):
    network = Remembers()
    buffers = {name: (buffer, buffer.clone()) for name, buffer in network.named_buffers()}
    seen, by_name = network.seen, network.by_name
    states = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()  # noqa: NPY002
    try:
        with unchanged(network):
            network(torch.randn(4, 3))
            assert network.keys.shape == (5, 3)
            if raises:
                raise RuntimeError
    except RuntimeError:
        assert raises
    for name, buffer in network.named_buffers():
        assert buffer is buffers[name][0]
        torch.testing.assert_close(buffer, buffers[name][1], rtol=0, atol=0)
    assert network.cache is None
    assert not hasattr(network, "new")
    assert network.seen is seen
    assert network.by_name is by_name
    assert (seen, by_name) == (["first"], {"a": 1})
    assert random.getstate() == states[0]
    assert np.random.get_state()[1].tolist() == states[1]  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), states[2])
    assert torch.is_grad_enabled()


def test_a_scripted_network_is_put_back_too():
    scripted = torch.jit.script(nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3)))
    before = [buffer.clone() for buffer in scripted.buffers()]
    with unchanged(scripted):
        scripted(torch.randn(5, 3))
        assert not torch.equal(next(iter(scripted.buffers())), before[0])
    for buffer, value in zip(scripted.buffers(), before, strict=True):
        assert torch.equal(buffer, value)
