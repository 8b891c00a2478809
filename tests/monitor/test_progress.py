"""Bars of long analyses among those of the Trainer, on a terminal that is read as a person sees it."""

import logging
import re
import time
from contextlib import redirect_stdout
from io import StringIO

import lightning.pytorch as lightning
import pytest
import pytorch_lightning
import rich
from pytorch_lightning.callbacks import ProgressBar, RichProgressBar, TQDMProgressBar
from pytorch_lightning.callbacks.progress.tqdm_progress import Tqdm
from torch import nn

from lightning_separation import (
    Ablation,
    DirectionAblation,
    FeatureInformation,
    HenzePenrose,
    LayerInformation,
    Modularity,
    NextLayerEffect,
    PermutationImportance,
    SeparationMonitor,
    analyze,
    load_run,
)
from lightning_separation.progress import Progress
from lightning_separation.records import Findings
from tests.helpers import Classifier, blobs, loader, mlp, trainer

_CODE = re.compile(r"\x1b\[([?0-9;]*)([A-Za-z])|(\r)|(\n)|([^\x1b\r\n]+)")


def screen(written):
    """The lines of a terminal that was given a text."""
    lines, row, column = [""], 0, 0
    for argument, command, back, down, text in _CODE.findall(written):
        if text:
            lines[row] = lines[row].ljust(column)[:column] + text + lines[row][column + len(text) :]
            column += len(text)
        elif back or down:
            row, column = row + bool(down), 0
        elif command == "A":
            row -= int(argument or 1)
        elif command == "K":
            assert argument == "2"
            lines[row] = ""
        else:
            assert command in "mlh"  # colours, and whether the cursor is seen
        lines += [""] * (row + 1 - len(lines))
    return [line.strip() for line in lines if line.strip()]


class Slow:
    """A user's analysis that waits, before each of its parts is over, until that is on the screen."""

    name, needs_classes = "slow", False

    def __init__(self, terminal, fails=False, waits=True):
        self.terminal, self.fails, self.waits = terminal, fails, waits
        self.screens = []

    def last_line(self):
        return "".join(screen(self.terminal.getvalue())[-1:])

    def compute(self, snapshot):
        for part in "abc":
            snapshot.progress.advance(1, 3, f"[{part}]")
            patience = time.monotonic() + 2
            while self.waits and f"slow, [{part}]" not in self.last_line() and time.monotonic() < patience:
                time.sleep(0.01)
            self.screens.append(screen(self.terminal.getvalue()))
        if self.fails:
            raise RuntimeError("in the middle")
        return Findings({"parts": ()}, {"input": {"parts": 3.0}})


class OwnTqdm(TQDMProgressBar):
    def init_validation_tqdm(self):
        bar = super().init_validation_tqdm()
        bar.bar_format = "{desc} of mine {n_fmt}/{total_fmt}"
        return bar


class OwnRich(RichProgressBar):
    pass


class NoValidation(TQDMProgressBar):
    """As many users do."""

    def init_validation_tqdm(self):
        return Tqdm(disable=True)


class Silent(TQDMProgressBar):
    """Hooks without super, as others do: there are no bars of validations and tests."""

    def on_sanity_check_start(self, *_): ...

    on_sanity_check_end = on_validation_start = on_validation_batch_start = on_sanity_check_start
    on_validation_batch_end = on_validation_end = on_test_start = on_test_batch_start = on_sanity_check_start
    on_test_batch_end = on_test_end = on_sanity_check_start


class Broken(Tqdm):
    def set_description(self, desc=None, refresh=True):
        if "separation" in desc:
            raise AssertionError("not in mine")
        super().set_description(desc, refresh)


class BreaksTqdm(TQDMProgressBar):
    def init_validation_tqdm(self):
        return Broken(leave=False)

    init_test_tqdm = init_validation_tqdm


class BreaksRich(RichProgressBar):
    def refresh(self, **settings):
        if any("separation" in task.description and task.visible for task in self.progress.tasks):
            raise AssertionError("not in mine")
        super().refresh(**settings)


class OwnBar(ProgressBar):
    """Lightning's protocol, without a display of its own."""

    is_enabled, is_disabled = True, False

    def enable(self): ...

    def disable(self): ...


@pytest.fixture
def terminal(monkeypatch):
    """Takes what goes to stdout, which is where both kinds of bars go."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr("lightning_separation.progress._DELAY", 0)
    yield StringIO()
    rich.reconfigure()


def of_rich(bar, stream):
    return bar(console_kwargs={"file": stream, "force_terminal": True, "width": 250})


def fit(tmp_path, terminal, bar, *analyses, go="fit", **settings):
    monitor = SeparationMonitor(analyses, **settings)
    t = trainer(tmp_path, bar, monitor, enable_progress_bar=True, logger=False, max_epochs=1)
    data = loader(blobs())
    with redirect_stdout(terminal):
        getattr(t, go)(Classifier(), *([data, data] if go == "fit" else [data]))


class LightningClassifier(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        self.net = mlp()

    training_step, validation_step = Classifier.training_step, Classifier.validation_step
    configure_optimizers, loss = Classifier.configure_optimizers, nn.CrossEntropyLoss()


BARS = {
    "tqdm": lambda stream: TQDMProgressBar(),
    "tqdm-of-the-user": lambda stream: OwnTqdm(process_position=1),
    "tqdm-lightning": lambda stream: lightning.callbacks.TQDMProgressBar(),
    "rich": lambda stream: of_rich(RichProgressBar, stream),
    "rich-of-the-user": lambda stream: of_rich(OwnRich, stream),
    "rich-lightning": lambda stream: of_rich(lightning.callbacks.RichProgressBar, stream),
}


@pytest.mark.parametrize("name", BARS)
def test_a_long_analysis_has_a_bar_below_the_others_that_disappears(tmp_path, terminal, name):
    slow, bar = Slow(terminal), BARS[name](terminal)
    package = lightning if "lightning" in name else pytorch_lightning
    t = package.Trainer(
        default_root_dir=tmp_path,
        callbacks=[SeparationMonitor([slow]), bar],
        max_epochs=2,
        accelerator="cpu",
        logger=False,
        enable_model_summary=False,
        enable_checkpointing=False,
    )
    with redirect_stdout(terminal):
        t.fit((LightningClassifier if package is lightning else Classifier)(), loader(blobs()), loader(blobs()))
    for number, (part, shown) in enumerate(zip("abcabc", slow.screens, strict=True)):
        epoch, validation, own = shown[-3:]
        assert f"Epoch {number // 3}" in epoch
        assert "4/4" in epoch
        assert "Validation" in validation
        assert "4/4" in validation
        assert own.startswith(f"separation: slow, [{part}]")
        assert " of mine " not in own or name == "tqdm-of-the-user"
    left = screen(terminal.getvalue())
    assert not [line for line in left if "separation" in line]
    assert "Epoch 1" in left[-1]
    assert not [line for line in left if "Validation" in line]


@pytest.mark.parametrize("name", ["tqdm", "rich"])
@pytest.mark.parametrize("go", ["validate", "test"])
def test_beside_the_bar_of_a_validation_or_test(tmp_path, terminal, name, go):
    slow = Slow(terminal)
    fit(tmp_path, terminal, BARS[name](terminal), slow, go=go)
    first, own = slow.screens[-1][-2:]
    assert ("Validation" if go == "validate" else "Testing") in first
    assert own.startswith("separation: slow, [c]")
    assert not [line for line in screen(terminal.getvalue()) if "separation" in line]


@pytest.mark.parametrize("name", ["tqdm", "rich"])
def test_nothing_remains_of_an_analysis_that_fails(tmp_path, terminal, name):
    slow = Slow(terminal, fails=True)
    with pytest.warns(UserWarning, match="in the middle"):
        fit(tmp_path, terminal, BARS[name](terminal), slow)
    assert "separation: slow, [c]" in slow.screens[-1][-1]
    assert not [line for line in screen(terminal.getvalue()) if "separation" in line]


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda stream: NoValidation(), id="validation-bar-off"),
        pytest.param(lambda stream: TQDMProgressBar(refresh_rate=0), id="tqdm-off"),
        pytest.param(lambda stream: RichProgressBar(refresh_rate=0), id="rich-off"),
        pytest.param(lambda stream: OwnBar(), id="another-kind"),
    ],
)
def test_no_bar_where_the_trainer_shows_none(tmp_path, terminal, make):
    fit(tmp_path, terminal, make(terminal), Slow(terminal, waits=False))
    assert "separation" not in terminal.getvalue()


@pytest.mark.parametrize("go", ["fit", "validate", "test"])
@pytest.mark.parametrize("make", [Silent, BreaksTqdm, BreaksRich])
def test_trouble_with_a_bar_costs_a_bar(tmp_path, terminal, caplog, make, go):
    caplog.set_level(logging.INFO, logger="lightning_separation")
    fit(tmp_path, terminal, make(), Slow(terminal, waits=False), HenzePenrose(), go=go, on_error="raise")
    (record,) = load_run(tmp_path).records
    assert list(record.findings) == ["slow", "henze_penrose"]
    assert not record.notes
    assert "SeparationMonitor 'separation', " in caplog.text  # and the line is said


def test_no_bar_without_a_progress_bar(tmp_path, terminal, capfd):
    t = trainer(tmp_path, SeparationMonitor([Slow(terminal, waits=False), Ablation()]), logger=False)
    t.fit(Classifier(), loader(blobs()), loader(blobs()))
    analyze(mlp(), loader(blobs()), [Slow(terminal, waits=False), Ablation()])
    assert "separation:" not in "".join(capfd.readouterr())


def test_short_work_has_no_bar(tmp_path, terminal, monkeypatch):
    monkeypatch.setattr("lightning_separation.progress._DELAY", 30.0)
    fit(tmp_path, terminal, TQDMProgressBar(), Slow(terminal, waits=False), Ablation())
    assert "Validation" in terminal.getvalue()
    assert "separation" not in terminal.getvalue()


def test_every_long_analysis_of_the_package_tells_its_layer(tmp_path, terminal):
    analyses = [
        HenzePenrose(),
        Ablation(),
        NextLayerEffect(),
        LayerInformation(),
        Modularity(),
    ]
    analyses += [DirectionAblation(count=2), FeatureInformation(), PermutationImportance(repeats=2)]
    fit(tmp_path, terminal, TQDMProgressBar(), *analyses, splits=("val", "train"), save=False)
    written = terminal.getvalue()
    for analysis in analyses:
        called = f"separation: {analysis.name.replace('_', ' ')}"
        part = "" if isinstance(analysis, PermutationImportance) else ", net."
        assert f"\r{called}{part}" in written
        assert f"\r{called} of the training data{part}" in written


@pytest.mark.parametrize("name", ["tqdm", "rich"])
def test_a_line_that_is_said_stands_on_a_line_of_its_own(tmp_path, terminal, name):
    log, handler = logging.getLogger("lightning_separation"), logging.StreamHandler(terminal)
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        fit(tmp_path, terminal, BARS[name](terminal), HenzePenrose())
    finally:
        log.removeHandler(handler)
        log.setLevel(logging.NOTSET)
    shown = screen(terminal.getvalue())
    (place,) = [place for place, line in enumerate(shown) if "'separation', epoch 0" in line]
    assert re.fullmatch(r"SeparationMonitor 'separation', epoch 0: separation .* in net\.3\)", shown[place])
    assert shown[place + 1].startswith("Epoch 0")


def test_steps_are_counted_within_one_piece_of_work(monkeypatch):
    monkeypatch.setattr("lightning_separation.progress._DELAY", 0)
    shown = []

    class Noted:
        def __init__(self, text, total):
            shown.append("begun")

        def show(self, *what):
            shown.append(what)

        def close(self):
            shown.append("closed")

    progress = Progress("mine", Noted)
    progress.advance(1, 2)  # no work is under way
    for what in ("one", "other"):
        with progress.of(what):
            progress.advance(2, 5)
            progress.advance(3, 5, "fc")
    assert shown == [
        step
        for what in ("one", "other")
        for step in ("begun", (f"mine: {what}", 2, 5), (f"mine: {what}, fc", 5, 5), "closed")
    ]
