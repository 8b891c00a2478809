import networkx
import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist

from lightning_separation.functional import _trees, minimum_spanning_tree

from .references import clusters, exact_distances, tree_edges


def edge_set(edges):
    return {tuple(sorted(edge)) for edge in np.asarray(edges).tolist()}


@pytest.mark.parametrize("num, dim", [(2, 1), (50, 3), (120, 40)])
@pytest.mark.parametrize("distance", ["euclidean", "cosine"])
def test_edges_and_weights(num, dim, distance):
    x = clusters(1, num, dim + (distance == "cosine"))[0]
    distances = exact_distances(x, distance)
    tree = minimum_spanning_tree(x, distance=distance)
    assert tree.edges.shape == (num - 1, 2)
    assert tree.edges.dtype == torch.int64
    assert (tree.edges[:, 0] < tree.edges[:, 1]).all()
    assert edge_set(tree.edges) == edge_set(tree_edges(distances))
    assert tree.weights.dtype == torch.float64
    assert (tree.weights.diff() >= 0).all()
    np.testing.assert_allclose(tree.weights, distances[tuple(tree.edges.T.numpy())], rtol=1e-7, atol=1e-12)


def test_ties_and_duplicates_have_the_weight_of_any_tree():
    x = torch.randint(0, 3, (80, 3), generator=torch.Generator().manual_seed(0))
    tree = minimum_spanning_tree(x)
    graph = networkx.from_numpy_array(cdist(x, x) + 1)  # + 1: networkx leaves out edges of length 0
    expected = sorted(w["weight"] - 1 for _, _, w in networkx.minimum_spanning_tree(graph).edges(data=True))
    np.testing.assert_allclose(tree.weights, expected)
    assert networkx.is_tree(networkx.from_edgelist(tree.edges.tolist()))
    u, v = tree.edges.T
    np.testing.assert_allclose((x[u] - x[v]).double().norm(dim=1), tree.weights)


def test_blocks_give_the_same_tree(monkeypatch):
    x = clusters(5, 40, 3, shift=3.0)[0]
    monkeypatch.setattr(_trees, "_LARGEST", 50)
    assert edge_set(minimum_spanning_tree(x).edges) == edge_set(tree_edges(exact_distances(x)))


def test_blocks_give_the_same_tree_of_tied_points(monkeypatch):
    x = torch.randint(0, 2, (150, 8), generator=torch.Generator().manual_seed(0))
    whole = minimum_spanning_tree(x)
    monkeypatch.setattr(_trees, "_LARGEST", 50)
    blocks = minimum_spanning_tree(x)
    assert edge_set(whole.edges) == edge_set(blocks.edges)
    assert torch.equal(whole.weights, blocks.weights)


def test_lengths_in_the_users_units():
    x = torch.tensor([[0.0, 0.0], [3.0, 4.0], [3.0, 5.0]])
    assert minimum_spanning_tree(x * 1e-30).weights.tolist() == pytest.approx([1e-30, 5e-30], rel=1e-6)
    assert minimum_spanning_tree(x * 1e30).weights.tolist() == pytest.approx([1e30, 5e30], rel=1e-6)
    right_angle = torch.tensor([[2.0, 0.0], [0.0, 7.0]])
    assert minimum_spanning_tree(right_angle, distance="cosine").weights.tolist() == pytest.approx([1])
    opposite = torch.tensor([[2.0, 0.0], [-7.0, 0.0]])
    assert minimum_spanning_tree(opposite, distance="cosine").weights.tolist() == pytest.approx([2])
    nothing = torch.tensor([[0.0, 0.0], [-7.0, 0.0], [0.0, 0.0]])
    assert minimum_spanning_tree(nothing, distance="cosine").weights.tolist() == pytest.approx([0, 1])


def test_one_point_has_an_empty_tree():
    tree = minimum_spanning_tree(torch.ones(1, 3))
    assert tree.edges.shape == (0, 2)
    assert tree.weights.shape == (0,)


def test_equal_points_are_joined_at_length_zero():
    tree = minimum_spanning_tree(torch.ones(4, 3))
    assert tree.weights.tolist() == [0, 0, 0]
    assert networkx.is_tree(networkx.from_edgelist(tree.edges.tolist()))
