import math

import numpy as np
import pytest
import torch

from lightning_separation.functional import friedman_rafsky, generalized_henze_penrose

from .references import clusters, exact_distances, tree_edges


def test_against_one_tree_of_all_points():
    x, y = clusters(4, [30, 25, 10, 35], 3, shift=0.5)
    result = generalized_henze_penrose(x, y)
    cross = np.zeros((4, 4))
    for u, v in tree_edges(exact_distances(x)):
        cross[y[u], y[v]] += y[u] != y[v]
    cross += cross.T
    counts = np.array([30, 25, 10, 35])
    np.testing.assert_allclose(result.cross_edges, cross)
    np.testing.assert_allclose(result.delta, cross / 200)
    expected = 1 - cross * 100 / (2 * counts[:, None] * counts)
    np.testing.assert_allclose(result.divergence, expected * (1 - np.eye(4)))
    total = np.triu(cross).sum() / 100
    assert result.upper.item() == pytest.approx(total)
    assert result.lower.item() == pytest.approx(3 / 4 * (1 - math.sqrt(max(0, 1 - 4 / 3 * total))))
    assert 0 < result.lower < result.upper


def test_two_classes_are_a_pair():
    x, y = clusters(2, [30, 25], 3, shift=0.5)
    assert torch.equal(generalized_henze_penrose(x, y).cross_edges, friedman_rafsky(x, y).cross_edges)


def test_a_third_class_can_stand_between_two():
    x = torch.tensor([0.0, 1.0, 2.1, 10.0, 11.3, 12.7, 20.0, 21.1, 22.3])[:, None]
    y = torch.tensor([0, 0, 0, 1, 1, 1, 2, 2, 2])
    assert generalized_henze_penrose(x, y).cross_edges.tolist() == [[0, 1, 0], [1, 0, 1], [0, 1, 0]]
    assert friedman_rafsky(x, y).cross_edges.tolist() == [[0, 1, 1], [1, 0, 1], [1, 1, 0]]


@pytest.mark.parametrize("num", [2, 3, 10])
@pytest.mark.parametrize("distance", ["euclidean", "cosine"])
def test_a_collapsed_layer_leaves_guessing(num, distance):
    result = generalized_henze_penrose(torch.zeros(4 * num, 3), torch.arange(num).repeat(4), distance=distance)
    assert result.lower.item() == pytest.approx((num - 1) / num, abs=1e-6)  # a square root of rounding
    assert result.upper.item() == pytest.approx((num - 1) / num)
    np.testing.assert_allclose(result.delta, (1 - np.eye(num)) / num**2)


def test_duplicates_by_hand():
    # Node U: classes 0, 0, 1; node V: classes 1, 2. Inside 2 a b / s, along the edge a b / (s s).
    x = torch.tensor([0, 0, 0, 5, 5])[:, None]
    y = torch.tensor([0, 0, 1, 1, 2])
    cross = generalized_henze_penrose(x, y).cross_edges
    assert cross[0, 1].item() == pytest.approx(2 * 2 * 1 / 3 + 2 / 6)
    assert cross[0, 2].item() == pytest.approx(2 / 6)
    assert cross[1, 2].item() == pytest.approx(2 * 1 * 1 / 2 + 1 / 6)


def test_one_class_has_no_error():
    result = generalized_henze_penrose(torch.randn(5, 2), torch.zeros(5, dtype=torch.int64))
    assert (result.lower.item(), result.upper.item()) == (0, 0)
    assert result.cross_edges.tolist() == [[0]]
