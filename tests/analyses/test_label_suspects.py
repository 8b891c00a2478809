"""Samples among those of other classes: networkx's spanning trees, and labels that were made wrong."""

import warnings
from collections import Counter

import networkx
import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist
from torch import nn
from torch.utils.data import TensorDataset

from lightning_separation import LabelSuspects, analyze
from tests.helpers import blobs, loader, mlp

X, Y = blobs(spread=3).tensors


def found(network, x=X, y=Y, analysis=None, **settings):
    """The findings, and what was warned of."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        settings = {"samples_per_class": 1000, **settings}
        record = analyze(network, [(x, y)], [analysis or LabelSuspects()], **settings)
    return record.findings["label_suspects"], [str(w.message) for w in said]


def by_networkx(activations, y, distance):
    """Share of each sample's edges that lead to other classes, and the classes that most of them lead to."""
    graph = networkx.from_numpy_array(cdist(np.float64(activations), np.float64(activations), distance))
    tree = networkx.minimum_spanning_tree(graph)
    near = [Counter(int(y[other]) for other in tree[i]) for i in range(len(y))]
    shares = [1 - n[int(own)] / n.total() for n, own in zip(near, y, strict=True)]
    return np.array(shares), [{k for k, count in n.items() if count == max(n.values())} for n in near]


@pytest.mark.parametrize("distance", ["euclidean", "cosine"])
def test_neighbours_are_those_of_networkxs_tree(distance):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(6, 7), nn.Tanh(), nn.Linear(7, 3))
    layers, said = found(network, analysis=LabelSuspects(distance=distance))
    assert not said
    assert list(layers) == ["input", "0", "1", "2", "*"]
    with torch.no_grad():
        for layer, activations in (("input", X), ("1", network[:2](X)), ("2", network(X))):
            share, near = by_networkx(activations, Y, distance)
            assert 0 < (share == 1).sum() < 60
            np.testing.assert_allclose(layers[layer]["cross_share"], share, atol=1e-12)
            assert all(k in classes for k, classes in zip(layers[layer]["neighbour_class"], near, strict=True))
            assert layers[layer]["suspect_fraction"] == pytest.approx((share == 1).mean())


def test_wrong_labels_are_found_with_what_they_should_be():
    x, right = blobs(spread=0.3).tensors
    y = right.clone()
    wrong = [4, 17, 40]
    y[wrong] = (y[wrong] + 1) % 3
    one = found(nn.Identity(), x, y, layers=[])[0]["input"]
    assert np.flatnonzero(one["cross_share"] == 1).tolist() == wrong
    assert one["neighbour_class"][wrong].tolist() == right[wrong].tolist()
    assert one["suspect_fraction"] == 3 / 60


def test_the_index_is_that_of_the_dataset():
    y = torch.cat([torch.zeros(30), Y]).long()  # so that most of the first class are too many
    dataset = TensorDataset(torch.cat([torch.randn(30, 6), X]), y)
    record = analyze(nn.Identity(), loader(dataset, 7), [LabelSuspects()], layers=[], samples_per_class=12)
    values = record.findings["label_suspects"]["*"]
    assert len(values["sample_index"]) == 36
    assert values["sample_index"][12] > 29
    assert y[values["sample_index"]].tolist() == values["sample_class"].tolist()


def test_classes_are_positions_among_the_names():
    plain, named = (found(nn.Identity(), y=y, layers=[])[0] for y in (Y, 4 * Y + 3))
    np.testing.assert_array_equal(named["*"]["sample_class"], Y)
    np.testing.assert_array_equal(named["input"]["neighbour_class"], plain["input"]["neighbour_class"])


def test_where_all_samples_are_equal_nobody_is_suspected():
    network = nn.Sequential(nn.Linear(6, 4), nn.ReLU())
    nn.init.constant_(network[0].bias, -100)
    one = found(network)[0]["1"]
    np.testing.assert_allclose(one["cross_share"], 40 / 59)  # every sample is joined to every other one alike
    assert one["suspect_fraction"] == 0


def test_the_only_sample_of_a_class_always_is_one():
    y = Y.clone()
    y[5] = 8
    one = found(nn.Identity(), y=y, layers=[])[0]["input"]
    assert one["cross_share"][5] == 1
    assert one["neighbour_class"][5] in (0, 1, 2)


def test_a_sample_of_nan_costs_itself_only():
    x = X.clone()
    x[7, 2] = torch.nan
    kept = [i for i in range(60) if i != 7]
    layers, said = found(nn.Identity(), x, layers=[])
    assert said == ["analyze: input: label_suspects: 1 samples with NaN or infinite values are left out"]
    one = layers["input"]
    assert np.isnan(one["cross_share"][7])
    assert one["neighbour_class"][7] == -1
    share, _ = by_networkx(X[kept], Y[kept], "euclidean")
    np.testing.assert_allclose(one["cross_share"][kept], share)
    assert one["suspect_fraction"] == pytest.approx((share == 1).mean())


def test_one_class_has_no_others():
    layers, said = found(mlp(), y=torch.full((60,), 2))
    assert not layers
    assert said == ["analyze: label_suspects: it needs two classes; seen: 2"]


@pytest.mark.parametrize("settings", [{"target_fn": False}, {"y": torch.randn(60)}])
def test_without_classes_it_is_left_out(settings):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data = [(X, settings.pop("y", Y))]
        assert not analyze(mlp(), data, [LabelSuspects()], **settings).findings


def test_impossible_settings():
    with pytest.raises(ValueError, match="distance"):
        LabelSuspects(distance="manhattan")
