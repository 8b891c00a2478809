"""Activity of units for classes, and the divergence between its distributions, by other means."""

import itertools
import math

import numpy as np
import pytest
import torch

from lightning_separation.functional import class_selectivity
from lightning_separation.functional._neurons import NeuronSample, sample_of_classes
from lightning_separation.functional.class_selectivity import class_histograms

from .activations import classes_of, layer


def brute_force_kl(x, y, bins, smoothing):
    found = []
    for i in range(x.shape[1]):
        classes = [c[:, i] for c in classes_of(x, y)]
        pooled = np.concatenate(classes)
        counts = [np.histogram(c, bins, (pooled.min(), pooled.max()))[0] + smoothing for c in classes]
        shares = [c / c.sum() for c in counts]
        directions = [(p * np.log(p / q)).sum() for p, q in itertools.permutations(shares, 2)]
        found.append(np.mean(directions))
    return found


@pytest.mark.parametrize("sizes", [(9, 9), (30, 20, 1), (12,) * 8], ids=str)
@pytest.mark.parametrize("bins, smoothing", [(10, 0.5), (3, 0.01), (1, 1.0), (40, 0.5)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_kl_by_brute_force(sizes, bins, smoothing, dtype):
    x, y = layer(sizes, shift=0.3, dtype=dtype)
    found = class_selectivity(x, y, bins=bins, smoothing=smoothing).kl
    np.testing.assert_allclose(found, brute_force_kl(x, y, bins, smoothing), rtol=1e-9, atol=1e-14)


def test_kl_by_hand():
    x, y = torch.tensor([0.0, 0.0, 1.0, 0.0, 1.0, 1.0, 1.0]), torch.tensor([0, 0, 0, 1, 1, 1, 1])
    p, q = np.array([2.5, 1.5]) / 4, np.array([1.5, 3.5]) / 5
    expected = ((p * np.log(p / q)).sum() + (q * np.log(q / p)).sum()) / 2
    assert math.isclose(class_selectivity(x, y, bins=2).kl.item(), expected, rel_tol=1e-12)


@pytest.mark.parametrize("offset, scale", [(0, 1), (1e4, 1), (0, 1e-30), (0, 1e30)])
def test_histograms_are_numpys(offset, scale):
    x, y = layer((30, 20, 9), shift=0.3, offset=offset, scale=scale)
    counts, edges = class_histograms(sample_of_classes(x, y), 7)
    assert counts.shape == (12, 3, 7)
    assert counts.sum(2).tolist() == [[9, 20, 30]] * 12
    for i in range(12):
        expected = np.histogram_bin_edges(x[:, i].double().numpy(), 7)
        np.testing.assert_allclose(edges[i], expected, rtol=1e-12, atol=1e-12 * scale)
        for k, values in enumerate(classes_of(x, y)):
            assert np.array_equal(counts[i, k], np.histogram(values[:, i], edges[i].numpy())[0])


def test_histogram_of_a_constant_unit():
    x, y = torch.full((6, 1), 3.0), torch.tensor([0, 0, 0, 1, 1, 1])
    counts, edges = class_histograms(sample_of_classes(x, y), 10)
    expected, expected_edges = np.histogram(x[:3].numpy(), 10)
    np.testing.assert_allclose(edges[0], expected_edges)
    assert counts.tolist() == [[expected.tolist()] * 2]


def test_activity_by_hand():
    x = torch.tensor([[0.0, 1.0], [2.0, -1.0], [3.0, 0.5], [4.0, 0.0], [-1.0, 0.0]])
    found = class_selectivity(x, torch.tensor([5, 5, 5, 5, 2]))
    assert found.active_fraction.tolist() == [[0, 0.75], [0, 0.5]]
    torch.testing.assert_close(found.mean, torch.tensor([[-1, 2.25], [0, 0.125]], dtype=torch.float64))
    deviation = torch.stack([x[:4, 0].double().std(), x[:4, 1].double().std()])
    torch.testing.assert_close(found.std[:, 1], deviation)
    assert found.std[:, 0].isnan().all()  # one sample
    assert class_selectivity(x, torch.tensor([5, 5, 5, 5, 2]), threshold=2.0).active_fraction[0].tolist() == [0, 0.5]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_threshold_itself_is_not_active(dtype):
    x = torch.tensor([0.25, 0.25, 0.5, 0.0], dtype=dtype)
    found = class_selectivity(x, torch.tensor([0, 0, 0, 0]), threshold=0.25)
    assert found.active_fraction.item() == 0.25


@pytest.mark.parametrize("offset", [0.0, 1e4, 1e8])
def test_moments_of_numpy(offset):
    x, y = layer((14, 9, 14), shift=0.3, offset=offset, dtype=torch.float64)
    found = class_selectivity(x, y)
    np.testing.assert_allclose(found.mean.T, [c.mean(0) for c in classes_of(x, y)], rtol=1e-12)
    np.testing.assert_allclose(found.std.T, [c.std(0, ddof=1) for c in classes_of(x, y)], rtol=1e-7)


@pytest.mark.parametrize("exponent", [-560, -100, 100, 500, 1010])
def test_scale(exponent):
    x, y = layer((14, 9, 14), shift=0.3, dtype=torch.float64)
    scale = 2.0**exponent
    found, expected = class_selectivity(x * scale, y), class_selectivity(x, y)
    for name in ("active_fraction", "kl"):
        assert torch.equal(getattr(found, name), getattr(expected, name))
    for name in ("mean", "std"):
        assert torch.equal(getattr(found, name), getattr(expected, name) * scale)


def test_constant_unit():
    y = torch.tensor([0, 0, 0, 1, 1])
    found = class_selectivity(torch.full((5, 1), 0.1), y)
    assert found.kl.item() == 0
    assert found.std.tolist() == [[0, 0]]


def test_one_class():
    x, y = layer((9,))
    found = class_selectivity(x, y)
    assert found.kl.isnan().all()
    assert found.mean.shape == (12, 1)


def test_a_unit_with_nan():
    x, y = layer((14, 9), shift=0.3)
    expected = class_selectivity(x, y)
    bad = x.clone()
    bad[3, 2], bad[5, 7] = float("nan"), float("inf")
    found = class_selectivity(bad, y)
    for a, b in zip(found, expected, strict=True):
        assert a[[2, 7]].isnan().all()
        rest = [i for i in range(12) if i not in (2, 7)]
        assert torch.equal(a[rest], b[rest])


def test_channels():
    x = torch.randn(10, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    y = torch.arange(10) % 2
    for a, b in zip(class_selectivity(x, y), class_selectivity(x.mean((2, 3)), y), strict=True):
        torch.testing.assert_close(a, b)


def test_identical_classes_do_not_diverge():
    x, _ = layer((20,))
    found = class_selectivity(torch.cat([x, x]), torch.arange(2).repeat_interleave(20)).kl
    assert (found >= 0).all()
    assert found.max() < 1e-15


@pytest.mark.parametrize("settings", [{"bins": 0}, {"smoothing": 0.0}, {"smoothing": -1.0}])
def test_settings_that_are_refused(settings):
    with pytest.raises(ValueError, match=next(iter(settings))):
        class_selectivity(*layer((9, 9)), **settings)


def test_many_units():
    x, y = layer((300, 280), units=200, shift=0.2)
    counts, edges = class_histograms(sample_of_classes(x, y))
    assert isinstance(sample_of_classes(x, y), NeuronSample)
    for i in range(0, 200, 23):
        for k, values in enumerate(classes_of(x, y)):
            assert np.array_equal(counts[i, k], np.histogram(values[:, i], edges[i].numpy())[0])
