"""Two processes that train together leave the records of one, log the same values, and none waits for ever."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pytorch_lightning.strategies import ModelParallelStrategy
from torch.utils.data import DataLoader, DistributedSampler

from lightning_separation import HenzePenrose, SeparationMonitor, load_run
from lightning_separation.capture import Sample
from lightning_separation.capture.dataset_index import shard_of
from tests.compatibility import distributed_cases
from tests.compatibility.distributed_cases import CASES, ODD, SAMPLES, TRAIN, everything, run
from tests.compatibility.harness import TAGS
from tests.helpers import Classifier, trainer

ROOT = Path(__file__).parents[2]
OTHER = ("trained", "without-monitor", "shuffled", "sequences", "half-precision", "fails-in-one", "no-target-in-one")
OTHER += ("cannot-be-sent", "communicates")
AS_ONE = [name for name in CASES if name not in OTHER]
"""Cases of which one process makes the same records."""


def launch(root, *names, processes=2):
    """Run cases by several processes, as a user's script would."""
    command = [sys.executable, "-m", distributed_cases.__name__, str(root), str(processes), *names]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False)


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """All cases, run by two processes; what both have in the end, and the records."""
    root = tmp_path_factory.mktemp("two")
    done = launch(root, *CASES)
    assert done.returncode == 0, done.stderr[-3000:]

    def found(name):
        ends = [json.loads((root / f"{name}-{rank}.json").read_text()) for rank in (0, 1)]
        return *ends, root / name

    return found


def assert_same_records(first, second):
    """Of two runs; numbers may differ by rounding, as batches are cut in another way."""
    assert first.info["sample"] == second.info["sample"]
    assert first.info["training_sample"] == second.info["training_sample"]
    assert len(first.records) == len(second.records) > 0
    both = [(first, second)] if first.train is None else [(first, second), (first.train, second.train)]
    for a, b in (pair for one, other in both for pair in zip(one.records, other.records, strict=True)):
        assert (a.epoch, a.stage, a.split, a.layers, a.class_names) == (
            b.epoch,
            b.stage,
            b.split,
            b.layers,
            b.class_names,
        )
        assert a.counts.tolist() == b.counts.tolist()
        assert sorted(a.notes) == sorted(b.notes)
        assert list(a.findings) == list(b.findings)
        for analysis, layers in a.findings.items():
            assert list(layers) == list(b.findings[analysis])
            for layer, quantities in layers.items():
                assert quantities.keys() == b.findings[analysis][layer].keys()
                for quantity, array in quantities.items():
                    expected, where = b.findings[analysis][layer][quantity], f"{analysis} {layer} {quantity}"
                    np.testing.assert_allclose(array, expected, 1e-4, 1e-5, err_msg=where)


@pytest.mark.parametrize("name", AS_ONE)
def test_two_processes_leave_the_record_of_one(two, tmp_path, name):
    *_, folder = two(name)
    run(tmp_path, name)
    found, alone = load_run(folder), load_run(tmp_path / name)
    if name in ("iterable-all", "one-without-data"):  # which process has which samples is not known
        found.info["sample"] = [position // 2 for position in found.info["sample"]]
    assert_same_records(found, alone)


@pytest.mark.parametrize("name", [name for name in CASES if name != "without-monitor"])
def test_the_same_values_are_logged_by_both(two, name):
    first, second, _ = two(name)
    ours = [{key: v for key, v in end["metrics"].items() if key.startswith(TAGS)} for end in (first, second)]
    assert ours[0] == ours[1]
    assert bool(ours[0]) == (name not in ("without-classes", "no-target-in-one", "rhythms"))
    assert first["hooks"] == second["hooks"] == 0
    assert not [told for told in first["warnings"] + second["warnings"] if "sync_dist" in told and "separation" in told]


def test_both_know_the_folder_of_the_records(two):
    *ends, folder = two("trained")
    (run_info,) = folder.rglob("run.json")
    assert [end["folders"] for end in ends] == [[str(run_info.parent)]] * 2


def test_training_is_bit_identical(two):
    for with_monitor, without in zip(two("trained")[:2], two("without-monitor")[:2], strict=True):
        for what in ("weights", "optimizers", "randoms", "diary"):
            assert with_monitor[what] == without[what], what
        val_losses = [{k: v for k, v in end["metrics"].items() if k == "val_loss"} for end in (with_monitor, without)]
        assert val_losses[0] == val_losses[1] != {}


def test_sequences_that_differ_in_length_between_processes(two):
    *_, folder = two("sequences")
    record = load_run(folder).records[-1]
    assert record.layers == ["input", "net.0", "net.1", "net.2"]
    assert record.counts.tolist() == [20, 20]
    assert record.findings["significance"]["net.0"]["p_value"].shape == (8,)
    assert [note for note in record.notes if "rows differ in length" in note]


def test_half_precision(two):
    *_, folder = two("half-precision")
    run_of_two = load_run(folder)
    assert run_of_two.epochs == [0, 1]
    assert np.isfinite(run_of_two.array("henze_penrose", "separation")).all()


def test_what_fails_in_one_process_is_said_once_and_costs_that_alone(two):
    first, second, folder = two("fails-in-one")
    record = load_run(folder).records[-1]
    assert list(record.findings["significance"]) == record.layers
    told = [warning for warning in first["warnings"] if "out of luck" in warning]
    assert len(told) == 1
    assert "henze_penrose" in told[0]
    assert not [warning for warning in second["warnings"] if "out of luck" in warning]  # rank zero speaks
    first, _, folder = two("no-target-in-one")
    assert [warning for warning in first["warnings"] if "no target here" in warning]
    with pytest.raises(FileNotFoundError):
        load_run(folder)


def test_three_processes(tmp_path):
    done = launch(tmp_path, "everything", processes=3)
    assert done.returncode == 0, done.stderr[-3000:]
    run(tmp_path / "one", "everything")
    assert_same_records(load_run(tmp_path / "everything"), load_run(tmp_path / "one"))


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("cannot-be-sent", "what it is given cannot be sent to other processes: "),
        ("communicates", "it communicates with other processes, which would wait for it"),
    ],
)
def test_a_network_that_cannot_be_run_again_beside_others_is_only_looked_at(two, tmp_path, name, reason):
    *_, folder = two(name)
    run(tmp_path, name)
    found, alone = load_run(folder).records[-1], load_run(tmp_path / name).records[-1]
    concerned = [name for note in found.notes for name in note.partition(": ")[0].split(", ")]
    assert sorted(concerned) == sorted(set(alone.findings) - {"henze_penrose"})
    assert all(f"the network cannot be run again: {reason}" in note for note in found.notes)
    for layer in alone.layers:
        divergences = (record.findings["henze_penrose"][layer]["divergence"] for record in (found, alone))
        np.testing.assert_allclose(*divergences, atol=1e-9)


def test_data_shared_out_among_others_are_chosen_anew(two, tmp_path):
    *_, folder = two("iterable-shards")
    (checkpoint,) = folder.rglob("*.ckpt")
    t = trainer(tmp_path, SeparationMonitor([HenzePenrose()]), max_epochs=3)
    case = CASES["iterable-shards"]
    with pytest.warns(UserWarning, match="chosen anew"):
        t.fit(case.module(), DataLoader(TRAIN, 10), case.data(), ckpt_path=checkpoint)
    assert load_run(t.log_dir).records[-1].counts.tolist() == [20, 20, 20]


def test_raise_stops_both(tmp_path):
    done = launch(tmp_path, "raises")
    assert done.returncode != 0
    assert "MonitorError: " in done.stderr
    assert "out of luck" in done.stderr
    assert not list(tmp_path.glob("*.json"))


def test_one_process_goes_on_with_what_two_began(two, tmp_path):
    *_, folder = two("trained")
    (checkpoint,) = folder.rglob("*.ckpt")
    t = trainer(tmp_path, SeparationMonitor(on_error="raise"), max_epochs=4)
    t.fit(Classifier(), DataLoader(TRAIN, 8), DataLoader(ODD, 8), ckpt_path=checkpoint)
    before, after = load_run(folder), load_run(t.log_dir)
    assert (before.epochs, after.epochs) == ([0, 1], [2, 3])
    assert before.info["sample"] == after.info["sample"]


def test_spawned_processes(tmp_path):
    data = DataLoader(TRAIN, 8), DataLoader(ODD, 8)
    runs = []
    for name, settings in (("two", {"strategy": "ddp_spawn", "devices": 2}), ("one", {})):
        torch.manual_seed(0)
        t = trainer(tmp_path / name, everything(), max_epochs=1, **settings)
        t.fit(distributed_cases.Still(), *data)
        assert t.callback_metrics["separation_last"] == t.callback_metrics["separation/net.3"]
        runs.append(load_run(tmp_path / name))
    assert_same_records(*runs)


def test_a_network_in_pieces_is_refused_before_training(tmp_path):
    class Sharded(Classifier):
        def configure_model(self):
            pass

    t = trainer(tmp_path, SeparationMonitor(), strategy=ModelParallelStrategy())
    with pytest.raises(ValueError, match="in pieces on several devices, as with ModelParallelStrategy: train with"):
        t.fit(Sharded(), DataLoader(TRAIN, 8), DataLoader(ODD, 8))
    torch.distributed.destroy_process_group()  # of the strategy


@given(st.lists(st.integers(0, 3), min_size=1, max_size=60), st.integers(1, 4), st.integers(1, 5), st.booleans())
def test_the_sample_of_several_processes_is_that_of_one(labels, processes, cap, with_classes):
    classes = torch.tensor(labels) if with_classes else None
    alone = Sample(cap, cap)
    alone.begin()
    alone.rows(len(labels), classes)
    shards = [DistributedSampler(range(len(labels)), processes, rank, shuffle=False) for rank in range(processes)]
    loaders = [DataLoader(range(len(labels)), 2, sampler=sampler) for sampler in shards]
    samples = [Sample(cap, cap) for _ in shards]
    for _ in range(2):  # the second pass finds the same again
        for rank, (sample, loader) in enumerate(zip(samples, loaders, strict=True)):
            sample.begin(shard_of(loader, rank, processes))
            for batch in loader:
                sample.rows(len(batch), classes[batch] if with_classes else None)
        seen = [sample.seen for sample in samples]
        of_all = (
            torch.tensor([labels[position % len(labels)] for some in seen for position in some])
            if with_classes
            else None
        )
        for sample in samples:
            kept = sample.merge(seen, of_all)
            sample.finish()
            assert [[p for some in seen for p in some][row] for row in kept] == sample.positions == alone.positions
    assert samples[0].labels is None if classes is None else torch.equal(samples[0].labels, alone.labels)


def test_data_that_every_process_reads_whole_are_looked_at_once():
    loader = DataLoader(SAMPLES, 8)
    samples = [Sample(5, 5), Sample(5, 5)]
    for rank, sample in enumerate(samples):
        sample.begin(shard_of(loader, rank, 2))
        sample.rows(60, SAMPLES.tensors[1])
    labels = torch.cat([sample.labels for sample in samples])
    assert samples[0].merge([sample.seen for sample in samples], labels).tolist() == list(range(15))
