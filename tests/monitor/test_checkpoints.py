"""A folder of checkpoints becomes the run that the monitor would have recorded."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from pytorch_lightning.callbacks import ModelCheckpoint

from lightning_separation import (
    Ablation,
    HenzePenrose,
    LayerInformation,
    Run,
    SeparationMonitor,
    Significance,
    analyze,
    load_run,
)
from tests.helpers import Classifier, blobs, loader, trainer


def monitor(root, **settings):
    analyses = [HenzePenrose(), Significance(), Ablation(), LayerInformation()]
    return SeparationMonitor(analyses, dirpath=root, emit=[], on_error="raise", **settings)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    root = tmp_path_factory.mktemp("trained")
    checkpoints = ModelCheckpoint(root, filename="{epoch}-{step}", save_top_k=-1)
    t = trainer(root, monitor(root), checkpoints, max_epochs=12, num_sanity_val_steps=0)
    t.fit(Classifier(), loader(blobs(seed=1), shuffle=True), loader(blobs()))
    return root


@pytest.mark.parametrize("save_at_validation", [False, True])
def test_the_records_are_equal(trained, tmp_path, save_at_validation):
    root = trained
    if save_at_validation:
        root = tmp_path / "own"
        checkpoints = ModelCheckpoint(root, save_top_k=-1, save_on_train_epoch_end=False)
        t = trainer(root, monitor(root), checkpoints, max_epochs=2, num_sanity_val_steps=0)
        t.fit(Classifier(), loader(blobs(seed=1), shuffle=True), loader(blobs()))
    t = trainer(tmp_path, monitor(tmp_path / "again"), logger=False)
    for path in sorted(root.glob("*.ckpt")):  # epoch=10 comes before epoch=2
        t.validate(Classifier(), loader(blobs()), ckpt_path=path, verbose=False)
    expected, run = load_run(root), load_run(tmp_path / "again")
    assert list(run.moments) == list(expected.moments)
    assert [record.step for record in run.records] == [record.step for record in expected.records]
    for a, b in zip(expected.records, run.records, strict=True):
        assert a.layers == b.layers
        assert a.findings.keys() == b.findings.keys()
        for analysis, found in a.findings.items():
            for layer in found:
                for quantity, array in found[layer].items():
                    np.testing.assert_array_equal(b.findings[analysis][layer][quantity], array, f"{analysis} {layer}")
    assert all(row.p_value == 1 for row in run.compare(expected).rows)
    assert run.info["sample"] == expected.info["sample"]


def test_a_checkpoint_of_one_step_is_not_before_training(tmp_path):
    t = trainer(tmp_path, ModelCheckpoint(tmp_path, save_top_k=-1), max_steps=1, max_epochs=1, logger=False)
    t.fit(Classifier(), loader(blobs(seed=1)), loader(blobs()))
    t = trainer(tmp_path, monitor(tmp_path), logger=False)
    t.validate(Classifier(), loader(blobs()), verbose=False)
    t.validate(Classifier(), loader(blobs()), ckpt_path=next(tmp_path.glob("*.ckpt")), verbose=False)
    t.validate(Classifier(), loader(blobs()), verbose=False)  # and untrained again
    assert list(load_run(tmp_path).moments) == ["before", 0]
    assert [record.step for record in load_run(tmp_path).records] == [0, 0, 1]


def test_plain_weights_without_lightning(tmp_path):
    records = []
    for epoch in range(3):
        torch.manual_seed(epoch)
        torch.save(torch.nn.Linear(6, 3).state_dict(), tmp_path / f"{epoch}.pt")
    for epoch in range(3):
        network = torch.nn.Linear(6, 3)
        network.load_state_dict(torch.load(tmp_path / f"{epoch}.pt"))
        layered = torch.nn.Sequential(network)
        records.append(replace(analyze(layered, loader(blobs()), [HenzePenrose()]), epoch=epoch))
    folder = Run(records).save(tmp_path / "run" / "separation")
    run = load_run(folder)
    assert list(run.moments) == [0, 1, 2]
    assert run.name == "run"
    assert run.layers == ["input", "0"]
    assert len(run.epoch_steps().rows) == 4
    with pytest.raises(FileExistsError):
        run.save(folder)
