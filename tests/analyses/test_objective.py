"""What a network is to do, in every case, as analyses are told that need to know."""

import warnings

import pytest
import torch
from torch import nn

from lightning_separation import Ablation, PermutationImportance, analyze
from lightning_separation.analyses.objective import find_objective
from lightning_separation.interventions import permutation_importance
from lightning_separation.records import OBJECTIVES, Findings
from tests.helpers import blobs

X, Y = blobs(3, dim=6).tensors
NOISE = torch.randn(60, 6, generator=torch.Generator().manual_seed(0))
QUESTIONS = (NOISE[:, :4] > 0).float()
COUNTS = torch.randint(20, 60, (60,), generator=torch.Generator().manual_seed(0))


class Asks:
    """Keeps what an analysis is told."""

    name = "asks"
    needs_classes = False

    def __init__(self, wanted):
        self.wanted, self.told = wanted, None

    def compute(self, snapshot):
        self.told = find_objective(snapshot, self.wanted)
        return Findings({}, {})


def objective(network, target=None, wanted="auto", x=X, **settings):
    asks, rows = Asks(wanted), x.split(25)
    batches = [(part,) for part in rows] if target is None else list(zip(rows, target.split(25), strict=True))
    analyze(network, batches, [asks], **settings)
    return asks.told


def linear(outputs, inputs=6):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(inputs, outputs))


@pytest.mark.parametrize(
    ("outputs", "target", "expected"),
    [
        (3, Y, Y),
        (3, Y.float().unsqueeze(1), Y),
        (3, nn.functional.one_hot(Y), Y),
        (12, torch.tensor([3, 7, 11])[Y], torch.tensor([3, 7, 11])[Y]),
        (2, Y % 2, Y % 2),
        (1, Y % 2, Y % 2),  # one logit
        (4, QUESTIONS, QUESTIONS),  # each output a question of its own
    ],
)
def test_classes(outputs, target, expected):
    told = objective(linear(outputs), target)
    assert told.kind == "classes"
    assert told.code == 0
    assert torch.equal(told.target, expected)


@pytest.mark.parametrize(
    ("outputs", "target"),
    [
        (1, NOISE[:, 0]),
        (1, NOISE[:, :1]),
        (4, NOISE[:, :4]),
        (6, NOISE),  # as many as the network is given, but others
        (1, COUNTS),  # whole numbers, for which one output cannot stand as classes
        (1, COUNTS.float().unsqueeze(1)),
    ],
)
@pytest.mark.parametrize("wanted", ["auto", "target"])
def test_values(outputs, target, wanted):
    told = objective(linear(outputs), target, wanted)
    assert told.kind == "values"
    assert torch.equal(told.target.flatten(), target.flatten())


@pytest.mark.parametrize(
    ("target", "wanted"),
    [
        (None, "auto"),
        (None, "input"),
        (X, "auto"),
        (Y, "auto"),  # six outputs, three classes
        (Y + 0.5, "auto"),  # one number cannot be what six outputs are for
        (NOISE[:, :4], "auto"),
        (NOISE, "input"),
        (Y, "input"),
    ],
)
@pytest.mark.filterwarnings("ignore:analyze")
def test_the_input(target, wanted):
    told = objective(linear(6), target, wanted)
    assert told.kind == "input"
    assert told.code == 2
    assert torch.equal(told.target, X)


def test_as_many_classes_as_features_are_classes_unless_the_input_is_wanted():
    y = torch.arange(60) % 6
    assert objective(linear(6), y).kind == "classes"
    assert objective(linear(6), y, "input").kind == "input"
    assert objective(linear(6), y, "target").kind == "classes"


def test_classes_that_are_wanted_of_an_autoencoder():
    assert objective(linear(6), Y, "target").kind == "classes"


@pytest.mark.parametrize("x", [NOISE[:, :1], NOISE[:, 0]])
@pytest.mark.parametrize("shape", [(60,), (60, 1)])
def test_one_number_in_and_one_out(x, shape):
    network = nn.Sequential(nn.Unflatten(0, (-1, 1)) if x.ndim == 1 else nn.Identity(), nn.Linear(1, 1))
    assert objective(network, NOISE[:, 1].reshape(shape), x=x).kind == "values"
    assert objective(network, NOISE[:, 0].reshape(shape), x=x).kind == "input"


def test_an_image_in_another_shape_is_the_input():
    network = nn.Sequential(nn.Flatten(), nn.Linear(12, 12))
    told = objective(network, x=torch.randn(60, 3, 2, 2))
    assert told.kind == "input"
    assert told.target.shape == (60, 3, 2, 2)


@pytest.mark.parametrize(
    ("network", "target", "wanted", "message"),
    [
        (linear(3), None, "auto", r"there is no target, and the network makes \(3,\) of \(6,\)"),
        (linear(3), None, "input", r"the network by: the network makes \(3,\)"),
        (linear(3), Y, "input", r"the network by: the network makes \(3,\)"),
        (linear(6), None, "target", "there is no target"),
        (linear(3), NOISE[:, :2], "auto", r"the target has shape \(60, 2\), and the network makes \(3,\) of \(6,\)"),
    ],
)
def test_nothing_to_measure_by(network, target, wanted, message):
    with pytest.raises(ValueError, match=message):
        objective(network, target, wanted)


@pytest.mark.parametrize(
    ("outputs", "target", "kind"),
    [(3, Y, "classes"), (1, COUNTS, "values"), (4, QUESTIONS, "classes"), (6, X, "input")],
)
def test_findings_say_what_was_measured(outputs, target, kind):
    network = linear(outputs)
    analyses = [Ablation(), PermutationImportance(repeats=2)]
    found = analyze(network, [(X, target)], analyses).findings
    output = network(X).detach().double()
    expected = {
        "classes": lambda: (
            nn.functional.cross_entropy(output, Y)
            if outputs == 3
            else nn.functional.binary_cross_entropy_with_logits(output, QUESTIONS.double())
        ),
        "values": lambda: (output[:, 0] - COUNTS).square().mean(),
        "input": lambda: (100 * (output - X).norm(dim=1) / X.norm(dim=1)).mean(),
    }[kind]()
    for one in (found["ablation"]["0"], found["permutation_importance"]["input"]):
        assert OBJECTIVES[int(one["objective"])] == kind
        assert one["clean_loss"] == pytest.approx(expected.item(), rel=1e-5)


class Table(nn.Module):
    """Scores of three classes at each of four positions, ``[N, 4, 3]``."""

    def __init__(self, classes_first=False):
        super().__init__()
        self.fc, self.classes_first = nn.Linear(6, 12), classes_first

    def forward(self, x):
        scores = self.fc(x).view(-1, 4, 3)
        return scores.transpose(1, 2) if self.classes_first else scores


@pytest.mark.parametrize("classes_first", [False, True])
def test_a_class_at_each_position(classes_first):
    torch.manual_seed(0)
    network, classes = Table(classes_first).eval(), torch.randint(3, (60, 4))
    found = analyze(network, [(X, classes)], [PermutationImportance(repeats=2)])
    values = found.findings["permutation_importance"]["input"]
    assert values["objective"] == 0
    expected = nn.functional.cross_entropy(network.fc(X).view(-1, 3), classes.flatten())
    assert values["clean_loss"] == pytest.approx(expected.item(), rel=1e-5)


def test_what_could_be_either_is_said_once():
    few = torch.arange(60) % 4  # of six classes that the network has
    for labels, kind, told in ((torch.arange(60) % 6, 0, "the classes"), (few, 2, "reproduces the input")):
        with pytest.warns(UserWarning, match=told) as caught:
            found = analyze(linear(6), [(X, labels)], [PermutationImportance(repeats=2)]).findings
        assert len([w for w in caught if "objective=" in str(w.message)]) == 1
        assert found["permutation_importance"]["input"]["objective"] == kind
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        analyze(linear(6), [(X, few)], [PermutationImportance(repeats=2, objective="target")])
        analyze(linear(3), [(X, few % 3)], [PermutationImportance(repeats=2)])


class Conditional(nn.Module):
    """Reproduces x, given cond."""

    def __init__(self, width):
        super().__init__()
        self.fc = nn.Linear(6 + width, 6)

    def forward(self, cond, x):
        return self.fc(torch.cat([x, cond], 1))


def test_the_input_that_is_reproduced_is_not_the_one_that_is_permuted():
    torch.manual_seed(0)
    network, cond = Conditional(2).eval(), torch.rand(60, 2)
    batch = {"cond": cond, "x": X}
    error = (100 * (network(cond, X) - X).norm(dim=1) / X.norm(dim=1)).mean().item()
    for argument, features in ((None, 2), ("cond", 2), ("x", 6)):
        found = analyze(network, [batch], [PermutationImportance(repeats=2, argument=argument)]).findings
        values = found["permutation_importance"]["input"]
        assert values["clean_loss"] == pytest.approx(error, rel=1e-5)
        assert values["importance"].shape == (features, 2)
    permutation = torch.randperm(60, generator=torch.Generator().manual_seed(0))
    changed = cond.clone()
    changed[:, 0] = cond[permutation, 0]
    expected = (100 * (network(changed, X) - X).norm(dim=1) / X.norm(dim=1)).mean().item() - error
    found = permutation_importance(network, batch, repeats=1, argument="cond")
    assert found[0, 0].item() == pytest.approx(expected, abs=1e-4)
