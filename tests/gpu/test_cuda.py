"""The same numbers on a GPU as on the CPU: functions, metrics, and the monitor in a Trainer there."""

import numpy as np
import pytest
import torch
from torch import nn

from lightning_separation import (
    Ablation,
    Confusion,
    DirectionAblation,
    FeatureInformation,
    GroupAblation,
    HenzePenrose,
    InputFeatures,
    LabelSuspects,
    LayerInformation,
    Modularity,
    NextLayerEffect,
    PermutationImportance,
    PrincipalComponents,
    Selectivity,
    SeparationMonitor,
    Significance,
    WeightContributions,
    functional,
    load_run,
    trace_path,
)
from lightning_separation.interventions import (
    ablation_deltas,
    permutation_effects,
    remove_direction,
    search_direction,
)
from lightning_separation.metrics import ClassSelectivity, HenzePenroseDivergence, NeuronSignificance
from tests.helpers import Classifier, blobs, loader, mlp, trainer

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


def layer(num_classes, per_class, units, dtype=torch.float32, seed=0):
    """Normal, dead and ReLU-like units, ties and a large offset."""
    generator = torch.Generator().manual_seed(seed)
    target = torch.arange(num_classes).repeat(per_class)
    x = torch.randn(len(target), units, generator=generator) + 0.3 * target.unsqueeze(1)
    x[:, ::3] = x[:, ::3].relu()
    x[:, 1::5] = (4 * x[:, 1::5]).round() / 4
    x[:, 2::7] += 1e4
    x[:, 3] = 0.1
    return x.to(dtype), target


def assert_same(on_gpu, on_cpu):
    for name, expected in on_cpu._asdict().items():
        found = getattr(on_gpu, name)
        assert found.device.type == "cuda", name
        torch.testing.assert_close(found.cpu(), expected, rtol=1e-9, atol=1e-12, equal_nan=True, msg=name)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("num_classes", [2, 10])
def test_tests_of_units(num_classes, dtype):
    x, y = layer(num_classes, 100, 96, dtype)
    a, b = x[y == 0], x[y == 1]
    assert_same(functional.neuron_significance(x.cuda(), y.cuda()), functional.neuron_significance(x, y))
    assert_same(functional.class_selectivity(x.cuda(), y.cuda()), functional.class_selectivity(x, y))
    assert_same(functional.shapiro_wilk(x.cuda()), functional.shapiro_wilk(x))
    for test in (functional.welch_t_test, functional.mann_whitney_u):
        assert_same(test(a.cuda(), b.cuda()), test(a, b))
    for test in (functional.brown_forsythe, functional.welch_anova, functional.kruskal_wallis):
        assert_same(test(x.cuda(), y.cuda()), test(x, y))


@pytest.mark.parametrize("distance", ["euclidean", "cosine"])
def test_trees(distance):
    x, y = layer(5, 60, 64)
    assert_same(
        functional.friedman_rafsky(x.cuda(), y.cuda(), distance=distance),
        functional.friedman_rafsky(x, y, distance=distance),
    )
    found, expected = (
        functional.generalized_henze_penrose(a, b, distance=distance) for a, b in ((x.cuda(), y.cuda()), (x, y))
    )
    torch.testing.assert_close(found.cross_edges.cpu(), expected.cross_edges)


def test_weights():
    x, y = layer(3, 40, 32)
    x[:, 3] = torch.randn(120)
    weight = torch.randn(8, 32)
    assert_same(
        functional.weight_contributions(weight.cuda(), x.cuda(), y.cuda()),
        functional.weight_contributions(weight, x, y),
    )


def test_metrics():
    x, y = layer(3, 40, 32)
    for make in (HenzePenroseDivergence, NeuronSignificance, ClassSelectivity):
        found = []
        for device in ("cuda", "cpu"):
            metric = make().to(device)
            for rows in torch.arange(120).split(25):
                metric.update(x[rows].to(device), y[rows].to(device))
            found.append(metric.compute())
        pairs = [found] if isinstance(found[0], torch.Tensor) else zip(*found, strict=True)
        for on_gpu, on_cpu in pairs:
            torch.testing.assert_close(on_gpu.cpu(), on_cpu, equal_nan=True)


EVERY = [
    Significance,
    Selectivity,
    HenzePenrose,
    InputFeatures,
    WeightContributions,
    Ablation,
    lambda: DirectionAblation(directions=["random", "principal", "class_means", "search"], count=8),
    lambda: GroupAblation(fraction=1),
    lambda: NextLayerEffect(fraction=1),
    LayerInformation,
    Modularity,
    lambda: PermutationImportance(repeats=3),
    FeatureInformation,
    PrincipalComponents,
    LabelSuspects,
    Confusion,
]
HIDDEN = {"mlp": "1", "images": "1", "encoder": "2.layers.0", "lstm": "1"}


def networks(kind):
    torch.manual_seed(0)
    if kind == "mlp":
        return nn.Sequential(nn.Linear(6, 8), nn.ReLU(inplace=True), nn.Dropout(), nn.Linear(8, 3))
    if kind == "images":
        body = [nn.Unflatten(1, (1, 2, 3)), nn.Conv2d(1, 6, 2, padding=1), nn.BatchNorm2d(6), nn.ReLU(inplace=True)]
        return nn.Sequential(*body, nn.Conv2d(6, 4, 2), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))
    if kind == "encoder":
        block = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        body = [nn.Unflatten(1, (3, 2)), nn.Linear(2, 8), nn.TransformerEncoder(block, 2)]
        return nn.Sequential(*body, nn.Flatten(), nn.Linear(24, 3))

    class Sequence(nn.Module):
        def forward(self, returned):
            return returned[0].sum(1)

    recurrent = nn.LSTM(2, 5, batch_first=True)
    return nn.Sequential(nn.Unflatten(1, (3, 2)), recurrent, Sequence(), nn.Linear(5, 3))


@pytest.fixture
def full_float32():
    """No TF32: what is left of a difference is the order of sums."""
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


@pytest.mark.usefixtures("full_float32")
@pytest.mark.parametrize("screen", [None, 0.5])
@pytest.mark.parametrize("kind", HIDDEN)
def test_ablation_of_units(kind, screen):
    x, y = blobs().tensors
    network = networks(kind)
    layers = [HIDDEN[kind], str(len(network) - 1)]
    on_cpu = ablation_deltas(network, layers, x, y, screen=screen)
    on_gpu = ablation_deltas(network.cuda(), layers, x.cuda(), y.cuda(), screen=screen)
    for each, expected in on_cpu.items():
        found = on_gpu[each]
        assert {value.device.type for value in found} == {"cuda"}
        assert torch.equal(found.exact.cpu(), expected.exact)
        for quantity in ("loss", "kl", "entropy"):
            torch.testing.assert_close(
                getattr(found, quantity).cpu(), getattr(expected, quantity), rtol=1e-3, atol=1e-5, equal_nan=True
            )
        assert expected.kl.nan_to_num(0).max() > 1e-4


@pytest.mark.usefixtures("full_float32")
@pytest.mark.parametrize("guard", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("kind", HIDDEN)
def test_search_for_a_direction(kind, guard):
    layer, x, network = HIDDEN[kind], blobs().tensors[0], networks(kind)
    with guard():
        on_cpu = search_direction(network, layer, x)
        clean = network.cuda().eval()(x.cuda())
        found = search_direction(network, layer, x.cuda())
        assert found.direction.device.type == found.kl.device.type == "cuda"
        assert abs(found.direction.norm().item() - 1) < 1e-9
        torch.testing.assert_close(found.kl.cpu(), on_cpu.kl, rtol=1e-2, atol=1e-6)  # it may climb another way
        with remove_direction(network, layer, found.direction):
            changed = network(x.cuda())
    logs = [output.double().log_softmax(-1) for output in (clean, changed)]
    kl = (logs[0].exp() * (logs[0] - logs[1])).sum(-1).mean()
    torch.testing.assert_close(kl, found.kl, rtol=1e-3, atol=1e-6)
    assert all(parameter.grad is None for parameter in network.parameters())


@pytest.mark.parametrize("correction", [None, "miller-madow"])
def test_information(correction):
    x, y = layer(3, 50, 24)
    edges = functional.bin_edges(x)
    for other in (x[:, :7].relu(), y):
        on_gpu, on_cpu = (
            functional.mutual_information(a, b, correction=correction, generator=torch.Generator().manual_seed(0))
            for a, b in ((x.cuda(), other.cuda()), (x, other))
        )
        assert_same(on_gpu, on_cpu)
    torch.testing.assert_close(functional.entropy(x.cuda(), edges=edges).cpu(), functional.entropy(x, edges=edges))
    for pairing in ("truncate", "all"):
        a, b = x[:, :9], x[:, 9:]
        found, expected = (
            functional.pooled_information(*both, pairing=pairing) for both in ((a.cuda(), b.cuda()), (a, b))
        )
        assert_same(found, expected)


def test_modules():
    shared = torch.randn(200, 4, generator=torch.Generator().manual_seed(0)).repeat_interleave(6, 1)
    x = shared + 0.3 * torch.randn(200, 24, generator=torch.Generator().manual_seed(1))
    weights = functional.mutual_information(x, x).value
    modules = functional.find_modules(weights)
    assert torch.equal(functional.find_modules(weights.cuda()).cpu(), modules)
    on_gpu, on_cpu = (
        functional.modularity(w, m, generator=torch.Generator().manual_seed(0))
        for w, m in ((weights.cuda(), modules.cuda()), (weights, modules))
    )
    assert_same(on_gpu, on_cpu)
    on_device = x.cuda().requires_grad_()
    loss = functional.modularity_loss(on_device, on_device, range(6), range(6))
    loss.backward()
    torch.testing.assert_close(loss.cpu(), functional.modularity_loss(x, x, range(6), range(6)), rtol=1e-4, atol=1e-5)
    assert bool(on_device.grad.isfinite().all())


@pytest.mark.parametrize("target", [blobs().tensors[1], None])
def test_permutation_effects(target):
    x, network = blobs().tensors[0], mlp(6, 6 if target is None else 3)
    on_cpu = permutation_effects(network, x, target, repeats=5)
    found = permutation_effects(network.cuda(), x.cuda(), None if target is None else target.cuda(), repeats=5)
    for name, expected in on_cpu._asdict().items():
        actual = getattr(found, name)
        assert actual.device.type == "cuda", name
        torch.testing.assert_close(actual.cpu(), expected, rtol=1e-3, atol=1e-4, equal_nan=True, msg=name)


def fit(folder, accelerator, **settings):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Unflatten(1, (1, 6)), nn.Conv1d(1, 8, 3), nn.ReLU(inplace=True), nn.Flatten(), mlp(32, 3))
    monitor = SeparationMonitor([make() for make in EVERY])
    t = trainer(folder, monitor, accelerator=accelerator, devices=1, **settings)
    module = Classifier(net)
    t.fit(module, loader(blobs()), loader(blobs(seed=1)))
    t.validate(module, loader(blobs(seed=1)), verbose=False)
    return load_run(t.log_dir), module


def troubles(record):
    """What went wrong, but for layers whose units are all of one kind, or grow."""
    return [note for note in record.notes if "too few" not in note and "outside the bins" not in note]


def test_the_monitor_in_a_trainer(tmp_path):
    (on_gpu, _), (on_cpu, _) = fit(tmp_path / "gpu", "gpu"), fit(tmp_path / "cpu", "cpu")
    assert on_gpu.layers == on_cpu.layers
    for found, expected in zip(on_gpu.records, on_cpu.records, strict=True):
        assert troubles(found) == troubles(expected) == []
        for layer_name in expected.layers:
            a, b = (record.findings["selectivity"][layer_name] for record in (found, expected))
            np.testing.assert_allclose(a["mean"], b["mean"], rtol=1e-2, atol=1e-3)
            a, b = (record.findings["henze_penrose"][layer_name] for record in (found, expected))
            np.testing.assert_allclose(a["separation"], b["separation"], atol=0.1)
        assert set(found.findings["ablation"]) == set(expected.findings["ablation"]) == set(expected.layers[1:])
        assert set(found.findings["direction_ablation"]) == set(expected.layers[1:])
        for layer_name in expected.layers[1:]:
            a, b = (record.findings["ablation"][layer_name] for record in (found, expected))
            np.testing.assert_allclose(a["loss"], b["loss"], atol=0.02)
    path = trace_path(mlp().cuda(), torch.randn(6))
    assert len(path.values[-1]) == 3


@pytest.mark.parametrize("precision", ["bf16-mixed", "16-mixed", "bf16-true", "64-true"])
def test_precisions(tmp_path, precision):
    run, _ = fit(tmp_path, "gpu", precision=precision)
    assert all(troubles(record) == [] for record in run.records)
    assert np.isfinite(run.array("significance", "best_effect_size")).all()


def test_training_is_bit_identical(tmp_path):
    states = []
    for callbacks in ([], [SeparationMonitor([make() for make in EVERY])]):
        torch.manual_seed(0)
        module = Classifier()
        t = trainer(tmp_path, *callbacks, accelerator="gpu", devices=1, deterministic=True)
        t.fit(module, loader(blobs(), shuffle=True), loader(blobs(seed=1)))
        states.append({**module.state_dict(), "rng": torch.cuda.get_rng_state(), "cpu": torch.get_rng_state()})
    for name, value in states[0].items():
        assert torch.equal(value, states[1][name]), name
