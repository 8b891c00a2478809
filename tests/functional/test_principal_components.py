"""Principal components against scikit-learn and by hand."""

import sys

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA

from lightning_separation.functional import principal_components

generator = torch.Generator().manual_seed(0)


def features(num, dim):
    """Spread differently in every direction, far from 0."""
    turn = torch.linalg.qr(torch.randn(dim, dim, generator=generator, dtype=torch.float64))[0]
    spread = 0.8 ** torch.arange(dim)
    return torch.randn(num, dim, generator=generator, dtype=torch.float64) * spread @ turn + 7


@pytest.mark.parametrize("num, dim", [(30, 5), (5, 30), (12, 12), (200, 2)])
@pytest.mark.parametrize("count", [1, 2])
def test_scikit_learn(num, dim, count):
    x = features(num, dim)
    found, expected = principal_components(x, num_components=count), PCA(count, svd_solver="full").fit(x)
    np.testing.assert_allclose(found.projection.abs(), np.abs(expected.transform(x)), atol=1e-9)
    np.testing.assert_allclose(found.explained_variance_ratio, expected.explained_variance_ratio_, rtol=1e-9)
    # One sign a component, not one a sample.
    agree = np.sign((found.projection.numpy() * expected.transform(x)).round(9))
    assert all(len(set(column) - {0}) == 1 for column in agree.T)


def test_every_component():
    x = features(10, 4)
    found = principal_components(x, num_components=4)
    assert found.explained_variance_ratio.sum().item() == pytest.approx(1)
    torch.testing.assert_close(torch.cdist(found.projection, found.projection), torch.cdist(x, x))


def test_sign():
    for seed in range(5):
        x = torch.randn(9, 6, generator=torch.Generator().manual_seed(seed))
        for given in (x, -x):
            found = principal_components(given).projection
            assert (found.gather(0, found.abs().argmax(0)[None]) > 0).all()
    # Both ends are as far: the first is positive.
    line = torch.tensor([[0.1], [0.7], [1.3]], dtype=torch.float64)
    assert principal_components(line, num_components=1).projection[0].item() == pytest.approx(0.6)
    assert principal_components(line.flip(0), num_components=1).projection[0].item() == pytest.approx(0.6)


@pytest.mark.parametrize("shape", [(7, 3), (3, 7), (1, 4), (4, 1)])
def test_constant_features(shape):
    found = principal_components(torch.full(shape, 0.1))
    assert found.projection.tolist() == [[0, 0]] * shape[0]
    assert found.explained_variance_ratio.tolist() == [0, 0]


@pytest.mark.parametrize("num, dim", [(50, 4), (4, 50), (300, 200), (200, 300)])
def test_what_is_beyond_the_rank_is_zero(num, dim):
    line = torch.randn(num, 1, generator=generator).double() * torch.randn(dim, generator=generator).double() + 3
    found = principal_components(line, num_components=3)
    assert found.explained_variance_ratio.tolist() == [1, 0, 0]
    assert (found.projection[:, 1:] == 0).all()
    assert principal_components(torch.ones(3, 1).cumsum(0), num_components=4).projection.shape == (3, 4)


@pytest.mark.parametrize("scale", [1e-200, 1e200])
def test_extreme_values(scale):
    x = features(8, 3)
    found, expected = principal_components(x * scale), principal_components(x)
    torch.testing.assert_close(found.projection / scale, expected.projection)
    torch.testing.assert_close(found.explained_variance_ratio, expected.explained_variance_ratio)


def test_blocks_of_columns(monkeypatch):
    x = features(6, 40)
    whole = principal_components(x)
    monkeypatch.setattr(sys.modules[principal_components.__module__], "_BLOCK", 50)
    for found, expected in zip(principal_components(x), whole, strict=True):
        torch.testing.assert_close(found, expected)


def test_shapes_and_types():
    x = torch.randn(5, 2, 3, generator=generator)
    found = principal_components(x.bfloat16())
    assert (found.projection.shape, found.projection.dtype) == ((5, 2), torch.float64)
    torch.testing.assert_close(found.projection, principal_components(x.bfloat16().flatten(1).double()).projection)
    assert principal_components(torch.tensor([[0], [4]])).projection.tolist() == [[2, 0], [-2, 0]]


@pytest.mark.parametrize("bad", [torch.tensor([[float("nan")]]), torch.zeros(0, 3), torch.tensor(1.0), [[1.0]]])
def test_bad_features(bad):
    with pytest.raises(ValueError, match="features"):
        principal_components(bad)


@pytest.mark.parametrize("number", [0, -1, 1.5, True])
def test_bad_settings(number):
    with pytest.raises(ValueError, match="num_components"):
        principal_components(torch.ones(3, 3), num_components=number)
