"""What is shown of one run, against the records."""

import csv
import io
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from lightning_separation.cli.words import sparkline
from tests.cli.made import (
    LAYERS,
    ablated,
    cells,
    confused,
    jackknife,
    matrix,
    mean,
    members,
    moments,
    record,
    saved,
    separated,
    strict,
    suspected,
)


@pytest.fixture
def run(tmp_path):
    return saved(moments(), tmp_path / "version_3" / "separation", settings={"module": "Net"})


def test_every_number_of_the_separation_is_that_of_the_records(run, call):
    code, text, err = call("show", run.parent)
    assert (code, err) == (0, "")
    assert text.splitlines()[0] == "version_3"
    assert "Net; 3 records, before training to epoch 1; 3 layers; 4 classes" in text
    first, *_, last = moments()
    changes = {}
    for layer in LAYERS:
        a, b = (one.findings["henze_penrose"][layer]["divergence"] for one in (first, last))
        _, low, high, _ = jackknife(b)
        found = cells(text, "Separation by layer", layer)
        above = np.where(np.tri(4, dtype=bool), 9, b)
        hard = np.unravel_index(above.argmin(), above.shape)
        assert found[1] == sparkline([mean(one.findings["henze_penrose"][layer]["divergence"]) for one in moments()])
        assert found[2:4] == [f"{mean(a):.3f}", f"{mean(b):.3f}"]
        assert found[4].strip() == f"{low:.3f} to {high:.3f}"
        allowed = [cell.strip() for cell in cells(text, "What each layer allows", layer)]
        assert allowed[1:] == [f"class {hard[0]} / class {hard[1]}", f"{above.min():.3f}", "10.0% to 20.0%"]
        changes[layer] = mean(b) - mean(a)
        if layer != "input":
            assert found[5].strip() == f"{changes[layer]:+.3f}".replace("-", "−")
    assert f"The last layer, fc2, went from {mean(a):.2f} before training to {mean(b):.2f} in epoch 1" in text
    fc1, fc2 = (last.findings["henze_penrose"][layer]["divergence"] for layer in ("fc1", "fc2"))
    steps = jackknife(fc2 - fc1)[0]
    added = [cell.strip() for cell in cells(text, "What each layer adds", "fc2")]
    assert added[1:3] == ["fc1", f"{steps:+.3f}".replace("-", "−")]


def test_json_and_csv_have_the_same_numbers(run, call):
    code, text, err = call("show", run, "--format", "json")
    assert (code, err) == (0, "")
    found = strict(text)
    assert found["run"]["layers"] == LAYERS
    assert found["gap"] is None
    assert found["most_needed"] is None
    _, text, _ = call("show", run, "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(text)))
    wanted = [(str(moment), layer) for moment in ("before", 0, 1) for layer in LAYERS]
    assert [(row["moment"], row["layer"]) for row in rows] == wanted
    for row, other in zip(rows, found["separation"], strict=True):
        assert {key: str(value) for key, value in other.items()} == row
    for one, row in zip([one for one in moments() for _ in LAYERS], rows, strict=True):
        values = one.findings["henze_penrose"][row["layer"]]["divergence"]
        effect, low, high, _ = jackknife(values)
        shown = [float(row[name]) for name in ("separation", "low", "high", "hardest")]
        np.testing.assert_allclose(shown, [effect, low, high, values[np.triu_indices(4, 1)].min()], rtol=1e-12)


def test_two_classes_have_no_interval_and_no_test(tmp_path, call):
    run = saved(moments(num=2), tmp_path / "run")
    _, text, _ = call("show", run)
    assert cells(text, "Separation by layer", "fc1")[4].strip() == "–"
    assert "one pair has no spread to test by" in text
    assert "by more than chance" not in text.split("Separation by layer")[0]
    _, text, _ = call("show", run, "--format", "json")
    assert strict(text)["separation"][0]["low"] is None
    _, text, _ = call("show", run, "--format", "csv")
    assert next(csv.DictReader(io.StringIO(text)))["low"] == ""


def test_one_record_has_nothing_that_changes(tmp_path, call):
    code, text, _ = call("show", saved(moments(epochs=[4]), tmp_path / "run"))
    header = text.split("Separation by layer\n")[1].splitlines()[0]
    assert code == 0
    assert "change" not in header
    assert "has a separation of" in text


def test_without_a_record_before_training_the_first_is_of_an_epoch(tmp_path, call):
    _, text, _ = call("show", saved(moments(epochs=[0, 1]), tmp_path / "run"))
    first, last = (mean(one.findings["henze_penrose"]["fc2"]["divergence"]) for one in moments(epochs=[0, 1]))
    assert f"went from {first:.2f} in epoch 0 to {last:.2f} in epoch 1 (" in text


def test_the_error_of_the_hardest_pair_is_its_own(tmp_path, call):
    values, one = matrix(), record(0, {"fc": matrix()})
    upper = (1 - values) / 2
    found = {"divergence": values, "bayes_lower": upper / 3, "bayes_upper": upper}
    of_all = {"bayes_error_lower": 0.31, "bayes_error": 0.42}
    axes = one.findings["henze_penrose"].axes
    one.findings["henze_penrose"] = type(one.findings["henze_penrose"])(axes, {"fc": {**found, **of_all}})
    _, text, _ = call("show", saved([one], tmp_path / "run"))
    hardest = (1 - values[np.triu_indices(4, 1)].min()) / 2
    assert f"these two, balanced as in the sample, is {hardest / 3:.1%} to {hardest:.1%}." in text
    assert "31.0%" not in text.split("Separation by layer")[0]
    header, row = text.split("\nWhat each layer allows\n")[1].splitlines()[:2]
    assert header.endswith("best error, all classes")
    assert row.endswith("31.0% to 42.0%")


def test_intervals_end_at_the_largest_separation(tmp_path, call):
    values = np.array([[0, 0.98, 0.97], [0.98, 0, 0.5], [0.97, 0.5, 0]])
    mean_of, low, high, _ = jackknife(values)
    assert high > 1
    run = saved([record(0, {"fc": values})], tmp_path / "run")
    _, text, _ = call("show", run)
    assert [cell.strip() for cell in cells(text, "Separation by layer", "fc")[1:]] == [
        f"{mean_of:.3f}",
        f"{low:.3f} to 1.000".replace("-", "−"),
    ]
    _, text, _ = call("show", run, "--format", "json")
    (row,) = strict(text)["separation"]
    assert (row["low"], row["high"]) == (pytest.approx(low), 1.0)


@pytest.mark.parametrize("input_changes", [False, True])
def test_the_number_of_tests_is_told_as_they_were_adjusted(tmp_path, call, input_changes):
    records = moments()
    if input_changes:
        for one in records[1:]:
            found = one.findings["henze_penrose"]["input"]["divergence"]
            found += 0.05 * (matrix(seed=one.step) + np.eye(4)) * (1 - np.eye(4))
    run = saved(records, tmp_path / "run")
    _, text, _ = call("show", run, "--format", "json")
    rows = strict(text)["training_effect"]["rows"]
    tested = [row for row in rows if row["layer"] != "input" or input_changes]
    wanted = stats.false_discovery_control([row["p_value"] for row in tested])
    np.testing.assert_allclose([row["q_value"] for row in tested], wanted)
    _, text, _ = call("show", run)
    assert f"of the change, p adjusted for {len(tested)} tests (layers); *" in text
    assert "p adjusted for 6 tests (layers at 3 epochs)" in text  # of steps from layer to layer


def test_many_steps_are_for_other_programs(tmp_path, call):
    for num in (31, 32):  # one step less
        run = saved([record(0, {f"fc{i}": matrix(seed=i) for i in range(num)})], tmp_path / str(num))
        _, text, _ = call("show", run)
        assert ("What each layer adds" in text) == (num == 31)
        _, text, _ = call("show", run, "--format", "json")
        found = strict(text)
        assert len(found["layer_steps"]["rows"]) == num - 1
        assert found["epoch_steps"] is None
    step = found["layer_steps"]["rows"][4]
    effect, low, high, p_value = jackknife(matrix(seed=5) - matrix(seed=4))
    assert (step["layer"], step["versus"]) == ("fc5", "fc4")
    assert [step[name] for name in ("effect", "low", "high", "p_value")] == pytest.approx([effect, low, high, p_value])


def test_notes_of_all_records_are_told_once_each_as_said_last(tmp_path, call):
    mine, train = moments(), moments(split="train")
    mine[0].notes.extend(["fc1: 3 of 9 samples", "target: class 2 left out", "both"])
    mine[1].notes.extend(["fc1: 4 of 9 samples", "fc2: 4 of 9 samples"])
    train[1].notes.extend(["fc1: 7 of 9 samples", "both"])
    run = saved([*mine, *train], tmp_path / "run")
    wanted = [
        "fc1: 4 of 9 samples",
        "target: class 2 left out",
        "both",
        "fc2: 4 of 9 samples",
        "training data: fc1: 7 of 9 samples",
    ]
    _, text, _ = call("show", run)
    assert text.split("\nNotes\n")[1].split("\n\n")[0].splitlines() == wanted
    _, text, _ = call("show", run, "--format", "json")
    assert strict(text)["run"]["notes"] == wanted


@pytest.mark.parametrize("num", [1, 2])
def test_records_behind_others_are_counted(tmp_path, call, num):
    hidden = [replace(record(0, {"fc": matrix()}), step=i, stage="validate") for i in range(3, 3 + num)]
    _, text, _ = call("show", saved([*moments(), *hidden], tmp_path / "run"))
    notes = text.split("\nNotes\n")[1].split("\n\n")[0].splitlines()
    assert len(notes) == 1
    assert notes[0].endswith(f"run has several records of one epoch; not compared: {num}")


def test_hardest_pairs_are_those_of_the_last_layer_in_order(run, call):
    _, text, _ = call("show", run)
    last = moments()[-1].findings["henze_penrose"]["fc2"]["divergence"]
    lines = text.split("\nHardest pairs\n")[1].splitlines()[1:7]
    shown = [float([cell for cell in line.split("  ") if cell.strip()][3]) for line in lines]
    np.testing.assert_array_equal(shown, np.sort(last[np.triu_indices(4, 1)]).round(3))


def test_most_needed_units_are_those_with_the_largest_loss(tmp_path, call):
    layers = {
        "fc1": ([0.1, 0.5, -0.9, np.nan], [1, 1, 1, 0], False),
        "relu": ([0.1, 0.5, -0.9, np.nan], [1, 1, 1, 0], False),
        "fc2": ([0.3, 0.2], [1, 0], False),
        "out": ([9.0, 9.0], [1, 1], True),
    }
    run = saved([record(0, list(layers), ablation=ablated(layers, objective=2))], tmp_path / "run")
    code, text, _ = call("show", run)
    assert code == 0
    assert "No separation of classes was recorded" in text
    rows = [line.split() for line in text.split("\nMost needed units\n")[1].splitlines()[1:5]]
    assert rows == [
        ["fc1,", "relu", "1", "+0.5", "−5.0", "exact"],
        ["fc2", "0", "+0.3", "−3.0", "exact"],
        ["fc2", "1", "+0.2", "−2.0", "estimated"],
        ["fc1,", "relu", "0", "+0.1", "−1.0", "exact"],
    ]
    assert "reconstruction error" in text
    code, text, err = call("show", run, "--format", "csv")
    assert (code, len(text.splitlines()), err) == (0, 1, "")


def test_tests_are_of_other_data_and_not_shown(tmp_path, call):
    code, text, _ = call("show", saved(moments(epochs=[0], stage="test", split="test"), tmp_path / "run"))
    assert code == 0
    assert "Only tests were recorded" in text
    assert "Separation by layer" not in text


def test_training_data_are_compared_and_suspects_listed(tmp_path, call):
    suspects = {"fc1": np.array([1.0, 1.0, 0.5]), "fc2": np.array([1.0, 0.0, np.nan])}
    found = suspected(suspects, np.array([0, 1, 2]), np.array([3, 2, -1]))
    mine = moments(label_suspects=found)
    train = moments(shift=0.05, split="train")
    code, text, _ = call("show", saved([*mine, *train], tmp_path / "run"))
    assert code == 0
    for layer, shift in (("input", "0.000"), ("fc1", "+0.050"), ("fc2", "+0.050")):
        of_layer = [cell.strip() for cell in cells(text, "Training against validation data", layer)]
        b = mine[-1].findings["henze_penrose"][layer]["divergence"]
        assert of_layer[2:4] == [f"{mean(b):.3f}", shift]
    rows = text.split("\nLabel suspects, validation data\n")[1].splitlines()[1:3]
    assert [[cell.strip() for cell in row.split("  ") if cell] for row in rows] == [
        ["100", "class 0", "class 3", "100%", "3 of 3"],
        ["101", "class 1", "class 2", "50%", "3 of 3"],
    ]
    assert "Label suspects, training data" not in text


def test_json_calls_the_data_by_one_name(tmp_path, call):
    found = {"label_suspects": suspected({"fc1": np.array([1.0])}, np.array([0]), np.array([1]))}
    run = saved([*moments(**found), *moments(split="train", **found)], tmp_path / "run")
    _, text, _ = call("show", run, "--format", "json")
    told = strict(text)
    assert {row["split"] for row in told["separation"]} == set(told["label_suspects"]) == {"val", "train"}


def test_a_gap_is_told_beyond_that_of_the_input(tmp_path, call):
    """The input's own gap is large and sure; that of fc1 is no larger, that of fc2 is."""
    off = 1 - np.eye(5)
    differs = 0.1 * off + 0.01 * matrix(5, seed=7)
    mine = moments(num=5, epochs=[0, 1])
    train = moments(num=5, epochs=[0, 1], split="train")
    for one in train:
        for layer, more in (("input", 0), ("fc1", 0.002 * (matrix(5, seed=8) - 0.7 * off)), ("fc2", 0.05 * off)):
            one.findings["henze_penrose"][layer]["divergence"][:] += differs + more
        one.findings["henze_penrose"]["fc2"]["divergence"][:] += 0.01 * matrix(5, seed=9)
    order = [3, 0, 4, 1, 2]  # the training data name their classes in another order
    for one in train:
        one.class_names[:] = [one.class_names[k] for k in order]
        for values in one.findings["henze_penrose"].values():
            values["divergence"][:] = values["divergence"][np.ix_(order, order)]
    run = saved([*mine, *train], tmp_path / "run")
    back = np.argsort(order)
    a = {layer: v["divergence"][np.ix_(back, back)] for layer, v in train[-1].findings["henze_penrose"].items()}
    b = {layer: v["divergence"] for layer, v in mine[-1].findings["henze_penrose"].items()}
    wanted = [jackknife((a[layer] - b[layer]) - (a["input"] - b["input"])) for layer in ("fc1", "fc2")]
    code, text, _ = call("show", run, "--format", "json")
    assert code == 0
    found = strict(text)["gap_beyond_input"]
    assert [row["layer"] for row in found] == ["fc1", "fc2"]
    for row, values in zip(found, wanted, strict=True):
        np.testing.assert_allclose([row[name] for name in ("effect", "low", "high", "p_value")], values, rtol=1e-9)
    q_values = stats.false_discovery_control([p_value for *_, p_value in wanted])
    np.testing.assert_allclose([row["q_value"] for row in found], q_values)
    assert q_values[0] > 0.05 > q_values[1]
    _, text, _ = call("show", run)
    heading = "Training against validation data"
    assert all(cells(text, heading, layer)[5].endswith("*") for layer in LAYERS)
    own = mean(a["input"] - b["input"])
    assert f"The gap of the input itself, +{own:.3f}, is more than chance" in text
    beyond = [cells(text, heading, layer)[-1].strip() for layer in LAYERS]
    shown = [f"{effect:+.3f}".replace("-", "−") for effect, *_ in wanted]
    assert beyond == ["–", shown[0].replace("+0.000", "0.000"), f"{shown[1]} *"]


@pytest.mark.parametrize(("num", "layers"), [(2, LAYERS), (4, ["fc1", "fc2"])])
def test_what_is_beyond_the_input_is_not_made_up(tmp_path, call, num, layers):
    """Two classes have no test; without the input there is nothing to go beyond."""
    mine = moments(num=num, layers=layers)
    run = saved([*mine, *moments(0.05, num=num, layers=layers, split="train")], tmp_path / "run")
    _, text, _ = call("show", run, "--format", "json")
    found = strict(text)["gap_beyond_input"]
    if num == 2:
        assert [row["effect"] for row in found] == pytest.approx([0.05, 0.05])
        assert {row["q_value"] for row in found} == {None}
    else:
        assert found == []
    _, text, _ = call("show", run)
    assert ("The gap of the input was not measured" in text) == (num == 4)
    assert not cells(text, "Training against validation data", "fc1")[-1].endswith("*")


def test_membership_is_of_the_last_training_record_that_was_tested(tmp_path, call):
    train = moments(split="train")
    train[0].findings["membership_test"] = members({"input": 0.9, "fc1": 0.9})
    train[1].findings["membership_test"] = members({"input": 0.25, "fc1": 0.01})
    run = saved([*moments(), *train], tmp_path / "run")
    _, text, _ = call("show", run)
    rows = [[cell.strip() for cell in cells(text, "Test of membership", layer)] for layer in ("input", "fc1")]
    assert rows == [["input", "+0.250", "0.250", "0.500"], ["fc1", "+0.490", "0.010 *", "0.020 *"]]
    assert "Epoch 0. p: how often" in text
    assert "of the input itself" not in text
    _, text, _ = call("show", run, "--format", "json")
    assert strict(text)["membership_test"] == {
        "moment": 0,
        "layers": [
            {"layer": "input", "gap": 0.25, "p_value": 0.25, "q_value": 0.5},
            {"layer": "fc1", "gap": 0.49, "p_value": 0.01, "q_value": 0.02},
        ],
    }
    train[2].findings["membership_test"] = members({"input": 0.01})
    _, text, _ = call("show", saved([*moments(), *train], tmp_path / "other"))
    assert "The gap of the input itself, +0.490, is more than chance" in text


def test_forecast_begins_where_it_holds_to_the_end(tmp_path, call):
    last = matrix(6, seed=5)
    counts = np.round(100 * (1 - last)) * (1 - np.eye(6))  # the closer, the more confused
    counts += np.diag(200 - counts.sum(1))
    layers = [{"fc": matrix(6, seed=seed)} for seed in (1, 2)] + [{"fc": last}, {"fc": last**2}]
    records = [record(epoch, each) for epoch, each in enumerate(layers)]
    records[-1].findings["confusion"] = confused(counts)
    _, text, _ = call("show", saved(records, tmp_path / "run"))
    since, then, end, p = (cell.strip() for cell in cells(text, "Confusion forecast", "fc")[1:])
    assert since == "epoch 2"
    assert float(then) == float(end) > 0.9
    assert p in ("0.001 *", "0.002 *")


@pytest.mark.parametrize("changed", ["bayes_error", "bayes_lower"])
def test_what_older_records_lack_is_a_dash(tmp_path, call, changed):
    found = separated({"fc": matrix()})
    axes = {name: axes for name, axes in found.axes.items() if name != changed}
    layers = {"fc": {name: value for name, value in found["fc"].items() if name != changed}}
    one = record(0, {"fc": matrix()})
    one.findings["henze_penrose"] = type(found)(axes, layers)
    code, text, _ = call("show", saved([one], tmp_path / "run"))
    assert code == 0
    heading = "What each layer allows" if changed == "bayes_error" else "Hardest pairs"
    assert text.split(f"\n{heading}\n")[1].splitlines()[1].endswith(" –")


def test_sparkline_has_a_fixed_scale_and_keeps_both_ends():
    assert sparkline([0.0, 1.0]) == "▁█"
    assert sparkline([0.4, 0.4]) == "▄▄"
    long = sparkline(np.linspace(0, 1, 500))
    assert (len(long), long[0], long[-1]) == (24, "▁", "█")
    assert sparkline([-5.0, np.nan, 7.0]) == "▁ █"
