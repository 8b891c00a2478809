"""Training with the modularity loss makes a network modular, by a measure that the loss does not know."""

import contextlib
import io
import re
import warnings

import numpy as np
import pytest

from examples import modularity
from lightning_separation import load_run

LAYERS = ["layer1.1", "layer2.1"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("modularity")
    with contextlib.redirect_stdout(io.StringIO()) as printed, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        modularity.main(["--logdir", str(folder), "--epochs", "16"])
    found = {name: load_run(folder / "modularity" / name).records for name in modularity.VARIANTS}
    return found, printed.getvalue()


def last(runs, variant, layer):
    return runs[0][variant][-1].findings["modularity"][layer]


@pytest.mark.parametrize("layer", LAYERS)
def test_it_becomes_modular(runs, layer):
    usual, modular = (last(runs, variant, layer) for variant in ("usual", "modular"))
    assert modular["modularity"] - usual["modularity"] > 0.2
    assert modular["p_value"] == 1 / 1001
    assert usual["p_value"] > 0.05
    assert usual["module"].tolist() == modular["module"].tolist() == modularity.MODULE_OF_UNIT


def test_its_modules_depend_less_on_the_others(runs):
    usual, modular = (last(runs, variant, "layer2.1") for variant in ("usual", "modular"))
    assert modular["all_over_others"] < usual["all_over_others"] - 0.02


def test_what_it_prints_and_what_it_costs(runs):
    for variant in modularity.VARIANTS:
        (line,) = (line for line in runs[1].splitlines() if line.startswith(f"{variant} "))
        accuracy, *numbers = [float(number) for number in re.findall(r"-?\d+\.\d+", line)]
        assert accuracy > 0.9
        expected = [last(runs, variant, layer)[name] for layer in LAYERS for name in ("modularity", "null_mean")]
        expected.append(last(runs, variant, "layer2.1")["all_over_others"])
        np.testing.assert_allclose(numbers, expected, atol=6e-4)
