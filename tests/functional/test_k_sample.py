"""Welch's ANOVA, Kruskal-Wallis and Brown-Forsythe against SciPy and statsmodels."""

import math
import warnings

import numpy as np
import pytest
import torch
from scipy import stats

from lightning_separation.functional import brown_forsythe, kruskal_wallis, welch_anova, welch_t_test

from .activations import assert_same, assert_uniform, classes_of, layer, unit_by_unit

tests = {
    welch_anova: lambda *x: stats.f_oneway(*x, equal_var=False),
    kruskal_wallis: stats.kruskal,
    brown_forsythe: lambda *x: stats.levene(*x, center="median"),
}
old_scipy = "equal_var" not in stats.f_oneway.__doc__
needs_scipy = pytest.mark.skipif(old_scipy, reason="SciPy < 1.16 has no Welch ANOVA")
each = pytest.mark.parametrize(
    "test, reference",
    [pytest.param(t, r, id=t.__name__, marks=[needs_scipy] if t is welch_anova else []) for t, r in tests.items()],
)


def compare(test, reference, x, y):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of constant samples
        expected = unit_by_unit(reference, *classes_of(x, y))
    if test is welch_anova:  # SciPy has infinite or no F where a class is constant; both mean no answer here
        constant = np.any([c.std(0) == 0 for c in classes_of(x, y)], axis=0)
        expected = [np.where(constant, np.nan, v) for v in expected]
    assert_same(test(x, y), *expected)


@each
@pytest.mark.parametrize("sizes", [(3, 3), (3, 4, 5), (30, 20, 30, 20), (200, 3, 150), (12,) * 15], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("shift", [0.0, 0.5])
def test_scipy(test, reference, sizes, dtype, shift):
    x, y = layer(sizes, dtype=dtype, shift=shift, seed=len(sizes))
    compare(test, reference, x, y)


@each
def test_tails(test, reference):
    x, y = layer((500, 400, 300), shift=30.0, dtype=torch.float64, kind="normal")
    x[y == 4] *= 40
    expected = unit_by_unit(reference, *classes_of(x, y))
    assert expected[1].max() < 1e-100
    compare(test, reference, x, y)


@each
@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_scale(test, reference, scale):
    compare(test, reference, *layer((30, 20, 25), scale=scale, shift=0.5))


@each
def test_offset_in_float32(test, reference):
    compare(test, reference, *layer((30, 20, 25), offset=1e4, shift=0.5))


@each
def test_far_offset(test, reference):
    x, y = layer((30, 20, 25), offset=1e8, shift=0.5, dtype=torch.float64)
    assert_same(test(x, y), *test(x - 1e8, y), tolerance=1e-6 if test is brown_forsythe else 1e-7)


def test_welch_anova_of_statsmodels():
    from statsmodels.stats import oneway

    x, y = layer((30, 20, 25, 9), shift=0.4, dtype=torch.float64)
    found = welch_anova(x, y)
    for i in range(x.shape[1]):
        expected = oneway.anova_oneway([c[:, i] for c in classes_of(x, y)], use_var="unequal", welch_correction=True)
        assert math.isclose(found.statistic[i], expected.statistic, rel_tol=1e-9)
        assert math.isclose(found.p_value[i], expected.pvalue, rel_tol=1e-7)


def test_welch_anova_of_two_classes_is_welchs_t():
    x, y = layer((30, 20), shift=0.4)
    t = welch_t_test(x[y == 7], x[y == 4])
    assert_same(welch_anova(x, y), t.statistic**2, t.p_value)


def test_kruskal_by_hand():
    x, y = torch.tensor([1.0, 2.0, 2.0, 4.0, 5.0, 6.0]), torch.tensor([0, 0, 1, 1, 2, 2])
    x, y = torch.cat([x, torch.tensor([1.0, 4.0, 6.0])]), torch.cat([y, torch.tensor([0, 1, 2])])
    # Ranks 1.5, 3.5, 1.5 | 3.5, 5.5, 5.5 | 7, 8.5, 8.5; four pairs of ties.
    h = 12 / 90 * (6.5**2 / 3 + 14.5**2 / 3 + 24**2 / 3) - 30
    h /= 1 - 4 * 6 / (9**3 - 9)
    found = kruskal_wallis(x, y)
    assert math.isclose(found.statistic.item(), h, rel_tol=1e-12)
    assert math.isclose(found.p_value.item(), math.exp(-h / 2), rel_tol=1e-12)


def test_brown_forsythe_by_hand():
    x = torch.tensor([0.0, 1.0, 5.0, 0.0, 2.0, 4.0, 10.0])
    found = brown_forsythe(x, torch.tensor([0, 0, 0, 1, 1, 1, 1]))
    # Distances from the medians 1 and 3: 1, 0, 4 and 3, 1, 1, 7. Means 5/3, 3, in all 17/7.
    between = 3 * (5 / 3 - 17 / 7) ** 2 + 4 * (3 - 17 / 7) ** 2
    within = (17 - 25 / 3) + (60 - 36)
    assert math.isclose(found.statistic.item(), between / (within / 5), rel_tol=1e-12)


@pytest.mark.parametrize("value", [0.0, 0.1, 1e8 + 0.1])
def test_constant(value):
    x, y = torch.full((12, 1), value), torch.arange(12) % 3
    for test in tests:
        assert all(v.isnan().all() for v in test(x, y)), test
    x[y == 1] += 64  # constant classes that differ
    assert all(v.isnan().all() for v in welch_anova(x, y))
    assert all(v.isnan().all() for v in brown_forsythe(x, y))
    assert math.isclose(kruskal_wallis(x, y).statistic.item(), 11)  # N - 1: the classes explain all


def test_a_class_without_variance():
    x, y = layer((10, 10, 10), kind="normal", dtype=torch.float64)
    x[y == 4, 0] = 0.1
    found = welch_anova(x, y)
    assert found.statistic.isnan().tolist() == found.p_value.isnan().tolist() == [True] + [False] * 11


def test_distances_without_variance():
    """Two values, as often in each class: all distances from the medians are equal within a class."""
    x = torch.tensor([0.0, 0.1, 0.0, 0.1, 0.0, 0.3, 0.3, 0.0])[:, None]
    found = brown_forsythe(x, torch.tensor([0, 0, 0, 0, 1, 1, 1, 1]))
    assert (found.statistic.item(), found.p_value.item()) == (math.inf, 0)
    x[4:] = x[:4]
    assert brown_forsythe(x, torch.tensor([0, 0, 0, 0, 1, 1, 1, 1])).statistic.isnan().all()


@each
def test_order(test, reference):
    x, y = layer((14, 25, 14, 8), shift=0.3, dtype=torch.float64)
    expected = test(x, y)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(1))
    assert_same(test(x[order], y[order]), *expected, tolerance=1e-12)
    assert_same(test(x.T.contiguous().T, -y), *expected, tolerance=1e-12)
    assert_same(test(x.flip(1), y), *(v.flip(0) for v in expected), tolerance=1e-12)
    assert_same(test(5 - 3 * x, y), *expected, tolerance=1e-9)


def test_monotone_transform():
    x, y = layer((14, 25, 14), shift=0.3)
    x = x.double()  # float32 values stay apart
    for a, b in zip(kruskal_wallis(x.atan(), y), kruskal_wallis(x, y), strict=True):
        assert torch.equal(a, b)


@each
def test_null(test, reference):
    x, y = layer((60, 45, 50), units=2000, kind="normal")
    assert_uniform(test(x, y).p_value)


def test_many_classes_of_many_sizes():
    sizes = [3 + k % 5 for k in range(40)]
    x, y = layer(sizes, units=400, shift=0.05)
    some = slice(None, None, 50)
    for test, reference in tests.items():
        if test is welch_anova:
            continue
        found = test(x, y)
        assert_same(type(found)(*(v[some] for v in found)), *unit_by_unit(reference, *classes_of(x[:, some], y)))
