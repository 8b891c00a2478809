"""Neighbours in the tree of all samples against networkx, told apart by loops where rows are equal, and by hand."""

import networkx
import numpy as np
import pytest
import torch

from lightning_separation.functional import generalized_henze_penrose, tree_neighbours

from .references import clusters, exact_distances


def by_weights(weights, y):
    """What a symmetric matrix of weights between samples says."""
    y = np.asarray(y)
    degree = weights.sum(1)
    labels = np.unique(y)
    to_class = np.stack([weights[:, y == label].sum(1) for label in labels], 1)
    own = to_class[np.arange(len(y)), np.searchsorted(labels, y)]
    largest = to_class.max(1)
    neighbour = [
        y[i] if own[i] >= largest[i] - 1e-9 else labels[np.flatnonzero(to_class[i] >= largest[i] - 1e-9)[0]]
        for i in range(len(y))
    ]
    return 1 - own / degree, neighbour, degree


def same(found, expected):
    for value, reference in zip(found, expected, strict=True):
        np.testing.assert_allclose(value, reference, atol=1e-12)


@pytest.mark.parametrize("distance", ["euclidean", "cosine"])
@pytest.mark.parametrize("dim", [2, 20])
def test_networkx(distance, dim):
    x, y = clusters(4, [20, 30, 7, 12], dim, shift=0.7, seed=dim)
    y = 10 - 3 * y
    tree = networkx.minimum_spanning_tree(networkx.from_numpy_array(exact_distances(x, distance)))
    found = tree_neighbours(x, y, distance=distance)
    same(found, by_weights(networkx.to_numpy_array(tree, weight=None), y))
    assert [value.dtype for value in found] == [torch.float64, torch.int64, torch.float64]
    assert len(set(found.neighbour_class.tolist())) == 4


def test_equal_rows():
    generator = torch.Generator().manual_seed(3)
    rows = torch.randn(15, 3, generator=generator)
    at = torch.randint(0, 15, (60,), generator=generator)
    y = torch.randint(0, 3, (60,), generator=generator)
    tree = networkx.minimum_spanning_tree(networkx.from_numpy_array(exact_distances(rows[at.unique()])))
    tree = networkx.to_numpy_array(tree, weight=None)
    node = at.unique(return_inverse=True)[1].numpy()
    size = np.bincount(node)
    weights = np.zeros((60, 60))
    for i, j in np.ndindex(60, 60):
        if i != j:
            u, v = node[i], node[j]
            weights[i, j] = 2 / size[u] if u == v else tree[u, v] / (size[u] * size[v])
    same(tree_neighbours(rows[at], y), by_weights(weights, y))
    assert tree_neighbours(rows[at], y).degree.sum().item() == pytest.approx(2 * 59)


def test_equal_rows_by_hand():
    # Node U: 0, 0, 1; node V: 2 alone. Within U 2/3 each, to V 1/3 each.
    found = tree_neighbours(torch.tensor([[0.0], [0], [0], [5]]), torch.tensor([0, 0, 1, 2]))
    np.testing.assert_allclose(found.degree, [5 / 3, 5 / 3, 5 / 3, 1])
    np.testing.assert_allclose(found.cross_share, [3 / 5, 3 / 5, 1, 1])
    assert found.neighbour_class.tolist() == [0, 0, 0, 0]


def test_ties_between_classes():
    x = torch.tensor([[0.0], [1], [3], [6], [10]])
    assert tree_neighbours(x, torch.tensor([5, 7, 3, 3, 9])).neighbour_class.tolist() == [7, 3, 3, 3, 3]
    assert tree_neighbours(x, torch.tensor([7, 7, 3, 8, 8])).neighbour_class.tolist() == [7, 7, 7, 8, 8]


@pytest.mark.parametrize("kind", ["continuous", "binary"])
@pytest.mark.parametrize("distance", ["euclidean", "cosine"])
def test_crossings_are_those_of_the_generalised_divergence(kind, distance):
    x, y = clusters(3, [30, 25, 20], 6, shift=0.5)
    x = (x > 0).float() if kind == "binary" else x
    found = tree_neighbours(x, y, distance=distance)
    cross = generalized_henze_penrose(x, y, distance=distance).cross_edges.sum()
    assert (found.cross_share * found.degree).sum().item() == pytest.approx(cross.item())


def test_order_of_samples():
    x, y = clusters(3, 25, 4, shift=0.5)
    x = (x > 0).float()  # equal rows and tied distances
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    for found, expected in zip(tree_neighbours(x[order], y[order]), tree_neighbours(x, y), strict=True):
        assert torch.equal(found, expected[order])


def test_names_of_classes():
    x, y = clusters(3, 25, 4, shift=0.5)
    found, renamed = tree_neighbours(x, y), tree_neighbours(x, 100 - 7 * y)
    assert torch.allclose(found.cross_share, renamed.cross_share)
    assert torch.equal(found.degree, renamed.degree)


def test_a_wrong_label_is_found():
    x, y = clusters(3, 40, 8, shift=20.0)
    wrong = [3, 50]
    y[wrong] = (y[wrong] + 1) % 3
    found = tree_neighbours(x, y)
    suspects = (found.cross_share == 1).nonzero()[:, 0]
    assert suspects.tolist() == wrong
    assert (found.neighbour_class[wrong] == (y[wrong] - 1) % 3).all()


def test_shares_of_all_or_nothing_are_exact():
    x = torch.zeros(7, 2)
    x[3:, 0] = 1
    found = tree_neighbours(x, torch.tensor([0, 0, 0, 1, 1, 1, 2]))
    assert found.cross_share[6] == 1
    assert (tree_neighbours(x, torch.zeros(7, dtype=torch.int64)).cross_share == 0).all()


def test_a_single_sample():
    found = tree_neighbours(torch.ones(1, 3), torch.tensor([4]))
    assert (found.cross_share.isnan().item(), found.neighbour_class.item(), found.degree.item()) == (True, 4, 0)


def test_bad_input():
    x, y = clusters(2, 5, 3)
    for arguments in [(x, y.float()), (x, y[1:]), (x * float("nan"), y), (x.tolist(), y)]:
        with pytest.raises(ValueError):
            tree_neighbours(*arguments)
    with pytest.raises(ValueError, match="distance"):
        tree_neighbours(x, y, distance="manhattan")
