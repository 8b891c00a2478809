"""Welch's t-test of groups of runs against SciPy."""

import numpy as np
import pytest
from scipy import stats

from lightning_separation.comparison import welch_difference


@pytest.mark.parametrize("sizes", [(2, 2), (3, 5), (10, 4)])
@pytest.mark.parametrize("spread", [0.01, 1.0, 30.0])
def test_scipy(sizes, spread):
    draw = np.random.default_rng(sizes[0])
    x, y = draw.normal(0.5, 1, sizes[0]), draw.normal(0, spread, sizes[1])
    found, expected = welch_difference(x, y), stats.ttest_ind(x, y, equal_var=False)
    interval = expected.confidence_interval(0.95)
    values = [x.mean() - y.mean(), interval.low, interval.high, expected.pvalue]
    np.testing.assert_allclose(found, values, rtol=1e-9)


def test_exchange():
    x, y = [0.1, 0.4, 0.3], [0.9, 0.2, 0.5, 0.6]
    found, other = welch_difference(x, y), welch_difference(y, x)
    np.testing.assert_allclose(found, [-other.effect, -other.high, -other.low, other.p_value], rtol=1e-12)


def test_one_constant_group():
    # Degrees of freedom and error are those of the other group alone.
    found, expected = welch_difference([0.1] * 3, [0.3, 0.5, 0.8]), stats.ttest_1samp([0.3, 0.5, 0.8], 0.1)
    assert found.p_value == pytest.approx(expected.pvalue)


@pytest.mark.parametrize("value", [0.1, 0.0, 12345.678, -1 / 3])
def test_constant_groups(value):
    # The mean of 3 times 0.1 is not 0.1
    assert [float(part) for part in welch_difference([value] * 3, [value] * 7)] == [0, 0, 0, 1]
    np.testing.assert_allclose(welch_difference([value + 1] * 3, [value] * 7), [1, 1, 1, 0], atol=1e-11)


@pytest.mark.parametrize("bad", [[], [1.0], [[1.0, 2.0]], 1.0, [1.0, float("nan")], [1.0, float("inf")]])
def test_bad_input(bad):
    with pytest.raises(ValueError, match="x"):
        welch_difference(bad, [1.0, 2.0])
    with pytest.raises(ValueError, match="y"):
        welch_difference([1.0, 2.0], bad)
