"""The ablation example: what it prints is what it found, and what it is there to show is true of its networks."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lightning_separation import load_run
from lightning_separation.plots import selective_or_used
from lightning_separation.records import DIRECTION_KINDS

ROOT = Path(__file__).parents[2]
LAYERS = {"heart_disease": ["relu1", "relu2"], "digits": ["layer1", "layer2", "layer3"]}
GROUPS = ("significant", "others")
LEFTOVER = "lightning_logs/ablation/digits/events.out.tfevents.0.old.0"


@pytest.fixture(scope="module")
def ablation(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ablation")
    (folder / LEFTOVER).parent.mkdir(parents=True)
    (folder / LEFTOVER).touch()
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    printed = subprocess.run(
        [sys.executable, str(ROOT / "examples" / "ablation.py"), "--epochs", "8"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path},
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    ).stdout
    return folder, printed


def last(ablation, name):
    return load_run(ablation[0] / "lightning_logs" / "ablation" / name).records[-1]


def rows(ablation, begin, end):
    """Lines between two headings, by their first words."""
    text = ablation[1].split(begin)[1].split(end)[0]
    return {line.split()[0]: line for line in text.splitlines() if line.split()}


def numbers(text):
    return [float(found) for found in re.findall(r"[+-]?\d+\.\d+", text)]


def test_accuracies_without_groups_are_those_of_the_record(ablation):
    found = last(ablation, "heart_disease").findings["group_ablation"]
    table = rows(ablation, "as many of each", "90% of each")
    for name, layer in {"relu1": "relu1", "relu2": "relu2", "together": "*"}.items():
        values = found[layer]
        shares = [float(share) for share in re.findall(r"(\d+)%", table[name])]
        expected = [values["clean_accuracy"], *(values[f"accuracy_without_{kind}"].mean() for kind in GROUPS)]
        np.testing.assert_allclose(shares, 100 * np.array(expected), atol=0.51)
        counts = [tuple(map(int, pair)) for pair in re.findall(r"\((\d+) of (\d+)\)", table[name])]
        assert counts[0][0] == counts[1][0] == values["removed_others"]
        assert counts[0][1] > counts[1][1] >= counts[1][0] > 0.8 * counts[1][1]
        np.testing.assert_allclose(
            numbers(table[name]), 100 * np.array([values["difference"], values["difference_std"]]), atol=0.051
        )


def test_others_that_are_dead(ablation):
    line = re.search(r"Others that are dead.*\n(.*)\.$", ablation[1], re.MULTILINE)[1]
    heart, digits = (re.findall(r"(\d+) of (\d+) in (\w+)", part) for part in line.split("; of the digits "))
    for name, told in (("heart_disease", heart), ("digits", digits)):
        values = last(ablation, name).findings["group_ablation"]
        assert [layer for _, _, layer in told] == [layer for layer in values if layer != "*"]
        for dead, others, layer in told:
            assert [int(dead), int(others)] == [values[layer]["dead_others"], values[layer]["other_units"]]
            assert 0 < int(dead) <= int(others)


def test_most_significant_units_can_go_only_if_others_stay(ablation):
    """Nine tenths of the significant are several times as many as the others, and dearer."""
    equal, each = rows(ablation, "as many of each", "90% of each"), rows(ablation, "90% of each", "Units are told")
    assert int(re.search(r"\((\d+) of", each["together"])[1]) > 3 * int(re.search(r"\((\d+) of", equal["together"])[1])
    (few, _), (many, _) = numbers(equal["together"]), numbers(each["together"])
    assert many > few + 5
    assert abs(few) < 5


def test_the_most_needed_units_are_named(ablation):
    found = last(ablation, "digits").findings["ablation"]
    for layer in LAYERS["digits"]:
        line = re.search(rf"^ +{layer} +most needed +(.*)$", ablation[1], re.MULTILINE)[1]
        loss, accuracy = found[layer]["loss"], found[layer]["accuracy"]
        named = re.findall(r"unit (\d+) \(([+-]\S+), ([+-]\S+)\)", line)
        assert [int(unit) for unit, _, _ in named] == np.argsort(-loss)[:3].tolist()
        for unit, of_loss, of_accuracy in named:
            assert float(of_loss) == pytest.approx(loss[int(unit)], abs=6e-4)
            assert float(of_accuracy) == pytest.approx(100 * accuracy[int(unit)], abs=0.06)
        assert found[layer]["exact"].all()


@pytest.mark.parametrize("group", ["unused", "unselective"])
def test_units_that_respond_but_are_not_needed_and_the_reverse(ablation, group):
    record = last(ablation, "digits")
    words = {"unused": "selective but unused", "unselective": "used but unselective"}[group]
    lines = re.findall(rf"^ +{words}  (.*)$", ablation[1], re.MULTILINE)
    total = 0
    effects = [record.findings["significance"][layer]["effect_size"] for layer in LAYERS["digits"]]
    losses = [record.findings["ablation"][layer]["loss"] for layer in LAYERS["digits"]]
    for effect, loss, line in zip(effects, losses, lines, strict=True):
        for size, change in re.findall(r"effect (\S+), loss (\S+)\)", line):
            if group == "unused":
                assert abs(float(change)) <= 0.1 * np.abs(loss).max() + 6e-4
            else:
                assert float(size) <= 0.5 * np.nanmax(np.abs(effect)) + 6e-3
    for layer, line in zip(LAYERS["digits"], lines, strict=True):
        tested, loss = record.findings["significance"][layer], record.findings["ablation"][layer]["loss"]
        expected = getattr(
            selective_or_used(tested["effect_size"], loss, tested["significant"], ~tested["dead"]), group
        )
        named = [int(unit) for unit in re.findall(r"unit (\d+)", line)]
        more = re.search(r"and (\d+) more", line)
        assert expected[named].all()
        assert len(named) + (int(more[1]) if more else 0) == expected.sum()
        total += len(named)
    assert total > 0 or group == "unselective"  # of which so short a training leaves none


def test_a_direction_is_worth_many_units_and_random_ones_are_not(ablation):
    found = last(ablation, "digits").findings
    table = rows(ablation, "DIGITS: how far", "THE LAYER")
    for layer in LAYERS["digits"]:
        values = found["direction_ablation"][layer]
        best = {
            kind: values["kl"][values["kind"] == i].max()
            for i, kind in enumerate(DIRECTION_KINDS)
            if (values["kind"] == i).any()
        }
        unit = found["ablation"][layer]["kl"].max()
        assert numbers(table[layer]) == pytest.approx([unit, *best.values()], abs=6e-4)
        assert list(best) == ["random", "principal", "class_means", "search"]
        assert best["search"] > 5 * max(best["random"], unit)
        assert best["search"] >= max(best.values())
        before, after = (int(share) for share in re.findall(r"(\d+)%", table[layer]))
        assert before > 85
        assert after < before - 20
    units, random = (int(times) for times in re.findall(r"(\d+) times as far", ablation[1]))
    assert min(units, random) > 50


def test_what_becomes_of_the_layer_behind(ablation):
    lines = re.findall(r"^ +(\w+) -> (\w+) +(\d+) +(.*)$", ablation[1], re.MULTILINE)
    assert [line[0] for line in lines] == [*LAYERS["heart_disease"], *LAYERS["digits"]]
    for layer, follower, removed, line in lines:
        record = last(ablation, "digits" if layer.startswith("layer") else "heart_disease")
        values = record.findings["next_layer_effect"][layer]
        assert record.layers[values["follower"][0]] == follower
        assert int(removed) == values["removed_units"]
        expected = [values["separation"][0]]
        for kind in GROUPS:
            expected += [values[f"separation_without_{kind}"][0], values[f"shift_without_{kind}"][0]]
        assert numbers(line) == pytest.approx(expected, abs=6e-3)
        assert values["shift_without_significant"][0] > values["shift_without_others"][0]


@pytest.mark.parametrize("name", LAYERS)
def test_the_event_files_hold_all_that_is_shown(ablation, name):
    folder = ablation[0] / "lightning_logs" / "ablation" / name
    assert len(list(folder.glob("events.out.tfevents.*"))) == 1  # that of an earlier run is gone
    events = EventAccumulator(str(folder), {"images": 0, "tensors": 0}).Reload()
    tags = events.Tags()
    for layer in LAYERS[name]:
        for kind in ("ablation_max_loss", "group_ablation_difference", "direction_max_kl", "next_layer_shift"):
            assert f"{kind}/{layer}" in tags["scalars"]
        assert {f"ablation_loss/{layer}", f"direction_kl/{layer}"} <= set(tags["histograms"])
        assert f"ablation_figures/{layer}" in tags["images"]
    assert {
        "ablation_figures/effect_size_by_loss",
        "direction_figures/kl",
        "group_ablation_figures/accuracy",
        "next_layer_figures/separation",
        "next_layer_figures/shift",
    } <= set(tags["images"])
    texts = {tag.removesuffix("/text_summary") for tag in tags["tensors"]}
    tables = ("ablation_tables/most_needed", "direction_tables/strongest", "group_ablation_tables/groups")
    assert {*tables, "ablation_tables/selective_or_used", "next_layer_tables/effects"} <= texts
    record = load_run(folder).records[-1]
    for layer in LAYERS[name]:
        (*_, curve) = events.Scalars(f"ablation_max_loss/{layer}")
        assert curve.value == pytest.approx(record.findings["ablation"][layer]["loss"].max(), rel=1e-5)


def test_it_ends_with_the_command_to_type(ablation):
    assert ablation[1].splitlines()[-1] == "    tensorboard --logdir lightning_logs/ablation"
