"""One line of a record: what has changed since the one before."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from ..records import INPUT, Record
from ..records.summary import hardest_pairs, key_number, needed_units
from ..tables import plain, shorten, signed
from .display import score_of
from .emit import Memory, remembered

_SMALL = 0.01  # a change of separation or entropy that is not worth a word
_WIDEST = 280  # characters of a line


def line(record: Record, earlier: Memory, name: str, train: Record | None = None) -> str:
    """What to say of a record in a line of at most 280 characters; of what does not fit, the last parts are left out.

    Args:
        record: What was found.
        earlier: What is remembered of those it is compared with, by label, the latest last; each analysis is compared
            with the last that has it. Empty if there is nothing to compare with.
        name: The monitor's name.
        train: What was found in the training data at the same time.

    Returns:
        Empty if nothing was found.
    """
    said = [text for analysis, part in _PARTS if analysis in record.findings for text in part(record, earlier)]
    said[1:1] = _gap(record, train) if train is not None else []
    with_parts = {analysis for analysis, _ in _PARTS}
    said += _key_numbers([analysis for analysis in record.findings if analysis not in with_parts], record, train)
    said = said or _key_numbers(record.findings, record, train)
    told = f"SeparationMonitor {name!r}, {record.when}: "
    for place, text in enumerate(said):
        if place == 0 or len(told) + len(text) <= _WIDEST:
            told += f"{text}; "
    return told.removesuffix("; ") if said else ""


def _key_numbers(analyses: Iterable[str], record: Record, train: Record | None) -> list[str]:
    """What there is to say of any analysis; of what only the training data can tell, that."""
    both = [one for one in (record, train) if one is not None]
    told = [[key_number(one, analysis) for one in both if analysis in one.findings] for analysis in analyses]
    return [next(filter(None, texts)) for texts in told if any(texts)]


def _separation(record: Record, earlier: Memory) -> Iterator[str]:
    now = _finite(record, remembered(record), "henze_penrose", "separation")
    before, since = _last(record, earlier, "henze_penrose", "separation")
    if change := _largest_change(now, before):
        layer, old, new = change
        better = "better" if new > old else "worse"
        if abs(new - old) >= _SMALL:
            numbers = f"{plain(old, '.2f')} -> {plain(new, '.2f')}"
            yield f"{_short(layer)} separates {better}, {numbers} (largest change{since})"
        else:
            yield f"no layer's separation changed by {_SMALL} or more{since}"
    elif now:
        last, lowest = list(now)[-1], min(now, key=lambda layer: now[layer])
        lower = f", lowest {plain(now[lowest], '.2f')} in {_short(lowest)}" if now[last] - now[lowest] >= _SMALL else ""
        yield f"separation {plain(now[last], '.2f')} in {_short(last)}{lower}"


def _dead(record: Record, earlier: Memory) -> Iterator[str]:
    now = remembered(record)["significance"]["dead"]
    label = next((label for label in reversed(earlier) if "significance" in earlier[label]), None)
    old = {} if label is None else earlier[label]["significance"]["dead"]
    new = {layer: len(set(units) - set(old.get(layer, []))) for layer, units in now.items()}
    if not (count := sum(new.values())):
        return
    layers = [layer for layer, units in sorted(new.items(), key=lambda item: -item[1]) if units]
    where = _short(layers[0]) + (f" and {len(layers) - 1} more layer{'s' * (len(layers) > 2)}" * (len(layers) > 1))
    in_all = sum(map(len, now.values()))
    units = f"{count} unit{'s' * (count > 1)}"
    if label is None:
        yield f"{units} dead in {where}"
    else:
        yield f"{units} newly dead in {where}{_since(label, earlier)} ({in_all} in all)"


def _hardest_pair(record: Record, earlier: Memory) -> Iterator[str]:
    measured = list(_layers(record, "henze_penrose"))
    if not measured or len(record.class_names) < 3:  # of two classes the pair is known
        return
    layer, values = measured[-1]
    for a, b in hardest_pairs(values["divergence"])[:1]:
        names = " / ".join(shorten([record.class_names[a], record.class_names[b]]))
        yield f"hardest pair {names} ({plain(values['divergence'][a, b], '.2f')} in {_short(layer)})"


def _most_needed(record: Record, earlier: Memory) -> Iterator[str]:
    needed = [
        (float(values["loss"][unit]), layer, unit, values)
        for layer, values in _layers(record, "ablation")
        for unit in needed_units(values)[:1]
    ]
    if needed:
        loss, layer, unit, values = max(needed, key=lambda place: place[0])
        about = "" if values["exact"][unit] else "about "
        yield f"most needed {_short(layer)} unit {unit} (loss {about}{_change(loss, values)} without it)"


def _gap(record: Record, train: Record) -> Iterator[str]:
    of_train, now = (_finite(one, remembered(one), "henze_penrose", "separation") for one in (train, record))
    if change := _largest_change(of_train, now):
        layer, validation, training = change
        yield f"largest gap to the training data {signed(training - validation, '.2f')} in {_short(layer)}"


def _entropy(record: Record, earlier: Memory) -> Iterator[str]:
    if "henze_penrose" in record.findings:
        return
    now = _finite(record, remembered(record), "layer_information", "entropy_mean")
    before, since = _last(record, earlier, "layer_information", "entropy_mean")
    if change := _largest_change(now, before):
        layer, old, new = change
        more = "more" if new > old else "less"
        if abs(new - old) >= _SMALL:
            yield f"{_short(layer)} varies {more}, entropy {plain(old, '.2f')} -> {plain(new, '.2f')} nats{since}"
        else:
            yield f"no layer's entropy changed by {_SMALL} nats or more{since}"
    elif now:
        last = list(now)[-1]
        yield f"entropy {plain(now[last], '.2f')} nats in {_short(last)}"


def _most_important(record: Record, earlier: Memory) -> Iterator[str]:
    found = record.findings["permutation_importance"]
    values = found.get(INPUT, {})
    if "importance" not in values:
        return
    means = values["importance"].mean(1)
    if np.isfinite(means).any() and np.nanmax(means) > 0:
        feature = int(np.nanargmax(means))
        names = found.labels.get("feature", [])
        called = _short(names[feature]) if len(names) == len(means) else str(feature)
        yield f"most important feature {called} (loss {_change(means[feature], values)} permuted)"


def _layers(record: Record, analysis: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """What was found of each layer behind the input, in order of execution."""
    found: Mapping[str, Mapping[str, Any]] = record.findings.get(analysis) or {}
    return ((layer, found[layer]) for layer in record.layers if layer in found and layer != INPUT)


def _finite(record: Record, row: Mapping[str, Any], analysis: str, quantity: str) -> dict[str, float]:
    """Of what is remembered a finite number of each of a record's layers behind the input, in order of execution."""
    numbers: Mapping[str, float] = row.get(analysis, {}).get(quantity, {})
    layers = [layer for layer in record.layers if layer in numbers and layer != INPUT]
    return {layer: numbers[layer] for layer in layers if math.isfinite(numbers[layer])}


def _last(record: Record, earlier: Memory, analysis: str, quantity: str) -> tuple[dict[str, float], str]:
    """The numbers of the last that has any of an analysis, and since when that is if it is not the line before."""
    for label in reversed(earlier):
        if numbers := _finite(record, earlier[label], analysis, quantity):
            return numbers, _since(label, earlier)
    return {}, ""


def _since(label: int | str, earlier: Memory) -> str:
    if label == list(earlier)[-1]:
        return ""
    return f" since epoch {label}" if isinstance(label, int) else f" since {label}"


def _largest_change(now: Mapping[str, float], before: Mapping[str, float]) -> tuple[str, float, float] | None:
    """The layer whose number has changed most, what it was and what it is; None without one that both have."""
    both = [layer for layer in now if layer in before]
    layer = max(both, key=lambda layer: abs(now[layer] - before[layer]), default=None)
    return None if layer is None else (layer, before[layer], now[layer])


def _change(loss: float, values: Mapping[str, Any]) -> str:
    """A change of the loss in its unit of measure."""
    _, unit = score_of(values)
    return f"{signed(loss, '.2g')} {unit}".rstrip()


def _short(name: str) -> str:
    return shorten([name])[0]


_PARTS = (
    ("henze_penrose", _separation),
    ("significance", _dead),
    ("henze_penrose", _hardest_pair),
    ("ablation", _most_needed),
    ("layer_information", _entropy),
    ("permutation_importance", _most_important),
)
"""By analysis what is said of it, the most important first."""
