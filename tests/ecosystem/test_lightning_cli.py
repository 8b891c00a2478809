"""Every argument of the monitor and of each analysis can be set by LightningCLI, on its command line and in YAML."""

import contextlib
import io
import json
import os
import re
import subprocess
import sys
from importlib import import_module
from inspect import signature
from pathlib import Path

import pytest
import torch

import lightning_separation
from lightning_separation import SeparationMonitor, load_run
from tests.ecosystem.fits import NAMES, assert_same_records

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "cli"


def first_class(batch):
    """A ``target_fn``, given by its import path."""
    return batch[1]


MONITOR = {
    "analyses": [{"class_path": "Significance", "init_args": {"alpha": 0.01}}],
    "layers": ["net.*", "head"],
    "every_n_epochs": 3,
    "epochs": [2, 0],
    "samples_per_class": 7,
    "max_samples": 8,
    "dataloader_idx": 1,
    "network": "net",
    "target_fn": f"{__name__}.first_class",
    "class_names": {3: "cat", 7: "dog"},
    "splits": ["val", "train"],
    "pooling": "max",
    "emit": ["scalars", "tables"],
    "save": False,
    "dirpath": "records/here",
    "name": "mine",
    "max_memory": "1.5GB",
    "on_error": "raise",
    "seed": 5,
}
ARRIVES = {
    "analyses": [lightning_separation.Significance(alpha=0.01)],
    "epochs": [0, 2],
    "target_fn": first_class,
    "splits": ("val", "train"),
    "emit": frozenset({"scalars", "tables"}),
    "dirpath": Path("records/here"),
    "max_memory": 1_500_000_000,
}
"""What is kept where that is not what was written."""

OTHER_WAYS = [
    ("target_fn", False, False),
    ("class_names", ["cat", "dog"], {0: "cat", 1: "dog"}),
    ("max_memory", 1000, 1000),
    ("layers", [], []),
    ("epochs", None, None),
]

COMMON = {"layers": ["net.*"], "every_n_epochs": 4, "pooling": "max", "max_samples": 9, "bins": 7, "max_units": 5}
COMMON |= {"distance": "cosine", "alpha": 0.01, "fraction": 0.5, "repeats": 3, "count": 4, "threshold": 0.25}
COMMON |= {"edges": [-1.0, 2.0], "correction": "miller-madow", "feature_names": ["a", "b"], "argument": 1}
COMMON |= {"pairing": "all", "num_permutations": 19, "max_forwards": 11, "objective": "input", "max_features": 6}
SPECIAL = {
    ("Ablation", "value"): "mean",
    ("Ablation", "screen"): 0.5,
    ("DirectionAblation", "directions"): {"net.0": [[1.0, 0.0], [0.6, 0.8]], "net.1": [0.0, 1.0]},
    ("GroupAblation", "counts"): "each",
    ("HenzePenrose", "num_trees"): 2,
    ("HenzePenrose", "multiclass"): "global",
    ("Modularity", "modules"): {"net.0": [0, 0, 1]},
    ("Modularity", "num_modules"): 3,
    ("Modularity", "weights"): "information",
    ("PermutationImportance", "groups"): {"both": [0, "b"]},
}
OTHERS = [
    ("DirectionAblation", {"directions": ["random", "search"]}),
    ("DirectionAblation", {"directions": "principal"}),
    ("PermutationImportance", {"argument": "pixels", "groups": "correlated"}),
    ("LayerInformation", {"edges": "epoch"}),
    ("Modularity", {"modules": "random"}),
    ("Ablation", {"screen": 1.0}),
]

ANALYSES = [
    name for name in lightning_separation.__all__ if hasattr(getattr(lightning_separation, name), "needs_classes")
]


def settings_of(name):
    """A value for each argument of an analysis that is not its default; each comes in one of some groups."""
    parameters = signature(getattr(lightning_separation, name)).parameters
    return {key: SPECIAL[name, key] if (name, key) in SPECIAL else COMMON[key] for key in parameters}


def parsed(namespace, *arguments):
    """The monitor that LightningCLI makes of a command line."""
    demo = import_module(f"{namespace}.demos.boring_classes")
    cli = import_module(f"{namespace}.cli").LightningCLI(
        demo.BoringModel,
        run=False,
        save_config_callback=None,
        seed_everything_default=False,
        args=["--trainer.logger=false", "--trainer.callbacks+=lightning_separation.SeparationMonitor", *arguments],
    )
    (monitor,) = (callback for callback in cli.trainer.callbacks if isinstance(callback, SeparationMonitor))
    return monitor


def written(key, value):
    """As it is written behind an option."""
    return f"--trainer.callbacks.{key}={value if isinstance(value, str) else json.dumps(value)}"


def assert_is(found, expected):
    """Equal, and of one type, also inside."""
    assert type(found) is type(expected)
    if isinstance(found, torch.Tensor):
        assert torch.equal(found, expected)
    elif isinstance(found, dict):
        assert list(found) == list(expected)
        for key, value in found.items():
            assert_is(value, expected[key])
    elif isinstance(found, list | tuple):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            assert_is(one, other)
    else:
        assert found == expected


@pytest.mark.parametrize("namespace", NAMES)
def test_every_argument_of_the_monitor(namespace):
    assert list(MONITOR) == list(signature(SeparationMonitor).parameters)
    monitor = parsed(namespace, *(written(key, value) for key, value in MONITOR.items()))
    for key, value in MONITOR.items():
        assert_is(getattr(monitor, key), ARRIVES.get(key, value))


@pytest.mark.parametrize("key, value, kept", OTHER_WAYS, ids=[f"{key}={value}" for key, value, _ in OTHER_WAYS])
def test_the_other_ways_to_write_an_argument(key, value, kept):
    assert_is(getattr(parsed(NAMES[0], written(key, value)), key), kept)


def of_all():
    """Each argument of each analysis, by itself, and other ways to write some."""
    for name in ANALYSES:
        for key, value in settings_of(name).items():
            yield name, {key: value}
    yield from OTHERS


@pytest.mark.parametrize("name", ANALYSES)
def test_every_argument_of_an_analysis(name):
    kind, namespace = getattr(lightning_separation, name), NAMES[ANALYSES.index(name) % 2]
    for settings in [given for which, given in of_all() if which == name]:
        options = [written(f"analyses.{key}", value) for key, value in settings.items()]
        (found,) = parsed(namespace, f"--trainer.callbacks.analyses+={name}", *options).analyses
        expected = kind(**settings)
        for key in signature(kind).parameters:
            assert_is(getattr(found, key), getattr(expected, key))
        (key,) = list(settings)[:1]
        default = signature(kind).parameters[key].default
        assert isinstance(getattr(found, key), dict) or getattr(found, key) != default


def test_all_there_are_are_tested():
    assert len(ANALYSES) == 17
    assert {name for name, _ in SPECIAL} <= set(ANALYSES)


QUICK = ("--trainer.max_epochs=1", "--trainer.enable_progress_bar=false")


def unwrapped(text):
    """Without what depends on where lines end: spaces, and hyphens at which words are parted."""
    return re.sub(r"[\s-]", "", text)


@pytest.mark.parametrize("name", ["SeparationMonitor", *ANALYSES])
def test_the_help_is_that_of_the_docstring(name):
    kind = getattr(lightning_separation, name)
    at = "" if name == "SeparationMonitor" else "analyses."
    shown = "--trainer.callbacks.help" if not at else "--trainer.callbacks.analyses.help"
    with contextlib.redirect_stdout(io.StringIO()) as printed, pytest.raises(SystemExit) as left:
        parsed(NAMES[1], f"{shown}=lightning_separation.{name}")
    assert left.value.code == 0
    told = unwrapped(printed.getvalue())
    documented = kind.__doc__.split("Args:")[1]
    for key in signature(kind).parameters:
        first = unwrapped(re.search(rf"^ +{key}: (.+(?:\n {{12}}.+)*)", documented, re.MULTILINE)[1])
        assert first[:50] in told, key
    assert len(told) < 12_000  # no list of all classes of torch


def test_the_printed_config_has_every_argument_with_its_help_and_runs_and_so_does_the_saved_one(tmp_path):
    (tmp_path / "main.py").write_text((EXAMPLE / "main.py").read_text())
    printed = run(tmp_path, "fit", "--config", EXAMPLE / "config.yaml", *QUICK, "--print_config=comments")
    for name in ("SeparationMonitor", "HenzePenrose", "Significance", "Ablation", "LayerInformation"):
        block = printed.partition(f"class_path: lightning_separation.{name}\n")[2]
        for key in signature(getattr(lightning_separation, name)).parameters:
            assert re.search(rf"# .+\n +{key}:", block), f"{name}: {key}"
    (tmp_path / "printed.yaml").write_text(printed)
    run(tmp_path, "fit", "--config", "printed.yaml")
    logs = tmp_path / "lightning_logs"
    run(tmp_path, "fit", "--config", logs / "version_0" / "config.yaml")
    first, second = (load_run(logs / name) for name in ("version_0", "version_1"))
    assert first.info["settings"] == second.info["settings"]
    assert first.info["settings"]["analyses"]["significance"].endswith("alpha=0.01, pooling='mean')")
    assert_same_records(first, second)


def test_the_example_runs_with_the_other_name_of_lightning(tmp_path):
    example = (EXAMPLE / "main.py").read_text()
    (tmp_path / "main.py").write_text(example.replace("from pytorch_lightning", "from lightning.pytorch"))
    run(tmp_path, "fit", "--config", EXAMPLE / "config.yaml", *QUICK)
    assert load_run(tmp_path / "lightning_logs").info["settings"]["every_n_epochs"] == 4


def run(folder, *arguments):
    """What the example's command prints, in a process of its own."""
    command = [sys.executable, "main.py", *map(str, arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=200, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout
