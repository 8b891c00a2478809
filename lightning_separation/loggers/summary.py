"""One line of a record: what has changed since the one before."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from ..records import INPUT, Record
from ..tables import plain, shorten, signed
from .display import score_of

Facts = Mapping[str, Any]
"""Of a record what the next one's line needs: by quantity and layer."""

_SMALL = 0.01  # a change of separation or entropy that is not worth a word
_WIDEST = 240  # characters of a line


def facts(record: Record) -> dict[str, Any]:
    """What to remember of a record; of analyses that it does not have, nothing.

    Returns:
        Of layers behind the input ``"separation"`` and ``"entropy"`` (of the last with such a thing), and ``"dead"``:
        numbers of the units that give the same for every sample.
    """
    found = {
        "separation": _numbers(record, "henze_penrose", "separation"),
        "entropy": _numbers(record, "layer_information", "entropy_mean"),
    }
    dead = {
        layer: np.flatnonzero(values["dead"]).tolist()
        for layer, values in _layers(record, "significance")
        if "dead" in values
    }
    return {quantity: layers for quantity, layers in {**found, "dead": dead}.items() if layers}


def line(record: Record, before: Facts, name: str, train: Record | None = None) -> str:
    """What to say of a record in about two hundred characters; of what does not fit, the last parts are left out.

    Args:
        record: What was found.
        before: :func:`facts` of earlier records of the fit; empty if there is nothing to compare with.
        name: The monitor's name.
        train: What was found in the training data at the same time.

    Returns:
        Empty if there is nothing to say.
    """
    parts = [_separation, _dead, _hardest_pair, _most_needed, _entropy, _most_important]
    said = [text for part in parts for text in part(record, before)]
    said[1:1] = _gap(record, train) if train is not None else []
    told = f"SeparationMonitor {name!r}, {record.when}: "
    for place, text in enumerate(said):
        if place == 0 or len(told) + len(text) <= _WIDEST:
            told += f"{text}; "
    return told.removesuffix("; ") if said else ""


def _separation(record: Record, before: Facts) -> Iterator[str]:
    now = _numbers(record, "henze_penrose", "separation")
    if change := _largest_change(now, before.get("separation", {})):
        layer, old, new = change
        better = "better" if new > old else "worse"
        if abs(new - old) >= _SMALL:
            yield f"{_short(layer)} separates {better}, {plain(old, '.2f')} -> {plain(new, '.2f')} (largest change)"
        else:
            yield f"no layer's separation changed by {_SMALL} or more"
    elif now:
        last, lowest = list(now)[-1], min(now, key=lambda layer: now[layer])
        lower = f", lowest {plain(now[lowest], '.2f')} in {_short(lowest)}" if now[last] - now[lowest] >= _SMALL else ""
        yield f"separation {plain(now[last], '.2f')} in {_short(last)}{lower}"


def _dead(record: Record, before: Facts) -> Iterator[str]:
    now, old = facts(record).get("dead", {}), before.get("dead")
    new = {layer: len(set(units) - set((old or {}).get(layer, []))) for layer, units in now.items()}
    if not (count := sum(new.values())):
        return
    layers = [layer for layer, units in sorted(new.items(), key=lambda item: -item[1]) if units]
    where = _short(layers[0]) + (f" and {len(layers) - 1} more layer{'s' * (len(layers) > 2)}" * (len(layers) > 1))
    in_all = sum(map(len, now.values()))
    units = f"{count} unit{'s' * (count > 1)}"
    yield f"{units} dead in {where}" if old is None else f"{units} newly dead in {where} ({in_all} in all)"


def _hardest_pair(record: Record, before: Facts) -> Iterator[str]:
    measured = list(_layers(record, "henze_penrose"))
    if not measured or len(record.class_names) < 3:  # of two classes the pair is known
        return
    layer, values = measured[-1]
    places = np.triu_indices(len(record.class_names), 1)
    pairs = values["divergence"][places]
    if np.isfinite(pairs).any():
        hardest = int(np.nanargmin(pairs))
        names = " / ".join(shorten([record.class_names[classes[hardest]] for classes in places]))
        yield f"hardest pair {names} ({plain(pairs[hardest], '.2f')} in {_short(layer)})"


def _most_needed(record: Record, before: Facts) -> Iterator[str]:
    needed = [
        (float(values["loss"][unit]), layer, unit, values)
        for layer, values in _layers(record, "ablation")
        if not values.get("is_output", False)
        for unit in np.flatnonzero(np.isfinite(values["loss"]) & (values["loss"] > 0)).tolist()
    ]
    if needed:
        loss, layer, unit, values = max(needed, key=lambda place: place[0])
        about = "" if values["exact"][unit] else "about "
        yield f"most needed {_short(layer)} unit {unit} (loss {about}{_change(loss, values)} without it)"


def _gap(record: Record, train: Record) -> Iterator[str]:
    of_train, now = (_numbers(one, "henze_penrose", "separation") for one in (train, record))
    if change := _largest_change(of_train, now):
        layer, validation, training = change
        yield f"largest gap to the training data {signed(training - validation, '.2f')} in {_short(layer)}"


def _entropy(record: Record, before: Facts) -> Iterator[str]:
    if "henze_penrose" in record.findings:
        return
    now = _numbers(record, "layer_information", "entropy_mean")
    if change := _largest_change(now, before.get("entropy", {})):
        layer, old, new = change
        more = "more" if new > old else "less"
        if abs(new - old) >= _SMALL:
            yield f"{_short(layer)} varies {more}, entropy {plain(old, '.2f')} -> {plain(new, '.2f')} nats"
        else:
            yield f"no layer's entropy changed by {_SMALL} nats or more"
    elif now:
        last = list(now)[-1]
        yield f"entropy {plain(now[last], '.2f')} nats in {_short(last)}"


def _most_important(record: Record, before: Facts) -> Iterator[str]:
    if "permutation_importance" not in record.findings:
        return
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


def _numbers(record: Record, analysis: str, quantity: str) -> dict[str, float]:
    """A finite number of each layer behind the input, in order of execution."""
    numbers = {layer: values[quantity].item() for layer, values in _layers(record, analysis) if quantity in values}
    return {layer: number for layer, number in numbers.items() if math.isfinite(number)}


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
