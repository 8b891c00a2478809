"""What must not change a result: exactly on any data, or up to rounding where only tie-free data allow it."""

from unittest.mock import patch

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lightning_separation.functional import (
    _forest,
    _trees,
    friedman_rafsky,
    generalized_henze_penrose,
    minimum_spanning_tree,
)

from .references import clusters, cross_edges

settings.register_profile("separation", deadline=None, max_examples=25, derandomize=True)
settings.load_profile("separation")

seeds = st.integers(0, 2**31)


def tied(seed, kind="binary"):
    """Rows with many equal distances and some duplicates, 3 classes."""
    generator = torch.Generator().manual_seed(seed)
    num, dim = 45, 2 + seed % 6
    x = torch.randn(num, dim, generator=generator)
    x = (x > 0).float() if kind == "binary" else x.mul_(2).round_()
    return x, torch.randint(0, 3, (num,), generator=generator)


def assert_same(found, expected):
    for name, a, b in zip(found._fields, found, expected, strict=True):
        assert torch.equal(a, b), name


@given(seeds, st.sampled_from(["binary", "integer"]), st.sampled_from(["euclidean", "cosine"]))
def test_order_of_tied_points(seed, kind, distance):
    x, y = tied(seed, kind)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed + 1))
    assert_same(friedman_rafsky(x[order], y[order], distance=distance), friedman_rafsky(x, y, distance=distance))
    assert_same(
        generalized_henze_penrose(x[order], y[order], distance=distance),
        generalized_henze_penrose(x, y, distance=distance),
    )


@given(seeds, st.permutations([0, 1, 2]))
def test_which_class_comes_first(seed, order):
    x, y = tied(seed)
    y[:3] = torch.arange(3)
    order = torch.tensor(order)
    first, then = friedman_rafsky(x, y), friedman_rafsky(x, order[y])
    for name in first._fields[1:]:
        assert torch.equal(getattr(first, name), getattr(then, name)[order][:, order]), name


@given(seeds)
def test_other_classes_do_not_matter(seed):
    x, y = tied(seed)
    y[:3] = torch.arange(3)
    pair = friedman_rafsky(x[y < 2], y[y < 2])
    for name, value in friedman_rafsky(x, y)._asdict().items():
        if name != "classes":
            assert torch.equal(value[:2, :2], getattr(pair, name)), name


@pytest.mark.parametrize(
    "dtype", [torch.bool, torch.uint8, torch.int64, torch.float16, torch.bfloat16, torch.float32, torch.float64]
)
@given(seeds)
@settings(max_examples=6)
def test_dtype_of_tied_points(dtype, seed):
    x, y = tied(seed)
    assert_same(friedman_rafsky(x.to(dtype), y), friedman_rafsky(x.double(), y))
    assert_same(generalized_henze_penrose(x.to(dtype), y), generalized_henze_penrose(x.double(), y))


@given(seeds, st.sampled_from([torch.float16, torch.bfloat16]))
def test_short_numbers_and_their_order(seed, dtype):
    x, y = clusters(3, 20, 1 + seed % 3, seed=seed)
    x = x.to(dtype)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))
    expected = friedman_rafsky(x, y)
    assert_same(friedman_rafsky(x[order], y[order]), expected)
    assert_same(friedman_rafsky(x.double(), y), expected)


@given(seeds, st.sampled_from(["binary", "integer"]), st.integers(1, 2))
def test_how_the_work_is_cut(seed, kind, num_trees):
    """Into pieces of classes, tiles of distances, and batches of pairs; also where classes share points."""
    x, y = tied(seed, kind)
    y = torch.where(torch.arange(len(y)) % 3 > 0, 0, y)  # one class much larger than the others
    x = torch.cat([x, torch.arange(3 * x.shape[1]).view(3, -1).float()])  # so that there are two trees more often
    y = torch.cat([y, torch.tensor([0, 1, 2])])

    def results():
        try:
            return friedman_rafsky(x, y, num_trees=num_trees), generalized_henze_penrose(x, y)
        except ValueError:
            return None

    whole = results()
    with (
        patch.multiple(_trees, _LARGEST=8, _SMALLEST=4, _NODES=1),
        patch.multiple(_forest, _TILE=200, _INSIDE=100, WORK_ELEMENTS=16),
    ):
        parts = results()
    assert (whole is None) == (parts is None)
    if whole is not None:
        for a, b in zip(parts, whole, strict=True):
            assert_same(a, b)


@given(seeds)
def test_memory_layout(seed):
    x, y = tied(seed)
    apart = torch.stack([x, x + 1], 2)[..., 0]
    assert not apart.is_contiguous()
    assert_same(friedman_rafsky(apart, y), friedman_rafsky(x, y))
    assert_same(friedman_rafsky(x.T.contiguous().T, y), friedman_rafsky(x, y))


@given(seeds, st.integers(1, 8), st.integers(2, 4))
def test_brute_force(seed, dim, num_classes):
    generator = torch.Generator().manual_seed(seed)
    sizes = torch.randint(1, 25, (num_classes,), generator=generator).tolist()
    x, y = clusters(num_classes, sizes, dim, shift=seed % 5 / 2, seed=seed, dtype=torch.float64)
    torch.testing.assert_close(friedman_rafsky(x, y).cross_edges, torch.from_numpy(cross_edges(x, y)))


@given(seeds, st.sampled_from([1e-20, 1e-3, 3.0, 1e20]), st.sampled_from([0.0, 1.0, -300.0]))
def test_scale_rotation_translation(seed, scale, shift):
    x, y = clusters(3, 15, 4, shift=0.5, seed=seed, dtype=torch.float64)
    rotation = torch.linalg.qr(torch.randn(4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))).Q
    first = friedman_rafsky(x, y)
    assert_same(friedman_rafsky((x @ rotation + shift) * scale, y), first)
    cosine = friedman_rafsky(x, y, distance="cosine")
    assert_same(friedman_rafsky(x @ rotation * scale, y, distance="cosine"), cosine)


@given(seeds)
def test_order_of_points_of_one_tree(seed):
    x, _ = tied(seed)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))
    assert torch.equal(minimum_spanning_tree(x[order]).weights, minimum_spanning_tree(x).weights)
