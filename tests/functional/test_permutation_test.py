"""Fisher's permutation test against SciPy, all arrangements by loops, and by hand."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy import stats

from lightning_separation.functional import permutation_test

nan = float("nan")


def sample(size, seed, shift=0.0):
    return torch.randn(size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + shift


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def scipy_test(x, y, paired, resamples, seed=None):
    return stats.permutation_test(
        (x.numpy(), y.numpy()),
        lambda a, b, axis: np.abs(a.mean(axis) - b.mean(axis)),
        permutation_type="samples" if paired else "independent",
        alternative="greater",
        vectorized=True,
        n_resamples=resamples,
        random_state=np.random.default_rng(seed),
    )


@pytest.mark.parametrize("sizes", [(4, 4), (2, 7), (5, 3)])
@pytest.mark.parametrize("shift", [0.0, 1.5])
def test_every_subset(sizes, shift):
    x, y = sample(sizes[0], 1, shift), sample(sizes[1], 2)
    found, expected = permutation_test(x, y), scipy_test(x, y, False, np.inf)
    assert found.p_value.item() == pytest.approx(expected.pvalue)
    assert found.statistic.item() == pytest.approx((x.mean() - y.mean()).item())
    null = np.sort(expected.null_distribution)
    margin = null[math.ceil(0.95 * len(null)) - 1]
    assert (found.high - found.statistic).item() == pytest.approx(margin)
    assert (found.statistic - found.low).item() == pytest.approx(margin)


@pytest.mark.parametrize("size", [1, 2, 5, 9])
@pytest.mark.parametrize("shift", [0.0, 1.0])
def test_every_sign(size, shift):
    x, y = sample(size, 3, shift), sample(size, 4)
    signs = np.array(list(itertools.product((1, -1), repeat=size)))
    null = np.abs((signs * (x - y).numpy()).mean(1))
    found = permutation_test(x, y, paired=True)
    assert found.p_value.item() == pytest.approx(np.mean(null >= null[0] - 1e-12))
    assert (found.high - found.statistic).item() == pytest.approx(np.sort(null)[math.ceil(0.95 * len(null)) - 1])
    if size > 1:
        assert found.p_value.item() == pytest.approx(scipy_test(x, y, True, np.inf).pvalue)


@pytest.mark.parametrize("paired", [False, True])
@pytest.mark.parametrize("shift", [0.0, 0.4])
def test_random_arrangements(paired, shift):
    x, y = sample(45, 5, shift), sample(45, 6)
    found = permutation_test(x, y, paired=paired, generator=seeded())
    expected = scipy_test(x, y, paired, 9999, 0)
    error = math.sqrt(expected.pvalue * (1 - expected.pvalue) * 2 / 10000)
    assert found.p_value.item() == pytest.approx(expected.pvalue, abs=4 * error)
    margin = np.quantile(expected.null_distribution, 0.95)
    assert (found.high - found.low).item() / 2 == pytest.approx(margin, rel=0.04)


@pytest.mark.parametrize("paired", [False, True])
def test_random_and_every_arrangement_agree(paired):
    x, y = sample(8, 7, 0.8), sample(8, 8)
    every = permutation_test(x, y, paired=paired, num_permutations=13000)
    number = 255 if paired else 12869  # one fewer than there are
    drawn = permutation_test(x, y, paired=paired, num_permutations=number, generator=seeded())
    assert drawn.p_value.item() == pytest.approx(every.p_value.item(), abs=0.05)
    assert (drawn.p_value * (number + 1)).item() == pytest.approx(round((drawn.p_value * (number + 1)).item()))


def test_by_hand():
    # 10 ways to choose 2 of 5; {9, 8} leaves {1, 2, 3}: 6.5 apart; {1, 2} leaves {3, 8, 9}: 5.17; no other as much.
    assert permutation_test(torch.tensor([9, 8]), torch.tensor([1, 2, 3])).p_value.item() == pytest.approx(1 / 10)
    # A single value that is the largest, or the second largest, of three.
    assert permutation_test(torch.tensor([5.0]), torch.tensor([1.0, 2.0])).p_value.item() == pytest.approx(1 / 3)
    assert permutation_test(torch.tensor([2.0]), torch.tensor([1.0, 5.0])).p_value == 1
    # Differences 1, 2, 3: of 8 signs +++ and --- reach 2.
    found = permutation_test(torch.tensor([1.0, 2, 3]), torch.zeros(3), paired=True)
    assert (found.statistic.item(), found.p_value.item()) == (2, 0.25)


def test_ties_count_despite_rounding():
    # 0.1 + 0.2 is not 0.3 in binary: every subset with the same sum is as far apart.
    x, y = torch.tensor([0.1, 0.2, 0.6], dtype=torch.float64), torch.tensor([0.3, 0.3, 0.3], dtype=torch.float64)
    assert (x.sum() != y.sum()).item() or (x.mean() - y.mean()).item() == 0
    assert permutation_test(x, y).p_value == 1
    thirds = torch.arange(12, dtype=torch.float64) / 3 + 1 / 7
    whole = torch.arange(12)
    for chosen in ([0, 3, 5, 11], [1, 8, 9, 10, 11]):
        others = [i for i in range(12) if i not in chosen]
        assert (
            permutation_test(thirds[chosen], thirds[others]).p_value
            == permutation_test(whole[chosen], whole[others]).p_value
        )


@pytest.mark.parametrize("paired", [False, True])
@pytest.mark.parametrize("size", [3, 60])
def test_identical_inputs(paired, size):
    x = sample(size, 9)
    found = permutation_test(x, x, paired=paired, num_permutations=500)
    assert (found.statistic.item(), found.p_value.item()) == (0, 1)


@pytest.mark.parametrize("size", [4, 60])
def test_the_same_values_in_another_order(size):
    x = sample(size, 10) * 1e6 + 0.1
    assert permutation_test(x, x.flip(0), num_permutations=500).p_value == 1


def test_constant_values():
    found = permutation_test(torch.full((3,), 0.1), torch.full((40,), 0.1))
    assert found.p_value == 1
    np.testing.assert_allclose([found.statistic, found.low, found.high], 0, atol=1e-16)


def test_a_large_offset_hides_nothing():
    x, y = torch.tensor([0.0, 1, 2]), torch.tensor([4.0, 5, 7])
    assert permutation_test(x, y).p_value == permutation_test(x.double() * 1e-6 + 1e6, y.double() * 1e-6 + 1e6).p_value


@pytest.mark.parametrize("paired", [False, True])
def test_exchange_of_x_and_y(paired):
    x, y = sample(6, 11), sample(6, 12, 0.5)
    found, other = permutation_test(x, y, paired=paired), permutation_test(y, x, paired=paired)
    expected = [-other.statistic, other.p_value, -other.high, -other.low]
    np.testing.assert_allclose(torch.stack(found), torch.stack(expected), rtol=1e-12)


def test_pairs_make_a_difference():
    x = sample(40, 13) * 10
    y = x + 0.2 + sample(40, 14) * 0.1
    assert permutation_test(x, y, paired=True, generator=seeded()).p_value < 0.001
    assert permutation_test(x, y, generator=seeded()).p_value > 0.5


def test_uniform_where_nothing_differs():
    generator = seeded(1)
    p = [
        permutation_test(
            *torch.randn(2, 12, generator=generator), paired=bool(i % 2), num_permutations=199, generator=generator
        ).p_value.item()
        for i in range(400)
    ]
    for part in (p[::2], p[1::2]):
        assert stats.kstest(part, "uniform").pvalue > 0.01


def test_chunks_are_all_there():
    # More values than fit into one chunk: 400 * 9999 > 2^20.
    found = permutation_test(sample(200, 15, 5.0), sample(200, 16), num_permutations=9999)
    assert found.p_value.item() == pytest.approx(1 / 10000)


@pytest.mark.parametrize("paired", [False, True])
@pytest.mark.parametrize("sizes", [(3, 3), (30, 30)])
def test_leading_axes_are_tests_of_their_own_by_the_same_arrangements(paired, sizes):
    x, y = torch.randn(2, 2, 4, sizes[0], generator=seeded(), dtype=torch.float64)
    x[0, 0], x[0, 1] = y[0, 0], y[0, 1] + 1e9
    found = permutation_test(x, y, paired=paired, num_permutations=999, generator=seeded(3))
    for place in np.ndindex(2, 4):
        one = permutation_test(x[place], y[place], paired=paired, num_permutations=999, generator=seeded(3))
        np.testing.assert_allclose([value[place] for value in found], torch.stack(one), rtol=1e-12)
    assert found.p_value[0, 0] == 1
    assert len(set(found.p_value[1].tolist())) > 2


def test_more_tests_than_are_held_at_a_time():
    x, y = torch.randn(2, 700, 8, generator=seeded(), dtype=torch.float64)
    found = permutation_test(x, y, num_permutations=9999, generator=seeded())  # 104 at a time
    for i in (0, 103, 104, 699):
        one = permutation_test(x[i], y[i], num_permutations=9999, generator=seeded())
        np.testing.assert_allclose([value[i] for value in found], torch.stack(one), rtol=1e-12)
    assert [value.shape for value in permutation_test(x[:0], y[:0])] == [(0,)] * 4


def test_thousands_of_tests_take_seconds_and_little_room():
    import resource
    from time import process_time

    x, y = torch.rand(2, 2000, 45, generator=seeded())
    start, before = process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    permutation_test(x, y, generator=seeded())
    assert process_time() - start < 6  # one by one: 60
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # KiB; all at once: 600_000


def test_generator():
    x, y = sample(30, 17), sample(30, 18)
    state = torch.get_rng_state()
    first, again, other = (permutation_test(x, y, num_permutations=99, generator=seeded(s)) for s in (0, 0, 1))
    assert torch.equal(torch.stack(first), torch.stack(again))
    assert (first.low != other.low).item()
    assert torch.equal(torch.get_rng_state(), state)
    assert permutation_test(x, y).p_value.item() != permutation_test(x, y).p_value.item()


def test_types():
    found = permutation_test(torch.tensor([1, 2], dtype=torch.bfloat16), torch.tensor([True, False]))
    assert [(value.dtype, value.shape) for value in found] == [(torch.float64, ())] * 4
    assert not permutation_test(sample(3, 0).requires_grad_(), sample(3, 1)).statistic.requires_grad


good = torch.tensor([1.0, 2.0])


@pytest.mark.parametrize(
    "bad", [torch.ones(0), torch.tensor([1.0, nan]), torch.tensor([1.0, math.inf]), torch.ones(2, 2), torch.tensor(1.0),
            torch.ones(2, dtype=torch.complex64), torch.ones(2).to_sparse(), [1.0, 2.0], None]
)  # fmt: skip
@pytest.mark.parametrize("paired", [False, True])
def test_bad_samples(bad, paired):
    for arguments in [(bad, good), (good, bad)]:
        with pytest.raises(ValueError, match=r"^(x|y) "):
            permutation_test(*arguments, paired=paired)


def test_bad_settings():
    with pytest.raises(ValueError, match="length"):
        permutation_test(good, torch.ones(3), paired=True)
    for others in (torch.ones(3, 2), torch.ones(2)):
        with pytest.raises(ValueError, match="leading axes"):
            permutation_test(torch.ones(2, 2), others)
    for number in (0, -1, 2.5, True):
        with pytest.raises(ValueError, match="num_permutations"):
            permutation_test(good, good, num_permutations=number)
    with pytest.raises(ValueError, match="generator"):
        permutation_test(good, good, generator=3)
