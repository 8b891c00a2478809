"""Ablation of single units against the plain loop, on networks that are hard to run in parts."""

import random
import warnings
from contextlib import nullcontext
from copy import deepcopy
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from lightning_separation.interventions import ablation_deltas
from tests.helpers import hooks
from tests.interventions.odd_networks import CASES, IMAGES, ROWS, STEPS, TARGET, WORDS, Case, N
from tests.interventions.plain_loop import plain_deltas, plain_outputs

NOT_NEEDED = {"a layer that is not used", "no variance"}


@pytest.fixture(autouse=True)
def _one_thread():
    """Small tensors: threads would only wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def made(case):
    torch.manual_seed(3)
    network = case.make()
    if hasattr(network, "b") and case.layer != "b":
        network.b.weight.data *= 5  # so that what comes before matters
    return network


def found_deltas(network, case, **settings):
    """``[4, units]``, and what was warned of."""
    torch.manual_seed(7)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        deltas = ablation_deltas(network, case.layer, case.inputs, case.target, **settings)
    assert deltas.exact.all()
    return torch.stack(deltas[:4]), [str(w.message) for w in said if "the whole network was run" in str(w.message)]


def expected_deltas(network, case, value="zero"):
    clean, ablated = plain_outputs(network, case.layer, case.axis, case.inputs, value=value, edit=case.edit)
    return plain_deltas(clean, ablated, case.target)


def mlp(*widths, activation=nn.ReLU):
    """Linear layers 0, 2, 4..."""
    torch.manual_seed(0)
    layers = [x for a, b in pairwise(widths) for x in (nn.Linear(a, b), activation())]
    return nn.Sequential(*layers[:-1])


MLP = Case(lambda: mlp(5, 6, 4, 3), ROWS, "0")


@pytest.mark.parametrize("name", CASES)
def test_the_plain_loop_gives_the_same(name):
    case = CASES[name]
    network = made(case)
    runs = []
    network.register_forward_pre_hook(lambda *_: runs.append(0))
    found, said = found_deltas(network, case)
    num_runs = len(runs)
    expected = expected_deltas(network, case)
    assert found.shape == expected.shape
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    assert (expected[2].max() > 1e-4) == (name not in NOT_NEEDED)  # or to agree says nothing
    assert len(said) == (case.warning is not None), said
    if case.warning is not None:
        with pytest.warns(UserWarning, match=case.warning):
            warnings.warn(said[0], stacklevel=1)
    else:
        assert num_runs <= 3  # clean, twice to see that the tape tells all


@pytest.mark.parametrize(
    "name",
    [
        "two views changed in turn",
        "pre-activation that changes a block's input: stem",
        "called several times: block.0",
        "less the batch's mean",
        "batch norm, pooling, flattened into a Linear",
        "depthwise",
        "encoder, batch second, masked, encoder.layers.0.linear1",
        "LSTM of which the last state is used",
        "branch",
        "embedding",
        "dropout in eval mode beside its input",
    ],
)
def test_means_as_the_plain_loop_takes_them(name):
    case = CASES[name]
    network = made(case)
    found, _ = found_deltas(network, case, value="mean")
    torch.testing.assert_close(found, expected_deltas(network, case, "mean"), rtol=0, atol=1e-5)
    assert found[0].abs().max() > 1e-4


# ---- Hugging Face


def _hf(name):
    transformers = pytest.importorskip("transformers")
    transformers.logging.set_verbosity_error()
    torch.manual_seed(0)
    if name.startswith("GPT-2"):
        config = transformers.GPT2Config(
            n_embd=16, n_layer=2, n_head=2, vocab_size=30, n_positions=16, num_labels=3, pad_token_id=0,
            initializer_range=0.4, bos_token_id=1, eos_token_id=2,
        )  # fmt: skip
        kind = transformers.GPT2LMHeadModel if "language" in name else transformers.GPT2ForSequenceClassification
    else:
        config = transformers.BertConfig(
            hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24, vocab_size=30,
            num_labels=3, initializer_range=0.4,
        )  # fmt: skip
        kind = transformers.BertForMaskedLM if "language" in name else transformers.BertForSequenceClassification
    return kind(config)


MASK = (torch.arange(7) < torch.tensor([7, 3, 4, 5, 6, 2]).unsqueeze(1)).long()


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("GPT-2", "transformer.wte"),
        ("GPT-2", "transformer.h.0"),
        ("GPT-2", "transformer.h.0.attn"),
        ("GPT-2", "transformer.h.0.mlp.c_fc"),
        ("GPT-2 language", "transformer.h.0.mlp.act"),
        ("GPT-2 language", "transformer.h.1.ln_1"),
        ("BERT", "bert.embeddings"),
        ("BERT", "bert.encoder.layer.0.attention.self"),
        ("BERT", "bert.encoder.layer.1.intermediate"),
        ("BERT language", "bert.encoder.layer.0.output.dense"),
    ],
)
def test_hugging_face_models(name, layer):
    network = _hf(name)
    inputs = {"input_ids": WORDS, "attention_mask": MASK}
    target = TARGET
    if "language" in name:
        target = (WORDS * 7) % 30
    case = Case(None, inputs, layer, 2, target=target)
    found, said = found_deltas(network, case)
    assert not said
    torch.testing.assert_close(found, expected_deltas(network, case), rtol=0, atol=1e-5)
    assert found[0].abs().max() > 1e-3


# ---- worked out, and what must hold whatever the network


def test_a_linear_layer_by_hand():
    network = nn.Linear(2, 2, bias=False)
    network.weight.data = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
    deltas = ablation_deltas(network, "", torch.tensor([[3.0, 0.0], [0.0, 1.0]]), torch.tensor([0, 0]))
    a, b = np.log1p(np.exp(-3)), np.log1p(np.exp(2))  # losses of logits (3, 0) and (0, 2)
    np.testing.assert_allclose(deltas.loss, [(np.log(2) - a) / 2, (np.log(2) - b) / 2], atol=1e-6)
    # (0, 0) is still called class 0; of (0, 2) the first sample is wrong until 2 is gone.
    assert deltas.accuracy.tolist() == [0.0, 0.5]
    p = 1 / (1 + np.exp(-3))
    kl = p * np.log(2 * p) + (1 - p) * np.log(2 * (1 - p))
    q = 1 / (1 + np.exp(-2))
    kl_2 = q * np.log(2 * q) + (1 - q) * np.log(2 * (1 - q))
    np.testing.assert_allclose(deltas.kl, [kl / 2, kl_2 / 2], atol=1e-6)
    np.testing.assert_allclose(deltas.entropy, [kl / 2, kl_2 / 2], atol=1e-6)  # log 2 less the clean entropy


def test_divergence_is_of_the_ablated_from_the_clean():
    network = nn.Linear(1, 2)
    network.weight.data, network.bias.data = torch.tensor([[2.0], [0.0]]), torch.tensor([0.0, -1.0])
    kl = ablation_deltas(network, "", torch.ones(3, 1), torch.zeros(3).long()).kl
    p, q = torch.tensor([2.0, -1.0]).softmax(0).double(), torch.tensor([0.0, -1.0]).softmax(0).double()
    there, back = (p * (p / q).log()).sum(), (q * (q / p).log()).sum()
    assert abs(there - back) > 0.05
    torch.testing.assert_close(kl[0], there, rtol=0, atol=1e-6)


def test_accuracy_falls_below_zero_where_a_unit_is_needed():
    network = nn.Sequential(nn.Identity(), nn.Linear(3, 3, bias=False))
    network[1].weight.data = torch.eye(3) * 5
    target = torch.tensor([1, 1, 2])
    accuracy = ablation_deltas(network, "0", torch.eye(3)[target], target).accuracy
    torch.testing.assert_close(accuracy, torch.tensor([0, -2 / 3, -1 / 3]).double())


def test_order_of_samples_and_of_units_does_not_matter():
    network = mlp(5, 6, 4, 3)
    expected = ablation_deltas(network, "0", ROWS, TARGET)
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    shuffled = ablation_deltas(network, "0", ROWS[order], TARGET[order])
    other = deepcopy(network)
    other[0].weight.data, other[0].bias.data = network[0].weight.data[order], network[0].bias.data[order]
    other[2].weight.data = network[2].weight.data[:, order]
    permuted = ablation_deltas(other, "0", ROWS, TARGET)
    for a, b, c in zip(expected[:4], shuffled[:4], permuted[:4], strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-6)
        torch.testing.assert_close(a[order], c, rtol=0, atol=1e-6)
    assert expected.loss.unique().numel() == 6


def test_dead_units_change_exactly_nothing_and_equal_ones_the_same():
    network = mlp(5, 6, 3)
    network[0].bias.data[2] = -1e3
    for layer in network[0], network[2]:
        rows = layer.weight.data if layer is network[0] else layer.weight.data.t()
        rows[4] = rows[1]
    network[0].bias.data[4] = network[0].bias.data[1]
    for layer in ("0", "1"):
        deltas = torch.stack(ablation_deltas(network, layer, ROWS, TARGET)[:4])
        assert (deltas[:, 2] == 0).all()
        torch.testing.assert_close(deltas[:, 4], deltas[:, 1], rtol=0, atol=1e-7)
        assert (deltas[0, [0, 1, 3, 5]] != 0).all()


@pytest.mark.parametrize("bad", [torch.inf, -torch.inf, torch.nan])
def test_a_unit_that_is_not_finite_is_removed_like_others(bad):
    """Without it the output is finite again; without others it is not."""

    class Broken(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.c = nn.Linear(5, 4), nn.Linear(4, 6), nn.Linear(6, 3)
            self.passed = nn.Identity()

        def forward(self, x):
            h = self.a(x) + torch.tensor([0.0, 0.0, bad, 0.0])
            return self.c(self.b(self.passed(h)).sigmoid())

    network = Broken()
    case = Case(None, ROWS, "passed")
    clean, ablated = plain_outputs(network, "passed", 1, ROWS)
    expected = plain_deltas(clean, ablated, TARGET)
    found, _ = found_deltas(network, case)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5, equal_nan=True)
    outputs = []
    own = ablation_deltas(
        network, "passed", ROWS, TARGET, loss=lambda o, t: (outputs.append(o), torch.zeros(N))[1], units=[2]
    )
    assert own.exact.all()
    torch.testing.assert_close(outputs[-1], ablated[2], rtol=0, atol=1e-6)


def test_one_sample_and_one_unit():
    network = mlp(5, 1, 3)
    case = Case(None, ROWS[:1], "0", target=TARGET[:1])
    found, _ = found_deltas(network, case)
    torch.testing.assert_close(found, expected_deltas(network, case), rtol=0, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_rounded_as_in_a_run_of_the_whole(dtype):
    network = mlp(5, 6, 4, 3)
    for layer in network[::2]:
        layer.weight.data *= 3
    network.to(dtype)
    case = Case(None, ROWS.to(dtype), "0")
    found, _ = found_deltas(network, case)
    torch.testing.assert_close(found, expected_deltas(network, case), rtol=0, atol=2e-2)
    assert found[0].abs().max() > 0.1


def gradients_survive_a_run_without_them():
    """Under autocast older versions of torch (2.6) keep weights as they were cast where there were no gradients."""
    layer = nn.Linear(5, 2)
    with torch.autocast("cpu", torch.bfloat16):
        with torch.no_grad():
            layer(ROWS)
        return layer(ROWS).requires_grad


def test_autocast_around_it():
    network = mlp(5, 6, 4, 3)
    with torch.autocast("cpu", torch.bfloat16):
        found, said = found_deltas(network, MLP)
        expected = expected_deltas(network, MLP)
        if gradients_survive_a_run_without_them():
            cross_entropy(network(ROWS), TARGET).backward()
    assert not said
    torch.testing.assert_close(found, expected, rtol=0, atol=5e-3)
    full, _ = found_deltas(network, MLP)
    assert not torch.equal(full, found)
    # Weights that autocast keeps in half precision would have no gradient if they had been made without one.
    if gradients_survive_a_run_without_them():
        assert all(p.grad is not None and p.grad.any() for p in network.parameters())


# ---- units, values, several layers


def test_chosen_units_in_their_order():
    network = mlp(5, 6, 4, 3)
    whole = torch.stack(ablation_deltas(network, "2", ROWS, TARGET)[:4])
    for units, numbers in {
        "numbers": ([3, 0], [3, 0]), "bools": ([True, False, True, False], [0, 2]),
        "slice": (slice(1, None), [1, 2, 3]), "none": ([], []), "one": (2, [2]), "twice": ([1, 1], [1, 1]),
    }.values():  # fmt: skip
        deltas = ablation_deltas(network, "2", ROWS, TARGET, units=units)
        torch.testing.assert_close(torch.stack(deltas[:4]), whole[:, numbers], rtol=0, atol=1e-7)
        assert deltas.exact.tolist() == [True] * len(numbers)


def test_other_values():
    network = mlp(5, 6, 4, 3)

    def expected(new):
        clean, found = plain_outputs(
            network, "0", 1, ROWS, edit=lambda output, axis, unit, _: output.index_copy(
                1, torch.tensor([unit]), new[:, unit : unit + 1]
            ),
        )  # fmt: skip
        return plain_deltas(clean, found, TARGET)

    per_unit = torch.linspace(-2, 2, 6)
    values = torch.randn(N, 6, generator=torch.Generator().manual_seed(0))
    for value, new in ((per_unit, per_unit.expand(N, 6)), (values, values), (0.7, torch.full((N, 6), 0.7))):
        found, _ = found_deltas(network, MLP, value=value)
        torch.testing.assert_close(found, expected(new), rtol=0, atol=1e-5)
    resampled, _ = found_deltas(network, MLP, value="resample")
    again, _ = found_deltas(network, MLP, value="resample")
    assert torch.equal(resampled, again)
    assert resampled[2].min() > 0


def test_places_of_maxima_move_with_the_values():
    case = CASES["pooled, unpooled"]
    network = made(case)
    values = torch.randn(N, 4, 6, 6, generator=torch.Generator().manual_seed(0))
    clean, ablated = plain_outputs(
        network, "a", 1, IMAGES, edit=lambda output, axis, unit, _: output.index_copy(
            1, torch.tensor([unit]), values[:, unit : unit + 1]
        ),
    )  # fmt: skip
    found, _ = found_deltas(network, case, value=values)
    torch.testing.assert_close(found, plain_deltas(clean, ablated, TARGET), rtol=0, atol=1e-5)


def _branched(activation, used_elsewhere):
    torch.manual_seed(1)

    class Branched(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc, self.act, self.head = nn.Linear(5, 6), activation, nn.Linear(6, 3)

        def forward(self, x):
            h = self.fc(x)
            return self.head(self.act(h) + (h * 0.3 if used_elsewhere else 0))

    return Branched()


@pytest.mark.parametrize("value", ["zero", "mean"])
@pytest.mark.parametrize("used_elsewhere", [False, True])
@pytest.mark.parametrize(
    "activation",
    [nn.ReLU(), nn.ReLU(inplace=True), nn.LeakyReLU(0.2), nn.Sigmoid(), nn.GELU(), nn.Dropout(),
     nn.Sequential(nn.BatchNorm1d(6), nn.ReLU()), nn.Sequential(nn.Tanh(), nn.Softplus()), nn.PReLU()],
    ids=["relu", "in place", "leaky", "sigmoid", "gelu", "dropout", "batch norm", "softplus", "prelu"],
)  # fmt: skip
def test_several_layers_at_once_give_what_each_alone_gives(activation, used_elsewhere, value):
    network = _branched(activation, used_elsewhere)
    layers = ["fc", "act", "head", ""]
    together = ablation_deltas(network, layers, ROWS, TARGET, value=value)
    assert list(together) == layers
    for layer in layers:
        alone = torch.stack(ablation_deltas(network, layer, ROWS, TARGET, value=value)[:4])
        torch.testing.assert_close(torch.stack(together[layer][:4]), alone, rtol=0, atol=1e-7)
        expected = expected_deltas(network, Case(None, ROWS, layer), value)
        torch.testing.assert_close(alone, expected, rtol=0, atol=1e-5)


def test_shared_work_is_not_shared_between_other_units():
    network = mlp(5, 6, 3)
    found = ablation_deltas(network, ["0", "1"], ROWS, TARGET, units={"0": [0, 1], "1": [1, 5, 2]})
    for layer, units in (("0", [0, 1]), ("1", [1, 5, 2])):
        expected = expected_deltas(network, Case(None, ROWS, layer))[:, units]
        torch.testing.assert_close(torch.stack(found[layer][:4]), expected, rtol=0, atol=1e-5)


def test_one_module_by_two_names():
    network = CASES["called several times: again"].make()
    found = ablation_deltas(network, ["again", "block.2"], ROWS, TARGET)
    for name in found:
        expected = expected_deltas(network, Case(None, ROWS, name))
        torch.testing.assert_close(torch.stack(found[name][:4]), expected, rtol=0, atol=1e-5)


# ---- Captum


@pytest.mark.parametrize(("network", "layer", "inputs"), [
    (mlp(5, 6, 4, 3), "0", ROWS),
    (nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Conv2d(4, 3, 3), nn.Flatten(), nn.Linear(12, 3)), "0", IMAGES),
])  # fmt: skip
def test_captum_gives_the_same(network, layer, inputs):
    attr = pytest.importorskip("captum.attr")

    def losses(x):
        return cross_entropy(network(x), TARGET, reduction="none").double()

    with torch.no_grad():
        output = network[0](inputs)
        units = torch.arange(output.shape[1]).view(1, -1, *(1,) * (output.ndim - 2)).expand(1, *output.shape[1:])
        method = attr.LayerFeatureAblation(losses, dict(network.named_modules())[layer])
        attribution = method.attribute(inputs, layer_baselines=0, layer_mask=units)
    clean_less_ablated = attribution.flatten(2)[..., 0] if attribution.ndim > 2 else attribution
    deltas = ablation_deltas(network, layer, inputs, TARGET)
    torch.testing.assert_close(deltas.loss, -clean_less_ablated.mean(0).double(), rtol=0, atol=1e-5)


# ---- nothing is left behind


class Stateful(nn.Module):
    """Of all that could be changed: parameters, buffers, modes, random numbers; it raises when told to."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.a, self.bn, self.drop, self.c = nn.Linear(5, 6), nn.BatchNorm1d(6), nn.Dropout(0.5), nn.Linear(6, 3)
        self.frozen = nn.BatchNorm1d(6)
        self.register_buffer("calls", torch.tensor(0))
        self.raises = False
        type(self).runs = 0

    def forward(self, x):
        self.calls += 1
        h = self.bn(self.a(x)) + torch.rand(6) * random.random() * np.random.rand()  # noqa: NPY002
        type(self).runs += 1
        if self.raises and self.runs >= self.raises:
            raise RuntimeError("in the middle")
        return self.c(self.frozen(self.drop(h.relu_())))


def _state(network):
    return {
        "tensors": [x.detach().clone() for x in (*network.parameters(), *network.buffers())],
        "places": [x.data_ptr() for x in (*network.parameters(), *network.buffers())],
        "gradients": [None if p.grad is None else p.grad.clone() for p in network.parameters()],
        "asked": [p.requires_grad for p in network.parameters()],
        "modes": [module.training for module in network.modules()],
        "hooks": hooks(network),
        "own": [sorted(vars(module)) for module in network.modules()],
        "torch": torch.get_rng_state(),
        "numpy": np.random.get_state()[1:3],  # noqa: NPY002
        "python": random.getstate(),
        "grad mode": (torch.is_grad_enabled(), torch.is_inference_mode_enabled(), torch.is_autocast_enabled("cpu")),
    }


def _same(a, b):
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, np.ndarray):
        return np.array_equal(a, b)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(_same(x, y) for x, y in zip(a, b, strict=True))
    return a == b


@pytest.mark.parametrize("screen", [None, 0.5])
@pytest.mark.parametrize(
    "around",
    [nullcontext, torch.no_grad, torch.inference_mode, lambda: torch.autocast("cpu", torch.bfloat16)],
    ids=["as is", "no_grad", "inference_mode", "autocast"],
)
@pytest.mark.parametrize("ends", ["well", "bad unit", "bad target", "bad layer", "bad loss", "raises", "raises later"])
def test_nothing_is_left_behind(ends, around, screen):
    network = Stateful()
    network.train()
    network.frozen.eval()
    network.a.weight.requires_grad_(False)
    cross_entropy(network(ROWS), TARGET).backward()
    network.raises = {"raises": network.runs + 1, "raises later": network.runs + 2}.get(ends, False)
    arguments = {"layer": "c" if ends == "bad layer" else "a", "target": TARGET, "screen": screen}
    arguments |= {
        "bad unit": {"units": [6]}, "bad target": {"target": torch.rand(N, 2)}, "bad layer": {"layer": "d"},
        "bad loss": {"loss": lambda outputs, target: outputs.sum()},
    }.get(ends, {})  # fmt: skip
    inputs = ROWS.clone()
    with around():
        before = _state(network)
        if ends == "well":
            ablation_deltas(network, inputs=inputs, **arguments)
        else:
            error = RuntimeError if ends.startswith("raises") else ValueError
            with pytest.raises(error):
                ablation_deltas(network, inputs=inputs, **arguments)
        after = _state(network)
    for name in before:
        assert _same(before[name], after[name]), name
    assert torch.equal(inputs, ROWS)


@pytest.mark.parametrize("around", [torch.inference_mode, torch.no_grad], ids=["inference_mode", "no_grad"])
@pytest.mark.parametrize("screen", [None, 0.5])
def test_modes_around_it_change_no_number(around, screen):
    network = mlp(5, 6, 4, 3)
    expected = ablation_deltas(network, "0", ROWS, TARGET, screen=screen)
    for parameter in network.parameters():
        parameter.requires_grad_(False)
    with around():
        found = ablation_deltas(network, "0", ROWS.clone(), TARGET.clone(), screen=screen)
    assert _same(found.loss, expected.loss)


def test_a_network_in_training_mode_is_run_in_eval_mode():
    network = nn.Sequential(nn.Linear(5, 6), nn.BatchNorm1d(6), nn.Dropout(0.5), nn.Linear(6, 3))
    network(ROWS)  # running statistics
    expected = ablation_deltas(network.eval(), "0", ROWS, TARGET)
    found = ablation_deltas(network.train(), "0", ROWS, TARGET)
    assert torch.equal(found.loss, expected.loss)
    assert found.loss.abs().max() > 0
    assert network[2].training


# ---- what cannot be


@pytest.mark.parametrize(
    ("layer", "inputs", "target", "settings", "match"),
    [
        ("9", ROWS, TARGET, {}, "9"),
        ("0", ROWS, TARGET, {"units": [6]}, "0: .*6 units"),
        ("0", ROWS, TARGET, {"units": [-1]}, "counted from 0"),
        ("0", ROWS, TARGET, {"units": [True]}, "mask of 1"),
        ("0", ROWS, TARGET, {"value": "one"}, "value must be"),
        ("0", ROWS, TARGET, {"value": torch.rand(5)}, "0: .*shape"),
        ("0", ROWS[:1], TARGET[:1], {"value": "resample"}, "0: one sample"),
        ("0", ROWS, TARGET[:4], {}, "6 inputs, .*4"),
        ("0", ROWS, TARGET + 1, {}, "class 3"),
        ("0", ROWS, torch.rand(6, 2), {}, "does not fit"),
        ("0", ROWS, torch.rand(6), {}, "does not fit"),
        ("0", ROWS, TARGET, {"loss": lambda outputs, target: outputs}, "6 samples .*, not a tensor"),
        ("0", ROWS, TARGET, {"loss": lambda outputs, target: 1.0}, "not a float"),
        ("0", ROWS, TARGET, {"screen": 0}, "screen"),
        ("0", ROWS, TARGET, {"screen": 1.5}, "screen"),
        ("0", "text", TARGET, {}, "inputs hold no tensor"),
        ("0", ROWS[:0], TARGET[:0], {}, "inputs hold no samples"),
    ],
)
def test_what_is_wrong_is_said(layer, inputs, target, settings, match):
    network = mlp(5, 6, 4, 3)
    with pytest.raises(ValueError, match=match):
        ablation_deltas(network, layer, inputs, target, **settings)
    assert hooks(network) == 0


def test_layers_without_units():
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.index, self.never, self.fc = nn.Identity(), nn.Linear(2, 2), nn.Linear(8, 3)

        def forward(self, x):
            self.index(x.argmax(2))
            return self.fc(x).mean(1)

    with pytest.raises(ValueError, match=r"index: .*int64"):
        ablation_deltas(Odd(), "index", STEPS, TARGET)
    with pytest.raises(ValueError, match=r"never: .*without calling"):
        ablation_deltas(Odd(), "never", STEPS, TARGET)


# ---- known to be wrong


def _between(function):
    torch.manual_seed(3)

    class Between(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.same, self.b = nn.Linear(5, 6), nn.Identity(), nn.Linear(6, 3)

        def forward(self, x):
            return self.b(function(self, self.a(x)))

    return Between()


@pytest.mark.parametrize("read", [lambda h: torch.tensor(h.tolist()), lambda h: torch.from_numpy(h.numpy() + 1)])
def test_values_read_of_one_unit_only(read):
    network = _between(lambda net, h: h + read(h[:, 1:2]))
    case = Case(None, ROWS, "a")
    found, said = found_deltas(network, case)
    torch.testing.assert_close(found, expected_deltas(network, case), rtol=0, atol=1e-5)
    assert len(said) == 1


def test_what_an_identity_returns_changed_in_place():
    def function(net, h):
        net.same(h).relu_()
        return h

    network = _between(function)
    case = Case(None, ROWS, "same")
    found, _ = found_deltas(network, case)
    torch.testing.assert_close(found, expected_deltas(network, case), rtol=0, atol=1e-5)


def test_a_layer_that_returns_one_number_for_each_sample():
    network = _between(lambda net, h: net.same(h.sum(1)).tanh().unsqueeze(1) * torch.arange(6.0))
    deltas = ablation_deltas(network, "same", ROWS, TARGET)
    assert len(deltas.loss) == 1
