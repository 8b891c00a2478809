"""From files to runs."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

from ..records import NotARecordError, Record, load_record, load_run_info
from ..records.storage import RUN_FILE
from .run import Run

_DEEPEST = 4  # folders below a log directory: logs/name/version/separation


def find_runs(path: str | Path) -> list[Path]:
    """The folders of records at or below a path, sorted.

    Args:
        path: A folder of records, a version folder, a log directory, or a file of records.

    Raises:
        FileNotFoundError: If there is no such path, or no ``run.json`` below it.
        NotARecordError: If those below it are another program's.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"there is no {path}")
    path = path.parent if path.is_file() else path
    if _is_ours(path / RUN_FILE):
        return [path]
    found = [file for depth in range(_DEEPEST + 1) for file in path.glob("*/" * depth + RUN_FILE)]
    ours = sorted(file.parent for file in found if _is_ours(file))
    if found and not ours:
        raise NotARecordError(f"{found[0]} is not what a monitor writes")
    if not ours:
        raise FileNotFoundError(f"no {RUN_FILE} in {path} or a folder in it: not the log directory of an analysed run")
    return ours


def load_run(path: str | Path) -> Run:
    """Load the records that a monitor left. Needs neither torch nor Lightning.

    Args:
        path: The folder of the records (``.../version_0/separation``) or a log directory above it.

    Returns:
        The run, its records by step; those of the training data are ``Run.train``.

    Raises:
        FileNotFoundError: If there are no records; the message says where they were looked for.
        ValueError: If there are the records of several runs or monitors (they are listed), or a newer version of the
            package wrote them.
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


def _is_ours(file: Path) -> bool:
    """Whether a run.json is a monitor's: other programs write files of that name, too."""
    try:
        info = json.loads(file.read_text())
    except (OSError, ValueError):
        return False
    return isinstance(info, dict) and isinstance(info.get("schema"), int)


def _name(folder: Path) -> str:
    """What a run is called: the version's folder, with the monitor's if that is not the usual one."""
    folder = folder.resolve()
    return folder.parent.name if folder.name == "separation" else f"{folder.parent.name}/{folder.name}"
