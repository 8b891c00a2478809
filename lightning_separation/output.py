"""What becomes of records: shown in the Trainer's loggers and saved in its folder."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pytorch_lightning import LightningModule, Trainer

from .bars import room_for_a_line
from .capture.recorder import Report
from .checks import is_remote
from .loggers import Display, Presenter, emit, gap, lay_out, loggable
from .processes import Processes
from .records import Record, forget_fit, save_record, save_run_info
from .settings import package_versions
from .speech import is_heard, say


class Output:
    """Shows, logs and saves the records of a run, one validation after the other.

    Args:
        name: Of the folder, and the first part of the tags.
        splits: Whose records come.
        kinds: What goes to the loggers.
        save: Whether to leave records.
        report: Told of what a logger or the disk does not take.

    Attributes:
        presenters: By split what turns its records into displays.
    """

    def __init__(self, name: str, splits: Sequence[str], kinds: Collection[str], save: bool, report: Report) -> None:
        self._name, self._splits, self._kinds = name, splits, kinds
        self._save, self._report = save, report
        self._folder: Path | None = None  # where records go; None where there is nothing to leave, or no log directory
        self._apart = False  # whether that is somewhere else than in the Trainer's log directory
        self._fresh = False  # whether the fit began with untrained steps, not from a checkpoint
        self._described: dict[Path, list[int]] = {}  # the training sample in the run.json of each folder
        self._positions: dict[str, list[int]] = {}  # by split where the samples are in the data
        self._laid_out: set[str] = set()  # tags that a dashboard may show
        self._cleared: set[Path] = set()  # folders without what an earlier fit has left there
        self._filed: set[str] = set()  # kinds that no logger takes
        self._told: set[Path] = set()  # folders of which it was said where they are
        self.forget()

    @property
    def folder(self) -> Path | None:
        """Where records are left; None before the first validation of a fit, or where none are."""
        return self._folder

    def forget(self) -> None:
        """Begin anew with the curves."""
        self.presenters = {split: Presenter(self._tags(split)) for split in self._splits}

    def begin(self, known: int, *, fresh: bool) -> None:
        """A fit begins, with an untrained network or not; curves go on behind the epochs below a known one."""
        self._fresh, self._folder = fresh, None
        for known_of_a_fit in (self._described, self._laid_out, self._cleared, self._filed, self._told):
            known_of_a_fit.clear()
        for presenter in self.presenters.values():
            presenter.begin(known, fresh=fresh)

    def open(self, trainer: Trainer, dirpath: str | Path | None) -> None:
        """Find the folder for the records to come, in the run's or another; all processes do this."""
        self._folder = None
        if trainer.fast_dev_run or not self._save:  # type: ignore[attr-defined]
            return
        log_dir = trainer.log_dir
        place = dirpath or _run_folder(trainer, log_dir)
        if place is None:
            told = f"not saved: they are files of this machine, but {trainer.default_root_dir} is not; give dirpath="
            self._report("records", told, harmless=True)
        else:
            self._folder = Path(place) / self._name
            self._apart = log_dir is None or is_remote(log_dir) or Path(place) != Path(log_dir)

    def show(
        self, trainer: Trainer, pl_module: LightningModule, records: Sequence[Record], processes: Processes
    ) -> None:
        """Log the records of one validation; all of the processes do this."""
        shown: list[Display] = []

        def present() -> dict[str, float]:
            shown.extend(self._displays(records))
            return {tag: value for one in shown for tag, value in one.scalars.items() if math.isfinite(value)}

        scalars = processes.first(present)
        # Also where no logger gets them: EarlyStopping and ModelCheckpoint can monitor them, in every process.
        logged = (
            loggable(trainer.loggers, scalars, self._report) if "scalars" in self._kinds and trainer.loggers else ()
        )
        for logs in (True, False):
            some = {tag: value for tag, value in scalars.items() if (tag in logged) == logs}
            pl_module.log_dict(some, logger=logs, batch_size=1, reduce_fx="max", sync_dist=True)
        if not trainer.is_global_zero:
            return
        self._forget_earlier(trainer, records)
        self._emit(trainer, [(records[0].step, display) for display in shown])
        if {"scalars", "dashboard"} <= set(self._kinds) and not self._laid_out.issuperset(scalars):
            self._laid_out.update(scalars)
            for split in self._splits:
                lay_out(trainer.loggers, list(scalars), self._tags(split), self._report)

    def tell(self, trainer: Trainer, records: Sequence[Record]) -> None:
        """Say where the records are, if that is not plain, and in a line what those of one validation have to tell."""
        if trainer.is_global_zero:
            _say(trainer, self._where(trainer.loggers))
            _say(trainer, self.presenters["val"].summary(*records))

    def show_rest(self, trainer: Trainer) -> None:
        """Draw what was not drawn of the last record."""
        for presenter in self.presenters.values() if trainer.is_global_zero else ():
            self._emit(trainer, presenter.rest())

    def save(self, records: Sequence[Record], positions: Mapping[str, list[int]], settings: Mapping[str, Any]) -> None:
        """Leave the records of one validation in the folder, and once there what they are of.

        Args:
            records: One of each split; those without findings are not saved.
            positions: By split where the samples are in the data.
            settings: What to tell of the monitor and the module.
        """
        self._positions |= positions
        folder, records = self._folder, [record for record in records if record.findings]
        if folder is None or not records:
            return
        try:
            training_sample = self._positions.get("train", [])
            if self._described.get(folder) != training_sample:
                save_run_info(folder, self._run_info(records[0], settings))
                self._described[folder] = training_sample
            for record in records:
                save_record(folder, record)
        except OSError as error:
            self._report("records", f"not saved in {folder}: {error}")

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint needs to go on with the curves, by split."""
        return {split: presenter.state_dict() for split, presenter in self.presenters.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take them over."""
        for split, curves in state.items():
            if split in self.presenters:
                self.presenters[split].load_state_dict(curves)

    def _tags(self, split: str) -> str:
        """First part of the tags of a split."""
        return self._name if split == "val" else f"{self._name}_{split}"

    def _displays(self, records: Sequence[Record]) -> list[Display]:
        shown = []
        for record in records:
            split = "train" if record.split == "train" else "val"
            shown += self.presenters[split].show(record) if record.findings else []
        if len(records) > 1:
            validation, train = records
            shown.append(gap.display(validation, train, self._name))
        return shown

    def _emit(self, trainer: Trainer, shown: Iterable[tuple[int, Display]]) -> None:
        for step, display in shown:
            self._filed |= emit(display, trainer.loggers, step, self._kinds, self._folder, self._report)

    def _forget_earlier(self, trainer: Trainer, records: Sequence[Record]) -> None:
        """Remove, once in a fit, what an earlier one has left in the folder of these epochs and later ones."""
        folder, record = self._folder, records[0]
        if folder is None or folder in self._cleared or record.stage != "fit" or not any(r.findings for r in records):
            return
        self._cleared.add(folder)
        try:
            count = forget_fit(folder, 0 if self._fresh else record.epoch)
        except OSError as error:
            self._report("records", f"those of an earlier fit stay in {folder}: {error}")
        else:
            if count and self._fresh:
                replaced = "1 record of an earlier fit is" if count == 1 else f"{count} records of an earlier fit are"
                _say(trainer, f"SeparationMonitor {self._name!r}: {replaced} replaced in {folder}")

    def _where(self, loggers: Sequence[Any]) -> str:
        """Once in a fit, where records are that one would not find, or what no logger takes; else nothing."""
        folder, filed = self._folder, self._filed if loggers else ()
        if folder is None or folder not in self._described or folder in self._told or not (self._apart or filed):
            return ""
        self._told.add(folder)
        names = " and ".join(dict.fromkeys(type(logger).__name__ for logger in loggers))
        kinds = ", ".join(kind for kind in ("figures", "tables", "histograms") if kind in filed)
        left = f"{names} {'takes' if len(loggers) == 1 else 'take'} no {kinds}: they are"
        if self._apart:
            what = f"{left} with the records" if filed else "the records are"
            told = f"{what} in {folder} (load_run(monitor.folder) reads them)"
        else:
            told = f"{left} in {folder}"
        return f"SeparationMonitor {self._name!r}: {told}"

    def _run_info(self, record: Record, settings: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "layers": record.layers,
            "class_names": record.class_names,
            "counts": record.counts.tolist(),
            "sample": self._positions.get(record.split, []),
            "training_sample": self._positions.get("train", []),
            "settings": dict(settings),
            "versions": package_versions(),
        }


def _say(trainer: Trainer, line: str) -> None:
    if line and is_heard():
        with room_for_a_line(trainer):
            say(line)


def _run_folder(trainer: Trainer, log_dir: str | None) -> Path | None:
    """The log directory of the first logger; where it has none of this run alone, the place of its checkpoints.

    Instead of one that is not on this machine, a place of the run's below the Trainer's folder; or None, if that is not
    either.
    """
    logger = trainer.logger
    if logger is None or (logger.log_dir and not is_remote(log_dir or "")):
        place = log_dir or trainer.default_root_dir
        return None if is_remote(place) else Path(place)
    # Trainer.log_dir is then one folder for all runs, as of W&B, or none, as of MLflow with a database.
    local = [path for path in (logger.save_dir, trainer.default_root_dir) if path and not is_remote(path)]
    version = f"version_{logger.version}" if isinstance(logger.version, int) else logger.version
    parts = [str(part) for part in (*local[:1], logger.name, version) if part is not None]
    return trainer.strategy.broadcast(Path(*parts) if local else None)
