"""Differences between runs, layers, epochs and splits, against loops and other packages."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats
from statsmodels.stats.multitest import multipletests

from lightning_separation import Run
from lightning_separation.functional import permutation_test
from lightning_separation.records import Findings
from tests.runs.made import LAYERS, divergence, jackknife, matrix, mean, pairs, record, run

NUMBERS = ("mean", "other_mean", "effect", "low", "high", "p_value")


def check(comparison, wanted):
    """The rows are these: moment, layer, versus, x, y; q is over those that can differ."""
    assert [(row.moment, row.layer, row.versus) for row in comparison.rows] == [one[:3] for one in wanted]
    numbers = np.array([[mean(x), mean(y), *jackknife(x, y)] for *_, x, y in wanted])
    np.testing.assert_allclose([[getattr(row, name) for name in NUMBERS] for row in comparison.rows], numbers)
    tested = np.array([layer != "input" or abs(mean(x) - mean(y)) > 1e-12 for _, layer, _, x, y in wanted])
    q_values = np.ones(len(wanted))
    q_values[tested] = multipletests(numbers[tested, -1], method="fdr_bh")[1]
    np.testing.assert_allclose([row.q_value for row in comparison.rows], q_values)
    assert [row.classes for row in comparison.rows] == [len(x) for *_, x, _ in wanted]


def numbers(comparison):
    return {(row.moment, row.layer): np.array(row[3:]) for row in comparison.rows}


def test_rows_of_two_runs():
    one, two = run("one", 1), run("two", 2)
    found = one.compare(two)
    check(found, [(e, k, "two", divergence(one, e, k), divergence(two, e, k)) for e in (0, 1, 2) for k in LAYERS])
    assert (found.title, found.test, found.notes) == ("one minus two", "jackknife", [])
    assert "further seeds" in found.assumes
    assert (found.moments, found.layers) == ([0, 1, 2], list(LAYERS))


@pytest.mark.parametrize("test", ["jackknife", "fisher", "fisher_paired"])
def test_a_run_does_not_differ_from_itself(test):
    found = run().compare(run("again"), test)
    assert {(row.effect, row.p_value, row.q_value) for row in found.rows} == {(0.0, 1.0, 1.0)}
    assert all(row.low <= 0 <= row.high for row in found.rows)
    assert (found.test, found.notes, set(found.since().values())) == (test, [], {None})


@pytest.mark.parametrize("test", ["jackknife", "fisher", "fisher_paired"])
def test_exchanged_runs_change_the_sign_only(test):
    one, two = run("one", 1, epochs=[0]), run("two", 2, epochs=[0])
    there, back = one.compare(two, test), two.compare(one, test)
    for a, b in zip(there.rows, back.rows, strict=True):
        swapped = (b.other_mean, b.mean, -b.effect, -b.high, -b.low, b.p_value, b.q_value)
        np.testing.assert_allclose(a[3:10], swapped, atol=1e-12)


def test_the_order_of_classes_and_layers_is_of_no_matter():
    one, two = run("one", 1), run("two", 2)
    order = [2, 0, 3, 1]
    shuffled = [
        record(
            r.epoch,
            {layer: divergence(two, r.epoch, layer)[np.ix_(order, order)] for layer in reversed(LAYERS)},
            [r.class_names[i] for i in order],
        )
        for r in two.records
    ]
    found, plain = one.compare(Run(shuffled, name="two")), one.compare(two)
    assert found.notes == []
    assert numbers(found).keys() == numbers(plain).keys()
    for place, row in numbers(found).items():
        np.testing.assert_allclose(row, numbers(plain)[place])


def test_what_is_shared_is_compared_and_the_rest_is_said():
    one = run("one", 1, epochs=[0, 1, 2], layers=["input", "fc1", "fc2"])
    two = run("two", 2, epochs=[1, 2, 5, 8], layers=["input", "conv", "fc2"])
    found = one.compare(two)
    shared = [(e, k, "two", divergence(one, e, k), divergence(two, e, k)) for e in (1, 2) for k in ("input", "fc2")]
    check(found, shared)
    assert found.notes == [
        "only one has the epochs 0",
        "only two has the epochs 5, 8",
        "only one has the layers fc1",
        "only two has the layers conv",
    ]


def test_a_layer_that_is_there_at_some_epochs():
    one, two = run("one", 1), run("two", 2)
    del one.records[1].layers[1]  # fc1
    found = one.compare(two)
    assert [(row.moment, row.layer) for row in found.rows if row.layer != "input"] == [
        (0, "fc1"), (0, "fc2"), (1, "fc2"), (2, "fc1"), (2, "fc2"),
    ]  # fmt: skip
    assert np.isnan(found.array("effect")[1, 1])
    assert np.isfinite(np.delete(found.array("effect"), 4)).all()


@pytest.mark.parametrize("diagonal", [0.0, np.nan])
def test_classes_that_one_has_not(diagonal):
    one, two = run("one", 1, epochs=[0], classes="abcd"), run("two", 2, epochs=[0], classes="bcae")
    left_out = divergence(two, 0, "fc2")
    left_out[0] = left_out[:, 0] = np.nan  # too few samples of b, in a layer
    left_out[0, 0] = diagonal
    found = one.compare(two)
    wanted = []
    for layer in LAYERS:
        names = "ac" if layer == "fc2" else "abc"
        mine, others = (["abcd".index(c) for c in names], ["bcae".index(c) for c in names])
        x, y = divergence(one, 0, layer)[np.ix_(mine, mine)], divergence(two, 0, layer)[np.ix_(others, others)]
        wanted.append((x, y))
    assert [row.classes for row in found.rows] == [3, 3, 2]
    for row, (x, y) in zip(found.rows[:2], wanted[:2], strict=True):
        np.testing.assert_allclose([getattr(row, name) for name in NUMBERS], [mean(x), mean(y), *jackknife(x, y)])
    last = found.rows[2]
    assert last.effect == pytest.approx(mean(wanted[2][0]) - mean(wanted[2][1]))
    assert np.isnan([last.low, last.high, last.p_value, last.q_value]).all()
    assert found.rows[1].q_value == found.rows[1].p_value  # the only one that is tested and not of equal inputs
    assert found.notes == [
        "one and two look at other samples or inputs: the separation of their inputs differs",
        "only one has the classes d",
        "only two has the classes e",
        "only one has the classes b, d",
        "two classes: one pair has no spread to test by; the jackknife needs three classes. Replicate runs (groups) "
        "can be compared",
    ]


def test_unequal_numbers_of_samples_are_said_once():
    names = [f"class {i}" for i in range(10)]
    one, two = run("one", classes=names), run("two", classes=names, counts=np.array([30] + [20] * 9))
    (note,) = one.compare(two).notes
    assert note.startswith("unequal numbers of samples (class 1: 30 and 20, class 2: 30 and 20, ")
    assert "class 8: 30 and 20 and 1 more): the largest separation that can be reached depends on them" in note
    assert one.compare(run("two", classes=names)).notes == []


def test_other_samples_are_said_and_tested():
    one, two = run("one", 1), run("two", 2)
    for r in two.records:
        r.findings["henze_penrose"]["input"]["divergence"][:] = matrix(4, 8)
    found = one.compare(two)
    assert found.notes == ["one and two look at other samples or inputs: the separation of their inputs differs"]
    check(found, [(e, k, "two", divergence(one, e, k), divergence(two, e, k)) for e in (0, 1, 2) for k in LAYERS])


def test_the_same_samples_of_fewer_classes_are_not_other_samples():
    one, two = run("one", 1, epochs=[0]), run("two", 2, epochs=[0], classes="abc")
    divergence(two, 0, "input")[:] = divergence(one, 0, "input")[:3, :3]
    assert one.compare(two).notes == ["only one has the classes d"]


def test_other_settings_are_said():
    infos = [
        {"settings": {"analyses": {"henze_penrose": f"HenzePenrose(distance={d!r})"}, "pooling": "mean"}}
        for d in ("euclidean", "cosine")
    ]
    one, two = replace(run("one"), info=infos[0]), replace(run("two"), info=infos[1])
    assert one.compare(two).notes == [
        "the separation is measured with other settings: HenzePenrose(distance='euclidean') and pooling 'mean' in one, "
        "HenzePenrose(distance='cosine') and pooling 'mean' in two"
    ]
    assert one.compare(replace(two, info=infos[0])).notes == []
    assert one.compare(run("two")).notes == []  # nobody knows


@pytest.mark.parametrize(
    ("setting", "values", "note"),
    [
        ("module", ("CNN", "Transformer"), "the models differ: CNN in one, Transformer in two"),
        ("network", (["a"], ["b"]), "other parts of the models are analysed: ['a'] in one, ['b'] in two"),
        ("dataloader_idx", (0, 1), "other validation loaders are looked at: 0 in one, 1 in two"),
    ],
)
def test_records_of_another_model_are_said(setting, values, note):
    one, two = (replace(run(n), info={"settings": {setting: v}}) for n, v in zip(("one", "two"), values, strict=True))
    assert one.compare(two).notes == [note]
    assert one.compare(replace(two, info=one.info)).notes == []
    assert one.compare(run("two")).notes == []  # nobody knows


def test_other_seeds_and_versions_of_one_model_are_no_news():
    infos = [
        {"settings": {"module": "CNN", "seed": i, "samples_per_class": 9}, "versions": {"torch": i}} for i in (1, 2)
    ]
    assert replace(run("one"), info=infos[0]).compare(replace(run("two"), info=infos[1])).notes == []


def with_steps(name, per_epoch, **settings):
    one = run(name, **settings)
    return replace(one, records=[replace(r, step=per_epoch * (r.epoch + 1) - 1) for r in one.records])


def test_epochs_of_different_lengths_are_said_once():
    one, two = with_steps("one", 75), with_steps("two", 7500, epochs=[0, 1, 2, 3])
    assert one.compare(two).notes == [
        "only two has the epochs 3",
        "epochs are of different lengths: epoch 2 is step 224 in one and 22499 in two",
    ]
    assert one.compare(with_steps("two", 75)).notes == []
    analysed = replace(two, records=[replace(r, stage="analyze", step=0) for r in two.records[:3]])
    assert one.compare(analysed).notes == []
    far = with_steps("far", 9, epochs=[7])
    assert not any("lengths" in note for note in one.compare(far).notes)


def test_without_a_shared_epoch_the_last_records_are_compared():
    one, two = run("one", 1, epochs=[0, 2]), run("two", 2, epochs=[1, 3, 5])
    check(one.compare(two), [(2, k, "two", divergence(one, 2, k), divergence(two, 5, k)) for k in LAYERS])
    check(two.compare(one), [(5, k, "one", divergence(two, 5, k), divergence(one, 2, k)) for k in LAYERS])
    assert one.compare(two).notes == [
        "no epoch is shared: the last record of each is compared, epoch 2 of one, epoch 5 of two",
        "only one has the epochs 0, 2",
        "only two has the epochs 1, 3, 5",
    ]
    untrained = replace(two, records=[replace(two.records[0], stage="validate", step=0)])
    found = one.compare(untrained)
    assert (found.moments, found.notes[0].endswith("epoch 2 of one, before training of two")) == ([2], True)
    layers = replace(two, records=[*two.records[:-1], replace(two.records[-1], layers=["input", "fc9"])])
    with pytest.raises(ValueError, match="share no layer but the input: input, fc1, fc2 against input"):
        one.compare(layers)


def several_checkpoints(name, seed=0):
    """Of epoch 1 there are three."""
    one = run(name, seed)
    middle = one.records[1]
    others = [replace(middle, stage="validate", step=step) for step in (14, 17, middle.step)]
    return replace(one, records=[one.records[0], *others[:2], middle, others[2], one.records[2]])


@pytest.mark.parametrize("compare", [Run.layer_steps, Run.epoch_steps, Run.training_effect])
def test_hidden_records_are_said(compare):
    assert compare(run("one")).notes == []
    assert compare(several_checkpoints("one")).notes == ["one has several records of one epoch; not compared: 2"]
    assert compare(several_checkpoints("")).notes == ["the run has several records of one epoch; not compared: 2"]


def test_hidden_records_of_either_side_are_said():
    one, two = run("one", 1), several_checkpoints("two", 2)
    note = "two has several records of one epoch; not compared: 2"
    assert one.compare(two).notes == two.compare(one).notes == [note]
    assert replace(one, train=several_checkpoints("two", 3)).gap().notes == [note]
    assert replace(two, train=run("train", 3)).gap().notes == [note]


def test_equal_differences_of_all_pairs_are_no_finding():
    """Where separations are multiples of 1 / samples they come by chance."""
    one, two = run("one", 1, epochs=[0, 1], classes="abc"), run("two", 2, epochs=[0, 1], classes="abc")
    one.records[1].findings["henze_penrose"]["fc1"]["divergence"][:] = divergence(two, 1, "fc1") + 0.05
    one.records[0].findings["henze_penrose"]["fc2"]["divergence"][:] = divergence(two, 0, "fc2")
    found = one.compare(two)
    row = next(row for row in found.rows if (row.moment, row.layer) == (1, "fc1"))
    assert row.effect == pytest.approx(0.05)
    assert np.isnan([row.low, row.high, row.p_value, row.q_value]).all()
    assert found.notes == [
        "there is no spread to test by in fc1 (epoch 1): the difference is the same whichever class is left out"
    ]
    assert found.since()["fc1"] is None
    same = next(row for row in found.rows if (row.moment, row.layer) == (0, "fc2"))
    assert (same.effect, same.low, same.high, same.p_value) == (0, 0, 0, 1)  # no difference is no alarm
    tested = [row for row in found.rows if row.layer != "input" and not np.isnan(row.p_value)]
    wanted = multipletests([row.p_value for row in tested], method="fdr_bh")[1]
    np.testing.assert_allclose([row.q_value for row in tested], wanted)  # a family without it
    assert all(np.isfinite(row.p_value) for row in one.compare(two, "fisher").rows)


def test_a_small_spread_is_a_spread():
    one, two = run("one", 1, epochs=[0], classes="abc"), run("two", 2, epochs=[0], classes="abc")
    divergence(one, 0, "fc1")[:] = divergence(two, 0, "fc1") + 0.5
    divergence(one, 0, "fc1")[0, 1] += 1e-9
    row = one.compare(two).rows[1]
    assert 0 < row.p_value < 1e-12
    assert row.low < row.effect < row.high


@pytest.mark.parametrize("name", ["", "version_0"])
def test_runs_that_their_names_do_not_tell_apart(name):
    found = run(name, 1).compare(run(name, 2, epochs=[0]))
    assert found.title == "this run minus the other run"
    assert found.rows[0].versus == "the other run"
    assert found.notes == ["only this run has the epochs 1, 2"]


@pytest.mark.parametrize("test", ["fisher", "fisher_paired"])
@pytest.mark.parametrize("classes", ["abc", "abcd", "abcdef"])
def test_fishers_test_is_that_of_functional(test, classes):
    one, two = run("one", 1, epochs=[0], classes=classes), run("two", 2, epochs=[0], classes=classes)
    row = one.compare(two, test).rows[-1]
    x, y = (torch.tensor(pairs(divergence(side, 0, "fc2"))) for side in (one, two))
    wanted = permutation_test(x, y, paired=test == "fisher_paired", generator=torch.Generator().manual_seed(0))
    assert (row.effect, row.p_value) == pytest.approx((wanted.statistic.item(), wanted.p_value.item()))
    assert (row.low, row.high) == pytest.approx((wanted.low.item(), wanted.high.item()))


def test_fishers_test_of_three_classes_by_scipy():
    one, two = run("one", 1, epochs=[0], classes="abc"), run("two", 2, epochs=[0], classes="abc")
    for test, kind in (("fisher", "independent"), ("fisher_paired", "samples")):
        samples = [pairs(divergence(side, 0, "fc1")) for side in (one, two)]
        wanted = stats.permutation_test(
            samples, lambda x, y: abs(np.mean(x) - np.mean(y)), permutation_type=kind, alternative="greater"
        )
        assert one.compare(two, test).rows[1].p_value == pytest.approx(wanted.pvalue)


def test_two_classes_have_an_effect_but_no_test():
    one, two = run("one", 1, epochs=[0], classes="ab"), run("two", 2, epochs=[0], classes="ab")
    found = one.compare(two)
    for row in found.rows:
        assert row.effect == pytest.approx(divergence(one, 0, row.layer)[0, 1] - divergence(two, 0, row.layer)[0, 1])
        assert np.isnan([row.low, row.high, row.p_value, row.q_value]).all()
    (note,) = found.notes
    assert note.startswith("two classes: one pair has no spread to test by")
    assert one.compare(two, "fisher").rows[1].p_value == 1.0


ONE_CLASS = Run([record(0, {"fc": np.zeros((1, 1))}, "a")], name="lonely")
NO_CLASSES = Run([record(0, classes="", layers=["fc"])], name="coder")
ALL_LEFT_OUT = Run([record(0, {"fc": np.full((3, 3), np.nan)}, "abc")], name="rare")
TESTS_ONLY = replace(run("tested"), records=[replace(r, stage="test", split="test") for r in run().records])


@pytest.mark.parametrize("other", [ONE_CLASS, NO_CLASSES, ALL_LEFT_OUT, TESTS_ONLY, Run([], name="empty")])
def test_what_has_no_separation(other):
    message = f"{other.name} has no separation of classes to compare"
    for compare in (lambda: run().compare(other), lambda: other.compare(run()), other.training_effect):
        with pytest.raises(ValueError, match=message):
            compare()


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (run("two", layers=["x", "y"]), "one and two share no layer|two and one share no layer"),
        (run("two", layers=["input", "y"]), "share no layer but the input: input"),
        (run("two", layers=["input"]), "share no layer but the input: input"),
        (run("two", classes="dxyz"), "no two classes are in both: "),
    ],
)
def test_what_is_of_another_model(other, message):
    for a, b in ((run(), other), (other, run())):
        with pytest.raises(ValueError, match=message):
            a.compare(b)


def test_layers_that_are_never_there_at_one_epoch():
    one, two = run("one", layers=["fc"], epochs=[0, 1]), run("two", layers=["fc"], epochs=[0, 1])
    for r, layer in ((one.records[1], "other"), (two.records[0], "another")):
        r.findings["henze_penrose"] = Findings({"divergence": ("pair",)}, {layer: {"divergence": matrix()}})
        r.layers[:] = [layer]
    with pytest.raises(ValueError, match="one minus two: no layer is in both at one epoch"):
        one.compare(two)


def test_only_inputs_can_be_compared():
    found = run("one", layers=["input"]).compare(run("two", layers=["input"]))
    assert {row.q_value for row in found.rows} == {1.0}


@pytest.mark.parametrize("test", ["welch", "Jackknife", None])
def test_an_unknown_test(test):
    with pytest.raises(ValueError, match=r"test must be one of \('jackknife', 'fisher', 'fisher_paired'\), not"):
        run().compare(run("two"), test)


def test_each_layer_against_the_one_before():
    one = run()
    before = dict(zip(LAYERS[1:], LAYERS, strict=False))
    wanted = [
        (e, k, before[k], divergence(one, e, k), divergence(one, e, before[k])) for e in (0, 1, 2) for k in LAYERS[1:]
    ]
    check(one.layer_steps(), wanted)
    with pytest.raises(ValueError, match="one layer only"):
        run(layers=["fc"]).layer_steps()


def test_each_epoch_against_the_one_before():
    one = run(epochs=[0, 2, 7])
    wanted = [
        (e, k, f"epoch {b}", divergence(one, e, k), divergence(one, b, k)) for b, e in ((0, 2), (2, 7)) for k in LAYERS
    ]
    check(one.epoch_steps(), wanted)


def test_after_against_before_training():
    one = run(epochs=[1, 4])
    untrained = replace(run(seed=5, epochs=[0]).records[0], stage="validate", step=0)
    found = replace(one, records=[untrained, *one.records]).training_effect()
    matrices = untrained.findings["henze_penrose"]
    wanted = [(4, k, "before training", divergence(one, 4, k), matrices[k]["divergence"]) for k in LAYERS]
    check(found, wanted)
    assert found.title == "one: epoch 4 minus before training"
    assert one.training_effect().title == "one: epoch 4 minus epoch 1"


@pytest.mark.parametrize("steps", [Run.epoch_steps, Run.training_effect])
def test_one_epoch_has_nothing_to_be_compared_with(steps):
    with pytest.raises(ValueError, match="one epoch only"):
        steps(run(epochs=[3]))


def test_training_against_validation_data():
    one, train = run(epochs=[0, 1]), run("one (train)", 3, epochs=[1, 2], layers=["input", "fc2"], split="train")
    for r in train.records:
        r.findings["henze_penrose"]["input"]["divergence"][:] = matrix(4, 8)
    found = replace(one, train=train).gap()
    check(found, [(1, k, "validation", divergence(train, 1, k), divergence(one, 1, k)) for k in ("input", "fc2")])
    assert (found.title, found.notes) == ("one: training minus validation data", [])
    fewer = replace(train, records=[replace(r, counts=np.array([30, 30, 30, 9])) for r in train.records])
    (note,) = replace(one, train=fewer).gap().notes
    assert note.startswith("unequal numbers of samples (d: 9 and 30)")


def test_no_training_data():
    with pytest.raises(ValueError, match=r'no records of the training data; SeparationMonitor\(splits=\("val", "tr'):
        run().gap()
    with pytest.raises(ValueError, match="no layer is in both at one epoch"):
        replace(run(epochs=[0]), train=run(epochs=[1])).gap()


def test_many_layers_and_epochs_are_compared_in_time_that_grows_with_their_number():
    layers = [f"layer {i}" for i in range(100)]
    runs = [run(name, i, range(40), layers) for i, name in enumerate(("one", "two"))]

    def seconds(work):
        from time import process_time

        start = process_time()
        work()
        return process_time() - start

    assert seconds(lambda: runs[0].compare(runs[1], "fisher")) < 4  # one by one: minutes
    found = runs[0].compare(runs[1])
    assert seconds(lambda: found.array("effect")) < 0.5  # quadratic: 3
    assert seconds(lambda: found.last) < 0.5
    assert seconds(lambda: runs[0].array("henze_penrose", "divergence")) < 1.5
    assert seconds(lambda: runs[0].compare(runs[1])) < 2
