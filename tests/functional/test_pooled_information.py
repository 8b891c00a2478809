"""Information between slices binned all together, against NumPy's histograms of every pair of activations."""

import itertools
import math

import numpy as np
import pytest
import torch

from lightning_separation.functional import entropy, mutual_information, pooled_information


def slices(n=40, widths=(6, 6), seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, widths[0], generator=generator).relu()
    y = torch.randn(n, widths[1], generator=generator)
    width = min(widths)
    y[:, :width] += 2 * x[:, :width]
    return x, y


def pairs_of(x, y, pairing):
    """Values of all pairs, by plain loops."""
    x, y = x.double().numpy(), y.double().numpy()
    if pairing == "truncate":
        columns = [(i, i) for i in range(min(x.shape[1], y.shape[1]))]
    else:
        columns = list(itertools.product(range(x.shape[1]), range(y.shape[1])))
    return np.concatenate([x[:, i] for i, _ in columns]), np.concatenate([y[:, j] for _, j in columns])


def numpy_entropy(counts):
    shares = counts[counts > 0] / counts.sum()
    return -(shares * np.log(shares)).sum()


@pytest.mark.parametrize("pairing", ["truncate", "all"])
@pytest.mark.parametrize("widths", [(6, 6), (3, 8), (8, 3), (1, 1)], ids=str)
@pytest.mark.parametrize("bins", [1, 2, 10])
def test_histograms_of_numpy(pairing, widths, bins):
    x, y = slices(widths=widths)
    limits = [(side.min().item(), side.max().item()) for side in (x, y)]  # of the whole slices
    counts, *_ = np.histogram2d(*pairs_of(x, y, pairing), bins, limits)
    h_x, h_y, joint = (numpy_entropy(c) for c in (counts.sum(1), counts.sum(0), counts))
    found = pooled_information(x, y, bins=bins, pairing=pairing)
    expected = (h_x, h_y, joint, joint - h_y, h_x + h_y - joint)
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-14)
    assert all(v.ndim == 0 and v.dtype == torch.float64 for v in found)


@pytest.mark.parametrize("pairing", ["truncate", "all"])
@pytest.mark.parametrize("correction", [None, "miller-madow"])
def test_identities(pairing, correction):
    x, y = slices(widths=(5, 7))
    found = pooled_information(x, y, pairing=pairing, correction=correction)
    assert found.information == found.entropy_x + found.entropy_y - found.joint_entropy
    assert found.conditional_entropy == found.joint_entropy - found.entropy_y
    reverse = pooled_information(y, x, pairing=pairing, correction=correction)
    assert reverse.information.item() == pytest.approx(found.information.item(), rel=1e-12)


def test_entropies_of_all_activations_where_widths_are_equal():
    x, y = slices()
    for pairing in ("truncate", "all"):
        found = pooled_information(x, y, pairing=pairing)
        assert found.entropy_x.item() == pytest.approx(entropy(x.flatten()).item(), rel=1e-12)
        assert found.entropy_y.item() == pytest.approx(entropy(y.flatten()).item(), rel=1e-12)
    narrow = pooled_information(x[:, :2], y)
    assert narrow.entropy_x.item() == pytest.approx(entropy(x[:, :2].flatten()).item(), rel=1e-12)


def test_single_units_are_those_of_mutual_information():
    x, y = slices(widths=(1, 1))
    expected = mutual_information(x, y).value.item()
    for pairing in ("truncate", "all"):
        assert pooled_information(x, y, pairing=pairing).information.item() == pytest.approx(expected, rel=1e-12)


def test_what_the_pairings_see():
    """Every unit copies the one of its own index only."""
    x = torch.cartesian_prod(*[torch.arange(2)] * 3)
    by_unit, by_all = (pooled_information(x, x, bins=2, pairing=p).information.item() for p in ("truncate", "all"))
    assert by_unit == pytest.approx(math.log(2))
    shares = np.array([[2, 1], [1, 2]]) / 6  # a third of the pairs are copies
    assert by_all == pytest.approx(math.log(2) * 2 - numpy_entropy(shares))
    assert pooled_information(x, x.flip(1), bins=2).information.item() < by_unit / 2


def test_the_order_of_units_matters_only_where_they_are_paired():
    x, y = slices()
    for pairing, same in [("truncate", False), ("all", True)]:
        found = [pooled_information(x, other, pairing=pairing).information.item() for other in (y, y.flip(1))]
        assert math.isclose(*found, rel_tol=1e-12) == same


@pytest.mark.parametrize("pairing", ["truncate", "all"])
def test_miller_madow(pairing):
    x, y = slices(n=9, widths=(2, 3))
    counts, *_ = np.histogram2d(*pairs_of(x, y, pairing), 4, [(s.min().item(), s.max().item()) for s in (x, y)])
    plain, corrected = (pooled_information(x, y, bins=4, pairing=pairing, correction=c) for c in (None, "miller-madow"))
    total = counts.sum()
    assert (corrected.joint_entropy - plain.joint_entropy).item() == pytest.approx(
        ((counts > 0).sum() - 1) / (2 * total)
    )
    activations = 18 if pairing == "all" else total
    occupied = (counts.sum(1) > 0).sum()
    assert (corrected.entropy_x - plain.entropy_x).item() == pytest.approx((occupied - 1) / (2 * activations))


def test_given_edges():
    x, y = slices(widths=(4, 6))
    edges_x, edges_y = torch.tensor([0.0, 0.5, 1.0]), torch.tensor([-1.0, 0.0, 1.0, 2.0])
    a, b = pairs_of(x, y, "truncate")
    counts, *_ = np.histogram2d(np.clip(a, 0, 1), np.clip(b, -1, 2), [edges_x.numpy(), edges_y.numpy()])
    found = pooled_information(x, y, edges=(edges_x, edges_y))
    assert found.joint_entropy.item() == pytest.approx(numpy_entropy(counts), rel=1e-12)
    own = pooled_information(x, y, edges=(None, edges_y), bins=3)
    assert own.entropy_x.item() == pooled_information(x, y, bins=3).entropy_x.item()
    assert own.entropy_y.item() == found.entropy_y.item()


@pytest.mark.parametrize("pairing", ["truncate", "all"])
def test_constant_and_bad_slices(pairing):
    x, y = slices()
    found = pooled_information(torch.full_like(x, 0.1), y, pairing=pairing)
    assert found.entropy_x == 0
    assert abs(found.information.item()) < 1e-14
    y[3, 5] = math.nan
    assert all(v.isnan() for v in pooled_information(x, y, pairing=pairing))
    assert all(v.isnan() for v in pooled_information(y, x, pairing=pairing))


def test_input_that_is_refused():
    x, y = slices()
    with pytest.raises(ValueError, match="pairing"):
        pooled_information(x, y, pairing="each")
    with pytest.raises(ValueError, match="same samples"):
        pooled_information(x, y[:7])
    with pytest.raises(ValueError, match="edges of x"):
        pooled_information(x, y, edges=torch.arange(18.0).reshape(6, 3))
    with pytest.raises(ValueError, match="unit_activations"):
        pooled_information(x[:, :, None], y)
    with pytest.raises(ValueError, match="correction"):
        pooled_information(x, y, correction="none")
