"""Layers to test the tests on, and how to compare with a reference that takes one unit at a time."""

import numpy as np
import torch


def layer(sizes, *, kind="mixed", shift=0.0, offset=0.0, scale=1.0, units=12, dtype=torch.float32, seed=0):
    """Activations and labels 7, 4, 1, ... in random order: normal, ReLU-like, tied and skewed units in turn."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.cat([torch.full((n,), 7 - 3 * k) for k, n in enumerate(sizes)])
    y = y[torch.randperm(len(y), generator=generator)]
    x = torch.randn(len(y), units, generator=generator, dtype=torch.float64) + shift * y[:, None] / 3
    kinds = {"relu": lambda v: v.relu(), "ties": lambda v: (2 * v).round(), "skewed": lambda v: v.exp()}
    for i in range(units):
        name = ["normal", *kinds][i % 4] if kind == "mixed" else kind
        if name in kinds:
            x[:, i] = kinds[name](x[:, i])
    return (x * scale + offset).to(dtype), y


def classes_of(x, y):
    """Float64 arrays of the classes, smallest label first."""
    x = x.double().numpy()
    return [x[y.numpy() == label] for label in np.unique(y.numpy())]


def unit_by_unit(test, *samples):
    """SciPy's statistic and p-value for one unit after the other."""
    found = [test(*(s[:, i] for s in samples)) for i in range(samples[0].shape[1])]
    return np.array([f.statistic for f in found]), np.array([f.pvalue for f in found])


def assert_same(found, statistic, p_value, *, tolerance=1e-7, small=1e-300):
    assert found.statistic.dtype == found.p_value.dtype == torch.float64
    np.testing.assert_allclose(found.statistic.numpy(), statistic, rtol=tolerance, atol=1e-9)
    np.testing.assert_allclose(found.p_value.numpy(), p_value, rtol=tolerance, atol=small)


def assert_uniform(p_value):
    """Five of a hundred p-values under the null hypothesis are below 0.05: within 4 binomial standard deviations."""
    low = (p_value < 0.05).double().mean().item()
    assert abs(low - 0.05) < 4 * (0.05 * 0.95 / len(p_value)) ** 0.5, low
