"""The autoencoder example answers what it asks, of iris and of a table."""

import contextlib
import io
import re
import warnings

import numpy as np
import pandas
import pytest
import torch

from examples import autoencoder
from lightning_separation import load_run

IRIS = ["sepal length", "sepal width", "petal length", "petal width"]


def example(*arguments):
    with contextlib.redirect_stdout(io.StringIO()) as printed, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        autoencoder.main([str(argument) for argument in arguments])
    return printed.getvalue()


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("autoencoder")
    printed = example("--logdir", folder, "--epochs", 30)
    single, together = (load_run(folder / "autoencoder" / name).records[-1] for name in ("separation", "together"))
    return printed, single, together


def test_what_it_prints_is_what_it_found(run):
    printed, single, together = run
    found = single.findings["permutation_importance"]["input"]
    assert re.search(rf"Reconstruction error {found['clean_loss']:.1f}%", printed)
    told = single.findings["feature_information"]["encoder.2"]
    for i, name in enumerate(IRIS):
        (line,) = (line for line in printed.split("together:")[0].splitlines() if line.startswith(name))
        numbers = re.findall(r"[-+]?\d+\.?\d*", line)
        repeats = found["importance"][i]
        expected = [repeats.mean(), repeats.std(), told["feature_mean"][i], 100 * told["weight_magnitude"][i]]
        np.testing.assert_allclose([float(number) for number in numbers], expected, atol=0.51)
    (line,) = (line for line in printed.splitlines() if line.startswith("petal length + petal width"))
    importance = together.findings["permutation_importance"]["input"]["importance"][2]
    assert f"{importance.mean():+.1f} ± {importance.std():.1f}" in line
    assert printed.rstrip().splitlines()[-1].strip().startswith("tensorboard --logdir")


def test_each_petal_is_misjudged_alone(run):
    """Shuffled alone a petal's length contradicts its width: that costs more than to lose both."""
    _, single, together = run
    alone = single.findings["permutation_importance"]["input"]["importance"].mean(1)
    assert together.findings["permutation_importance"].labels["feature"] == [*IRIS[:2], "petal length + petal width"]
    assert together.findings["permutation_importance"]["input"]["importance"].mean(1)[2] < alone[2:].min()
    assert single.findings["permutation_importance"].labels["output"] == IRIS


def test_columns_are_between_0_and_1_in_training():
    train, val = autoencoder.split(autoencoder.load_table(None))
    assert (len(train), len(val)) == (105, 45)
    rows = train.tensors[0]
    torch.testing.assert_close(rows.amin(0), torch.zeros(4))
    torch.testing.assert_close(rows.amax(0), torch.ones(4))


def test_a_table_with_gaps_and_text(tmp_path):
    random = np.random.default_rng(0)
    height = random.normal(170, 10, 60)
    table = pandas.DataFrame({
        "name": [f"person {i}" for i in range(60)],
        "height": height,
        "weight": height - 100 + random.normal(0, 5, 60),
        "visits": random.integers(0, 9, 60),
        "fixed": 1.0,
    })  # fmt: skip
    table.loc[[3, 17], "weight"] = np.nan
    table.to_csv(tmp_path / "people.csv", index=False)
    kept = autoencoder.load_table(tmp_path / "people.csv")
    assert list(kept.columns) == ["height", "weight", "visits", "fixed"]
    assert len(kept) == 58
    printed = example("--csv", tmp_path / "people.csv", "--logdir", tmp_path, "--epochs", 2, "--latent", 3)
    record = load_run(tmp_path / "autoencoder" / "separation").records[-1]
    found = record.findings["permutation_importance"]
    assert found.labels["feature"] == list(kept.columns)
    np.testing.assert_array_equal(found["input"]["importance"][3], 0)  # nothing to shuffle
    assert record.findings["feature_information"]["encoder.2"]["information"].shape == (4, 3)
    assert all(name in printed for name in kept.columns)
    assert "person" not in printed


@pytest.mark.parametrize("text", ["a,b\n" + "1,2\n" * 10, "a,b\n" + "1,x\n" * 30, "a,b\n" + "1,\n" * 30])
def test_a_table_that_is_too_small(tmp_path, text):
    (tmp_path / "table.csv").write_text(text)
    with pytest.raises(SystemExit, match=r"table\.csv: \d+ rows without gaps and \d columns of numbers: too few"):
        example("--csv", tmp_path / "table.csv", "--logdir", tmp_path)
    assert not (tmp_path / "autoencoder").exists()
