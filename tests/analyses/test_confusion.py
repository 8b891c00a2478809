"""The confusion matrix: scikit-learn's, whatever the network puts out."""

import warnings

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, confusion_matrix
from torch import nn

from lightning_separation import Confusion, analyze
from tests.helpers import blobs, loader, mlp

X, Y = blobs(spread=3).tensors


def found(network, x=X, y=Y, data=None, **settings):
    """What was found of all layers, and what was warned of."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        settings = {"samples_per_class": 1000, **settings}
        record = analyze(network, data or [(x, y)], [Confusion()], **settings)
    values = record.findings.get("confusion", {}).get("*", {})
    return values, [str(w.message) for w in said]


def assert_is_scikit_learns(values, y, predicted):
    np.testing.assert_array_equal(values["confusion"], confusion_matrix(y, predicted))
    assert values["confusion"].dtype == np.float64
    assert values["accuracy"] == pytest.approx(accuracy_score(y, predicted))


def trained(outputs=3, y=Y, x=X):
    """A network that tells the classes, but not all of them."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, outputs))
    optimizer = torch.optim.Adam(network.parameters(), 0.02)
    for _ in range(60):
        optimizer.zero_grad()
        output = network(x)
        loss = nn.functional.cross_entropy(output, y) if outputs > 1 else _binary_loss(output, y)
        loss.backward()
        optimizer.step()
    return network


def _binary_loss(output, y):
    return nn.functional.binary_cross_entropy_with_logits(output.squeeze(1), y.float())


class Named(nn.Module):
    """As networks of a model hub return it."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, x):
        return {"loss": torch.zeros(()), "logits": self.network(x)}


@pytest.mark.parametrize("head", [nn.Identity(), nn.Softmax(1), nn.LogSoftmax(1), nn.Sigmoid(), "named", "half"])
def test_predictions_are_those_with_the_largest_score(head):
    network = trained()
    with torch.no_grad():
        predicted = network(X).argmax(1)
    if head == "half":
        network, x = network.bfloat16(), X.bfloat16()
        predicted = network(x).argmax(1)
    else:
        network, x = Named(network) if head == "named" else nn.Sequential(network, head), X
    values, said = found(network, x)
    assert not said
    assert_is_scikit_learns(values, Y, predicted)
    assert 0.5 < values["accuracy"] < 1


@pytest.mark.parametrize("squeezed", [False, True])
@pytest.mark.parametrize("sigmoid", [False, True])
def test_two_classes_by_one_output(sigmoid, squeezed):
    y = (Y == 1).long()
    network = trained(1, y)
    with torch.no_grad():
        predicted = (network(X) > 0).squeeze(1).long()
    parts = [network, *([nn.Sigmoid()] if sigmoid else []), *([nn.Flatten(0)] if squeezed else [])]
    values, said = found(nn.Sequential(*parts), y=y)
    assert not said
    assert_is_scikit_learns(values, y, predicted)
    assert 0 < predicted.sum() < 60


def test_logits_that_look_like_probabilities():
    """From 0.1 to 0.9: all say yes."""
    network = nn.Sequential(nn.Linear(1, 1))
    nn.init.ones_(network[0].weight)
    nn.init.zeros_(network[0].bias)
    x, y = torch.linspace(0.1, 0.9, 40)[:, None], torch.arange(40) % 2
    values, _ = found(network, torch.cat([x, torch.zeros(40, 1)], 1)[:, :1], y)
    np.testing.assert_array_equal(values["confusion"], [[0, 20], [0, 20]])
    values, _ = found(nn.Sequential(network, nn.Hardtanh(0, 1)), x, y)  # not known to be logits
    np.testing.assert_array_equal(values["confusion"], [[10, 10], [10, 10]])


def test_labels_with_gaps_and_predictions_of_classes_that_do_not_occur():
    y = 4 * Y + 3
    network = trained(12, y)
    network[2].weight.data[5] = network[2].weight.data[7] + network[2].weight.data[3]
    network[2].bias.data[5] = 0
    with torch.no_grad():
        predicted = network(X).argmax(1)
    outside = ~torch.isin(predicted, torch.tensor([3, 7, 11]))
    assert 0 < outside.sum() < 60
    values, said = found(network, y=y)
    np.testing.assert_array_equal(values["confusion"], confusion_matrix(y, predicted, labels=[3, 7, 11]))
    assert values["accuracy"] == pytest.approx(accuracy_score(y, predicted))
    told = f"{outside.sum()} of 60 samples are predicted to be of classes that the sample does not have"
    assert said == [f"analyze: confusion: {told}: they are in no cell"]


def test_one_class():
    network = trained()
    with torch.no_grad():
        predicted = network(X).argmax(1)
    values, said = found(network, y=torch.full((60,), 2))
    np.testing.assert_array_equal(values["confusion"], [[(predicted == 2).sum()]])
    assert values["accuracy"] == pytest.approx((predicted == 2).double().mean().item())
    assert len(said) == 1


def test_a_dead_network_takes_all_for_one():
    network = trained()
    nn.init.zeros_(network[2].weight)
    nn.init.zeros_(network[2].bias)
    values, _ = found(network)
    np.testing.assert_array_equal(values["confusion"], [[20, 0, 0]] * 3)


def test_samples_of_nan_are_left_out():
    x = X.clone()
    x[[3, 8]] = torch.nan
    kept = [i for i in range(60) if i not in (3, 8)]
    network = trained()
    values, said = found(network, x)
    with torch.no_grad():
        assert_is_scikit_learns(values, Y[kept], network(X[kept]).argmax(1))
    assert said == ["analyze: confusion: the network gives NaN for 2 samples: they are left out"]
    values, said = found(network, X * torch.nan)
    assert not values
    assert said[-1] == "analyze: confusion: the network gives NaN for every sample"


def test_the_loader_may_come_in_any_batches_and_random_numbers_stay():
    network, state = trained(), torch.get_rng_state()
    matrices = [found(network, data=loader(blobs(spread=3), size))[0]["confusion"] for size in (1, 7, 60)]
    assert all((matrix == matrices[0]).all() for matrix in matrices)
    assert torch.equal(state, torch.get_rng_state())


def test_classes_that_torch_ignores_do_not_count():
    y = Y.clone()
    y[:10] = -100
    network = trained()
    values, _ = found(network, y=y)
    with torch.no_grad():
        predicted = network(X[10:]).argmax(1)
    np.testing.assert_array_equal(values["confusion"][0], 0)
    np.testing.assert_array_equal(values["confusion"][1:, 1:], confusion_matrix(Y[10:], predicted))
    assert values["accuracy"] == pytest.approx(accuracy_score(Y[10:], predicted))


class LooksAtWholeBatches(nn.Module):
    def forward(self, x):
        return x[:, :3] - x[:, :3].mean(0)


OTHERS = [
    (lambda: mlp(6, 6), 1, "it is taken to reproduce its input: it has no scores of the classes"),
    (lambda: mlp(6, 1), 4, "the network has one output, which is read of classes 0 and 1 only, not 0, 4, 8"),
    (lambda: mlp(6, 5), 4, "the target has class 8"),
    (lambda: nn.Sequential(mlp(6, 12), nn.Unflatten(1, (4, 3))), 1, "does not fit a target of shape"),
    (LooksAtWholeBatches, 1, "run again, the network gives another output than in the validation"),
]


@pytest.mark.parametrize("make, factor, reason", OTHERS)
def test_outputs_that_are_no_scores_of_the_classes_are_said(make, factor, reason):
    torch.manual_seed(0)
    values, said = found(make(), y=factor * Y, samples_per_class=12)
    assert not values
    (message,) = said
    assert message.startswith("analyze: confusion: ")
    assert reason.removeprefix("it is ") in message


@pytest.mark.parametrize("settings", [{"target_fn": False}, {"y": torch.randn(60)}])
def test_without_classes_it_is_left_out(settings):
    assert not found(mlp(), **settings)[0]


def test_impossible_settings():
    with pytest.raises(ValueError, match="every_n_epochs"):
        Confusion(every_n_epochs=0)
