"""Welch's t and Mann-Whitney's U against SciPy, and what must hold whatever the data."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from lightning_separation.functional import mann_whitney_u, welch_t_test

from .activations import assert_same, assert_uniform, classes_of, layer, unit_by_unit

pytestmark = pytest.mark.filterwarnings(
    "ignore:Precision loss occurred:RuntimeWarning"
)  # SciPy, of nearly equal values


def scipy_welch(x, y):
    return stats.ttest_ind(x, y, equal_var=False)


def scipy_mann_whitney(x, y):
    return stats.mannwhitneyu(x, y, method="asymptotic")


pairs = [(welch_t_test, scipy_welch), (mann_whitney_u, scipy_mann_whitney)]
both = pytest.mark.parametrize("test, reference", pairs, ids=["welch_t", "mann_whitney_u"])


def two(sizes, **settings):
    x, y = layer(sizes, **settings)
    return x[y == 7], x[y == 4]


def doubles(x, y):
    return x.double().numpy(), y.double().numpy()


@both
@pytest.mark.parametrize("sizes", [(3, 3), (4, 3), (5, 40), (100, 99), (1500, 200)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize("shift", [0.0, 0.7])
def test_scipy(test, reference, sizes, dtype, shift):
    x, y = two(sizes, dtype=dtype, shift=shift, seed=sum(sizes))
    x[:, ::5] += 1.0
    y[0] += 0.5  # no unit constant in a sample: SciPy warns
    assert_same(test(x, y), *unit_by_unit(reference, *doubles(x, y)))


@both
@pytest.mark.parametrize("shift", [10.0, 30.0, 60.0])
def test_tails(test, reference, shift):
    x, y = two((900, 800), dtype=torch.float64, shift=shift, kind="normal")
    statistic, p_value = unit_by_unit(reference, x.numpy(), y.numpy())
    assert p_value.max() < 1e-200
    assert_same(test(x, y), statistic, p_value)


@both
@pytest.mark.parametrize("scale", [1e-30, 1e-5, 1e5, 1e30])
def test_scale(test, reference, scale):
    x, y = two((30, 20), scale=scale, shift=0.5)
    assert_same(test(x, y), *unit_by_unit(reference, *doubles(x, y)))


@both
def test_offset_in_float32(test, reference):
    x, y = two((300, 200), offset=1e4, shift=0.5)
    assert_same(test(x, y), *unit_by_unit(reference, *doubles(x, y)))


@both
def test_far_offset(test, reference):
    x, y = two((300, 200), offset=1e8, shift=0.5, dtype=torch.float64)
    assert_same(test(x, y), *unit_by_unit(reference, *doubles(x - 1e8, y - 1e8)))  # exact differences


@pytest.mark.parametrize("dtype", [torch.int8, torch.uint8, torch.int16, torch.int32, torch.int64, torch.bool])
@both
def test_integers(test, reference, dtype):
    x, y = two((30, 20), kind="ties", scale=4, shift=1.0)
    x, y = (v.abs().to(dtype) if dtype != torch.bool else v > 2 for v in (x, y))
    assert_same(test(x, y), *unit_by_unit(reference, *doubles(x, y)))


def test_large_integers_are_exact():
    x = torch.tensor([2**40 + 1, 2**40 + 3, 2**40 + 2])
    assert mann_whitney_u(x, x - 1).statistic.item() == 4.5 + 2.5  # 1 3 2 against 0 2 1: 6 wins, 2 ties
    assert math.isclose(welch_t_test(x, x - 1).statistic.item(), 1 / math.sqrt(2 / 3))


def test_welch_by_hand():
    found = welch_t_test(torch.tensor([2.0, 4.0, 6.0]), torch.tensor([1.0, 1.0, 2.0, 2.0]))
    error = 4 / 3 + 1 / 12  # 17/12
    freedom = error**2 / ((4 / 3) ** 2 / 2 + (1 / 12) ** 2 / 3)
    assert math.isclose(found.statistic.item(), 2.5 / math.sqrt(error))
    assert math.isclose(found.p_value.item(), 2 * stats.t.sf(2.5 / math.sqrt(error), freedom))


def test_mann_whitney_by_hand():
    found = mann_whitney_u(torch.tensor([1.0, 2.0, 2.0, 5.0]), torch.tensor([0.0, 2.0, 0.0]))
    # Wins 2 + 2 + 2 + 3, two ties. Ties of three 2 and two 0: 24 + 6.
    assert found.statistic.item() == 10
    deviation = math.sqrt(12 / 12 * (8 - 30 / 42))
    assert math.isclose(found.p_value.item(), 2 * stats.norm.sf((10 - 6 - 0.5) / deviation))


@pytest.mark.parametrize("value", [0.0, 0.1, 1e8 + 0.1, 1e-30])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_constant(value, dtype):
    x, y = torch.full((7, 1), value, dtype=dtype), torch.full((4, 1), value, dtype=dtype)
    found = welch_t_test(x, y)
    assert found.statistic.isnan().all()
    assert found.p_value.isnan().all()
    assert mann_whitney_u(x, y).p_value.item() == 1
    assert mann_whitney_u(x, y).statistic.item() == 14
    other = y + (1 if value < 1 else 64)
    assert tuple(v.item() for v in welch_t_test(other, x)) == (math.inf, 0)
    assert tuple(v.item() for v in welch_t_test(x, other)) == (-math.inf, 0)


def test_one_constant_sample():
    x, y = two((30, 20), kind="normal")
    y = torch.full_like(y, 0.1)
    assert_same(welch_t_test(x, y), *unit_by_unit(scipy_welch, *doubles(x, y)))


def test_zeros_of_either_sign_are_equal():
    x, y = torch.tensor([0.0, -0.0, 0.0, 1.0]), torch.tensor([-0.0, 0.0, -0.0])
    assert mann_whitney_u(x, y).statistic.item() == 7.5
    assert torch.equal(mann_whitney_u(x, y).p_value, mann_whitney_u(x.double(), y.double()).p_value)


def test_values_of_either_sign_and_every_magnitude():
    x = torch.tensor([-3e38, -1.0, -1e-45, 0.0, 1e-45, 1e-38, 2.0, 3e38])[:, None]
    y = x[torch.tensor([7, 0, 3, 4, 1])]
    assert_same(mann_whitney_u(x, y), *unit_by_unit(scipy_mann_whitney, *doubles(x, y)))


@both
def test_swap(test, reference):
    x, y = two((40, 25), shift=0.3)
    found, swapped = test(x, y), test(y, x)
    middle = 0 if test is welch_t_test else 500
    torch.testing.assert_close(found.statistic - middle, middle - swapped.statistic)
    torch.testing.assert_close(found.p_value, swapped.p_value)


@both
def test_order_of_samples_and_units(test, reference):
    x, y = two((40, 25), shift=0.3, dtype=torch.float64)
    expected = test(x, y)
    for found in (test(x.flip(0), y.roll(3, 0)), test(x.T.contiguous().T, y.repeat(1, 2)[:, : y.shape[1]])):
        assert_same(found, *expected, tolerance=1e-12)
    assert_same(test(x.flip(1), y.flip(1)), *(v.flip(0) for v in expected), tolerance=1e-12)


@pytest.mark.parametrize("transform", [lambda v: v * 3 - 1000, torch.exp, torch.atan, lambda v: v**3])
def test_monotone_transform(transform):
    x, y = (v.double() for v in two((40, 25), shift=0.3))  # float32 values stay apart
    for a, b in zip(mann_whitney_u(transform(x), transform(y)), mann_whitney_u(x, y), strict=True):
        assert torch.equal(a, b)


def test_many_units_and_samples():
    """Several blocks of units, some with a single one."""
    for sizes, units in ((20_000, 15_000), 3), ((60, 50), 700):
        x, y = two(sizes, units=units)
        some = slice(None, None, max(1, units // 9))
        for test, reference in pairs:
            found = test(x, y)
            assert len(found.p_value) == units
            expected = unit_by_unit(reference, *doubles(x[:, some], y[:, some]))
            assert_same(type(found)(*(v[some] for v in found)), *expected)


@both
@pytest.mark.parametrize("kind", ["normal", "ties"])
def test_null(test, reference, kind):
    x, y = two((60, 45), units=2000, kind=kind)
    assert_uniform(test(x, y).p_value)


def test_single_units_are_columns():
    x, y = two((9, 8))
    for test, _ in pairs:
        assert np.array_equal(test(x[:, 0], y[:, 0]), test(x[:, :1], y[:, :1]))


def test_labels_and_classes_of_the_helper():
    x, y = layer([5, 6])
    small, large = classes_of(x, y)
    assert (len(small), len(large)) == (6, 5)  # labels 4 and 7
