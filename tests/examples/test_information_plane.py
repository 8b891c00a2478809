"""The information plane of the example shows what its text says."""

import contextlib
import io
import math
import re
import warnings

import numpy as np
import pytest

from examples import information_plane
from lightning_separation import load_run


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("plane")
    with contextlib.redirect_stdout(io.StringIO()) as printed, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        information_plane.main(["--logdir", str(folder), "--epochs", "13"])
    return load_run(folder / "information_plane"), printed.getvalue()


def values(run, quantity, layer):
    return [float(record.findings["layer_information"][layer][quantity]) for record in run[0].records]


def test_the_last_layer_forgets_the_image_and_learns_the_digit(run):
    entropy, about_digit = (values(run, name, "tanh3") for name in ("entropy_mean", "label_excess_mean"))
    assert entropy[-1] < entropy[0] - 0.3
    assert about_digit[-1] > about_digit[0] + 0.05


def test_the_image_stays_the_same(run):
    for quantity in ("entropy_mean", "label_excess_mean"):
        assert len(set(values(run, quantity, "input"))) == 1


def test_bins_are_those_that_are_named(run):
    for record in run[0].records:
        for layer in run[0].layers:
            found = record.findings["layer_information"][layer]
            np.testing.assert_allclose(found["edges"], np.tile(np.linspace(-1, 1, 11), (len(found["edges"]), 1)))
            assert found["outside"] == 0
            assert found["entropy_mean"] <= math.log(10)
            assert found["label_excess_mean"] < found["label_entropy"] <= math.log(10)
        assert not record.notes


def test_the_schedule_and_what_it_prints(run):
    plane, printed = run
    assert plane.epochs == [0, 3, 6, 9, 12]
    assert float(re.match(r"accuracy (\S+) on 540 digits", printed)[1]) > 0.9
    for layer in ("input", *information_plane.LAYERS):
        (line,) = (line for line in printed.splitlines() if line.startswith(layer))
        numbers = [float(number) for number in re.findall(r"-?\d+\.\d+", line)]
        modularity = [record.findings["modularity"][layer]["modularity"] for record in plane.records]
        about = values(run, "entropy_mean", layer), values(run, "label_excess_mean", layer), modularity
        np.testing.assert_allclose(numbers, [value for curve in about for value in (curve[0], curve[-1])], atol=0.006)
    assert printed.rstrip().splitlines()[-1].strip().startswith("tensorboard --logdir")
