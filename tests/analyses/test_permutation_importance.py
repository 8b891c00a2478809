"""PermutationImportance against the mean over all pairs of samples, of which a permutation is a sample."""

import warnings

import numpy as np
import pytest
import torch
from pytorch_lightning import Callback
from torch import nn

from lightning_separation import PermutationImportance, SeparationMonitor, analyze, load_run
from lightning_separation.records import OBJECTIVES
from tests.helpers import Classifier, blobs, hooks, loader, mlp, trainer

X, Y = blobs(3).tensors
SIZES = [25, 7, 28]
NAMES = ["age", "pulse", "sugar", "iron", "salt", "fat"]


def found(network, analysis=None, x=X, y=Y, **settings):
    """Findings of the input, their labels, and what was warned of."""
    analysis = analysis or PermutationImportance(repeats=30)
    target = [()] * 3 if y is None else [(part,) for part in y.split(SIZES)]
    batches = [(part, *rest) for part, rest in zip(x.split(SIZES), target, strict=True)]
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        record = analyze(network, batches, [analysis], **settings)
    findings = record.findings["permutation_importance"]
    return findings.get("input"), findings.labels, [str(w.message) for w in said]


def cross_entropy(output, y):
    return nn.functional.cross_entropy(output, y, reduction="none")


def squared_error(output, y):
    return (output - y.reshape(output.shape)).square().flatten(1).mean(1)


def relative_error(output, given):
    return 100 * (output - given).flatten(1).norm(dim=1) / given.flatten(1).norm(dim=1)


@torch.no_grad()
def expected(network, features, loss, x=X, y=Y):
    """Clean loss; by group of columns the mean increase and change of each output if values come from any sample."""
    network.eval()
    clean = network(x).double()
    num, own = len(x), torch.arange(len(x)).repeat_interleave(len(x))
    losses, changes = [], []
    for columns in features:
        mixed = x[own].clone()
        mixed[:, columns] = x.repeat(num, *(1,) * (x.ndim - 1))[:, columns]
        output = network(mixed).double()
        losses.append(loss(output, mixed.double() if y is None else y[own]).mean())
        change = (output - clean[own]).abs()
        changes.append(change.mean([0, *range(2, change.ndim)]))
    before = loss(clean, x.double() if y is None else y).mean()
    return before.item(), torch.stack(losses) - before, torch.stack(changes)


def assert_as_expected(values, network, loss, features=None, x=X, y=Y):
    features = [[i] for i in range(x.shape[1])] if features is None else features
    clean, increase, changes = expected(network, features, loss, x, y)
    assert values["clean_loss"] == pytest.approx(clean, rel=1e-5)
    assert values["importance"].shape[0] == len(features)
    repeats = values["importance"].shape[1]
    error = values["importance"].std(1, ddof=1) / repeats**0.5
    assert (np.abs(values["importance"].mean(1) - increase.numpy()) <= 5 * error + 1e-6).all()
    np.testing.assert_allclose(values["output_change"], changes, rtol=0.25, atol=1e-4)
    output = network(x).detach().double()
    output = output if output.ndim < 4 else output.movedim(1, -1).flatten(0, -2)
    np.testing.assert_allclose(values["output_std"], output.std(0), rtol=1e-5)
    assert np.abs(values["importance"]).max() > 1e-3


def test_classes():
    torch.manual_seed(0)
    network = mlp()
    values, labels, said = found(network, class_names=["a", "b", "c"])
    assert not said
    assert_as_expected(values, network, cross_entropy)
    clean, less, _ = expected(network, [[i] for i in range(6)], lambda o, y: (o.argmax(1) == y).double())
    assert values["clean_accuracy"] == pytest.approx(clean)
    np.testing.assert_allclose(values["accuracy"].mean(1), less, atol=0.03)
    assert OBJECTIVES[int(values["objective"])] == "classes"
    assert labels == {"feature": [str(i) for i in range(6)], "output": ["a", "b", "c"]}


def test_classes_with_gaps_between_their_numbers():
    torch.manual_seed(0)
    network, y = mlp(6, 12), torch.tensor([3, 7, 11])[Y]
    values, labels, _ = found(network, y=y)
    assert_as_expected(values, network, cross_entropy, y=y)
    assert "output" not in labels  # twelve outputs, three of them with a name


@pytest.mark.parametrize("shape", [(-1,), (-1, 1)])
def test_values_of_a_linear_model_have_known_importances(shape):
    network = nn.Sequential(nn.Linear(6, 1, bias=False))
    network[0].weight.data = torch.tensor([[2.0, -1.0, 0.5, 0, 0, 0]])
    y = network(X).detach().reshape(shape) + 0.25
    values, _, said = found(network, PermutationImportance(repeats=200), y=y)
    assert not said
    by_hand = 2 * X.double().var(0, correction=0) * network[0].weight.detach()[0].double() ** 2
    error = 5 * values["importance"].std(1) / 200**0.5
    assert (np.abs(values["importance"].mean(1) - by_hand.numpy()) <= error).all()
    np.testing.assert_array_equal(values["importance"][3:], 0)
    np.testing.assert_array_equal(values["output_change"][3:], 0)
    assert values["clean_loss"] == pytest.approx(0.0625, rel=1e-3)
    assert OBJECTIVES[int(values["objective"])] == "values"
    assert not {"accuracy", "clean_accuracy"} & values.keys()


def autoencoder(width=6):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(width, 3), nn.Tanh(), nn.Linear(3, width))


@pytest.mark.parametrize("y", [None, Y, X, X[:, :2]])
@pytest.mark.filterwarnings("ignore:analyze")
def test_an_autoencoder_with_and_without_labels(y):
    network = autoencoder()
    values, labels, _ = found(network, PermutationImportance(repeats=30, feature_names=NAMES), y=y)
    assert_as_expected(values, network, relative_error, y=None)
    assert OBJECTIVES[int(values["objective"])] == "input"
    assert labels == {"feature": NAMES, "output": NAMES}
    assert "accuracy" not in values


def test_an_autoencoder_that_ignores_a_feature_loses_nothing_that_it_had():
    network = autoencoder()
    network[0].weight.data[:, 2] = 0
    values, _, _ = found(network, y=None)
    assert_as_expected(values, network, relative_error, y=None)
    np.testing.assert_array_equal(values["output_change"][2], 0)
    assert (values["output_change"][[0, 1, 3, 4, 5]] > 0).all()


def test_as_many_features_as_classes():
    """Then an autoencoder of labelled data looks like a classifier."""
    network, x = autoencoder(3), X[:, :3].contiguous()
    values, _, _ = found(network, x=x)
    assert OBJECTIVES[int(values["objective"])] == "classes"
    values, labels, _ = found(network, PermutationImportance(repeats=30, objective="input"), x=x)
    assert_as_expected(values, network, relative_error, x=x, y=None)
    assert "output" not in labels


def test_questions_of_their_own():
    torch.manual_seed(0)
    network = mlp(6, 4)
    y = (torch.randn(60, 4, generator=torch.Generator().manual_seed(1)) > 0).float()
    values, labels, _ = found(network, y=y)

    def loss(output, y):
        return nn.functional.binary_cross_entropy_with_logits(output, y.double(), reduction="none").mean(1)

    assert_as_expected(values, network, loss, y=y)
    assert values["clean_accuracy"] == pytest.approx(((network(X) > 0) == y.bool()).double().mean().item())
    assert OBJECTIVES[int(values["objective"])] == "classes"  # cross-entropy, in nats
    assert "output" not in labels


# Groups


GROUPS = {"first": [0, 1], "rest": [3, 4, 5]}


@pytest.mark.parametrize(
    "groups",
    [
        GROUPS,
        {"first": ["age", "pulse"], "rest": ["iron", 4, "fat"]},
        {"first": list(np.arange(2)), "rest": np.array([3, 4, 5])},
        {"first": (0, 1), "rest": range(3, 6)},
    ],
)
def test_groups(groups):
    torch.manual_seed(0)
    network = mlp()
    analysis = PermutationImportance(repeats=30, groups=groups, feature_names=NAMES)
    values, labels, said = found(network, analysis)
    assert not said
    assert_as_expected(values, network, cross_entropy, list(GROUPS.values()))
    assert labels["feature"] == ["first", "rest"]


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ({"a": ["blood"]}, "groups: there is no feature 'blood' among 6"),
        ({"a": [0], "b": [6]}, "groups: there is no feature 6 among 6"),
        ({"a": [-1]}, "groups: there is no feature -1 among 6"),
        ({"a": [0.5]}, "groups: there is no feature 0.5 among 6"),
        ({"a": []}, "has no feature"),
    ],
)
def test_groups_of_features_that_are_not_there(groups, message):
    values, _, said = found(mlp(), PermutationImportance(groups=groups))
    assert values is None
    assert len(said) == 1
    assert message in said[0]


def correlated(pairs=1, width=6):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(60, width, generator=generator)
    for i in range(pairs):
        x[:, 2 * i + 1] = -x[:, 2 * i] + 0.1 * torch.randn(60, generator=generator)
    return x


def test_correlated_features_are_told_of():
    x = correlated()
    values, labels, said = found(mlp(), PermutationImportance(repeats=2, feature_names=NAMES), x=x)
    (message,) = said
    assert "correlated above 0.9: age, pulse." in message
    assert 'groups="correlated"' in message
    assert len(values["importance"]) == 6
    assert labels["feature"] == NAMES
    _, _, said = found(mlp(16), PermutationImportance(repeats=2), x=correlated(7, 16))
    assert "0, 1; 2, 3; 4, 5; 6, 7; 8, 9 and 2 groups more" in said[0]


def test_correlated_features_together():
    x = correlated(2)
    torch.manual_seed(0)
    network = mlp()
    analysis = PermutationImportance(repeats=30, groups="correlated", feature_names=NAMES)
    values, labels, said = found(network, analysis, x=x)
    assert not said
    assert labels["feature"] == ["age + pulse", "sugar + iron", "salt", "fat"]
    assert_as_expected(values, network, cross_entropy, [[0, 1], [2, 3], [4], [5]], x=x)


def test_what_features_have_in_common_none_of_them_has_alone():
    x = torch.randn(60, 2, generator=torch.Generator().manual_seed(0))
    x[:, 1] = x[:, 0] + 1e-3 * x[:, 1]
    network = nn.Sequential(nn.Linear(2, 1, bias=False))
    network[0].weight.data = torch.tensor([[1.0, 1.0]])
    alone = found(network, x=x, y=2 * x[:, 0])[0]["importance"].mean(1)
    together = found(network, PermutationImportance(repeats=30, groups="correlated"), x=x, y=2 * x[:, 0])[0][
        "importance"
    ]
    assert together.shape[0] == 1
    assert together.mean() == pytest.approx(2 * alone.sum(), rel=0.1)  # (a + b)^2 against a^2 + b^2


# Inputs of other kinds


class TwoInputs(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.side = nn.Linear(6, 4), nn.Linear(2, 4)
        self.head = nn.Linear(4, 3)

    def forward(self, pixels, sugar):
        return self.head(torch.tanh(self.body(pixels) + self.side(sugar)))


@pytest.mark.parametrize("argument", ["pixels", "sugar", None])
def test_one_of_several_inputs_by_its_name(argument):
    torch.manual_seed(0)
    network = TwoInputs()
    side = torch.randn(60, 2, generator=torch.Generator().manual_seed(1))
    batches = [
        {"pixels": a, "sugar": b, "y": c}
        for a, b, c in zip(X.split(SIZES), side.split(SIZES), Y.split(SIZES), strict=True)
    ]
    record = analyze(network, batches, [PermutationImportance(repeats=30, argument=argument)])
    values = record.findings["permutation_importance"]["input"]
    if argument == "sugar":
        assert_as_expected(values, With(network, X), cross_entropy, x=side)
    else:
        assert_as_expected(values, Without(network, side), cross_entropy)


class With(nn.Module):
    """The network as a function of its second input."""

    def __init__(self, network, first):
        super().__init__()
        self.network, self.first = network, first

    def forward(self, side):
        rows = torch.arange(len(side)) // (len(side) // 60)
        return self.network(self.first[rows], side)


class Without(With):
    """As a function of its first input."""

    def forward(self, x):
        rows = torch.arange(len(x)) // (len(x) // 60)
        return self.network(x, self.first[rows])


@pytest.mark.parametrize(
    ("argument", "message"), [("salt", "argument='salt'"), (3, "argument=3"), ("x", "none by name")]
)
def test_an_argument_that_the_network_does_not_have(argument, message):
    values, _, said = found(mlp(), PermutationImportance(argument=argument))
    assert values is None
    assert message in said[0]


def test_words_are_features_by_their_position():
    torch.manual_seed(0)
    words = torch.randint(0, 20, (60, 4), generator=torch.Generator().manual_seed(0))
    network = nn.Sequential(nn.Embedding(20, 5), nn.Flatten(), nn.Linear(20, 3))
    values, _, said = found(network, x=words)
    assert not said
    assert_as_expected(values, network, cross_entropy, x=words)


def test_one_number_for_each_sample():
    torch.manual_seed(0)
    words = torch.randint(0, 20, (60,), generator=torch.Generator().manual_seed(0))
    network = nn.Sequential(nn.Embedding(20, 5), nn.Linear(5, 3))
    values, _, said = found(network, x=words)
    assert not said
    assert_as_expected(values, nn.Sequential(nn.Flatten(0), network), cross_entropy, x=words[:, None])


def test_images_have_channels():
    torch.manual_seed(0)
    x = torch.randn(60, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16, 3))
    values, labels, said = found(network, PermutationImportance(repeats=30, feature_names=["r", "g", "b"]), x=x)
    assert not said
    assert labels["feature"] == ["r", "g", "b"]
    assert_as_expected(values, network, cross_entropy, x=x)


def test_an_autoencoder_of_images():
    torch.manual_seed(0)
    x = torch.randn(60, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.ConvTranspose2d(4, 3, 3))
    values, _, said = found(network, PermutationImportance(repeats=20), x=x, y=None)
    assert [message for message in said if "permutation" in message] == []
    assert_as_expected(values, network, relative_error, x=x, y=None)


def test_sequences_of_other_length_in_each_batch():
    class LastStep(nn.Module):
        def __init__(self):
            super().__init__()
            self.run, self.head = nn.GRU(4, 5, batch_first=True), nn.Linear(5, 3)

        def forward(self, x):
            return self.head(self.run(x)[0][:, -1])

    torch.manual_seed(0)
    parts = [torch.randn(20, length, 4) for length in (3, 5, 3)]
    network = LastStep()
    with warnings.catch_warnings(record=True):
        warnings.simplefilter("always")
        batches = list(zip(parts, Y.split(20), strict=True))
        record = analyze(network, batches, [PermutationImportance(repeats=30)])
    values = record.findings["permutation_importance"]["input"]
    assert values["importance"].shape == (4, 30)
    assert (values["output_change"] > 0).all()


def test_samples_are_permuted_over_all_batches():
    """A feature that is constant within every batch is permuted all the same."""
    torch.manual_seed(0)
    x = X.clone()
    x[:, 2] = torch.arange(3).repeat_interleave(torch.tensor(SIZES))
    network = nn.Sequential(nn.Linear(6, 1))
    values, _, _ = found(network, x=x, y=x[:, 2] + 0.5)
    assert np.abs(values["importance"][2]).min() > 0
    assert_as_expected(values, network, squared_error, x=x, y=x[:, 2] + 0.5)


def test_a_constant_feature_has_no_importance():
    x = X.clone()
    x[:, 4] = 3.0
    values, _, said = found(mlp(), x=x)
    assert not said
    np.testing.assert_array_equal(values["importance"][4], 0)
    np.testing.assert_array_equal(values["output_change"][4], 0)


def test_samples_that_give_nan_are_left_out():
    torch.manual_seed(0)
    network, x = mlp(), X.clone()
    x[[3, 40], 1] = torch.nan
    values, _, said = found(network, x=x)
    assert any("the network gives NaN for 2 samples: they are left out" in message for message in said)
    kept = [i for i in range(60) if i not in (3, 40)]
    assert_as_expected(values, network, cross_entropy, x=X[kept], y=Y[kept])


# Budget, names, repeatability


def test_fewer_repeats_than_asked_for_are_said():
    values, _, said = found(mlp(), PermutationImportance(repeats=50, max_forwards=100))
    assert values["importance"].shape == (6, 16)
    assert said == ["analyze: permutation_importance: 6 features, max_forwards=100: 16 repeats instead of 50"]


def test_more_features_than_forwards_are_refused_with_the_way_out():
    values, _, said = found(mlp(), PermutationImportance(max_forwards=5))
    assert values is None
    assert said == ["analyze: permutation_importance: 6 features, max_forwards=5: raise it, or give groups="]
    values, _, said = found(mlp(), PermutationImportance(max_forwards=5, groups=GROUPS))
    assert values["importance"].shape == (2, 2)


def test_at_most_so_many_samples_evenly_of_each_class():
    torch.manual_seed(0)
    network = mlp()
    values, _, _ = found(network, PermutationImportance(repeats=30, max_samples=31))
    first = torch.cat([(k == Y).nonzero()[:10, 0] for k in range(3)]).sort().values
    assert_as_expected(values, network, cross_entropy, x=X[first], y=Y[first])


def test_a_wrong_number_of_names_costs_the_names_only():
    values, labels, said = found(mlp(), PermutationImportance(repeats=2, feature_names=NAMES[:2]))
    assert said == ["analyze: permutation_importance: 2 feature_names for 6 features; numbers are shown"]
    assert labels["feature"] == [str(i) for i in range(6)]
    assert len(values["importance"]) == 6


def test_it_is_the_same_each_time_and_leaves_random_numbers_alone():
    torch.manual_seed(0)
    network = mlp()
    state, weights = torch.get_rng_state(), [weight.clone() for weight in network.parameters()]
    one, two, other = (found(network, seed=seed)[0] for seed in (0, 0, 1))
    for quantity in one:
        np.testing.assert_array_equal(one[quantity], two[quantity])
    assert (one["importance"] != other["importance"]).any()
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(a, b) for a, b in zip(weights, network.parameters(), strict=True))
    assert network.training
    assert hooks(network) == 0


def test_layers_other_than_the_input_are_none_of_its_business():
    values, _, said = found(mlp(), PermutationImportance(layers=["0"]))
    assert values is None
    assert "layers=['0'] fit none of input" in said[0]


@pytest.mark.parametrize(
    "settings",
    [
        {"repeats": 0},
        {"max_samples": 1.5},
        {"max_forwards": -1},
        {"objective": "labels"},
        {"feature_names": "age"},
        {"groups": "all"},
        {"groups": {}},
        {"groups": {"blood": "age"}},
        {"groups": [[0, 1]]},
    ],
)
def test_impossible_settings(settings):
    with pytest.raises(ValueError, match=next(iter(settings))):
        PermutationImportance(**settings)


# In the monitor


def fit(root, module, *callbacks, analysis=None, **settings):
    """What was found in the last epoch, None if nothing, and what was warned of."""
    monitor = SeparationMonitor([analysis or PermutationImportance(repeats=2)], **settings)
    t = trainer(root, *callbacks, monitor)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        t.fit(module, loader(blobs(seed=1)), loader(blobs()))
    assert t.current_epoch == 2
    assert hooks(module) == 0
    messages = [str(w.message) for w in said if "SeparationMonitor" in str(w.message)]
    return (load_run(t.log_dir).records[-1].findings if list(root.rglob("*.npz")) else None), messages


class Two(Classifier):
    """Its step calls two networks."""

    def __init__(self):
        super().__init__()
        self.body, self.net = nn.Linear(6, 6), mlp()
        nn.init.eye_(self.body.weight)  # its units are no more correlated than the input

    def training_step(self, batch, batch_idx):
        return self.loss(self.net(self.body(batch[0])), batch[1])

    def validation_step(self, batch, batch_idx, dataloader_idx=0):
        self.log("val_loss", self.training_step(batch, batch_idx))


def test_several_networks_are_refused_by_name(tmp_path):
    findings, said = fit(tmp_path / "a", Two())
    assert findings is None
    assert said == [
        "SeparationMonitor 'separation': permutation_importance: the step calls body, net: choose one by network="
    ]
    findings, said = fit(tmp_path / "b", Two(), network="net")
    assert not said
    assert findings["permutation_importance"]["input"]["importance"].shape == (6, 2)


def test_weights_that_change_after_the_pass_are_refused(tmp_path):
    class Averages(Callback):
        def on_validation_epoch_end(self, trainer, pl_module):
            if not trainer.sanity_checking:
                with torch.no_grad():
                    pl_module.net[0].weight.mul_(0.5)

    findings, said = fit(tmp_path, Classifier(), Averages())
    assert findings is None
    (message,) = said
    assert "permutation_importance: the network's weights are no longer those of the validation" in message


def test_a_compiled_network_is_that_network(tmp_path):
    torch.manual_seed(0)
    network = mlp()
    plain = found(network)[0]
    compiled = found(torch.compile(network, backend="eager"))[0]
    np.testing.assert_allclose(plain["importance"], compiled["importance"], atol=1e-6)


def test_correlation_is_said_once_in_a_fit(tmp_path):
    class Doubled(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = mlp(12)

        def forward(self, x):
            return self.net(x)

    class Twice(Classifier):
        def training_step(self, batch, batch_idx):
            return super().training_step((batch[0].repeat(1, 2), batch[1]), batch_idx)

        def validation_step(self, batch, batch_idx, dataloader_idx=0):
            super().validation_step((batch[0].repeat(1, 2), batch[1]), batch_idx)

    findings, said = fit(tmp_path, Twice(Doubled()), on_error="raise")
    assert findings["permutation_importance"]["input"]["importance"].shape == (12, 2)
    (message,) = said
    assert "correlated above 0.9: 0, 6; 1, 7; 2, 8; 3, 9; 4, 10 and 1 groups more" in message
