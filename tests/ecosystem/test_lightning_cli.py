"""Every argument of the monitor and of each analysis can be set by LightningCLI, on its command line and in YAML."""

import ast
import contextlib
import io
import json
import os
import re
import shlex
import subprocess
import sys
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from inspect import signature
from pathlib import Path

import pytest
import torch

import lightning_separation
from lightning_separation import SeparationMonitor, load_run
from tests.ecosystem.fits import ANALYSES, NAMES, assert_same_records
from tests.test_readme import README, RECIPES, commands

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

REFUSED = {
    "--trainer.callbacks.every_n_epochs=0": "every_n_epochs must be an integer of at least 1, not 0",
    "--trainer.callbacks.analyses.alpha=2": "alpha must be a number above 0 and below 1, not 2.0",
}
"""What is not possible, and why."""

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
    ("Modularity", "modules"): {"net.0": [0, 0, 1]},
    ("Modularity", "num_modules"): 3,
    ("Modularity", "weights"): "information",
    ("PermutationImportance", "groups"): {"both": [0, "b"]},
}
OTHERS = [
    ("HenzePenrose", {"multiclass": "global"}),  # only of one tree
    ("DirectionAblation", {"directions": ["random", "search"]}),
    ("DirectionAblation", {"directions": "principal"}),
    ("PermutationImportance", {"argument": "pixels", "groups": "correlated"}),
    ("LayerInformation", {"edges": "epoch"}),
    ("Modularity", {"modules": "random"}),
    ("Ablation", {"screen": 1.0}),
]


def settings_of(name):
    """A value for each argument of an analysis that is not its default, of those that can be set together."""
    parameters = signature(getattr(lightning_separation, name)).parameters
    values = {key: SPECIAL[name, key] if (name, key) in SPECIAL else COMMON.get(key) for key in parameters}
    return {key: value for key, value in values.items() if value is not None}


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
    return the_monitor(cli)


def the_monitor(cli):
    """The one of a command line."""
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


@pytest.mark.parametrize("name", ANALYSES)
def test_every_argument_of_an_analysis(name):
    kind, namespace = getattr(lightning_separation, name), NAMES[ANALYSES.index(name) % 2]
    tried = [settings_of(name), *(given for which, given in OTHERS if which == name)]
    assert set().union(*tried) == set(signature(kind).parameters)
    for settings in tried:
        options = [written(f"analyses.{key}", value) for key, value in settings.items()]
        (found,) = parsed(namespace, f"--trainer.callbacks.analyses+={name}", *options).analyses
        expected = kind(**settings)
        for key in signature(kind).parameters:
            assert_is(getattr(found, key), getattr(expected, key))
        for key in settings:
            default = signature(kind).parameters[key].default
            assert isinstance(getattr(found, key), dict) or getattr(found, key) != default


def test_all_there_are_are_tested():
    assert len(ANALYSES) == 17
    assert {name for name, _ in SPECIAL} <= set(ANALYSES)


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


@pytest.mark.parametrize("namespace", NAMES)
@pytest.mark.parametrize("option, reason", REFUSED.items(), ids=REFUSED)
def test_what_is_refused_is_said_with_the_reason(namespace, option, reason):
    """Among what LightningCLI says of the types that a callback could have been of."""
    with pytest.raises(ValueError, match=re.escape(f"- {reason}")):
        parsed(namespace, "--trainer.callbacks.analyses+=Significance", option)


@pytest.fixture(scope="module")
def example():
    """The example's module."""
    specification = spec_from_file_location("example_of_the_command_line", EXAMPLE / "main.py")
    module = module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.fixture
def command(example, tmp_path, monkeypatch):
    """What LightningCLI makes of the words behind ``main.py``, in a folder where ``examples`` is."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "examples").symlink_to(EXAMPLE.parent)
    return lambda *words: example.LightningCLI(example.Classifier, example.Digits, args=[words[0], *QUIET, *words[1:]])


QUIET = ["--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false"]
NO_EPOCH, ONE_EPOCH = "--trainer.max_epochs=0", "--trainer.max_epochs=1"
SCRIPT = "python examples/cli/main.py "


def lines():
    """The example's commands, as its docstring and the pages tell them."""
    told = ast.get_docstring(ast.parse((EXAMPLE / "main.py").read_text())).splitlines()
    found = [line.strip() for line in told] + [line for page in (README, RECIPES) for line in commands(page)]
    return list(dict.fromkeys(line.removeprefix(SCRIPT) for line in found if line.startswith(SCRIPT)))


@pytest.mark.parametrize("line", lines())
def test_a_command_that_is_told_does_what_it_says(command, capsys, line):
    options = dict(word.split("=", 1) for word in shlex.split(line) if "=" in word)
    if {"--print_config", "--trainer.callbacks.help"} & set(options):
        with pytest.raises(SystemExit) as left:
            command(*shlex.split(line))
        assert left.value.code == 0
        assert "every_n_epochs" in capsys.readouterr().out
        return
    monitor = the_monitor(command(*shlex.split(line), NO_EPOCH))
    kept = {"--trainer.callbacks+": "SeparationMonitor", "--trainer.callbacks.every_n_epochs": monitor.every_n_epochs}
    kept["--trainer.callbacks.analyses+"] = type(monitor.analyses[-1]).__name__
    assert options == {option: str(kept[option]) for option in options}


def test_the_printed_config_has_every_argument_with_its_help_and_runs_and_so_does_the_saved_one(
    command, capsys, tmp_path
):
    with pytest.raises(SystemExit):
        command("fit", "--config", "examples/cli/config.yaml", ONE_EPOCH, "--print_config=comments")
    printed = capsys.readouterr().out
    for name in ("SeparationMonitor", "HenzePenrose", "Significance", "Ablation", "LayerInformation"):
        block = printed.partition(f"class_path: lightning_separation.{name}\n")[2]
        for key in signature(getattr(lightning_separation, name)).parameters:
            assert re.search(rf"# .+\n +{key}:", block), f"{name}: {key}"
    (tmp_path / "printed.yaml").write_text(printed)
    command("fit", "--config", "printed.yaml")
    logs = tmp_path / "lightning_logs"
    command("fit", "--config", str(logs / "version_0" / "config.yaml"))
    first, second = (load_run(logs / name) for name in ("version_0", "version_1"))
    assert first.info["settings"] == second.info["settings"]
    assert first.info["settings"]["analyses"]["significance"].endswith("alpha=0.01, pooling='mean')")
    assert_same_records(first, second)


@pytest.mark.parametrize("namespace", NAMES)
def test_the_example_runs_as_a_script_of_either_name_of_lightning_and_with_short_names(tmp_path, namespace):
    for name, old, new in [
        ("main.py", "from pytorch_lightning", f"from {namespace}"),
        ("config.yaml", "lightning_separation.SeparationMonitor", "SeparationMonitor"),
    ]:
        text = (EXAMPLE / name).read_text()
        assert old in text
        (tmp_path / name).write_text(text.replace(old, new))
    words = ["fit", "--config", "config.yaml", "--trainer.callbacks.every_n_epochs=1", ONE_EPOCH, *QUIET]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, "main.py", *words], cwd=tmp_path, env=environment, check=True, timeout=200)
    run = load_run(tmp_path / "lightning_logs")
    assert (run.info["settings"]["every_n_epochs"], len(run.records)) == (1, 1)
