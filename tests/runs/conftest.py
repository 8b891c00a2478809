"""A run with everything: validated before, fitted, validated after and tested."""

from __future__ import annotations

from typing import NamedTuple

import pytest
import torch
from pytorch_lightning.callbacks import ModelCheckpoint

from lightning_separation import (
    Ablation,
    Confusion,
    HenzePenrose,
    LabelSuspects,
    PrincipalComponents,
    Run,
    SeparationMonitor,
    load_run,
)
from tests.helpers import Classifier, blobs, loader, trainer


class Fitted(NamedTuple):
    folder: str
    run: Run
    checkpoints: list[str]


def monitor(**settings):
    analyses = [HenzePenrose(), Ablation(), LabelSuspects(), Confusion(), PrincipalComponents()]
    return SeparationMonitor(analyses, emit=(), **settings)


@pytest.fixture(scope="session")
def fitted(tmp_path_factory):
    root = tmp_path_factory.mktemp("fitted")
    torch.manual_seed(0)
    keep = ModelCheckpoint(root, "{epoch}", every_n_epochs=1, save_top_k=-1)
    t = trainer(root, monitor(splits=("val", "train")), keep, max_epochs=3)
    model, validation = Classifier(), loader(blobs(spread=2.0, seed=1))
    t.validate(model, validation, verbose=False)
    t.fit(model, loader(blobs(spread=2.0)), validation)
    t.validate(model, validation, verbose=False)
    t.test(model, loader(blobs(seed=2)), verbose=False)
    return Fitted(t.log_dir, load_run(t.log_dir), sorted(map(str, root.glob("*.ckpt"))))
