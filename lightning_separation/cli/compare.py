"""What is said of differences between runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..listing import listed
from ..records import INPUT
from ..runs import BEFORE, Comparison, Run, compare_groups
from ..runs.comparison import Row, Test
from ..runs.run import Moment, named
from ..tables import Table, plain, signed
from .facts import ALPHA
from .names import shown_names, with_shown_layers, with_shown_names
from .report import Report, Section
from .show import about
from .words import adjusted_for, chance, counted, interval


class Compared(NamedTuple):
    """A run or group and the baseline.

    Attributes:
        name: Of the run or group.
        whole: At every shared moment.
        shown: Those of its rows that are listed.
        shares_epochs: Whether all runs have the moments; else the last record of each is compared.
    """

    name: str
    whole: Comparison
    shown: Comparison
    shares_epochs: bool

    @property
    def when(self) -> str:
        """Of what is listed."""
        if not self.shares_epochs:
            return "last records"
        first, last = named(self.shown.moments[0]), named(self.shown.moments[-1])
        return first if first == last else f"{first} to {last}"


def compare(
    variants: Mapping[str, Sequence[Run]], test: Test | None, moment: Moment | None = None, *, every: bool = False
) -> list[Compared]:
    """Every variant but the first with the first.

    Args:
        variants: By name one run each, or a group of replicate runs each.
        test: Of single runs; None for groups.
        moment: Which to list; None: the last that is shared.
        every: Whether to list all moments instead.

    Raises:
        ValueError: If they cannot be compared, or not at that moment.
    """
    baseline, *others = variants.values()
    found = [run.compare(baseline[0], test) for (run,) in others] if test else compare_groups(variants)
    compared = []
    for name, whole in zip(list(variants)[1:], found, strict=True):
        shown = whole if every else _at(whole, whole.moments[-1] if moment is None else moment)
        shared = all(at in run.moments for run in (*baseline, *variants[name]) for at in whole.moments)
        compared.append(Compared(name, whole, shown, shared))
    return compared


def _at(comparison: Comparison, moment: Moment) -> Comparison:
    if moment not in comparison.moments:
        there = listed([str(shared) for shared in comparison.moments], 20)
        raise ValueError(f"{comparison.title}: {named(moment)} is not in all of them; there are {there}")
    return replace(comparison, rows=[row for row in comparison.rows if row.moment == moment])


def describe(baseline: str, compared: Sequence[Compared], loaded: Sequence[tuple[Path, Run]]) -> Report:
    """Every comparison, with a conclusion each, and what it rests on.

    Args:
        baseline: Name of the first run or group.
        compared: The others.
        loaded: All runs and their folders.
    """
    names = shown_names(layer for one in compared for layer in one.whole.layers)
    compared = [
        one._replace(whole=with_shown_layers(one.whole, names), shown=with_shown_layers(one.shown, names))
        for one in compared
    ]
    told = [f"{run.name}: {'; '.join(about(folder, with_shown_names(run)))}" for folder, run in loaded]
    return Report(
        f"{listed([one.name for one in compared])} compared with {baseline}",
        [],
        [conclude(one) for one in compared],
        [*map(_differences, compared), *_below([one.whole for one in compared]), Section("Runs", None, told)],
    )


def as_data(baseline: str, compared: Sequence[Compared]) -> dict[str, Any]:
    """The same as numbers."""
    comparisons = [
        {"name": one.name, "conclusion": conclude(one), **one.shown.to_dict(), "since": one.whole.since()}
        for one in compared
    ]
    return {"baseline": baseline, "comparisons": comparisons}


def as_rows(compared: Sequence[Compared]) -> list[tuple[Any, ...]]:
    """The rows that are listed, each after the name of the run or group."""
    return [(one.name, *row) for one in compared for row in one.shown.rows]


def conclude(one: Compared) -> str:
    """How many layers differ at the last moment that is listed, and which most, in a sentence."""
    comparison, moment = one.whole, one.shown.moments[-1]
    rows = [row for row in comparison.rows if row.moment == moment and row.layer != INPUT]
    at = named(moment) if moment == BEFORE else f"at {named(moment)}" if one.shares_epochs else "in the last records"
    if len(comparison.moments) > 1 and moment == comparison.moments[-1]:
        at += ", the last one shared"
    if not rows:
        return f"{comparison.title}: only the input is shared {at}."
    largest = _largest(max(rows, key=lambda row: abs(row.effect)), comparison)
    if not any(np.isfinite(row.q_value) for row in rows):
        return f"{comparison.title}: there is no test {at} (see the notes); largest difference: {largest}."
    tested = [row for row in rows if np.isfinite(row.q_value)]
    differ = [row.layer for row in tested if row.q_value < ALPHA]
    layers = counted(len(tested), "layer") + (" that could be tested" if len(tested) < len(rows) else "")
    of = f"{len(differ) or 'none'} of {layers} {'differs' if len(differ) < 2 else 'differ'}"
    which = f": {listed(differ)}" if differ else ""
    return f"{comparison.title}: {of} {at} (q < {ALPHA}){which}; largest difference: {largest}."


def _largest(row: Row, comparison: Comparison) -> str:
    said = f"{row.layer}, {signed(row.effect, '.3f')}"
    if np.isfinite([row.low, row.high]).all():
        said += f" (95% interval {interval(row.low, row.high)})"
    since = comparison.since()[row.layer]
    if row.q_value < ALPHA and since is not None and len(comparison.moments) > 1:
        said += f", since {named(since)}"
    return said


def _differences(one: Compared) -> Section:
    name, whole, shown, _ = one
    since = whole.since()
    header = ["layer", shown.rows[0].versus, name, "difference", "95% interval", "q", "differs since"]
    rows = [_cells(row, since[row.layer]) for row in shown.rows]
    if len(shown.moments) > 1:
        header = ["epoch", *header]
        rows = [[str(row.moment), *cells] for row, cells in zip(shown.rows, rows, strict=True)]
    caption = (
        "Mean separation over the pairs of classes, 0: chance, 1: complete. Interval: of the difference, not adjusted; "
        f"q: {adjusted_for(whole)} Each comparison is adjusted by itself. Differs since: from then on q stays below "
        f"{ALPHA}."
    )
    return Section(f"{shown.title}, {one.when}", Table(header, rows, caption))


def _cells(row: Row, since: Moment | None) -> list[str]:
    return [
        row.layer,
        plain(row.other_mean, ".3f"),
        plain(row.mean, ".3f"),
        signed(row.effect, ".3f"),
        interval(row.low, row.high),
        chance(row.q_value),
        named(since) if since is not None else "–",
    ]


def _below(compared: Sequence[Comparison]) -> Iterator[Section]:
    if notes := list(dict.fromkeys(note for comparison in compared for note in comparison.notes)):
        yield Section("Notes", None, notes)
    test = compared[0].test.replace("_", ", ")
    yield Section(f"What the test ({test}) assumes", None, [compared[0].assumes])
