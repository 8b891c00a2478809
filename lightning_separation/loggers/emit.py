"""From a record to what the loggers show."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from functools import partial
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from ..records import Record
from . import (
    ablation,
    confusion,
    direction_ablation,
    feature_information,
    group_ablation,
    henze_penrose,
    input_features,
    label_suspects,
    layer_information,
    membership_test,
    modularity,
    next_layer_effect,
    permutation_importance,
    principal_components,
    selectivity,
    significance,
    weight_contributions,
)
from .adapters import Adapter, adapter_for
from .dashboard import dashboard
from .display import Display, History, prefixed
from .files import Folder

KINDS = ("scalars", "histograms", "figures", "tables", "dashboard")
Memory = dict[int | str, dict[str, dict[str, dict[str, Any]]]]

_DISPLAYS: dict[str, Callable[[Record, History, str], Display]] = {
    "henze_penrose": henze_penrose.display,
    "significance": significance.display,
    "selectivity": selectivity.display,
    "input_features": input_features.display,
    "weight_contributions": weight_contributions.display,
    "ablation": ablation.display,
    "group_ablation": group_ablation.display,
    "direction_ablation": direction_ablation.display,
    "next_layer_effect": next_layer_effect.display,
    "layer_information": layer_information.display,
    "modularity": modularity.display,
    "permutation_importance": permutation_importance.display,
    "feature_information": feature_information.display,
    "principal_components": principal_components.display,
    "label_suspects": label_suspects.display,
    "confusion": confusion.display,
    "membership_test": membership_test.display,
}


def _numbers(analysis: str, quantities: Iterable[str], record: Record) -> dict[str, dict[str, float]]:
    """Numbers of the layers, by quantity and layer."""
    found = record.findings[analysis]
    layers = [layer for layer in record.layers if layer in found]
    return {
        quantity: {layer: found[layer][quantity].item() for layer in layers if quantity in found[layer]}
        for quantity in quantities
    }


_REMEMBERED: dict[str, Callable[[Record], dict[str, dict[str, Any]]]] = {
    "henze_penrose": partial(_numbers, "henze_penrose", ["separation"]),
    "layer_information": partial(_numbers, "layer_information", ["entropy_mean", "label_excess_mean"]),
    "significance": significance.remembered,
    "label_suspects": label_suspects.remembered,
}
"""By analysis what is shown over all records so far, or compared with that of the next."""


def remembered(record: Record) -> dict[str, dict[str, dict[str, Any]]]:
    """What later figures, tables and lines need of a record: by analysis, quantity and layer (or sample)."""
    return {analysis: _REMEMBERED[analysis](record) for analysis in record.findings if analysis in _REMEMBERED}


def displays(record: Record, memory: Memory, name: str) -> dict[str, Display]:
    """What to show of every analysis of a record; of one without a display of its own, its plain numbers.

    Args:
        record: What was found.
        memory: :func:`remembered` of every record so far, by its label; the latest comes last.
        name: The monitor's name.
    """
    shown = {}
    for analysis, found in record.findings.items():
        if analysis in _DISPLAYS:
            history = {label: row[analysis] for label, row in memory.items() if analysis in row}
            shown[analysis] = _DISPLAYS[analysis](record, history, name)
        else:
            numbers = [quantity for quantity, axes in found.axes.items() if not axes]
            prefix = prefixed(name, analysis)
            tags = {
                f"{prefix}_{q}/{layer}": found[layer][q].item() for layer in found for q in numbers if q in found[layer]
            }
            shown[analysis] = Display(scalars=tags)
    return shown


def emit(
    shown: Display,
    loggers: Iterable[Any],
    step: int,
    kinds: Collection[str],
    folder: Path | None,
    report: Callable[[str, str], None],
) -> set[str]:
    """Give histograms, figures and tables to each logger that takes them, and to a folder what none takes.

    Without any logger only figures go to the folder: the numbers of tables and histograms are in the records.

    Args:
        shown: What to show; its scalars are not logged here, nor is a dashboard of them laid out.
        loggers: The Trainer's.
        step: Where on the x axis.
        kinds: Which of ``KINDS``.
        folder: Where records are, with those files beside them; None: nowhere.
        report: Told of a logger that raises, or the disk. The others go on.

    Returns:
        The kinds of what went to the folder.
    """
    adapters = [adapter_for(logger) for logger in loggers]
    taken = {kind for adapter in adapters for kind in adapter.takes} & set(kinds)
    for kind, items in (("histograms", shown.histograms), ("tables", shown.tables)):
        for tag, value in items.items() if kind in taken else ():
            _give(adapters, kind, report, tag, value, step)
    for tag, draw in {**shown.figures, **shown.layer_figures}.items() if "figures" in taken else ():
        try:
            figure = draw()
        except Exception as error:  # neither must a figure
            report("figures", f"not drawn: {error!r}")
        else:
            _give(adapters, "figures", report, tag, figure, step)
    left = {"figures", "tables", "histograms"} if adapters else {"figures"}
    return set() if folder is None else _file(shown, folder, step, left & set(kinds) - taken, report)


def _file(
    shown: Display, folder: Path, step: int, kinds: Collection[str], report: Callable[[str, str], None]
) -> set[str]:
    """Save what is of these kinds in a folder; the kinds of what was saved."""
    files = Folder(folder)
    quantities: dict[str, dict[str, NDArray]] = {}
    for tag, values in shown.histograms.items():
        quantity, _, layer = tag.partition("/")
        quantities.setdefault(quantity, {})[layer] = values
    figures = {**shown.figures, **shown.layer_figures}
    work = {
        "histograms": [partial(files.histograms, quantity, layers, step) for quantity, layers in quantities.items()],
        "tables": [partial(files.table, tag, table, step) for tag, table in shown.tables.items()],
        "figures": [partial(files.figure, tag, draw, step) for tag, draw in figures.items()],
    }
    saved = set()
    for kind, save in ((left, one) for left in work if left in kinds for one in work[left]):
        try:
            save()
            saved.add(kind)
        except Exception as error:  # nor must the disk
            report(kind, f"not {'drawn' if kind == 'figures' else 'saved'}: {error!r}")
    return saved


def lay_out(loggers: Iterable[Any], scalars: Collection[str], name: str, report: Callable[[str, str], None]) -> None:
    """Give each logger that takes it a page of charts of all layers at once, unless its user has laid out one.

    What an earlier part of the run or another monitor has laid out stays there; what is there is not written again.

    Args:
        loggers: The Trainer's.
        scalars: Tags of a record's scalars, in order of execution. Charts without any are left out.
        name: The monitor's name.
        report: Told of a logger that raises. The others go on.
    """
    if layout := dashboard(scalars, name):
        _give([adapter_for(logger) for logger in loggers], "dashboard", report, layout)


def _give(adapters: Iterable[Adapter], kind: str, report: Callable[[str, str], None], *what: Any) -> None:
    """Give one thing of a kind to each adapter that takes it."""
    for adapter in adapters:
        if kind in adapter.takes:
            try:
                getattr(adapter, kind)(*what)
            except Exception as error:  # a logger must not end a training run
                report(type(adapter.logger).__name__, f"it did not take {kind}: {error!r}")
