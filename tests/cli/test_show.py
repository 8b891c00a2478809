"""What is shown of one run, against the records."""

import csv
import io

import numpy as np
import pytest

from lightning_separation.cli.words import sparkline
from tests.cli.made import (
    LAYERS,
    ablated,
    cells,
    confused,
    jackknife,
    matrix,
    mean,
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
