"""Finding, loading and saving runs."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from lightning_separation import Run, load_run
from lightning_separation.records import NotARecordError, save_run_info
from lightning_separation.runs import find_runs
from tests.records.test_storage import same
from tests.runs.made import record, run


def test_a_saved_run_comes_back(tmp_path):
    train = run("mine (train)", 3, epochs=[0, 2], split="train")
    untrained = replace(run(seed=5, epochs=[0]).records[0], stage="validate", step=0, notes=["said"])
    one = Run([untrained, *run(epochs=[0, 1, 2]).records], {"settings": {"seed": 4}}, "mine", train)
    folder = one.save(tmp_path / "logs" / "mine" / "separation")
    again = load_run(folder)
    assert (again.name, again.train.name) == ("mine", "mine (train)")
    assert (again.info["settings"], again.info["layers"]) == ({"seed": 4}, one.layers)
    for before, after in ((one, again), (train, again.train)):
        assert len(before.records) == len(after.records)
        for a, b in zip(before.records, after.records, strict=True):
            same(a, b)
    again.save(tmp_path / "copy")
    assert load_run(tmp_path / "copy").compare(one).since() == dict.fromkeys(one.layers)
    table = again.to_pandas()
    assert set(table.split) == {"val", "train"}
    assert len(table) == (4 + 2) * 3 * (6 + 3)


def test_a_real_run_comes_back(fitted, tmp_path):
    fitted.run.save(tmp_path)
    again = load_run(tmp_path)
    for before, after in ((fitted.run, again), (fitted.run.train, again.train)):
        for a, b in zip(before.records, after.records, strict=True):
            same(a, b)


def test_many_analysed_checkpoints_stay_apart_and_in_order(tmp_path):
    records = [replace(record(e, layers=["x"]), stage="analyze", step=0) for e in range(12)]
    Run(records).save(tmp_path)
    assert load_run(tmp_path).epochs == list(range(12))


@pytest.mark.parametrize("there", ["records", "run.json"])
def test_nothing_is_written_over_another_run(tmp_path, there):
    run().save(tmp_path)
    for file in [tmp_path / "run.json"] if there == "records" else tmp_path.glob("*.npz"):
        file.unlink()
    files = {file: file.read_bytes() for file in tmp_path.iterdir()}
    with pytest.raises(FileExistsError, match="holds a run already"):
        run(seed=1).save(tmp_path)
    assert {file: file.read_bytes() for file in tmp_path.iterdir()} == files


def test_a_run_of_an_older_schema_is_saved_by_todays(tmp_path):
    run().save(tmp_path / "a")
    old = replace(load_run(tmp_path / "a"), info={"schema": 0, "settings": {}})
    assert json.loads((old.save(tmp_path / "b") / "run.json").read_text())["schema"] == 1


def test_every_way_to_name_a_run(tmp_path, monkeypatch):
    version = tmp_path / "logs" / "lightning_logs" / "version_0"
    folder = run().save(version / "separation")
    file = next(folder.glob("*.npz"))
    for path in (folder, version, version.parent, tmp_path / "logs", file, folder / "run.json", str(version)):
        assert find_runs(path) == [folder]
        assert load_run(path).epochs == [0, 1, 2]
    (folder / "figures").mkdir()
    assert find_runs(folder) == [folder]
    monkeypatch.chdir(folder)
    assert load_run(".").name == "version_0"


def test_names_of_runs(tmp_path):
    names = {"version_3/separation": "version_3", "version_3/second": "version_3/second"}
    for folder, name in names.items():
        run().save(tmp_path / folder)
        assert load_run(tmp_path / folder).name == name


def test_several_are_listed(tmp_path):
    folders = [run().save(tmp_path / f"version_{i}" / "separation") for i in (1, 0, 2)]
    assert find_runs(tmp_path) == sorted(folders)
    with pytest.raises(ValueError, match="holds the records of several monitors or runs; load one of:") as caught:
        load_run(tmp_path)
    assert str(caught.value).splitlines()[1:] == [f"  {folder}" for folder in sorted(folders)]


@pytest.mark.parametrize("text", ["{}", '{"schema": "v1"}', "[]", '"schema"', "{", "", "\udcff"])
def test_a_foreign_run_json_is_passed_by(tmp_path, text):
    foreign = tmp_path / "other" / "run.json"
    foreign.parent.mkdir()
    foreign.write_bytes(text.encode(errors="surrogateescape"))
    for path in (tmp_path, foreign.parent, foreign):
        with pytest.raises(NotARecordError, match=r"run\.json is not what a monitor writes"):
            find_runs(path)
        with pytest.raises(NotARecordError, match=r"run\.json is not what a monitor writes"):
            load_run(path)
    folder = run().save(foreign.parent / "version_0" / "separation")
    assert find_runs(tmp_path) == find_runs(foreign.parent) == [folder]


def test_what_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is no .*nowhere"):
        find_runs(tmp_path / "nowhere")
    for path in (tmp_path, tmp_path / "notes.txt"):
        (tmp_path / "notes.txt").write_text("x")
        with pytest.raises(FileNotFoundError, match=r"no run\.json in .* or a folder in it"):
            load_run(path)


def test_half_written_records_and_newer_ones(tmp_path):
    folder = run().save(tmp_path / "run")
    broken = folder / "fit-epoch=0001-val.npz"
    broken.write_bytes(broken.read_bytes()[:-200])
    with pytest.warns(UserWarning, match="fit-epoch=0001-val.npz is not a whole record.*; it is left out"):
        assert load_run(folder).epochs == [0, 2]
    broken.unlink()
    path = folder / "fit-epoch=0002-val.npz"
    with np.load(path) as file:
        arrays = dict(file)
    arrays["head"] = np.array(json.dumps({**json.loads(arrays["head"].item()), "schema": 99}))
    np.savez(path, **arrays)
    with pytest.raises(ValueError, match=r"schema 99; this version .* reads up to 1"):
        load_run(folder)


def test_a_run_that_has_just_begun(tmp_path):
    save_run_info(tmp_path, {"layers": ["x"]})
    begun = load_run(tmp_path)
    assert (begun.records, begun.train, begun.moments, begun.layers) == ([], None, {}, [])
    with pytest.raises(KeyError, match="no record has 'divergence'"):
        begun.array("henze_penrose", "divergence")
