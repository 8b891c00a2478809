"""The comparison of three runs, shortened."""

import contextlib
import io

import pytest

from examples import compare_runs
from lightning_separation import load_run


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    folder, printed = tmp_path_factory.mktemp("logs"), io.StringIO()
    with contextlib.redirect_stdout(printed):
        compare_runs.main(["--epochs", "16", "--logdir", str(folder)])
    return folder / "compare_runs", printed.getvalue()


def test_random_labels_cost_the_deep_layers_what_separates_the_digits(compared):
    folder, printed = compared
    runs = {name: load_run(folder / f"{name}_0") for name in compare_runs.WIDTHS}
    found = runs["random_labels"].compare(runs["baseline"])
    rows = {row.layer: row for row in found.last}
    assert rows["input"].effect == 0
    assert rows["logits"].q_value < 0.01
    assert rows["logits"].high < -0.1
    assert rows["logits"].effect < rows["layer2"].effect
    assert found.since()["logits"] is not None
    assert found.since()["input"] is None
    small = {row.layer: row for row in runs["small"].compare(runs["baseline"]).last}
    assert abs(small["logits"].effect) < abs(rows["logits"].effect)
    assert "random_labels_0 minus baseline_0" in printed
    assert "lightning-separation compare" in printed


def test_the_baseline_foretells_its_confusions_and_names_hard_digits(compared):
    run = load_run(compared[0] / "baseline_0")
    assert all(correlation > 0.2 for correlation, _ in run.confusion_forecast()[run.epochs[-1]].values())
    assert all(row["label"] != row["neighbours"] for row in run.label_suspects())
    assert len(run.info["training_sample"]) == 600


def test_three_seeds_make_the_run_the_unit(tmp_path, capsys):
    compare_runs.main(["--epochs", "1", "--seeds", "2", "--logdir", str(tmp_path)])
    assert "random_labels (2 runs) minus baseline (2 runs)" in capsys.readouterr().out
