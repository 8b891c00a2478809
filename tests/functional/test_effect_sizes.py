"""Effect sizes: by hand, by brute force, and what must hold whatever the data."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from lightning_separation.functional import (
    hedges_g,
    kruskal_wallis,
    omega_squared,
    rank_biserial,
    rank_eta_squared,
    roc_auc,
)

from .activations import classes_of, layer


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_pairs_counted_one_by_one(dtype):
    x, y = layer((17, 9), shift=0.4, dtype=dtype)
    small, large = classes_of(x, y)
    difference = np.sign(large[:, None] - small[None])
    expected = difference.mean((0, 1))
    np.testing.assert_allclose(rank_biserial(x[y == 7], x[y == 4]), expected, atol=1e-14)
    np.testing.assert_allclose(rank_biserial(x[y == 4], x[y == 7]), -expected, atol=1e-14)
    np.testing.assert_allclose(roc_auc(x[y == 7], x[y == 4]), (expected + 1) / 2, atol=1e-14)


def test_extremes():
    low, high = torch.tensor([[1.0], [2.0]]), torch.tensor([[3.0], [4.0], [5.0]])
    assert (roc_auc(high, low).item(), roc_auc(low, high).item(), roc_auc(low[:1], low[:1]).item()) == (1, 0, 0.5)
    assert (rank_biserial(high, low).item(), rank_biserial(low, low).item()) == (1, 0)


def test_hedges_g_by_hand():
    x, y = torch.tensor([2.0, 4.0, 6.0]), torch.tensor([1.0, 1.0, 3.0, 3.0])
    deviation = math.sqrt((8 + 4) / 5)
    correction = math.gamma(2.5) / (math.sqrt(2.5) * math.gamma(2))
    assert math.isclose(hedges_g(x, y).item(), correction * 2 / deviation, rel_tol=1e-12)
    assert math.isclose(hedges_g(y, x).item(), -correction * 2 / deviation, rel_tol=1e-12)
    assert abs(correction - (1 - 3 / 19)) < 0.002  # the usual approximation


def test_hedges_g_has_no_bias():
    """The mean over 20,000 units of the true difference 1.5; without the correction it would be 1.66."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(4, 20_000, generator=generator) + 1.5
    g = hedges_g(x, torch.randn(6, 20_000, generator=generator))
    assert abs(g.mean() - 1.5) < 4 * g.std() / math.sqrt(20_000)


def test_hedges_g_of_constants():
    one = torch.full((5, 1), 0.1)
    assert hedges_g(one, one).isnan().all()
    assert hedges_g(one + 1, one).item() == math.inf


def test_rank_eta_squared():
    x, y = layer((20, 12, 15), shift=0.5)
    h = kruskal_wallis(x, y).statistic
    torch.testing.assert_close(rank_eta_squared(x, y), (h - 2) / 44)
    assert math.isclose(rank_eta_squared(torch.arange(6.0), torch.arange(6) // 3).item(), (27 / 7 - 1) / 4)
    assert rank_eta_squared(torch.zeros(6), torch.arange(6) // 3).isnan().all()


def test_omega_squared_from_scipys_f():
    x, y = layer((20, 12, 15), shift=0.5, dtype=torch.float64)
    f = stats.f_oneway(*classes_of(x, y)).statistic
    np.testing.assert_allclose(omega_squared(x, y), 2 * (f - 1) / (2 * (f - 1) + 47), rtol=1e-9)


def test_omega_squared_of_constants():
    y = torch.arange(12) % 3
    assert omega_squared(torch.full((12, 1), 0.1), y).isnan().all()
    assert math.isclose(omega_squared(y.double(), y).item(), 1)


@pytest.mark.parametrize("effect", [rank_eta_squared, omega_squared])
def test_nothing_on_average(effect):
    x, y = layer((20, 12, 15), units=2000, kind="normal")
    found = effect(x, y)
    assert abs(found.mean()) < 4 * found.std() / math.sqrt(2000)
    assert (found < 0).any()  # not clipped


def test_too_few():
    x, y = layer((5, 1))
    with pytest.raises(ValueError, match="at least 2"):
        hedges_g(x[y == 7], x[y == 4])
    for effect in (omega_squared, rank_eta_squared):
        with pytest.raises(ValueError, match="at least 2 samples"):
            effect(x, y)
