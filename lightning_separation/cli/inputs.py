"""From the paths that a user gives to runs with names that tell them apart."""

from __future__ import annotations

import shlex
import warnings
from collections.abc import Sequence
from dataclasses import replace
from glob import glob
from pathlib import Path

import click

from ..runs import Run, find_runs, load_run

_USUAL = ("lightning_logs", "separation")  # names of folders that say nothing of a run


class InputError(click.ClickException):
    """What the user gave cannot be used; one line says why."""

    exit_code = 2


def load(path: str) -> tuple[Path, Run]:
    """The one run at or below a path, and its folder. What cannot be read of it is warned of.

    Raises:
        InputError: If there is none, there are several (they are listed), or it cannot be read.
    """
    try:
        folders = find_runs(path)
        if len(folders) > 1:
            listed = "".join(f"\n  {shlex.quote(str(folder))}" for folder in folders)
            raise InputError(f"{path} holds the records of several runs or monitors; give one of:{listed}")
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            run = load_run(folders[0])
    except (OSError, ValueError) as error:
        raise InputError(" ".join(str(error).split())) from error
    for warning in caught:
        click.echo(f"Warning: {warning.message}", err=True)
    if not run.records:
        raise InputError(f"{folders[0]} has no whole record" + (" of validation data" if run.train else ""))
    return folders[0], run


def load_all(paths: Sequence[str]) -> list[tuple[Path, Run]]:
    """Several runs, each under a name of its own.

    Raises:
        InputError: As ``load``, or if one is given twice.
    """
    loaded = [load(path) for path in paths]
    folders = [folder.resolve() for folder, _ in loaded]
    for i, folder in enumerate(folders):
        if folder in folders[:i]:
            raise InputError(f"{loaded[i][0]} is given twice")
    names = distinct_names(folders)
    return [(folder, _renamed(run, name)) for (folder, run), name in zip(loaded, names, strict=True)]


def distinct_names(folders: Sequence[Path]) -> list[str]:
    """The shortest parts of the paths that tell them apart.

    Args:
        folders: At least two, all different.

    Example:
        >>> distinct_names([Path("lightning_logs/version_0/separation"), Path("lightning_logs/version_1/separation")])
        ['version_0', 'version_1']
        >>> distinct_names([Path("/logs/narrow/version_0/separation"), Path("/logs/wide/version_0/separation")])
        ['narrow', 'wide']
        >>> distinct_names([Path("/logs/narrow/version_0"), Path("/logs/wide/version_0"), Path("/logs/wide/version_1")])
        ['narrow/version_0', 'wide/version_0', 'wide/version_1']
    """
    ends = [[part for part in folder.parts if part not in _USUAL] for folder in folders]
    while all(len(parts) > 1 and parts[-1] == ends[0][-1] for parts in ends):  # "version_0"
        ends = [parts[:-1] for parts in ends]
    for depth in range(1, max(map(len, ends)) + 1):
        names = ["/".join(parts[-depth:]) for parts in ends]
        if len(set(names)) == len(names):
            return names
    return [str(folder) for folder in folders]


def load_groups(given: Sequence[str]) -> dict[str, list[tuple[Path, Run]]]:
    """Groups of runs by their names, in order.

    Args:
        given: ``"NAME=RUN,RUN"``; those of one name are one group. A path may have commas of its own.

    Raises:
        InputError: As ``load_all``, or if a group is not written so.
    """
    paths: dict[str, list[str]] = {}
    for text in given:
        name, _, rest = text.partition("=")
        wanted = [rest] if Path(rest).exists() else rest.split(",")
        wanted = [path for part in wanted for path in (sorted(glob(part.strip())) or [part])]  # no shell sees them
        if not name.strip() or not all(path.strip() for path in wanted):
            raise InputError(f"a group is written NAME=RUN,RUN, not {text!r}")
        paths.setdefault(name.strip(), []).extend(path.strip() for path in wanted)
    every = iter(load_all([path for of_group in paths.values() for path in of_group]))
    return {name: [next(every) for _ in of_group] for name, of_group in paths.items()}


def _renamed(run: Run, name: str) -> Run:
    train = replace(run.train, name=f"{name} (train)") if run.train else None
    return replace(run, name=name, train=train)
