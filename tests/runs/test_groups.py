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
        ({"x": [run()] * 2, "y": [run(epochs=[8])] * 2}, "the runs of y and x share no epoch"),
        ({"x": [run()] * 2, "y": [run(layers=["z"])] * 2}, "the runs of y and x share no layer"),
        ({"x": [run()] * 2, "y": [run(layers=["input", "z"])] * 2}, "the runs of y and x share no layer"),
        ({"x": [run()] * 2, "y": [run(classes="axyz")] * 2}, "the runs of y and x: no two classes are in all"),
        ({"x": [run()] * 2, "y": [run(), replace(run("bare"), records=[])]}, "has no separation of classes"),
    ],
)
def test_groups_that_cannot_be_compared(groups, message):
    with pytest.raises(ValueError, match=message):
        compare_groups(groups)
