"""What is said of differences between runs, against SciPy and plain loops."""

import csv
import io

import numpy as np
import pytest
from scipy import stats

from lightning_separation import load_run
from lightning_separation.cli.compare import compare
from lightning_separation.cli.pictures import of_comparisons
from tests.cli.made import LAYERS, cells, jackknife, matrix, mean, moments, record, saved, strict

CLOSER = -0.2


@pytest.fixture
def runs(tmp_path):
    """A baseline, one that is worse behind the input, and one like the baseline; all called version_0."""
    makes = {"baseline": moments(), "worse": moments(CLOSER), "same": moments()}
    return [saved(records, tmp_path / name / "version_0" / "separation") for name, records in makes.items()]


def separation_of(records, layer="fc1"):
    return records[-1].findings["henze_penrose"][layer]["divergence"]


def rows_of(text):
    return list(csv.DictReader(io.StringIO(text)))


def test_differences_are_those_of_the_records(tmp_path, call):
    mine, other = moments(), moments(seed=50)
    saved(mine, tmp_path / "a"), saved(other, tmp_path / "b")
    code, text, err = call("compare", tmp_path / "a", tmp_path / "b", "--all-epochs", "--format", "csv")
    assert (code, err) == (0, "")
    rows = rows_of(text)
    assert [(row["moment"], row["layer"]) for row in rows] == [
        (m, layer) for m in ("before", "0", "1") for layer in LAYERS
    ]
    wanted, p_values = [], []
    for a, b in zip(mine, other, strict=True):
        for layer in LAYERS:
            x, y = (one.findings["henze_penrose"][layer]["divergence"] for one in (b, a))
            found = jackknife(x - y)
            wanted.append([mean(x), mean(y), *found])
            p_values.append(found[-1])
    shown = [[float(row[name]) for name in ("mean", "other_mean", "effect", "low", "high", "p_value")] for row in rows]
    np.testing.assert_allclose(shown, wanted, atol=1e-12)
    tested = [row["layer"] != "input" for row in rows]
    q_values = np.ones(len(rows))
    q_values[tested] = stats.false_discovery_control(np.array(p_values)[tested])
    np.testing.assert_allclose([float(row["q_value"]) for row in rows], q_values)
    _, text, _ = call("compare", tmp_path / "a", tmp_path / "b")
    effect = wanted[-1][2]
    assert cells(text, "b minus a, epoch 1", "fc2")[3].strip() == f"{effect:+.3f}".replace("-", "−")


def test_runs_of_one_name_are_told_apart_and_concluded_one_by_one(runs, call):
    code, text, err = call("compare", *(run.parent for run in runs))
    assert (code, err) == (0, "")
    lines = text.splitlines()
    assert lines[0] == "worse, same compared with baseline"
    said = lines[2].replace("largest difference: fc2", "largest difference: fc1")  # equal but for rounding
    _, low, high, _ = jackknife(separation_of(moments(CLOSER)) - separation_of(moments()))
    ends = f"{low:.3f} to {high:.3f}".replace("-", "−")
    assert low < CLOSER < high < -0.19
    assert said == (
        "worse minus baseline: 2 of 2 layers differ at epoch 1, the last one shared (q < 0.05): fc1, fc2; largest "
        f"difference: fc1, −0.200 (95% interval {ends}), since before training."
    )
    assert lines[3].startswith("same minus baseline: none of 2 layers differs at epoch 1")
    assert [cell.strip() for cell in cells(text, "worse minus baseline, epoch 1", "fc1")][3:] == [
        "−0.200",
        ends,
        "<0.001 *",
        "before training",
    ]
    assert text.count("they may still differ") + text.count("may still differ by their seeds alone") == 1


def test_an_epoch_can_be_chosen_and_since_is_of_all(tmp_path, call):
    late = [moments()[0], *moments(CLOSER)[1:]]
    folders = [saved(moments(), tmp_path / "a"), saved(late, tmp_path / "b")]
    _, text, _ = call("compare", *folders, "--epoch", "before")
    assert "none of 2 layers differs before training (q < 0.05)" in text
    assert cells(text, "b minus a, before training", "fc2")[-1] == "epoch 0"
    _, text, _ = call("compare", *folders, "--epoch", "before", "--format", "json")
    found = strict(text)["comparisons"][0]
    assert {row["moment"] for row in found["rows"]} == {"before"}
    assert found["since"] == {"input": None, "fc1": 0, "fc2": 0}
    code, out, err = call("compare", *folders, "--epoch", "7")
    assert (code, out) == (2, "")
    assert err == "Error: b minus a: epoch 7 is not in all of them; there are before, 0, 1\n"


def test_every_comparison_has_as_many_tests_as_are_told(tmp_path, call):
    """The input is the same in b, and another in c: there it is tested, too."""
    other = moments(seed=20)
    for one in other:
        one.findings["henze_penrose"]["input"]["divergence"][:] = matrix(seed=one.step)
    records = {"a": moments(), "b": moments(seed=50), "c": other[1:]}
    folders = [saved(each, tmp_path / name) for name, each in records.items()]
    _, text, _ = call("compare", *folders)
    for name, told in (("b", "6 tests (layers at 3 epochs)"), ("c", "6 tests (layers at 2 epochs)")):
        caption = text.split(f"\n{name} minus a, epoch 1\n")[1].split("\n\n")[0].splitlines()[-1]
        assert f"Interval: of the difference, not adjusted; q: p adjusted for {told}; *: below 0.05." in caption
        assert "Each comparison is adjusted by itself" in caption
    _, text, _ = call("compare", *folders, "--all-epochs", "--format", "csv")
    for name, rest in (("b", ("fc1", "fc2")), ("c", LAYERS)):
        tested = [row for row in rows_of(text) if row["run"] == name and row["layer"] in rest]
        wanted = stats.false_discovery_control([float(row["p_value"]) for row in tested])
        assert len(tested) == 6
        np.testing.assert_allclose([float(row["q_value"]) for row in tested], wanted)


def test_what_is_not_shared_is_said_once(tmp_path, call):
    a = saved(moments(layers=["input", "fc1", "fc2"], count=30), tmp_path / "a")
    b = saved(moments(layers=["input", "fc1", "deep"], epochs=("before", 0, 1, 2), count=50), tmp_path / "b")
    code, text, _ = call("compare", a, b)
    assert code == 0
    notes = text.split("\nNotes\n")[1].split("\n\n")[0].splitlines()
    assert "only b has the epochs 2" in notes
    assert "only b has the layers deep" in notes
    assert "only a has the layers fc2" in notes
    assert sum("unequal numbers of samples" in note for note in notes) == 1
    assert "deep" not in text.split("\nNotes\n")[0]
    assert "1 of 1 layer" in text or "none of 1 layer" in text


def test_a_layer_that_cannot_be_tested_is_not_one_that_does_not_differ(tmp_path, call):
    other = moments(seed=50)
    for one, same in zip(other, moments(), strict=True):
        values = same.findings["henze_penrose"]["fc2"]["divergence"]
        one.findings["henze_penrose"]["fc2"]["divergence"][:] = values - 0.01 * (1 - np.eye(4))
    folders = [saved(moments(), tmp_path / "a"), saved(other, tmp_path / "b")]
    _, text, _ = call("compare", *folders)
    assert "b minus a: none of 1 layer that could be tested differs at epoch 1" in text
    assert "p adjusted for 3 tests (layers at 3 epochs)" in text
    assert [cell.strip() for cell in cells(text, "b minus a, epoch 1", "fc2")][3:] == ["−0.010", "–", "–", "–"]
    assert "there is no spread to test by in fc2" in text


def test_runs_without_a_shared_epoch_are_compared_at_their_ends(tmp_path, call):
    a, b = moments(), moments(seed=50, epochs=[8, 9])
    folders = [saved(a, tmp_path / "a"), saved(b, tmp_path / "b")]
    code, text, _ = call("compare", *folders)
    assert code == 0
    assert "differs in the last records (q < 0.05)" in text
    assert "no epoch is shared: the last record of each is compared" in text
    effect = mean(separation_of(b)) - mean(separation_of(a))
    shown = cells(text, "b minus a, last records", "fc1")
    assert shown[3].strip() == f"{effect:+.3f}".replace("-", "−")
    variants = {folder.name: [load_run(folder)] for folder in folders}
    drawn = of_comparisons(compare(variants, "jackknife"), variants)
    assert [picture.path for picture in drawn] == ["difference-b"]  # there is no epoch to draw against depth


def test_two_classes_are_not_tested(tmp_path, call):
    folders = [saved(moments(num=2), tmp_path / "a"), saved(moments(CLOSER, num=2), tmp_path / "b")]
    code, text, _ = call("compare", *folders)
    assert code == 0
    assert "there is no test at epoch 1" in text
    assert "one pair has no spread to test by" in text
    _, text, _ = call("compare", *folders, "--format", "json")
    assert {row["q_value"] for row in strict(text)["comparisons"][0]["rows"]} == {None}


@pytest.mark.parametrize("paired", [False, True])
def test_fishers_test_is_scipys(tmp_path, call, paired):
    x, y = matrix(seed=1), matrix(seed=2, low=0.3)
    folders = [saved([record(0, {"fc": one})], tmp_path / name) for name, one in (("a", y), ("b", x))]
    _, text, _ = call("compare", *folders, "--test", "fisher-paired" if paired else "fisher", "--format", "json")
    upper = np.triu_indices(4, 1)
    wanted = stats.permutation_test(
        (x[upper], y[upper]),
        lambda a, b, axis: np.abs(a.mean(axis) - b.mean(axis)),
        permutation_type="samples" if paired else "independent",
        alternative="greater",
        vectorized=True,
        n_resamples=np.inf,
    )
    found = strict(text)["comparisons"][0]
    assert found["rows"][0]["p_value"] == pytest.approx(wanted.pvalue)
    assert "36 of 100" in found["assumes"]


def test_groups_are_compared_by_welch(tmp_path, call):
    means = {}
    for name, shift, num in (("narrow", CLOSER, 3), ("wide", 0.0, 2)):
        for i in range(num):
            records = moments(shift, seed=100 * i + 7 * num)
            saved(records, tmp_path / f"{name}{i}" / "version_0" / "separation")
            means.setdefault(name, []).append(mean(records[-1].findings["henze_penrose"]["fc2"]["divergence"]))
    groups = [f"{name}=" + ",".join(str(tmp_path / f"{name}{i}") for i in range(len(means[name]))) for name in means]
    code, text, err = call("compare", "--group", groups[1], "--group", groups[0], "--format", "json")
    assert (code, err) == (0, "")
    found = strict(text)
    assert found["baseline"] == "wide"
    (comparison,) = found["comparisons"]
    assert (comparison["name"], comparison["title"]) == ("narrow", "narrow (3 runs) minus wide (2 runs)")
    row = next(row for row in comparison["rows"] if row["layer"] == "fc2")
    wanted = stats.ttest_ind(means["narrow"], means["wide"], equal_var=False)
    assert row["p_value"] == pytest.approx(wanted.pvalue)
    low, high = wanted.confidence_interval()
    assert (row["low"], row["high"]) == (pytest.approx(low), pytest.approx(high))
    _, text, _ = call("compare", "--group", groups[1], "--group", groups[0])
    assert text.splitlines()[0] == "narrow compared with wide"
    assert "What the test (welch) assumes" in text


def test_a_path_of_a_group_may_have_commas(tmp_path, call):
    names = ["lr=0.1,width=8,seed=0", "lr=0.1,width=8,seed=1", "b0", "b1"]
    a, b, c, d = (saved(moments(seed=i), tmp_path / name) for i, name in enumerate(names))
    code, text, _ = call("compare", "--group", f"a={a}", "--group", f"a={b}", "--group", f"b={c},{d}")
    assert code == 0
    assert "b (2 runs) minus a (2 runs)" in text
