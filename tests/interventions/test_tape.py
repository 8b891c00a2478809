"""What is recorded of one run: run again it gives the very same, and it knows what it does not see."""

import pytest
import torch
from torch import nn

from lightning_separation.interventions.batches import Batch, evaluating
from lightning_separation.interventions.clean_run import CleanRun
from lightning_separation.interventions.tape import Tape
from tests.interventions.odd_networks import CASES


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.warning is None])
def test_a_run_from_the_tape_without_a_change_is_the_clean_run(name):
    case = CASES[name]
    torch.manual_seed(3)
    network = case.make()
    inputs = case.inputs
    with evaluating(network):
        run = CleanRun(network, [case.layer], Batch.of(inputs, case.target))
        suffix = run.suffix(case.layer)
        assert (suffix is None) == (case.warning is not None)
        if suffix is None:
            pytest.skip("run whole, and that is said")
        with run.replaying():
            again = suffix.run(lambda h: h)
            once_more = suffix.run(lambda h: h)
        assert set(again) == set(suffix.reached)
        for number, value in again.items():
            assert value.dtype == suffix.clean(number).dtype
            torch.testing.assert_close(value, suffix.clean(number), rtol=0, atol=0, equal_nan=True)
            assert torch.equal(value, once_more[number])


def recorded(function, *tensors):
    tape = Tape()
    with torch.no_grad(), tape.recording():
        result = function(*tensors)
    return tape, result


def test_every_state_of_a_tensor_is_a_value_of_its_own():
    def function(x):
        y = x * 1
        first = tape.number(y)
        y.add_(1)
        second = tape.number(y)
        y[0] = 5
        return first, second, tape.number(y)

    x = torch.tensor([1.0, 2.0])
    tape = Tape()
    with torch.no_grad(), tape.recording():
        numbers = function(x)
    assert len(set(numbers)) == 3
    assert [tape.values[number].tolist() for number in numbers] == [[1, 2], [2, 3], [5, 3]]


def test_what_changes_later_does_not_change_the_tape():
    buffer = torch.zeros(2)
    tape, result = recorded(lambda x: buffer.add_(x) * 1, torch.ones(2))
    numbers = [op.outputs[0] for op in tape.ops if op.name == "add"]
    buffer.zero_()
    assert tape.values[numbers[0]].tolist() == [1, 1]
    assert result.tolist() == [1, 1]


def test_a_conjugate_is_another_value_of_the_same_memory():
    def function(x):
        z = torch.complex(x, x)
        return tape.number(z), tape.number(z.conj()), tape.number(z.imag), tape.number(z.conj().imag)

    tape = Tape()
    with torch.no_grad(), tape.recording():
        numbers = function(torch.ones(2))
    assert len(set(numbers)) == 4
    assert [tape.values[number][0].item() for number in numbers] == [1 + 1j, 1 - 1j, 1, -1]


@pytest.mark.parametrize(
    ("function", "by_values"),
    [
        (torch.zeros_like, False),
        (torch.randn_like, False),
        (lambda h: h.clone().normal_(), False),
        (lambda h: h.clone().fill_(2.0), False),
        (lambda h: h.new_ones(3), False),
        (lambda h: torch.empty(2).fill_(h[0]), True),
        (lambda h: torch.zeros(2).bernoulli_(h), True),
        (torch.bernoulli, True),
        (torch.normal, True),
        (lambda h: torch.full_like(h, 3.0) + h, True),
    ],
)
def test_what_looks_at_shapes_only_does_not_depend_on_values(function, by_values):
    h = torch.tensor([0.3, 0.7])
    tape, result = recorded(lambda x: function(x * 1) * 1, h)
    (number,) = tape.ops[0].outputs
    behind = {number}
    for op in tape.ops[1:]:
        if behind.intersection(op.inputs):
            behind.update(op.outputs)
    assert (tape.number(result) in behind) == by_values


@pytest.mark.parametrize(
    ("function", "obstacle"),
    [
        (lambda h: h * h.sum().item(), "reads values"),
        (lambda h: h[h > 0], "shapes depend"),
        (lambda h: h.nonzero(), "shapes depend"),
        (lambda h: torch.bernoulli(h.sigmoid()), "random numbers"),
        (lambda h: h.view(2, 2)[:, 1].as_strided((2,), (1,), 0), "more than the tensor"),
        (lambda h: h.as_strided((2,), (2,)), ""),
        (lambda h: h.sort().values.view(2, 2).relu_(), ""),
    ],
)
def test_what_cannot_be_run_again_says_why(function, obstacle):
    tape, _ = recorded(lambda x: function(x * 1), torch.tensor([0.3, -0.7, 0.2, 1.0]))
    reasons = [op.obstacle for op in tape.ops if op.obstacle]
    if obstacle:
        assert any(obstacle in reason for reason in reasons)
    else:
        assert not reasons


def test_memory_that_is_not_dense_is_an_obstacle():
    tape, _ = recorded(lambda x: x.to_sparse(), torch.eye(2))
    assert "not dense" in tape.obstacle


def test_recording_ends_where_it_raises():
    tape = Tape()
    with pytest.raises(RuntimeError), tape.recording():
        nn.Linear(2, 2)(torch.ones(3))
    before = len(tape.ops)
    torch.ones(2) + 1
    assert len(tape.ops) == before
