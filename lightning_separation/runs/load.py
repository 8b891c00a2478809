"""From files to runs."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

from ..records import NewerSchemaError, NotARecordError, Record, load_record, load_run_info
from ..records.storage import RUN_FILE
from .run import Run

_DEEPEST = 4  # folders below a log directory: logs/name/version/separation


def find_runs(path: str | Path) -> list[Path]:
    """The folders of records at or below a path, sorted; one that links lead to several times is named once.

    Args:
        path: A folder of records, a version folder, a log directory, or a file of records.

    Returns:
        Folders with a ``run.json``, for :func:`load_run`.

    Raises:
        FileNotFoundError: If there is no such path, or no ``run.json`` below it.
        NotARecordError: If those below it are broken, or another program's.
        OSError: If those below it cannot be read.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as logs:
        ...     for seed in range(2):
        ...         _ = Run([]).save(f"{logs}/seed_{seed}/separation")
        ...     [folder.parent.name for folder in find_runs(logs)]
        ['seed_0', 'seed_1']
    """
    path = Path(path)
    if not os.path.exists(path):  # also text that can be no path, where Path.exists raises
        raise FileNotFoundError(f"there is no file or folder {path}")
    path = path.parent if path.is_file() else path
    if not _why_not(path):
        return [path]
    found = [file.parent for depth in range(_DEEPEST + 1) for file in path.glob("*/" * depth + RUN_FILE)]
    reasons = {folder: _why_not(folder) for folder in sorted(found, reverse=True)}
    ours = {folder.resolve(): folder for folder, reason in reasons.items() if reason is None}
    if not ours:
        raise next(
            (reason for folder in found if (reason := reasons[folder])),
            FileNotFoundError(f"no {RUN_FILE} in {path} or a folder in it: not the log directory of an analysed run"),
        )
    return sorted(ours.values())


def load_run(path: str | Path) -> Run:
    """Load the records that a monitor left. Needs neither torch nor Lightning.

    A record that is broken or cannot be read is left out, with a warning that names its file and says why; the others
    are loaded. Checksums tell: what is loaded is what was saved. Arrays are numbers only; nothing is unpickled.

    Args:
        path: The folder of the records (``.../version_0/separation``) or a log directory above it.

    Returns:
        The run, its records by step; those of the training data are ``Run.train``.

    Raises:
        FileNotFoundError: If there are no records; the message says where they were looked for.
        OSError: If ``run.json`` cannot be read.
        NotARecordError: If ``run.json`` is broken; a ``ValueError``.
        NewerSchemaError: If a newer version of the package wrote one of the files; a ``ValueError``.
        ValueError: If there are the records of several runs or monitors (they are listed).

    Example:
        >>> import tempfile
        >>> import numpy as np
        >>> records = [Record(epoch, 10, "fit", "val", ["fc"], [], np.zeros(0, int), {}) for epoch in range(3)]
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     run = load_run(Run(records).save(folder))
        >>> run.epochs
        [0, 1, 2]
    """
    folders = find_runs(path)
    if len(folders) > 1:
        names = "".join(f"\n  {folder}" for folder in folders)
        raise ValueError(f"{path} holds the records of several monitors or runs; load one of:{names}")
    folder = folders[0]
    records: list[Record] = []
    for file in sorted(folder.glob("*.npz")):
        try:
            records.append(load_record(file))
        except NotARecordError as error:
            warnings.warn(f"{error}; it is left out", stacklevel=2)
    records.sort(key=lambda record: (record.step, record.epoch))
    info, name = load_run_info(folder), _name(folder)
    train = [record for record in records if record.split == "train"]
    return Run(
        [record for record in records if record.split != "train"],
        info,
        name,
        Run(train, info, f"{name} (train)") if train else None,
    )


def _why_not(folder: Path) -> OSError | NotARecordError | None:
    """Why a folder has no run.json of a monitor: other programs write files of that name, too. None: it has one."""
    try:
        load_run_info(folder)
    except (OSError, NotARecordError) as error:
        return error
    except NewerSchemaError:  # said when it is loaded
        return None
    return None


def _name(folder: Path) -> str:
    """What a run is called: the version's folder, with the monitor's if that is not the usual one."""
    folder = folder.resolve()
    return folder.parent.name if folder.name == "separation" else f"{folder.parent.name}/{folder.name}"
