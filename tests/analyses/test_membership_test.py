"""Training against validation samples: SciPy's spanning trees; a network that has learnt noise by heart."""

import warnings
from contextlib import nullcontext

import numpy as np
import pytest
import torch
from scipy.sparse.csgraph import minimum_spanning_tree
from scipy.spatial.distance import cdist
from scipy.stats import false_discovery_control
from torch import nn

from lightning_separation import MembershipTest, SeparationMonitor, analyze, load_run
from lightning_separation.analyses.rerun import private_generator
from lightning_separation.capture import Capture, Sample, select_layers
from lightning_separation.functional import membership_test
from tests.helpers import Classifier, blobs, loader, mlp, trainer

LAYERS = ["input", "0", "1"]


def snapshot(network, x, y, said, class_names=None, seed=0):
    """What one pass over data leaves."""

    def report(subject, reason, *, harmless=False):
        said.append(f"{subject}: {reason}")

    capture = Capture(
        network, select_layers(network, None), {"": network}, Sample(1000, 1000), target_fn=None,
        class_names=class_names, pooling="mean", max_memory=2**30, report=report, explicit=False, seed=seed,
    )  # fmt: skip
    capture.start()
    with torch.no_grad():
        capture.before_batch((x, y))
        network(x)
        capture.after_batch()
    found = capture.finish(nullcontext)
    capture.stop()
    return found


def pair(train, validation, network=None, **settings):
    """The snapshot of the training sample, with the other beside it, and what is reported."""
    torch.manual_seed(0)
    network = network or nn.Sequential(nn.Linear(train[0].shape[1], 4), nn.Tanh())
    said = []
    first, second = (snapshot(network, *data, said, **settings) for data in (train, validation))
    first.beside = second
    return first, said


def drawn(per_class, distance, seed, classes=2):
    """Gaussian classes, so far apart."""
    y = torch.arange(classes).repeat(per_class)
    noise = torch.randn(len(y), 3, generator=torch.Generator().manual_seed(seed))
    return noise + distance * torch.eye(3)[y % 3], y


def separation(x, y, metric="euclidean"):
    """Mean Henze-Penrose divergence over pairs of classes."""
    values, classes = [], np.unique(y)
    for i, a in enumerate(classes):
        for b in classes[i + 1 :]:
            rows = (y == a) | (y == b)
            tree = minimum_spanning_tree(cdist(x[rows], x[rows], metric)).tocoo()
            m, n = (y == a).sum(), (y == b).sum()
            cross = (y[rows][tree.row] != y[rows][tree.col]).sum()
            values.append(1 - cross * (m + n) / (2 * m * n))
    return np.mean(values)


def gap_of(train, validation, metric="euclidean"):
    first, second = (separation(np.float64(x), y.numpy(), metric) for x, y in (train, validation))
    return pytest.approx(first - second)


@pytest.mark.parametrize("distance", ["euclidean", "cosine"])
def test_gaps_are_those_of_scipys_trees_and_p_that_of_the_function(distance):
    train, validation = drawn(12, 1.5, 1, classes=3), drawn(9, 1, 2, classes=3)
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(3, 4), nn.Tanh()).double()
    train, validation = ((x.double(), y) for x, y in (train, validation))
    sample, said = pair(train, validation, network, seed=5)
    findings = MembershipTest(num_permutations=9, distance=distance).compute(sample)
    assert not said
    assert list(findings) == LAYERS
    p_values = [findings[layer]["p_value"].item() for layer in LAYERS]
    with torch.no_grad():
        for layer, part in (("input", nn.Identity()), ("1", network)):
            made = [(part(x), y) for x, y in (train, validation)]
            assert findings[layer]["gap"] == gap_of(*made, distance)
            settings = {"generator": private_generator(5, layer), "num_permutations": 9, "distance": distance}
            assert findings[layer]["p_value"] == membership_test(*made[0], *made[1], **settings).p_value
    np.testing.assert_allclose([findings[layer]["q_value"] for layer in LAYERS], false_discovery_control(p_values))


def test_what_was_learnt_by_heart_has_the_smallest_p():
    sample, _ = pair(drawn(20, 8, 1), drawn(20, 0, 2))
    findings = MembershipTest(num_permutations=19, layers=["input"]).compute(sample)
    assert findings["input"]["p_value"] == 1 / 20
    assert findings["input"]["gap"] > 0.5
    sample, _ = pair(drawn(20, 0, 1), drawn(20, 8, 2))
    assert MembershipTest(num_permutations=19, layers=["input"]).compute(sample)["input"]["p_value"] == 1


def test_equal_samples_have_no_gap():
    data = drawn(10, 1, 0)
    findings = MembershipTest(num_permutations=19, layers=["input"]).compute(pair(data, data)[0])
    assert findings["input"]["gap"] == 0
    assert findings["input"]["p_value"] > 0.1
    network = nn.Sequential(nn.Linear(3, 4), nn.ReLU())
    nn.init.constant_(network[0].bias, -100)
    dead = MembershipTest(num_permutations=3, layers=["1"]).compute(pair(data, drawn(10, 1, 1), network)[0])["1"]
    assert (dead["gap"], dead["p_value"], dead["q_value"]) == (0, 1, 1)


def test_classes_of_which_one_sample_has_too_few_are_left_out_by_name():
    x, y = drawn(10, 1, 0, classes=4)
    y = 4 * y + 3  # 3, 7, 11, 15
    few, others = torch.ones(40, dtype=torch.bool), drawn(10, 1, 5, classes=4)[0]
    few[np.flatnonzero(y == 7)[4:]] = False  # four are left
    few[np.flatnonzero(y == 15)] = False
    sample, said = pair((x, y), (others[few], y[few]), class_names={k: f"c{k}" for k in range(16)})
    findings = MembershipTest(num_permutations=3).compute(sample)
    told = "classes c7 (10 and 4), c15 (10 and 0) left out: fewer than 5 samples for training or validation"
    assert said == [f"membership_test: {told}"]
    kept = (y == 3) | (y == 11)
    assert findings["input"]["gap"] == gap_of((x[kept], y[kept]), (others[kept], y[kept]))


def test_one_class_left_is_too_few():
    x, y = drawn(10, 1, 0)
    sample, said = pair((x, y), (x[y == 0], y[y == 0]))
    assert not MembershipTest().compute(sample)
    assert said[-1] == "membership_test: it needs two classes with 5 samples each for training and validation"


def test_a_layer_of_nan_is_left_out_by_name():
    network = nn.Sequential(nn.Linear(3, 4), nn.Tanh())
    nn.init.constant_(network[0].bias, torch.nan)
    sample, said = pair(drawn(10, 1, 0), drawn(10, 1, 1), network)
    findings = MembershipTest(num_permutations=3).compute(sample)
    assert list(findings) == ["input"]
    assert findings["input"]["q_value"] == findings["input"]["p_value"]
    assert "0, 1: membership_test: features hold NaN or infinite values in 20 of 20 rows" in said


def test_the_input_is_tested_again_beside_another_validation_sample():
    train, analysis = drawn(10, 1, 0), MembershipTest(num_permutations=1, layers=["input"])
    for distance in (0, 8, 0):
        validation = drawn(10, distance, 1)
        found = analysis.compute(pair(train, validation)[0])["input"]
        assert found["gap"] == gap_of(train, validation)


def test_it_draws_by_seed_and_layer_and_leaves_random_numbers_alone():
    data, analysis = (drawn(10, 0.5, 0), drawn(10, 0.3, 1)), MembershipTest(num_permutations=29, layers=["input", "1"])
    samples = [pair(*data, seed=seed)[0] for seed in (0, 0, 7)]
    state = torch.get_rng_state()
    found = [analysis.compute(sample) for sample in samples]
    assert torch.equal(state, torch.get_rng_state())
    one, same, other = ([findings[layer]["p_value"].item() for layer in ("input", "1")] for findings in found)
    assert one == same != other


def test_of_a_validation_sample_alone_nothing_is_found_silently():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        record = analyze(mlp(), loader(blobs()), [MembershipTest()])
    assert not record.findings["membership_test"]


def test_in_a_fit(tmp_path):
    """Of the training data only; a network that was trained on noise has learnt it by heart."""
    monitor = SeparationMonitor(
        [MembershipTest(num_permutations=19, layers=["input", "net.2"])],
        splits=("val", "train"),
        epochs=[39],
        on_error="raise",
        emit=[],
    )
    t = trainer(tmp_path, monitor, max_epochs=40, check_val_every_n_epoch=40)
    torch.manual_seed(0)
    data = [blobs(2, spread=50, dim=20, seed=seed) for seed in (0, 1)]
    network = nn.Sequential(nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, 2))
    t.fit(Classifier(network), loader(data[0], shuffle=True), loader(data[1]))
    run = load_run(t.log_dir)
    assert not run.records
    findings = run.train.records[0].findings["membership_test"]
    assert findings["net.2"]["p_value"] == 1 / 20
    assert findings["input"]["p_value"] > 1 / 20
    assert findings["net.2"]["gap"] > findings["input"]["gap"] + 0.2


@pytest.mark.parametrize("settings", [{"num_permutations": 0}, {"distance": "manhattan"}, {"every_n_epochs": 0}])
def test_impossible_settings(settings):
    with pytest.raises(ValueError, match=next(iter(settings))):
        MembershipTest(**settings)
