"""Whether low separation foretells confusion, with planted confusions."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from lightning_separation import Run
from lightning_separation.comparison import mantel_test
from lightning_separation.records import ALL_LAYERS, Findings
from lightning_separation.runs.forecast import confused_share
from tests.runs.made import matrix, pairs, record

CLASSES = "abcde"


def confusion(counts):
    return Findings({"confusion": ("class", "class")}, {ALL_LAYERS: {"confusion": counts}})


def planted(low_pairs=((0, 1), (2, 4)), seed=0):
    """Counts of 100 samples a class, in which the pairs are taken for each other; and a separation low for them."""
    counts, low = np.zeros((5, 5)), matrix(5, seed, 0.8, 0.9)
    for i, (a, b) in enumerate(low_pairs):
        counts[a, b], counts[b, a] = 10 + 5 * i, 4
        low[a, b] = low[b, a] = 0.3 - 0.1 * i
    np.fill_diagonal(counts, 100 - counts.sum(1))
    return counts, low


def test_what_is_separated_least_is_confused_most():
    counts, low = planted()
    unrelated = matrix(5, 3)
    records = [
        record(0, {"early": unrelated, "late": low}, CLASSES),
        record(1, {"early": unrelated, "late": low}, CLASSES, confusion=confusion(counts)),
        record(2, layers=["early"], classes=CLASSES),  # neither
    ]
    found = Run(records).confusion_forecast()
    assert list(found) == [0, 1]
    share = [[(counts[a, b] + counts[b, a]) / 200 for b in range(5)] for a in range(5)]
    for row in found.values():
        for layer, m in (("early", unrelated), ("late", low)):
            wanted = stats.spearmanr(-np.array(pairs(m)), pairs(np.array(share))).statistic
            assert row[layer][0] == pytest.approx(wanted)
            assert row[layer] == mantel_test(-m, share)
        assert row["late"][1] < 0.05 < row["early"][1]


def test_confusions_of_the_last_record_count():
    counts, low = planted()
    others, _ = planted(((0, 3), (1, 4)))
    later = record(1, {"fc": low}, CLASSES, confusion=confusion(counts))
    assert Run([record(0, {"fc": low}, CLASSES, confusion=confusion(others)), later]).confusion_forecast() == (
        Run([record(0, {"fc": low}, CLASSES), later]).confusion_forecast()
    )


def test_a_class_that_was_left_out_and_records_of_other_classes():
    counts, low = planted(((0, 1), (1, 3)))
    low[4] = low[:, 4] = np.nan
    last = record(1, {"fc": low}, CLASSES, confusion=confusion(counts))
    found = Run([record(0, {"fc": matrix(5)}, "vwxyz"), last]).confusion_forecast()
    assert list(found) == [1]
    wanted = mantel_test(-low[:4, :4], confused_share(counts)[:4, :4])
    assert found[1]["fc"] == wanted


def test_where_nothing_is_confused_nothing_is_foretold():
    found = Run([record(0, {"fc": matrix(5)}, CLASSES, confusion=confusion(100 * np.eye(5)))]).confusion_forecast()
    assert np.isnan(found[0]["fc"]).all()


def test_what_is_missing_is_said():
    counts, low = planted()
    with pytest.raises(ValueError, match="no record has a confusion matrix"):
        Run([record(0, {"fc": low}, CLASSES)]).confusion_forecast()
    with pytest.raises(ValueError, match="no record with the classes of the last confusion matrix has their separat"):
        Run([record(0, classes=CLASSES, confusion=confusion(counts))]).confusion_forecast()
    with pytest.raises(ValueError, match="at least 3 classes"):
        Run([record(0, {"fc": matrix(2)}, "ab", confusion=confusion(np.eye(2)))]).confusion_forecast()


def test_confused_share():
    counts = np.array([[6.0, 3, 1], [0, 20, 0], [2, 0, 28]])
    share = confused_share(counts)
    np.testing.assert_allclose(share, [[0, 3 / 30, 3 / 40], [3 / 30, 0, 0], [3 / 40, 0, 0]])
    assert counts[0, 0] == 6  # not written over


def test_a_real_run(fitted):
    found = fitted.run.confusion_forecast()
    assert list(found) == ["before", 0, 1, 2]
    assert {tuple(row) for row in found.values()} == {tuple(fitted.run.layers)}
    counts = fitted.run.moments[2].findings["confusion"][ALL_LAYERS]["confusion"]
    share = [(counts[a, b] + counts[b, a]) / (counts[a] + counts[b]).sum() for a in range(3) for b in range(a + 1, 3)]
    for moment, r in fitted.run.moments.items():
        for layer, (correlation, p_value) in found[moment].items():
            low = -np.array(pairs(r.findings["henze_penrose"][layer]["divergence"]))
            assert correlation == pytest.approx(stats.spearmanr(low, share).statistic)
            assert p_value in np.arange(1, 7) / 6  # all orders of three classes
