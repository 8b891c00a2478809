"""Shapiro-Wilk against SciPy, in every branch of the algorithm."""

import warnings

import numpy as np
import pytest
import torch
from scipy import stats

from lightning_separation.functional import shapiro_wilk

from .activations import assert_same, assert_uniform, layer, unit_by_unit


@pytest.mark.parametrize("n", [*range(4, 14), 19, 20, 50, 333, 1000, 5000])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_scipy(n, dtype):
    x, _ = layer([n], units=16, dtype=dtype, seed=n)
    x = x[:, x.double().std(0) > 0]  # SciPy warns of constant ones
    assert_same(shapiro_wilk(x), *unit_by_unit(stats.shapiro, x.double().numpy()))


def test_three_values():
    x, _ = layer([3], units=400, kind="normal", dtype=torch.float64)
    # The exact p is a difference from 1: its digits below 1e-16 mean nothing, there and here.
    assert_same(shapiro_wilk(x), *unit_by_unit(stats.shapiro, x.numpy()), small=1e-14)


def test_three_values_by_hand():
    found = shapiro_wilk(torch.tensor([[0.0, -1.0, 0.0], [0.0, 0.0, 5.0], [1.0, 1.0, 15.0]]))
    # W = (largest - smallest)^2 / 2 / sum of squares; p = 6/pi (asin sqrt(W) - asin sqrt(3/4)).
    w = np.array([3 / 4, 1, 15**2 / 2 / (225 + 25 - 400 / 3)])
    np.testing.assert_allclose(found.statistic, w, rtol=1e-14)
    np.testing.assert_allclose(found.p_value, 6 / np.pi * (np.arcsin(np.sqrt(w)) - np.arcsin(np.sqrt(0.75))), atol=1e-7)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("offset, scale", [(0.0, 1e-15), (0.0, 1e15), (1e4, 1.0), (-1e8, 1e3)])
def test_offset_and_scale(offset, scale, dtype):
    x, _ = layer([60], offset=offset, scale=scale, dtype=dtype)
    assert_same(shapiro_wilk(x), *unit_by_unit(stats.shapiro, x.double().numpy()))


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_scale_does_not_matter(scale):
    x, _ = layer([60], dtype=torch.float64)
    assert_same(shapiro_wilk(x * scale), *shapiro_wilk(x))  # SciPy takes 1e-30 for constant


def test_tails():
    x = torch.zeros(2000, 3, dtype=torch.float64)
    x[0, 0], x[:900, 1], x[:, 2] = 1, 1, torch.linspace(0, 12, 2000, dtype=torch.float64).exp()
    statistic, p_value = unit_by_unit(stats.shapiro, x.numpy())
    assert p_value.max() < 1e-30
    assert_same(shapiro_wilk(x), statistic, p_value)


@pytest.mark.parametrize("value", [0.0, 0.1, 1e8 + 0.1, -3e30])
@pytest.mark.parametrize("n", [3, 5, 40])
def test_constant(value, n):
    found = shapiro_wilk(torch.full((n, 2), value))
    assert found.statistic.tolist() == [1, 1]
    assert found.p_value.tolist() == [1, 1]


def test_one_warning_beyond_5000():
    x, _ = layer([5001], units=2)
    with pytest.warns(UserWarning, match="5001") as caught:
        found = shapiro_wilk(x)
    assert len(caught) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert_same(found, *unit_by_unit(stats.shapiro, x.double().numpy()))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        shapiro_wilk(x[:5000])


@pytest.mark.parametrize("n", [3, 6, 11, 12, 50])
def test_null(n):
    x, _ = layer([n], units=2000, kind="normal")
    assert_uniform(shapiro_wilk(x).p_value)
