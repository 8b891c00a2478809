"""The digits example, shortened, still finds what it is there to show."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lightning_separation import load_run

ROOT = Path(__file__).parents[2]
LAYERS = ["input", "layer1", "layer2", "layer3", "logits"]
LEFTOVERS = ["true_labels/events.out.tfevents.0.old.0", "true_labels/separation/fit-epoch=9999-val.npz"]


def run_digits(folder: Path, epochs: int) -> str:
    """What ``python examples/digits.py`` prints, run in ``folder``."""
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    return subprocess.run(
        [sys.executable, str(ROOT / "examples" / "digits.py"), "--epochs", str(epochs)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path},
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    ).stdout


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    folder = tmp_path_factory.mktemp("digits")
    runs = folder / "lightning_logs" / "digits"
    for file in LEFTOVERS:
        (runs / file).parent.mkdir(parents=True, exist_ok=True)
        (runs / file).touch()
    return runs, run_digits(folder, epochs=50)


def separation(digits, variant, split="validation"):
    run = load_run(digits[0] / variant / ("separation" if split == "validation" else "separation_train"))
    assert run.layers == LAYERS
    return run.array("henze_penrose", "separation")[-1]


@pytest.mark.parametrize("split", ["validation", "train"])
def test_random_weights_lose_separation_with_depth(digits, split):
    untrained = separation(digits, "untrained", split)
    assert (untrained[1:] < untrained[:-1] + 0.005).all()
    assert untrained[0] > 0.95
    assert untrained[-1] < untrained[0] - 0.1


@pytest.mark.parametrize("split", ["validation", "train"])
def test_training_restores_it_in_every_layer(digits, split):
    trained = separation(digits, "true_labels", split)
    assert (trained > 0.95).all()
    assert trained[-1] > separation(digits, "untrained", split)[-1] + 0.1


def test_memorised_labels_are_separated_only_where_they_were_seen(digits):
    train, validation = (separation(digits, "random_labels", split) for split in ("train", "validation"))
    assert (abs(validation) < 0.1).all()
    assert abs(train[0]) < 0.1
    assert (train[1:] > train[:-1] + 0.03).all()  # the deeper the more
    assert train[-1] > 0.4


def test_all_variants_start_from_the_same_weights(digits):
    untrained = load_run(digits[0] / "untrained" / "separation").records
    start = load_run(digits[0] / "true_labels" / "separation").records[0]
    assert [record.stage for record in untrained] == ["validate"]
    for layer in LAYERS:
        found, expected = (r.findings["henze_penrose"][layer]["divergence"] for r in (start, untrained[0]))
        assert (found == expected).all()


def test_it_ends_with_the_table_and_the_command_to_type(digits):
    lines = digits[1].splitlines()
    assert lines[-1] == "    tensorboard --logdir lightning_logs/digits"
    rows = {line.split()[0]: line.split()[1:] for line in lines if line.split()[:1] and line.split()[0] in LAYERS}
    assert list(rows) == LAYERS
    assert float(rows["logits"][-1]) == pytest.approx(separation(digits, "random_labels", "train")[-1], abs=6e-4)


def test_a_second_run_replaces_the_first(digits):
    assert not any((digits[0] / file).exists() for file in LEFTOVERS)
