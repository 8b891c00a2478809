"""The command as it is installed: with a real fit, in processes of its own."""

import csv
import io
import sys
import warnings
from pathlib import Path

import pytest
import torch
from pytorch_lightning.loggers import CSVLogger

import lightning_separation
from lightning_separation import Ablation, HenzePenrose, SeparationMonitor, load_run
from tests.cli.made import moments, process, saved, strict
from tests.helpers import Classifier, blobs, loader, trainer

IMPORTED = """
import sys
from lightning_separation.cli.main import main
try:
    main({arguments})
finally:
    print(*[name for name in {names} if name in sys.modules], file=sys.stderr)
"""
NAMES = ["torch", "pytorch_lightning", "numpy", "matplotlib", "jinja2"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Log directories of two fits."""
    root = tmp_path_factory.mktemp("fits")
    for name, rate in (("slow", 1e-4), ("fast", 5e-2)):
        torch.manual_seed(0)
        module = Classifier()
        module.configure_optimizers = lambda module=module, rate=rate: torch.optim.Adam(module.parameters(), rate)
        monitor = SeparationMonitor([HenzePenrose(), Ablation()], emit=["scalars"])
        t = trainer(root, monitor, logger=CSVLogger(root, name), max_epochs=3, enable_checkpointing=False)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            t.validate(module, loader(blobs(seed=1)), verbose=False)
            t.fit(module, loader(blobs()), loader(blobs(seed=1)))
    return root / "slow", root / "fast"


def imported(*arguments):
    """What a command imports of what is slow, and its standard output."""
    ended = process("-c", IMPORTED.format(arguments=[str(argument) for argument in arguments], names=NAMES))
    return ended.stderr.splitlines()[-1].split(), ended


def test_a_fit_is_shown_as_it_was_recorded(runs):
    ended = process("-m", "lightning_separation", "show", runs[1], "--format", "json")
    assert (ended.returncode, ended.stderr) == (0, "")
    found, run = strict(ended.stdout), load_run(runs[1])
    assert found["run"]["settings"]["module"] == "Classifier"
    assert found["run"]["moments"] == ["before", 0, 1, 2]
    shown = {(row["moment"], row["layer"]): row["separation"] for row in found["separation"]}
    for moment, record in run.moments.items():
        for layer, values in record.findings["henze_penrose"].items():
            assert shown[moment, layer] == pytest.approx(values["separation"].item())
    units = found["most_needed"]["units"]
    ablation = run.moments[2].findings["ablation"]
    assert units[0]["loss"] == max(ablation[layer]["max_loss"] for layer in ablation if layer != run.layers[-1])
    assert ablation[units[0]["layers"][0]]["loss"][units[0]["unit"]] == units[0]["loss"]


def test_two_fits_are_compared_without_torch(runs):
    names, ended = imported("compare", *runs)
    assert ended.returncode == 0
    assert names == ["numpy"]
    assert ended.stdout.startswith("fast compared with slow\n\nfast minus slow: ")
    names, ended = imported("compare", *runs, "--format", "csv", "--test", "fisher")
    assert "torch" in names
    assert {row["run"] for row in csv.DictReader(io.StringIO(ended.stdout))} == {"fast"}


def test_figures_and_page_need_no_torch(runs, tmp_path):
    names, ended = imported("show", runs[1], "--output", tmp_path, "--format", "json")
    assert names == ["numpy", "matplotlib", "jinja2"]
    assert strict(ended.stdout)["run"]["name"] == "version_0"
    assert (tmp_path / "index.html").stat().st_size > 50_000


def test_help_comes_before_anything_slow():
    for arguments in (["--help"], ["show", "--help"], ["compare", "-h"], ["--version"]):
        names, ended = imported(*arguments)
        assert (ended.returncode, names) == (0, [])
        if arguments != ["--version"]:
            assert "Examples:\n" in ended.stdout
    assert ended.stdout == f"lightning-separation, version {lightning_separation.__version__}\n"


def test_script_is_installed():
    script = Path(sys.executable).with_name("lightning-separation")
    assert process(script, "--version").stdout.endswith(f"{lightning_separation.__version__}\n")


def test_what_is_piped_is_neither_wrapped_nor_coloured_nor_fails_for_lack_of_letters(tmp_path):
    layers = ["input", "a.very.long.name.of.a.layer." * 8]
    run = saved(moments(layers=layers, classes=["ä" * 60, "[red]b", "c", "d"]), tmp_path / "run")
    ended = process("-m", "lightning_separation", "show", run, COLUMNS="40")
    assert ended.returncode == 0
    assert "\x1b" not in ended.stdout
    table = ended.stdout.split("\nWhat each layer allows\n")[1].splitlines()
    assert table[2].startswith("a.very.long.n")
    assert table[2].rstrip().endswith("10.0% to 20.0%")
    assert "[red]b" in ended.stdout
    ended = process("-m", "lightning_separation", "show", run, PYTHONIOENCODING="ascii")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "?" in ended.stdout
