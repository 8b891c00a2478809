"""Differences between sets of separations: of runs, groups of runs, layers, epochs and splits."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from ..comparison import Difference, adjusted, jackknife_difference, welch_difference
from ..records import Record
from .comparison import Comparison, Row, Test
from .run import Moment, Run

INPUT = "input"


def separations(record: Record) -> dict[str, NDArray[np.float64]]:
    """The divergence of every pair of classes by layer, ``[K, K]``, in order of execution; empty if not measured."""
    found = record.findings.get("henze_penrose", {})
    return {layer: found[layer]["divergence"] for layer in record.layers if layer in found}


def compare_runs(run: Run, other: Run, test: Test = "jackknife") -> Comparison:
    """See :meth:`Run.compare`."""
    names = run.name or "this run", other.name or "the other run"
    mine, others = _sides(run, names[0]), _sides(other, names[1])
    notes = _unshared("epochs", mine, others, names)
    moments = [moment for moment in mine if moment in others]
    if not moments:
        raise ValueError(f"{names[0]} and {names[1]} share no epoch: {_listed(mine)} against {_listed(others)}")
    a, b = ({layer: None for at in moments for layer in side[at].layers} for side in (mine, others))
    layers = [layer for layer in a if layer in b]
    if not layers or layers == [INPUT] != list(a):
        raise ValueError(f"{names[0]} and {names[1]} share no layer: {_listed(a)} against {_listed(b)}")
    notes += _unshared("layers", a, b, names)
    notes += _sample_notes(run, other, names)
    found = []
    for moment in moments:
        for layer in layers:
            if layer in mine[moment].layers and layer in others[moment].layers:
                found.append(_Pair(moment, layer, names[1], mine[moment].of(layer), others[moment].of(layer)))
    return _tested(f"{names[0]} minus {names[1]}", test, found, notes)


def layer_steps(run: Run, test: Test = "jackknife") -> Comparison:
    """See :meth:`Run.layer_steps`."""
    found = []
    for moment, side in _sides(run, run.name or "the run").items():
        for before, layer in zip(side.layers, list(side.layers)[1:], strict=False):
            found.append(_Pair(moment, layer, before, side.of(layer), side.of(before)))
    if not found:
        raise ValueError("the separation of one layer only is recorded: there is no step from layer to layer")
    return _tested(_of(run, "each layer minus the one before"), test, found, [])


def epoch_steps(run: Run, test: Test = "jackknife") -> Comparison:
    """See :meth:`Run.epoch_steps`."""
    sides = _two_or_more(run)
    found = []
    for (before, earlier), (moment, side) in zip(list(sides.items()), list(sides.items())[1:], strict=False):
        shared = [layer for layer in side.layers if layer in earlier.layers]
        found += [_Pair(moment, layer, _named(before), side.of(layer), earlier.of(layer)) for layer in shared]
    return _tested(_of(run, "each epoch minus the one recorded before"), test, found, [])


def training_effect(run: Run, test: Test = "jackknife") -> Comparison:
    """See :meth:`Run.training_effect`."""
    sides = _two_or_more(run)
    (before, first), (after, last) = next(iter(sides.items())), next(reversed(sides.items()))
    shared = [layer for layer in last.layers if layer in first.layers]
    found = [_Pair(after, layer, _named(before), last.of(layer), first.of(layer)) for layer in shared]
    return _tested(_of(run, f"{_named(after)} minus {_named(before)}"), test, found, [])


def gap(run: Run, test: Test = "jackknife") -> Comparison:
    """See :meth:`Run.gap`."""
    if run.train is None:
        raise ValueError('there are no records of the training data: SeparationMonitor(splits=("val", "train"))')
    validation, train = _sides(run, "validation"), _sides(run.train, "training")
    found = [
        _Pair(moment, layer, "validation", train[moment].of(layer), validation[moment].of(layer))
        for moment in train
        if moment in validation
        for layer in train[moment].layers
        if layer in validation[moment].layers
    ]
    return _tested(_of(run, "training minus validation data"), test, found, [])


def compare_groups(groups: Mapping[str, Sequence[Run]]) -> list[Comparison]:
    """Variants of which several runs were made, each against the first: the run is the unit.

    Args:
        groups: By name the replicate runs (other seeds), at least two of each.

    Returns:
        A comparison for every group but the first: Welch's test of the runs' mean separations, in the layers, epochs
        and classes that all runs of the two groups share.

    Raises:
        ValueError: If there are fewer than two groups, a group has fewer than two runs, or they share nothing.
    """
    if len(groups) < 2:
        raise ValueError(f"two groups or more are needed, not {len(groups)}")
    for name, runs in groups.items():
        if len(runs) < 2:
            raise ValueError(f"group {name!r} has {len(runs)} run; two replicates or more are needed to compare groups")
    (baseline, reference), *others = groups.items()
    return [_compare_group(name, runs, baseline, reference) for name, runs in others]


class _Cell(NamedTuple):
    """The separations of one layer in one record."""

    matrix: NDArray[np.float64]
    classes: list[str]
    counts: dict[str, int]


class _Side(NamedTuple):
    """What a record says of separation."""

    layers: dict[str, NDArray[np.float64]]
    record: Record

    def of(self, layer: str) -> _Cell:
        matrix = self.layers[layer]
        known = np.isfinite(matrix).any(1)
        names = [name for name, has in zip(self.record.class_names, known, strict=True) if has]
        counts = dict(zip(self.record.class_names, self.record.counts.tolist(), strict=True))
        return _Cell(matrix[np.ix_(known, known)], names, counts)


class _Pair(NamedTuple):
    """Two cells to compare."""

    moment: Moment
    layer: str
    versus: str
    cell: _Cell
    other: _Cell


def _compare_group(name: str, runs: Sequence[Run], baseline: str, reference: Sequence[Run]) -> Comparison:
    every = [*runs, *reference]
    sides = [_sides(run, run.name or f"run {i}") for i, run in enumerate(every)]
    moments = [moment for moment in sides[0] if all(moment in side for side in sides)]
    layers = [
        layer
        for layer in dict.fromkeys(layer for side in sides[0].values() for layer in side.layers)
        if all(layer in side[moment].layers for side in sides for moment in moments)
    ]
    if not moments or not layers:
        raise ValueError(f"the runs of {name} and {baseline} share no {'layer' if moments else 'epoch'}")
    names = [run.name or f"run {i}" for i, run in enumerate(every)]
    notes = []
    for run, side, other in zip(every[1:], sides[1:], names[1:], strict=True):
        both = names[0], other
        notes += _unshared("epochs", sides[0], side, both) + _sample_notes(every[0], run, both, seeds=True)
        mine, its = ({layer: None for at in moments for layer in s[at].layers} for s in (sides[0], side))
        notes += _unshared("layers", mine, its, both)
    rows = []
    for moment in moments:
        for layer in layers:
            cells = [side[moment].of(layer) for side in sides]
            shared = [c for c in cells[0].classes if all(c in cell.classes for cell in cells)]
            if len(shared) < 2:
                raise ValueError(f"the runs of {name} and {baseline} do not share two classes")
            notes += [
                note
                for cell, other in zip(cells[1:], names[1:], strict=True)
                for note in _class_notes(cells[0], cell, shared, names[0], other)
            ]
            means = np.array([_mean(_of_classes(cell, shared)) for cell in cells])
            found = welch_difference(means[: len(runs)], means[len(runs) :])
            rows.append(_row(moment, layer, baseline, means[: len(runs)], means[len(runs) :], found, len(shared)))
    title = f"{name} ({len(runs)} runs) minus {baseline} ({len(reference)} runs)"
    return Comparison(title, "welch", _with_q(rows), list(dict.fromkeys(notes)))


def _tested(title: str, test: Test, pairs: Iterable[_Pair], notes: list[str]) -> Comparison:
    if test not in get_args(Test):
        raise ValueError(f"test must be one of {get_args(Test)}, not {test!r}")
    rows, notes = [], list(notes)
    for pair in pairs:
        cell, other = pair.cell, pair.other
        shared = [name for name in cell.classes if name in other.classes]
        if len(shared) < 2:
            raise ValueError(
                f"{title}: no two classes are in both: {_listed(cell.classes)} against {_listed(other.classes)}"
            )
        notes += _class_notes(cell, other, shared, "one side", "the other")
        x, y = _of_classes(cell, shared), _of_classes(other, shared)
        if len(shared) < 3 and test == "jackknife":
            notes.append(
                "two classes: one pair has no spread to test by; the jackknife needs three classes. Replicate runs "
                "(groups) can be compared"
            )
        found = _test_of(test, len(shared))(x, y)
        rows.append(_row(pair.moment, pair.layer, pair.versus, _pairs(x), _pairs(y), found, len(shared)))
    return Comparison(title, test, _with_q(rows), list(dict.fromkeys(notes)))


def _test_of(test: Test, num: int) -> Callable[[NDArray[np.float64], NDArray[np.float64]], Difference]:
    if test != "jackknife":
        return _paired if test == "fisher_paired" else _unpaired
    return jackknife_difference if num > 2 else _untested


def _untested(x: NDArray[np.float64], y: NDArray[np.float64]) -> Difference:
    return Difference(_mean(x) - _mean(y), np.nan, np.nan, np.nan)


def _unpaired(x: NDArray[np.float64], y: NDArray[np.float64], paired: bool = False) -> Difference:
    import torch  # only who asks for this test needs it

    from ..functional import permutation_test

    generator = torch.Generator().manual_seed(0)
    found = permutation_test(torch.tensor(_pairs(x)), torch.tensor(_pairs(y)), paired=paired, generator=generator)
    return Difference(*(float(part) for part in (found.statistic, found.low, found.high, found.p_value)))


def _paired(x: NDArray[np.float64], y: NDArray[np.float64]) -> Difference:
    return _unpaired(x, y, paired=True)


def _row(
    moment: Moment,
    layer: str,
    versus: str,
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    found: Difference,
    classes: int,
) -> Row:
    effect, low, high, p_value = (float(part) for part in found)
    return Row(moment, layer, versus, float(x.mean()), float(y.mean()), effect, low, high, p_value, p_value, classes)


def _with_q(rows: list[Row]) -> list[Row]:
    """Adjusted over all rows but those of equal inputs: that the same samples are separated alike is no finding."""
    tested = np.array([row.layer != INPUT or row.effect != 0 for row in rows], dtype=bool)
    q_values = np.array([row.p_value for row in rows])
    q_values[tested] = adjusted(q_values[tested])
    return [row._replace(q_value=float(q)) for row, q in zip(rows, q_values, strict=True)]


def _sides(run: Run, name: str) -> dict[Moment, _Side]:
    found = {moment: _Side(layers, record) for moment, record in run.moments.items() if (layers := separations(record))}
    if not found:
        raise ValueError(f"{name} has no separation of classes to compare (analysis HenzePenrose, two classes or more)")
    return found


def _two_or_more(run: Run) -> dict[Moment, _Side]:
    sides = _sides(run, run.name or "the run")
    if len(sides) < 2:
        raise ValueError("the separation in one epoch only is recorded: there is nothing to compare it with")
    return sides


def _unshared(what: str, mine: Iterable[object], others: Iterable[object], names: tuple[str, str]) -> list[str]:
    mine, others = list(mine), list(others)
    only = [[item for item in a if item not in b] for a, b in ((mine, others), (others, mine))]
    return [f"only {name} has the {what} {_listed(items)}" for name, items in zip(names, only, strict=True) if items]


def _class_notes(cell: _Cell, other: _Cell, shared: list[str], name: str, other_name: str) -> list[str]:
    notes = _unshared("classes", cell.classes, other.classes, (name, other_name))
    unequal = [c for c in shared if cell.counts[c] != other.counts[c]]
    if unequal:
        sizes = ", ".join(f"{c}: {cell.counts[c]} and {other.counts[c]}" for c in unequal[:5])
        more = f" and {len(unequal) - 5} more" if len(unequal) > 5 else ""
        notes.append(
            f"unequal numbers of samples ({sizes}{more}): the largest separation that can be reached depends on them, "
            "so part of a difference may come from that"
        )
    return notes


def _sample_notes(run: Run, other: Run, names: tuple[str, str], *, seeds: bool = False) -> list[str]:
    """Whether two runs look at the same samples: the separation of the input does not depend on the network."""
    inputs = [separations(next(iter(r.moments.values()))).get(INPUT) for r in (run, other)]
    a, b = inputs
    if a is None or b is None or (a.shape == b.shape and np.allclose(a, b, rtol=0, atol=1e-12, equal_nan=True)):
        return []
    return [f"{names[0]} and {names[1]} look at other samples or inputs: the separation of their inputs differs"]


def _of_classes(cell: _Cell, names: list[str]) -> NDArray[np.float64]:
    at = [cell.classes.index(name) for name in names]
    return cell.matrix[np.ix_(at, at)]


def _pairs(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    return matrix[np.triu_indices(len(matrix), 1)]


def _mean(matrix: NDArray[np.float64]) -> float:
    return float(_pairs(matrix).mean())


def _named(moment: Moment) -> str:
    return f"epoch {moment}" if isinstance(moment, int) else f"{moment} training"


def _of(run: Run, what: str) -> str:
    return f"{run.name}: {what}" if run.name else what


def _listed(items: Iterable[object], most: int = 8) -> str:
    names = [str(item) for item in items]
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
