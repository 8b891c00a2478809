import numpy as np
import pytest
import torch
from torch import nn

from lightning_separation import HenzePenrose, analyze
from lightning_separation.functional import bayes_error_bounds, friedman_rafsky, generalized_henze_penrose
from tests.helpers import blobs, loader

X, Y = blobs().tensors


def found(analysis, x=X, y=Y, **settings):
    record = analyze(nn.Identity(), [(x, y)], [analysis], layers=[], **settings)
    return record, record.findings["henze_penrose"]["input"]


def test_quantities_are_those_of_the_functions():
    _, values = found(HenzePenrose(distance="cosine", num_trees=2))
    test = friedman_rafsky(X, Y, distance="cosine", num_trees=2)
    bounds = bayes_error_bounds(test.divergence, torch.tensor([20, 20, 20]))
    for name in ("divergence", "cross_edges", "z", "p_value"):
        np.testing.assert_array_equal(values[name], getattr(test, name))
    np.testing.assert_array_equal(values["bayes_lower"], bounds.lower)
    np.testing.assert_array_equal(values["bayes_upper"], bounds.upper)
    assert values["bayes_error"] == bounds.total_upper.item()
    assert values["bayes_error_lower"] == bounds.total_lower.item()
    upper = test.divergence[tuple(torch.triu_indices(3, 3, 1))]
    assert values["separation"] == upper.mean().item()
    assert values["separation_min"] == upper.min().item()
    assert values["separation_max"] == upper.max().item()


def test_error_of_the_mean_is_that_of_leaving_out_one_class():
    x, y = blobs(5, spread=3).tensors
    _, values = found(HenzePenrose(), x, y)
    left_out = [found(HenzePenrose(), x[y != k], y[y != k])[1]["separation"] for k in range(5)]
    assert values["separation_error"] == pytest.approx(np.sqrt(4 / 5 * 5 * np.var(left_out)))
    assert values["separation_error"] > 0.01


def test_error_of_the_mean_needs_three_classes():
    _, values = found(HenzePenrose(), X[Y < 2], Y[Y < 2])
    assert np.isnan(values["separation_error"])


def test_one_tree_over_all_classes():
    _, values = found(HenzePenrose(multiclass="global"))
    tree = generalized_henze_penrose(X, Y)
    np.testing.assert_array_equal(values["cross_edges"], tree.cross_edges)
    np.testing.assert_array_equal(values["divergence"], tree.divergence)
    assert values["bayes_error"] == tree.upper.item()
    assert "p_value" not in values


def test_a_layer_with_fewer_trees_is_measured_with_those_it_has():
    # One point at 0 and the others on far axes: the first tree is a star and uses every edge of that point.
    x = torch.cat([torch.zeros(1, 10), 10 * torch.eye(10)])
    y = torch.arange(11) % 2
    with pytest.warns(UserWarning, match="num_trees=2 is too many.*measured with 1"):
        _, values = found(HenzePenrose(num_trees=2), x, y)
    np.testing.assert_array_equal(values["divergence"], friedman_rafsky(x, y).divergence)


def test_a_rare_class_changes_nothing_for_the_others():
    x, y = torch.cat([X, torch.randn(4, 6)]), torch.cat([Y, torch.full((4,), 1)])
    y[:60][Y == 1] = 9
    with pytest.warns(UserWarning, match=r"class 1 \(4\) left out of pairs"):
        record, values = found(HenzePenrose(), x, y)
    _, alone = found(HenzePenrose())
    assert record.class_names == ["0", "1", "2", "9"]
    assert np.isnan(values["divergence"][1]).all()
    order = [0, 3, 2]  # the class 9 was 1
    np.testing.assert_array_equal(values["divergence"][np.ix_(order, order)], alone["divergence"])
    for name in ("separation", "separation_error", "separation_min", "separation_max"):
        assert values[name] == pytest.approx(alone[name])
    assert values["bayes_error"] == pytest.approx(alone["bayes_error"])


def test_class_names():
    record, _ = found(HenzePenrose(), class_names=["cat", "dog", "fox"])
    assert record.class_names == ["cat", "dog", "fox"]
    with pytest.warns(UserWarning, match="2 names, none for class 2"):
        record, _ = found(HenzePenrose(), class_names=["cat", "dog"])
    assert record.class_names == ["cat", "dog", "2"]


def test_the_loader_may_come_in_any_batches():
    records = [analyze(nn.Identity(), loader(blobs(), size), layers=[]) for size in (1, 7, 60)]
    for record in records[1:]:
        np.testing.assert_array_equal(
            record.findings["henze_penrose"]["input"]["z"], records[0].findings["henze_penrose"]["input"]["z"]
        )
