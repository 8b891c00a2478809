"""Entropy and information against NumPy's histograms, scikit-learn and answers worked out by hand."""

import math
import subprocess
import sys

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.metrics import mutual_info_score

from lightning_separation.functional import _bins as bins_module
from lightning_separation.functional import (
    bin_edges,
    conditional_entropy,
    entropy,
    joint_entropy,
    mutual_information,
)
from lightning_separation.functional._bins import binned

from .activations import layer

functions = [joint_entropy, conditional_entropy, lambda x, y, **settings: mutual_information(x, y, **settings).value]
LOG2 = math.log(2)


def sample(n=60, units=12, **settings):
    return layer((n,), units=units, **settings)[0]


def codes_of(column, edges):
    """Bins of one column by np.digitize, values outside in the outermost."""
    return np.clip(np.digitize(column, edges) - 1, 0, len(edges) - 2)


def numpy_entropy(counts, correction=None):
    shares = counts[counts > 0] / counts.sum()
    return -(shares * np.log(shares)).sum() + (len(shares) - 1) / (2 * counts.sum()) * (correction is not None)


def numpy_joint(x, y, bins, correction=None):
    x, y = x.double().numpy(), y.double().numpy()
    pairs = [[np.histogram2d(a, b, bins)[0] for b in y.T] for a in x.T]
    return np.array([[numpy_entropy(counts, correction) for counts in row] for row in pairs])


@pytest.mark.parametrize("offset, scale", [(0, 1), (1e4, 1), (1e8, 1), (0, 1e-30), (0, 1e30)])
@pytest.mark.parametrize("bins", [1, 2, 7, 10, 33])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_bins_are_numpys(offset, scale, bins, dtype):
    x = sample(offset=offset, scale=scale, dtype=dtype)
    found, edges = binned(x, bins, None), bin_edges(x, bins)
    for i, column in enumerate(x.double().numpy().T):
        assert np.array_equal(edges[i], np.histogram_bin_edges(column, bins))
        assert np.array_equal(found.counts()[i], np.histogram(column, bins)[0])
        assert np.array_equal(found.codes[i], codes_of(column, edges[i].numpy()))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_values_on_the_very_edges(dtype):
    """Products of 0.1 lie now left, now right of the edges: only equal arithmetic puts them as NumPy does."""
    x = torch.stack([torch.arange(11, dtype=dtype) * 0.1, torch.linspace(-0.3, 0.9, 11, dtype=dtype)], 1)
    for bins in range(1, 40):
        for i, column in enumerate(x.double().numpy().T):
            assert np.array_equal(binned(x, bins, None).counts()[i], np.histogram(column, bins)[0])


@pytest.mark.parametrize("bins", [1, 3, 10])
@pytest.mark.parametrize("correction", [None, "miller-madow"])
def test_entropies_of_numpy(bins, correction):
    x, y = sample(units=8), sample(units=5, seed=1)
    settings = {"bins": bins, "correction": correction}
    of_x, of_y = (
        np.array([numpy_entropy(np.histogram(c, bins)[0], correction) for c in s.double().numpy().T]) for s in (x, y)
    )
    joint = numpy_joint(x, y, bins, correction)
    np.testing.assert_allclose(entropy(x, **settings), of_x, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(joint_entropy(x, y, **settings), joint, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(conditional_entropy(x, y, **settings), joint - of_y, rtol=1e-10, atol=1e-12)
    information = mutual_information(x, y, **settings)
    np.testing.assert_allclose(information.value, of_x[:, None] + of_y - joint, rtol=1e-10, atol=1e-12)
    assert all(t.dtype == torch.float64 and t.shape == (8, 5) for t in information)


def test_information_of_scikit_learn():
    x, y = sample(200, units=9), sample(200, units=7, seed=3)
    y[:, :5] += x[:, :5]
    codes_x, codes_y = binned(x, 10, None).codes.numpy(), binned(y, 6, None).codes.numpy()
    expected = [[mutual_info_score(a, b) for b in codes_y] for a in codes_x]
    found = mutual_information(x, y, edges=(None, bin_edges(y, 6)))
    np.testing.assert_allclose(found.value, expected, rtol=1e-9, atol=1e-12)
    reverse = mutual_information(y, x, edges=[bin_edges(y, 6), None])
    np.testing.assert_allclose(reverse.value.T, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("block", [1, 1000, 1 << 14])
def test_blocks_change_nothing(block, monkeypatch):
    x, y = sample(100, units=130), sample(100, units=121, seed=5)
    expected = joint_entropy(x, y), entropy(x)
    monkeypatch.setattr(bins_module, "_BLOCK", block)
    monkeypatch.setattr(bins_module, "_LARGE", block)
    torch.testing.assert_close(joint_entropy(x, y), expected[0], rtol=1e-14, atol=0)
    assert torch.equal(entropy(x), expected[1])


def test_more_columns_than_a_block():
    x, y = sample(50, units=230), sample(50, units=210, seed=5)
    found = joint_entropy(x, y)
    for i, j in [(0, 0), (101, 102), (102, 101), (229, 209), (17, 208)]:
        assert found[i, j].item() == pytest.approx(numpy_joint(x[:, [i]], y[:, [j]], 10).item(), rel=1e-12)


def test_exclusive_or():
    x, y = torch.tensor([0, 0, 1, 1]), torch.tensor([0, 1, 0, 1])
    z = x ^ y
    for alone in (x, y):
        assert mutual_information(alone, z, bins=2).value.item() == pytest.approx(0, abs=1e-15)
    both = mutual_information(2 * x + y, z, edges=(torch.arange(5) - 0.5, torch.arange(3) - 0.5))
    assert both.value.item() == pytest.approx(LOG2)
    assert conditional_entropy(z, 2 * x + y, bins=4).item() == pytest.approx(0, abs=1e-15)
    assert joint_entropy(x, y, bins=2).item() == pytest.approx(2 * LOG2)


def test_identities():
    x, y = sample(80, units=8), sample(80, units=6, seed=2)
    h_x, h_y, joint = entropy(x), entropy(y), joint_entropy(x, y)
    close = {"rtol": 1e-12, "atol": 1e-13}
    torch.testing.assert_close(joint_entropy(x, x).diagonal(), h_x, **close)
    torch.testing.assert_close(mutual_information(x, x).value.diagonal(), h_x, **close)
    torch.testing.assert_close(joint_entropy(y, x).T, joint, **close)
    torch.testing.assert_close(mutual_information(y, x).value.T, mutual_information(x, y).value, **close)
    torch.testing.assert_close(conditional_entropy(x, y) + h_y, joint, **close)  # chain rule, both ways
    torch.testing.assert_close(conditional_entropy(y, x).T + h_x[:, None], joint, **close)
    torch.testing.assert_close(mutual_information(x, y).value, h_x[:, None] - conditional_entropy(x, y), **close)
    assert (joint <= h_x[:, None] + h_y + 1e-12).all()
    assert (joint >= torch.maximum(h_x[:, None], h_y) - 1e-12).all()
    assert (h_x <= math.log(10)).all()
    assert (conditional_entropy(x, x).diagonal() < 1e-14).all()
    assert (conditional_entropy(x, x) >= 0).all()


def test_neither_order_nor_scale_nor_labels_matter():
    x, y = sample(80, units=8, dtype=torch.float64), sample(80, units=6, seed=2, dtype=torch.float64)
    expected = mutual_information(x, y).value
    order = torch.randperm(80, generator=torch.Generator().manual_seed(1))
    close = {"rtol": 1e-12, "atol": 1e-13}
    torch.testing.assert_close(mutual_information(x[order], y[order]).value, expected, **close)
    torch.testing.assert_close(mutual_information(x.flip(1), y).value, expected.flip(0), **close)
    assert torch.equal(mutual_information(x * 1024, y / 64).value, expected)
    category = torch.randint(0, 5, (80,), generator=torch.Generator().manual_seed(2))
    relabelled = torch.tensor([3, 0, 4, 1, 2])[category]
    half_way = torch.arange(6) - 0.5
    first, second = (mutual_information(c, y, edges=(half_way, None)).value for c in (category, relabelled))
    torch.testing.assert_close(first, second, **close)
    assert mutual_information(category, relabelled, edges=half_way).value.item() == pytest.approx(
        entropy(category, edges=half_way).item()
    )


def test_far_offset():
    x = torch.arange(64.0, dtype=torch.float64)[:, None] / 8
    y = (x * 5) % 8
    expected = mutual_information(x, y, bins=8).value
    assert torch.equal(mutual_information(x + 1e8, y - 1e8, bins=8).value, expected)
    assert torch.equal(entropy(x.float() + 2**20, bins=8), entropy(x, bins=8))
    tiny = 2.0**-1000
    assert torch.equal(mutual_information(x * tiny, y / tiny, bins=8).value, expected)


def test_bias_under_independence_and_the_baseline_that_shows_it():
    n, bins = 500, 8
    generator = torch.Generator().manual_seed(0)
    x, y = (torch.randint(0, bins, (n, 60), generator=generator) for _ in range(2))
    found = mutual_information(x, y, edges=torch.arange(bins + 1) - 0.5, generator=generator, shuffles=3)
    bias = (bins - 1) ** 2 / (2 * n)
    assert found.value.mean().item() == pytest.approx(bias, rel=0.05)
    assert found.baseline.mean().item() == pytest.approx(bias, rel=0.05)
    assert abs(found.excess.mean().item()) < 0.005 * bias
    assert torch.equal(found.excess, found.value - found.baseline)
    corrected = mutual_information(
        x, y, edges=torch.arange(bins + 1) - 0.5, correction="miller-madow", generator=generator
    )
    assert abs(corrected.value.mean().item()) < 0.05 * bias
    assert corrected.value.min() < 0  # not clamped


def test_miller_madow_by_hand():
    x = torch.tensor([0, 0, 1, 2])  # three bins with samples, one empty
    plug_in = entropy(x, edges=torch.arange(5) - 0.5)
    corrected = entropy(x, edges=torch.arange(5) - 0.5, correction="miller-madow")
    assert (corrected - plug_in).item() == pytest.approx(2 / 8)


def test_more_shuffles_are_a_mean():
    x, y = sample(40, units=3), sample(40, units=4, seed=1)
    one_by_one = torch.Generator().manual_seed(7)
    each = [mutual_information(x, y, generator=one_by_one).baseline for _ in range(5)]
    together = mutual_information(x, y, generator=torch.Generator().manual_seed(7), shuffles=5).baseline
    torch.testing.assert_close(together, torch.stack(each).mean(0))
    assert not torch.equal(each[0], each[1])


def test_generators():
    x, y = sample(40, units=3), sample(40, units=4, seed=1)
    state = torch.get_rng_state()
    private = mutual_information(x, y, generator=torch.Generator().manual_seed(7))
    assert torch.equal(torch.get_rng_state(), state)  # the global one was left alone
    torch.manual_seed(7)
    common = mutual_information(x, y)
    torch.set_rng_state(state)
    assert torch.equal(private.baseline, common.baseline)


@pytest.mark.parametrize("value", [0.0, 0.1, 3.0, 1e8 + 0.1, 1e300, -1e17])
@pytest.mark.parametrize("correction", [None, "miller-madow"])
def test_constant_units(value, correction):
    x = sample(50, units=4, dtype=torch.float64)
    x[:, 1] = value
    y = sample(50, units=3, seed=4, dtype=torch.float64)
    assert entropy(x, correction=correction)[1].item() == 0
    for shared in mutual_information(x, y, correction=correction):
        assert (shared[1] == 0).all()
    assert (mutual_information(y, x, correction=correction).value[:, 1] == 0).all()
    torch.testing.assert_close(joint_entropy(x, y, correction=correction)[1], entropy(y, correction=correction))
    assert mutual_information(x, x, correction=correction).value[1, 1].item() == 0


def test_edges_of_a_constant_column():
    assert np.array_equal(bin_edges(torch.full((3,), 7.0))[0], np.histogram_bin_edges([7.0] * 3, 10))


def test_plug_in_information_is_never_negative():
    generator = torch.Generator().manual_seed(0)
    x, y = torch.rand(64, 100, generator=generator), torch.arange(64)[:, None] % torch.tensor([2, 4, 8])
    independent = torch.cartesian_prod(torch.arange(8), torch.arange(8))
    assert (mutual_information(x, y, bins=3).value >= 0).all()
    found = mutual_information(independent[:, :1], independent[:, 1:], bins=8).value.item()
    assert 0 <= found < 1e-14


@pytest.mark.parametrize("function", functions)
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_bad_units_harm_no_other(function, bad):
    x, y = sample(50, units=6), sample(50, units=5, seed=1)
    expected = function(x, y)
    x[3, 2], y[7, 4] = bad, bad
    found = function(x, y)
    nan = torch.zeros(6, 5, dtype=torch.bool)
    nan[2], nan[:, 4] = True, True
    assert torch.equal(found.isnan(), nan)
    assert torch.equal(found[~nan], expected[~nan])
    assert entropy(x).isnan().tolist() == [i == 2 for i in range(6)]
    given = torch.tensor([-1.0, 0.0, 1.0])
    assert torch.equal(function(x, y, edges=given).isnan(), nan)
    assert mutual_information(x, y).baseline.isnan().equal(nan)


def test_a_range_beyond_float64_is_nan():
    x = torch.tensor([[-1e308, 0.0], [1e308, 1.0]], dtype=torch.float64)
    assert entropy(x).isnan().tolist() == [True, False]


@pytest.mark.parametrize("edges", [[-0.5, 0.1, 0.2, 2.0], [0.0, 1.0], [-9.0, -8.0, -7.0], [-math.inf, 0.3, math.inf]])
def test_given_edges_lose_nothing(edges):
    x, y = sample(70, units=4, dtype=torch.float64), sample(70, units=3, seed=1, dtype=torch.float64)
    x[0, 0], x[1, 0], x[2, 0], x[3, 0] = 0.1, 2.0, 0.2, -0.5  # on the edges
    edges = torch.tensor(edges)
    exact = edges.double().numpy()
    codes_x, codes_y = ([codes_of(c, exact) for c in side.numpy().T] for side in (x, y))
    counted = [numpy_entropy(np.bincount(c)) for c in codes_x]
    np.testing.assert_allclose(entropy(x, edges=edges), counted, rtol=1e-12, atol=1e-15)
    expected = [[mutual_info_score(a, b) for b in codes_y] for a in codes_x]
    np.testing.assert_allclose(mutual_information(x, y, edges=edges).value, expected, atol=1e-12)
    of_each = edges.expand(4, -1), edges.expand(3, -1)
    assert torch.equal(mutual_information(x, y, edges=of_each).value, mutual_information(x, y, edges=edges).value)


def test_edges_of_each_unit():
    x = sample(60, units=3)
    edges = bin_edges(x, 5) + torch.tensor([[0.0], [0.3], [-0.2]])
    found = entropy(x, edges=edges)
    alone = torch.cat([entropy(x[:, i], edges=edges[i]) for i in range(3)])
    assert torch.equal(found, alone)
    assert torch.equal(entropy(x, edges=bin_edges(x)), entropy(x))
    grown = entropy(10 * x, edges=bin_edges(x))  # all samples still count
    assert (grown > 0).all()


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64, torch.bool])
def test_integers_are_numbers(dtype):
    x = (torch.arange(30) % 7 % 3).to(dtype)
    assert torch.equal(entropy(x), entropy(x.double()))
    assert torch.equal(mutual_information(x, x).value, mutual_information(x.double(), x.double()).value)


def test_entropy_of_scipy():
    category = torch.randint(0, 6, (100,), generator=torch.Generator().manual_seed(0))
    found = entropy(category, edges=torch.arange(7) - 0.5).item()
    assert found == pytest.approx(stats.entropy(np.bincount(category)))


def test_few_samples():
    one = torch.tensor([[3.0, -1.0]])
    assert entropy(one).tolist() == [0, 0]
    for function in functions:
        assert torch.equal(function(one, one), torch.zeros(2, 2).double())
    three = torch.tensor([0.0, 0.5, 1.0])
    assert entropy(three, bins=1000).item() == pytest.approx(math.log(3))
    twice = torch.cat([three, three])
    assert entropy(twice).item() == pytest.approx(entropy(three).item())


def test_many_samples_and_few_units():
    x = torch.randn(200_000, 2, generator=torch.Generator().manual_seed(0))
    assert joint_entropy(x, x)[0, 1].item() == pytest.approx(numpy_joint(x[:, :1], x[:, 1:], 10).item(), rel=1e-12)


def test_gradients_and_autocast_play_no_part():
    x, y = sample(50, units=6), sample(50, units=5, seed=1)
    expected = mutual_information(x, y).value
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = mutual_information(x.requires_grad_(), y).value
    assert torch.equal(found, expected)
    assert not found.requires_grad
    assert not entropy(x).requires_grad


@pytest.mark.parametrize("function", functions)
def test_input_that_is_refused(function):
    x = torch.rand(8, 3)
    with pytest.raises(ValueError, match="unit_activations"):
        function(torch.rand(8, 3, 2), x)
    with pytest.raises(ValueError, match="same samples"):
        function(x, x[:5])
    with pytest.raises(ValueError, match="not empty"):
        function(x[:0], x[:0])
    with pytest.raises(ValueError, match="y must be a dense real"):
        function(x, x.to(torch.complex64))
    with pytest.raises(ValueError, match="dense"):
        function(x.to_sparse(), x)
    with pytest.raises(ValueError, match=r"x must be a torch\.Tensor, not ndarray"):
        function(x.numpy(), x)
    with pytest.raises(ValueError, match=r"y must be a torch\.Tensor, not list"):
        function(x, x.tolist())
    for bins in (0, -1, True, 2.0, "10", None):
        with pytest.raises(ValueError, match="bins must be an integer of at least 1, not"):
            function(x, x, bins=bins)
    with pytest.raises(ValueError, match="correction"):
        function(x, x, correction="jackknife")


@pytest.mark.parametrize(
    "edges, message",
    [
        (torch.tensor([0.0, 0.0, 1.0]), "increase"),
        (torch.tensor([1.0, 0.0]), "increase"),
        (torch.tensor([0.0, math.nan, 1.0]), "increase"),
        (torch.tensor([0.0]), "at least one bin"),
        (torch.tensor(0.0), "at least one bin"),
        (torch.arange(8.0).reshape(2, 4), "edges of x"),
        ((None, torch.arange(8.0).reshape(2, 4)), "edges of y"),
        ((None, None, None), "pair"),
        ((None, [1.0, 0.0]), "edges of y must increase"),
        ([0.0, None, 1.0], "pair"),
        ([0.0, None], "edges of x"),
        ({0.0, 1.0}, "numbers.*set"),
        ("edges", "numbers.*str"),
        ((None, ["a", "b"]), "edges of y must hold numbers"),
        ([[0.0, 1.0], [0.0, 1.0, [2.0]]], "edges of y must hold numbers"),
        (np.array([0.0, 1.0j]), "real"),
        (torch.tensor([0.0, 1.0]).to_sparse(), "dense"),
    ],
)
def test_edges_that_are_refused(edges, message):
    x = torch.rand(8, 3)
    with pytest.raises(ValueError, match=message):
        mutual_information(x, x, edges=edges)


@pytest.mark.parametrize("setting, value", [("shuffles", 0), ("shuffles", 1.5), ("generator", 0), ("generator", "0")])
def test_settings_of_the_baseline_that_are_refused(setting, value):
    with pytest.raises(ValueError, match=f"{setting} must be .*, not {value!r}"):
        mutual_information(torch.rand(8, 3), torch.rand(8, 3), **{setting: value})


@pytest.mark.parametrize("given", [list, tuple, np.array, lambda e: e[::-1].copy()[::-1], torch.tensor])
def test_edges_of_any_type(given):
    x, y = sample(70, units=4), sample(70, units=3, seed=1)
    flat, own = np.array([-0.5, 0.1, 0.7]), np.array([-1.0, 0.3])
    both, pair = torch.from_numpy(flat), (torch.from_numpy(flat), torch.from_numpy(own))
    edges = given(flat)
    assert torch.equal(entropy(x, edges=edges), entropy(x, edges=both))
    assert torch.equal(joint_entropy(x, y, edges=edges), joint_entropy(x, y, edges=both))
    assert torch.equal(joint_entropy(x, y, edges=(edges, given(own))), joint_entropy(x, y, edges=pair))
    assert torch.equal(joint_entropy(x, y, edges=[None, edges]), joint_entropy(x, y, edges=(None, both)))


def test_two_numbers_are_one_bin_of_both_sides():
    x = sample(70, units=4)
    assert joint_entropy(x, x, edges=[0.0, 1.0]).abs().max() == 0


@pytest.mark.parametrize("bins", [(2, 3), (10, 10), (40, 300), (3, 4000)])
@pytest.mark.parametrize("correction", [None, "miller-madow"])
@pytest.mark.parametrize("block", [1, 1 << 18])
def test_counting_and_products_and_numpy_agree(bins, correction, block, monkeypatch):
    """However many bins: where most pairs of bins are empty, too."""
    monkeypatch.setattr(bins_module, "_BLOCK", block)
    x, y = sample(90, units=5), sample(90, units=7, seed=1)
    sides = binned(x, bins[0], None), binned(y, bins[1], None)
    expected = numpy_joint(x, y, bins, correction)
    for found in (bins_module._by_counting(*sides, correction), bins_module._by_products(*sides, correction)):
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-14)


def test_more_pairs_of_bins_than_int32_can_number():
    x = torch.arange(6.0)[:, None] % torch.tensor([6, 3, 2])
    found = joint_entropy(x, x, bins=60_000)
    torch.testing.assert_close(found, joint_entropy(x, x, bins=6), rtol=1e-12, atol=1e-14)


def test_memory_of_many_columns_and_of_many_bins():
    """Fresh processes: their peaks beside the input, in MB."""
    setup = "import resource, torch\nfrom lightning_separation.functional import entropy, joint_entropy\n"
    peak = "resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024"
    for x, call, most in [
        ("torch.rand(100, 200_000)", "entropy(x)", 250),
        ("torch.rand(2000, 100)", "joint_entropy(x, x[:, :3], bins=3000)", 150),
    ]:
        run = f"x = {x}; joint_entropy(x[:9, :9], x[:9, :9])\nbefore = {peak}; {call}; print({peak} - before)"
        found = subprocess.run([sys.executable, "-c", setup + run], capture_output=True, text=True, check=True)
        assert int(found.stdout) < most
