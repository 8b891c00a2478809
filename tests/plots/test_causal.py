"""Which units respond but are not needed, or are needed but do not respond, and how that is drawn."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure

from lightning_separation.plots import effect_size_by_loss, extremes, selective_or_used
from tests.plots.test_henze_penrose import assert_legible, texts, title

SELECTIVE, USED, OTHER = "selective but unused", "used but unselective", "other units"
ALL = np.ones(9, bool)
EFFECT = np.array([0.9, -0.8, 0.7, 0.5, 0.4, -0.3, 0.2, 0.1, 0.0])
LOSS = np.array([0.5, 0.001, -0.9, 0.1, -0.2, 0.05, 0.6, -0.7, 0.02])


def test_groups_of_a_hand_worked_layer() -> None:
    # |change|: the lower third is 1, 8, 5; change: the upper third is 6, 0, 3. |effect|: upper 0, 1, 2, lower 6, 7, 8.
    groups = selective_or_used(EFFECT, LOSS, ALL)
    assert np.flatnonzero(groups.unused).tolist() == [1]
    assert np.flatnonzero(groups.unselective).tolist() == [6]
    assert groups.classified
    assert groups.compared.all()


def test_only_significant_units_are_selective() -> None:
    assert not selective_or_used(EFFECT, LOSS, ~ALL).unused.any()
    assert selective_or_used(EFFECT, LOSS, ~ALL).unselective.any()


def test_a_unit_is_not_used_when_the_network_is_better_without_it() -> None:
    groups = selective_or_used(EFFECT, -np.abs(LOSS), ALL)
    assert not groups.unselective.any()
    assert groups.unused[1]


def test_only_compared_units_count() -> None:
    padded = [np.concatenate([values, [99.0, np.nan, 0.5]]) for values in (EFFECT, LOSS)]
    padded[1][-1] = np.inf
    compared = np.array([*ALL, False, True, True])
    groups = selective_or_used(*padded, np.ones(12, bool), compared)
    assert np.flatnonzero(groups.unused).tolist() == [1]
    assert np.flatnonzero(groups.unselective).tolist() == [6]
    assert groups.compared.tolist() == [True] * 9 + [False] * 3


def test_fewer_than_six_are_not_classified() -> None:
    few = selective_or_used(EFFECT, LOSS, ALL, np.arange(9) < 5)
    assert not few.classified
    assert not few.unused.any()
    assert not few.unselective.any()
    assert selective_or_used(EFFECT, LOSS, ALL, np.arange(9) < 6).classified
    assert not selective_or_used(*np.zeros((2, 0)), np.zeros(0, bool)).classified


def test_units_of_equal_value_are_never_divided() -> None:
    # Most units change nothing: they are unused, and none of them is used.
    loss = np.array([0, 0, 0, 0, 0, 0, 0, 0.5, 0.4])
    groups = selective_or_used(EFFECT, loss, ALL)
    assert np.flatnonzero(groups.unused).tolist() == [0, 1, 2]
    assert np.flatnonzero(groups.unselective).tolist() == [7, 8]
    # Most units separate the classes perfectly: they are selective, and none of them is unselective.
    effect = np.array([1, 1, 1, 1, 1, 1, 1, 0.2, 0.1])
    groups = selective_or_used(effect, np.arange(9.0) ** 2 / 50, ALL)
    assert np.flatnonzero(groups.unused).tolist() == [0, 1, 2]
    assert np.flatnonzero(groups.unselective).tolist() == [7, 8]


@pytest.mark.parametrize("change, unused", [(-0.099, True), (0.1, True), (0.101, False), (-0.4, False)])
def test_the_least_needed_unit_is_unused_only_if_a_tenth_of_the_most_needed(change: float, unused: bool) -> None:
    effect = np.array([0.9, 0.8, 0.3, 0.25, 0.2, 0.1])  # the upper third are 0 and 1
    loss = np.array([change, 0.6, 0.7, 0.5, 0.8, -1.0])  # the lower third by |change| are 0 and 3
    assert np.flatnonzero(selective_or_used(effect, loss, ALL[:6]).unused).tolist() == [0] * unused


@pytest.mark.parametrize("weakest, unselective", [(-0.4, True), (0.45, True), (0.46, False), (-0.7, False)])
def test_the_weakest_unit_is_unselective_only_if_half_as_strong_as_the_strongest(
    weakest: float, unselective: bool
) -> None:
    effect = np.array([weakest, 0.85, 0.8, 0.71, 0.75, -0.9])  # the lower third are 0 and 3
    loss = np.array([0.9, 0.1, 0.2, 0.3, -0.9, 0.8])  # the upper third are 0 and 5
    assert np.flatnonzero(selective_or_used(effect, loss, ALL[:6]).unselective).tolist() == [0] * unselective


def test_only_compared_units_say_what_is_little() -> None:
    effect = np.array([0.9, 0.8, 0.7, 0.65, 0.6, 0.5, 4.0, np.nan, 5.0])
    loss = np.array([0.2, 0.7, 0.6, 0.5, 0.8, 1.0, 9.0, 9.0, np.nan])
    groups = selective_or_used(effect, loss, ALL, np.arange(9) != 6)
    assert groups.compared.tolist() == [True] * 6 + [False] * 3
    assert not groups.unused.any()  # more than a tenth of 1.0, if not of 9.0
    assert not groups.unselective.any()  # more than half of 0.9, if not of 5.0
    effect[5], loss[0] = 0.4, 0.1
    groups = selective_or_used(effect, loss, ALL, np.arange(9) != 6)
    assert np.flatnonzero(groups.unused).tolist() == [0]
    assert np.flatnonzero(groups.unselective).tolist() == [5]


def test_layers_in_which_nothing_happens() -> None:
    nothing = np.zeros(9)
    groups = selective_or_used(EFFECT, nothing, ALL)
    assert np.flatnonzero(groups.unused).tolist() == [0, 1, 2]
    assert not groups.unselective.any()
    groups = selective_or_used(nothing, LOSS, ~ALL)
    assert not groups.unused.any()
    assert np.flatnonzero(groups.unselective).tolist() == [0, 3, 6]
    groups = selective_or_used(nothing, nothing, ALL)
    assert not (groups.unused | groups.unselective).any()
    for one in ([0.5], [0.0], [np.nan]):
        alone = selective_or_used(np.array(one), np.array(one), ALL[:1])
        assert not (alone.classified | alone.unused | alone.unselective).any()
    unknown = selective_or_used(np.full(9, np.nan), LOSS, ALL)
    assert not unknown.classified
    assert not unknown.compared.any()


values = st.floats(-1, 1) | st.sampled_from([0.0, 1.0, np.nan])


@given(st.integers(0, 30).flatmap(lambda n: st.tuples(*[hnp.arrays(np.float64, n, elements=values)] * 2)))
def test_no_unit_is_both(arrays: tuple[np.ndarray, np.ndarray]) -> None:
    effect, loss = arrays
    groups = selective_or_used(effect, loss, np.ones(len(effect), bool))
    assert not (groups.unused & groups.unselective).any()
    assert not ((groups.unused | groups.unselective) & ~groups.compared).any()
    assert (loss[groups.unselective] > 0).all()
    largest = [np.abs(array[groups.compared]).max(initial=0) for array in (effect, loss)]
    assert (np.abs(effect[groups.unselective]) <= 0.5 * largest[0]).all()
    assert (np.abs(loss[groups.unused]) <= 0.1 * largest[1]).all()
    for unused, used in itertools.product(np.flatnonzero(groups.unused), np.flatnonzero(groups.unselective)):
        assert abs(effect[unused]) > abs(effect[used])


def test_shapes_must_agree() -> None:
    with pytest.raises(ValueError, match=r"\[\[9\], \[8\]"):
        selective_or_used(EFFECT, LOSS[:8], ALL)


def test_extremes_have_the_most_different_ranks() -> None:
    assert extremes(ALL, EFFECT, LOSS)[0] == 1
    assert extremes(np.isin(np.arange(9), [7, 3]), EFFECT, LOSS) == [7, 3]


def layers(num: int, units: int) -> tuple[dict, dict, dict]:
    rng = np.random.default_rng(0)
    effect = {f"model.encoder.layers.{i}.linear1": rng.beta(1, 2, units) for i in range(num)}
    loss = {name: rng.exponential(0.1, units) - 0.02 for name in effect}
    return effect, loss, {name: selective_or_used(effect[name], loss[name], effect[name] > 0.2) for name in effect}


def points(figure: Figure, label: str) -> np.ndarray:
    (found,) = (
        c for c in figure.axes[0].collections if isinstance(c, PathCollection) and c.get_label().startswith(label)
    )
    return np.asarray(found.get_offsets())


@pytest.mark.parametrize("num, units", [(1, 1), (1, 64), (2, 12), (3, 0), (4, 100), (5, 100), (12, 500)])
def test_texts_neither_overlap_nor_leave_the_figure(num: int, units: int) -> None:
    assert_legible(effect_size_by_loss(*layers(num, units), title="a title " * 30))


def test_units_are_drawn_where_they_belong_and_extremes_numbered_beside() -> None:
    figure = effect_size_by_loss({"fc": EFFECT}, {"fc": LOSS}, {"fc": selective_or_used(EFFECT, LOSS, ALL)})
    (unused,), (used,), others = (points(figure, label) for label in (SELECTIVE, USED, OTHER))
    assert len(others) == 7
    places = {
        label: {text.get_text(): text.get_position() for text in figure.axes[0].texts if text.get_label() == label}
        for label in ("row", "column", "unit")
    }
    left, right = places["column"]["0"][0], places["column"]["1"][0]
    assert unused[0] == pytest.approx(left + 0.8 * (right - left))
    assert used[0] == pytest.approx(left + 0.2 * (right - left))
    zero, half = places["row"]["0"][1], places["row"]["0.5"][1]
    assert used[1] == pytest.approx(zero + (half - zero) * 0.6 / 0.5)
    assert places["unit"].keys() == {"1", "6"}
    for number, point in (("1", unused), ("6", used)):
        assert np.abs(np.array(places["unit"][number]) - point).max() < 40
    assert texts(figure, "note") == ["1 unused, 1 unselective of 9"]


def test_the_two_groups_differ_in_color_and_marker_and_their_numbers_are_colored_alike() -> None:
    figure = effect_size_by_loss({"fc": EFFECT}, {"fc": LOSS}, {"fc": selective_or_used(EFFECT, LOSS, ALL)})
    found = {c.get_label().split(":")[0]: c for c in figure.axes[0].collections if isinstance(c, PathCollection)}
    colors = [tuple(found[label].get_facecolor()[0][:3]) for label in (SELECTIVE, USED, OTHER)]
    assert len(set(colors)) == 3
    shapes = [found[label].get_paths()[0].vertices for label in (SELECTIVE, USED)]
    assert not np.array_equal(*shapes)
    legend = texts(figure, "legend")
    assert legend[0].startswith(SELECTIVE)
    assert "10% of max" in legend[0]
    assert legend[1].startswith(USED)
    assert "50% of max" in legend[1]
    numbers = {text.get_text(): text.get_color() for text in figure.axes[0].texts if text.get_label() == "unit"}
    assert numbers["1"] != numbers["6"]


def test_no_number_stands_on_a_crowd_of_points() -> None:
    rng = np.random.default_rng(0)
    effect, loss = rng.uniform(0, 1, (2, 20000))
    groups = selective_or_used(effect, loss, np.ones(20000, bool))
    assert groups.unused.any()
    figure = effect_size_by_loss({"fc": effect}, {"fc": loss}, {"fc": groups})
    numbers = [text.get_position() for text in figure.axes[0].texts if text.get_label() == "unit"]
    every = np.concatenate([points(figure, label) for label in (SELECTIVE, USED, OTHER)])
    assert all((np.abs(every - number) < (15, 8)).all(1).sum() <= 4 for number in numbers)


def test_layers_with_few_units_say_so_and_are_still_drawn() -> None:
    few = np.arange(9) < 5
    figure = effect_size_by_loss({"fc": EFFECT}, {"fc": LOSS}, {"fc": selective_or_used(EFFECT, LOSS, ALL, few)})
    assert texts(figure, "note") == ["5 units: too few to tell"]
    assert len(points(figure, OTHER)) == 5
    assert texts(figure, "unit") == []


def test_of_many_layers_those_with_the_largest_change_stand_in_the_order_of_depth() -> None:
    effect, loss, groups = layers(5, 20)
    names = list(effect)
    for name, factor in zip(names, (1, 9, 0.1, 8, 0.2), strict=True):
        loss[name] = factor * loss[name] / loss[name].max()
    figure = effect_size_by_loss(effect, loss, groups, most_layers=3, title="t")
    assert [text[-9] for text in texts(figure, "panel")] == ["0", "1", "3"]
    assert title(figure) == "t\nthe 3 of 5 layers with the largest change of the loss"


def test_what_raises() -> None:
    effect, loss, groups = layers(2, 10)
    with pytest.raises(ValueError, match="at least one"):
        effect_size_by_loss({}, {}, {})
    with pytest.raises(ValueError, match="same layers"):
        effect_size_by_loss(effect, {"other": loss[next(iter(loss))]}, groups)
    with pytest.raises(ValueError, match="equal length"):
        effect_size_by_loss(effect, {name: x[1:] for name, x in loss.items()}, groups)
