"""Modularity against networkx and every partition of tiny graphs; modules found where they were put."""

import itertools
import math
import sys

import networkx
import numpy as np
import pytest
import torch

from lightning_separation.functional import find_modules, modularity


def graph_of(units, seed=0, density=1.0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    weights = torch.rand(units, units, generator=generator) * (torch.rand(units, units, generator=generator) < density)
    return ((weights + weights.T) / 2).to(dtype)


def by_networkx(weights, modules):
    weights = weights.double().abs().fill_diagonal_(0)
    graph = networkx.from_numpy_array(weights.numpy())
    sets = [set(np.flatnonzero(modules == m)) for m in np.unique(modules)]
    return networkx.algorithms.community.modularity(graph, sets, weight="weight")


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("units, modules", [(9, 2), (9, 3), (40, 1), (40, 7), (40, 40)])
@pytest.mark.parametrize("density", [1.0, 0.3])
@pytest.mark.parametrize("sign", [1, -1])
def test_networkx(units, modules, density, sign):
    weights = sign * graph_of(units, density=density)
    weights += weights == weights.T  # a diagonal is no matter, nor are zeros
    weights = graph_of(units, density=density) * sign
    weights.fill_diagonal_(5.0)
    label = torch.arange(units) % modules
    found = modularity(weights, label, num_permutations=3)
    assert found.value.item() == pytest.approx(by_networkx(weights, label.numpy()), abs=1e-12)
    assert all(v.ndim == 0 and v.dtype == torch.float64 for v in found)


@pytest.mark.parametrize("label", [[0, 0, 0, 1, 1], [0, 0, 1, 1, 2], [4, -1, 4, -1, -1]])
def test_the_null_is_every_partition(label):
    weights = graph_of(5, seed=3)
    weights[:2, :2] += 1
    every = np.array([by_networkx(weights, np.array(p)) for p in itertools.permutations(label)])
    value = by_networkx(weights, np.array(label))
    found = modularity(weights, label, num_permutations=20000, generator=generator())
    assert found.value.item() == pytest.approx(value, abs=1e-12)
    assert found.null_mean.item() == pytest.approx(every.mean(), abs=4 * every.std() / 20000**0.5)
    assert found.null_std.item() == pytest.approx(every.std(), rel=0.03)
    assert found.p_value.item() == pytest.approx((every >= value - 1e-9).mean(), abs=0.015)


def test_ties_count_as_large():
    """All partitions of a complete graph with equal weights are alike, up to rounding."""
    found = modularity(torch.full((7, 7), 0.1), [0, 0, 0, 0, 1, 1, 2], num_permutations=200)
    assert found.p_value == 1
    assert found.null_std < 1e-12


def test_planted_modules_by_hand():
    weights = torch.block_diag(torch.ones(3, 3), torch.ones(3, 3), torch.ones(2, 2))
    found = modularity(weights, torch.tensor([7, 7, 7, 2, 2, 2, 5, 5]), num_permutations=400, generator=generator())
    # Weights 3, 3 and 1 of 7 lie within: 1 less the squares of the shares.
    assert found.value.item() == pytest.approx(1 - (9 + 9 + 1) / 49)
    assert found.p_value < 0.02
    assert found.null_mean < 0


def test_p_values_of_random_partitions_are_uniform():
    weights = graph_of(20)
    p_values = [
        modularity(weights, torch.randint(0, 3, (20,), generator=generator(i)), num_permutations=60).p_value.item()
        for i in range(300)
    ]
    low = np.mean(np.array(p_values) <= 0.2)
    assert abs(low - 0.2) < 4 * (0.2 * 0.8 / 300) ** 0.5


def test_blocks_and_generators(monkeypatch):
    weights, label = graph_of(30), torch.arange(30) % 4
    expected = modularity(weights, label, generator=generator(3))
    monkeypatch.setattr(sys.modules[modularity.__module__], "_BLOCK", 1)
    found = modularity(weights, label, generator=generator(3))
    torch.testing.assert_close(found, expected)
    torch.manual_seed(3)
    torch.testing.assert_close(modularity(weights, label), expected)
    assert modularity(weights, label, generator=generator(4)).null_mean != expected.null_mean


@pytest.mark.parametrize("scale", [1e-300, 1e-30, 1e300])
def test_scale(scale):
    weights, label = graph_of(12), torch.arange(12) % 3
    found, expected = (modularity(w, label, generator=generator()) for w in (weights * scale, weights))
    torch.testing.assert_close(found, expected)
    assert torch.equal(find_modules(weights * scale), find_modules(weights))


@pytest.mark.parametrize("diagonal", [0.0, 3.0])
def test_no_weight_at_all(diagonal):
    weights = torch.eye(4) * diagonal
    assert [v.item() for v in modularity(weights, [0, 0, 1, 1])] == [0, 0, 0, 1]
    assert find_modules(weights).tolist() == [0, 1, 2, 3]


def test_rounding_of_float32_is_symmetric_enough():
    weights = graph_of(10, dtype=torch.float32)
    weights[2, 3] *= 1 + 1e-6
    label = torch.arange(10) % 2
    assert modularity(weights, label).value.item() == pytest.approx(by_networkx(graph_of(10), label.numpy()), abs=1e-6)
    weights[2, 3] *= 1.01
    with pytest.raises(ValueError, match="symmetric"):
        modularity(weights, label)


@pytest.mark.parametrize(
    "weights, modules, message",
    [
        (torch.rand(3, 4), [0, 0, 1], "U, U"),
        (torch.rand(0, 0), [], "U, U"),
        (torch.tensor([[0.0, 1.0], [2.0, 0.0]]), [0, 1], "symmetric"),
        (torch.full((2, 2), math.nan), [0, 1], "NaN"),
        (torch.full((2, 2), math.inf), [0, 1], "infinite"),
        (torch.ones(2, 2).to(torch.complex64), [0, 1], "real"),
        (torch.ones(2, 2), [0, 1, 1], "modules"),
        (torch.ones(2, 2), [0.5, 1.0], "modules"),
        (torch.ones(2, 2), {0, 1}, "modules must hold numbers.*set"),
        (torch.ones(2, 2), ["a", "b"], "modules must hold numbers"),
        (np.ones((2, 2)), [0, 1], r"weights must be a torch\.Tensor, not ndarray"),
    ],
)
def test_input_that_is_refused(weights, modules, message):
    with pytest.raises(ValueError, match=message):
        modularity(weights, modules)
    if not message.startswith("modules"):
        with pytest.raises(ValueError, match=message):
            find_modules(weights)


def test_settings_that_are_refused():
    with pytest.raises(ValueError, match="num_permutations"):
        modularity(torch.ones(2, 2), [0, 1], num_permutations=0)
    with pytest.raises(ValueError, match="num_permutations"):
        modularity(torch.ones(2, 2), [0, 1], num_permutations=True)
    with pytest.raises(ValueError, match=r"generator must be a torch\.Generator or None, not 0"):
        modularity(torch.ones(2, 2), [0, 1], generator=0)
    with pytest.raises(ValueError, match="resolution"):
        find_modules(torch.ones(2, 2), resolution=0)


def test_planted_modules_are_found_largest_first():
    planted = torch.tensor([2, 1, 0, 0, 1, 0, 2, 0, 1, 0])
    weights = (planted[:, None] == planted).double() + 0.1 * graph_of(10)
    assert find_modules(weights).tolist() == planted.tolist()
    order = torch.tensor([6, 1, 3, 2, 9, 0, 4, 8, 5, 7])
    moved = find_modules(weights[order][:, order])
    assert ((moved[:, None] == moved) == (planted[order][:, None] == planted[order])).all()


def test_modules_of_one_size_are_in_the_order_of_their_first_units():
    weights = torch.tensor([[0, 0, 1, 0], [0, 0, 0, 1], [1, 0, 0, 0], [0, 1, 0, 0]])
    assert find_modules(weights).tolist() == [0, 1, 0, 1]


def test_units_without_weight_stand_alone():
    weights = torch.zeros(6, 6)
    weights[2:5, 2:5] = 1
    found = find_modules(weights)
    assert found.tolist() == [1, 2, 0, 0, 0, 3]
    together = modularity(weights, [1, 1, 0, 0, 0, 1]).value
    assert modularity(weights, found).value == together  # no module gains or loses by them


def test_the_best_of_all_partitions():
    """Of seven units, by trying all of them."""
    weights = graph_of(7, seed=1, density=0.5)
    best = max(by_networkx(weights, np.array((0, *p))) for p in itertools.product(range(3), repeat=6))
    found = modularity(weights, find_modules(weights)).value.item()
    assert found == pytest.approx(best, abs=1e-12)


def test_resolution_and_seed():
    weights = graph_of(40, density=0.3)
    assert torch.equal(find_modules(weights, seed=5), find_modules(weights, seed=5))
    counts = [len(find_modules(weights, resolution=r).unique()) for r in (0.3, 1.0, 3.0)]
    assert counts[0] < counts[1] < counts[2]
    assert find_modules(weights).dtype == torch.int64


def test_found_modules_beat_random_ones():
    weights = graph_of(30, density=0.4)
    found = modularity(weights, find_modules(weights), generator=generator())
    assert found.value > found.null_mean + 4 * found.null_std
