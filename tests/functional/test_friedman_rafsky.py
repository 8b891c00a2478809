import itertools
import math

import networkx
import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist
from scipy.stats import norm
from torch.testing import assert_close

from lightning_separation.functional import _forest, _trees, friedman_rafsky, henze_penrose_divergence
from lightning_separation.functional.friedman_rafsky import _null_moments

from .references import (
    NoFurtherTreeError,
    all_labelings,
    clusters,
    cross_edges,
    exact_distances,
    greedy_trees,
    tree_edges,
    weight_between,
)


def same_cross_edges(x, y, distance="euclidean"):
    found = friedman_rafsky(x, y, distance=distance).cross_edges
    np.testing.assert_allclose(found, cross_edges(x, y, distance), rtol=0, atol=1e-9)


# ---------------------------------------------------------------- values worked out by hand


def test_a_line_of_eight_points():
    x = torch.tensor([[0.0], [1.0], [2.1], [3.3], [10.0], [11.5], [13.1], [15.0]])
    y = torch.tensor([0, 0, 1, 0, 1, 1, 1, 0])  # changes at 4 of the 7 steps
    result = friedman_rafsky(x, y)
    # E = 2 * 4 * 4 / 8; a path of 8 has C = 6 forks:
    # Var = 32 / 56 * (24 / 8 + (6 - 8 + 2) / (6 * 5) * ...) = 12 / 7
    z = (4 - 4) / math.sqrt(12 / 7)
    for found, expected in [
        (result.cross_edges, 4),
        (result.divergence, 1 - 4 * 8 / 32),
        (result.expected, 4),
        (result.variance, 12 / 7),
        (result.z, z),
        (result.p_value, norm.cdf(z)),
    ]:
        assert found[0, 1] == found[1, 0] == pytest.approx(expected)
        assert found.dtype == torch.float64
        assert found.shape == (2, 2)
    assert result.classes.tolist() == [0, 1]


def test_diagonals():
    x, y = clusters(3, 6, 2)
    result = friedman_rafsky(x, y)
    for name, value in result._asdict().items():
        if name != "classes":
            assert value.diagonal().tolist() == [1 if name == "p_value" else 0] * 3, name
            assert torch.equal(value, value.T), name


def test_the_largest_divergence_is_one_cross_edge():
    x = torch.cat([torch.randn(30, 4), torch.randn(20, 4) + 100])
    y = torch.tensor([3] * 30 + [-7] * 20)
    assert henze_penrose_divergence(x, y)[0, 1].item() == pytest.approx(1 - 50 / (2 * 30 * 20))


def test_moments_by_the_formula_of_friedman_and_rafsky():
    x, y = clusters(2, [9, 14], 3, seed=4)
    degrees = [d for _, d in networkx.from_edgelist(tree_edges(exact_distances(x)).tolist()).degree]
    forks = sum(d * (d - 1) / 2 for d in degrees)
    m, n = 9, 14
    num = m + n
    variance = (
        2 * m * n / (num * (num - 1))
        * (
            (2 * m * n - num) / num
            + (forks - num + 2) / ((num - 2) * (num - 3)) * (num * (num - 1) - 4 * m * n + 2)
        )
    )  # fmt: skip
    result = friedman_rafsky(x, y)
    assert result.expected[0, 1].item() == pytest.approx(2 * m * n / num)
    assert result.variance[0, 1].item() == pytest.approx(variance)
    z = (cross_edges(x, y)[0, 1] - 2 * m * n / num) / math.sqrt(variance)
    assert result.z[0, 1].item() == pytest.approx(z)
    assert result.p_value[0, 1].item() == pytest.approx(norm.cdf(z))


# ---------------------------------------------------------------- cross edges against brute force


@pytest.mark.parametrize("dim", [1, 2, 5, 64, 700])
@pytest.mark.parametrize("shift", [0.0, 0.3, 5.0])
def test_cross_edges(dim, shift):
    same_cross_edges(*clusters(4, [40, 33, 57, 20], dim, shift=shift, seed=dim, dtype=torch.float64))


def offset(x, y):
    return x + 1e4


def one_far_class(x, y):
    return x + 1000.0 * (y == 1)[:, None]


def one_huge_unit(x, y):
    return x * torch.cat([torch.full((1,), 1000.0), torch.ones(x.shape[1] - 1)])


def near_duplicates(x, y):
    return x[:10].repeat(len(x) // 10, 1) + 1e-4 * x


def tiny(x, y):
    return x * 1e-30


def enormous(x, y):
    return x * 1e30


def an_outlier(x, y):
    return torch.cat([x[:1] * 1e6, x[1:]])


def two_outliers_on_one_side(x, y):
    return torch.cat([x[:2] + 1e6, x[2:]])


def many_modes(x, y):
    return x + 50.0 * torch.nn.functional.one_hot(torch.arange(len(x)) % 7, x.shape[1])


def spectrum(x, y):
    return x * torch.logspace(3, -6, x.shape[1])


def one_constant_unit(x, y):
    return torch.cat([x[:, 1:], torch.full((len(x), 1), 12345.678)], 1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    "make",
    [
        offset,
        one_far_class,
        one_huge_unit,
        near_duplicates,
        tiny,
        enormous,
        an_outlier,
        two_outliers_on_one_side,
        many_modes,
        spectrum,
        one_constant_unit,
    ],
)
def test_hard_numbers(make, dtype):
    x, y = clusters(3, 70, 48, shift=0.2)
    same_cross_edges(make(x, y).to(dtype), y)


def test_differences_that_float32_products_cannot_see():
    x, y = clusters(3, 40, 24, shift=0.1, dtype=torch.float64)
    same_cross_edges(x * 1e-6 + 1, y)


def test_many_dimensions():
    same_cross_edges(*clusters(3, 15, 20_000, shift=0.02))


@pytest.mark.parametrize("sizes", [[3, 200, 40], [1, 90], [1, 1, 1, 1], [2, 2, 100, 3, 50]])
def test_unbalanced_classes(sizes):
    same_cross_edges(*clusters(len(sizes), sizes, 6, shift=0.3))


@pytest.mark.parametrize("sizes", [[150, 130], [40, 45, 50], [300, 5, 60]])
def test_groups_too_large_for_one_block(monkeypatch, sizes):
    monkeypatch.setattr(_trees, "_LARGEST", 40)
    same_cross_edges(*clusters(len(sizes), sizes, 5, shift=0.5))


def test_tiles_smaller_than_the_work(monkeypatch):
    monkeypatch.setattr(_forest, "_TILE", 1500)
    same_cross_edges(*clusters(6, 30, 5, shift=0.3))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_full(dtype):
    x, y = clusters(3, 40, 300, shift=0.1)
    same_cross_edges(x.to(dtype), y)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64])
def test_integer_features(dtype):
    x, y = clusters(2, 10, 300, shift=0.3, seed=2)
    x = (x * 20 + 60).clamp(0, 120).round()
    same_cross_edges(x.to(dtype), y)


def test_images_are_flattened():
    x, y = clusters(3, 20, 48)
    assert torch.equal(friedman_rafsky(x.view(-1, 3, 4, 4), y).cross_edges, friedman_rafsky(x, y).cross_edges)
    same_cross_edges(x.view(-1, 4, 4, 3).permute(0, 3, 1, 2), y)


def test_cosine_distance():
    x, y = clusters(3, [40, 20, 30], 7, shift=0.5)
    lengths = torch.rand(len(x), 1, generator=torch.Generator().manual_seed(1)) * 100 + 0.01
    same_cross_edges((x * lengths).double(), y, "cosine")
    assert not np.array_equal(cross_edges(x * lengths, y), cross_edges(x * lengths, y, "cosine"))


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_cosine_distance_of_extreme_rows(scale):
    x, y = clusters(2, 30, 7, shift=0.5)
    expected = cross_edges(x, y, "cosine")
    assert friedman_rafsky(x * scale, y, distance="cosine").cross_edges.numpy() == pytest.approx(expected)


def test_rows_of_zeros_have_no_direction():
    x = torch.cat([torch.zeros(3, 5), torch.rand(6, 5) + 0.1])  # all others are closer to each other than 1
    y = torch.tensor([0, 0, 0, 1, 1, 1, 1, 1, 1])
    result = friedman_rafsky(x, y, distance="cosine")
    assert result.cross_edges[0, 1] == 1
    # Among them a zero row of the other class: 2 * 3 * 1 / 4 inside, and the way out starts at class 0 in 3 of 4.
    y = torch.tensor([0, 0, 0, 1, 1, 1, 1, 1, 1, 1])
    x = torch.cat([torch.zeros(1, 5), x])
    y = torch.cat([torch.tensor([1]), y[:-1]])
    assert friedman_rafsky(x, y, distance="cosine").cross_edges[0, 1].item() == pytest.approx(1.5 + 0.75)


# ---------------------------------------------------------------- duplicates


@pytest.mark.parametrize("distance", ["euclidean", "cosine"])
@pytest.mark.parametrize("value", [0.0, -3.5, 1e-30])
def test_a_collapsed_layer_separates_nothing(distance, value):
    y = torch.tensor([0] * 5 + [1] * 7 + [2] * 2)
    result = friedman_rafsky(torch.full((14, 3), value), y, distance=distance)
    off_diagonal = ~torch.eye(3, dtype=torch.bool)
    assert result.divergence[off_diagonal].abs().max() < 1e-12
    assert result.cross_edges[0, 1].item() == pytest.approx(2 * 5 * 7 / 12)
    assert (result.variance == 0).all()
    assert (result.z == 0).all()
    assert (result.p_value == 1).all()


def test_two_values_by_hand():
    # Node U: 2 of class 0 and 1 of class 1; node V: 1 and 3. 2*2*1/3 + 2*1*3/4 + (2*3 + 1*1) / 12.
    x = torch.tensor([0, 0, 0, 1, 1, 1, 1])[:, None]
    y = torch.tensor([0, 0, 1, 0, 1, 1, 1])
    assert friedman_rafsky(x, y).cross_edges[0, 1].item() == pytest.approx(4 / 3 + 3 / 2 + 7 / 12)


def test_negative_zero_is_zero():
    x = torch.tensor([[0.0, -0.0], [-0.0, 0.0], [0.0, 0.0], [-0.0, -0.0]])
    assert friedman_rafsky(x, torch.tensor([0, 0, 1, 1])).p_value[0, 1] == 1


@pytest.mark.parametrize("seed", range(3))
def test_duplicates_are_told_apart_in_every_way(seed):
    """The mean over tiny random shifts of the rows, each shift making a tie-free sample."""
    rng = np.random.default_rng(seed)
    distinct = rng.normal(size=(5, 2))
    x = distinct[rng.integers(0, 5, 16)]
    y = rng.permutation([0] * 7 + [1] * 9)
    draws = []
    for _ in range(3000):
        tree = tree_edges(cdist(*[x + 1e-7 * rng.normal(size=x.shape)] * 2))
        draws.append((y[tree[:, 0]] != y[tree[:, 1]]).sum())
    error = np.std(draws) / math.sqrt(len(draws))
    assert error < 0.05
    found = friedman_rafsky(torch.from_numpy(x), torch.from_numpy(y)).cross_edges[0, 1].item()
    assert found == pytest.approx(np.mean(draws), abs=4.5 * error)


def test_classes_share_points():
    """Three classes with rows in common: each pair as if it were alone."""
    generator = torch.Generator().manual_seed(5)
    distinct = torch.randn(12, 3, generator=generator)
    x = distinct[torch.randint(0, 12, (60,), generator=generator)]
    y = torch.randint(0, 3, (60,), generator=generator)
    whole = friedman_rafsky(x, y)
    for i, j in itertools.combinations(range(3), 2):
        of_pair = (y == i) | (y == j)
        pair = friedman_rafsky(x[of_pair], y[of_pair])
        graph = weights_by_definition(x[of_pair].numpy(), 1)
        assert whole.cross_edges[i, j].item() == pytest.approx(weight_between(graph, y[of_pair].numpy()))
        for name in ("cross_edges", "divergence", "expected", "variance", "z", "p_value"):
            assert getattr(pair, name)[0, 1] == getattr(whole, name)[i, j], name


# ---------------------------------------------------------------- the null distribution


def weights_by_definition(x, k):
    """The weighted graph of samples: 2 / s inside a node, 1 / (k s_U s_V) along a tree's edge."""
    nodes, node, size = np.unique(x, axis=0, return_inverse=True, return_counts=True)
    node = node.reshape(-1)
    weights = np.zeros((len(x), len(x)))
    for tree in greedy_trees(cdist(nodes, nodes), k):
        for u, v in tree:
            between = np.outer(node == u, node == v) / (k * size[u] * size[v])
            weights += between + between.T
    weights += np.where(node[:, None] == node[None], 2 / size[node], 0)
    np.fill_diagonal(weights, 0)
    return weights


@pytest.mark.parametrize("num_trees", [1, 2])
@pytest.mark.parametrize("repeats", [[1] * 7, [3, 1, 2, 1], [2, 2, 1, 1, 1]])
def test_moments_are_those_over_all_labelings(repeats, num_trees):
    rng = np.random.default_rng(len(repeats))
    x = np.repeat(rng.normal(size=(len(repeats), 3)), repeats, axis=0)
    weights = weights_by_definition(x, num_trees)
    for counts in [(3, 4), (2, 5), (1, 6)]:
        if sum(counts) != len(x):
            counts = (counts[0], len(x) - counts[0])
        draws, found = [], []
        for labels in all_labelings(counts):
            draws.append(weight_between(weights, labels))
            found.append(friedman_rafsky(torch.from_numpy(x), torch.from_numpy(labels), num_trees=num_trees))
        np.testing.assert_allclose([r.cross_edges[0, 1] for r in found], draws)
        np.testing.assert_allclose([r.expected[0, 1] for r in found], np.mean(draws))
        np.testing.assert_allclose([r.variance[0, 1] for r in found], np.var(draws), atol=1e-12)


@pytest.mark.parametrize("counts", [(2, 2, 3), (1, 1, 1, 4), (1, 2, 2, 2), (4, 3), (7,)])
def test_moments_of_any_number_of_classes(counts):
    rng = np.random.default_rng(0)
    weights = np.triu(rng.random((7, 7)), 1)
    weights = weights + weights.T
    draws = [weight_between(weights, labels) for labels in all_labelings(counts)]
    mean, variance = _null_moments(
        np.array(counts, dtype=float), weights.sum() / 2, (weights**2).sum() / 2, (weights.sum(1) ** 2).sum()
    )
    assert mean == pytest.approx(np.mean(draws), abs=1e-12)
    assert variance == pytest.approx(np.var(draws), abs=1e-12)


def test_a_constant_cross_count_is_certain():
    """N / 2 trees that use up all edges between N points: R is 2mn / N whatever the labels."""
    seen = 0
    for seed in range(60):
        x, y = clusters(2, [2, 6], 12, seed=seed)
        try:
            trees = greedy_trees(exact_distances(x), 4)
        except NoFurtherTreeError:
            continue
        seen += 1
        assert sum(len(tree) for tree in trees) == 28
        result = friedman_rafsky(x, y, num_trees=4)
        assert result.cross_edges[0, 1].item() == pytest.approx(2 * 12 / 8)
        assert result.variance[0, 1] == 0
        assert result.z[0, 1] == 0
        assert result.p_value[0, 1] == 1
    assert seen > 0


@pytest.mark.parametrize("num_trees", [1, 3])
def test_p_is_calibrated_when_nothing_separates(num_trees):
    z, p = [], []
    for seed in range(250):
        result = friedman_rafsky(*clusters(2, [24, 36], 4, shift=0.0, seed=seed), num_trees=num_trees)
        z.append(result.z[0, 1].item())
        p.append(result.p_value[0, 1].item())
    assert abs(np.mean(z)) < 4 / math.sqrt(250)
    assert 0.7 < np.var(z) < 1.35
    assert 0.01 <= np.mean(np.array(p) < 0.05) <= 0.11
    assert 0.38 <= np.mean(np.array(p) < 0.5) <= 0.62


def test_p_is_small_when_classes_are_far_apart_and_large_when_they_alternate():
    x = torch.arange(40, dtype=torch.float32)[:, None] ** 1.01
    apart = friedman_rafsky(x, torch.arange(40) // 20)
    alternating = friedman_rafsky(x, torch.arange(40) % 2)
    assert apart.p_value[0, 1] < 1e-6
    assert alternating.p_value[0, 1] > 1 - 1e-6
    assert alternating.divergence[0, 1] < -0.9


@pytest.mark.parametrize("y", [[0, 1], [0, 0, 1]])
def test_fewer_than_four_samples_have_no_variance(y):
    x = torch.arange(len(y))[:, None] ** 2
    result = friedman_rafsky(x, torch.tensor(y))
    assert result.cross_edges[0, 1] == 1
    assert result.divergence[0, 1].item() == pytest.approx(1 - len(y) / (2 * (len(y) - 1)))
    for value in (result.variance, result.z, result.p_value):
        assert value[0, 1].isnan()
        assert value[1, 0].isnan()
        assert not value.diagonal().isnan().any()


# ---------------------------------------------------------------- orthogonal trees


@pytest.mark.parametrize("num_trees", [2, 3, 4])
def test_orthogonal_trees(num_trees):
    x, y = clusters(3, [12, 9, 11], 4, shift=0.4, seed=num_trees)
    found = friedman_rafsky(x, y, num_trees=num_trees)
    for i, j in itertools.combinations(range(3), 2):
        of_pair = (y == i) | (y == j)
        label = y[of_pair].numpy()
        trees = greedy_trees(exact_distances(x[of_pair]), num_trees)
        cross = sum(label[u] != label[v] for tree in trees for u, v in tree) / num_trees
        assert found.cross_edges[i, j].item() == pytest.approx(cross)
        m, n = (label == i).sum(), (label == j).sum()
        assert found.divergence[i, j].item() == pytest.approx(1 - cross * (m + n) / (2 * m * n))


def test_orthogonal_trees_of_unbalanced_classes_in_blocks(monkeypatch):
    monkeypatch.setattr(_trees, "_LARGEST", 32)
    x, y = clusters(2, [5, 60], 4, shift=0.4)
    trees = greedy_trees(exact_distances(x), 2)
    cross = sum(int(y[u] != y[v]) for tree in trees for u, v in tree) / 2
    assert friedman_rafsky(x, y, num_trees=2).cross_edges[0, 1].item() == pytest.approx(cross)


@pytest.mark.parametrize("num_trees", [2, 3])
def test_a_star_leaves_no_second_tree(num_trees):
    x = torch.cat([torch.zeros(1, 6), torch.eye(6) + 0.01 * torch.randn(6, 6)])
    y = torch.tensor([0, 0, 0, 1, 1, 1, 1])
    assert sorted(np.bincount(tree_edges(exact_distances(x)).ravel())) == [1] * 6 + [6]
    friedman_rafsky(x, y)
    with pytest.raises(ValueError, match="num_trees"):
        friedman_rafsky(x, y, num_trees=num_trees)


def test_collapsed_classes_have_no_second_tree():
    with pytest.raises(ValueError, match="num_trees"):
        friedman_rafsky(torch.tensor([[0.0], [0.0], [1.0], [1.0]]), torch.tensor([0, 1, 0, 1]), num_trees=2)


# ---------------------------------------------------------------- labels and devices of the caller


@pytest.mark.parametrize(
    "values",
    [[-(2**63), 0, 2**63 - 1], [-5, -3, 10**12], [0, 1, 255]],
)
def test_any_integers_are_labels(values):
    x, y = clusters(3, [10, 12, 14], 3)
    result = friedman_rafsky(x, torch.tensor(values)[y])
    assert result.classes.tolist() == sorted(values)
    assert torch.equal(result.cross_edges, friedman_rafsky(x, y).cross_edges)


@pytest.mark.parametrize(
    "dtype", [torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.uint16, torch.uint32, torch.uint64]
)
def test_labels_of_any_integer_type(dtype):
    x, y = clusters(3, 10, 3)
    result = friedman_rafsky(x, y.to(dtype))
    assert result.classes.tolist() == [0, 1, 2]
    assert torch.equal(result.cross_edges, friedman_rafsky(x, y).cross_edges)


def test_boolean_labels():
    x, y = clusters(2, 10, 3)
    result = friedman_rafsky(x, y == 1)
    assert result.classes.tolist() == [False, True]
    assert torch.equal(result.cross_edges, friedman_rafsky(x, y).cross_edges)


def test_one_class_has_no_pairs():
    result = friedman_rafsky(torch.randn(5, 2), torch.full((5,), 4))
    assert result.classes.tolist() == [4]
    assert result.divergence.tolist() == [[0]]
    assert result.p_value.tolist() == [[1]]


def test_named_tuple_and_shortcut_agree():
    x, y = clusters(3, 10, 3)
    assert torch.equal(henze_penrose_divergence(x, y), friedman_rafsky(x, y).divergence)
    assert_close(
        henze_penrose_divergence(x, y, distance="cosine", num_trees=2),
        friedman_rafsky(x, y, distance="cosine", num_trees=2).divergence,
        rtol=0,
        atol=0,
    )
