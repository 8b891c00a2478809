"""Networks run with something taken out of them, against what is worked out by hand."""

from collections import namedtuple
from copy import deepcopy
from dataclasses import dataclass

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from lightning_separation.interventions import ablate, remove_direction
from lightning_separation.interventions.patching import (
    chosen_units,
    layer_unit_axis,
    patched,
    replace_units,
    replacement,
    without_direction,
)
from tests.helpers import hooks


def linear(weight, bias=None):
    layer = nn.Linear(len(weight[0]), len(weight), bias=bias is not None)
    layer.weight.data = torch.tensor(weight)
    if bias is not None:
        layer.bias.data = torch.tensor(bias)
    return layer


def worked_out():
    """Of (a, b): hidden a + 1, b, a + b - 1; returned hidden 0 + 2 hidden 1 + 4 hidden 2, and hidden 0."""
    hidden = linear([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]], [1.0, 0.0, -1.0])
    return nn.Sequential(hidden, linear([[1.0, 2.0, 4.0], [1.0, 0.0, 0.0]]))


X = torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 0.0]])
HIDDEN = torch.tensor([[2.0, 2.0, 2.0], [4.0, 4.0, 6.0], [6.0, 0.0, 4.0]])


@pytest.mark.parametrize(
    ("units", "expected"),
    [
        ([0], [[12, 0], [32, 0], [16, 0]]),
        ([1, 2], [[2, 2], [4, 4], [6, 6]]),
        (1, [[10, 2], [28, 4], [22, 6]]),
        (torch.tensor([False, True, False]), [[10, 2], [28, 4], [22, 6]]),
        ([False, True, False], [[10, 2], [28, 4], [22, 6]]),
        (slice(1, None), [[2, 2], [4, 4], [6, 6]]),
        (slice(None, None, -2), [[4, 0], [8, 0], [0, 0]]),
        (range(2), [[8, 0], [24, 0], [16, 0]]),
        (None, [[0, 0], [0, 0], [0, 0]]),
        (..., [[0, 0], [0, 0], [0, 0]]),
        ([], [[14, 2], [36, 4], [22, 6]]),
    ],
)
def test_units_of_a_linear_network_by_hand(units, expected):
    network = worked_out()
    with torch.no_grad(), ablate(network, {"0": units}):
        assert network(X).tolist() == expected
    assert torch.equal(network[0](X), HIDDEN)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("mean", [[4, 2, 4], [4, 4, 4], [4, 0, 4]]),
        (torch.tensor(7.0), [[7, 2, 7], [7, 4, 7], [7, 0, 7]]),
        (7, [[7, 2, 7], [7, 4, 7], [7, 0, 7]]),
        (torch.tensor([8.0, 9.0]), [[9, 2, 8], [9, 4, 8], [9, 0, 8]]),  # as chosen: 2 first
        (torch.tensor([1.0, 2.0, 3.0]), [[1, 2, 3], [1, 4, 3], [1, 0, 3]]),
        (-HIDDEN, [[-2, 2, -2], [-4, 4, -6], [-6, 0, -4]]),
    ],
)
def test_values_by_hand(value, expected):
    network = worked_out()
    with torch.no_grad(), ablate(network, {"0": [2, 0]}, value):
        assert network[0](X).tolist() == expected


def test_resampling_gives_every_sample_what_another_has():
    x = torch.arange(40.0).reshape(10, 4)
    network = nn.Identity()
    with ablate(network, {"": [0, 3]}, "resample"):
        first, second, fewer = network(x), network(x), network(x[:5])
    assert torch.equal(first, second)  # one seed
    donors = (first[:, 0] / 4).long()
    assert sorted(donors.tolist()) == list(range(10))
    assert (donors != torch.arange(10)).all()
    assert torch.equal(first[:, 3], x[donors, 3])
    assert torch.equal(first[:, 1:3], x[:, 1:3])
    assert sorted(fewer[:, 0].tolist()) == x[:5, 0].tolist()
    with ablate(network, {"": [0]}, "resample", generator=torch.Generator().manual_seed(1)):
        other = network(x)
        assert not torch.equal(other[:, 0], first[:, 0])
        assert not torch.equal(network(x), other)  # the generator goes on
    with ablate(network, {"": [0]}, "resample"), pytest.raises(ValueError, match="one sample alone"):
        network(x[:1])


def test_resampling_and_random_state():
    before = torch.get_rng_state()
    replacement(torch.rand(8, 3, generator=torch.Generator()), 1, "resample")
    assert torch.equal(before, torch.get_rng_state())


def test_means_and_samples_of_a_reference():
    network = worked_out()
    reference = torch.tensor([[10.0, 20.0, 30.0], [20.0, 40.0, 30.0]])
    with ablate(network, {"0": [1]}, "mean", reference):
        assert network[0](X)[:, 1].tolist() == [30, 30, 30]
    with ablate(network, {"0": [0, 1]}, "resample", {"0": reference}):
        found = network[0](X)
    assert {tuple(row) for row in found[:, :2].tolist()} <= {(10.0, 20.0), (20.0, 40.0)}
    assert torch.equal(found[:, 2], HIDDEN[:, 2])
    images = torch.rand(3, 2, 4, 4)
    pooled = replacement(images, 1, "mean", torch.tensor([[1.0, 2.0], [3.0, 6.0]]))
    assert pooled.shape == images.shape
    assert pooled[0, :, 0, 0].tolist() == [2, 4]


@pytest.mark.parametrize(
    ("dims", "shape"), [(1, (2, 3, 7)), (2, (2, 3, 7, 6)), (3, (2, 3, 7, 6, 5))], ids=["1d", "2d", "3d"]
)
def test_units_of_convolutions_are_channels(dims, shape):
    convolution = getattr(nn, f"Conv{dims}d")(3, 5, 3)
    network = nn.Sequential(convolution, nn.ReLU(inplace=True))
    x = torch.randn(shape)
    with torch.no_grad():
        clean = network(x)
        for layer in ("0", "1"):
            with ablate(network, {layer: [1, 4]}):
                zeroed = network(x)
            assert not zeroed[:, [1, 4]].any()
            assert torch.equal(zeroed[:, [0, 2, 3]], clean[:, [0, 2, 3]])
        with ablate(network, {"1": [2]}, "mean"):
            means = network(x)[:, 2]
    torch.testing.assert_close(means, clean[:, 2].mean().expand_as(means))


def test_units_of_sequences_are_on_the_last_axis():
    network = nn.Sequential(nn.Linear(3, 5), nn.Tanh())
    x = torch.randn(4, 6, 3)
    with torch.no_grad():
        clean = network(x)
        with ablate(network, {"1": 2}):
            zeroed = network(x)
    assert not zeroed[..., 2].any()
    assert torch.equal(zeroed[..., [0, 1, 3, 4]], clean[..., [0, 1, 3, 4]])


def test_the_axis_of_a_layer_that_does_not_say():
    network = nn.Sequential(
        nn.Sequential(nn.Conv1d(3, 8, 3), nn.ReLU()), nn.Linear(5, 6), nn.ReLU(), nn.Conv2d(1, 2, 3), nn.ReLU()
    )
    assert [layer_unit_axis(network, layer, 3) for layer in ("0", "0.1", "1", "2", "4")] == [1, 1, 2, 2, 2]
    assert layer_unit_axis(network, "4", 4) == 1
    assert layer_unit_axis(network, "2", 2) == 1
    assert layer_unit_axis(nn.Sequential(nn.ReLU(), nn.Conv1d(3, 8, 3)), "0", 3) == 1


def test_the_axis_of_a_layer_in_a_network_that_does_not_run_in_order():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.convolution, self.head, self.relu = nn.Conv2d(1, 2, 3), nn.Linear(4, 5), nn.ReLU()
            self.mlp = nn.Sequential(nn.Linear(4, 4), nn.ReLU())

    network = Net()
    assert layer_unit_axis(network, "relu", 4) == 1
    assert layer_unit_axis(network, "relu", 3) == 2
    assert layer_unit_axis(network, "mlp.1", 4) == 3  # channels last
    assert layer_unit_axis(network, "", 4) == 3  # what its last part says
    with pytest.raises(ValueError, match=r"nearest names: head"):
        layer_unit_axis(network, "heads", 3)


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize(("kind", "settings"), [(nn.LSTM, {}), (nn.LSTM, {"proj_size": 2}), (nn.GRU, {}), (nn.RNN, {})])
def test_the_final_state_of_a_recurrent_network_follows_its_sequence(kind, settings, batch_first, bidirectional):
    module = kind(3, 4, num_layers=2, batch_first=batch_first, bidirectional=bidirectional, **settings)
    width = settings.get("proj_size", 4)
    directions = 1 + bidirectional
    unit = width * directions - 1  # of the last direction
    for x in (torch.randn(5, 6, 3), torch.randn(6, 3)):  # without a batch, too
        with torch.no_grad():
            sequence, state = module(x)
            with ablate(module, {"": [0, unit]}):
                zeroed, zeroed_state = module(x)
        h_n, new_h_n = (s[0] if kind is nn.LSTM else s for s in (state, zeroed_state))
        expected = sequence.clone()
        expected[..., [0, unit]] = 0
        assert torch.equal(zeroed, expected)
        by_hand = h_n.clone()  # unit u of [.., D * H] is unit u % H of direction u // H
        by_hand[-directions, ..., 0] = 0
        by_hand[-1, ..., width - 1] = 0
        assert torch.equal(new_h_n, by_hand)
        if kind is nn.LSTM:
            assert torch.equal(state[1], zeroed_state[1])


@pytest.mark.parametrize("enforce_sorted", [False, True])
def test_the_final_state_of_packed_sequences(enforce_sorted):
    module = nn.GRU(3, 4, bidirectional=True)
    lengths = torch.tensor([6, 4, 1] if enforce_sorted else [4, 6, 1])
    packed = pack_padded_sequence(torch.randn(6, 3, 3), lengths, enforce_sorted=enforce_sorted)
    with torch.no_grad():
        sequence, h_n = module(packed)
        with ablate(module, {"": [1, 6]}):
            zeroed, new_h_n = module(packed)
    expected = pad_packed_sequence(sequence)[0]
    expected[..., [1, 6]] = 0
    assert torch.equal(pad_packed_sequence(zeroed)[0], expected)
    h_n[0, :, 1] = h_n[1, :, 2] = 0
    assert torch.equal(new_h_n, h_n)


def test_a_classifier_on_the_final_state_loses_the_unit():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.lstm, self.head = nn.LSTM(3, 4, batch_first=True), nn.Linear(4, 2)

        def forward(self, x):
            return self.head(self.lstm(x)[1][0][-1])

    network, x = Net(), torch.randn(5, 6, 3)
    by_weight = deepcopy(network)
    by_weight.head.weight.data[:, 1] = 0
    with torch.no_grad(), ablate(network, {"lstm": [1]}):
        torch.testing.assert_close(network(x), by_weight(x))
        mean = network.lstm(x)
    assert torch.equal(mean[0][:, -1], mean[1][0][-1])


@pytest.mark.parametrize("value", ["mean", "resample"])
def test_means_and_resampling_where_time_comes_first(value):
    first, second = nn.GRU(3, 4), nn.GRU(3, 4, batch_first=True)
    second.load_state_dict(first.state_dict())
    x = torch.randn(6, 5, 3)
    with torch.no_grad(), ablate(first, {"": [1, 2]}, value), ablate(second, {"": [1, 2]}, value):
        (sequence, state), (batched, batched_state) = first(x), second(x.transpose(0, 1))
    torch.testing.assert_close(sequence, batched.transpose(0, 1))
    torch.testing.assert_close(state, batched_state)
    torch.testing.assert_close(state[0], sequence[-1])


Pair = namedtuple("Pair", "label hidden rest")


@dataclass(frozen=True)
class Output:
    label: str
    hidden: torch.Tensor


class Returns(nn.Module):
    def __init__(self, wrap):
        super().__init__()
        self.wrap = wrap

    def forward(self, x):
        return self.wrap(x)


@pytest.mark.parametrize(
    ("wrap", "hidden"),
    [
        (lambda x: (x, x + 1, None), lambda made: made[0]),
        (lambda x: [None, x, x + 1], lambda made: made[1]),
        (lambda x: {"a": "text", "hidden": x, "b": x + 1}, lambda made: made["hidden"]),
        (lambda x: Pair("text", x, x + 1), lambda made: made.hidden),
        (lambda x: Output("text", x), lambda made: made.hidden),
        (lambda x: {"inner": (Output("text", x), x + 1)}, lambda made: made["inner"][0].hidden),
        (lambda x: torch.max(x.unsqueeze(-1), -1), lambda made: made.values),
    ],
)
def test_the_first_tensor_of_a_structure_is_replaced_and_the_rest_kept(wrap, hidden):
    made = []
    network = Returns(lambda x: made.append(wrap(x)) or made[-1])
    with ablate(network, {"": [1]}):
        found = network(HIDDEN)
    assert type(found) is type(made[0])
    assert torch.equal(hidden(found), HIDDEN * torch.tensor([1, 0, 1]))
    assert torch.equal(hidden(made[0]), HIDDEN)  # what was returned is as it was


def test_outputs_of_transformers():
    outputs = pytest.importorskip("transformers.modeling_outputs")
    network = Returns(lambda x: outputs.BaseModelOutputWithPooling(x, x + 1))
    with ablate(network, {"": [1]}):
        found = network(HIDDEN)
    assert type(found) is outputs.BaseModelOutputWithPooling
    for hidden in (found.last_hidden_state, found["last_hidden_state"], found[0]):
        assert torch.equal(hidden, HIDDEN * torch.tensor([1, 0, 1]))
    for rest in (found.pooler_output, found["pooler_output"], found[1]):
        assert torch.equal(rest, HIDDEN + 1)


def test_every_call_of_a_layer_and_every_name_of_a_shared_one():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.a = linear([[1.0, 1.0], [0.0, 1.0]])
            self.b = self.a

        def forward(self, x):
            return self.b(self.a(x))

    network, x = Twice(), torch.tensor([[1.0, 2.0]])
    assert network(x).tolist() == [[5, 2]]
    for layer in ("a", "b"):
        with ablate(network, {layer: [1]}):
            assert network(x).tolist() == [[3, 0]]
    with ablate(network, {"a": [0], "b": [1]}):
        assert network(x).tolist() == [[0, 0]]


def test_several_layers_and_nested_contexts():
    network = worked_out()
    with torch.no_grad(), ablate(network, {"0": [0]}):
        with ablate(network, {"0": [1], "1": [1]}):
            assert network(X).tolist() == [[8, 0], [24, 0], [16, 0]]
        assert network(X).tolist() == [[12, 0], [32, 0], [16, 0]]


def test_in_place_operations_behind_the_layer():
    network = nn.Sequential(linear([[-1.0, 0.0], [0.0, 1.0]]), nn.ReLU(inplace=True))
    seen = []
    handle = network[0].register_forward_hook(lambda *args: seen.append(args[2]))
    with torch.no_grad(), ablate(network, {"0": [1]}, torch.tensor(-3.0)):
        assert network(X).tolist() == [[0, 0]] * 3
    handle.remove()
    assert torch.equal(seen[0], X * torch.tensor([-1, 1]))  # neither the replacement nor the ReLU reached it


def test_removed_directions_by_hand():
    network = worked_out()
    v = torch.tensor([0.0, 2.0, 2.0])
    with torch.no_grad(), remove_direction(network, "0", v):
        torch.testing.assert_close(network[0](X), torch.tensor([[2.0, 0, 0], [4, -1, 1], [6, -2, 2]]))
    with torch.no_grad(), remove_direction(network, "0", torch.tensor([0.0, -1e30, 0.0])):
        assert torch.equal(network[0](X)[:, 1], torch.zeros(3))
    h = torch.randn(2, 5, 3, 4)
    rest = without_direction(h, torch.arange(5.0), 1)
    assert torch.einsum("nuij,u->nij", rest, torch.arange(5.0)).abs().max() < 1e-4
    v = torch.arange(5.0) / torch.arange(5.0).norm()
    torch.testing.assert_close(h - rest, torch.einsum("nuij,u,w->nwij", h, v, v))
    torch.testing.assert_close(without_direction(rest, v, 1), rest)


def test_a_direction_of_a_recurrent_network_leaves_the_final_state_too():
    module, v = nn.LSTM(3, 4), torch.randn(4)
    with torch.no_grad(), remove_direction(module, "", v):
        sequence, (h_n, _) = module(torch.randn(6, 5, 3))
    assert (h_n[-1] @ v).abs().max() < 1e-5
    assert torch.equal(h_n[-1], sequence[-1])


@pytest.mark.parametrize(
    "direction", [torch.zeros(3), torch.tensor([1.0, torch.nan, 0]), torch.ones(3, 1), torch.ones(0), "along"]
)
def test_impossible_directions(direction):
    network = worked_out()
    with pytest.raises(ValueError, match="direction"), remove_direction(network, "0", direction):
        pass
    assert hooks(network) == 0


def test_what_does_not_fit_is_refused_when_the_network_runs():
    network = worked_out()
    with remove_direction(network, "0", torch.ones(4)), pytest.raises(ValueError, match=r"0: .* 4 numbers.* 3 units"):
        network(X)
    for units, reason in (([0, 3], "0: it has 3 units, there is no unit 3"), ([True] * 4, "0: a mask of 4 for 3")):
        with ablate(network, {"0": units}), pytest.raises(ValueError, match=reason):
            network(X)
    for value in (torch.ones(4), torch.ones(3, 2)):
        with ablate(network, {"0": [0, 1]}, value), pytest.raises(ValueError, match="0: value has shape"):
            network(X)
    for reference in (torch.ones(5, 4), torch.ones(5, 2, 3), torch.ones(0, 3)):
        with ablate(network, {"0": [0]}, "mean", reference), pytest.raises(ValueError, match="0: reference has shape"):
            network(X)
    whole = nn.Identity()
    with ablate(whole, {"": [0]}), pytest.raises(ValueError, match="int64; only dense floating-point"):
        whole(X.long())
    with patched(whole, {"": lambda h: h[:1]}), pytest.raises(ValueError, match="an edit made"):
        whole(X)
    with patched(whole, {"": lambda h: h}), pytest.raises(ValueError, match="a str, holds no tensor"):
        whole("text")
    assert hooks(network) == hooks(whole) == 0


@pytest.mark.parametrize(
    ("layers", "settings", "reason"),
    [
        ({"00": [0]}, {}, "no module fits '00'; nearest names: 0"),
        ({"0": [0], "5": [0]}, {}, "no module fits '5'"),
        ({"0": [-1]}, {}, "counted from 0, not -1"),
        ({"0": [0.5]}, {}, "units must be"),
        ({"0": "all"}, {}, "units must be"),
        ({"0": True}, {}, "units must be"),
        ({"0": [[0]]}, {}, "units must be"),
        ({"0": [0]}, {"value": "median"}, "value must be"),
        ({"0": [0]}, {"value": None}, "value must be"),
        ({"0": [0]}, {"reference": X}, "reference is for"),
        ({"0": [0]}, {"reference": X, "value": torch.ones(1)}, "reference is for"),
        ({"0": [0], "1": [0]}, {"value": "mean", "reference": X}, "each of 0, 1"),
        ({"0": [0], "1": [0]}, {"value": "mean", "reference": {"0": X}}, "no activations of '1'"),
    ],
)
def test_bad_arguments_raise_at_once_and_leave_no_hook(layers, settings, reason):
    network = worked_out()
    with pytest.raises(ValueError, match=reason), ablate(network, layers, **settings):
        pass
    assert hooks(network) == 0


class Raises(nn.Module):
    def forward(self, x):
        raise RuntimeError("on purpose")


def test_no_hook_is_left():
    network = worked_out()
    mine = network[0].register_forward_hook(lambda *_: None)
    with ablate(network, {"0": [0], "1": [0]}):
        assert hooks(network) == 3
    assert hooks(network) == 1
    network.append(Raises())
    with pytest.raises(RuntimeError, match="on purpose"), ablate(network, {"0": [0], "1": [0]}):
        network(X)
    assert hooks(network) == 1
    own, network[1]._forward_hooks = network[1]._forward_hooks, None  # the second one cannot be registered
    with pytest.raises(TypeError), ablate(network, {"0": [0], "1": [0]}):
        pass
    network[1]._forward_hooks = own
    assert hooks(network) == 1
    mine.remove()


def test_nothing_of_the_network_changes():
    network = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Dropout(), nn.Linear(3, 2))
    network[1].eval()
    flags, state = [module.training for module in network.modules()], deepcopy(network.state_dict())
    before = torch.get_rng_state()
    with ablate(network, {"0": [0], "3": [1]}, "resample"), remove_direction(network, "1", torch.ones(3)):
        pass
    assert torch.equal(before, torch.get_rng_state())
    network.eval()
    with ablate(network, {"0": [0], "3": [1]}, "resample"):
        network(X)
    network.train(), network[1].eval()
    assert flags == [module.training for module in network.modules()]
    for name, value in network.state_dict().items():
        assert torch.equal(value, state[name])
    assert all(parameter.grad is None for parameter in network.parameters())


def test_gradients_lead_through_what_is_left():
    network = worked_out()
    x = X.clone().requires_grad_()
    with ablate(network, {"0": [2]}):
        network(x)[:, 0].sum().backward()
    assert x.grad.tolist() == [[1, 2]] * 3
    assert network[0].weight.grad[2].abs().max() == 0
    assert network[1].weight.grad[0].tolist() == [12, 6, 0]
    v = torch.tensor([1.0, 1.0, 0.0], requires_grad=True)
    with remove_direction(network, "0", torch.tensor([1.0, 0.0, 0.0])):
        network(x)[:, 1].sum().backward()
    assert x.grad.tolist() == [[1, 2]] * 3  # unit 0 alone leads to output 1
    without_direction(HIDDEN, v, 1).square().sum().backward()
    assert v.grad.abs().max() > 0


def test_nan_in_a_unit_that_is_replaced_is_gone():
    output = torch.tensor([[torch.nan, 1.0]], requires_grad=True)
    found = replace_units(output, 1, [0])
    assert found.tolist() == [[0, 1]]
    found.sum().backward()
    assert output.grad.tolist() == [[0, 1]]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize("value", ["zero", "mean", "resample", torch.tensor(0.1)])
def test_the_dtype_stays(dtype, value):
    output = torch.rand(64, 3, dtype=dtype) + 1
    found = replace_units(output, 1, [1], value)
    assert found.dtype == dtype
    assert torch.equal(found[:, [0, 2]], output[:, [0, 2]])
    if value == "mean":
        assert torch.equal(found[:, 1], output[:, 1].double().mean().to(dtype).expand(64))
    assert without_direction(output, torch.ones(3), 1).dtype == dtype


def test_a_network_in_bfloat16_and_under_autocast():
    network = worked_out()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16), ablate(network, {"0": [1]}):
        assert network(X).tolist() == [[10, 2], [28, 4], [22, 6]]
    with torch.no_grad(), ablate(network.bfloat16(), {"0": [1]}, "mean"):
        assert network[0](X.bfloat16())[:, 1].tolist() == [2, 2, 2]


def test_a_compiled_network_runs_eagerly_meanwhile():
    network = torch.compile(worked_out(), backend="eager")
    with torch.no_grad():
        clean = network(X)
        with ablate(network._orig_mod, {"0": [1]}):
            assert network(X).tolist() == [[10, 2], [28, 4], [22, 6]]
        assert torch.equal(network(X), clean)


def test_transformer_encoders_and_their_nested_tensors():
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    network = nn.TransformerEncoder(layer, 2).eval()
    x = torch.randn(3, 5, 8)
    with torch.no_grad():
        clean = network(x)
        with ablate(network, {"layers.0.linear1": [], "layers.0": []}):
            torch.testing.assert_close(network(x), clean)
        with ablate(network, {"layers.1": [2]}):
            zeroed = network(x)
        assert not zeroed[..., 2].any()
        padding = torch.zeros(3, 5, dtype=torch.bool)
        padding[0, 3:] = True
        with ablate(network, {"layers.0": [2]}), pytest.raises(ValueError, match=r"layers.0: .*enable_nested_tensor"):
            network(x, src_key_padding_mask=padding)


def test_units_that_are_chosen():
    assert chosen_units([2, 0], 3).tolist() == [2, 0]
    assert chosen_units(slice(-2, None), 3).tolist() == [1, 2]
    assert chosen_units(torch.zeros(3, dtype=torch.bool), 3).tolist() == []
    assert replacement(X, 1, "zero").shape == X.shape
