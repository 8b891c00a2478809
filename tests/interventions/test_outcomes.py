"""What is said of outputs, of every kind, against float64."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

from lightning_separation.interventions import ablation_deltas
from lightning_separation.interventions.outcomes import Comparison, Readout, readout_of
from tests.interventions.plain_loop import plain_outputs

N = 8
X = torch.randn(N, 5, generator=torch.Generator().manual_seed(1))
CLASSES = torch.arange(N) % 3
YES = torch.tensor([0, 1, 1, 0, 1, 0, 0, 1])
LABELS = torch.tensor([[1, 1, 0], [0, 0, 0], [0, 1, 0], [1, 1, 1]]).repeat(2, 1)


class Pair(nn.Module):
    def forward(self, x):
        return torch.stack([1 - x.sigmoid(), x.sigmoid()], -1).log().squeeze(1)


def network(outputs, *heads, hidden=6):
    torch.manual_seed(0)
    made = nn.Sequential(nn.Linear(5, hidden), nn.Tanh(), nn.Linear(hidden, outputs), *heads)
    made[2].weight.data *= 4
    return made


def categorical(logs, target):
    """Loss, correctness and log-probabilities of each sample or position."""
    logs = logs.double()
    return F.nll_loss(logs, target, reduction="none"), (logs.argmax(1) == target).double(), logs


def binary(p, target):
    p, target = p.double(), target.double()
    loss = F.binary_cross_entropy(p, target, reduction="none")
    return (
        loss.flatten(),
        ((p > 0.5) == (target > 0.5)).double().flatten(),
        torch.stack([1 - p, p], -1).log().flatten(0, -2),
    )


def values(output, target):
    nothing = torch.full((output.numel(),), torch.nan).double()
    return (output.double() - target.double()).square().flatten(), nothing, nothing.unsqueeze(1)


def from_logits(output, target):
    return categorical(output.double().log_softmax(1), target)


def positions(axis):
    def of(output, target):
        logs = output.double().movedim(axis, -1).flatten(0, -2).log_softmax(1)
        counts = target.flatten() >= 0
        return categorical(logs[counts], target.flatten()[counts])

    return of


ONE_HOT = F.one_hot(CLASSES)
KINDS = {
    "logits": (network(3), CLASSES, from_logits),
    "logits, [N, 1] targets": (network(3), CLASSES.unsqueeze(1), lambda o, t: from_logits(o, t[:, 0])),
    "logits, float targets": (network(3), CLASSES.float(), lambda o, t: from_logits(o, t.long())),
    "logits, int32 targets": (network(3), CLASSES.int(), lambda o, t: from_logits(o, t.long())),
    "logits, one-hot": (network(3), ONE_HOT, lambda o, t: from_logits(o, t.argmax(1))),
    "logits, one-hot floats": (network(3), ONE_HOT.float(), lambda o, t: from_logits(o, t.argmax(1))),
    "two logits": (network(2), YES, from_logits),
    "softmax": (network(3, nn.Softmax(1)), CLASSES, lambda o, t: categorical(o.double().log(), t)),
    "log_softmax": (network(3, nn.LogSoftmax(1)), CLASSES, categorical),
    "log-probabilities by hand": (network(1, Pair()), YES, categorical),
    "softmax, one-hot": (network(3, nn.Softmax(1)), ONE_HOT, lambda o, t: categorical(o.double().log(), t.argmax(1))),
    "sigmoid [N, 1], [N, 1] floats": (network(1, nn.Sigmoid()), YES.float().unsqueeze(1), binary),
    "sigmoid [N, 1], [N]": (network(1, nn.Sigmoid()), YES, lambda o, t: binary(o[:, 0], t)),
    "sigmoid [N], [N]": (network(1, nn.Sigmoid(), nn.Flatten(0)), YES, binary),
    "sigmoid [N], [N] bools": (network(1, nn.Sigmoid(), nn.Flatten(0)), YES.bool(), binary),
    "logit [N, 1], [N]": (network(1), YES, lambda o, t: binary(o[:, 0].sigmoid(), t)),
    "logit [N], floats": (network(1, nn.Flatten(0)), YES.float(), lambda o, t: binary(o.sigmoid(), t)),
    "logit [N], [N, 1]": (network(1, nn.Flatten(0)), YES.unsqueeze(1), lambda o, t: binary(o.sigmoid(), t[:, 0])),
    "labels, logits": (network(3), LABELS.float(), lambda o, t: binary(o.sigmoid(), t)),
    "labels, sigmoid": (network(3, nn.Sigmoid()), LABELS, binary),
    "values [N, 1], [N]": (network(1), X[:, 0], lambda o, t: values(o[:, 0], t)),
    "values [N], [N]": (network(1, nn.Flatten(0)), X[:, 0], values),
    "counts [N, 1], [N]": (network(1), torch.arange(N), lambda o, t: values(o[:, 0], t)),
    "several values": (network(5), X, values),
    "positions first": (network(12, nn.Unflatten(1, (4, 3))), CLASSES.unsqueeze(1).repeat(1, 4), positions(-1)),
    "positions last": (network(12, nn.Unflatten(1, (3, 4))), (CLASSES + 1).unsqueeze(1).repeat(1, 4) % 3, positions(1)),
    "pixels": (network(12, nn.Unflatten(1, (3, 2, 2))), CLASSES.view(-1, 1, 1).repeat(1, 2, 2), positions(1)),
}  # fmt: skip


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_of_output_and_target(name):
    net, target, reference = KINDS[name]
    clean, ablated = plain_outputs(net, "1", 1, X)
    loss, correct, logs = reference(clean, target)
    found = ablation_deltas(net, "1", X, target)
    entropy = -torch.special.xlogy(logs.exp(), logs.exp()).sum(-1)
    for unit, output in enumerate(ablated):
        new_loss, new_correct, new_logs = reference(output, target)
        new_entropy = -torch.special.xlogy(new_logs.exp(), new_logs.exp()).sum(-1)
        kl = (logs.exp() * (logs - new_logs)).sum(-1)
        changes = new_loss - loss, new_correct - correct, kl, new_entropy - entropy
        expected = torch.stack([change.mean() for change in changes])
        torch.testing.assert_close(
            torch.stack(found[:4])[:, unit], expected, rtol=0, atol=1e-5, equal_nan=True, msg=f"{name}, unit {unit}"
        )
    assert found.loss.abs().max() > 1e-2


@pytest.mark.parametrize("name", KINDS)
def test_without_a_target_there_is_only_what_needs_none(name):
    net, target, _ = KINDS[name]
    if name.startswith(("values", "counts", "several", "labels", "positions last")):
        return  # without a target they are taken for logits, the classes behind
    found, known = ablation_deltas(net, "1", X), ablation_deltas(net, "1", X, target)
    assert found.loss.isnan().all()
    assert found.accuracy.isnan().all()
    torch.testing.assert_close(found.kl, known.kl, rtol=0, atol=1e-6)
    torch.testing.assert_close(found.entropy, known.entropy, rtol=0, atol=1e-6)


def test_ignored_positions_do_not_count():
    net = network(12, nn.Unflatten(1, (4, 3)))
    target = CLASSES.unsqueeze(1).repeat(1, 4)
    target[0, 1:], target[5] = -100, -100
    found = ablation_deltas(net, "1", X, target)
    clean, ablated = plain_outputs(net, "1", 1, X)
    loss, correct, _ = positions(-1)(clean, target)
    for unit, output in enumerate(ablated):
        new_loss, new_correct, _ = positions(-1)(output, target)
        torch.testing.assert_close(found.loss[unit], (new_loss - loss).mean(), rtol=0, atol=1e-5)
        torch.testing.assert_close(found.accuracy[unit], (new_correct - correct).mean(), rtol=0, atol=1e-12)


def test_a_class_that_is_ruled_out_has_no_part_in_it():
    class Ruled(nn.Module):
        def forward(self, x):
            return x.masked_fill(torch.tensor([False, True, False]), -torch.inf)

    net, two = network(3, Ruled()), network(3)
    two[2].weight.data = two[2].weight.data[[0, 2]]
    two[2].bias.data = two[2].bias.data[[0, 2]]
    found, expected = ablation_deltas(net, "1", X, YES * 2), ablation_deltas(two, "1", X, YES)
    for a, b in zip(found[:4], expected[:4], strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-6)


def test_saturated_outputs_stay_finite():
    for head, target in ((nn.Softmax(1), CLASSES), (nn.Sigmoid(), LABELS), (nn.Identity(), CLASSES)):
        net = network(3, head)
        net[2].weight.data *= 1e4
        found = torch.stack(ablation_deltas(net, "1", X, target)[:4])
        assert found.isfinite().all()


@pytest.mark.parametrize(
    ("output", "target", "made_by", "kind"),
    [
        (torch.tensor([[0.2, 0.8], [0.5, 0.5]]), torch.tensor([0, 1]), None, "probabilities"),
        (torch.tensor([[0.2, 0.8], [0.5, 0.5]]), torch.tensor([0, 1]), "log_softmax", "log_probabilities"),
        (torch.tensor([[0.2, 0.8], [0.5, 0.6]]), torch.tensor([0, 1]), None, "logits"),
        (torch.tensor([[0.2, 0.8], [0.5, 0.5]]).log(), torch.tensor([0, 1]), None, "log_probabilities"),
        (torch.tensor([[-1.0, -2.0], [-3.0, -4.0]]), torch.tensor([0, 1]), None, "logits"),
        (torch.tensor([0.2, 0.8]), torch.tensor([0, 1]), None, "binary_probabilities"),
        (torch.tensor([0.2, 0.8]), torch.tensor([0, 1]), "linear", "binary_logits"),
        (torch.tensor([0.2, 1.8]), torch.tensor([0, 1]), None, "binary_logits"),
        (torch.tensor([0.2, 1.8]), torch.tensor([0.0, 0.5]), None, "values"),
        (torch.tensor([[0.2], [1.8]]), torch.tensor([0, 2]), None, "values"),
        (torch.tensor([[0.2, 0.1], [1.8, 3.0]]), torch.tensor([[0, 1], [1, 1]]), None, "binary_logits"),
        (torch.tensor([[0.2, 0.1], [1.8, 3.0]]), torch.tensor([[0, 1], [1, 0]]), None, "logits"),
        (torch.tensor([[0.2, 0.1], [1.8, 3.0]]), None, None, "logits"),
        (torch.tensor([[0.2], [1.8]]), None, None, "binary_logits"),
    ],
)
def test_what_an_output_is(output, target, made_by, kind):
    assert readout_of(output, target, made_by=made_by).kind == kind


@pytest.mark.parametrize(
    ("output", "target", "match"),
    [
        (torch.rand(4, 3), torch.rand(4), r"\(4, 3\).*\(4,\)"),
        (torch.rand(4, 3), torch.rand(4, 2), r"\(4, 3\).*\(4, 2\)"),
        (torch.rand(4), torch.rand(4, 2), r"\(4,\).*\(4, 2\)"),
        (torch.rand(4, 5, 3), torch.zeros(4, 4).long(), r"\(4, 5, 3\).*\(4, 4\)"),
        (torch.rand(4, 3), torch.tensor([0, 1, 2, 3]), "class 3"),
    ],
)
def test_outputs_and_targets_that_do_not_fit(output, target, match):
    with pytest.raises(ValueError, match=match):
        readout_of(output, target)


def test_several_sigmoids_for_one_class_are_not_clear():
    with pytest.raises(ValueError, match="not clear, give loss="):
        ablation_deltas(network(3, nn.Sigmoid()), "1", X, CLASSES)


# ---- a loss of one's own


@dataclass
class Output:
    values: torch.Tensor
    hidden: torch.Tensor


class Structured(nn.Module):
    def __init__(self, make):
        super().__init__()
        self.a, self.b, self.make = nn.Linear(5, 6), nn.Linear(6, 3), make

    def forward(self, x):
        h = self.a(x).tanh()
        return self.make(self.b(h), h)


@pytest.mark.parametrize(
    ("make", "take"),
    [
        (lambda y, h: {"y": y, "h": [h, None]}, lambda o: (o["y"], o["h"][0])),
        (lambda y, h: (y, (h,)), lambda o: (o[0], o[1][0])),
        (Output, lambda o: (o.values, o.hidden)),
    ],
    ids=["mapping", "tuple", "dataclass"],
)
@pytest.mark.parametrize("layer", ["a", "b"])
def test_a_loss_is_given_all_that_the_network_returns(make, take, layer):
    torch.manual_seed(0)
    net = Structured(make)
    target = torch.rand(N, 3)

    def loss(outputs, target):
        y, h = take(outputs)
        return (y - target).abs().sum(1) + 10 * h[:, 0].square() - y.sum(1) * h[:, 3]

    kinds = []
    found = ablation_deltas(net, layer, X, target, loss=lambda o, t: (kinds.append(type(o)), loss(o, t))[1])
    clean, ablated = plain_outputs(net, layer, 1, X, read=lambda o: torch.cat(take(o), 1))

    def plain(joined):
        return loss(make(joined[:, :3], joined[:, 3:]), target).double()

    expected = torch.stack([(plain(output) - plain(clean)).mean() for output in ablated])
    torch.testing.assert_close(found.loss, expected, rtol=0, atol=1e-5)
    assert expected.abs().max() > 1e-2
    assert set(kinds) == {type(make(clean, clean))}


def test_a_loss_for_classes_leaves_accuracy_and_divergence_as_they_are():
    net = network(3)
    weights = torch.tensor([1.0, 5.0, 0.5])
    plain = ablation_deltas(net, "1", X, CLASSES)
    own = ablation_deltas(
        net, "1", X, CLASSES, loss=lambda o, t: F.cross_entropy(o, t, weight=weights, reduction="none")
    )
    assert not torch.allclose(own.loss, plain.loss)
    for a, b in zip(own[1:4], plain[1:4], strict=True):
        assert torch.equal(a, b)


def test_a_loss_where_none_can_be_inferred():
    net = network(3)
    target = torch.rand(N, 2)
    found = ablation_deltas(net, "1", X, target, loss=lambda o, t: (o[:, :2] - t).square().sum(1))
    clean, ablated = plain_outputs(net, "1", 1, X)
    losses = [(o[:, :2] - target).double().square().sum(1) for o in (clean, *ablated)]
    expected = torch.stack([(loss - losses[0]).mean() for loss in losses[1:]])
    torch.testing.assert_close(found.loss, expected, rtol=0, atol=1e-5)
    assert torch.stack(found[1:4]).isnan().all()


# ---- what must hold


def test_scaled_logits_and_shifted_logits():
    net = network(3)
    plain = ablation_deltas(net, "1", X, CLASSES)
    net[2].bias.data += 3
    shifted = ablation_deltas(net, "1", X, CLASSES)
    for a, b in zip(plain[:4], shifted[:4], strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-5)
    net[2].weight.data *= 7
    net[2].bias.data *= 7
    scaled = ablation_deltas(net, "1", X, CLASSES)
    assert torch.equal(scaled.accuracy, plain.accuracy)
    assert not torch.allclose(scaled.loss, plain.loss)


def test_one_probability_is_two_classes():
    one, two = network(1), network(2)
    two[2].weight.data = torch.cat([-one[2].weight.data / 2, one[2].weight.data / 2])
    two[2].bias.data = torch.cat([-one[2].bias.data / 2, one[2].bias.data / 2])
    for a, b in zip(ablation_deltas(one, "1", X, YES), ablation_deltas(two, "1", X, YES), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-6)


def test_divergence_is_zero_for_what_is_the_same():
    readout = Readout("logits", -1)
    clean = torch.randn(50, 10) * 5
    compare = Comparison(readout, clean, None)
    found = compare.deltas(torch.stack([clean, clean + 1e-3, clean.flip(1)]), lambda _: None)
    np.testing.assert_allclose(found.kl[0], 0, atol=1e-8)
    np.testing.assert_allclose(found.entropy[0], 0, atol=1e-8)
    np.testing.assert_allclose(found.kl[1], 0, atol=1e-6)
    assert found.kl[2] > 1
    assert compare.clean.kl.tolist() == [0]
    assert compare.clean.loss.isnan().all()
