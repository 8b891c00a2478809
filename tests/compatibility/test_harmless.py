"""Whatever fails in the monitor costs at most what it was about to show: training goes on, the same to the last bit."""

import ctypes
import gc
import os
import resource
import sys
import threading
import types
import warnings
import weakref
from contextlib import contextmanager
from pathlib import Path

import matplotlib.pyplot
import numpy as np
import pytest
import torch
from pytorch_lightning import Callback
from pytorch_lightning.loggers import CSVLogger, TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lightning_separation import HenzePenrose, SeparationMonitor, Significance, load_run
from lightning_separation.functional import henze_penrose_divergence
from lightning_separation.loggers import henze_penrose as shown_of_separation
from lightning_separation.monitor import MonitorError
from lightning_separation.records import Findings
from tests.compatibility.harness import run_twice
from tests.helpers import Classifier, blobs, hooks, loader, trainer

VAL = blobs()


def make():
    return Classifier(), (loader(blobs(seed=1), shuffle=True), loader(VAL))


class OldWarning(UserWarning):
    pass


def quick(*analyses, **settings):
    return lambda: SeparationMonitor([HenzePenrose(), Significance(), *analyses], **settings)


@contextmanager
def warned():
    """What the monitor warns of, in a list; an old warning is an error."""
    messages = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warnings.simplefilter("error", OldWarning)
        yield messages
    messages += [str(w.message) for w in caught if str(w.message).startswith("SeparationMonitor")]


def assert_right(record, module):
    """The separations of the last epoch, from the weights that the fit ended with."""
    x, y = VAL.tensors
    with torch.no_grad():
        expected = henze_penrose_divergence(module.net.eval()(x), y).numpy()
    np.testing.assert_array_equal(record.findings["henze_penrose"]["net.3"]["divergence"], expected)
    np.testing.assert_array_equal(record.findings["significance"]["net.3"]["q_value"].shape, (3,))


class Fails:
    """A user's own analysis, of which something goes wrong."""

    name = "mine"
    needs_classes = False

    def __init__(self, fail):
        self.fail = fail

    def compute(self, snapshot):
        self.fail()
        return Findings({}, {})


def raises(error):
    def fail(*args, **kwargs):
        raise error

    return fail


def recurses():
    recurses()


FAILURES = [
    pytest.param(raises(ValueError("odd")), ValueError, r"ValueError\('odd'\)", id="an error"),
    pytest.param(raises(torch.OutOfMemoryError("of the GPU")), torch.OutOfMemoryError, "of the GPU", id="GPU memory"),
    pytest.param(lambda: bytearray(2**62), MemoryError, r"MemoryError\(\)", id="memory"),
    pytest.param(recurses, RecursionError, "maximum recursion", id="recursion"),
    pytest.param(lambda: warnings.warn("old", OldWarning, stacklevel=1), OldWarning, "old", id="warnings are errors"),
]


@pytest.mark.parametrize(("fail", "error", "message"), FAILURES)
def test_an_analysis_that_fails_in_every_epoch_is_said_once(tmp_path, fail, error, message):
    with warned() as messages:
        run, _, module = run_twice(tmp_path, make, quick(Fails(fail)), max_epochs=3)
    assert len(messages) == 1
    for record in run.records:
        assert len(record.notes) == 1
        assert record.notes[0].startswith(f"mine: it failed: {error.__name__}(")
        assert list(record.findings) == ["henze_penrose", "significance"]
    assert_right(run.records[-1], module)


@pytest.mark.parametrize(("fail", "error", "message"), FAILURES)
def test_with_raise_it_ends_the_fit_with_the_cause(tmp_path, fail, error, message):
    module, loaders = make()
    t = trainer(tmp_path, quick(Fails(fail), on_error="raise")())
    with warned(), pytest.raises(MonitorError, match=f"mine: it failed: .*{message}") as caught:
        t.fit(module, *loaders)
    assert type(caught.value.__cause__) is error
    assert hooks(module) == 0


def test_no_warning_of_the_monitors_own_ends_a_fit_that_takes_warnings_for_errors(tmp_path, caplog):
    def strict(t, module, loaders):
        with warnings.catch_warnings():
            warnings.filterwarnings("error", module=r"lightning_separation|matplotlib|numpy|scipy")
            warnings.filterwarnings("error", message="SeparationMonitor")
            t.fit(module, *loaders)

    names = {"class_names": ["猫", "$x^", "c"]}  # a font has no letter for the first
    run, _, _ = run_twice(
        tmp_path, make, lambda: SeparationMonitor([HenzePenrose(), Fails(raises(OSError("odd")))], **names), go=strict
    )
    assert "mine: it failed: OSError('odd')" in caplog.text
    assert run.records[-1].notes == ["mine: it failed: OSError('odd')"]
    assert run.records[-1].class_names == names["class_names"]


class Refuses(TensorBoardLogger):
    """Cannot be reached for one kind of things."""

    def __init__(self, root, method):
        super().__init__(root, name="logs", version=0)
        setattr(self.experiment, method, raises(ConnectionError("no network")))


class IsLost(TensorBoardLogger):
    """Cannot be reached at all, once the fit begins."""

    lost = False

    def __init__(self, root, method):
        super().__init__(root, name="logs", version=0)

    @property
    def experiment(self):
        return raises(ConnectionError("no network"))() if self.lost else super().experiment

    def log_graph(self, *args, **kwargs):  # the last thing before the fit
        self.lost = True

    def log_metrics(self, metrics, step=None):
        pass

    def save(self):
        pass

    def finalize(self, status):
        pass


@pytest.mark.parametrize(
    ("kind_of", "method", "kinds"),
    [
        pytest.param(Refuses, "add_histogram", ["histograms"], id="histograms"),
        pytest.param(Refuses, "add_figure", ["figures"], id="figures"),
        pytest.param(Refuses, "add_text", ["tables"], id="tables"),
        pytest.param(Refuses, "add_custom_scalars", ["dashboard"], id="dashboard"),
        pytest.param(IsLost, "", ["histograms", "tables", "figures", "dashboard"], id="all but scalars"),
    ],
)
def test_what_a_logger_refuses_is_said_once_and_the_other_loggers_get_it(tmp_path, kind_of, method, kinds):
    def loggers(t, module, loaders):
        t.loggers = [kind_of(t.default_root_dir, method), TensorBoardLogger(t.default_root_dir, name="whole")]
        t.fit(module, *loaders)

    with warned() as messages:
        _, t, module = run_twice(tmp_path, make, quick(), go=loggers, max_epochs=3, enable_checkpointing=False)
    run = load_run(t.loggers[0].log_dir)
    told = [f"{kind_of.__name__}: it did not take {kind}: ConnectionError('no network')" for kind in kinds]
    assert messages == [f"SeparationMonitor 'separation': {one}" for one in told]
    assert_right(run.records[-1], module)
    seen = EventAccumulator(t.loggers[1].log_dir, {"images": 0}).Reload().Tags()
    assert "separation_figures/depth" in seen["images"]
    assert "separation_pairs/net.3" in seen["histograms"]
    assert "separation_tables/hardest_pairs/text_summary" in seen["tensors"]


def test_a_figure_that_cannot_be_drawn_costs_only_itself(tmp_path, monkeypatch):
    monkeypatch.setattr(shown_of_separation, "separation_depth", raises(ZeroDivisionError("odd")))
    with warned() as messages:
        _, t, _ = run_twice(tmp_path, make, quick(), max_epochs=3)
    assert messages == ["SeparationMonitor 'separation': figures: not drawn: ZeroDivisionError('odd')"]
    images = EventAccumulator(t.log_dir, {"images": 0}).Reload().Tags()["images"]
    assert "separation_figures/layers_by_pairs" in images
    assert "separation_figures/depth" not in images


def test_a_folder_that_cannot_be_made(tmp_path):
    place = tmp_path / "place"
    place.write_text("a file")
    other = {"callbacks": lambda: [SeparationMonitor([HenzePenrose()], name="other", emit=[])]}  # goes on
    with warned() as messages:
        run, t, _ = run_twice(tmp_path, make, quick(dirpath=place), logger=False, **other)
    assert run.epochs == [0, 1]
    assert [message.split("[")[0] for message in messages] == [
        "SeparationMonitor 'separation': figures: not drawn: NotADirectoryError(20, 'Not a directory')",
        f"SeparationMonitor 'separation': records: not saved in {place / 'separation'}: ",
    ]
    assert place.read_text() == "a file"
    assert t.callback_metrics["separation_last"].isfinite()


def test_a_disk_that_is_full_in_the_middle_of_a_file_leaves_no_part_of_one(tmp_path):
    class FullDisk(Callback):
        """In the first epoch's validation no file can be longer than 2000 bytes."""

        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

        def on_validation_start(self, trainer, pl_module):
            if trainer.current_epoch == 0:
                resource.setrlimit(resource.RLIMIT_FSIZE, (2000, self.hard))

        def on_train_epoch_end(self, trainer, pl_module):
            resource.setrlimit(resource.RLIMIT_FSIZE, (self.soft, self.hard))

    settings = {"logger": False, "enable_checkpointing": False, "max_epochs": 3}
    try:
        with warned() as messages:
            run, _, module = run_twice(tmp_path, make, quick(), callbacks=lambda: [FullDisk()], **settings)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (FullDisk.soft, FullDisk.hard))
    assert [message.split(":")[1].strip() for message in messages] == ["figures", "records"]
    assert all("File too large" in message for message in messages)
    assert run.epochs == [1, 2]  # the next ones are saved
    assert_right(run.records[-1], module)
    folder = tmp_path / "with" / "separation"
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} == {".json", ".npz", ".png"}
    assert not [path for path in files if path.name.startswith(".")]
    for path in folder.rglob("*.png"):
        assert path.read_bytes().endswith(b"IEND\xaeB`\x82")  # whole


def test_a_logger_that_refuses_our_scalars_needs_a_monitor_without_them(tmp_path):
    class Picky(CSVLogger):
        def log_metrics(self, metrics, step=None):
            if any(name.startswith("separation") for name in metrics):
                raise KeyError("unknown column")
            super().log_metrics(metrics, step)

    module, loaders = make()
    with pytest.raises(KeyError, match="unknown column"):  # Lightning gives it the user's scalars and ours together
        trainer(tmp_path, quick()(), logger=Picky(tmp_path)).fit(module, *loaders)
    assert hooks(module) == 0
    t = trainer(tmp_path, quick(emit=["figures"])(), logger=Picky(tmp_path))
    t.fit(module, *loaders)
    assert t.callback_metrics["separation_last"].isfinite()


def functions(pl_module):
    """Every function of the modules, their classes and torch's own, by its identity: a patched one would differ."""
    owners = [torch, torch.Tensor, torch.nn.functional, torch.nn.Module, type(pl_module)]
    owners += [owner for part in pl_module.modules() for owner in (type(part), part)]
    return {id(o): {k: id(v) for k, v in vars(o).items() if isinstance(v, types.FunctionType)} for o in owners}


class Remains(Callback):
    """What there is at the start of some epochs of all that could pile up."""

    def __init__(self, *epochs):
        self.epochs, self.seen, self.blocks, self.rss = epochs, [], [], []

    def on_train_epoch_start(self, trainer, pl_module):
        if trainer.current_epoch not in self.epochs:
            return
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)  # what is free already, but by chance still kept by the C library
        open_files = [os.path.join("/proc/self/fd", name) for name in os.listdir("/proc/self/fd")]
        tasks = [os.path.join("/proc/self/task", name, "children") for name in os.listdir("/proc/self/task")]
        self.seen.append(
            {
                "files": sorted(os.readlink(path) for path in open_files if os.path.lexists(path)),
                "threads": sorted(str(thread.ident) for thread in threading.enumerate()),
                "children": sorted(Path(path).read_text() for path in tasks),
                "figures": matplotlib.pyplot.get_fignums(),
                "hooks": hooks(pl_module),
                "functions": functions(pl_module),
                "tensors": sum(issubclass(type(thing), torch.Tensor) for thing in gc.get_objects()),
            }
        )
        self.blocks.append(sys.getallocatedblocks())
        self.rss.append(int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize())


@pytest.mark.parametrize(
    ("emit", "first", "last"),
    [
        pytest.param(["scalars", "histograms", "tables", "dashboard"], 15, 49, id="all but figures"),
        pytest.param(["figures"], 5, 11, id="figures"),
    ],
)
def test_nothing_stays_behind_from_epoch_to_epoch(tmp_path, emit, first, last):
    remains = Remains(first, last)
    before = functions(module := Classifier())
    settings = {"max_epochs": last + 1, "enable_checkpointing": False, "log_every_n_steps": 10}
    t = trainer(tmp_path, remains, SeparationMonitor(emit=emit, on_error="raise"), **settings)
    t.fit(module, loader(blobs(seed=1)), loader(VAL))
    early, late = remains.seen
    assert late == early
    assert early["hooks"] == 0
    assert early["functions"] == before
    # In an epoch may grow what curves are drawn of (a number for each layer), outlines of new titles (of which 1024 are
    # kept), and what Lightning keeps: some 200 objects, and 10 kB for each of some 20 titles.
    assert remains.blocks[1] - remains.blocks[0] < 300 * (last - first)
    assert remains.rss[1] - remains.rss[0] < 4e6 + ("figures" in emit) * 2e5 * (last - first)
    assert load_run(t.log_dir).epochs == list(range(last + 1))


@pytest.mark.parametrize(
    "splits", [pytest.param(("val",), id="val"), pytest.param(("val", "train"), id="val and train")]
)
def test_nothing_of_the_users_is_kept_alive_after_the_fit(tmp_path, splits):
    class Watches(Callback):
        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
            alive.extend(map(weakref.ref, batch))

        def on_validation_batch_start(self, trainer, pl_module, batch, batch_idx, dataloader_idx=0):
            alive.extend(map(weakref.ref, batch))

    def fit():
        module, loaders = make()
        t = trainer(tmp_path, monitor, Watches())
        t.fit(module, *loaders)
        alive.extend(weakref.ref(thing) for thing in (t, *module.modules(), *module.parameters(), *t.optimizers))

    alive, monitor = [], SeparationMonitor(splits=splits, on_error="raise")
    fit()
    del monitor.log, monitor.log_dict  # Lightning's own, of the module
    gc.collect()
    assert len(alive) > 20
    assert not [thing() for thing in alive if thing() is not None]
    assert load_run(tmp_path).epochs == [0, 1]
