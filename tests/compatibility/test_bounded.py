"""Memory stays under ``max_memory``, or it is said how much would be needed; cutting the work up changes no number."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lightning_separation import Ablation, HenzePenrose, SeparationMonitor, Significance, analyze, load_run
from lightning_separation.analyses import significance
from lightning_separation.functional import _forest, friedman_rafsky, henze_penrose_divergence
from lightning_separation.interventions import screening
from tests.benchmarks import bounded
from tests.compatibility.harness import run_twice
from tests.helpers import Classifier, blobs, loader, mlp, trainer

ROOT = Path(bounded.__file__).parents[2]
SLACK = 1.05  # what Python and torch keep for themselves of what was let go


def peaks(cases, *max_memory):
    """Rows of the benchmark."""
    arguments = [sys.executable, "-m", "tests.benchmarks.bounded", "--json", "--case", *cases, "--max-memory"]
    # The C library keeps blocks of some megabytes when they are freed: as many as chance has it. Here none.
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "MALLOC_MMAP_THRESHOLD_": "1000000"}
    settings = {"cwd": ROOT, "env": environment, "capture_output": True, "text": True, "check": True}
    done = subprocess.run([*arguments, *max_memory], **settings)
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"case"')]


@pytest.mark.skipif(not os.access("/proc/self/clear_refs", os.W_OK), reason="the peak of a process is Linux's")
def test_a_layer_of_100_000_units_stays_under_max_memory_or_is_refused_with_the_estimate():
    for row in peaks(["d = 100,000, linear"], "500MB", "100MB"):
        most = int(row["max_memory"].removesuffix("MB")) * 1_000_000
        assert row["peak"] < SLACK * most, row
        if most == 500_000_000:
            assert row["found"] == {"henze_penrose": 4, "significance": 4, "ablation": 3}
            assert len(row["notes"]) == 1
            assert "100010 units, max_forwards=500" in row["notes"][0]
        else:
            sizes = "200 rows need 80,000,000 bytes, max_memory leaves 16,666,666 for one layer"
            told = [f"{layer}: {sizes}: raise it, or take fewer samples" for layer in ("net.0", "net.1")]
            assert row["found"] == {"henze_penrose": 2, "significance": 2, "ablation": 1}
            assert row["notes"] == told


@pytest.mark.parametrize(
    ("max_memory", "left"),
    [
        pytest.param("10MB", 0, id="all"),
        pytest.param("7MB", 2, id="some"),
        pytest.param("2MB", 4, id="none"),
    ],
)
def test_of_many_classes_all_pairs_are_found_in_as_many_of_the_last_layers_as_there_is_room(tmp_path, max_memory, left):
    data, need = blobs(100, 5), 6 * 100**2 * 8  # six arrays of 100 x 100
    monitor = SeparationMonitor([HenzePenrose(), Significance()], max_memory=max_memory)
    t = trainer(tmp_path, monitor, max_epochs=1)
    t.fit(Classifier(mlp(classes=100)), loader(data), loader(data))
    (record,) = load_run(t.log_dir).records
    layers = ["input", "net.0", "net.1", "net.3"]
    assert list(record.findings["significance"]) == layers
    assert list(record.findings.get("henze_penrose", {})) == layers[left:]
    told = f"all pairs of 100 classes need {need:,} bytes in each layer, and {2 * need:,} for work, max_memory leaves "
    told += f"{monitor.max_memory // 6 * 2:,}: raise it, or take fewer classes or layers"
    assert record.notes == ([f"{', '.join(layers[:left])}: henze_penrose: {told}"] if left else [])


@dataclass(frozen=True)
class Given:
    x: Tensor


class Named(NamedTuple):
    given: Given


class Unpacks(nn.Module):
    """A network that is given its input in something."""

    def __init__(self, pack, unpack, net):
        super().__init__()
        self.pack, self.unpack, self.net = pack, unpack, net

    def forward(self, given):
        return self.net(self.unpack(given))


class Packs(Classifier):
    """Whose steps give the network its input in something."""

    def training_step(self, batch, batch_idx):
        return self.loss(self.net(self.net.pack(batch[0])), batch[1])

    def validation_step(self, batch, batch_idx):
        self.log("val_loss", self.loss(self.net(self.net.pack(batch[0])), batch[1]))


@pytest.mark.parametrize(
    ("pack", "unpack"),
    [
        pytest.param(Given, lambda given: given.x, id="dataclass"),
        pytest.param(lambda x: Named(Given(x)), lambda named: named.given.x, id="dataclass in a named tuple"),
        pytest.param(lambda x: MappingProxyType({"x": [x]}), lambda given: given["x"][0], id="read-only mapping"),
        pytest.param(lambda x: {"x": x.to_sparse()}, lambda given: given["x"].to_dense(), id="sparse"),
    ],
)
def test_inputs_count_whatever_holds_them(tmp_path, recwarn, pack, unpack):
    data, need = blobs(dim=500), 60 * 500 * 4
    made = lambda: (Packs(Unpacks(pack, unpack, mlp(dim=500))), (loader(data), loader(data)))  # noqa: E731
    analyses = [HenzePenrose(), Significance()]

    def recorded(max_memory, **settings):
        monitor = lambda: SeparationMonitor(analyses, max_memory=max_memory, **settings)  # noqa: E731
        return run_twice(tmp_path / str(max_memory), made, monitor, max_epochs=1)

    run, _, module = recorded(7 * need, on_error="raise")
    (record,) = run.records
    assert record.notes == []
    assert record.layers == ["input", "net.net.0", "net.net.1", "net.net.3"]
    x, y = data.tensors
    for layer, features in (("input", x), ("net.net.0", module.net.net[0](x).detach())):
        expected = henze_penrose_divergence(features, y)
        np.testing.assert_allclose(record.findings["henze_penrose"][layer]["divergence"], expected, atol=1e-12)

    with pytest.raises(FileNotFoundError, match="not the log directory of an analysed run"):
        recorded(6 * (need - 1))
    told = f"input: the inputs of the first 60 samples need {need:,} bytes, max_memory leaves {need - 1:,}: "
    assert sum(told in str(warning.message) for warning in recwarn) == 1


def arrays(record):
    """All that was found, by analysis, layer and quantity."""
    return {
        (analysis, layer, quantity): array
        for analysis, found in record.findings.items()
        for layer, quantities in found.items()
        for quantity, array in quantities.items()
    }


@pytest.mark.filterwarnings("ignore:analyze")
@pytest.mark.parametrize(
    ("module", "constants", "analysis", "tolerance"),
    [
        pytest.param(significance, ["_AT_ONCE"], Significance(), 0, id="units of a layer"),
        pytest.param(screening, ["_AT_ONCE"], Ablation(max_forwards=10), 1e-12, id="gradients of units"),
        pytest.param(_forest, ["_INSIDE", "_COORDINATES", "_TILE"], HenzePenrose(num_trees=2), 0, id="distances"),
    ],
)
def test_cutting_the_work_up_changes_no_number(monkeypatch, module, constants, analysis, tolerance):
    torch.manual_seed(0)
    net, data = mlp(), loader(blobs(per_class=25))
    whole = arrays(analyze(net, data, [analysis]))
    for constant in constants:
        monkeypatch.setattr(module, constant, 100)
    parts = arrays(analyze(net, data, [analysis]))
    assert parts.keys() == whole.keys()
    for key, array in parts.items():
        np.testing.assert_allclose(array, whole[key], rtol=tolerance, atol=tolerance, err_msg=str(key))


def test_many_classes_at_once_are_those_of_their_pairs_alone():
    data = blobs(12, 9, dim=5)
    x, y = data.tensors
    every = friedman_rafsky(x, y)
    for i, j in ((0, 1), (3, 11), (10, 11)):
        pair = (y == i) | (y == j)
        alone = friedman_rafsky(x[pair], y[pair])
        for name in ("cross_edges", "divergence", "expected", "variance", "z", "p_value"):
            assert getattr(every, name)[i, j] == getattr(every, name)[j, i] == getattr(alone, name)[0, 1]
