"""Differences between sets of separations: of runs, groups of runs, layers, epochs and splits."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from ..comparison import Difference, adjusted, jackknife_difference, welch_difference
from ..comparison.difference import ROUNDING
from ..records import INPUT, Findings, Record
from .comparison import Comparison, Row, Test
from .run import BEFORE, Moment, Run, named, titled

_MOST_NAMED = 8
_ALIKE = {
    "jackknife": "the difference is the same whichever class is left out",
    "welch": "the runs of each group are equal",
}
_SETTINGS = {
    "module": "the models differ",
    "network": "other parts of the models are analysed",
    "dataloader_idx": "other validation loaders are looked at",
}

Array = NDArray[np.float64]


def separations(record: Record) -> dict[str, Array]:
    """The divergence of the pairs of classes by layer, ``[K, K]``, in order of execution; only where a pair has one."""
    found = record.findings.get("henze_penrose", Findings({}, {}))
    of_pairs = [layer for layer in record.layers if "divergence" in found.get(layer, ())]
    matrices = {layer: found[layer]["divergence"] for layer in of_pairs if found.axes["divergence"] == ("pair",)}
    return {layer: matrix for layer, matrix in matrices.items() if measured_classes(matrix).any()}


def measured_classes(divergence: Array) -> NDArray[np.bool_]:
    """Which classes have a separation from another.

    Args:
        divergence: ``[K, K]``, NaN in the row and column of a class that was left out.

    Returns:
        ``[K]``.

    Example:
        >>> measured_classes(np.array([[0, 0.5, np.nan], [0.5, 0, np.nan], [np.nan, np.nan, 0]]))
        array([ True,  True, False])
    """
    known = np.isfinite(divergence)
    np.fill_diagonal(known, False)
    return np.asarray(known.any(1))


def compare_runs(run: Run, other: Run, test: Test = "jackknife") -> Comparison:
    """See :meth:`Run.compare`."""
    (one, two), notes = _matched([run, other], ["this run", "the other run"])
    names = one.name, two.name
    if not _share_layer(one.layers, two.layers):
        lists = f"{_listed(one.layers)} against {_listed(two.layers)}"
        but = " but the input" if INPUT in one.layers and INPUT in two.layers else ""
        raise ValueError(f"{one.name} and {two.name} share no layer{but}: {lists}")
    pairs = [pair for at in one.sides for pair in _pairs_at(at, names, one.sides[at], two.sides[at])]
    notes += _run_notes(one, two)
    notes += [note for pair in pairs if pair.layer == INPUT for note in _input_notes(pair.cell, pair.other, names)]
    return _tested(f"{one.name} minus {two.name}", test, pairs, notes)


def layer_steps(run: Run, test: Test = "jackknife") -> Comparison:
    """See :meth:`Run.layer_steps`."""
    pairs = [
        _Pair(moment, layer, (layer, before), side[layer], side[before])
        for moment, side in _sides(run).items()
        for before, layer in pairwise(side)
    ]
    if not pairs:
        raise ValueError("the separation of one layer only is recorded: there is no step from layer to layer")
    return _tested(titled(run, "each layer minus the one before"), test, pairs, _hidden_notes(run))


def epoch_steps(run: Run, test: Test = "jackknife") -> Comparison:
    """See :meth:`Run.epoch_steps`."""
    pairs = [
        pair
        for (before, earlier), (moment, side) in pairwise(_two_or_more(run).items())
        for pair in _pairs_at(moment, (named(moment), named(before)), side, earlier)
    ]
    return _tested(titled(run, "each epoch minus the one recorded before"), test, pairs, _hidden_notes(run))


def training_effect(run: Run, test: Test = "jackknife") -> Comparison:
    """See :meth:`Run.training_effect`."""
    sides = _two_or_more(run)
    before, *_, after = sides
    names = named(after), named(before)
    pairs = _pairs_at(after, names, sides[after], sides[before])
    return _tested(titled(run, " minus ".join(names)), test, pairs, _hidden_notes(run))


def gap(run: Run, test: Test = "jackknife") -> Comparison:
    """See :meth:`Run.gap`."""
    if run.train is None:
        why = [note for record in run.records for note in record.notes if note.startswith("train: ")]
        told = why[-1] if why else 'SeparationMonitor(splits=("val", "train")) makes them'
        raise ValueError(f"there are no records of the training data; {told}")
    validation, train = _sides(run), _sides(run.train)
    pairs = [
        pair
        for moment, side in train.items()
        for pair in _pairs_at(moment, ("training", "validation"), side, validation.get(moment, {}))
    ]
    notes = [*_hidden_notes(run), *_hidden_notes(run.train)]
    return _tested(titled(run, "training minus validation data"), test, pairs, notes)


def compare_groups(groups: Mapping[str, Sequence[Run]]) -> list[Comparison]:
    """Variants of which several runs were made, each against the first: the run is the unit.

    Args:
        groups: By name the replicate runs (other seeds), at least two of each.

    Returns:
        A comparison for every group but the first, by Welch's test of the runs' mean separations, in the layers,
        epochs and classes that all runs of the two groups share; without a shared epoch in the last record of each run.

    Raises:
        ValueError: If there are fewer than two groups, a group has fewer than two runs, or they share no layer or no
            two classes.

    Example:
        >>> def run(separation):  # two classes, one epoch, one layer
        ...     found = Findings({"divergence": ("pair",)}, {"fc": {"divergence": [[0, separation], [separation, 0]]}})
        ...     return Run([Record(0, 9, "fit", "val", ["fc"], ["a", "b"], np.full(2, 50), {"henze_penrose": found})])
        >>> groups = {"plain": [run(0.70), run(0.72)], "augmented": [run(0.80), run(0.84)]}
        >>> row = compare_groups(groups)[0].rows[0]
        >>> print(f"{row.effect:.2f} from {row.low:.2f} to {row.high:.2f}, p = {row.p_value:.3f}")
        0.11 from -0.03 to 0.25, p = 0.069
    """
    if len(groups) < 2:
        raise ValueError(f"two groups or more are needed, not {len(groups)}")
    for name, runs in groups.items():
        if len(runs) < 2:
            raise ValueError(f"group {name!r} has {len(runs)} run; two replicates or more are needed to compare groups")
    (baseline, reference), *others = groups.items()
    return [_compare_group(name, runs, baseline, reference) for name, runs in others]


class _Cell(NamedTuple):
    """The separations of one layer in one record.

    Attributes:
        matrix: ``[K, K]``.
        rows: Where in it each class is that has a separation.
        counts: Samples of each class.
    """

    matrix: Array
    rows: dict[str, int]
    counts: dict[str, int]

    def of(self, classes: Sequence[str]) -> Array:
        """The pairs of some of the classes."""
        rows = [self.rows[name] for name in classes]
        return self.matrix[rows][:, rows]


_Side = dict[str, _Cell]
"""What a record says of separation, by layer."""


class _Whole(NamedTuple):
    """What a comparison sees of a run.

    Attributes:
        run: The run.
        name: What it is called.
        moments: All at which it has separations.
        sides: Those that are compared; where no epoch is shared, the last under the moment of the first run's last.
    """

    run: Run
    name: str
    moments: list[Moment]
    sides: dict[Moment, _Side]

    @property
    def layers(self) -> list[str]:
        """In the records that are compared."""
        return list(dict.fromkeys(layer for side in self.sides.values() for layer in side))


class _Pair(NamedTuple):
    """Two cells to compare; ``names`` of what they are of."""

    moment: Moment
    layer: str
    names: tuple[str, str]
    cell: _Cell
    other: _Cell


def _side(record: Record) -> _Side:
    counts = dict(zip(record.class_names, record.counts.tolist(), strict=True))
    side = {}
    for layer, matrix in separations(record).items():
        known = measured_classes(matrix).tolist()
        side[layer] = _Cell(matrix, {name: i for i, name in enumerate(record.class_names) if known[i]}, counts)
    return side


def _sides(run: Run, name: str = "") -> dict[Moment, _Side]:
    found = {moment: side for moment, record in run.moments.items() if (side := _side(record))}
    if not found:
        who = name or run.name or "the run"
        raise ValueError(f"{who} has no separation of classes to compare (analysis HenzePenrose, two classes or more)")
    return found


def _two_or_more(run: Run) -> dict[Moment, _Side]:
    sides = _sides(run)
    if len(sides) < 2:
        raise ValueError("the separation in one epoch only is recorded: there is nothing to compare it with")
    return sides


def _matched(runs: Sequence[Run], otherwise: list[str]) -> tuple[list[_Whole], list[str]]:
    """The runs at the moments that all share, else at the last of each; and what is to be said of that."""
    names = _names(runs, otherwise)
    sides = [_sides(*side) for side in zip(runs, names, strict=True)]
    notes = [note for side in zip(runs, names, strict=True) for note in _hidden_notes(*side)]
    moments = [[moment] * len(runs) for moment in sides[0] if all(moment in side for side in sides)]
    if not moments:
        moments = [[next(reversed(side)) for side in sides]]
        told = ", ".join(f"{named(last)} of {name}" for last, name in zip(moments[0], names, strict=True))
        notes.append(f"no epoch is shared: the last record of each is compared, {told}")
    return [
        _Whole(run, name, list(side), {at[0]: side[at[i]] for at in moments})
        for i, (run, name, side) in enumerate(zip(runs, names, sides, strict=True))
    ], notes


def _share_layer(*layers: Sequence[str]) -> bool:
    """Whether one is in all; the input counts only if it is all there is."""
    shared = set(layers[0]).intersection(*layers)
    return bool(shared - {INPUT}) or set().union(*layers) == {INPUT}


def _pairs_at(moment: Moment, names: tuple[str, str], side: _Side, other: _Side) -> list[_Pair]:
    """The layers that both have."""
    return [_Pair(moment, layer, names, side[layer], other[layer]) for layer in side if layer in other]


def _tested(title: str, test: Test, pairs: Sequence[_Pair], notes: Sequence[str] = ()) -> Comparison:
    if test not in get_args(Test):
        raise ValueError(f"test must be one of {get_args(Test)}, not {test!r}")
    if not pairs:
        raise ValueError(f"{title}: no layer is in both at one epoch")
    shared, said = [], list(notes)
    for pair in pairs:
        cells = pair.cell, pair.other
        shared.append(_shared_classes(cells, title))
        said += _class_notes(*cells, shared[-1], pair.names)
    classes = np.array([len(names) for names in shared])
    numbers = np.empty((len(pairs), 6))
    for num in np.unique(classes):  # all that have as many classes at once
        at = np.flatnonzero(classes == num).tolist()
        x = np.stack([pairs[i].cell.of(shared[i]) for i in at])
        y = np.stack([pairs[i].other.of(shared[i]) for i in at])
        numbers[at] = np.stack([_means(x), _means(y), *_difference(x, y, test)], axis=1)
    if test == "jackknife" and classes.min() < 3:
        said.append(
            "two classes: one pair has no spread to test by; the jackknife needs three classes. Replicate runs "
            "(groups) can be compared"
        )
    heads = [(pair.moment, pair.layer, pair.names[1]) for pair in pairs]
    return _comparison(title, test, heads, numbers, classes, said)


def _difference(x: Array, y: Array, test: Test) -> Difference:
    """Of ``[n, K, K]`` from ``[n, K, K]``, ``[n]`` each; without p where there is no test."""
    if test != "jackknife":
        return _permuted(x, y, paired=test == "fisher_paired")
    if x.shape[-1] > 2:
        return jackknife_difference(x, y)
    effect = _means(x) - _means(y)
    unknown = np.full_like(effect, np.nan)
    return Difference(effect, unknown, unknown, unknown)


def _permuted(x: Array, y: Array, *, paired: bool) -> Difference:
    import torch  # only who asks for this test needs it

    from ..functional import permutation_test

    sides = (torch.from_numpy(pairs_of(side)) for side in (x, y))
    found = permutation_test(*sides, paired=paired, generator=torch.Generator().manual_seed(0))
    return Difference(*(value.numpy() for value in (found.statistic, found.low, found.high, found.p_value)))


def _compare_group(name: str, runs: Sequence[Run], baseline: str, reference: Sequence[Run]) -> Comparison:
    every, size = [*runs, *reference], len(runs)
    numbered = [
        f"run {i + 1} of {group}" for group, of in ((name, runs), (baseline, reference)) for i in range(len(of))
    ]
    wholes, notes = _matched(every, numbered)
    first, *others = wholes
    heads = [
        (moment, layer, baseline)
        for moment, side in first.sides.items()
        for layer in side
        if all(layer in other.sides[moment] for other in others)
    ]
    if not heads or not _share_layer(*(whole.layers for whole in wholes)):
        raise ValueError(f"the runs of {name} and {baseline} share no layer")
    notes += [note for other in others for note in _run_notes(first, other)]
    classes, numbers = [], []
    for moment, layer, _ in heads:
        cells = [whole.sides[moment][layer] for whole in wholes]
        shared = _shared_classes(cells, f"the runs of {name} and {baseline}")
        means = _means(np.stack([cell.of(shared) for cell in cells]))
        for other, cell in zip(others, cells[1:], strict=True):
            both = first.name, other.name
            notes += _class_notes(cells[0], cell, shared, both)
            notes += _input_notes(cells[0], cell, both) if layer == INPUT else []
        x, y = means[:size], means[size:]
        classes.append(len(shared))
        numbers.append([x.mean(), y.mean(), *welch_difference(x, y)])
    title = f"{name} ({size} runs) minus {baseline} ({len(reference)} runs)"
    return _comparison(title, "welch", heads, np.array(numbers), classes, notes)


def _comparison(
    title: str,
    test: str,
    heads: Sequence[tuple[Moment, str, str]],
    numbers: Array,
    classes: Iterable[int],
    notes: Sequence[str],
) -> Comparison:
    """Of the columns mean, other mean, effect, low, high and p.

    A difference without an error has p = 0 but is not tested: separations are multiples of 1 / samples, so differences
    are equal by chance. q is over the others but those of equal inputs: that the same samples are separated alike is no
    finding.
    """
    said, certain = list(notes), (numbers[:, 3] == numbers[:, 4]) & (numbers[:, 5] == 0)
    if certain.any():
        where = [f"{heads[i][1]} ({named(heads[i][0])})" for i in np.flatnonzero(certain).tolist()]
        said.append(f"there is no spread to test by in {_listed(where)}: {_ALIKE[test]}")
    numbers = np.where(certain[:, None] & (np.arange(6) > 2), np.nan, numbers)
    q_values = numbers[:, 5].copy()
    tested = np.array([layer != INPUT for _, layer, _ in heads]) | (np.abs(numbers[:, 2]) > ROUNDING)
    q_values[tested] = adjusted(q_values[tested])
    every = zip(heads, numbers.tolist(), q_values.tolist(), classes, strict=True)
    rows = [
        Row(moment, layer, versus, mean, other_mean, effect, low, high, p_value, q_value, int(num))
        for (moment, layer, versus), (mean, other_mean, effect, low, high, p_value), q_value, num in every
    ]
    return Comparison(title, test, rows, list(dict.fromkeys(said)))


def _shared_classes(cells: Sequence[_Cell], title: str) -> list[str]:
    first, *others = cells
    shared = [name for name in first.rows if all(name in cell.rows for cell in others)]
    if len(shared) < 2:
        sets = " against ".join(_listed(cell.rows) for cell in cells)
        raise ValueError(f"{title}: no two classes are in {'both' if len(cells) == 2 else 'all'}: {sets}")
    return shared


def _class_notes(cell: _Cell, other: _Cell, shared: Sequence[str], names: tuple[str, str]) -> list[str]:
    notes = _unshared("classes", cell.rows, other.rows, names)
    sizes = [(name, cell.counts[name], other.counts[name]) for name in shared]
    unequal = [f"{name}: {mine} and {others}" for name, mine, others in sizes if mine != others]
    if unequal:
        notes.append(
            f"unequal numbers of samples ({_listed(unequal)}): the largest separation that can be reached depends on "
            "them, so part of a difference may come from that"
        )
    return notes


def _hidden_notes(run: Run, name: str = "") -> list[str]:
    who = name or run.name or "the run"
    return [f"{who} has several records of one epoch; not compared: {run.hidden}"] if run.hidden else []


def _run_notes(one: _Whole, two: _Whole) -> list[str]:
    """What differs between two runs as a whole."""
    names = one.name, two.name
    notes = [*_unshared("epochs", one.moments, two.moments, names), *_unshared("layers", one.layers, two.layers, names)]
    return [*notes, *_setting_notes(one.run, two.run, names), *_step_notes(one, two)]


def _setting_notes(run: Run, other: Run, names: tuple[str, str]) -> list[str]:
    """Which models were looked at and how, where that differs; of runs without a run.json nobody knows."""
    settings = [side.info.get("settings", {}) for side in (run, other)]
    told = {what: [one.get(name) for one in settings] for name, what in _SETTINGS.items()}
    measured = [one.get("analyses", {}).get("henze_penrose") for one in settings]
    told["the separation is measured with other settings"] = [
        analysis and f"{analysis} and pooling {one.get('pooling')!r}"
        for analysis, one in zip(measured, settings, strict=True)
    ]
    return [
        f"{what}: {values[0]} in {names[0]}, {values[1]} in {names[1]}"
        for what, values in told.items()
        if values[0] != values[1] and None not in values
    ]


def _step_notes(one: _Whole, two: _Whole) -> list[str]:
    """Whether an epoch is not as long in both, by the last that both have; what ``analyze`` made has no steps."""
    shared = [moment for moment in one.moments if moment in two.moments and moment != BEFORE]
    records = [whole.run.moments[moment] for moment in shared[-1:] for whole in (one, two)]
    steps = {record.step for record in records if record.stage != "analyze"}
    if len(steps) < 2:
        return []
    told = " and ".join(f"{record.step} in {whole.name}" for record, whole in zip(records, (one, two), strict=True))
    return [f"epochs are of different lengths: {named(shared[-1])} is step {told}"]


def _input_notes(cell: _Cell, other: _Cell, names: tuple[str, str]) -> list[str]:
    """Whether other samples were looked at: the separation of the input does not depend on the network."""
    shared = [name for name in cell.rows if name in other.rows]
    if np.allclose(cell.of(shared), other.of(shared), rtol=0, atol=ROUNDING):
        return []
    return [f"{names[0]} and {names[1]} look at other samples or inputs: the separation of their inputs differs"]


def _names(runs: Sequence[Run], otherwise: list[str]) -> list[str]:
    """The runs' own names, if they tell them apart."""
    names = [run.name for run in runs]
    return names if all(names) and len(set(names)) == len(names) else otherwise


def _unshared(what: str, mine: Collection[object], others: Collection[object], names: tuple[str, str]) -> list[str]:
    """What only one of two has."""
    only = [item for item in mine if item not in others], [item for item in others if item not in mine]
    return [f"only {name} has the {what} {_listed(items)}" for name, items in zip(names, only, strict=True) if items]


def pairs_of(matrices: Array) -> Array:
    """The values above the diagonal, ``[..., K, K]`` to ``[..., P]``."""
    return matrices[(..., *np.triu_indices(matrices.shape[-1], 1))]


def _means(matrices: Array) -> Array:
    """Over the pairs, ``[..., K, K]`` to ``[...]``."""
    return np.asarray(pairs_of(matrices).mean(-1))


def _listed(items: Iterable[object]) -> str:
    names = [str(item) for item in items]
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return ", ".join(names[:_MOST_NAMED]) + more
