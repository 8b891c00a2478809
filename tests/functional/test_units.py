"""From activations of any shape to one number for each sample and unit."""

import pytest
import torch

from lightning_separation.functional import unit_activations

x = torch.randn(5, 4, 3, 2, generator=torch.Generator().manual_seed(0))


def test_convolution():
    assert torch.equal(unit_activations(x), x.flatten(2).mean(2))
    assert torch.equal(unit_activations(x, pooling="max"), x.flatten(2).amax(2))
    assert unit_activations(x[..., None]).shape == (5, 4)


def test_sequence():
    torch.testing.assert_close(unit_activations(x[..., 0]), x[..., 0].mean(1))
    assert torch.equal(unit_activations(x[..., 0], pooling="max"), x[..., 0].amax(1))


def test_matrix_and_vector():
    assert torch.equal(unit_activations(x[:, :, 0, 0]), x[:, :, 0, 0])
    assert torch.equal(unit_activations(x[:, 0, 0, 0]), x[:, :1, 0, 0])


@pytest.mark.parametrize("axis", [1, 2, 3, -1, -2, -3])
def test_unit_axis(axis):
    found = unit_activations(x, unit_axis=axis)
    torch.testing.assert_close(found, x.movedim(axis, 1).flatten(2).mean(2))


@pytest.mark.parametrize("axis", [0, 4, -4, -5])
def test_what_is_no_axis(axis):
    with pytest.raises(ValueError, match="unit_axis"):
        unit_activations(x, unit_axis=axis)


@pytest.mark.parametrize(
    "dtype, expected",
    [
        (torch.float16, torch.float32),
        (torch.bfloat16, torch.float32),
        (torch.float32, torch.float32),
        (torch.float64, torch.float64),
        (torch.uint8, torch.float32),
        (torch.bool, torch.float32),
        (torch.int64, torch.float64),
    ],
)
@pytest.mark.parametrize("pooling", ["mean", "max"])
@pytest.mark.parametrize("axes", [2, 4])
def test_dtype(dtype, expected, pooling, axes):
    features = (x * 3).relu().to(dtype)
    features = features if axes == 4 else features[:, :, 0, 0]
    found = unit_activations(features, pooling=pooling)
    assert found.dtype == expected
    torch.testing.assert_close(found.double(), unit_activations(features.double(), pooling=pooling))


def test_half_precision_is_summed_in_float32():
    features = torch.full((2, 3, 64, 64), 100.0, dtype=torch.float16)  # the sum does not fit float16
    assert unit_activations(features).tolist() == [[100.0] * 3] * 2


@pytest.mark.parametrize(
    "bad", [x.to(torch.complex64), x.to_sparse(), x[:0], x[:, :0], torch.tensor(1.0), x.numpy(), None], ids=str
)
def test_bad_features(bad):
    with pytest.raises(ValueError, match="features"):
        unit_activations(bad)


def test_unknown_pooling():
    with pytest.raises(ValueError, match="median"):
        unit_activations(x, pooling="median")


@pytest.mark.parametrize("pooling", ["mean", "max"])
def test_gradients_lead_through(pooling):
    features = x.clone().requires_grad_()
    unit_activations(features, pooling=pooling).sum().backward()
    expected = torch.full_like(x, 1 / 6) if pooling == "mean" else (x == x.amax((2, 3), keepdim=True)).float()
    torch.testing.assert_close(features.grad, expected)
    assert torch.equal(features, x)
