import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from lightning_separation import (
    HenzePenrose,
    InputFeatures,
    Selectivity,
    SeparationMonitor,
    Significance,
    WeightContributions,
    load_run,
)
from lightning_separation.records import Findings, Record, forget_fit, load_record, save_record, save_run_info
from tests.helpers import Classifier, blobs, loader, trainer

AXES = {"divergence": ("pair",), "separation": (), "active": ("unit", "class"), "effect": ("unit",)}


def record(epoch=0, stage="fit", classes=("cat", "dog", "fox"), layers=("input", "a/b.c"), **settings):
    rng = np.random.default_rng(epoch)
    k = len(classes)
    values = {
        layer: {
            "divergence": rng.random((k, k)),
            "separation": rng.random(),
            "active": rng.random((4, k)),
            "effect": rng.random(4),
        }
        for layer in layers
    }
    head = {"epoch": epoch, "step": 10 * epoch, "stage": stage, "split": "val", "notes": ["said"]}
    return Record(
        **{**head, **settings},
        layers=list(layers),
        class_names=list(classes),
        counts=np.arange(k) + 5,
        findings={"henze_penrose": Findings(AXES, values)},
    )


def same(a, b):
    assert (a.epoch, a.step, a.stage, a.split, a.layers, a.class_names, a.notes) == (
        (b.epoch, b.step, b.stage, b.split, b.layers, b.class_names, b.notes)
    )
    np.testing.assert_array_equal(a.counts, b.counts)
    for analysis, found in a.findings.items():
        assert found.axes == b.findings[analysis].axes
        assert list(found) == list(b.findings[analysis])
        for layer in found:
            for quantity, array in found[layer].items():
                np.testing.assert_array_equal(array, b.findings[analysis][layer][quantity])


def test_what_is_read_is_what_was_written_and_numpy_alone_can_read_it(tmp_path):
    path = save_record(tmp_path, record(3))
    same(load_record(path), record(3))
    with np.load(path, allow_pickle=False) as file:
        head = json.loads(file["head"].item())
        entry = next(e for e in head["index"] if (e["layer"], e["quantity"]) == ("a/b.c", "divergence"))
        np.testing.assert_array_equal(file[entry["array"]], record(3).findings["henze_penrose"]["a/b.c"]["divergence"])


def test_one_file_an_epoch_of_a_fit_and_one_for_every_other_validation(tmp_path):
    save_run_info(tmp_path, {"layers": []})
    for r in (record(0), record(1), record(1, step=12), record(0, "validate"), record(0, "validate")):
        save_record(tmp_path, r)
    run = load_run(tmp_path)
    assert [(r.stage, r.epoch, r.step) for r in run.records] == [
        ("fit", 0, 0),
        ("validate", 0, 0),
        ("validate", 0, 0),
        ("fit", 1, 12),
    ]


def test_forgetting_a_fit_takes_along_what_was_shown_of_it_alone(tmp_path):
    for r in (record(0), record(1), record(2), record(2, split="train"), record(7, "validate", step=20)):
        save_record(tmp_path, r)
    shown = [tmp_path / kind / f"x-step={step:08d}.csv" for kind in ("figures", "tables") for step in (0, 10, 20, 110)]
    mine = tmp_path / "figures" / "mine.png"
    for file in (mine, *shown):
        file.parent.mkdir(exist_ok=True)
        file.touch()
    broken = tmp_path / "fit-epoch=0011-val.npz"
    broken.write_bytes(b"broken")
    assert forget_fit(tmp_path, first=1) == 4
    left = {path.name for path in tmp_path.glob("*.npz")}
    assert left == {"fit-epoch=0000-val.npz", "validate-epoch=0007-val-0000.npz"}
    assert [file for file in shown if not file.exists()] == [file for file in shown if "step=00000010" in file.name]
    assert mine.exists()


def test_a_newer_schema_is_refused_with_what_to_do(tmp_path):
    save_run_info(tmp_path, {})
    info = json.loads((tmp_path / "run.json").read_text())
    (tmp_path / "run.json").write_text(json.dumps({**info, "schema": 99}))
    with pytest.raises(ValueError, match=r"schema 99.*Upgrade"):
        load_run(tmp_path)


def test_what_is_not_there_is_said(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is no .*nowhere"):
        load_run(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match=r"no run\.json in"):
        load_run(tmp_path)


WRITER = """
import sys, numpy as np
from pathlib import Path
from tests.records.test_storage import record
from lightning_separation.records import save_record, save_run_info
folder = Path(sys.argv[1])
save_run_info(folder, {})
big = record(0, layers=["l%d" % i for i in range(400)])
print("go", flush=True)
while True:
    save_record(folder, big)
"""


def test_a_run_killed_in_mid_write_loses_nothing_finished(tmp_path):
    save_record(tmp_path, record(7))
    process = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE)
    unfinished = 0
    assert process.stdout.readline() == b"go\n"
    deadline = time.monotonic() + 60
    while not unfinished and time.monotonic() < deadline:  # kill it while a file is half written
        if (tmp_path / "fit-epoch=0000-val.npz").exists() and list(tmp_path.glob(".*.tmp")):
            process.send_signal(signal.SIGSTOP)
            unfinished = len(list(tmp_path.glob(".*.tmp")))
            os.kill(process.pid, signal.SIGKILL if unfinished else signal.SIGCONT)
    process.wait(10)
    assert unfinished
    assert list(tmp_path.glob(".*.tmp"))  # it was in the middle of it
    run = load_run(tmp_path)
    assert run.epochs == [0, 7]
    same(run.records[1], record(7))
    assert len(run.records[0].layers) == 400
    save_record(tmp_path, record(8))
    assert load_run(tmp_path).epochs == [0, 7, 8]


def test_reading_runs_imports_no_torch(tmp_path):
    save_run_info(tmp_path, {})
    save_record(tmp_path, record())
    code = (
        "import sys, lightning_separation.runs, lightning_separation as ls; run = ls.load_run(sys.argv[1]);"
        "run.to_pandas(); run.plot(); run.records[0].plot(); assert run.epochs == [0];"
        "assert not {'torch', 'pytorch_lightning', 'scipy.stats'} & set(sys.modules), 'imported'"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)


def test_the_tidy_table(tmp_path):
    save_run_info(tmp_path, {})
    for epoch in (0, 1):
        save_record(tmp_path, record(epoch))
    table = load_run(tmp_path).to_pandas()
    assert " ".join(table.columns) == "epoch step stage split layer analysis quantity class_a class_b unit value"
    # For each of 2 epochs and 2 layers: 3 pairs, 1 number, 4 x 3 units and classes, 4 units.
    assert len(table) == 2 * 2 * (3 + 1 + 12 + 4)
    assert table["value"].notna().all()
    first = record(1).findings["henze_penrose"]["input"]
    rows = table[(table.epoch == 1) & (table.layer == "input")]
    pair = rows[(rows.quantity == "divergence") & (rows.class_a == "cat") & (rows.class_b == "fox")]
    assert pair.value.item() == first["divergence"][0, 2]
    assert pair.unit.isna().all()
    cell = rows[(rows.quantity == "active") & (rows.unit == 3) & (rows.class_a == "dog")]
    assert cell.value.item() == first["active"][3, 1]
    assert cell.class_b.isna().all()
    number = rows[rows.quantity == "separation"]
    assert number.value.item() == first["separation"]
    assert number[["class_a", "class_b", "unit"]].isna().all(axis=None)


def test_arrays_align_layers_classes_and_units(tmp_path):
    save_run_info(tmp_path, {})
    a = record(0, classes=("cat", "fox"), layers=("input", "fc1"))
    b = record(1, classes=("cat", "dog", "fox"), layers=("input", "fc2"))
    for r in (a, b):
        save_record(tmp_path, r)
    run = load_run(tmp_path)
    assert run.layers == ["input", "fc1", "fc2"]
    assert run.class_names == ["cat", "fox", "dog"]
    array = run.array("henze_penrose", "divergence")
    assert array.shape == (2, 3, 3, 3)
    np.testing.assert_array_equal(array[0, 1, :2, :2], a.findings["henze_penrose"]["fc1"]["divergence"])
    assert np.isnan(array[0, 1, 2]).all()
    assert array[1, 2, 0, 2] == b.findings["henze_penrose"]["fc2"]["divergence"][0, 1]  # cat, dog
    assert np.isnan(array[0, 2]).all()
    assert run.array("henze_penrose", "active").shape == (2, 3, 4, 3)
    assert run.array("henze_penrose", "separation").shape == (2, 3)
    with pytest.raises(KeyError, match="no record has 'speed'"):
        run.array("henze_penrose", "speed")


@pytest.mark.parametrize(
    ("axes", "value", "message"),
    [
        ({}, 1.0, "no declared axes"),
        ({"x": ("unit",)}, 1.0, "has shape"),
        ({"x": ("pair",)}, np.zeros(3), "has shape"),
        ({"x": ("neuron",)}, np.zeros(3), "unknown axes"),
    ],
)
def test_findings_must_be_what_they_declare(axes, value, message):
    with pytest.raises(ValueError, match=message):
        Findings(axes, {"layer": {"x": value}})


def test_a_file_that_is_no_record_is_left_out_by_name(tmp_path):
    save_run_info(tmp_path, {})
    path = save_record(tmp_path, record(0))
    (tmp_path / "fit-epoch=0001-val.npz").write_bytes(path.read_bytes()[:200])
    np.savez(tmp_path / "other.npz", x=np.zeros(3))
    with pytest.warns(UserWarning, match="it is left out") as caught:
        assert load_run(path).epochs == [0]
    assert [Path(str(w.message).split(" is not")[0]).name for w in caught] == ["fit-epoch=0001-val.npz", "other.npz"]
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(ValueError, match=r"run\.json is not what a monitor writes"):
        load_run(tmp_path)


def test_many_validations_stay_in_order(tmp_path):
    save_run_info(tmp_path, {})
    for number in range(12):
        save_record(tmp_path, record(0, "validate", notes=[str(number)]))
    assert [r.notes for r in load_run(tmp_path).records] == [[str(number)] for number in range(12)]


def test_plots_of_units_and_of_numbers(tmp_path):
    t = trainer(tmp_path, SeparationMonitor([HenzePenrose(), Significance(), Selectivity()]), max_epochs=1)
    t.fit(Classifier(), loader(blobs()), loader(blobs()))
    run = load_run(t.log_dir)
    texts = {text.get_text() for text in run.plot("significant_fraction", "significance").axes[0].texts}
    assert "significant fraction" in texts
    assert "mean separation over class pairs" in {text.get_text() for text in run.plot().axes[0].texts}
    with pytest.raises(ValueError, match="more than one number for each layer"):
        run.plot("p_value", "significance")
    with pytest.raises(ValueError, match="not pairs of classes"):
        run.records[0].plot("active_fraction", "selectivity")


def test_what_the_analyses_of_units_find_comes_back(tmp_path):
    names = [f"feature {i}" for i in range(6)]
    monitor = SeparationMonitor(
        [Significance(), Selectivity(), InputFeatures(feature_names=names), WeightContributions()], on_error="raise"
    )
    t = trainer(tmp_path, monitor)
    t.validate(Classifier(), loader(blobs()), verbose=False)
    (record,) = load_run(t.log_dir).records
    again = tmp_path / "again"
    save_record(again, record)
    (file,) = again.glob("*.npz")
    copy = load_record(file)
    for analysis, found in record.findings.items():
        assert copy.findings[analysis].axes == found.axes
        assert copy.findings[analysis].labels == found.labels
        for layer, quantities in found.items():
            for quantity, array in quantities.items():
                np.testing.assert_array_equal(copy.findings[analysis][layer][quantity], array)
                assert copy.findings[analysis][layer][quantity].dtype == array.dtype
    table = load_run(t.log_dir).to_pandas()
    assert {"q_value", "active_fraction", "difference"} <= set(table.quantity)
    assert table.value.dtype == np.float64
    assert not {"gradient", "example_histogram", "link_unit"} & set(table.quantity)
    assert load_run(t.log_dir).array("input_features", "gradient").shape[2:] == (8, 6, 3)


def test_the_tidy_table_names_both_classes_of_a_confusion_matrix():
    found = Findings({"confusion": ("class", "class")}, {"*": {"confusion": [[8, 2], [1, 9]]}})
    one = Record(0, 0, "fit", "val", ["fc"], ["cat", "dog"], np.array([10, 10]), {"confusion": found})
    table = one.to_pandas()
    assert table[["class_a", "class_b", "value"]].to_numpy().tolist() == [
        ["cat", "cat", 8],
        ["cat", "dog", 2],
        ["dog", "cat", 1],
        ["dog", "dog", 9],
    ]
