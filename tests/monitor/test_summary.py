"""The line that says what an analysed epoch has changed."""

import logging
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from lightning_separation import (
    Ablation,
    HenzePenrose,
    LayerInformation,
    PermutationImportance,
    SeparationMonitor,
    Significance,
    analyze,
    load_run,
)
from lightning_separation.loggers.emit import remembered
from lightning_separation.loggers.summary import line
from lightning_separation.records import Findings, Record
from tests.helpers import Classifier, blobs, loader, trainer

LOGGER = "lightning_separation.monitor"
SAID = re.compile(r"SeparationMonitor 'separation', (epoch \d+|validate, epoch \d+|before training): (.*)")


def made(epoch=0, stage="fit", classes=("cat", "dog", "eel"), layers=("input", "net.fc1", "net.fc2"), **findings):
    counts = np.full(len(classes), 20)
    return Record(epoch, 10 * epoch, stage, "val", list(layers), list(classes), counts, findings)


def separations(values, hardest=0.2):
    axes = {"separation": (), "divergence": ("pair",)}
    pairs = np.array([[0, 0.9, 0.8], [0.9, 0, hardest], [0.8, hardest, 0]])
    return Findings(axes, {layer: {"separation": value, "divergence": pairs} for layer, value in values.items()})


def dead(**units):
    flags = {layer.replace("_", "."): {"dead": np.isin(np.arange(8), which)} for layer, which in units.items()}
    return Findings({"dead": ("unit",)}, flags)


def losses(exact=True, objective=0, **layers):
    axes = {"loss": ("unit",), "exact": ("unit",), "is_output": (), "objective": ()}
    found = {}
    for layer, loss in layers.items():
        numbers = {"is_output": float(layer == "net_fc2"), "objective": float(objective)}
        found[layer.replace("_", ".")] = {"loss": loss, "exact": np.full(len(loss), exact), **numbers}
    return Findings(axes, found)


def entropies(**layers):
    return Findings({"entropy_mean": ()}, {name.replace("_", "."): {"entropy_mean": v} for name, v in layers.items()})


def said(record, *before, **more):
    told = line(record, {one.label: remembered(one) for one in before}, "separation", **more)
    assert "\n" not in told
    return told.removeprefix(f"SeparationMonitor 'separation', {record.when}: ")


LOW = separations({"input": 0.1, "net.fc1": 0.50, "net.fc2": 0.71})


@pytest.mark.parametrize(
    "now, expected",
    [
        ({"net.fc1": 0.55, "net.fc2": 0.83}, "net.fc2 separates better, 0.71 -> 0.83 (largest change)"),
        ({"net.fc1": 0.30, "net.fc2": 0.83}, "net.fc1 separates worse, 0.50 -> 0.30 (largest change)"),
        ({"net.fc1": 0.509, "net.fc2": 0.705}, "no layer's separation changed by 0.01 or more"),
        ({"input": 0.9, "net.fc1": 0.50, "net.fc2": 0.71}, "no layer's separation changed by 0.01 or more"),
        ({"net.fc1": np.nan, "net.fc2": 0.73}, "net.fc2 separates better, 0.71 -> 0.73 (largest change)"),
        ({"net.new": 0.4}, "separation 0.40 in net.new"),
    ],
    ids=["rise", "drop", "small", "input-does-not-count", "not-finite", "another-layer"],
)
def test_the_largest_change_of_separation(now, expected):
    record = made(1, layers=("input", "net.fc1", "net.fc2", "net.new"), henze_penrose=separations(now))
    assert said(record, made(henze_penrose=LOW)).split("; ")[0] == expected


@pytest.mark.parametrize(
    "before, now, expected",
    [
        (None, dead(net_fc1=[]), ""),
        (None, dead(net_fc1=[1, 2]), "2 units dead in net.fc1"),
        (dead(net_fc1=[1]), dead(net_fc1=[1]), ""),
        (dead(net_fc1=[1]), dead(net_fc1=[]), ""),
        (dead(net_fc1=[1]), dead(net_fc1=[1, 2]), "1 unit newly dead in net.fc1 (2 in all)"),
        (dead(net_fc1=[1]), dead(net_fc1=[2]), "1 unit newly dead in net.fc1 (1 in all)"),
        (
            dead(net_fc1=[1], net_fc2=[]),
            dead(net_fc1=[1, 2], net_fc2=[3, 4]),
            "3 units newly dead in net.fc2 and 1 more layer (4 in all)",
        ),
    ],
    ids=["none", "state", "same", "alive-again", "one", "another", "two-layers"],
)
def test_newly_dead_units(before, now, expected):
    earlier = [] if before is None else [made(significance=before)]
    told = said(made(1, significance=now), *earlier)
    assert told == (expected or f"significance of {len(now)} layer")  # there is always something to say


def test_everything_in_one_line():
    before = made(3, henze_penrose=LOW, significance=dead(net_fc1=[0]))
    now = made(
        4,
        henze_penrose=separations({"net.fc1": 0.5, "net.fc2": 0.83}, hardest=0.41),
        significance=dead(net_fc1=[0, 5, 6, 7]),
        ablation=losses(net_fc1=[0.01, 0.12, np.nan], net_fc2=[9.0, 9.0, 9.0]),
    )
    assert line(now, {3: remembered(before)}, "mine") == (
        "SeparationMonitor 'mine', epoch 4: net.fc2 separates better, 0.71 -> 0.83 (largest change); "
        "3 units newly dead in net.fc1 (4 in all); hardest pair dog / eel (0.41 in net.fc2); "
        "most needed net.fc1 unit 1 (loss +0.12 nats without it)"
    )


@pytest.mark.parametrize(
    "found, expected",
    [
        (losses(net_fc1=[0.25, 0.5]), "most needed net.fc1 unit 1 (loss +0.5 nats without it)"),
        (losses(exact=False, net_fc1=[0.25]), "most needed net.fc1 unit 0 (loss about +0.25 nats without it)"),
        (losses(objective=1, net_fc1=[0.25]), "most needed net.fc1 unit 0 (loss +0.25 without it)"),
        (losses(objective=2, net_fc1=[2.5]), "most needed net.fc1 unit 0 (loss +2.5 percentage points without it)"),
        (losses(net_fc1=[-0.25, 0.0, np.nan], net_fc2=[1.0]), ""),
    ],
    ids=["exact", "estimate", "values", "autoencoder", "none-needed"],
)
def test_the_most_needed_unit(found, expected):
    told = said(made(1, classes=(), ablation=found))
    assert told == (expected or "ablation of 2 layers")


def test_without_separations_entropy_and_the_most_important_feature_count():
    importance = Findings(
        {"importance": ("feature", "repeat"), "objective": ()},
        {"input": {"importance": [[0.1, 0.1], [0.2, 0.4]], "objective": 1.0}},
        {"feature": ["age", "pulse"]},
    )
    before = made(classes=(), layer_information=entropies(net_fc1=1.5, net_fc2=1.2))
    assert said(before) == "entropy 1.20 nats in net.fc2"
    changed = entropies(net_fc1=1.0, net_fc2=1.3)
    now = made(1, classes=(), layer_information=changed, permutation_importance=importance)
    told = "net.fc1 varies less, entropy 1.50 -> 1.00 nats; most important feature pulse (loss +0.3 permuted)"
    assert said(now, before) == told
    assert said(before, before) == "no layer's entropy changed by 0.01 nats or more"


def test_the_largest_gap_to_the_training_data():
    train = made(1, henze_penrose=separations({"input": 0.9, "net.fc1": 0.55, "net.fc2": 0.96}))
    told = said(made(1, henze_penrose=LOW), train=train)
    assert "; largest gap to the training data +0.25 in net.fc2; " in told
    assert "gap" not in said(made(1, henze_penrose=LOW), train=made(1))


def test_a_line_stays_a_line_whatever_the_names():
    names = ("input", "encoder.layers.11.attention\n.output.dense", "h" * 300)
    record = made(
        1, classes=["a\nb" * 50, "c" * 400, "d"], layers=names, henze_penrose=separations(dict.fromkeys(names, 0.5))
    )
    told = line(record, {}, "separation")
    assert 0 < len(told) <= 280
    assert not re.search(r"[\x00-\x1f]", told)


def one_layer(axes, **values):
    return Findings(axes, {"net.fc2": values})


@pytest.mark.parametrize(
    "analysis, found, expected",
    [
        ("selectivity", one_layer({"class_divergence": ()}, class_divergence=0.25), "class divergence 0.25 in net.fc2"),
        ("modularity", one_layer({"modularity": ()}, modularity=0.25), "modularity 0.250 in net.fc2"),
        ("group_ablation", one_layer({"difference": ()}, difference=0.125), "difference +0.125 in net.fc2"),
        ("feature_information", one_layer({"feature_mean": ("feature",)}, feature_mean=[0.1, 0.5]), "at most 0.5 in"),
        ("confusion", Findings({"accuracy": ()}, {"*": {"accuracy": 0.5}}), "accuracy 50.0%"),
        (
            "input_features",
            one_layer({"drive": ("class", "feature")}, drive=np.ones((3, 2))),
            "input features of 1 lay",
        ),
        ("mine", Findings({"x": ()}, {"input": {"x": 1.0}}), "mine: x 1 in input"),
        ("mine", one_layer({"x": ("unit",)}, x=[1.0]), "mine of 1 layer"),
        ("significance", one_layer({"dead_fraction": ()}, dead_fraction=0.0), "dead units 0% in net.fc2"),
    ],
)
def test_of_any_analysis_there_is_a_key_number(analysis, found, expected):
    record = made(1, **{analysis: found})
    assert expected in said(record)
    both = made(1, henze_penrose=LOW, **{analysis: found})
    assert (expected in said(both)) == (analysis != "significance")


def test_nothing_found_nothing_said():
    assert line(made(1), {}, "separation") == line(made(1, mine=Findings({}, {})), {}, "separation") == ""


def test_a_change_since_an_epoch_that_is_not_the_one_before_says_so():
    first = made(0, henze_penrose=LOW, significance=dead(net_fc1=[0]))
    now = {"net.fc1": 0.50, "net.fc2": 0.83}
    last = made(2, henze_penrose=separations(now), significance=dead(net_fc1=[0, 1]))
    told = said(last, first, made(1, significance=dead(net_fc1=[0])))
    assert (
        "net.fc2 separates better, 0.71 -> 0.83 (largest change since epoch 0); 1 unit newly dead in net.fc1 (2" in told
    )
    told = said(last, first, made(1))
    assert "1 unit newly dead in net.fc1 since epoch 0 (2 in all)" in told


def lines(caplog):
    found = [SAID.fullmatch(record.getMessage()) for record in caplog.records if record.name == LOGGER]
    return [match.groups() for match in found if match]


def run(tmp_path, monitor, go="fit", module=None, ckpt_path=None, **settings):
    t = trainer(tmp_path, monitor, **settings)
    data = [loader(blobs(seed=1))] if go == "validate" else [loader(blobs()), loader(blobs(seed=1))]
    getattr(t, go)(
        module or Classifier(), *data, ckpt_path=ckpt_path, **({"verbose": False} if go == "validate" else {})
    )
    return t


def expected_change(before, now):
    """The largest change of separation between two records, as the line has it."""
    first, second = (
        {layer: r.findings["henze_penrose"][layer]["separation"].item() for layer in r.layers[1:]}
        for r in (before, now)
    )
    layer = max(first, key=lambda name: abs(second[name] - first[name]))
    old, new = first[layer], second[layer]
    if abs(new - old) < 0.01:
        return "no layer's separation changed by 0.01 or more"
    return f"{layer} separates {'better' if new > old else 'worse'}, {old:.2f} -> {new:.2f} (largest change)"


def test_a_fit_says_what_its_records_have(tmp_path, caplog):
    caplog.set_level(logging.INFO, logger=LOGGER)
    monitor, module = SeparationMonitor(), Classifier()
    validated = run(tmp_path, monitor, "validate", module)
    t = run(tmp_path, monitor, module=module, max_epochs=3)
    t.validate(module, loader(blobs(seed=1)), verbose=False)
    records = [record for record in load_run(Path(t.log_dir)).records if record.stage == "fit"]
    whens, told = zip(*lines(caplog), strict=True)
    assert whens == ("before training", "epoch 0", "epoch 1", "epoch 2", "validate, epoch 3")
    for place in (0, 4):  # nothing to compare with
        assert told[place].startswith("separation 0.")
    (untrained,) = load_run(Path(validated.log_dir)).records
    for before, now, text in zip([untrained, *records], records, told[1:4], strict=False):
        assert text.split("; ")[0] == expected_change(before, now)
    for record, text in zip(records, told[1:4], strict=True):
        ablation = record.findings["ablation"]
        inner = {layer: found for layer, found in ablation.items() if not found["is_output"]}
        layer = max(inner, key=lambda name: inner[name]["loss"].max())
        unit, loss = inner[layer]["loss"].argmax(), inner[layer]["loss"].max()
        assert f"most needed {layer} unit {unit} (loss +{loss:.2g} nats without it)" in text


@pytest.mark.parametrize("old", [False, True], ids=["as-saved", "of-an-older-version"])
def test_a_resumed_fit_compares_with_the_checkpoint(tmp_path, caplog, old):
    first = run(tmp_path, SeparationMonitor([HenzePenrose()]), max_epochs=2)
    path = tmp_path / "last.ckpt"
    first.save_checkpoint(path)
    if old:
        checkpoint = torch.load(path, weights_only=False)
        presenter = checkpoint["callbacks"]["SeparationMonitor[separation]"]["presenters"]["val"]
        presenter["latest"] = {"separation": {"net.3": 0.5}, "dead": {"net.3": []}, "epoch": 1}
        torch.save(checkpoint, path)
    caplog.set_level(logging.INFO, logger=LOGGER)
    monitor = SeparationMonitor([HenzePenrose()], on_error="raise")
    second = run(tmp_path, monitor, max_epochs=3, ckpt_path=path)
    before = load_run(Path(first.log_dir)).records[-1]
    (now,) = load_run(Path(second.log_dir)).records[-1:]
    ((when, told),) = lines(caplog)
    assert (before.epoch, now.epoch, when) == (1, 2, "epoch 2")
    assert told.split("; ")[0] == expected_change(before, now)


def test_another_fit_from_the_start_has_nothing_to_compare_with(tmp_path, caplog):
    caplog.set_level(logging.INFO, logger=LOGGER)
    monitor = SeparationMonitor([HenzePenrose()])
    for _ in range(2):
        run(tmp_path, monitor, max_epochs=1, logger=False)
    assert [told.startswith("separation 0.") for _, told in lines(caplog)] == [True, True]


def test_an_analysis_with_a_rhythm_of_its_own_is_compared_with_its_last(tmp_path, caplog):
    caplog.set_level(logging.INFO, logger=LOGGER)
    analyses = [HenzePenrose(every_n_epochs=2), Significance()]
    t = run(tmp_path, SeparationMonitor(analyses), max_epochs=3)
    first, _, last = load_run(Path(t.log_dir)).records
    told = dict(lines(caplog))
    changed = expected_change(first, last).replace("largest change", "largest change since epoch 0")
    assert told["epoch 2"].split("; ")[0] == changed.replace(" or more", " or more since epoch 0")
    assert "separat" not in told.get("epoch 1", "")


def test_without_classes_a_fit_still_has_its_line(tmp_path, caplog):
    caplog.set_level(logging.INFO, logger=LOGGER)
    analyses = [HenzePenrose(), LayerInformation(), PermutationImportance(repeats=2)]
    run(tmp_path, SeparationMonitor(analyses, target_fn=False), max_epochs=1)
    ((_, told),) = lines(caplog)
    assert re.fullmatch(r"entropy \d\.\d\d nats in net\.3(; most important feature .*)?", told)


def test_nobody_listens_nothing_is_said(tmp_path, caplog):
    caplog.set_level(logging.WARNING, logger=LOGGER)
    run(tmp_path, SeparationMonitor([HenzePenrose(), Ablation()]), max_epochs=1)
    assert not lines(caplog)


TWO = """
import sys
from lightning_separation import HenzePenrose, SeparationMonitor
from tests.helpers import *
if __name__ == "__main__":
    monitor = SeparationMonitor([HenzePenrose()], splits=("val", "train"), emit=(), save=False)
    t = trainer(sys.argv[1], monitor, strategy="ddp_fork", devices=2, logger=False, enable_checkpointing=False)
    t.fit(Classifier(), loader(blobs()), loader(blobs(seed=1)))
"""


def test_two_processes_say_everything_once(tmp_path):
    (tmp_path / "two.py").write_text(TWO)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "two.py", str(tmp_path)]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=200, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    told = SAID.findall(done.stdout + done.stderr)
    assert [when for when, _ in told] == ["epoch 0", "epoch 1"]
    assert all("largest gap to the training data" in text for _, text in told)
    assert len(re.findall("each validated epoch", done.stdout + done.stderr)) == 1


def test_a_warning_of_analyze_points_at_the_line_that_calls_it():
    with pytest.warns(UserWarning, match="analyze: henze_penrose") as caught:
        record = analyze(Classifier().net, loader(blobs(per_class=4)), [HenzePenrose()])
    assert {Path(warning.filename).name for warning in caught} == {Path(__file__).name}
    assert [str(warning.message) for warning in caught] == [f"analyze: {note}" for note in record.notes]
