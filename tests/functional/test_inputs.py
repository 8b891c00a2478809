"""Bad input, and the caller's settings: what is refused, and what is left as it was."""

import numpy as np
import pytest
import torch

from lightning_separation.functional import (
    friedman_rafsky,
    generalized_henze_penrose,
    henze_penrose_divergence,
    minimum_spanning_tree,
)

from .references import clusters

of_pairs = [friedman_rafsky, henze_penrose_divergence, generalized_henze_penrose]
x, y = clusters(3, 12, 20, shift=0.3)


def with_value(value):
    bad = x.clone()
    bad[4, 2] = value
    return bad


bad_features = {
    "NaN": with_value(float("nan")),
    "infinite": with_value(float("-inf")),
    "complex": x.to(torch.complex64),
    "not torch.strided": x.to_sparse(),
    "row": x[:0],
    "column": x[:, :0],
    "shape": torch.tensor(1.0),
    "ndarray": x.numpy(),
    "list": x.tolist(),
    "None": None,
}


@pytest.mark.parametrize("function", [*of_pairs, minimum_spanning_tree])
@pytest.mark.parametrize("reason", bad_features)
def test_features_that_are_refused(function, reason):
    features = bad_features[reason]
    arguments = (features,) if function is minimum_spanning_tree else (features, y)
    with pytest.raises(ValueError, match="features"):
        function(*arguments)


@pytest.mark.parametrize("function", of_pairs)
@pytest.mark.parametrize(
    "target",
    [y.float(), y.to(torch.complex64), y[:-1], y[:, None], torch.tensor(1), y.numpy(), y.tolist(), None],
    ids=["float", "complex", "short", "matrix", "scalar", "array", "list", "None"],
)
def test_targets_that_are_refused(function, target):
    with pytest.raises(ValueError, match="target"):
        function(x, target)


@pytest.mark.parametrize("function", of_pairs)
def test_unknown_distance(function):
    with pytest.raises(ValueError, match=r"distance.*manhattan"):
        function(x, y, distance="manhattan")


@pytest.mark.parametrize("num_trees", [0, -1])
def test_number_of_trees(num_trees):
    with pytest.raises(ValueError, match="num_trees"):
        friedman_rafsky(x, y, num_trees=num_trees)


def test_the_number_of_bad_rows_is_told():
    bad = x.clone()
    bad[3] = float("nan")
    bad[7, 1] = float("inf")
    with pytest.raises(ValueError, match="2 of 36 rows"):
        friedman_rafsky(bad, y)


def assert_unchanged_by(features=x, target=y):
    expected = friedman_rafsky(x, y)
    for a, b in zip(friedman_rafsky(features, target), expected, strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast(dtype):
    with torch.autocast("cpu", dtype=dtype):
        found = friedman_rafsky(x, y)
        assert (x @ x.T).dtype == dtype  # still on
    for a, b in zip(found, friedman_rafsky(x, y), strict=True):
        assert torch.equal(a, b)


def test_inference_mode():
    with torch.inference_mode():
        copy = x.clone()
        found = friedman_rafsky(copy, y)
    assert_unchanged_by(copy)
    assert torch.equal(found.z, friedman_rafsky(x, y).z)


def test_gradients_are_not_followed():
    features = x.clone().requires_grad_()
    assert_unchanged_by(features)
    assert_unchanged_by(features * 1)
    assert not friedman_rafsky(features, y).divergence.requires_grad


def test_input_is_not_changed():
    for features in (x.clone(), x.double(), (x > 0).float(), torch.zeros_like(x)):
        before = features.clone()
        for distance in ("euclidean", "cosine"):
            friedman_rafsky(features, y, distance=distance)
            generalized_henze_penrose(features, y, distance=distance)
        assert torch.equal(features, before)


@pytest.mark.parametrize("precision", ["highest", "high", "medium"])
def test_matrix_product_precision(precision):
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision(precision)
        found = friedman_rafsky(x, y)
        assert torch.get_float32_matmul_precision() == precision
        with pytest.raises(ValueError):
            friedman_rafsky(with_value(float("nan")), y)
        assert torch.get_float32_matmul_precision() == precision
    finally:
        torch.set_float32_matmul_precision(before)
    for a, b in zip(found, friedman_rafsky(x, y), strict=True):
        assert torch.equal(a, b)


@pytest.mark.skipif(not hasattr(torch.backends.mkldnn, "matmul"), reason="torch has no per-backend precision")
@pytest.mark.parametrize("fail", [False, True])
def test_precision_set_by_backend(fail):
    backend = torch.backends.mkldnn.matmul
    before = backend.fp32_precision
    try:
        backend.fp32_precision = "bf16"
        if fail:
            with pytest.raises(ValueError):
                friedman_rafsky(with_value(float("nan")), y)
        else:
            assert_unchanged_by()
        assert backend.fp32_precision == "bf16"
    finally:
        backend.fp32_precision = before


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_default_dtype(dtype):
    expected = friedman_rafsky(x, y)
    before = torch.get_default_dtype()
    try:
        torch.set_default_dtype(dtype)
        found = friedman_rafsky(x, y)
    finally:
        torch.set_default_dtype(before)
    for a, b in zip(found, expected, strict=True):
        assert torch.equal(a, b)


def test_default_device():
    with torch.device("meta"):  # whatever forgets to say where it lives ends up there
        found = friedman_rafsky(x, y, num_trees=2)
        tree = minimum_spanning_tree(x)
        result = generalized_henze_penrose(x, y)
    assert all(value.device == x.device for value in (*found, *tree, *result))
    assert torch.equal(found.divergence, friedman_rafsky(x, y, num_trees=2).divergence)


def test_random_state_is_left_alone():
    before = torch.get_rng_state(), np.random.get_state()[1].tolist()  # noqa: NPY002
    friedman_rafsky(x, y, num_trees=2)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.random.get_state()[1].tolist() == before[1]  # noqa: NPY002


def test_deterministic_algorithms():
    expected = friedman_rafsky(x, y)
    try:
        torch.use_deterministic_algorithms(True)
        found = friedman_rafsky(x, y)
    finally:
        torch.use_deterministic_algorithms(False)
    assert torch.equal(found.z, expected.z)
