"""The notebook's three comparisons by NumPy's histograms, and the loss that is their differentiable form."""

import math

import numpy as np
import pytest
import torch

from lightning_separation.functional import (
    bin_edges,
    conditional_entropy,
    modularity_loss,
    module_comparisons,
    mutual_information,
)

PAIRINGS = ["each", "truncate", "all"]


def layers(n=80, widths=(9, 7), seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    first = torch.randn(n, widths[0], generator=generator, dtype=dtype)
    mix = torch.randn(widths, generator=generator, dtype=dtype) / 2
    return first, (first @ mix).relu()


def by_numpy(p2, given, bins, pairing):
    """H(p2 | given) and H(p2) of the pairs, on bins from the smallest to the largest value of either slice."""
    a, b = p2.numpy(), given.numpy()
    if pairing == "truncate":
        width = min(a.shape[1], b.shape[1])
        pairs = a[:, :width].ravel(), b[:, :width].ravel()
    else:
        pairs = np.repeat(a, b.shape[1], 1).ravel(), np.tile(b, a.shape[1]).ravel()
    counts, *_ = np.histogram2d(*pairs, bins, [(a.min(), a.max()), (b.min(), b.max())])

    def entropy(counts):
        shares = counts[counts > 0] / counts.sum()
        return -(shares * np.log(shares)).sum()

    return entropy(counts) - entropy(counts.sum(0)), entropy(counts.sum(1))


@pytest.mark.parametrize("pairing", ["truncate", "all"])
@pytest.mark.parametrize("p1, p2", [([4, 0, 7], [1, 6, 2]), ([8], [0, 1, 2, 3, 4, 5, 6]), (list(range(8)), [3, 2, 1])])
@pytest.mark.parametrize("bins", [3, 10])
def test_numpy(pairing, p1, p2, bins):
    first, second = layers()
    others = [i for i in range(9) if i not in p1]
    later = second[:, p2]
    by_others, alone = by_numpy(later, first[:, others], bins, pairing)
    by_module, _ = by_numpy(later, first[:, p1], bins, pairing)
    by_all, _ = by_numpy(later, first, bins, pairing)
    found = module_comparisons(first, second, p1, p2, bins=bins, pairing=pairing)
    expected = by_others - alone, by_all - by_module, by_all - by_others
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-13)
    assert found.others_alone <= 1e-14
    assert all(v.ndim == 0 and v.dtype == torch.float64 for v in found)


def test_ways_to_name_a_module():
    first, second = layers()
    expected = module_comparisons(first, second, [0, 4, 7], [1, 2])
    mask = torch.zeros(9, dtype=torch.bool).index_fill_(0, torch.tensor([0, 4, 7]), True)
    for module in (torch.tensor([0, 4, 7]), (0, 4, 7), mask, mask.tolist(), torch.tensor([0, 4, 7], dtype=torch.uint8)):
        assert module_comparisons(first, second, module, [1, 2]) == expected
    assert module_comparisons(first, second, [7, 4, 0], [1, 2]) != expected  # unit by unit: order matters
    by_all = [module_comparisons(first, second, m, [1, 2], pairing="all") for m in ([0, 4, 7], [7, 4, 0])]
    torch.testing.assert_close(*by_all)


@pytest.mark.parametrize("function", [module_comparisons, modularity_loss])
def test_edges_of_any_type(function):
    first, second = layers()
    flat, own = [-1.0, 0.1, 0.7], [0.0, 0.2, 0.4]
    same = {"first": first, "second": second, "module_first": [0, 3], "module_second": np.array([1, 2])}
    expected = function(**same, edges=torch.tensor(flat, dtype=torch.float64))
    for edges in (flat, tuple(flat), np.array(flat)):
        torch.testing.assert_close(function(**same, edges=edges), expected, rtol=0, atol=0)
    expected = function(**same, edges=tuple(torch.tensor(e, dtype=torch.float64) for e in (flat, own)))
    torch.testing.assert_close(function(**same, edges=(flat, np.array(own))), expected, rtol=0, atol=0)


def test_edges_of_both_layers():
    first, second = layers()
    edges = torch.tensor([-1.0, 0.0, 1.0]), torch.tensor([0.0, 0.2, 0.4, 3.0])
    found = module_comparisons(first, second, [0, 1], [2, 3], edges=edges)
    swapped = module_comparisons(first, second, [0, 1], [2, 3], edges=edges[::-1])
    assert found != swapped
    hard = (torch.bucketize(x, e[1:-1].double(), right=True) for x, e in zip((first, second), edges, strict=True))
    half_way = torch.arange(3) - 0.5, torch.arange(4) - 0.5
    assert module_comparisons(*hard, [0, 1], [2, 3], edges=half_way) == found


def test_a_modular_network():
    """Of independent units, the later ones copy those of the module."""
    generator = torch.Generator().manual_seed(0)
    first = torch.randint(0, 2, (2000, 4), generator=generator)
    found = module_comparisons(first, first, [0, 1], [0, 1], bins=2)
    assert found.others_alone.item() == pytest.approx(0, abs=2e-3)
    assert found.all_over_module.item() == pytest.approx(0, abs=1e-12)  # the first two of all are the module
    assert found.all_over_others.item() == pytest.approx(-math.log(2), abs=2e-3)
    other = module_comparisons(first, first, [2, 3], [0, 1], bins=2)
    assert other.others_alone.item() == pytest.approx(-math.log(2), abs=2e-3)
    assert other.all_over_module.item() == pytest.approx(-math.log(2), abs=2e-3)
    for p1, sign in ([0, 1], -1), ([2, 3], 1):
        for pairing, least in (("each", 0.3), ("truncate", 0.6), ("all", 0.1)):
            loss = modularity_loss(first.float(), first.float(), p1, [0, 1], bins=2, pairing=pairing)
            assert sign * loss > least


@pytest.mark.parametrize(
    "p1, p2, message",
    [
        ([], [0], "module_first is empty"),
        ([0], torch.zeros(7, dtype=torch.bool), "module_second is empty"),
        (range(9), [0], "no others"),
        (torch.ones(9, dtype=torch.bool), [0], "no others"),
        ([0, 9], [0], "distinct indices from 0 to 8"),
        ([-1], [0], "distinct"),
        ([0], [3, 3], "module_second must hold distinct indices"),
        (torch.ones(8, dtype=torch.bool), [0], "one bool for each of the 9"),
        ([0.5], [0], "indices"),
        ([[0, 1]], [0], "indices"),
        ({0, 1}, [0], "module_first must hold numbers.*set"),
        ([0], {0, 1}, "module_second must hold numbers.*set"),
        ([0], None, "module_second must hold numbers"),
    ],
)
@pytest.mark.parametrize("function", [module_comparisons, modularity_loss])
def test_modules_that_are_refused(function, p1, p2, message):
    with pytest.raises(ValueError, match=message):
        function(*layers(), p1, p2)


def test_input_that_is_refused():
    first, second = layers()
    for function in (module_comparisons, modularity_loss):
        with pytest.raises(ValueError, match="first must be"):
            function(first[:, :, None], second, [0], [0])
        with pytest.raises(ValueError, match="pairing"):
            function(first, second, [0], [0], pairing="some")
        with pytest.raises(ValueError, match="same samples"):
            function(first[:5], second, [0], [0])
        with pytest.raises(ValueError, match=r"first must be a torch\.Tensor, not ndarray"):
            function(first.numpy(), second, [0], [0])
        with pytest.raises(ValueError, match=r"second must be a torch\.Tensor, not ndarray"):
            function(first, second.numpy(), [0], [0])
        with pytest.raises(ValueError, match="bins must be an integer"):
            function(first, second, [0], [0], bins=2.5)
        with pytest.raises(ValueError, match="increase"):
            function(first, second, [0], [0], edges=torch.tensor([0.0, 0.0, 1.0]))
    with pytest.raises(ValueError, match="floating"):
        modularity_loss(first.long(), second, [0], [0])
    with pytest.raises(ValueError, match="two bins"):
        modularity_loss(first, second, [0], [0], bins=1)
    with pytest.raises(ValueError, match="finite"):
        modularity_loss(first, second, [0], [0], edges=torch.tensor([-math.inf, 0.0, math.inf]))


@pytest.mark.parametrize("given", [False, True])
def test_loss_on_bin_centres_is_that_of_hard_bins(given):
    generator = torch.Generator().manual_seed(0)
    first = torch.randint(0, 4, (50, 6), generator=generator).double()
    second = (first[:, [0, 1, 2, 3]] + torch.randint(0, 2, (50, 4), generator=generator)) % 4
    p1, p2, others = [0, 2, 1], [2, 0], [3, 4, 5]
    edges = (torch.arange(5) - 0.5, torch.tensor([-0.5, 0.5, 1.5, 2.5, 3.5]))
    settings = {"edges": edges} if given else {"bins": 4}
    if not given:  # both outermost values lie beyond the outermost centres; move the inner two on theirs
        on_centres = torch.tensor([0.0, 1.125, 1.875, 3.0], dtype=torch.float64)
        first, second = on_centres[first.long()], on_centres[second.long()]
    information = mutual_information(first, second, **settings).value
    expected = information[others][:, p2].mean() - information[p1][:, p2].mean()
    found = modularity_loss(first, second, p1, p2, **settings)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-13)
    uncertain = conditional_entropy(second, first, edges=edges[::-1] if given else None, bins=4).T
    torch.testing.assert_close(found, uncertain[p1][:, p2].mean() - uncertain[others][:, p2].mean())
    for pairing in ("truncate", "all"):
        compared = module_comparisons(first, second, p1, p2, pairing=pairing, **settings)
        expected = compared.all_over_others - compared.all_over_module
        found = modularity_loss(first, second, p1, p2, pairing=pairing, **settings)
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-13)


def test_loss_by_soft_shares_in_plain_numpy():
    first, second = layers(n=30, widths=(4, 3))

    def shares(column, bins=5):
        width = (column.max() - column.min()) / bins
        centres = column.min() + (np.arange(bins) + 0.5) * width
        inside = np.clip(column, centres[0], centres[-1])
        return np.array([np.interp(inside, centres, row) for row in np.eye(bins)])  # [B, N]

    def information(a, b):
        joint = shares(a) @ shares(b).T / len(a)
        independent = joint.sum(1, keepdims=True) * joint.sum(0)
        some = joint > 0
        return (joint[some] * np.log(joint[some] / independent[some])).sum()

    def mean(units):
        return np.mean([information(first[:, i].numpy(), second[:, j].numpy()) for i in units for j in (0, 2)])

    found = modularity_loss(first, second, [1, 3], [0, 2], bins=5).item()
    assert found == pytest.approx(mean([0, 2]) - mean([1, 3]), rel=1e-10)


@pytest.mark.parametrize("pairing", PAIRINGS)
@pytest.mark.parametrize("edges", [None, "given"])
def test_gradients(pairing, edges):
    generator = torch.Generator().manual_seed(3)
    first, second = (torch.rand(9, u, generator=generator, dtype=torch.float64) for u in (5, 4))
    if edges:
        edges = (torch.tensor([0.0, 0.3, 0.55, 1.0]), None)

    def loss(first, second):
        return modularity_loss(first, second, [0, 3], [1, 2, 3], bins=4, edges=edges, pairing=pairing)

    assert torch.autograd.gradcheck(loss, (first.requires_grad_(), second.requires_grad_()))
    gradients = torch.autograd.grad(loss(first, second), (first, second))
    assert all(g.abs().max() > 1e-3 for g in gradients)


def test_edges_of_each_unit_in_the_loss():
    first, second = layers()
    own = bin_edges(first, 6), bin_edges(second, 6)
    expected = modularity_loss(first, second, [1, 5], [0, 3], bins=6)
    torch.testing.assert_close(modularity_loss(first, second, [1, 5], [0, 3], edges=own), expected)


@pytest.mark.parametrize("pairing", PAIRINGS)
@pytest.mark.parametrize("value", [0.0, 0.1, 1e8])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dead_units_have_finite_gradients(pairing, value, dtype):
    first, second = layers(dtype=dtype)
    first[:, :2], second[:, 3] = value, value
    first[:, 4] = first[:, 5] > 0  # many empty bins
    first[:, 6] = 1 + torch.arange(80) % 2 * torch.finfo(dtype).eps  # apart by rounding
    first.requires_grad_()
    second.requires_grad_()
    for p1, p2 in [([0, 4], [3, 5]), ([0, 1], [3]), ([4, 6], [1])]:
        loss = modularity_loss(first, second, p1, p2, pairing=pairing)
        assert loss.isfinite()
        assert all(g.isfinite().all() for g in torch.autograd.grad(loss, (first, second)))
    assert modularity_loss(first, second, [0, 4], [3], pairing="each").item() == pytest.approx(0, abs=1e-5)


def test_constant_layers_have_no_loss():
    for pairing in PAIRINGS:
        assert modularity_loss(torch.ones(8, 4), torch.ones(8, 2), [0, 1], [0], pairing=pairing).abs() < 1e-6
    assert modularity_loss(torch.rand(1, 4), torch.rand(1, 2), [0, 1], [0]).abs() < 1e-6  # one sample


@pytest.mark.parametrize("pairing", PAIRINGS)
def test_autocast_and_small_types(pairing):
    first, second = layers(dtype=torch.float32)
    expected = modularity_loss(first, second, [0, 1], [2, 3], pairing=pairing)
    assert expected.dtype == torch.float32
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(modularity_loss(first, second, [0, 1], [2, 3], pairing=pairing), expected)
    half = first.bfloat16().requires_grad_(), second.bfloat16()
    found = modularity_loss(*half, [0, 1], [2, 3], pairing=pairing)
    assert found.dtype == torch.float32
    assert torch.equal(found, modularity_loss(*(h.float() for h in half), [0, 1], [2, 3], pairing=pairing))
    assert torch.autograd.grad(found, half[0])[0].dtype == torch.bfloat16
    assert modularity_loss(first.double(), second, [0, 1], [2, 3], pairing=pairing).dtype == torch.float64


@pytest.mark.parametrize("pairing", PAIRINGS)
def test_gradient_descent_makes_modules_by_hard_bins_too(pairing):
    generator = torch.Generator().manual_seed(0)
    data = torch.randn(400, 8, generator=generator)
    modules = [0, 1, 2, 3], [4, 5, 6, 7]
    weight = (torch.randn(8, 8, generator=generator) / 8**0.5).requires_grad_()

    def advantage():
        """Information within modules over that across them."""
        found = mutual_information(data, (data @ weight).tanh(), generator=generator).excess
        same = torch.arange(8)[:, None] // 4 == torch.arange(8) // 4
        return (found[same].mean() - found[~same].mean()).item()

    before = advantage()
    for _ in range(60):
        later = (data @ weight).tanh()
        loss = sum(modularity_loss(data, later, m, m, pairing=pairing) for m in modules)
        (gradient,) = torch.autograd.grad(loss, weight)
        with torch.no_grad():
            weight -= 0.5 * gradient / gradient.norm()
    assert abs(before) < 0.05
    assert advantage() > before + 0.08
