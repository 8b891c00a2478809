"""Names that fit into tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from ..records import Findings, Record
from ..runs import Comparison, Run
from ..tables import shorten

_LONGEST = 40

Names = Mapping[str, str]
"""By the whole name the one that is shown; what is not there is shown as it is."""


def shown_names(names: Iterable[str]) -> Names:
    """Those that are too long or have control characters, or would look like one that is."""
    whole = list(dict.fromkeys(names))
    return {name: short for name, short in zip(whole, shorten(whole, _LONGEST), strict=True) if short != name}


def with_shown_names(run: Run) -> Run:
    """A run whose layers and classes, in its training data too, have the names that are shown."""
    runs = [run, run.train] if run.train else [run]
    layers = shown_names(layer for one in runs for layer in one.layers)
    classes = shown_names(name for one in runs for name in one.class_names)
    return _renamed(run, layers, classes) if layers or classes else run


def with_shown_layers(comparison: Comparison, names: Names) -> Comparison:
    """A comparison whose layers have the names that are shown."""
    rows = [row._replace(layer=names.get(row.layer, row.layer)) for row in comparison.rows]
    return replace(comparison, rows=rows)


def _renamed(run: Run, layers: Names, classes: Names) -> Run:
    records = [_renamed_record(record, layers, classes) for record in run.records]
    return replace(run, records=records, train=run.train and _renamed(run.train, layers, classes))


def _renamed_record(record: Record, layers: Names, classes: Names) -> Record:
    findings = {
        analysis: Findings(found.axes, {layers.get(layer, layer): found[layer] for layer in found}, found.labels)
        for analysis, found in record.findings.items()
    }
    return replace(
        record,
        layers=[layers.get(layer, layer) for layer in record.layers],
        class_names=[classes.get(name, name) for name in record.class_names],
        findings=findings,
    )
