"""The jackknife over classes against plain loops, by hand, and by simulation."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy import stats

from lightning_separation import Run
from lightning_separation.comparison import jackknife_difference, jackknife_mean
from lightning_separation.functional import henze_penrose_divergence, permutation_test
from tests.runs.made import record


def matrices(*shape, seed=0):
    return np.random.default_rng(seed).random(shape)


def by_loops(pairs):
    """Mean and standard error of one [K, K]."""
    num = len(pairs)

    def mean(classes):
        return np.mean([pairs[i, j] for i, j in itertools.combinations(classes, 2)])

    without = [mean([c for c in range(num) if c != left_out]) for left_out in range(num)]
    variance = (num - 1) / num * sum((d - np.mean(without)) ** 2 for d in without)
    return mean(range(num)), math.sqrt(variance)


@pytest.mark.parametrize("num", [3, 4, 10])
def test_against_loops(num):
    x, y = matrices(2, 3, num, num), matrices(2, 3, num, num, seed=1)
    found, of_x = jackknife_difference(x, y), jackknife_mean(x)
    for place in np.ndindex(2, 3):
        mean, error = by_loops(x[place])
        interval = stats.t(num - 1, mean, error).interval(0.95)
        np.testing.assert_allclose([value[place] for value in of_x], [mean, error, *interval], rtol=1e-10)
        effect, error = by_loops(x[place] - y[place])
        p_value = 2 * stats.t.sf(abs(effect / error), num - 1)
        interval = stats.t(num - 1, effect, error).interval(0.95)
        np.testing.assert_allclose([value[place] for value in found], [effect, *interval, p_value], rtol=1e-10)


def test_by_hand():
    # Differences 1, 2, 6 of three pairs; without a class one pair is left: 6, 2, 1. Mean 3, squares 9 + 1 + 4,
    # variance 2/3 * 14 = 28/3; t = 3 / sqrt(28/3) with 2 degrees: p = 1 - t / sqrt(t^2 + 2).
    x = [[0, 1, 2], [0, 0, 6], [0, 0, 0]]
    found = jackknife_difference(x, np.zeros((3, 3)))
    t = 3 / math.sqrt(28 / 3)
    assert found.effect == pytest.approx(3)
    assert found.p_value == pytest.approx(1 - t / math.sqrt(t**2 + 2))
    quantile = 0.95 * math.sqrt(2 / (1 - 0.95**2))  # of Student's t with 2 degrees, solved for
    assert found.high - found.effect == pytest.approx(quantile * math.sqrt(28 / 3))
    assert [value.shape for value in found] == [()] * 4


def test_the_interval_holds_zero_where_p_is_above_its_level():
    found = jackknife_difference(matrices(500, 6, 6), matrices(500, 6, 6, seed=1))
    assert np.array_equal((found.low <= 0) & (found.high >= 0), found.p_value >= 0.05)
    assert 0 < (found.p_value < 0.05).sum() < 500


def test_exchange_and_order_of_classes():
    x, y = matrices(5, 5), matrices(5, 5, seed=1)
    found, other = jackknife_difference(x, y), jackknife_difference(y, x)
    np.testing.assert_allclose(found, [-other.effect, -other.high, -other.low, other.p_value], rtol=1e-12)
    order = np.random.default_rng(2).permutation(5)
    x, y = (np.triu(values, 1) + np.triu(values, 1).T for values in (x, y))
    permuted = jackknife_difference(x[order][:, order], y[order][:, order])
    np.testing.assert_allclose(permuted, found, rtol=1e-10)


def test_only_what_is_above_the_diagonal_is_read():
    x, y = matrices(4, 4), matrices(4, 4, seed=1)
    marked = np.where(np.tri(4, dtype=bool), np.nan, x)
    np.testing.assert_array_equal(jackknife_difference(marked, y), jackknife_difference(x, y))
    np.testing.assert_array_equal(jackknife_mean(marked), jackknife_mean(x))


@pytest.mark.parametrize("rounding", [0, 9e-13])
def test_no_difference(rounding):
    x = matrices(7, 5, 5)
    found = jackknife_difference(x, x + rounding * np.sign(matrices(7, 5, 5, seed=1) - 0.5))
    for value, expected in zip(found, [0, 0, 0, 1], strict=True):
        assert (value == expected).all()


def test_a_difference_that_no_class_changes_is_certain():
    x = matrices(5, 5)
    np.testing.assert_allclose(jackknife_difference(x + 0.1, x), [0.1, 0.1, 0.1, 0], rtol=1e-10)
    assert jackknife_difference(x + 0.1, x).p_value == 0


def test_differences_that_cancel_in_every_class():
    balanced = np.zeros((4, 4))
    balanced[[0, 2, 0, 1], [1, 3, 2, 3]] = 0.1, 0.1, -0.1, -0.1
    np.testing.assert_array_equal(jackknife_difference(balanced + 0.7, np.full((4, 4), 0.7)), [0, 0, 0, 1])


def test_few_classes_have_a_mean_only():
    found = jackknife_mean([[0, 0.3], [np.nan, 0]])
    assert found.mean == 0.3
    assert np.isnan(found[1:]).all()
    assert np.isnan(jackknife_mean(np.zeros((4, 1, 1)))).all()


def test_a_missing_pair_costs_its_own_mean_only():
    x = matrices(2, 4, 4)
    x[0, 1, 2] = np.nan
    found = jackknife_mean(x)
    assert np.isnan([value[0] for value in found]).all()
    np.testing.assert_array_equal([value[1] for value in found], jackknife_mean(x[1]))


@pytest.mark.parametrize(
    "x, y, message",
    [
        (np.zeros((2, 2)), np.zeros((2, 2)), "3 classes"),
        (np.zeros((4, 4)), np.zeros((5, 5)), "shape"),
        (np.zeros((2, 4, 4)), np.zeros((4, 4)), "shape"),
        (np.zeros((3, 4)), np.zeros((3, 4)), "K, K"),
        (np.zeros(4), np.zeros(4), "K, K"),
        (np.full((3, 3), np.nan), np.zeros((3, 3)), "finite"),
        (np.zeros((3, 3)), np.full((3, 3), np.inf), "finite"),
    ],
)
def test_bad_input(x, y, message):
    with pytest.raises(ValueError, match=message):
        jackknife_difference(x, y)


@pytest.mark.parametrize("bad", [np.zeros((0, 0)), np.zeros((2, 3)), 1.0])
def test_what_has_no_mean(bad):
    with pytest.raises(ValueError, match="K, K"):
        jackknife_mean(bad)


def separations(num_classes, repeats, shift, samples, generator):
    """Of two layers or samples between which nothing differs, ``[repeats, K, K]`` each."""
    target = torch.arange(num_classes).repeat(20)

    def noise(*shape):
        return torch.randn(*shape, generator=generator)

    pairs = []
    for _ in range(repeats):
        centres = shift * noise(num_classes, 8)[target]
        shared = noise(len(target), 8) if samples != "independent" else 0
        pairs.append([henze_penrose_divergence(centres + shared + noise(len(target), 8), target) for _ in range(2)])
    return (torch.stack(side) for side in zip(*pairs, strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("num_classes", [3, 5, 10])
@pytest.mark.parametrize("shift", [0.0, 0.5])
@pytest.mark.parametrize("samples", ["independent", "the same at two layers"])
def test_false_alarms(num_classes, shift, samples):
    """Where nothing differs: the jackknife keeps its level, the permutation test of pairs does not."""
    generator = torch.Generator().manual_seed(0)
    x, y = separations(num_classes, 600, shift, samples, generator)
    above = torch.ones(num_classes, num_classes, dtype=torch.bool).triu(1)
    jackknife = float((jackknife_difference(x.numpy(), y.numpy()).p_value < 0.05).mean())
    fisher = permutation_test(x[:, above], y[:, above], num_permutations=999, generator=generator).p_value
    print(f"{num_classes} classes, shift {shift}, {samples}: {jackknife:.3f}, {(fisher < 0.05).double().mean():.3f}")
    assert jackknife <= 0.07
    if shift == 0 and num_classes == 10:
        assert (fisher < 0.05).double().mean() > 0.25


@pytest.mark.slow
@pytest.mark.parametrize("num_classes", [3, 5])
@pytest.mark.parametrize("samples", ["independent", "the same at two layers"])
def test_families_of_comparisons(num_classes, samples):
    """Among 50 layers and epochs where nothing differs, few have a q below 0.05: what has no spread is not tested."""
    names = [str(i) for i in range(num_classes)]
    x, y = separations(num_classes, 5000, 0.3, samples, torch.Generator().manual_seed(0))
    alarms, without = 0, 0
    for family in range(0, 5000, 50):
        sides = (
            Run([record(0, {f"fc{i}": side[family + i].numpy() for i in range(50)}, names)], name=name)
            for name, side in (("x", x), ("y", y))
        )
        rows = next(sides).compare(next(sides)).rows
        alarms += any(row.q_value < 0.05 for row in rows)
        without += sum(row.p_value != row.p_value for row in rows)
    print(f"{num_classes} classes, {samples}: {alarms} of 100 families, {without} of 5000 without spread")
    assert alarms <= 11  # of 5 to be expected: 1 of 100
    if num_classes == 3:
        assert without > 0
