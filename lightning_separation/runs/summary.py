"""What is told of a run or a comparison in a line, and in a table of layers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..listing import counted, listed
from ..tables import Table, chance, interval, plain, shorten, signed
from .moments import Moment, named

if TYPE_CHECKING:
    from .comparison import Comparison
    from .run import Run

_LONGEST = 40
_MOST_MOMENTS = 12
_MEAN = "Separation: mean over the pairs of classes, 0: chance, 1: complete."


def run_line(run: Run) -> str:
    """What there is of a run, and how far its last layer has come."""
    train = f", {len(run.train.records)} of the training data" if run.train else ""
    parts = [f"{counted(len(run.records), 'record')}{_when(run)}{train}"]
    if run.records:
        classes = counted(len(run.class_names), "class", "classes") if run.class_names else "no classes"
        parts += [f"{counted(len(run.layers), 'layer')}, {classes}", listed(_analyses(run)) or "no findings"]
    if known := [(layer, [*curve.values()]) for layer, curve in _curves(run).items() if curve]:
        layer, values = known[-1]
        ends = " → ".join(plain(value, ".3f") for value in [*values[:1], *values[1:][-1:]])
        parts.append(f"separation {ends} in {shorten([layer], _LONGEST)[0]}")
    return f"{run.name!r}: {'; '.join(parts)}" if run.name else "; ".join(parts)


def run_table(run: Run) -> Table:
    """Layers x separation at every moment, or at an even choice of them; without separations what was analysed."""
    curves = _curves(run)
    shown = dict(zip(run.layers, shorten(run.layers, _LONGEST), strict=True))
    if not any(curves.values()):
        analyses = {layer: [a for a in _analyses(run) if _has(run, a, layer)] for layer in run.layers}
        return Table(["layer", "analyses"], [[shown[layer], listed(names) or "–"] for layer, names in analyses.items()])
    moments: list[Moment] = [m for m in run.moments if any(m in curve for curve in curves.values())]
    at = np.linspace(0, len(moments) - 1, min(len(moments), _MOST_MOMENTS)).round().astype(int)
    chosen = [moments[i] for i in at]
    rows = []
    for layer, curve in curves.items():
        values = [curve.get(moment, np.nan) for moment in chosen]
        change = [signed(values[-1] - values[0], ".3f")] if len(moments) > 1 else []
        rows.append([shown[layer], *(plain(value, ".3f") for value in values), *change])
    header = ["layer", *map(named, chosen), *(["change"] if len(moments) > 1 else [])]
    caption = _MEAN if len(chosen) == len(moments) else f"{_MEAN} {len(chosen)} of {len(moments)} epochs are shown."
    return Table(header, rows, caption)


def run_notes(run: Run) -> list[str]:
    """What its records left out, and why; each once."""
    return list(dict.fromkeys(note for record in run.records for note in record.notes))


def comparison_line(comparison: Comparison) -> str:
    """What is compared, by which test, where."""
    layers, epochs = counted(len(comparison.layers), "layer"), counted(len(comparison.moments), "epoch")
    return f"{comparison.title!r}: {layers} at {epochs}, test={comparison.test!r}"


def comparison_table(comparison: Comparison) -> Table:
    """The rows of the last moment."""
    rows = comparison.last if comparison.rows else []
    layers = shorten([row.layer for row in rows], _LONGEST)
    others = shorten([row.versus for row in rows], _LONGEST)
    cells = [
        [
            layer,
            plain(row.mean, ".3f"),
            plain(row.other_mean, ".3f"),
            other,
            signed(row.effect, ".3f"),
            interval(row.low, row.high),
            chance(row.q_value),
        ]
        for layer, other, row in zip(layers, others, rows, strict=True)
    ]
    when = f" {named(rows[0].moment).capitalize()}." if rows else ""
    header = ["layer", "separation", "compared with", "of", "difference", "95% interval", "q"]
    return Table(header, cells, f"{_MEAN}{when} q: p adjusted for all layers and epochs.")


def _curves(run: Run) -> dict[str, dict[Moment, float]]:
    """By layer the separation at every moment at which it is known."""
    curves: dict[str, dict[Moment, float]] = {layer: {} for layer in run.layers}
    for moment, record in run.moments.items():
        for layer, found in record.findings.get("henze_penrose", {}).items():
            value = found.get("separation", np.empty(0))
            if layer in curves and value.ndim == 0 and np.isfinite(value):
                curves[layer][moment] = float(value)
    return curves


def _analyses(run: Run) -> list[str]:
    return list(dict.fromkeys(name for record in run.records for name in record.findings))


def _has(run: Run, analysis: str, layer: str) -> bool:
    return any(layer in record.findings.get(analysis, {}) for record in run.records)


def _when(run: Run) -> str:
    moments = list(run.moments)
    if not moments:
        return " of tests" if run.records else ""
    return f", {named(moments[0])}" + (f" to {named(moments[-1])}" if len(moments) > 1 else "")
