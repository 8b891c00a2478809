"""Mantel's test against SciPy and loops over all orders."""

import itertools

import numpy as np
import pytest
from scipy import stats

from lightning_separation.comparison import mantel_test


def symmetric(num, seed, low=0, high=1000):
    values = np.triu(np.random.default_rng(seed).integers(low, high, (num, num)), 1).astype(float)
    return values + values.T


def spearman(x, y):
    pairs = np.triu_indices(len(x), 1)
    return stats.spearmanr(x[pairs], y[pairs]).statistic


@pytest.mark.parametrize("num, high", [(3, 1000), (4, 3), (5, 3), (6, 1000)])
def test_all_orders(num, high):
    x, y = symmetric(num, num, high=high), symmetric(num, num + 1, high=high)
    orders = [list(order) for order in itertools.permutations(range(num))]
    expected = np.mean([spearman(x, y[order][:, order]) >= spearman(x, y) - 1e-9 for order in orders])
    found = mantel_test(x, y)
    assert found.correlation == pytest.approx(spearman(x, y))
    assert found.p_value == pytest.approx(expected)


def test_random_orders_are_near_all():
    x = symmetric(6, 0)
    y = x + symmetric(6, 1, high=1500)
    assert 0.01 < mantel_test(x, y).p_value < 0.3
    assert mantel_test(x, y, permutations=700).p_value == pytest.approx(mantel_test(x, y).p_value, abs=0.05)
    assert mantel_test(x, y, permutations=719, seed=1) != mantel_test(x, y, permutations=720)


def test_uniform_where_nothing_goes_together():
    p = [mantel_test(symmetric(8, 2 * i), symmetric(8, 2 * i + 1), permutations=99).p_value for i in range(200)]
    assert stats.kstest(p, "uniform").pvalue > 0.01


def test_the_smallest_p():
    x = symmetric(12, 0)
    assert mantel_test(x, x, permutations=49) == (pytest.approx(1), 1 / 50)
    assert mantel_test(x, -x).p_value == 1


def test_seed():
    x, y = symmetric(9, 0), symmetric(9, 1)
    assert mantel_test(x, y, seed=3) == mantel_test(x, y, seed=3)
    assert len({mantel_test(x, y, seed=seed).p_value for seed in range(5)}) > 1


def test_only_what_is_above_the_diagonal_is_read():
    x, y = symmetric(5, 0), symmetric(5, 1)
    marked = np.where(np.tri(5, dtype=bool), np.nan, x)
    assert mantel_test(marked, y) == mantel_test(x, y)


def test_classes_without_values_are_left_out_of_both():
    x, y = symmetric(7, 0), symmetric(7, 1)
    with_gaps_x, with_gaps_y = x.copy(), y.copy()
    with_gaps_x[2] = with_gaps_x[:, 2] = np.nan
    with_gaps_y[6] = with_gaps_y[:, 6] = np.nan
    left = [0, 1, 3, 4, 5]
    assert mantel_test(with_gaps_x, with_gaps_y) == mantel_test(x[left][:, left], y[left][:, left])


def test_constant_sides():
    assert np.isnan(mantel_test(np.ones((4, 4)), symmetric(4, 0))).all()
    assert np.isnan(mantel_test(symmetric(4, 0), np.zeros((4, 4)))).all()


@pytest.mark.parametrize(
    "x, y, message",
    [
        (np.zeros((2, 2)), np.zeros((2, 2)), "3 classes"),
        (np.full((4, 4), np.nan), np.zeros((4, 4)), "3 classes"),
        (np.zeros((3, 3)), np.zeros((4, 4)), "shapes"),
        (np.zeros((3, 4)), np.zeros((3, 4)), "shapes"),
        (np.zeros(3), np.zeros(3), "shapes"),
        (np.array([[0, np.nan, 1, 1], [0, 0, 1, 2], [0, 0, 0, 3], [0, 0, 0, 0]]), symmetric(4, 0), "NaN"),
    ],
)
def test_bad_input(x, y, message):
    with pytest.raises(ValueError, match=message):
        mantel_test(x, y)
