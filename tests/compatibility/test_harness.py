"""The comparison itself notices what it is there to notice."""

import random

import numpy as np
import pytest
import torch
from pytorch_lightning import Callback

from lightning_separation import HenzePenrose, SeparationMonitor
from tests.compatibility.harness import run_twice
from tests.helpers import Classifier, blobs, loader


def make():
    return Classifier(), (loader(blobs(seed=1), shuffle=True), loader(blobs()))


def test_a_run_with_the_monitor_is_the_run_without(tmp_path):
    run, trainer, _ = run_twice(tmp_path, make)
    assert run.epochs == [0, 1]
    assert run.layers == ["input", "net.0", "net.1", "net.3"]
    assert "separation_last" in trainer.callback_metrics


class Harmful(HenzePenrose):
    """An analysis that does one thing it must not."""

    harm = None

    def compute(self, snapshot):
        type(self).harm(snapshot)
        return super().compute(snapshot)


@pytest.mark.parametrize(
    "harm, what",
    [
        (lambda snapshot: snapshot.network[0].weight.data.mul_(1.001), "weights"),
        (lambda snapshot: snapshot.network[1].register_forward_hook(print), "hooks"),
        (lambda snapshot: setattr(snapshot.network[1], "left", 1), "attributes"),
        (lambda snapshot: torch.backends.mha.set_fastpath_enabled(False), "diary"),
    ],
)
def test_harm_is_noticed(tmp_path, harm, what):
    Harmful.harm = staticmethod(harm)
    try:
        with pytest.raises(AssertionError, match=f"{what} differ"):
            run_twice(tmp_path, make, lambda: SeparationMonitor([Harmful()], on_error="raise"))
    finally:
        torch.backends.mha.set_fastpath_enabled(True)


@pytest.mark.parametrize("draw", [lambda: torch.rand(1), lambda: np.random.rand(), random.random])  # noqa: NPY002
def test_random_numbers_drawn_are_noticed(tmp_path, draw):
    class Draws(Callback):
        def on_train_end(self, trainer, pl_module):
            if any(isinstance(callback, SeparationMonitor) for callback in trainer.callbacks):
                draw()

    with pytest.raises(AssertionError, match="randoms differ"):
        run_twice(tmp_path, make, callbacks=lambda: [Draws()])
