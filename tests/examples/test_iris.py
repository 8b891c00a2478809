"""The iris example answers what it asks."""

import contextlib
import io
import re

import numpy as np
import pytest
import torch
from sklearn.datasets import load_iris

from examples import iris
from lightning_separation import load_run


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("iris")
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        iris.main(["--logdir", str(folder)])
    return folder, printed.getvalue()


def test_what_it_prints(run):
    _, printed = run
    assert float(re.match(r"accuracy (\S+) on 60 flowers", printed)[1]) > 0.9
    for kind in ("setosa", "versicolor", "virginica"):
        assert re.search(rf"^{kind} +\d+ \(\d+%\)", printed, re.MULTILINE)
    assert printed.rstrip().splitlines()[-1].strip().startswith("tensorboard --logdir")


def test_long_petals_drive_what_is_active_for_virginica_and_not_for_setosa(run):
    record = load_run(run[0] / "iris").records[-1]
    found = record.findings["input_features"]
    assert found.labels["feature"] == iris.FEATURES
    for panel in ("drive", "drive_predicted"):
        setosa, _, virginica = found["activation1"][panel]
        petals = [iris.FEATURES.index("petal length"), iris.FEATURES.index("petal width")]
        assert (virginica[petals] > 0).all()
        assert (setosa[petals] < 0).all()


def test_some_units_are_active_for_one_kind_only(run):
    active = load_run(run[0] / "iris").records[-1].findings["selectivity"]["activation1"]["active_fraction"]
    setosa_only = (active[:, 0] > 0.9) & (active[:, 2] < 0.1)
    virginica_only = (active[:, 2] > 0.9) & (active[:, 0] < 0.1)
    assert setosa_only.any()
    assert virginica_only.any()


def test_flowers_are_standardised_by_the_training_flowers():
    train, val = iris.load_data()
    torch.testing.assert_close(train.tensors[0].mean(0), torch.zeros(4), atol=1e-5, rtol=0)
    np.testing.assert_array_equal(np.bincount(val.tensors[1]), [20, 20, 20])
    assert len(train) + len(val) == len(load_iris().target)


def test_the_picture_of_a_flower_is_there(run):
    picture = run[0] / "iris" / "one_flower.png"
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert str(picture) in run[1]
