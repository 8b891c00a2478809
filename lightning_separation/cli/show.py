"""What is said of one run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..listing import listed
from ..records import INPUT, OBJECTIVES
from ..runs import BEFORE, Comparison, Run
from ..runs.comparison import Row
from ..runs.run import Moment, named
from ..tables import Table, percent, plain, signed
from .facts import (
    ALPHA,
    Beyond,
    Measured,
    Membership,
    Pair,
    beyond_input,
    forecasts,
    hardest_pairs,
    if_known,
    measured,
    memberships,
    most_needed,
    notes_of,
)
from .names import with_shown_names
from .report import BLOCKS, Report, Section
from .words import adjusted_for, chance, counted, interval, sparkline

_MOST_SUSPECTS = 10
_MOST_STEPS = 30
_DATA = {"val": "validation", "train": "training"}
_LOSSES = {
    "classes": "cross-entropy in nats",
    "values": "mean squared error",
    "input": "reconstruction error in percentage points",
}
_BALANCED = (
    "In the last record. Best error: bounds of the error of the best possible classifier that sees only this layer and "
    "tells all classes, on samples balanced like those analysed, which the data need not be."
)
_BEYOND_INPUT = (
    "A gap of the input says that the two sets of data differ; only what a layer has beyond that speaks for samples "
    "learnt by heart."
)
_ONLY_TESTS = "Only tests were recorded; what is shown is of validations (Trainer.fit and Trainer.validate)."
_NO_SEPARATION = "No separation of classes was recorded (it needs the analysis HenzePenrose and two classes)."


def describe(folder: Path, run: Run) -> Report:
    """All that the records of a run tell."""
    run = with_shown_names(run)
    rows, effect = measured(run), if_known(run.training_effect)
    nothing = _NO_SEPARATION if run.moments else _ONLY_TESTS
    conclusion = _conclusion(rows, hardest_pairs(run)[0], effect) if rows else [nothing]
    return Report(run.name or str(folder), about(folder, run), conclusion, list(_sections(run, rows, effect)))


def about(folder: Path, run: Run) -> list[str]:
    """Where the run is, what was analysed, and when."""
    module = run.info.get("settings", {}).get("module")
    moments = list(run.moments)
    when = named(moments[0]) if moments else "tests"
    when += f" to {named(moments[-1])}" if len(moments) > 1 else ""
    parts = [str(module)] if module else []
    parts += [f"{counted(len(run.records), 'record')}, {when}", counted(len(run.layers), "layer"), classes_of(run)]
    return [str(folder), "; ".join(parts)]


def classes_of(run: Run) -> str:
    """Classes and the number of their samples, in the last record."""
    record = run.records[-1]
    if not record.class_names:
        return "no classes"
    sizes = sorted({int(record.counts.min()), int(record.counts.max())})
    classes = counted(len(record.class_names), "class", "classes")
    return f"{classes} ({listed(record.class_names, 10)}), {' to '.join(map(str, sizes))} samples of each"


def as_data(folder: Path, run: Run) -> dict[str, Any]:
    """The same as numbers."""
    effect, gap = if_known(run.training_effect), if_known(run.gap)
    ablated = run.last("ablation")
    suspects = {split: if_known(side.label_suspects) for split, side in _splits(run)}
    tested = memberships(run)
    return {
        "run": {
            "name": run.name,
            "folder": str(folder),
            "layers": run.layers,
            "class_names": run.class_names,
            "counts": dict(zip(run.records[-1].class_names, run.records[-1].counts.tolist(), strict=True)),
            "moments": list(run.moments),
            "records": len(run.records),
            "settings": run.info.get("settings", {}),
            "versions": run.info.get("versions", {}),
            "notes": notes_of(run),
        },
        "separation": as_rows(run),
        "hardest_pairs": hardest_pairs(run),
        "training_effect": effect and effect.to_dict(),
        "gap": gap and gap.to_dict(),
        "gap_beyond_input": beyond_input(run) if gap else None,
        "layer_steps": _as_dict(run.layer_steps),
        "epoch_steps": _as_dict(run.epoch_steps),
        "membership_test": {"moment": tested[0], "layers": tested[1]} if tested else None,
        "most_needed": {"moment": ablated[0], "units": most_needed(ablated[1])} if ablated else None,
        "label_suspects": {split: found[:_MOST_SUSPECTS] for split, found in suspects.items() if found is not None},
        "confusion_forecast": if_known(lambda: forecasts(run)),
    }


def as_rows(run: Run) -> list[Measured]:
    """The separation by data, moment and layer."""
    return [row for _, side in _splits(run) for row in measured(side)]


def _as_dict(compare: Callable[[], Comparison]) -> dict[str, Any] | None:
    return found.to_dict() if (found := if_known(compare)) else None


def _splits(run: Run) -> list[tuple[str, Run]]:
    return [("val", run), *([("train", run.train)] if run.train else [])]


def _conclusion(rows: list[Measured], hardest: Pair, effect: Comparison | None) -> list[str]:
    last = rows[-1]
    said = []
    if effect:
        row = next(row for row in reversed(effect.rows) if row.layer == last.layer)
        moved = [row.layer for row in effect.rows if row.q_value < ALPHA]
        first, then = plain(row.other_mean, ".2f"), plain(row.mean, ".2f")
        start = row.versus if row.versus == named(BEFORE) else f"in {row.versus}"
        since = f"from {first} {start} to {then} in {named(row.moment)} ({signed(row.effect, '.2f')})"
        said.append(f"The last layer, {last.layer}, went {since}.")
        if np.isfinite(row.q_value):
            changed = listed(moved) if moved else "none"
            said.append(f"Layers whose separation changed by more than chance (q < {ALPHA}): {changed}.")
    else:
        separation = plain(last.separation, ".2f")
        said.append(f"The last layer, {last.layer}, has a separation of {separation} ({named(last.moment)}).")
    pair = f"Its hardest pair of classes is {hardest.class_a} and {hardest.class_b} ({plain(hardest.last, '.2f')})"
    error = f"; the best possible error between these two, balanced as in the sample, is {_error(hardest)}"
    return [*said, f"{pair}{error if np.isfinite(hardest.bayes_error_upper) else ''}."]


def _sections(run: Run, rows: list[Measured], effect: Comparison | None) -> Iterator[Section]:
    gap, steps = if_known(run.gap), if_known(run.layer_steps)
    compared = [one for one in (effect, gap, steps) if one]
    if rows:
        yield _separation(rows, effect)
        yield _allowed(rows)
        yield _hardest(run, [row.layer for row in rows if row.moment == rows[-1].moment])
        if steps and len(steps.last) <= _MOST_STEPS:
            yield _added(steps)
    else:
        yield Section("Layers", _layers(run))
    if ablated := run.last("ablation"):
        yield from _needed(*ablated)
    if gap:
        yield _gap(gap, beyond_input(run))
    if tested := memberships(run):
        yield _membership(*tested)
    for split, side in _splits(run):
        if suspects := if_known(side.label_suspects):
            yield _suspects(split, suspects)
    if foretold := if_known(lambda: forecasts(run)):
        yield _foretold(foretold)
    if notes := list(dict.fromkeys([*notes_of(run), *(note for one in compared for note in one.notes)])):
        yield Section("Notes", None, notes)
    if compared:
        yield Section("What the test assumes", None, [compared[0].assumes])


def _separation(rows: list[Measured], effect: Comparison | None) -> Section:
    moments = list(dict.fromkeys(row.moment for row in rows))
    by_layer = _by_layer(rows)
    changed = {row.layer: row for row in effect.rows} if effect else {}
    cells = [_layer_cells([found.get(moment) for moment in moments], changed.get(at)) for at, found in by_layer.items()]
    caption = "Mean over the pairs of classes, 0: chance, 1: complete"
    if not effect:
        header = ["layer", "separation", "95% interval"]
        cells = [[row[0], row[3], row[4]] for row in cells]
        return Section("Separation by layer", Table(header, cells, f"{caption}. Interval: over classes."))
    caption += (
        f"; {named(moments[0])} to {named(moments[-1])}, blocks from 0 to 1. Interval: of the last, over classes, not "
        f"adjusted; q: of the change, {adjusted_for(effect)}"
    )
    header = ["layer", BLOCKS, "first", "last", "95% interval", "change", "q"]
    return Section("Separation by layer", Table(header, cells, caption))


def _layer_cells(found: list[Measured | None], change: Row | None) -> list[str]:
    known = [row for row in found if row]
    last = known[-1]
    return [
        last.layer,
        sparkline([row.separation if row else np.nan for row in found]),
        plain(known[0].separation, ".3f"),
        plain(last.separation, ".3f"),
        f"{plain(last.low, '.3f')} to {plain(last.high, '.3f')}" if np.isfinite(last.low) else "–",
        signed(change.effect, ".3f") if change else "–",
        chance(change.q_value) if change else "–",
    ]


def _allowed(rows: list[Measured]) -> Section:
    lasts = [list(found.values())[-1] for found in _by_layer(rows).values()]
    cells = [[row.layer, f"{row.class_a} / {row.class_b}", plain(row.hardest, ".3f"), _error(row)] for row in lasts]
    header = ["layer", "hardest pair", "separation", "best error, all classes"]
    return Section("What each layer allows", Table(header, cells, _BALANCED))


def _by_layer(rows: list[Measured]) -> dict[str, dict[Moment, Measured]]:
    found: dict[str, dict[Moment, Measured]] = {}
    for row in rows:
        found.setdefault(row.layer, {})[row.moment] = row
    return found


def _error(row: Any) -> str:
    """Bounds of the best possible error."""
    low, high = row.bayes_error_lower, row.bayes_error_upper
    return f"{percent(low)} to {percent(high)}" if np.isfinite([low, high]).all() else "–"


def _hardest(run: Run, layers: list[str]) -> Section:
    pairs = hardest_pairs(run)
    rows = [[p.class_a, p.class_b, plain(p.first, ".3f"), plain(p.last, ".3f"), _error(p)] for p in pairs]
    caption = (
        f"The pairs of classes that {layers[-1]} separates worst, in the last record; the best error of each pair."
    )
    header = ["class a", "class b", layers[0], layers[-1], "best error, this pair"]
    return Section("Hardest pairs", Table(header, rows, caption))


def _layers(run: Run) -> Table:
    recorded = {(layer, name): None for r in run.records for name, found in r.findings.items() for layer in found}
    rows = [[layer, ", ".join(name for at, name in recorded if at == layer) or "–"] for layer in run.layers]
    return Table(["layer", "analyses"], rows, "In order of execution, and what was recorded of each.")


def _needed(moment: Any, record: Any) -> Iterator[Section]:
    units = most_needed(record)
    if not units:
        return
    objective = record.findings["ablation"][units[0].layers[0]].get("objective", 0)
    loss = _LOSSES[OBJECTIVES[int(objective)]]
    rows = [
        [", ".join(u.layers), str(u.unit), signed(u.loss), signed(100 * u.accuracy, ".1f"), _how(u.exact)]
        for u in units
    ]
    caption = f"What changes when one unit is removed, {named(moment)}. Loss: {loss}."
    yield Section("Most needed units", Table(["layer", "unit", "loss", "accuracy (points)", "how"], rows, caption))


def _how(exact: bool) -> str:
    return "exact" if exact else "estimated"


def _added(steps: Comparison) -> Section:
    rows = [
        [row.layer, row.versus, signed(row.effect, ".3f"), interval(row.low, row.high), chance(row.q_value)]
        for row in steps.last
    ]
    caption = (
        f"Its separation minus that of the layer before, {named(steps.moments[-1])}. Interval: not adjusted; "
        f"q: {adjusted_for(steps)}"
    )
    return Section("What each layer adds", Table(["layer", "after", "adds", "95% interval", "q"], rows, caption))


def _gap(gap: Comparison, beyond: Sequence[Beyond]) -> Section:
    further = {row.layer: f"{signed(row.effect, '.3f')}{' *' if row.q_value < ALPHA else ''}" for row in beyond}
    rows = [
        [
            row.layer,
            plain(row.mean, ".3f"),
            plain(row.other_mean, ".3f"),
            signed(row.effect, ".3f"),
            interval(row.low, row.high),
            chance(row.q_value),
            further.get(row.layer, "–"),
        ]
        for row in gap.last
    ]
    caption = (
        f"{named(gap.moments[-1]).capitalize()}. {_BEYOND_INPUT} Beyond input: gap minus that of the input, tested "
        f"over classes, too. Interval: not adjusted; q: {adjusted_for(gap)}"
    )
    header = ["layer", "training", "validation", "gap", "95% interval", "q", "beyond input"]
    of_input = _of_input({row.layer: (row.effect, row.q_value) for row in gap.last})
    return Section("Training against validation data", Table(header, rows, caption), list(of_input))


def _membership(moment: Moment, tested: Sequence[Membership]) -> Section:
    rows = [[row.layer, signed(row.gap, ".3f"), chance(row.p_value), chance(row.q_value)] for row in tested]
    caption = (
        f"{named(moment).capitalize()}. p: how often the gap, training minus validation data, would be at least as "
        "large if it were chance which samples of a class were trained on; q: adjusted for "
        f"{counted(len(tested), 'layer')}; *: below {ALPHA}. {_BEYOND_INPUT}"
    )
    gaps = {row.layer: (row.gap, row.q_value) for row in tested}
    of_input = list(_of_input(gaps)) if INPUT in gaps else []
    return Section("Test of membership", Table(["layer", "gap", "p", "q"], rows, caption), of_input)


def _of_input(gaps: Mapping[str, tuple[float, float]]) -> Iterator[str]:
    """What the input's gap and its q say of all others."""
    if INPUT not in gaps:
        yield "The gap of the input was not measured: whether the two sets of data differ is not known."
    elif gaps[INPUT][1] < ALPHA:
        own = signed(gaps[INPUT][0], ".3f")
        yield f"The gap of the input itself, {own}, is more than chance: the training and the validation data differ."


def _suspects(split: str, suspects: list[dict[str, Any]]) -> Section:
    rows = [
        [
            str(row["index"]),
            row["label"],
            row["neighbours"],
            percent(row["layers"], ".0f"),
            f"{row['epochs']} of {row['records']}",
        ]
        for row in suspects[:_MOST_SUSPECTS]
    ]
    caption = (
        f"Samples of the {_DATA[split]} data that lie among another class: a wrong label, or a hard sample. Layers: "
        "share of those in which all its neighbours are of other classes. Records: in which that is half of them or "
        "more."
    )
    header = ["index", "label", "neighbours", "layers", "records"]
    return Section(f"Label suspects, {_DATA[split]} data", Table(header, rows, caption))


def _foretold(foretold: Any) -> Section:
    rows = [
        [
            f.layer,
            "–" if f.since is None else named(f.since),
            plain(f.correlation, ".2f"),
            plain(f.last_correlation, ".2f"),
            chance(f.p_value),
        ]
        for f in foretold
    ]
    caption = (
        "Whether the pairs of classes with low separation are those that the network confuses at the end: rank "
        f"correlation over pairs. Since: the first record from which on p stays below {ALPHA}, not adjusted for the "
        "number of records."
    )
    return Section(
        "Confusion forecast", Table(["layer", "since", "correlation then", "at the end", "p at the end"], rows, caption)
    )
