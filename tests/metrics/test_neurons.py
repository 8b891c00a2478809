"""NeuronSignificance and ClassSelectivity: the functions of the same data, one buffer with the others."""

import pytest
import torch
from torchmetrics import MetricCollection

from lightning_separation.functional import class_selectivity, henze_penrose_divergence, neuron_significance
from lightning_separation.metrics import ClassSelectivity, HenzePenroseDivergence, NeuronSignificance
from tests.helpers import blobs

X, Y = blobs(num_classes=3, per_class=30).tensors


def update(metric, x=X, y=Y, size=7):
    for a, b in zip(x.split(size), y.split(size), strict=True):
        metric.update(a, b)
    return metric


def assert_equal(found, expected):
    assert found._fields == expected._fields
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0, equal_nan=True)


def test_the_values_are_those_of_the_functions():
    assert_equal(update(NeuronSignificance(alpha=0.01)).compute(), neuron_significance(X, Y, alpha=0.01))
    assert_equal(update(ClassSelectivity(threshold=0.3)).compute(), class_selectivity(X, Y, threshold=0.3))


def test_the_first_of_each_class_are_kept():
    found = update(NeuronSignificance(samples_per_class=10)).compute()
    assert_equal(found, neuron_significance(X[:30], Y[:30]))  # classes are interleaved


def test_units_of_images_are_channels():
    images = torch.randn(90, 4, 3, 3)
    assert_equal(update(ClassSelectivity(), images).compute(), class_selectivity(images.mean((2, 3)), Y))
    assert_equal(update(NeuronSignificance(), images).compute(), neuron_significance(images.mean((2, 3)), Y))


@pytest.mark.parametrize("features", [X, torch.randn(90, 4, 3, 3)])
def test_a_collection_of_all_three_holds_the_data_once(features):
    metrics = [HenzePenroseDivergence(reduction="none"), NeuronSignificance(), ClassSelectivity()]
    collection = update(MetricCollection(metrics), features)
    assert len(collection.compute_groups) == 1
    held = [metric.features for _, metric in collection.items(keep_base=True, copy_state=False)]
    assert held[0][0] is held[1][0] is held[2][0]
    found = collection.compute()
    torch.testing.assert_close(found["HenzePenroseDivergence"], henze_penrose_divergence(features, Y))
    assert_equal(found["NeuronSignificance"], neuron_significance(features, Y))
    assert_equal(found["ClassSelectivity"], class_selectivity(features, Y))


def test_a_class_of_two_samples_is_left_out_by_name():
    rows = torch.cat([(Y == 0).nonzero()[:20], (Y == 1).nonzero()[:2], (Y == 2).nonzero()[:20]]).squeeze(1)
    kept = rows[Y[rows] != 1]
    metric = update(NeuronSignificance(), X[rows], Y[rows])
    with pytest.warns(UserWarning, match=r"leaves class 1 \(2\) out of tests") as caught:
        assert_equal(metric.compute(), neuron_significance(X[kept], Y[kept]))
    assert len(caught) == 1


def test_many_small_classes():
    metric = update(NeuronSignificance(), X, torch.arange(90) // 2)
    with pytest.warns(UserWarning, match=r"classes 0 \(2\), 1 \(2\), .*, 9 \(2\) and 35 more out"):
        assert metric.compute().p_value.isnan().all()


@pytest.mark.parametrize("rows, said", [(slice(0, 6), "saw 0 classes of 3"), (Y == 1, "saw 1 class of 3")])
def test_too_few_samples_are_nan_and_a_warning(rows, said):
    metric = NeuronSignificance()
    metric.update(X[rows], Y[rows])
    with pytest.warns(UserWarning, match=said):
        found = metric.compute()
    assert found.p_value.shape == (6,)
    assert found.p_value.isnan().all()
    assert not found.significant.any()


def test_nothing_seen():
    with pytest.warns(UserWarning, match="saw 0 classes"):
        assert NeuronSignificance().compute().p_value.isnan().all()
    with pytest.warns(UserWarning, match="saw no samples"):
        found = ClassSelectivity().compute()
    assert [v.shape for v in found] == [(1, 0), (1, 0), (1, 0), ()]  # torchmetrics makes a number of one
    assert found.kl.isnan().all()
    assert {v.dtype for v in found} == {torch.float64}


def test_a_collection_that_saw_nothing():
    collection = MetricCollection([HenzePenroseDivergence(), NeuronSignificance(), ClassSelectivity()])
    with pytest.warns(UserWarning, match="saw"):
        found = collection.compute()
    assert found["HenzePenroseDivergence"].isnan()
    assert found["NeuronSignificance"].p_value.isnan().all()
    assert found["ClassSelectivity"].kl.isnan().all()


@pytest.mark.parametrize("alpha", [0, 1, -0.1])
def test_bad_alpha(alpha):
    with pytest.raises(ValueError, match="alpha"):
        NeuronSignificance(alpha=alpha)
