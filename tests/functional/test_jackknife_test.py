"""The jackknife over classes on tensors: the arithmetic is tested where it is done."""

import numpy as np
import pytest
import torch

from lightning_separation.comparison import jackknife_difference
from lightning_separation.functional import henze_penrose_divergence, jackknife_test

from .references import clusters


def test_layers_of_a_network():
    divergence = [henze_penrose_divergence(*clusters(5, 30, 6, shift=shift)) for shift in (0.1, 0.4, 0.4, 2.0)]
    x, y = torch.stack(divergence[:-1]), torch.stack(divergence[1:])
    found, expected = jackknife_test(x, y), jackknife_difference(x.numpy(), y.numpy())
    for name, value in zip(found._fields, found, strict=True):
        np.testing.assert_array_equal(value, getattr(expected, {"statistic": "effect"}.get(name, name)))
        assert value.dtype == torch.float64
    assert found.p_value[1] == 1
    assert found.p_value[2] < 0.01
    assert found.statistic[2] < 0


def test_one_comparison():
    x = torch.rand(4, 4, generator=torch.Generator().manual_seed(0))
    found = jackknife_test(x.bfloat16(), x.bfloat16().requires_grad_())
    assert [(value.shape, value.item()) for value in found] == [((), value) for value in (0, 1, 0, 0)]


@pytest.mark.parametrize("bad", [torch.zeros(2, 2), torch.zeros(3, 4), torch.full((4, 4), float("nan")), [[0.0]], None])
def test_bad_input(bad):
    with pytest.raises(ValueError):
        jackknife_test(bad, bad)
