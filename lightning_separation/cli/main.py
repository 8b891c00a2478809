"""The commands."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .. import __version__

if TYPE_CHECKING:
    from ..runs import Run
    from ..runs.comparison import Test
    from .pictures import Picture
    from .report import Report

# What computes is imported by the command that needs it: help comes at once.

_EXAMPLES = """
\b
Examples:
  lightning-separation show lightning_logs/version_0
  lightning-separation compare lightning_logs/version_0 lightning_logs/version_1
"""
_TESTS: dict[str, Test] = {"jackknife": "jackknife", "fisher": "fisher", "fisher-paired": "fisher_paired"}

_output = click.option(
    "--output",
    metavar="DIR",
    type=click.Path(file_okay=False, path_type=Path),
    help="Write figures and a self-contained page, index.html, into this folder.",
)
_format = click.option(
    "--format",
    "form",
    type=click.Choice(["text", "json", "csv"]),
    default="text",
    show_default=True,
    help="What is printed.",
)


@click.group(context_settings={"help_option_names": ["-h", "--help"]}, epilog=_EXAMPLES)
@click.version_option(__version__, prog_name="lightning-separation")
def main() -> None:
    """What the layers of trained networks separate, from the records of SeparationMonitor."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a console that lacks a letter shows a question mark


@main.command(
    epilog="""
\b
Examples:
  lightning-separation show lightning_logs/version_0
  lightning-separation show lightning_logs/version_0 --output report
  lightning-separation show lightning_logs/version_0 --format csv > separation.csv
"""
)
@click.argument("run", metavar="RUN")
@_output
@_format
def show(run: str, output: Path | None, form: str) -> None:
    """Separation by layer and epoch, hardest pairs, most needed units, and what else one run recorded.

    RUN is a log directory, a version folder or a folder of records.
    """
    from . import show as told
    from .data import to_csv, to_json
    from .facts import Measured
    from .inputs import load

    folder, loaded = load(run)
    _prepare(output)
    if form == "json":
        click.echo(to_json(told.as_data(folder, loaded)))
    elif form == "csv":
        click.echo(to_csv(Measured._fields, told.as_rows(loaded)), nl=False)
    else:
        _print(told.describe(folder, loaded))
    if output:
        from .pictures import of_run

        _write(output, told.describe(folder, loaded), {"Figures": of_run(loaded)}, [loaded])


def _moment(context: click.Context, option: click.Parameter, given: str | None) -> int | str | None:
    if given is None or given == "before":
        return given
    if given.isdecimal():
        return int(given)
    raise click.BadParameter(f'an epoch, or "before", not {given!r}')


@main.command(
    epilog="""
\b
Examples:
  lightning-separation compare lightning_logs/version_0 lightning_logs/version_1
  lightning-separation compare logs/baseline logs/wide logs/deep --output report
  lightning-separation compare --group narrow=logs/n0,logs/n1,logs/n2 --group wide=logs/w0,logs/w1,logs/w2
  lightning-separation compare logs/baseline logs/wide --all-epochs --format csv > differences.csv
"""
)
@click.argument("runs", metavar="RUN RUN...", nargs=-1)
@click.option(
    "--group",
    "groups",
    metavar="NAME=RUN,RUN",
    multiple=True,
    help="Replicate runs (other seeds) of one variant, two or more; twice or more often, instead of single runs. The "
    "first group is the baseline and the run is the unit of the test (Welch's).",
)
@click.option("--epoch", "moment", metavar="N", callback=_moment, help='Compare this epoch, or "before" training.')
@click.option("--all-epochs", is_flag=True, help="List all epochs that are shared.  [default: the last]")
@click.option(
    "--test",
    type=click.Choice(list(_TESTS)),
    help="Test of single runs: over classes, or Fisher's permutation test of means.  [default: jackknife]",
)
@_output
@_format
def compare(
    runs: tuple[str, ...],
    groups: tuple[str, ...],
    moment: int | str | None,
    all_epochs: bool,
    test: str | None,
    output: Path | None,
    form: str,
) -> None:
    """How far layers of runs differ in separation, since when, and whether by more than chance.

    The first run, or group, is the baseline.
    """
    if groups and runs:
        raise click.UsageError("give single runs, or groups (--group), not both")
    if groups and test:
        raise click.UsageError("--test is of single runs; groups are compared by Welch's test")
    if len(groups) == 1:
        raise click.UsageError("two groups at least: --group once more, for the variant that this one is compared with")
    if len(groups) + len(runs) < 2:
        if runs:
            from .inputs import load

            load(runs[0])  # says which runs there are, if there are several
        raise click.UsageError('two runs or groups at least; what one run tells "lightning-separation show" tells')
    if all_epochs and moment is not None:
        raise click.UsageError("--epoch or --all-epochs, not both")
    from ..runs import Row
    from . import compare as told
    from .data import to_csv, to_json
    from .inputs import InputError, load_all, load_groups

    named = load_groups(groups) if groups else {run.name: [(folder, run)] for folder, run in load_all(runs)}
    variants = {name: [run for _, run in members] for name, members in named.items()}
    loaded = [one for members in named.values() for one in members]
    baseline = next(iter(variants))
    try:
        compared = told.compare(variants, None if groups else _TESTS[test or "jackknife"], moment, every=all_epochs)
    except ValueError as error:
        raise InputError(str(error)) from error
    _prepare(output)
    if form == "json":
        click.echo(to_json(told.as_data(baseline, compared)))
    elif form == "csv":
        click.echo(to_csv(["run", *Row._fields], told.as_rows(compared)), nl=False)
    else:
        _print(told.describe(baseline, compared, loaded))
    if output:
        from .pictures import of_comparisons, of_run

        pictures = {"Figures": list(of_comparisons(compared, variants))}
        pictures |= {run.name: of_run(run, f"{run.name}/") for _, run in loaded}
        _write(output, told.describe(baseline, compared, loaded), pictures, [run for _, run in loaded])


def _prepare(folder: Path | None) -> None:
    """Say at once if a page cannot be written."""
    from .inputs import InputError

    try:
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot write to {folder}: {error}") from error


def _print(report: Report) -> None:
    from .terminal import show as show_report

    show_report(report)


def _write(folder: Path, report: Report, pictures: Mapping[str, Sequence[Picture]], runs: Sequence[Run]) -> None:
    from .inputs import InputError
    from .page import write

    settings = {run.name: {**run.info.get("settings", {}), **run.info.get("versions", {})} for run in runs}
    try:
        page = write(folder, report, pictures, settings)
    except OSError as error:
        raise InputError(f"cannot write to {folder}: {error}") from error
    click.echo(f"Page: {page}", err=True)
