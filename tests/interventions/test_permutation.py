"""Permutation importance against a plain loop, scikit-learn, closed forms and what must hold."""

import warnings
from collections import OrderedDict, UserDict
from contextlib import nullcontext
from copy import deepcopy
from types import MappingProxyType

import numpy as np
import pytest
import torch
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.datasets import load_iris
from sklearn.inspection import permutation_importance as scikit_learns
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from lightning_separation.interventions import clean_run, permutation_importance
from lightning_separation.interventions.batches import Batch, evaluating
from lightning_separation.interventions.gate import PermutedFeatures
from lightning_separation.interventions.outcomes import relative_error
from lightning_separation.interventions.permutation import FeaturePermutation, permutation_effects
from tests.helpers import hooks
from tests.interventions.odd_networks import CASES, IMAGES, ROWS, STEPS, TARGET, WORDS, N
from tests.interventions.plain_loop import logits_of
from tests.interventions.test_ablation import Stateful, _same, _state, made, mlp

REPEATS = 3
UNAFFECTED = {"a layer that is not used", "no variance", "one sample"}


@pytest.fixture(autouse=True)
def _one_thread():
    """Small tensors: threads would only wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def orders(size, repeats=REPEATS, seed=0):
    generator = seeded(seed)
    return [torch.randperm(size, generator=generator) for _ in range(repeats)]


def plain(network, x, measure, *, groups=None, axis=None, chosen=None, call=lambda network, x: network(x)):
    """Mean changes of ``measure(returned, x) [N, ...]``, ``[groups, repeats, ...]``, of fresh copies, seeded alike."""
    axis = (1 if x.ndim > 3 else x.ndim - 1) if axis is None else axis
    groups = [[feature] for feature in range(x.shape[axis])] if groups is None else groups

    def run(given):
        torch.manual_seed(7)
        with torch.no_grad():
            return measure(call(deepcopy(network).eval(), given.clone()), given).double()

    def change(group, order):
        given = x.clone()
        for feature in group:
            given.select(axis, feature).copy_(x.select(axis, feature)[order])
        return run(given) - clean

    clean = run(x)
    chosen = orders(len(x)) if chosen is None else chosen
    return torch.stack([torch.stack([change(group, order).mean(0) for order in chosen]) for group in groups])


def losses(target):
    return lambda returned, _: cross_entropy(logits_of(returned).double(), target, reduction="none")


def correct(target):
    return lambda returned, _: logits_of(returned).argmax(1) == target


def squares(target):
    return lambda returned, _: (returned.double() - target).square().flatten(1).mean(1)


def relative(returned, x):
    error, length = ((returned - x).double().flatten(1).norm(dim=1), x.double().flatten(1).norm(dim=1))
    return torch.where(length > 0, 100 * error / length, 0)


def output_changes(network, x, **settings):
    """``[groups, outputs]``, where outputs are ``[N, outputs]``."""
    clean = logits_of(deepcopy(network).eval()(x.clone())).detach()
    return plain(network, x, lambda returned, _: (logits_of(returned) - clean).abs(), **settings).mean(1)


def close(found, expected, atol=1e-5):
    torch.testing.assert_close(found, expected, rtol=0, atol=atol, equal_nan=True)


def module(function, **parts):
    """A network that is ``function(parts, *args, **kwargs)``."""

    class Module(nn.Module):
        def __init__(self):
            super().__init__()
            for name, part in parts.items():
                setattr(self, name, part)

        def forward(self, *args, **kwargs):
            return function(self, *args, **kwargs)

    return Module()


def autoencoder(*widths):
    torch.manual_seed(0)
    return nn.Sequential(*mlp(*widths, activation=nn.Tanh))


# ---- the plain loop


@pytest.mark.parametrize("name", CASES)
def test_the_plain_loop_gives_the_same(name, monkeypatch):
    case = CASES[name]
    network = made(case)
    scores = (losses(case.target), correct(case.target))
    loss, accuracy = plain(
        network,
        case.inputs,
        lambda o, x: torch.stack([score(o, x).double() for score in scores], 1),
        chosen=orders(len(case.inputs), 2),
    ).unbind(2)
    for room in (2**19, 1):  # all copies at once, and feature by feature
        monkeypatch.setitem(clean_run._ELEMENTS_AT_ONCE, "cpu", room)
        torch.manual_seed(7)
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            found = permutation_effects(network, case.inputs, case.target, repeats=2)
        close(found.loss, loss)
        close(found.accuracy, accuracy)
        said = [str(w.message) for w in said if "the whole network was run for each feature" in str(w.message)]
        assert len(said) == (case.warning is not None), said
    assert (loss.abs().max() > 1e-4) == (name not in UNAFFECTED)  # or to agree says nothing


WIDE = torch.randn(700, 800, generator=seeded(8))


def test_column_by_column_and_all_at_once_are_the_same():
    """One copy of the input is more than fits; with a group that is no single feature whole inputs are run."""
    network = autoencoder(800, 4, 3)
    target = torch.arange(700) % 3
    columns = permutation_effects(network, WIDE, target, repeats=2, groups=[[5], [799], [0]])
    whole = permutation_effects(network, WIDE, target, repeats=2, groups=[[5], [799], [0], [1, 2]])
    expected = plain(network, WIDE, losses(target), groups=[[5], [799], [0], [1, 2]], chosen=orders(700, 2))
    close(columns.loss, expected[:3], 1e-7)
    close(whole.loss, expected, 1e-7)
    close(columns.outputs, whole.outputs[:3], 1e-7)
    assert expected.abs().min() > 1e-6


@pytest.mark.parametrize("rows", [N, 700])
def test_values_to_predict(rows):
    x = ROWS if rows == N else WIDE[:, :5]
    network, target = mlp(5, 6, 2), torch.randn(rows, 2, generator=seeded(1)) * 3
    found = permutation_effects(network, x, target, repeats=REPEATS)
    close(found.loss, plain(network, x, squares(target)))
    close(found.outputs, output_changes(network, x))
    assert found.accuracy.isnan().all()
    assert found.loss.abs().min() > 1e-5


def test_yes_or_no():
    network, target = mlp(5, 6, 2), (torch.arange(N * 2).view(N, 2) % 3 == 0).float()
    found = permutation_effects(network, ROWS, target, repeats=REPEATS)

    def entropies(returned, _):
        return binary_cross_entropy_with_logits(returned.double(), target.double(), reduction="none").mean(1)

    close(found.loss, plain(network, ROWS, entropies))
    close(found.accuracy, plain(network, ROWS, lambda o, _: ((o > 0) == (target > 0)).double().mean(1)))


def test_classes_as_one_hot_and_arrays():
    network = mlp(5, 6, 3)
    expected = permutation_importance(network, ROWS, TARGET, repeats=REPEATS)
    one_hot = nn.functional.one_hot(TARGET, 3)
    for target in (one_hot, one_hot.float(), TARGET.numpy(), TARGET.tolist(), TARGET.unsqueeze(1)):
        assert torch.equal(permutation_importance(network, ROWS, target, repeats=REPEATS), expected)


@pytest.mark.parametrize("makes", [
    lambda o: (o, o * 2, None), lambda o: {"hidden": o * 2, "logits": o}, lambda o: UserDict(logits=o),
], ids=["tuple", "mapping", "user's mapping"])  # fmt: skip
def test_own_loss_is_given_all_that_is_returned(makes):
    network = module(lambda self, x: makes(self.fc(x)), fc=mlp(5, 6, 3))

    def read(returned):
        return returned[0] if isinstance(returned, tuple) else returned["logits"]

    def hinge(returned, target):
        assert type(returned) is type(makes(ROWS))
        wrong = read(returned).gather(1, target.unsqueeze(1)).squeeze(1)
        return (1 - wrong).relu().double()

    found = permutation_importance(network, ROWS, TARGET, repeats=REPEATS, loss=hinge)
    close(found, plain(network, ROWS, lambda returned, _: hinge(returned, TARGET)), 1e-6)
    assert found.abs().max() > 1e-3


@pytest.mark.parametrize("shape", ["[N, D]", "[N]", "[N, C, H, W]"])
def test_own_loss_without_target_is_given_what_was_permuted(shape):
    x = {"[N, D]": ROWS, "[N]": ROWS[:, 0], "[N, C, H, W]": IMAGES}[shape]
    network = module(lambda self, x: x.sin() * x.flatten(1).mean(1).view(-1, *(1,) * (x.ndim - 1)) if x.ndim > 1
                     else x.sin())  # fmt: skip

    def distance(returned, given):
        assert given.shape == x.shape
        return (returned - given).abs().reshape(N, -1).sum(1)

    found = permutation_importance(network, x, repeats=REPEATS, loss=distance)
    if x.ndim > 1:
        close(found, plain(network, x, distance))
        assert found.abs().max() > 1e-3
    else:
        close(found, torch.zeros(1, REPEATS).double(), 1e-7)  # both go with the samples


# ---- closed forms


def test_a_linear_model_by_its_closed_form():
    """Over permutations the squared error grows by 2 w^2 var(x) + 2 w cov(error, x), population moments."""
    weight = torch.tensor([[2.0, -1.0, 0.5, 0.0]])
    network = nn.Linear(4, 1, bias=False)
    network.weight.data.copy_(weight)
    x = torch.randn(40, 4, generator=seeded()) * torch.tensor([1.0, 2.0, 0.5, 3.0]) + 1
    noise = torch.randn(40, 1, generator=seeded(1))
    found = permutation_importance(network, x, x @ weight.T + noise, repeats=2000)
    centred = x.double() - x.double().mean(0)
    expected = 2 * weight[0] ** 2 * centred.square().mean(0) + 2 * weight[0] * (noise * centred).mean(0)
    error = found.std(1) / 2000**0.5
    assert ((found.mean(1) - expected).abs() <= 4 * error + 1e-7).all()
    assert (error[:3] < 0.02 * found.mean(1)[:3]).all()
    assert (found[3].abs() < 1e-6).all()


def test_one_permutation_by_hand():
    network = nn.Linear(2, 1, bias=False)
    network.weight.data.copy_(torch.tensor([[3.0, 0.0]]))
    x = torch.tensor([[0.0, 5.0], [1.0, 6.0], [3.0, 9.0]])
    (order,) = orders(3, 1)
    found = permutation_effects(network, x, network(x).detach(), repeats=1)
    moved = x[order, 0] - x[:, 0]
    assert moved.any()
    close(found.loss, torch.tensor([[9 * float(moved.square().mean())], [0.0]]).double(), 1e-6)
    close(found.outputs, torch.tensor([[3 * float(moved.abs().mean())], [0.0]]).double(), 1e-6)


def test_duplicates_stand_in_for_each_other_and_a_group_does_not():
    torch.manual_seed(0)
    x = torch.randn(200, 1, generator=seeded()).expand(200, 3).clone()
    x[:, 2] = torch.randn(200, generator=seeded(1))
    target = (x[:, 0] > 0).long()
    network = nn.Linear(3, 2)
    network.weight.data = torch.tensor([[-4.0, -4.0, 0.0], [4.0, 4.0, 0.0]])
    network.bias.data.zero_()
    first, second, other, both = permutation_effects(network, x, target, groups=[[0], [1], [2], [0, 1]]).accuracy.mean(
        1
    )
    assert other == 0
    assert both < -0.4  # as good as chance
    assert min(first, second) > -0.35


# ---- scikit-learn


class Estimator(ClassifierMixin, BaseEstimator):
    def __init__(self, network, classes):
        self.network, self.classes_ = network, np.arange(classes)

    def fit(self, x, y):
        return self

    def outputs(self, x):
        with torch.no_grad():
            return self.network(torch.from_numpy(x))

    def predict_proba(self, x):
        return self.outputs(x).double().softmax(1).numpy()

    def predict(self, x):
        out = self.outputs(x)
        return out.squeeze(1).numpy() if out.shape[1] == 1 else out.argmax(1).numpy()


def iris():
    data = load_iris()
    x = torch.from_numpy(data.data).float()
    return (x - x.mean(0)) / x.std(0), torch.from_numpy(data.target)


def scikit_learns_orders(size, repeats):
    """Its permutations for ``random_state=0``: it shuffles again and again what it has shuffled."""
    random = np.random.RandomState(np.random.RandomState(0).randint(np.iinfo(np.int32).max + 1))
    index = total = np.arange(size)
    for _ in range(repeats):
        random.shuffle(index := index.copy())
        total = total[index]
        yield torch.from_numpy(total)


@pytest.mark.parametrize("scoring", ["neg_log_loss", "accuracy", "neg_mean_squared_error"])
def test_scikit_learn_gives_the_same(scoring, monkeypatch):
    x, y = iris()
    regression = scoring == "neg_mean_squared_error"
    x, y = (x[:, :3].contiguous(), x[:, 3:]) if regression else (x, y)
    network = mlp(x.shape[1], 6, 1 if regression else 3)
    for layer in network[::2]:
        layer.weight.data *= 3
    expected = scikit_learns(
        Estimator(network, 3), x.numpy(), y.numpy().squeeze(), scoring=scoring, n_repeats=30, random_state=0
    ).importances

    def ours():
        found = permutation_effects(network, x, y, repeats=30)
        return (-found.accuracy if scoring == "accuracy" else found.loss).numpy()

    error = np.sqrt((expected.var(1) + ours().var(1)) / 30)
    assert (np.abs(expected.mean(1) - ours().mean(1)) < 4 * error).all()
    drawn = list(scikit_learns_orders(150, 30))
    monkeypatch.setattr(torch, "randperm", lambda *_, **__: drawn.pop(0))
    np.testing.assert_allclose(ours(), expected, atol=1e-5)
    assert not drawn
    assert np.abs(expected).mean(1).min() > 1e-3


# ---- autoencoders


def answers_metric(output, x):
    """As the answer about autoencoders has it, for a batch."""
    return ((output - x).norm(dim=1) / x.norm(dim=1) * 100).sum()


def test_the_answers_own_loop():
    x, _ = iris()
    network, x = autoencoder(4, 4, 5, 3, 5, 4, 4), x[:15]

    def metric(given):
        with torch.no_grad():
            return sum(answers_metric(network(batch), batch) for batch in given.split(4)) / len(given)

    expected = torch.empty(4, REPEATS, dtype=torch.float64)
    for column in range(4):
        given = x.clone()
        for repeat, order in enumerate(orders(15)):
            given[:, column] = x[order, column]
            expected[column, repeat] = metric(given) - metric(x)
    close(permutation_importance(network, x, repeats=REPEATS), expected, 1e-4)
    assert expected.abs().min() > 1e-3


@pytest.mark.parametrize("inputs", [ROWS, STEPS, IMAGES], ids=["rows", "sequences", "images"])
def test_reproduced_inputs(inputs):
    network = module(
        lambda self, x: (x + x.roll(1, 1) * x.flatten(1).mean(1).view(-1, *(1,) * (x.ndim - 1))).tanh()
    )  # fmt: skip
    found = permutation_effects(network, inputs, repeats=REPEATS)
    close(found.loss, plain(network, inputs, relative))
    assert found.loss.abs().max() > 1e-2
    assert found.accuracy.isnan().all()
    assert found.outputs.shape == (found.loss.shape[0],) * 2


@pytest.mark.parametrize(("inputs", "outputs"), [("[N]", "[N]"), ("[N]", "[N, 1]"), ("[N, 1]", "[N]")])
def test_one_number_for_each_sample(inputs, outputs):
    x = ROWS[:, 0] if inputs == "[N]" else ROWS[:, :1]
    network = module(lambda _, x: (x * x + 1).reshape((-1,) if outputs == "[N]" else (-1, 1)))
    found = permutation_effects(network, x, repeats=REPEATS)
    close(found.loss, torch.zeros(1, REPEATS).double(), 1e-4)  # the same numbers in another order
    assert found.outputs.shape == (1, 1)
    assert found.outputs > 0.1
    target = torch.randn(N, generator=seeded(2)).reshape((-1,) if outputs == "[N]" else (-1, 1))
    fitted = permutation_importance(network, x, target, repeats=REPEATS)

    def error(returned, _):
        return (returned.double().flatten() - target.flatten()).square()

    rows = x.view(N, 1)
    close(fitted, plain(network, rows, error, call=lambda network, rows: network(rows.view(x.shape))))


def test_an_autoencoder_that_ignores_a_feature_and_one_whose_output_is_constant():
    weight = torch.eye(4)
    weight[1] = weight[:, 1] = 0
    network = nn.Linear(4, 4)
    network.weight.data.copy_(weight)
    network.bias.data.copy_(torch.tensor([0.0, 7.0, 0.0, 0.0]))
    x = torch.randn(50, 4, generator=seeded()) + torch.tensor([0.0, 7.0, 0.0, 0.0])
    found = permutation_effects(network, x)
    assert (found.outputs[1] == 0).all()
    assert (found.outputs[:, 1] == 0).all()
    kept = found.outputs[[0, 2, 3]][:, [0, 2, 3]]
    assert (kept.diagonal() > 0.5).all()
    close(kept, kept.diagonal().diag())
    close(found.loss, plain(network, x, relative, chosen=orders(50, 50)))


# ---- what is not to be found important


def test_constant_columns_are_exactly_zero():
    network, x = mlp(5, 6, 3), ROWS.clone()
    x[:, 1], x[:, 3] = 0, -7.3
    for target in (TARGET, None):
        found = permutation_effects(mlp(5, 6, 5) if target is None else network, x, target, groups=[[1], [3, 1], [0]])
        assert (found.loss[:2] == 0).all()
        assert (found.outputs[:2] == 0).all()
        assert found.loss[2].abs().max() > 1e-4


@pytest.mark.parametrize("target", [TARGET, None], ids=["classes", "reproduced"])
def test_one_sample_one_feature_one_repeat(target):
    network = mlp(5, 6, 5)
    one = permutation_effects(network, ROWS[:1], None if target is None else target[:1], repeats=2)
    assert (one.loss == 0).all()
    assert (one.outputs == 0).all()
    network = mlp(1, 6, 3 if target is not None else 1)
    found = permutation_importance(network, ROWS[:, :1], target, repeats=1)
    assert found.shape == (1, 1)
    close(found, plain(network, ROWS[:, :1], relative if target is None else losses(target), chosen=orders(N, 1)), 1e-4)


@pytest.mark.parametrize("target", [TARGET, None], ids=["classes", "reproduced"])
def test_a_network_that_ignores_its_input(target):
    constant = torch.randn(N, 5, generator=seeded(3))
    network = module(lambda self, x: constant.clone())
    found = permutation_effects(network, ROWS, target, repeats=REPEATS)
    assert (found.outputs == 0).all()
    if target is not None:
        assert (found.loss == 0).all()
    else:  # what is to be reproduced changes all the same
        close(found.loss, plain(network, ROWS, relative), 1e-4)
        assert found.loss.abs().max() > 1


@pytest.mark.parametrize("seen", [True, False], ids=["on the tape", "run whole"])
def test_not_too_many_inputs_are_made_at_once(seen, monkeypatch):
    """Also where the output does not depend on them."""
    network = module(lambda self, x, y: y + (0 if seen else x.tolist()[0][0] * 0))
    x, y = torch.randn(200, 50, generator=seeded()), torch.randn(200, 3, generator=seeded(1))
    sizes = []
    whole = PermutedFeatures.inputs_of
    monkeypatch.setattr(
        PermutedFeatures, "inputs_of", lambda *given: sizes.append((out := whole(*given)).numel()) or out
    )
    with nullcontext() if seen else pytest.warns(UserWarning, match="whole"):
        permutation_importance(network, (x, y), torch.arange(200) % 3, repeats=2)
    assert max(sizes) <= 2**19


# ---- rows that are no numbers


def test_zero_rows_have_no_relative_error():
    x = ROWS.clone()
    x[2] = 0
    network = mlp(5, 4, 5)
    found = permutation_importance(network, x, repeats=REPEATS)
    close(found, plain(network, x, relative), 1e-4)
    assert found.isfinite().all()
    assert (permutation_importance(network, x * 0) == 0).all()


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_rows_that_are_not_finite(bad):
    x = ROWS.clone()
    x[2, 1] = bad
    network = mlp(5, 6, 3)
    found = permutation_effects(network, x, TARGET, repeats=REPEATS)
    close(found.loss, plain(network, x, losses(TARGET)))
    assert found.loss.isnan().all()
    close(found.accuracy, plain(network, x, correct(TARGET)))
    # Where it is not looked at, it does no harm.
    blind = module(lambda self, x: self.fc(x[:, [0, 2, 3, 4, 4]]), fc=network)
    close(permutation_importance(blind, x, TARGET, repeats=REPEATS), plain(blind, x, losses(TARGET)))


def test_the_relative_error_of_what_is_not_a_number_is_none():
    assert relative_error(torch.ones(2), torch.tensor([1.0, torch.nan])).isnan()


def test_relative_errors_by_hand():
    given = torch.tensor([[3.0, 4.0], [0.0, 0.0], [-3.0, -4.0]])
    output = torch.tensor([[3.0, 4.0], [5.0, 5.0], [3.0, 4.0]])
    assert relative_error(output, given).tolist() == [0, 0, 200]
    assert relative_error(output.half(), given.half()).dtype == torch.float64
    huge = torch.full((1, 3), 1e30)
    close(relative_error(huge * 2, huge), torch.tensor([100.0]).double(), 1e-4)  # squares overflow in float32


# ---- groups


def test_groups_in_their_order_and_overlapping():
    network = mlp(5, 6, 3)
    groups = [[4, 0], [2], [0, 1, 2, 3, 4], [2, 4]]
    found = permutation_effects(network, ROWS, TARGET, repeats=REPEATS, groups=groups)
    close(found.loss, plain(network, ROWS, losses(TARGET), groups=groups))
    close(found.outputs, output_changes(network, ROWS, groups=groups))
    for same in (
        [torch.tensor([0, 4]), 2, slice(None), [False, False, True, False, True]],
        [np.array([4, 0, 0]), torch.tensor([2]), None, range(2, 5, 2)],
    ):
        assert torch.equal(permutation_importance(network, ROWS, TARGET, repeats=REPEATS, groups=same), found.loss)
    assert permutation_importance(network, ROWS, TARGET, groups=[]).shape == (0, 50)
    # All features together are other samples: for a model that reproduces its input nothing changes.
    close(permutation_importance(mlp(5, 4, 5), ROWS, groups=[range(5)]), torch.zeros(1, 50).double(), 1e-4)


def test_groups_of_one_feature_stay_apart_where_columns_are_taken_one_by_one(monkeypatch):
    monkeypatch.setitem(clean_run._ELEMENTS_AT_ONCE, "cpu", 1)
    network = mlp(5, 6, 3)
    groups = [[4], [1], [4], [0]]
    found = permutation_importance(network, ROWS, TARGET, repeats=REPEATS, groups=groups)
    close(found, plain(network, ROWS, losses(TARGET), groups=groups))
    assert torch.equal(found[0], found[2])


# ---- several inputs


def two_inputs():
    def forward(self, x, mask=None, *, extra=None):
        x = x["x"] if not isinstance(x, torch.Tensor) else x
        h = self.a(x)
        h = h if mask is None else h * mask
        return h if extra is None else h + self.b(extra)

    return module(forward, a=mlp(5, 6, 3), b=mlp(5, 4, 3))


OTHER = torch.randn(N, 5, generator=seeded(9))
MASKS = torch.rand(N, 3, generator=seeded(10))


@pytest.mark.parametrize(
    ("inputs", "argument", "call"),
    [
        ((ROWS, MASKS), None, lambda net, x: net(x, MASKS)),
        ((ROWS, MASKS), 0, lambda net, x: net(x, MASKS)),
        ((ROWS, MASKS), 1, lambda net, x: net(ROWS, x)),
        ({"x": ROWS, "extra": OTHER}, None, lambda net, x: net(x, extra=OTHER)),
        ({"x": ROWS, "extra": OTHER}, "extra", lambda net, x: net(ROWS, extra=x)),
        ({"x": {"y": OTHER, "x": ROWS}, "mask": MASKS}, "mask", lambda net, x: net(ROWS, x)),
        (({"y": OTHER, "x": ROWS, "n": 3},), "x", lambda net, x: net(x)),
        ((OrderedDict(y=OTHER, x=ROWS), MASKS), "x", lambda net, x: net(x, MASKS)),
        ((UserDict(y=OTHER, x=ROWS), MASKS), "x", lambda net, x: net(x, MASKS)),
        (({"y": OTHER, "x": ROWS}, MASKS), 1, lambda net, x: net(ROWS, x)),
    ],
)
def test_which_input(inputs, argument, call):
    network = two_inputs()
    tensors = {"mask": MASKS, "extra": OTHER, 1: MASKS}
    x = tensors.get(argument, ROWS)
    before = str(inputs)
    found = permutation_importance(network, inputs, TARGET, repeats=REPEATS, argument=argument)
    close(found, plain(network, x, losses(TARGET), call=call))
    assert found.abs().max() > 1e-3
    assert str(inputs) == before


@pytest.mark.parametrize(
    ("inputs", "argument", "match"),
    [
        ((ROWS, MASKS), 2, "argument=2: .*2 arguments by position"),
        ((ROWS, MASKS), -1, "argument=-1"),
        ((ROWS, MASKS), "mask", "argument='mask': .*none by name"),
        ({"x": ROWS, "extra": OTHER}, "mask", "argument='mask': .*x, extra"),
        ({"x": ROWS, "extra": OTHER}, 0, "argument=0: .*0 arguments by position"),
        (({"y": OTHER, "x": ROWS},), "z", "argument='z': .*y, x"),
        (({"y": OTHER, "x": ROWS, "n": 3},), "n", "no tensor"),
        ((ROWS, torch.tensor(0.5)), 1, r"shape \(\), not one row for each of 6"),
        ((ROWS, MASKS[0]), 1, r"shape \(3,\), not one row for each of 6"),
        ((ROWS, MASKS), 1.0, "argument must be a name, or the position"),
        ((ROWS, MASKS), True, "argument must be a name, or the position"),
        ((ROWS, MASKS), ["mask"], "argument must be a name, or the position"),
    ],
)
def test_which_input_cannot_be(inputs, argument, match):
    with pytest.raises(ValueError, match=match):
        permutation_importance(two_inputs(), inputs, TARGET, argument=argument)


def test_an_input_that_cannot_be_changed_is_not_named():
    """A name is only offered where it can be taken."""
    network = module(lambda self, x: self.fc(x["x"]), fc=mlp(5, 3))
    with pytest.raises(ValueError, match="none by name"):
        permutation_importance(network, (MappingProxyType({"x": ROWS}),), TARGET, argument="x")


def test_the_same_tensor_as_two_inputs_is_permuted_as_one_of_them():
    network = module(lambda self, x, y: self.a(x.mul_(2)) + y.sum(1, keepdim=True), a=mlp(5, 6, 3))
    found = permutation_importance(network, (ROWS, ROWS), TARGET, repeats=REPEATS)
    close(found, plain(network, ROWS, losses(TARGET), call=lambda net, x: net(x, ROWS)))


# ---- kinds of inputs


def test_tokens():
    network = module(lambda self, x: self.fc(self.embed(x).tanh().flatten(1)), embed=nn.Embedding(30, 4),
                     fc=nn.Linear(28, 3))  # fmt: skip
    for words in (WORDS, WORDS.int()):
        found = permutation_importance(network, words, TARGET, repeats=REPEATS)
        close(found, plain(network, words, losses(TARGET)))
        assert found.shape == (7, REPEATS)
        assert found.abs().max() > 1e-2


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int64, torch.float64])
def test_other_numbers(dtype):
    x = (ROWS.abs() * 3).to(dtype) if dtype != torch.bool else ROWS > 0
    network = module(lambda self, x: self.fc(x.float()), fc=mlp(5, 6, 3))
    close(permutation_importance(network, x, TARGET, repeats=REPEATS), plain(network, x, losses(TARGET)))


def test_one_hot_columns_as_a_group():
    x = torch.cat([nn.functional.one_hot(torch.tensor([0, 1, 2, 2, 1, 0]), 3).float(), ROWS[:, :2]], 1)
    network, groups = mlp(5, 6, 3), [[0, 1, 2], [3], [4]]
    found = permutation_importance(network, x, TARGET, repeats=REPEATS, groups=groups)
    close(found, plain(network, x, losses(TARGET), groups=groups))
    seen = []
    spying = module(lambda self, x: (seen.append(x.clone()), self.fc(x))[1] + x.sum().item() * 0, fc=network)
    with pytest.warns(UserWarning, match="reads values"):
        permutation_importance(spying, x, TARGET, repeats=REPEATS, groups=[[0, 1, 2]])
    assert all((given[:, :3].sum(1) == 1).all() for given in seen[-REPEATS:])


@pytest.mark.parametrize("axis", [1, 2])
def test_the_axis_of_the_features(axis):
    network = module(lambda self, x: self.fc(x.tanh().flatten(1)), fc=nn.Linear(56, 3))
    with evaluating(network):
        found = FeaturePermutation(network, axis=axis).effects([Batch.of(STEPS, TARGET)], REPEATS)
    close(found.loss, plain(network, STEPS, losses(TARGET), axis=axis))
    assert len(found.loss) == STEPS.shape[axis]


def test_memory_that_is_not_contiguous():
    network = mlp(5, 6, 3)
    expected = permutation_importance(network, ROWS, TARGET, repeats=REPEATS)
    for x in (ROWS.t().contiguous().t(), torch.cat([ROWS, ROWS], 1)[:, :5], ROWS.repeat(2, 1)[:N]):
        close(permutation_importance(network, x, TARGET, repeats=REPEATS), expected, 1e-7)
    image = IMAGES.to(memory_format=torch.channels_last)
    conv = nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(48, 3))
    close(
        permutation_importance(conv, image, TARGET, repeats=REPEATS),
        plain(conv, IMAGES, losses(TARGET)),
    )
    expanded = ROWS[:, :1].expand(N, 5)
    close(
        permutation_importance(network, expanded, TARGET, repeats=REPEATS),
        plain(network, expanded.clone(), losses(TARGET)),
    )


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_rounded_as_in_a_run_of_the_whole(dtype, monkeypatch):
    network, x = mlp(5, 6, 4, 3).to(dtype), ROWS.to(dtype)
    for room in (2**19, 1):
        monkeypatch.setitem(clean_run._ELEMENTS_AT_ONCE, "cpu", room)
        found = permutation_importance(network, x, TARGET, repeats=REPEATS)
        close(found, plain(network, x, losses(TARGET)), 2e-2)
        assert found.dtype == torch.float64
        assert found.abs().max() > 0.01


def test_autocast_around_it():
    network = mlp(5, 6, 4, 3)
    with torch.autocast("cpu", torch.bfloat16):
        found = permutation_importance(network, ROWS, TARGET, repeats=REPEATS)
        expected = plain(network, ROWS, losses(TARGET))
    close(found, expected, 5e-3)
    assert not torch.equal(found, permutation_importance(network, ROWS, TARGET, repeats=REPEATS))


def test_compiled_networks():
    network = mlp(5, 6, 3)
    found = permutation_importance(torch.compile(network, backend="eager"), ROWS, TARGET, repeats=REPEATS)
    close(found, plain(network, ROWS, losses(TARGET)))


# ---- several batches


def in_batches(network, x, target, sizes, **settings):
    batches = [Batch.of(*some) for some in zip(x.split(sizes), target.split(sizes), strict=True)]
    with evaluating(network):
        return FeaturePermutation(network, **settings).effects(batches, REPEATS)


@pytest.mark.parametrize("room", [2**19, 1])
@pytest.mark.parametrize("sizes", [[6], [1, 5], [2, 2, 2], [5, 1], [1] * 6])
def test_samples_are_permuted_over_all_batches(sizes, room, monkeypatch):
    monkeypatch.setitem(clean_run._ELEMENTS_AT_ONCE, "cpu", room)
    network = mlp(5, 6, 3)
    whole = permutation_effects(network, ROWS, TARGET, repeats=REPEATS)
    for found, expected in zip(in_batches(network, ROWS, TARGET, sizes), whole, strict=True):
        close(found, expected, 1e-6)
    reproducing = mlp(5, 4, 5)
    expected = permutation_effects(reproducing, ROWS, repeats=REPEATS)
    found = in_batches(reproducing, ROWS, TARGET, sizes, reproduces=True)
    close(found.loss, expected.loss, 1e-4)
    close(found.outputs, expected.outputs, 1e-6)


def test_what_the_clean_network_does_is_kept():
    network = mlp(5, 6, 3)
    work, told = FeaturePermutation(network, advance=lambda steps, total: told.append((steps, total))), []
    work.effects([Batch.of(ROWS[:2], TARGET[:2]), Batch.of(ROWS[2:], TARGET[2:])], REPEATS)
    with torch.no_grad():
        output = network(ROWS)
    assert work.clean_loss == pytest.approx(float(cross_entropy(output, TARGET)), abs=1e-6)
    assert work.clean_accuracy == pytest.approx(float((output.argmax(1) == TARGET).double().mean()))
    close(work.clean_outputs, output, 1e-6)
    assert sum(steps for steps, _ in told) == told[0][1] == 2 * 5 * REPEATS


def test_sequences_of_other_lengths_are_permuted_among_their_like():
    """Batches of 7, 3, 7 and 3 steps: the first and third are one pool, the second and fourth another."""
    network = module(lambda self, x: self.fc(x.tanh().sum(1)), fc=mlp(8, 6, 3))
    lengths, sizes = (7, 3, 7, 3), (4, 5, 2, 3)
    parts = [torch.randn(n, t, 8, generator=seeded(t + n)) for n, t in zip(sizes, lengths, strict=True)]
    targets = [torch.arange(n) % 3 for n in sizes]
    batches = [Batch.of(x, y) for x, y in zip(parts, targets, strict=True)]
    found = FeaturePermutation(network).effects(batches, REPEATS)
    generator = seeded()
    expected = 0
    for pair in ((0, 2), (1, 3)):
        x, y = (torch.cat([some[i] for i in pair]) for some in (parts, targets))
        drawn = [torch.randperm(len(x), generator=generator) for _ in range(REPEATS)]
        expected += plain(network, x, losses(y), chosen=drawn) * len(x) / sum(sizes)
    close(found.loss, expected)
    assert found.loss.abs().max() > 1e-2


# ---- random numbers


def test_permutations_come_from_the_generator_alone():
    network = mlp(5, 6, 3)
    before = torch.get_rng_state()
    first, again = (permutation_importance(network, ROWS, TARGET, repeats=4) for _ in range(2))
    assert torch.equal(first, again)
    assert torch.equal(first, permutation_importance(network, ROWS, TARGET, repeats=4, generator=seeded()))
    close(first[:, :2], permutation_importance(network, ROWS, TARGET, repeats=2), 1e-7)
    generator = seeded(5)
    other = permutation_importance(network, ROWS, TARGET, repeats=4, generator=generator)
    assert torch.equal(before, torch.get_rng_state())
    close(other, plain(network, ROWS, losses(TARGET), chosen=orders(N, 4, seed=5)))
    assert not torch.equal(other, permutation_importance(network, ROWS, TARGET, repeats=4, generator=generator))


def test_values_are_drawn_without_replacement():
    x = torch.arange(40.0).view(10, 4)
    features = PermutedFeatures([x[:3], x[3:]], 5)
    for repeat in range(5):
        given = torch.cat([features.inputs_of(b, torch.tensor([2]), torch.tensor([repeat]))[0] for b in (0, 1)])
        assert sorted(given[:, 2].tolist()) == x[:, 2].tolist()
        assert torch.equal(given[:, [0, 1, 3]], x[:, [0, 1, 3]])


# ---- nothing is left behind


@pytest.mark.parametrize(
    "around",
    [nullcontext, torch.no_grad, torch.inference_mode, lambda: torch.autocast("cpu", torch.bfloat16)],
    ids=["as is", "no_grad", "inference_mode", "autocast"],
)
@pytest.mark.parametrize(
    "ends", ["well", "bad group", "bad target", "bad loss", "loss raises", "raises", "raises later"]
)
def test_nothing_is_left_behind(ends, around):
    network = Stateful()
    network.train()
    network.frozen.eval()
    network.a.weight.requires_grad_(False)
    cross_entropy(network(ROWS), TARGET).backward()
    network.raises = {"raises": network.runs + 1, "raises later": network.runs + 2}.get(ends, False)

    def failing(outputs, target):
        raise RuntimeError("in the loss")

    settings = {"target": TARGET, "repeats": 2} | {
        "bad group": {"groups": [[5]]}, "bad target": {"target": torch.rand(N, 2)}, "loss raises": {"loss": failing},
        "bad loss": {"loss": lambda outputs, target: outputs.sum()},
    }.get(ends, {})  # fmt: skip
    inputs = ROWS.clone().requires_grad_()
    with around():
        before = _state(network)
        if ends == "well":
            assert not permutation_importance(network, inputs, **settings).requires_grad
        else:
            with pytest.raises(RuntimeError if "raises" in ends else ValueError):
                permutation_importance(network, inputs, **settings)
        after = _state(network)
    for name in before:
        assert _same(before[name], after[name]), name
    assert torch.equal(inputs, ROWS)
    assert inputs.requires_grad
    assert inputs.is_leaf
    assert inputs.grad is None


def test_a_network_in_training_mode_is_run_in_eval_mode():
    network = nn.Sequential(nn.Linear(5, 6), nn.BatchNorm1d(6), nn.Dropout(0.5), nn.Linear(6, 3))
    network(ROWS)  # running statistics
    expected = permutation_importance(network.eval(), ROWS, TARGET)
    found = permutation_importance(network.train(), ROWS, TARGET)
    assert torch.equal(found, expected)
    assert found.abs().max() > 0
    assert all(part.training for part in network.modules())


@pytest.mark.parametrize("change", [lambda x: x.relu_(), lambda x: x.mul_(3).tanh_(), lambda x: x.zero_().add_(1)],
                         ids=["relu_", "mul_ and tanh_", "zero_"])  # fmt: skip
def test_a_network_that_changes_its_input_in_place(change):
    network = module(lambda self, x: (change(x), self.fc(x))[1], fc=mlp(5, 6, 3))
    x = ROWS.clone()
    found = permutation_importance(network, x, TARGET, repeats=REPEATS)
    close(found, plain(network, ROWS, losses(TARGET)))
    assert torch.equal(x, ROWS)


def test_a_network_that_takes_its_input_apart():
    network = module(lambda self, batch: self.fc(batch.pop("x")), fc=mlp(5, 6, 3))
    given = {"x": ROWS.clone()}
    found = permutation_importance(network, (given,), TARGET, repeats=REPEATS, argument="x")
    close(found, plain(network.fc, ROWS, losses(TARGET)))
    assert torch.equal(given["x"], ROWS)


def test_what_hangs_on_the_network_is_called():
    """The user's own hooks stay."""
    network = mlp(5, 6, 3)
    network[1].register_forward_hook(lambda module, args, output: output * 2)
    found = permutation_importance(network, ROWS, TARGET, repeats=REPEATS)
    close(found, plain(network, ROWS, losses(TARGET)))
    assert hooks(network) == 1


# ---- what cannot be


@pytest.mark.parametrize(
    ("inputs", "target", "settings", "match"),
    [
        (ROWS, TARGET, {"repeats": 0}, "repeats must be a positive integer"),
        (ROWS, TARGET, {"repeats": 1.5}, "repeats must be a positive integer"),
        (ROWS, TARGET, {"loss": "mse"}, "loss must be a function"),
        (ROWS, TARGET, {"loss": lambda o, t: o}, "each of 6 samples"),
        (ROWS, TARGET, {"groups": [[0], [5]]}, "groups: number 1, .*no unit 5"),
        (ROWS, TARGET, {"groups": [[-1]]}, "groups: number 0, .*counted from 0"),
        (ROWS, TARGET, {"groups": [[0], []]}, "groups: number 1 has no feature"),
        (ROWS, TARGET, {"groups": [[0.5]]}, "groups: number 0, .*numbers, bools or a slice"),
        (ROWS, TARGET, {"groups": [["age"]]}, "groups: number 0, .*numbers, bools or a slice"),
        (ROWS, TARGET, {"groups": [[True]]}, "groups: number 0, .*mask of 1"),
        (ROWS, TARGET, {"groups": {"a": [0]}}, "groups must be lists of features"),
        (ROWS, TARGET, {"groups": "correlated"}, "groups must be lists of features"),
        (ROWS, TARGET, {"groups": 3}, "groups must be lists of features"),
        (ROWS, TARGET[:4], {}, "6 inputs, .*4"),
        (ROWS, TARGET + 1, {}, "class 3"),
        (ROWS, torch.rand(N, 2), {}, "does not fit"),
        (ROWS, None, {}, r"input is to be reproduced, .*\(6, 3\).*\(6, 5\)"),
        (ROWS[:0], TARGET[:0], {}, "no samples"),
        (ROWS[:, :0], TARGET, {}, "0 features"),
        (ROWS.to_sparse(), TARGET, {}, "dense"),
        (ROWS.numpy(), TARGET, {}, "a ndarray"),
        (None, TARGET, {}, "None"),
    ],
)
def test_what_is_wrong_is_said(inputs, target, settings, match):
    network = module(lambda self, x: self.fc(x) if x.shape[1] else x.new_zeros(len(x), 3), fc=mlp(5, 6, 3))
    with pytest.raises(ValueError, match=match):
        permutation_importance(network, inputs, target, **settings)
    assert hooks(network) == 0


def test_what_is_no_network_is_said():
    with pytest.raises(ValueError, match=r"an nn.Module, not a function"):
        permutation_importance(lambda x: x, ROWS)


@pytest.mark.parametrize(
    ("second", "match"), [(ROWS[:, :4], "4 or 5 features"), (ROWS.unsqueeze(1), "2 axes or 3")], ids=["width", "axes"]
)
def test_batches_that_do_not_fit_together(second, match):
    work = FeaturePermutation(module(lambda self, x: x.flatten(1)[:, :3] * 2.0))
    with pytest.raises(ValueError, match=match):
        work.effects([Batch.of(ROWS, TARGET), Batch.of(second, TARGET)], 2)


def test_powers_in_place():
    network = module(lambda self, x: self.fc(x.pow_(2)), fc=mlp(5, 6, 3))
    close(permutation_importance(network, ROWS, TARGET, repeats=REPEATS), plain(network, ROWS, losses(TARGET)))
