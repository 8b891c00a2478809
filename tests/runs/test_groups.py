"""Groups of replicate runs, against SciPy's Welch test."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from lightning_separation.runs import compare_groups
from tests.runs.made import LAYERS, divergence, mean, run

GROUPS = {
    "baseline": [run(f"base {i}", i) for i in range(3)],
    "wide": [run(f"wide {i}", 10 + i) for i in range(2)],
    "deep": [run(f"deep {i}", 20 + i) for i in range(4)],
}


def test_every_group_against_the_first_by_scipy():
    found = compare_groups(GROUPS)
    assert [one.title for one in found] == [
        "wide (2 runs) minus baseline (3 runs)",
        "deep (4 runs) minus baseline (3 runs)",
    ]
    for comparison, name in zip(found, ("wide", "deep"), strict=True):
        assert (comparison.test, comparison.notes) == ("welch", [])
        assert "further runs" in comparison.assumes
        assert [(row.moment, row.layer) for row in comparison.rows] == [(e, k) for e in (0, 1, 2) for k in LAYERS]
        p_values = []
        for row in comparison.rows:
            x, y = ([mean(divergence(one, row.moment, row.layer)) for one in GROUPS[g]] for g in (name, "baseline"))
            assert (row.mean, row.other_mean, row.versus) == (*map(pytest.approx, (np.mean(x), np.mean(y))), "baseline")
            if row.layer == "input":  # the same samples
                assert (row.effect, row.p_value, row.q_value) == (0, 1, 1)
                continue
            wanted = stats.ttest_ind(x, y, equal_var=False)
            interval = wanted.confidence_interval()
            assert (row.low, row.high) == pytest.approx((interval.low, interval.high))
            assert row.p_value == pytest.approx(wanted.pvalue)
            p_values.append(row.p_value)
        q_values = [row.q_value for row in comparison.rows if row.layer != "input"]
        np.testing.assert_allclose(q_values, multipletests(p_values, method="fdr_bh")[1])


def test_two_classes_are_enough():
    groups = {name: [run(f"{name}{i}", i + ord(name), classes="ab") for i in range(3)] for name in "xy"}
    (found,) = compare_groups(groups)
    row = found.rows[-1]
    x, y = ([divergence(one, 2, "fc2")[0, 1] for one in groups[name]] for name in "xy")
    assert row.p_value == pytest.approx(stats.ttest_ind(y, x, equal_var=False).pvalue)
    assert row.effect == pytest.approx(np.mean(y) - np.mean(x))


def test_what_all_share_is_compared_and_the_rest_is_said():
    odd = run("odd", 5, epochs=[1, 2, 3], layers=["input", "fc2", "fc3"], classes="bcda")
    divergence(odd, 1, "fc2")[2] = divergence(odd, 1, "fc2")[:, 2] = np.nan  # d
    for r in odd.records:
        r.counts[:] = [30, 30, 30, 20]  # a
    (found,) = compare_groups({"x": [run("x0", 1), run("x1", 2)], "y": [run("y0", 3), odd]})
    assert [(row.moment, row.layer, row.classes) for row in found.rows] == [
        (1, "input", 4), (1, "fc2", 3), (2, "input", 4), (2, "fc2", 4),
    ]  # fmt: skip
    of_odd = divergence(odd, 1, "fc2")[np.ix_([3, 0, 1], [3, 0, 1])]  # a, b, c
    y = [mean(divergence(run(seed=3), 1, "fc2")[:3, :3]), mean(of_odd)]
    assert found.rows[1].mean == pytest.approx(np.mean(y))
    said = "\n".join(found.notes)
    for note in (
        "only y0 has the epochs 0",
        "only odd has the epochs 3",
        "only y0 has the layers fc1",
        "only odd has the layers fc3",
        "only y0 has the classes d",
        "unequal numbers of samples (a: 30 and 20)",
        "y0 and odd look at other samples or inputs",
    ):
        assert said.count(note) == 1
    assert "x0 has" not in said


def test_without_a_shared_epoch_the_last_records_are_compared():
    groups = {
        "x": [run("x0", 1), run("x1", 2, epochs=[0])],
        "y": [run("y0", 3, epochs=[4]), run("y1", 4, epochs=[4, 9])],
    }
    (found,) = compare_groups(groups)
    assert found.moments == [4]
    row = found.last[-1]
    x = [mean(divergence(groups["x"][0], 2, "fc2")), mean(divergence(groups["x"][1], 0, "fc2"))]
    y = [mean(divergence(groups["y"][0], 4, "fc2")), mean(divergence(groups["y"][1], 9, "fc2"))]
    assert row.p_value == pytest.approx(stats.ttest_ind(y, x, equal_var=False).pvalue)
    assert found.notes[0] == (
        "no epoch is shared: the last record of each is compared, epoch 4 of y0, epoch 9 of y1, epoch 2 of x0, "
        "epoch 0 of x1"
    )


def test_equal_replicates_are_no_finding():
    """As of runs with one seed."""
    groups = {"x": [run("x0", 1), run("x1", 1)], "y": [run("y0", 2), run("y1", 2)]}
    (found,) = compare_groups(groups)
    for row in found.rows:
        numbers = [row.low, row.high, row.p_value, row.q_value]
        assert (numbers == [0, 0, 1, 1]) if row.layer == "input" else np.isnan(numbers).all()
    where = ", ".join(f"{layer} (epoch {e})" for e in (0, 1, 2) for layer in ("fc1", "fc2"))
    assert found.notes == [f"there is no spread to test by in {where}: the runs of each group are equal"]


def test_other_models_and_hidden_records_are_said():
    def with_module(one, module):
        return replace(one, info={"settings": {"module": module}})

    hidden = run("y1", 4)
    hidden.records.insert(2, replace(hidden.records[1], stage="validate", step=15))
    groups = {
        "x": [with_module(run("x0", 1), "CNN"), with_module(run("x1", 2), "CNN")],
        "y": [with_module(run("y0", 3), "CNN"), with_module(hidden, "RNN")],
    }
    (found,) = compare_groups(groups)
    assert found.notes == [
        "y1 has several records of one epoch; not compared: 1",
        "the models differ: CNN in y0, RNN in y1",
    ]


def test_runs_that_their_names_do_not_tell_apart():
    groups = {name: [run("version_0", i, epochs=range(i + 1)) for i in range(2)] for name in "xy"}
    (found,) = compare_groups(groups)
    assert found.notes == ["only run 2 of y has the epochs 1", "only run 2 of x has the epochs 1"]


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ({}, "two groups or more are needed, not 0"),
        ({"x": [run(), run()]}, "two groups or more are needed, not 1"),
        ({"x": [run(), run()], "y": [run()]}, "group 'y' has 1 run; two replicates"),
        ({"x": [run()] * 2, "y": [run(layers=["z"])] * 2}, "the runs of y and x share no layer"),
        ({"x": [run()] * 2, "y": [run(layers=["input", "z"])] * 2}, "the runs of y and x share no layer"),
        ({"x": [run()] * 2, "y": [run(classes="axyz")] * 2}, "the runs of y and x: no two classes are in all"),
        ({"x": [run()] * 2, "y": [run(), replace(run("bare"), records=[])]}, "has no separation of classes"),
    ],
)
def test_groups_that_cannot_be_compared(groups, message):
    with pytest.raises(ValueError, match=message):
        compare_groups(groups)
