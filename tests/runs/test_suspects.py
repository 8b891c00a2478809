"""Samples that lie among other classes, with planted wrong labels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from lightning_separation import LabelSuspects, Run, analyze
from lightning_separation.records import ALL_LAYERS, Findings
from tests.helpers import blobs, mlp
from tests.runs.made import record, run

AXES = dict.fromkeys(("cross_share", "neighbour_class", "sample_index", "sample_class"), ("sample",))


def suspects(layers, index=(10, 20, 30), own=(0, 1, 2)):
    """By layer the shares and the neighbours of each sample."""
    found = {layer: {"cross_share": np.array(s), "neighbour_class": np.array(n)} for layer, (s, n) in layers.items()}
    every = {"sample_index": np.array(index), "sample_class": np.array(own)}
    return Findings(AXES, {**found, ALL_LAYERS: every})


def of_epoch(epoch, layers, **settings):
    return record(epoch, classes="abc", layers=list(layers), label_suspects=suspects(layers), **settings)


def test_worked_out_by_hand():
    first = {
        "input": ([1.0, 0.5, 1.0], [1, 0, 0]),
        "fc1": ([1.0, 0.0, 0.0], [2, 1, 2]),
        "fc2": ([1.0, 1 - 1e-9, np.nan], [2, 0, -1]),
    }
    last = {
        "input": ([1.0, 0.5, 0.9], [1, 0, 0]),
        "fc1": ([0.5, 0.0, 1.0], [1, 1, 1]),
        "fc2": ([0.0, 0.0, 1.0], [0, 0, 1]),
    }
    found = Run([of_epoch(0, first), of_epoch(1, last)]).label_suspects()
    assert found == [
        {"index": 10, "label": "a", "neighbours": "b", "layers": pytest.approx((3 + 1) / 6), "epochs": 1, "records": 2},
        {"index": 30, "label": "c", "neighbours": "b", "layers": pytest.approx((1 + 2) / 6), "epochs": 1, "records": 2},
    ]
    assert [{type(value) for value in row.values()} <= {int, float, str} for row in found] == [True, True]


def test_half_of_the_layers_is_enough_for_an_epoch():
    half = {"fc1": ([1.0, 0.0, 0.0], [1, 0, 0]), "fc2": ([0.0, 0.0, 0.0], [0, 0, 0])}
    assert [row["epochs"] for row in Run([of_epoch(0, half)]).label_suspects()] == [1]


def test_tests_are_of_other_data():
    layers = {"fc": ([1.0, 0.0, 0.0], [1, 1, 1])}
    fit, test = of_epoch(0, layers), of_epoch(1, {"fc": ([0.0, 1.0, 0.0], [1, 0, 1])}, stage="test", split="test")
    assert Run([fit, test]).label_suspects() == Run([fit]).label_suspects()
    assert [row["index"] for row in Run([fit]).label_suspects()] == [10]


def test_wrong_labels_are_found():
    data = blobs(per_class=30, spread=0.2)
    x, y = data.tensors
    wrong = [4, 31, 77]
    labels = y.clone()
    labels[wrong] = (y[wrong] + 1) % 3
    torch.manual_seed(0)
    loader = DataLoader(TensorDataset(x, labels), batch_size=16)
    checkpoints = [analyze(mlp(), loader, [LabelSuspects()]) for _ in range(2)]
    found = Run([replace(r, epoch=e) for e, r in enumerate(checkpoints)]).label_suspects()
    assert sorted(row["index"] for row in found[:3]) == wrong
    for row in found[:3]:
        assert (row["label"], row["neighbours"]) == (str(labels[row["index"]].item()), str(y[row["index"]].item()))
        assert (row["layers"], row["epochs"], row["records"]) == (pytest.approx(1), 2, 2)


def test_none_are_found():
    assert Run([of_epoch(0, {"fc": ([0.0, 0.5, np.nan], [0, 1, -1])})]).label_suspects() == []
    with pytest.raises(ValueError, match="no record has label suspects"):
        run().label_suspects()


def test_of_training_data(fitted):
    for side in (fitted.run, fitted.run.train):
        rows = side.label_suspects()
        assert {row["records"] for row in rows} == {len(side.moments)}
        shares = [row["layers"] for row in rows]
        assert shares == sorted(shares, reverse=True)
        assert all(0 < share <= 1 for share in shares)
