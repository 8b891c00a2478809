"""Groups of correlated columns, against NumPy's correlations and SciPy's components."""

import math
import subprocess
import sys

import numpy as np
import pytest
import torch
from scipy.sparse.csgraph import connected_components

from lightning_separation.functional import correlated_features


def table(n=60, columns=30, noise=0.4, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(n, 6, generator=generator)
    sign = torch.where(torch.arange(columns) % 2 == 0, 1, -1)
    return (hidden[:, torch.arange(columns) % 6] * sign + noise * torch.randn(n, columns, generator=generator)).to(
        dtype
    )


def by_numpy(x, threshold):
    linked = np.abs(np.corrcoef(x.double().numpy().T)) > threshold
    _, label = connected_components(linked)
    return sorted(np.flatnonzero(label == c).tolist() for c in set(label))


@pytest.mark.parametrize("threshold", [0.0, 0.2, 0.85, 0.9, 0.99])
@pytest.mark.parametrize("noise", [0.1, 0.35, 2.0])
def test_numpy_and_scipy(threshold, noise):
    x = table(noise=noise)
    assert correlated_features(x, threshold) == by_numpy(x, threshold)


def test_the_cases_differ():
    """Or the comparison above would say little."""
    sizes = [len(correlated_features(table(noise=noise))) for noise in (0.1, 0.35, 2.0)]
    assert sizes[0] == 6 < sizes[1] < sizes[2] == 30


def test_links_lead_on():
    """The first and the last are hardly correlated, but each is with the one between."""
    a = torch.tensor([1.0, -1.0, 0.0, 0.0])
    b = torch.tensor([0.0, 0.0, 1.0, -1.0])
    x = torch.stack([a, a + b, b], 1)  # correlations 0.707, 0.707, 0
    assert correlated_features(x, 0.7) == [[0, 1, 2]]
    assert correlated_features(x, 0.71) == [[0], [1], [2]]


def test_copies_and_opposites():
    x = torch.randn(20, 3, generator=torch.Generator().manual_seed(0))
    x = torch.cat([x, -3 * x[:, :1] + 7, x[:, 1:2]], 1)
    assert correlated_features(x, 0.999) == [[0, 3], [1, 4], [2]]


@pytest.mark.parametrize("offset, scale", [(1e8, 1.0), (0.0, 1e-200), (0.0, 1e200), (1e-3, 1e-12)])
def test_offset_and_scale(offset, scale):
    x = table()
    assert correlated_features(x * scale + offset) == correlated_features(x)


def test_columns_that_stand_alone():
    x = table(noise=0.1)
    x[:, 0], x[3, 6], x[4, 12] = 0.1, math.nan, math.inf
    found = correlated_features(x)
    assert [0] in found
    assert [6] in found
    assert [12] in found
    assert [18, 24] in found  # of the same hidden variable
    assert sorted(i for group in found for i in group) == list(range(30))
    assert correlated_features(torch.full((5, 3), 0.1)) == [[0], [1], [2]]
    assert correlated_features(torch.rand(1, 3)) == [[0], [1], [2]]  # one sample


def test_more_columns_than_a_block():
    x = table(columns=1500, noise=0.01)
    found = correlated_features(x)
    assert found == [list(range(i, 1500, 6)) for i in range(6)]


def test_types():
    x = (table(noise=0.1) * 100).round()
    expected = correlated_features(x)
    assert correlated_features(x.long()) == correlated_features(x.float()) == expected
    assert correlated_features(x[:, 0]) == [[0]]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert correlated_features(x.float().requires_grad_()) == expected


@pytest.mark.parametrize("threshold", [1.0, -0.1, math.nan])
def test_thresholds_that_are_refused(threshold):
    with pytest.raises(ValueError, match="threshold"):
        correlated_features(table(), threshold)


def test_input_that_is_refused():
    with pytest.raises(ValueError, match="flatten"):
        correlated_features(torch.rand(4, 3, 2))
    with pytest.raises(ValueError, match="not empty"):
        correlated_features(torch.rand(0, 3))
    with pytest.raises(ValueError, match=r"x must be a torch\.Tensor, not ndarray"):
        correlated_features(np.ones((3, 3)))


@pytest.mark.parametrize("rows", [1, 7])
@pytest.mark.parametrize("threshold", [0.2, 0.3, 0.5])
def test_links_from_block_to_block(rows, threshold, monkeypatch):
    """Among noise, where groups grow by chance and in any order."""
    monkeypatch.setattr(sys.modules[correlated_features.__module__], "_ROWS", rows)
    x = torch.randn(40, 80, generator=torch.Generator().manual_seed(3))
    found = correlated_features(x, threshold)
    assert found == by_numpy(x, threshold)
    assert 1 <= len(found) < 80


def test_memory_of_many_columns():
    """Of a fresh process, its peak beside the input in MB; a matrix of 8000 x 8000 would take 512."""
    run = """
import resource, torch
from lightning_separation.functional import correlated_features
x = torch.randn(50, 8000) * 0.1 + torch.randn(50, 1)
correlated_features(x[:, :5])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
assert len(correlated_features(x)) == 1
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""
    found = subprocess.run([sys.executable, "-c", run], capture_output=True, text=True, check=True)
    assert int(found.stdout) < 150
