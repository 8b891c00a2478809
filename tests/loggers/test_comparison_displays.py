"""What is shown of principal components, label suspects, confusion, and of training against validation data."""

import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from lightning_separation import (
    Confusion,
    LabelSuspects,
    MembershipTest,
    PrincipalComponents,
    SeparationMonitor,
    analyze,
    load_run,
)
from lightning_separation.loggers import displays, remembered
from lightning_separation.loggers.gap import display as gap_display
from lightning_separation.records import Findings, Record
from tests.helpers import Classifier, blobs, loader, mlp, trainer

NAMES = ["ant", "bee", "cow"]


def record_of(*analyses, network=None, data=None, split="val", **settings):
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        record = analyze(network or mlp(), data or loader(blobs(spread=3)), list(analyses), **settings)
    return replace(record, split=split)


def shown(record, memory=None, name="separation"):
    (display,) = displays(record, memory or {}, name).values()
    return display


def membership(p_values):
    """As of a training sample."""
    values = {layer: {"gap": 0.1 - p, "p_value": p, "q_value": min(1.0, 2 * p)} for layer, p in p_values.items()}
    found = Findings(dict.fromkeys(("gap", "p_value", "q_value"), ()), values)
    return Record(3, 30, "fit", "train", ["input", "fc"], NAMES, np.array([9, 9, 9]), {"membership_test": found})


def words(figure):
    return [text.get_text() for axes in figure.axes for text in (axes.title, *axes.texts)]


def test_every_tag_carries_another_monitors_name():
    record = record_of(PrincipalComponents(), LabelSuspects(), Confusion())
    record.findings["membership_test"] = membership({"input": 0.5, "3": 0.01}).findings["membership_test"]
    tags = {
        name: [
            tag.removeprefix("mine_")
            for display in displays(record, {}, name).values()
            for kind in (display.scalars, display.histograms, display.figures, display.layer_figures, display.tables)
            for tag in kind
        ]
        for name in ("separation", "mine")
    }
    assert tags["separation"] == tags["mine"]
    assert {tag.split("/")[0] for tag in tags["mine"]} == {
        "principal_components_figures", "suspect_fraction", "label_suspects_tables", "confusion_accuracy",
        "confusion_figures", "confusion_tables", "membership_p", "membership_test_tables",
    }  # fmt: skip
    for display in displays(record, {}, "mine").values():
        assert all(any("mine: " in word for word in words(draw())) for draw in display.figures.values())


@pytest.mark.parametrize("settings", [{"class_names": NAMES}, {"target_fn": False}])
def test_principal_components_of_all_layers_in_one_figure(settings):
    (draw,) = shown(record_of(PrincipalComponents(), **settings)).figures.values()
    figure = draw()
    figure.canvas.draw()
    told = words(figure)
    assert {"input", "0", "1", "3"} <= set(told)
    assert set(settings.get("class_names", ["all samples"])) <= set(told)


def test_confusion_is_shown_as_counted():
    x, y = blobs(spread=3).tensors
    record = record_of(Confusion(), data=[(x[15:], y[15:] * (torch.arange(45) % 2))], class_names=NAMES)
    assert len(set(record.counts.tolist())) > 1
    values = record.findings["confusion"]["*"]
    display = shown(record)
    assert display.scalars == {"confusion_accuracy": values["accuracy"].item()}
    table = display.tables["confusion_tables/pairs"]
    counts = {(NAMES.index(row[0]), NAMES.index(row[1])): int(row[2]) for row in table.rows}
    wrong = values["confusion"] - np.diag(np.diag(values["confusion"]))
    assert counts == {(a, b): wrong[a, b] for a, b in np.argwhere(wrong).tolist()}
    assert list(counts.values()) == sorted(counts.values(), reverse=True)
    shares = [100 * count / record.counts[a] for (a, _), count in counts.items()]
    assert [row[3] for row in table.rows] == [f"{share:.1f}%" for share in shares]
    (draw,) = display.figures.values()
    figure = draw()
    figure.canvas.draw()
    assert {f"{count:.0f}" for count in values["confusion"].ravel() if count} <= set(words(figure))


def test_confusion_of_a_network_without_mistakes():
    x = torch.eye(3).repeat(8, 1)
    network = nn.Sequential(nn.Linear(3, 3, bias=False))
    network[0].weight.data = torch.eye(3)
    network.append(nn.Linear(3, 4))
    network[1].weight.data = torch.eye(4, 3)
    nn.init.zeros_(network[1].bias)
    display = shown(record_of(Confusion(), network=network, data=[(x, x.argmax(1))]))
    table = display.tables["confusion_tables/pairs"]
    assert not table.rows
    assert table.caption == "No sample is taken for another, analyze, epoch 0; accuracy 100.0%."
    next(iter(display.figures.values()))().canvas.draw()


def test_of_findings_of_no_layer_nothing_is_shown():
    for analysis in ("principal_components", "label_suspects", "confusion", "membership_test"):
        record = replace(membership({}), findings={analysis: Findings({}, {})})
        display = shown(record)
        assert not any((display.scalars, display.figures, display.tables))
        remembered(record)


# Label suspects


def suspects_record(epoch, suspects, split="val", names=NAMES):
    """Of eight samples, every third one of a class; which are suspects in two layers."""
    values = {}
    for layer, chosen in suspects.items():
        share = np.full(8, 0.25)
        share[chosen] = 1
        values[layer] = {
            "cross_share": share,
            "neighbour_class": (np.arange(8) + 1) % 3,
            "suspect_fraction": len(chosen) / 8,
        }
    values["*"] = {"sample_index": 10 * np.arange(8), "sample_class": np.arange(8) % 3}
    axes = dict.fromkeys(("cross_share", "neighbour_class", "sample_index", "sample_class"), ("sample",))
    found = Findings({**axes, "suspect_fraction": ()}, values)
    layers = list(suspects)
    return Record(epoch, epoch, "fit", split, layers, names, np.array([3, 3, 2]), {"label_suspects": found})


def test_suspects_are_counted_over_layers_and_epochs():
    records = [
        suspects_record(0, {"input": [2], "fc1": [], "fc2": [2, 5]}),
        suspects_record(1, {"input": [2], "fc1": [5], "fc2": [2, 5]}),
        suspects_record(2, {"input": [2], "fc1": [7, 5, 2], "fc2": [2, 5]}),
    ]
    memory = {record.label: remembered(record) for record in records}
    table = shown(records[-1], memory).tables["label_suspects_tables/samples"]
    assert table.header == ["index in the dataset", "class", "class of its neighbours", "layers", "epochs"]
    assert table.rows == [
        ["20", "cow", "ant", "3 of 3", "3 of 3"],
        ["50", "cow", "ant", "2 of 3", "2 of 3"],
        ["70", "bee", "cow", "1 of 3", "0 of 3"],
    ]
    assert "3 of 3, those of most layers first" in table.caption


def test_an_epoch_counts_in_which_they_were_suspects_in_half_of_the_layers():
    record = suspects_record(0, {"input": [1], "fc": []})
    table = shown(record, {record.label: remembered(record)}).tables["label_suspects_tables/samples"]
    assert table.rows == [["10", "bee", "cow", "1 of 2", "1 of 1"]]


def test_without_other_epochs_they_are_not_counted():
    table = shown(suspects_record(0, {"input": [1], "fc": []})).tables["label_suspects_tables/samples"]
    assert table.rows == [["10", "bee", "cow", "1 of 2"]]
    assert len(table.header) == 4
    assert "Epochs" not in table.caption


def test_of_the_training_data_nobody_is_told_to_look_at_them():
    hint = 'splits=("val", "train")'
    for split in ("val", "train"):
        table = shown(suspects_record(0, {"fc": [1]}, split)).tables["label_suspects_tables/samples"]
        assert (hint in table.caption) == (split == "val")


def test_fractions_and_samples_of_real_layers():
    record = record_of(LabelSuspects(), class_names=NAMES)
    display = shown(record)
    found = record.findings["label_suspects"]
    assert display.scalars == {
        f"suspect_fraction/{layer}": (found[layer]["cross_share"] == 1).mean() for layer in record.layers
    }
    suspects = np.stack([found[layer]["cross_share"] == 1 for layer in record.layers]).sum(0)
    rows = display.tables["label_suspects_tables/samples"].rows
    assert len(rows) == min(20, (suspects > 0).sum())
    assert all(row[1] != row[2] for row in rows)
    assert [int(row[3].split()[0]) for row in rows] == sorted(suspects, reverse=True)[: len(rows)]
    assert all(suspects[int(row[0])] == int(row[3].split()[0]) for row in rows)
    assert remembered(record)["label_suspects"]["suspect"] == {
        str(i): suspects[i] / 4 for i in np.flatnonzero(suspects)
    }


def test_wrong_labels_of_the_training_data_are_listed_in_a_fit(tmp_path):
    dataset = blobs(spread=0.3)
    wrong = [7, 30]
    dataset.tensors[1][wrong] = dataset.tensors[1][wrong[::-1]]
    monitor = SeparationMonitor([LabelSuspects()], splits=("val", "train"), on_error="raise", class_names=NAMES)
    t = trainer(tmp_path, monitor, max_epochs=2)
    t.fit(Classifier(), loader(dataset, shuffle=True), loader(blobs(spread=0.3, seed=5)))
    record = load_run(t.log_dir).train.records[-1]
    rows = shown(record).tables["label_suspects_tables/samples"].rows
    assert sorted(row[:3] for row in rows[:2]) == [["30", "bee", "ant"], ["7", "ant", "bee"]]


# Training against validation data


def test_p_values_are_shown():
    display = shown(membership({"input": 0.75, "fc": 0.01}))
    assert display.scalars == {"membership_p/input": 0.75, "membership_p/fc": 0.01}
    table = display.tables["membership_test_tables/layers"]
    assert table.rows == [["input", "−0.65", "0.75", "1"], ["fc", "+0.09", "0.01", "0.02"]]
    assert "epoch 3" in table.caption


MORE = "Here that of the input is more than chance"
UNKNOWN = "That of the input was not measured"


@pytest.mark.parametrize(
    ("p_values", "told"),
    [({"input": 0.02, "fc": 0.01}, MORE), ({"input": 0.03, "fc": 0.01}, None), ({"fc": 0.01}, UNKNOWN)],
)
def test_what_the_input_tells_of_the_test(p_values, told):
    caption = shown(membership(p_values)).tables["membership_test_tables/layers"].caption
    assert [words in caption for words in (MORE, UNKNOWN)] == [told == MORE, told == UNKNOWN]
    assert "beyond that speaks for samples learnt by heart" in caption


def separations_record(split, layers):
    found = Findings({"divergence": ("pair",)}, {layer: {"divergence": values} for layer, values in layers.items()})
    return Record(3, 30, "fit", split, list(layers), NAMES, np.array([9, 9, 9]), {"henze_penrose": found})


@pytest.mark.parametrize("told", [None, MORE, UNKNOWN])
def test_what_the_input_tells_of_the_gap(told):
    low = np.array([[0, 0.5, 0.6], [0.5, 0, 0.55], [0.6, 0.55, 0]])
    high = low + np.array([[0, 0.1, 0.11], [0.1, 0, 0.12], [0.11, 0.12, 0]])
    layers = ["fc"] if told == UNKNOWN else ["input", "fc"]
    validation = separations_record("val", dict.fromkeys(layers, low))
    train = {layer: high if layer == "fc" or told == MORE else low for layer in layers}
    display = gap_display(validation, separations_record("train", train), "separation")
    assert display.scalars["separation_gap/fc"] == pytest.approx(0.11)
    table = display.tables["separation_tables/gap"]
    assert [row[0] for row in table.rows] == layers
    assert [words in table.caption for words in (MORE, UNKNOWN)] == [told == MORE, told == UNKNOWN]
    assert "only because it has seen it" not in table.caption


def test_of_a_validation_sample_nothing_is_shown():
    assert not shown(record_of(MembershipTest())).tables
