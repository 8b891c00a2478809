"""What the figure of directions that are removed shows."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.figure import Figure

from lightning_separation.plots import direction_kl
from tests.plots.test_henze_penrose import assert_legible, texts, title


def found(num: int) -> tuple[dict, dict]:
    rng = np.random.default_rng(0)
    kl = {
        f"model.encoder.layers.{i}.linear1": {
            "random": rng.exponential(0.01, 128),
            "principal": np.exp(-np.arange(32) / 3),
            "class_means": rng.uniform(0.1, 0.5, 9),
            "given": rng.uniform(0, 0.1, 2),
            "search": np.array([1.2]),
        }
        for i in range(num)
    }
    return kl, dict.fromkeys(kl, 0.2)


def points(figure: Figure, kind: str) -> np.ndarray:
    (drawn,) = (c for c in figure.axes[0].collections if isinstance(c, PathCollection) and c.get_label() == kind)
    return np.asarray(drawn.get_offsets())


def level(figure: Figure, value: str) -> float:
    return next(t.get_position()[1] for t in figure.axes[0].texts if t.get_label() == "row" and t.get_text() == value)


@pytest.mark.parametrize("num", [1, 2, 3, 4, 7, 20])
def test_texts_neither_overlap_nor_leave_the_figure(num: int) -> None:
    kl, best = found(num)
    assert_legible(direction_kl(kl, best_unit=best, title="a title " * 30))


def test_directions_are_sorted_but_principal_components_keep_their_order() -> None:
    values = np.array([0.2, np.nan, 1.0, 0.4])
    figure = direction_kl({"fc": {"random": values, "principal": values}})
    random, principal = points(figure, "random"), points(figure, "principal")
    zero, one = level(figure, "0"), level(figure, "1")
    np.testing.assert_allclose((zero - random[:, 1]) / (zero - one), [1.0, 0.4, 0.2])
    np.testing.assert_allclose((zero - principal[:, 1]) / (zero - one), [0.2, 1.0, 0.4])
    labels = {t.get_text(): t.get_position()[0] for t in figure.axes[0].texts if t.get_label() == "column"}
    np.testing.assert_allclose(random[:2, 0], [labels["1"], labels["2"]])
    np.testing.assert_allclose(principal[0, 0], labels["1"])
    assert principal[1, 0] > labels["2"]  # the second has no value
    assert np.log(3) / np.log(2) == pytest.approx((random[2, 0] - labels["1"]) / (labels["2"] - labels["1"]))


def test_search_and_the_best_unit_are_marked() -> None:
    kl = {"fc": {"random": np.array([0.1]), "search": np.array([1.0])}, "out": {"random": np.array([0.5])}}
    figure = direction_kl(kl, best_unit={"fc": 0.5})
    assert texts(figure, "legend") == ["random", "found by search", "best single unit"]
    assert texts(figure, "note") == ["strongest 1, 2 × the best unit", "strongest 0.5"]
    (line,) = next(
        c for c in figure.axes[0].collections if isinstance(c, LineCollection) and c.get_label() == "best unit"
    ).get_segments()
    assert line[0, 1] == line[1, 1] == pytest.approx(level(figure, "0.5"))
    (star,) = points(figure, "search")
    assert star[1] == pytest.approx(level(figure, "1"))
    assert line[0, 0] <= star[0] <= line[1, 0]
    assert "best single unit" not in texts(direction_kl(kl), "legend")


def test_hundreds_of_times_are_written_out_and_the_note_fits_three_panels() -> None:
    kl = {name: {"search": np.array([5.71])} for name in "abc"}
    figure = direction_kl(kl, best_unit=dict.fromkeys(kl, 0.0143))
    assert texts(figure, "note") == ["strongest 5.71, 400 × the best unit"] * 3


def test_marks_at_zero_stand_above_the_labels() -> None:
    figure = direction_kl({"fc": {"random": np.array([1.0, 0.0])}})
    labels = [t.get_position()[1] for t in figure.axes[0].texts if t.get_label() == "column"]
    assert points(figure, "random")[1, 1] + 5 < min(labels)


def test_kinds_without_a_mark_of_their_own_are_drawn_too() -> None:
    figure = direction_kl({"fc": {"mine": np.array([0.1, 0.2])}})
    assert texts(figure, "legend") == ["mine"]
    assert len(points(figure, "mine")) == 2


def test_of_many_layers_those_with_the_largest_effect_stand_in_the_order_of_depth() -> None:
    kl = {str(i): {"random": np.array([x])} for i, x in enumerate((0.1, 0.9, np.nan, 0.8))}
    figure = direction_kl(kl, most_layers=2, title="t")
    assert texts(figure, "panel") == ["1", "3"]
    assert title(figure) == "t\nthe 2 of 4 layers with the largest effect of a direction"


def test_layers_without_values_say_so() -> None:
    for kinds in ({}, {"random": np.empty(0)}, {"random": np.array([np.nan])}):
        figure = direction_kl({"fc": kinds}, best_unit={"fc": np.nan})
        assert texts(figure, "note") == ["no values"]
        assert_legible(figure)


def test_what_raises() -> None:
    with pytest.raises(ValueError, match="0 layers"):
        direction_kl({})
    with pytest.raises(ValueError, match=r"'random' in layer 'fc' .* not \[1, 1\]"):
        direction_kl({"fc": {"random": np.zeros((1, 1))}})
