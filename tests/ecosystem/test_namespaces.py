"""The monitor is at home in ``pytorch_lightning`` and in ``lightning.pytorch``, installed together or not."""

import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from lightning_separation import (
    Ablation,
    Confusion,
    HenzePenrose,
    LayerInformation,
    PermutationImportance,
    SeparationMonitor,
    Significance,
    analyze,
    load_run,
)
from tests.compatibility.harness import digest
from tests.ecosystem.fits import NAMES, assert_same_records, classifier, seeded_loaders, trainer
from tests.helpers import hooks

ROOT = Path(__file__).parents[2]
PL, L = (import_module(name) for name in NAMES)


def monitor(**settings):
    return SeparationMonitor(**{"on_error": "raise", "layers": ["net.*"], **settings})


def fit(lightning, root, watching, *, module=None, data=None, callbacks=(), ckpt_path=None, **settings):
    """Fit a module of a namespace; what is there afterwards."""
    module = classifier(lightning) if module is None else module
    lightning.seed_everything(1, verbose=False)
    t = trainer(lightning, root, watching, *callbacks, **settings)
    t.fit(module, *((None, None, data) if data else seeded_loaders()), ckpt_path=ckpt_path)
    assert hooks(module) == 0
    return SimpleNamespace(run=load_run(root), trainer=t, module=module, weights=digest(list(module.parameters())))


def many_analyses(lightning, root):
    found = [HenzePenrose(), Significance(), Ablation(max_samples=20), Confusion(), LayerInformation(bins=4)]
    return fit(lightning, root, monitor(analyses=[*found, PermutationImportance(repeats=3, max_samples=20)]))


def training_data(lightning, root):
    return fit(lightning, root, monitor(analyses=[HenzePenrose()], splits=("val", "train")))


def datamodule(lightning, root):
    class Data(lightning.LightningDataModule):
        def train_dataloader(self):
            return seeded_loaders()[0]

        def val_dataloader(self):
            return seeded_loaders()[1]

    return fit(lightning, root, monitor(analyses=[HenzePenrose()], splits=("val", "train")), data=Data())


def late_layers(lightning, root):
    """They are known by name before ``setup`` builds them."""
    watching = monitor(analyses=[HenzePenrose()], layers=["net.0", "net.3"])
    return fit(lightning, root, watching, module=classifier(lightning, late=True))


def compiled(lightning, root):
    module = torch.compile(classifier(lightning), backend="eager")
    return fit(lightning, root, monitor(analyses=[HenzePenrose()], splits=("val", "train")), module=module)


def monitored(lightning, root):
    """Lightning's own callbacks see what the monitor logs."""
    callbacks = import_module(f"{lightning.__name__}.callbacks")
    keep = callbacks.ModelCheckpoint(root, monitor="separation_last", mode="max", save_top_k=-1)
    stop = callbacks.EarlyStopping("separation_last", mode="max", min_delta=9.0, patience=2)
    done = fit(lightning, root, monitor(analyses=[HenzePenrose()]), callbacks=[stop, keep], max_epochs=9)
    layers = [record.findings["henze_penrose"]["net.3"]["separation"] for record in done.run.records]
    assert len(layers) == 3  # the first and two without a gain
    assert stop.best_score.item() == pytest.approx(layers[0], rel=1e-5)
    assert len(keep.best_k_models) == 3
    return done


CASES = (
    pytest.param(many_analyses, marks=pytest.mark.slow),
    training_data,
    datamodule,
    late_layers,
    pytest.param(compiled, marks=pytest.mark.slow),
    monitored,
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_both_trainers_make_the_same_records(tmp_path, case):
    first, second = (case(lightning, tmp_path / lightning.__name__) for lightning in (PL, L))
    assert_same_records(first.run, second.run)
    assert first.weights == second.weights


@pytest.mark.parametrize("before, after", [(PL, L), (L, PL)], ids=["pl-to-l", "l-to-pl"])
def test_a_fit_goes_on_from_a_checkpoint_of_the_other(tmp_path, before, after):
    def watching():
        return monitor(analyses=[HenzePenrose(), LayerInformation(bins=4)], splits=("val", "train"))

    begun = fit(before, tmp_path / "begun", watching(), max_epochs=1)
    begun.trainer.save_checkpoint(tmp_path / "last.ckpt")
    gone_on = fit(after, tmp_path / "more", watching(), ckpt_path=tmp_path / "last.ckpt", max_epochs=2)
    same = fit(before, tmp_path / "same", watching(), ckpt_path=tmp_path / "last.ckpt", max_epochs=2)
    assert [record.epoch for record in gone_on.run.records] == [1]
    assert gone_on.run.info["sample"] == begun.run.info["sample"]
    assert gone_on.run.info["training_sample"] == begun.run.info["training_sample"]
    assert_same_records(same.run, gone_on.run)


@pytest.mark.parametrize("stage", ["validate", "test"])
def test_both_validate_and_test_alike(tmp_path, stage):
    runs = []
    for lightning in (PL, L):
        root = tmp_path / lightning.__name__
        getattr(trainer(lightning, root, monitor()), stage)(classifier(lightning), seeded_loaders()[1], verbose=False)
        runs.append(load_run(root))
    assert runs[0].records[0].stage == stage
    assert_same_records(*runs)


def test_without_a_trainer_a_module_of_either_is_a_module(tmp_path):
    networks = [classifier(lightning).net for lightning in (PL, L)]
    first, second = (analyze(network, seeded_loaders()[1], [HenzePenrose()]) for network in networks)
    for layer, found in first.findings["henze_penrose"].items():
        assert found["divergence"].tolist() == second.findings["henze_penrose"][layer]["divergence"].tolist()


@pytest.mark.parametrize("lightning", [PL, L], ids=NAMES)
def test_a_layer_that_is_not_there_is_refused_by_both(tmp_path, lightning):
    with pytest.raises(ValueError, match="nowhere"):
        fit(lightning, tmp_path, monitor(layers=["nowhere"]))


TWO_PROCESSES = """
import sys
import lightning.pytorch as L
from tests.ecosystem.test_namespaces import fit, monitor
if __name__ == "__main__":
    fit(L, sys.argv[1], monitor(), strategy="ddp", devices=2)
"""


@pytest.mark.slow
def test_two_processes_of_lightning_pytorch_leave_one_run(tmp_path):
    (tmp_path / "two.py").write_text(TWO_PROCESSES)
    run_python(tmp_path / "two.py", tmp_path / "run")
    run = load_run(tmp_path / "run")
    assert [(record.epoch, record.counts.tolist()) for record in run.records] == [(0, [20] * 3), (1, [20] * 3)]
    assert len(set(run.info["sample"])) == 60


FITS = """
import os, sys
import torch, torchmetrics  # they take most of the time, and know nothing of Lightning: each case goes on from here

def fit(install, before, first, name):
    exec(before)
    __import__(first)
    from lightning_separation import SeparationMonitor, load_run
    from importlib import import_module
    from tests.ecosystem.fits import classifier, seeded_loaders, trainer
    import lightning_utilities.core.rank_zero as speech

    lightning, root = import_module(name), os.path.join(sys.argv[1], install)
    t = trainer(lightning, root, SeparationMonitor(on_error="raise"), max_epochs=1)
    t.fit(classifier(lightning), *seeded_loaders())
    print(install, speech.log.name, "lightning.pytorch" in sys.modules, len(load_run(root).records), flush=True)

for install in {installs}:
    child = os.fork()
    if not child:
        fit(*install)
        os._exit(0)
    if os.waitpid(child, 0)[1]:
        sys.exit(install)
"""
NOT_INSTALLED = "sys.modules['lightning'] = None"
BROKEN = "sys.path.insert(0, sys.argv[1])"
INSTALLS = {
    "only-pytorch-lightning": (NOT_INSTALLED, "sys", "pytorch_lightning", "pytorch_lightning", False),
    "broken-lightning": (BROKEN, "sys", "pytorch_lightning", "pytorch_lightning", False),
    "both-lightning-first": ("", "lightning.pytorch", "lightning.pytorch", "lightning.pytorch", True),
    "both-lightning-last": ("", "sys", "lightning.pytorch", "pytorch_lightning", True),
}


@pytest.fixture(scope="module")
def printed(tmp_path_factory):
    """What a fit of each install prints."""
    root = tmp_path_factory.mktemp("installs")
    (root / "lightning.py").write_text("raise OSError('libcudart.so.11.0 cannot be opened')")
    scripts = tmp_path_factory.mktemp("scripts")
    installs = [(install, *settings[:3]) for install, settings in INSTALLS.items()]
    (scripts / "fits.py").write_text(FITS.replace("{installs}", repr(installs)))
    lines = run_python(scripts / "fits.py", root).splitlines()
    return {line.split()[0]: line.split()[1:] for line in lines}


@pytest.mark.parametrize("install", INSTALLS)
def test_it_works_however_lightning_is_installed(printed, install):
    """And Lightning goes on to speak by the logger of the package that was imported first, as if there was no other."""
    *_, logger, both = INSTALLS[install]
    assert printed[install] == [f"{logger}.utilities.rank_zero", str(both), "1"]


def run_python(script, *arguments):
    """What a script prints, in a process of its own."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(script), *map(str, arguments)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout
