"""What is made of the rows of a comparison, worked out by hand."""

from __future__ import annotations

import json
from math import nan

import numpy as np
import pytest

from lightning_separation.runs import Comparison, Row
from tests.plots.test_henze_penrose import assert_legible
from tests.runs.made import run


def comparison(q_values):
    """By layer the q at "before", 0 and 1."""
    rows = [
        Row(moment, layer, "other", 0.6, 0.5, 0.1 * (i + 1), 0.0, 0.2, q[i], q[i], 4)
        for i, moment in enumerate(("before", 0, 1))
        for layer, q in q_values.items()
    ]
    return Comparison("a minus b", "jackknife", rows, ["said"])


def test_since_when_layers_differ():
    found = comparison(
        {
            "always": [0.01, 0.02, 0.049],
            "late": [0.5, 0.2, 0.01],
            "again": [0.01, 0.3, 0.01],
            "no more": [0.01, 0.01, 0.05],
            "untested": [nan, nan, nan],
            "once untested": [0.01, nan, 0.01],
        }
    )
    assert found.since() == {
        "always": "before",
        "late": 1,
        "again": 1,
        "no more": None,
        "untested": None,
        "once untested": 1,
    }
    assert found.since(0.25)["late"] == 0
    assert found.since(0.015)["always"] is None


def test_the_array_has_gaps_where_there_are_no_rows():
    found = comparison({"a": [0.1, 0.2, 0.3], "b": [0.4, 0.5, 0.6]})
    del found.rows[2]  # a at 0
    np.testing.assert_array_equal(found.array("q_value"), [[0.1, 0.4], [nan, 0.5], [0.3, 0.6]])
    assert (found.moments, found.layers) == (["before", 0, 1], ["a", "b"])
    assert [(row.moment, row.layer) for row in found.last] == [(1, "a"), (1, "b")]
    with pytest.raises(AttributeError, match="speed"):
        found.array("speed")


def test_json_has_no_nan():
    found = comparison({"a": [nan, 0.2, 0.01]})
    again = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert again == found.to_dict()
    assert [row["q_value"] for row in again["rows"]] == [None, 0.2, 0.01]
    assert [row["moment"] for row in again["rows"]] == ["before", 0, 1]
    assert again["rows"][1] == {
        "moment": 0, "layer": "a", "versus": "other", "mean": 0.6, "other_mean": 0.5, "effect": 0.2, "low": 0.0,
        "high": 0.2, "p_value": 0.2, "q_value": 0.2, "classes": 4,
    }  # fmt: skip
    assert {key: again[key] for key in ("title", "test", "notes", "since")} == {
        "title": "a minus b",
        "test": "jackknife",
        "notes": ["said"],
        "since": {"a": 1},
    }
    assert "further classes" in again["assumes"]


@pytest.mark.parametrize("test", ["jackknife", "fisher_paired"])
def test_json_of_real_comparisons(test):
    for classes in ("ab", "abcd"):
        found = run("one", 1, classes=classes, epochs=[0]).compare(run("two", 2, classes=classes, epochs=[0]), test)
        json.dumps(found.to_dict(), allow_nan=False)


def test_a_table():
    found = comparison({"a": [nan, 0.2, 0.01]})
    table = found.to_pandas()
    assert list(table.columns) == list(Row._fields)
    assert table.moment.tolist() == ["before", 0, 1]
    assert table.effect.tolist() == [row.effect for row in found.rows]


def test_what_is_not_significant_is_pale_but_what_is_not_tested_is_not():
    def pale(found):
        figure = found.plot()
        assert_legible(figure)
        veils = [part for part in figure.axes[0].collections if part.get_label() == "muted"]
        return [~veil.get_array().mask.astype(bool).ravel() for veil in veils]

    (veil,) = pale(comparison({"a": [0.5, 0.2, 0.01]}))
    assert veil.tolist() == [True, True, False]
    assert pale(comparison({"a": [nan, nan, nan]})) == []
