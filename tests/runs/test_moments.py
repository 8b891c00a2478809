"""Which record stands for which epoch, in real fits."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from lightning_separation import Run, load_run
from tests.helpers import Classifier, blobs, loader, trainer
from tests.runs.conftest import monitor
from tests.runs.made import matrix, record, run


def test_a_validation_before_is_a_moment_but_one_after_is_none_and_no_test_is(fitted):
    whole = fitted.run
    assert sorted(r.stage for r in whole.records) == ["fit"] * 3 + ["test", "validate", "validate"]
    moments = whole.moments
    assert list(moments) == ["before", 0, 1, 2]
    assert [r.stage for r in moments.values()] == ["validate", "fit", "fit", "fit"]
    assert moments["before"].step == 0
    # The validation after the fit is left out as it is of the same weights.
    after = max((r for r in whole.records if r.stage == "validate"), key=lambda r: r.step)
    for layer, found in after.findings["henze_penrose"].items():
        np.testing.assert_array_equal(found["divergence"], moments[2].findings["henze_penrose"][layer]["divergence"])
    assert list(whole.train.moments) == [0, 1, 2]
    assert {r.split for r in whole.train.records} == {"train"}


def test_checkpoints_become_the_same_run(fitted, tmp_path):
    assert len(fitted.checkpoints) == 3
    t = trainer(tmp_path, monitor(dirpath=tmp_path / "later"))
    for path in fitted.checkpoints:
        t.validate(Classifier(), loader(blobs(spread=2.0, seed=1)), ckpt_path=path, verbose=False)
    later = load_run(tmp_path / "later")
    assert list(later.moments) == [0, 1, 2]
    for epoch, one in later.moments.items():
        wanted = fitted.run.moments[epoch]
        assert one.step == wanted.step
        assert one.findings.keys() == wanted.findings.keys()
        for analysis, found in one.findings.items():
            for layer in found:
                for quantity, array in found[layer].items():
                    np.testing.assert_allclose(array, wanted.findings[analysis][layer][quantity], atol=1e-6)
    found = fitted.run.compare(later)
    assert {row.p_value for row in found.rows} == {1.0}
    assert found.notes[0].startswith("only version_0 has the epochs before")


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_the_one_of_the_fit_comes_first(order):
    both = [record(1, stage="fit", step=9, layers=["x"]), record(1, stage="validate", step=9, layers=["y"])]
    assert Run([both[i] for i in order]).moments[1].layers == ["x"]


def test_of_validations_of_one_epoch_the_last_counts():
    records = [record(1, stage="validate", step=9, layers=[name]) for name in "xy"]
    assert Run(records).moments[1].layers == ["y"]


def test_hidden_are_records_of_other_weights():
    def validated(epoch, step):
        return record(epoch, stage="validate", step=step, layers=["x"])

    fit = [record(epoch, layers=["x"]) for epoch in (0, 1)]  # steps 9 and 19
    assert Run(fit).hidden == Run([]).hidden == 0
    assert Run([validated(0, 0), validated(0, 0), *fit, validated(2, 20)]).hidden == 0
    assert Run([*fit, validated(1, 19), replace(fit[1], stage="test", split="test", step=17)]).hidden == 0
    assert Run([fit[0], validated(1, 12), validated(1, 15), fit[1]]).hidden == 2
    assert Run([validated(3, 30), validated(3, 33), validated(3, 36), validated(4, 40)]).hidden == 2
    assert Run([replace(one, epoch=0, stage="analyze", step=0) for one in fit]).hidden == 1


def test_analysed_checkpoints_have_the_epochs_that_they_are_given():
    records = [replace(record(e), stage="analyze", step=0) for e in (4, 0, 2)]
    assert list(Run(records).moments) == [0, 2, 4]


def test_a_fit_that_goes_on_after_a_validation():
    validated = replace(run(seed=3, epochs=[0]).records[0], epoch=2, step=20, stage="validate")
    fits = run(epochs=[0, 1, 2, 3]).records
    assert [r.stage for r in Run([*fits[:2], validated, *fits[2:]]).moments.values()] == ["fit"] * 4
    assert list(Run([*fits[:2], validated]).moments) == [0, 1]


def test_the_last_moment_with_findings_of_an_analysis():
    one = Run([record(0, {"fc": matrix()}), record(1, {"fc": matrix()}), record(2, layers=["fc"])])
    assert one.last("henze_penrose") == (1, one.records[1])
    assert one.last("confusion") is None
