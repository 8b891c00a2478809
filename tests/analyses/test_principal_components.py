"""Principal components of layers: scikit-learn."""

import warnings

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from torch import nn

from lightning_separation import PrincipalComponents, analyze
from tests.helpers import blobs, mlp

X, Y = blobs().tensors


def found(network, x=X, y=Y, analysis=None, **settings):
    """The findings, and what was warned of."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        record = analyze(network, [(x, y)], [analysis or PrincipalComponents()], samples_per_class=1000, **settings)
    return record.findings["principal_components"], [str(w.message) for w in said]


def assert_is_scikit_learns(one, activations):
    by_scikit_learn = PCA(2, svd_solver="full")
    expected = by_scikit_learn.fit_transform(np.float64(activations).reshape(len(activations), -1))
    np.testing.assert_allclose(np.abs(one["projection"]), np.abs(expected), atol=1e-5 * np.abs(expected).max())
    signs = np.sign(one["projection"] * expected)
    far = np.abs(expected) > 1e-3
    assert all(np.ptp(signs[far[:, c], c]) == 0 for c in (0, 1))  # a component as a whole may be turned round
    np.testing.assert_allclose(one["explained_variance_ratio"], by_scikit_learn.explained_variance_ratio_, atol=1e-6)


def test_every_layer_is_projected_as_by_scikit_learn():
    torch.manual_seed(0)
    network = mlp().eval()
    layers, said = found(network)
    assert not said
    assert list(layers) == ["input", "0", "1", "3", "*"]  # dropout does nothing here
    with torch.no_grad():
        assert_is_scikit_learns(layers["input"], X)
        assert_is_scikit_learns(layers["1"], network[:2](X))
        assert_is_scikit_learns(layers["3"], network(X))
    np.testing.assert_array_equal(layers["*"]["sample_class"], Y)


def test_of_channels_all_positions_count():
    torch.manual_seed(0)
    x = torch.randn(50, 2, 5, 5)
    network = nn.Conv2d(2, 3, 3)
    with torch.no_grad():
        assert_is_scikit_learns(found(nn.Sequential(network), x, Y[:50])[0]["0"], network(x))


def test_a_single_unit_has_no_second_component_and_a_dead_layer_none():
    network = nn.Sequential(nn.Linear(6, 1), nn.ReLU())
    nn.init.constant_(network[0].bias, -100)
    layers, said = found(network)
    assert not said
    assert layers["0"]["projection"].shape == (60, 2)
    assert layers["0"]["explained_variance_ratio"].tolist() == [pytest.approx(1), 0]
    assert not layers["0"]["projection"][:, 1].any()
    assert not layers["1"]["projection"].any()
    assert not layers["1"]["explained_variance_ratio"].any()


def test_a_sample_of_nan_costs_itself_only():
    x = X.clone()
    x[7, 2] = torch.nan
    x[9, 0] = torch.inf
    kept = [i for i in range(60) if i not in (7, 9)]
    torch.manual_seed(0)
    layers, said = found(nn.Sequential(nn.Linear(6, 4)), x)
    assert np.flatnonzero(np.isnan(layers["input"]["projection"]).any(1)).tolist() == [7, 9]
    alone = {name: values[kept] for name, values in layers["input"].items() if name == "projection"}
    assert_is_scikit_learns({**layers["input"], **alone}, X[kept])
    message = "analyze: input: principal_components: 2 samples with NaN or infinite values are left out"
    assert message in said
    assert len(layers["*"]["sample_class"]) == 60


def test_a_layer_of_nan_is_left_out_by_name():
    network = nn.Sequential(nn.Linear(6, 4), nn.Linear(4, 3))
    nn.init.constant_(network[1].bias, torch.nan)
    layers, said = found(network)
    assert set(layers) == {"input", "0", "*"}
    assert "analyze: 1: principal_components: its activations hold NaN or infinite values" in said
    assert not found(nn.Identity(), torch.full((9, 2), torch.nan), Y[:9], layers=[])[0]


def test_classes_are_positions_among_the_names():
    assert found(nn.Identity(), y=4 * Y + 3, layers=[])[0]["*"]["sample_class"].tolist() == Y.tolist()


@pytest.mark.parametrize("settings", [{"target_fn": False}, {"y": torch.randn(60)}])
def test_without_classes(settings):
    layers, _ = found(nn.Identity(), layers=[], **settings)
    assert layers["*"]["sample_class"].tolist() == [-1] * 60
    assert_is_scikit_learns(layers["input"], X)


def test_layers_are_chosen():
    assert set(found(mlp(), analysis=PrincipalComponents(layers=["3"]))[0]) == {"3", "*"}
    with pytest.raises(ValueError, match="every_n_epochs"):
        PrincipalComponents(every_n_epochs=0)
