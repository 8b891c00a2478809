"""Benjamini-Hochberg against SciPy and by hand."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from lightning_separation.functional import false_discovery_control

nan = float("nan")


@pytest.mark.parametrize("count", [1, 2, 7, 1000])
@pytest.mark.parametrize("power", [1, 6])
def test_scipy(count, power):
    p = torch.rand(count, generator=torch.Generator().manual_seed(count), dtype=torch.float64) ** power
    p[::3] = p[0]  # ties
    np.testing.assert_allclose(false_discovery_control(p), stats.false_discovery_control(p.numpy()), rtol=1e-12)


def test_by_hand():
    q = false_discovery_control(torch.tensor([0.9, 0.01, 0.02, 0.04, 0.0], dtype=torch.float64))
    np.testing.assert_allclose(q, [0.9, 0.025, 0.1 / 3, 0.05, 0])


def test_a_later_test_lowers_an_earlier_one():
    q = false_discovery_control(torch.tensor([0.03, 0.031, 0.032], dtype=torch.float64))
    np.testing.assert_allclose(q, [0.032] * 3)


def test_nan_are_no_tests():
    p = torch.tensor([0.01, nan, 0.04, nan, 0.03], dtype=torch.float64)
    q = false_discovery_control(p)
    assert q.isnan().tolist() == p.isnan().tolist()
    assert torch.equal(q[~p.isnan()], false_discovery_control(p[~p.isnan()]))
    assert false_discovery_control(torch.tensor([nan, nan])).isnan().all()
    assert len(false_discovery_control(torch.empty(0))) == 0


@pytest.mark.parametrize("bad", [[0.5, -1e-9], [1.1], [math.inf], [nan, 2.0]])
def test_outside(bad):
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        false_discovery_control(torch.tensor(bad, dtype=torch.float64))


@pytest.mark.parametrize("bad", [torch.rand(2, 2), torch.tensor(0.5), torch.rand(3).to(torch.complex64), [0.5], None])
def test_what_is_no_vector(bad):
    with pytest.raises(ValueError):
        false_discovery_control(bad)


def test_share_of_false_discoveries():
    """100 rounds of 100 units, 30 of which differ: at most 5 of 100 discoveries are false, on average."""
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(100, 100, generator=generator, dtype=torch.float64)
    z[:, :30] += 3.5
    p = torch.special.erfc(z.abs() / math.sqrt(2))
    found = torch.stack([false_discovery_control(row) < 0.05 for row in p])
    false_share = found[:, 30:].sum(1) / found.sum(1).clamp(min=1)
    assert 0.01 < false_share.mean() < 0.05 + 3 * false_share.std() / 10
    assert found[:, :30].double().mean() > 0.7
