"""What interventions say of arguments that are none, and what they make of unusual ones."""

import warnings

import numpy as np
import pytest
import torch
from torch import nn

from lightning_separation import DirectionAblation, analyze
from lightning_separation.analyses import direction_ablation
from lightning_separation.interventions import ablate, ablation_deltas, remove_direction, search_direction
from lightning_separation.interventions.batches import Batch
from lightning_separation.interventions.directions import class_mean_directions, principal_directions
from lightning_separation.interventions.outcomes import readout_of
from lightning_separation.interventions.patching import check_loss, check_network, layer_names, unit_vector
from tests.helpers import blobs, hooks, loader

X = torch.randn(8, 6, generator=torch.Generator().manual_seed(0))
CLASSES = torch.arange(8) % 3


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 4), nn.Tanh(), nn.Linear(4, 3))


# ---- targets and inputs


@pytest.mark.parametrize("shape", [(8, 3), (8, 4, 3), (8, 3, 4)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_soft_targets_have_no_loss_of_their_own(shape, dtype):
    axis = shape.index(3)
    soft = torch.randn(shape).softmax(axis).to(dtype)
    with pytest.raises(ValueError, match=r"sums to 1 without being one-hot.*give loss="):
        readout_of(torch.randn(shape), soft)
    assert readout_of(torch.randn(shape), soft * 1.1).kind == "values"
    assert readout_of(torch.randn(shape), soft - 1 / 3).kind == "values"


def test_soft_targets_with_a_loss():
    soft = torch.randn(8, 3).softmax(1)
    with pytest.raises(ValueError, match="give loss="):
        ablation_deltas(network(), "0", X, soft)
    own = ablation_deltas(
        network(), "0", X, soft, loss=lambda o, t: nn.functional.cross_entropy(o, t, reduction="none")
    )
    assert own.loss.isfinite().all()
    half = torch.where(torch.arange(8).unsqueeze(1) < 4, nn.functional.one_hot(CLASSES).float(), soft)
    with pytest.raises(ValueError, match="give loss="):
        readout_of(torch.randn(8, 3), half)
    assert readout_of(torch.randn(8, 3), nn.functional.one_hot(CLASSES).float()).kind == "logits"


@pytest.mark.parametrize("make", [list, tuple, np.array, lambda y: np.array(y, np.int32), torch.tensor])
def test_targets_that_are_converted(make):
    expected = ablation_deltas(network(), "0", X, CLASSES)
    net = network()
    with torch.inference_mode():
        found = ablation_deltas(net, "0", X, make(CLASSES.tolist()), screen=0.5)
    assert torch.equal(found.loss[found.exact], expected.loss[found.exact])
    one_hot = nn.functional.one_hot(CLASSES).tolist()
    torch.testing.assert_close(ablation_deltas(network(), "0", X, make(one_hot)).loss, expected.loss)


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("classes", "target must be .* not 'classes'"),
        ({"y": CLASSES}, "target must be .* not a dict"),
        (["a"] * 8, "target must be .* not a list"),
        ([None] * 8, "target must be .* not a list"),
        ([[0, 1], [0]] * 4, "target must be .* not a list"),
        (np.array(["a"] * 8), "target must be .* not a ndarray"),
        (torch.ones(8, dtype=torch.complex64), "target must hold real numbers"),
        (3, r"8 inputs, but a target of shape \(\)"),
        ([0, 1], r"8 inputs, but a target of shape \(2,\)"),
    ],
)
def test_targets_that_are_none(target, reason):
    with pytest.raises(ValueError, match=reason):
        Batch.of(X, target)


@pytest.mark.parametrize(
    ("inputs", "reason"),
    [
        (X.numpy(), "inputs hold no tensor .*: they are a ndarray"),
        (None, "inputs hold no tensor .*: they are None"),
        ("text", "inputs hold no tensor .*: they are 'text'"),
        (X.tolist(), "inputs hold no tensor"),
        ({}, "inputs hold no tensor"),
        (torch.tensor(1.0), r"inputs hold no samples: the first tensor has shape \(\)"),
        (torch.ones(0, 6), r"inputs hold no samples: the first tensor has shape \(0, 6\)"),
        ({0: X}, "0 is no name"),
    ],
)
def test_inputs_that_are_none(inputs, reason):
    with pytest.raises(ValueError, match=reason):
        search_direction(network(), "0", inputs)


# ---- arguments of the wrong type


def removing(*given):
    with remove_direction(*given):
        pass


def ablating(*given, **more):
    with ablate(*given, **more):
        pass


@pytest.mark.parametrize(
    ("given", "reason"),
    [(None, "None"), ("net", "'net'"), (torch.tanh, "a builtin"), (nn.Linear, "a type"), ({"a": 1}, "a dict")],
)
def test_a_network_that_is_none(given, reason):
    for call in (
        lambda: check_network(given),
        lambda: ablating(given, {"0": [0]}),
        lambda: removing(given, "0", torch.ones(4)),
        lambda: search_direction(given, "0", X),
    ):
        with pytest.raises(ValueError, match=f"network must be an nn.Module, not {reason}"):
            call()


@pytest.mark.parametrize(("given", "reason"), [(0, "0"), (None, "None"), (nn.Tanh(), "a Tanh"), (["0"], "a list")])
def test_a_layer_that_is_no_name(given, reason):
    net = network()
    for call in (lambda: removing(net, given, torch.ones(4)), lambda: search_direction(net, given, X)):
        with pytest.raises(ValueError, match=f"layer must be a name, .*, not {reason}"):
            call()
    if given != ["0"]:
        with pytest.raises(ValueError, match=f"layer must be a name, .*, not {reason}"):
            ablating(net, {given: [0]})
        for names in (given, ["0", given]):
            with pytest.raises(ValueError, match=f"layer must be a name, .* or several, not {reason}"):
                layer_names(names)
    assert hooks(net) == 0


def test_names_of_layers():
    assert layer_names("ab") == ["ab"]
    assert layer_names(("a", "b")) == ["a", "b"]


def test_a_loss_that_is_none():
    check_loss(None)
    check_loss(nn.MSELoss())
    for given, reason in ((3, "3"), ("mse", "'mse'"), (torch.ones(1), "a Tensor")):
        with pytest.raises(ValueError, match=f"loss must be a function, .*, not {reason}"):
            check_loss(given)


@pytest.mark.parametrize(
    ("units", "settings", "reason"),
    [
        (["0"], {}, "units must be a mapping, .*, not a list"),
        ("0", {}, "units must be a mapping, .*, not '0'"),
        (None, {}, "units must be a mapping, .*, not None"),
        ({"0": [0]}, {"value": "mean", "reference": [1.0]}, "reference must be a tensor, .*, not a list"),
        ({"0": [0]}, {"value": "mean", "reference": np.ones((2, 4))}, "reference must be a tensor, .*, not a ndarray"),
        ({"0": [0]}, {"value": "mean", "reference": {"0": [1.0]}}, "reference must be a tensor, .*, not a list"),
        ({"0": [0]}, {"value": np.ones(4)}, "value must be one of"),
        ({"0": [0]}, {"value": ["zero"]}, "value must be one of"),
    ],
)
def test_what_cannot_be_ablated(units, settings, reason):
    net = network()
    with pytest.raises(ValueError, match=reason):
        ablating(net, units, **settings)
    assert hooks(net) == 0


# ---- directions


@pytest.mark.parametrize("make", [np.array, list, tuple, lambda v: np.array(v, np.float32), lambda v: np.array(v, int)])
def test_directions_that_are_converted(make):
    net = network()
    with torch.no_grad():
        with remove_direction(net, "0", torch.tensor([1.0, 2.0, 0.0, -2.0])):
            expected = net(X)
        with remove_direction(net, "0", make([1.0, 2.0, 0.0, -2.0])):
            assert torch.equal(net(X), expected)


@pytest.mark.parametrize(
    ("direction", "reason"),
    [
        (torch.ones(4, dtype=torch.complex64), "a direction must hold real numbers, not torch.complex64"),
        (np.ones(4) * 1j, "a direction must hold real numbers"),
        ("up", "a direction must be a tensor, .*, not 'up'"),
        (None, "a direction must be a tensor, .*, not None"),
        (np.ones((1, 4)), r"a direction is a tensor \[units\], not shape \(1, 4\)"),
        (3.0, r"a direction is a tensor \[units\], not shape \(\)"),
        ([0.0, 0.0], "finite and not zero"),
    ],
)
def test_directions_that_are_none(direction, reason):
    for call in (lambda: unit_vector(direction), lambda: removing(network(), "0", direction)):
        with pytest.raises(ValueError, match=reason):
            call()


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_activations_that_are_not_finite_have_no_principal_components(bad):
    x = torch.randn(20, 6)
    x[3, 2] = bad
    with pytest.raises(ValueError, match="its activations hold NaN or inf"):
        principal_directions(x, 1, 3)
    net = nn.Sequential(nn.Identity(), nn.Linear(6, 3))
    with pytest.raises(ValueError, match=r"^0: its activations hold NaN or inf"):
        search_direction(net, "0", x)


CHOICES = "'random', 'principal', 'class_means', 'search'"


@pytest.mark.parametrize(
    ("directions", "reason"),
    [
        (None, f"{CHOICES}, or tensors by layer, not None"),
        (3, f"{CHOICES}, or tensors by layer, not 3"),
        (torch.ones(2, 4), f"{CHOICES}, or tensors by layer, not a Tensor"),
        ({"random", "search"}, f"{CHOICES}, or tensors by layer, not a set"),
        ([], f"{CHOICES}, or tensors by layer, not none"),
        (["random", "random"], f"'random' twice; they are one or several of {CHOICES}"),
        (["random", 3], f"directions must be one of {CHOICES}, not 3"),
        (["random", ["search"]], f"directions must be one of {CHOICES}, not"),
        ("pca", f"directions must be one of {CHOICES}, not 'pca'"),
        ("", f"{CHOICES}, or tensors by layer, not none"),
        ({}, "directions are given for no layer"),
        ({0: torch.ones(4)}, "directions must be given by names of layers, not by 0"),
        ({"0": None}, "directions of 0 must be a tensor, .*, not None"),
        ({"0": torch.ones(0, 4)}, r"directions of 0 must have shape .*, not \(0, 4\)"),
        ({"0": 3.0}, r"directions of 0 must have shape .*, not \(\)"),
        ({"0": torch.ones(2, 4) * 1j}, "directions of 0 must hold real numbers"),
        ({"0": torch.zeros(4)}, "directions of 0: a direction must be finite and not zero"),
    ],
)
def test_directions_that_cannot_be_chosen(directions, reason):
    with pytest.raises(ValueError, match=reason):
        DirectionAblation(directions=directions)


def found(net, data, names=None, **settings):
    record = analyze(net, loader(data), [DirectionAblation(**settings)], layers=names)
    return record, record.findings["direction_ablation"]


@pytest.mark.parametrize("make", [torch.tensor, np.array, list])
def test_one_direction_counts_as_one(make):
    net, data = network(), blobs()
    _, values = found(net, data, directions={"0": make([1.0, 2.0, 0.0, -2.0])})
    expected = found(net, data, directions={"0": torch.tensor([[1.0, 2.0, 0.0, -2.0]])})[1]
    assert values["0"]["kl"].shape == (1,)
    np.testing.assert_array_equal(values["0"]["kl"], expected["0"]["kl"])


def test_directions_of_layers_that_are_not_there_are_reported():
    given = {"0": torch.ones(4), "nowhere": torch.ones(4), "input": torch.ones(6)}
    with pytest.warns(UserWarning, match="directions are given for nowhere, input, but looked at are 0, 1, 2"):
        record, values = found(network(), blobs(), directions=given)
    assert list(values) == ["0"]
    assert len(record.notes) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found(network(), blobs(), directions={"0": torch.ones(4)})


class Shares(nn.Module):
    def forward(self, x):
        return x.abs() / x.abs().sum(1, keepdim=True)


def test_how_an_output_is_read_is_decided_once(monkeypatch):
    seen = []

    def counted(*given, **more):
        seen.append(readout_of(*given, **more))
        return seen[-1]

    monkeypatch.setattr(direction_ablation, "readout_of", counted)
    batches = direction_ablation.sample_batches
    monkeypatch.setattr(
        direction_ablation,
        "sample_batches",
        lambda *given: [b.rows(rows) for b in batches(*given) for rows in torch.arange(b.size).split(7)],
    )
    net = nn.Sequential(nn.Linear(6, 4), nn.Linear(4, 3), Shares())
    record = analyze(net, loader(blobs()), [DirectionAblation(count=3)], layers=["0"])
    assert record.findings["direction_ablation"]["0"]["kl"].shape == (3,)
    assert len(seen) == 1


class Breaks(nn.Module):
    """NaN for the samples whose first number is above a limit, behind a layer, and healed behind that."""

    def __init__(self, limit):
        super().__init__()
        self.a, self.bad, self.b, self.limit = nn.Linear(6, 4), nn.Identity(), nn.Linear(4, 3), limit
        self.bad.register_forward_hook(lambda _, given, output: output.where(self.good, torch.nan))

    def forward(self, x):
        self.good = x[:, :1] <= self.limit
        return self.b(self.bad(self.a(x)).nan_to_num())


def test_samples_that_are_not_finite_say_nothing_of_directions():
    data = blobs()
    limit = data.tensors[0][:, 0].sort().values[-4]
    torch.manual_seed(0)
    net = Breaks(limit)
    _, values = found(net, data, directions=["principal", "class_means"], count=4, names=["bad"])
    h = net.a(data.tensors[0]).detach()[data.tensors[0][:, 0] <= limit]
    target = data.tensors[1][data.tensors[0][:, 0] <= limit]
    given = torch.cat([principal_directions(h, 1, 4), class_mean_directions(h, target, 4)])
    assert len(given) == 7
    expected = found(net, data, names=["bad"], directions={"bad": given})[1]
    np.testing.assert_allclose(values["bad"]["kl"], expected["bad"]["kl"], rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize(("directions", "limit"), [("principal", -100), (["class_means"], -100), ("search", 1)])
def test_layers_that_are_not_finite_are_left_out_by_name(directions, limit):
    with pytest.warns(UserWarning, match="bad: direction_ablation: its activations hold NaN or inf"):
        _, values = found(Breaks(limit), blobs(), directions=directions, names=["a", "bad"])
    assert list(values) == ["a"]


# ---- one unit, [N]


class Squeezed(nn.Module):
    """A layer with one number for each sample."""

    def __init__(self):
        super().__init__()
        self.a, self.squeeze, self.b = nn.Linear(6, 1), nn.Flatten(0), nn.Linear(1, 3)
        self.keep = nn.ReLU()

    def forward(self, x):
        return self.b(self.keep(self.squeeze(self.a(x)) + 3).unsqueeze(1))


@pytest.mark.parametrize("layer", ["squeeze", "keep"])
def test_an_output_of_one_axis_is_one_unit(layer):
    torch.manual_seed(0)
    net = Squeezed()
    seen = []
    net.keep.register_forward_hook(lambda *given: seen.append(given[1][0] if layer == "squeeze" else given[2]))
    with torch.no_grad():
        clean = net(X)
        values = seen.pop()
        for units in ([0], None, 0, [True]):
            with ablate(net, {layer: units}):
                zeroed = net(X)
            expected = net.b(torch.full((8, 1), 3.0 if layer == "squeeze" else 0.0))
            torch.testing.assert_close(zeroed, expected)
        with ablate(net, {layer: [0]}, "mean"):
            torch.testing.assert_close(net(X), net.b(values.mean().expand(8, 1)))
        with remove_direction(net, layer, torch.tensor([-2.0])):
            torch.testing.assert_close(net(X), expected)
        with ablate(net, {layer: []}):
            assert torch.equal(net(X), clean)
        with ablate(net, {layer: [4]}), pytest.raises(ValueError, match=f"{layer}: it has 1 units, there is no unit 4"):
            net(X)
        with (
            remove_direction(net, layer, torch.ones(8)),
            pytest.raises(ValueError, match="8 numbers, the layer 1 units"),
        ):
            net(X)


def test_values_and_references_of_an_output_of_one_axis():
    net = nn.Flatten(0)
    x = torch.arange(5.0).unsqueeze(1)
    with ablate(net, {"": [0]}, 10 + torch.arange(5.0)):
        assert net(x).tolist() == [10, 11, 12, 13, 14]
    with ablate(net, {"": [0]}, torch.tensor([7.0])):
        assert net(x).tolist() == [7] * 5
    for reference in (torch.tensor([1.0, 3.0]), torch.tensor([[1.0], [3.0]])):
        with ablate(net, {"": [0]}, "mean", reference):
            assert net(x).tolist() == [2] * 5
    with ablate(net, {"": [0]}, "resample"):
        resampled = net(x)
    assert sorted(resampled.tolist()) == x[:, 0].tolist()
    assert (resampled != x[:, 0]).all()


def test_a_single_number_has_no_units():
    class Total(nn.Module):
        def forward(self, x):
            return x.sum()

    net = Total()
    with ablate(net, {"": [0]}), pytest.raises(ValueError, match="single number: it has no units"):
        net(X)


def test_directions_of_an_output_of_one_axis():
    torch.manual_seed(0)
    net = Squeezed()
    expected = ablation_deltas(net, "a", X, CLASSES)
    direction = search_direction(net, "squeeze", X)
    assert direction.direction.abs().tolist() == [1.0]
    torch.testing.assert_close(direction.kl, expected.kl[0], rtol=1e-4, atol=1e-7)
    data = blobs()
    kinds = ["random", "principal", "class_means", "search"]
    record, values = found(net, data, directions=kinds, count=2, layers=["squeeze", "a", "keep"])
    assert not record.notes
    kl = ablation_deltas(net, "keep", *data.tensors).kl[0]
    assert len(values["keep"]["kl"]) == 2 + 1 + 2 + 1
    np.testing.assert_allclose(values["keep"]["kl"], kl, rtol=1e-3, atol=1e-6)  # all are plus or minus the unit


def test_recurrent_modules_of_ones_own_that_return_something_else():
    class Last(nn.GRU):
        def forward(self, x):
            return super().forward(x)[0][:, -1]

    class Number(nn.GRU):
        def forward(self, x):
            sequence, state = super().forward(x)
            return sequence[:, -1, 0], state

    x = torch.randn(5, 7, 6)
    with torch.no_grad():
        for kind in (Last, Number):
            net = kind(6, 4, batch_first=True)
            clean = net(x)
            with ablate(net, {"": [0]}):
                made = net(x)
            if kind is Last:
                assert not made[:, 0].any()
                assert torch.equal(made[:, 1:], clean[:, 1:])
            else:
                assert not made[0].any()
                assert torch.equal(made[1], clean[1])
