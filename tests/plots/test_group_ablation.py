"""What the figure of groups of units that are removed shows."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.figure import Figure

from lightning_separation.plots import group_accuracy
from tests.plots.test_henze_penrose import assert_legible, texts, title

SIGNIFICANT, OTHERS = "without significant units", "without as many others"


def found(num: int) -> tuple[dict, dict, dict]:
    rng = np.random.default_rng(0)
    names = [*(f"model.encoder.layers.{i}.linear1" for i in range(num - 1)), "all layers"]
    return (
        {n: rng.uniform(0.3, 0.5, 10) for n in names},
        {n: rng.uniform(0.8, 1, 10) for n in names},
        dict.fromkeys(names, 0.93),
    )


def drawn(figure: Figure, kind: type, label: str):
    return next(c for c in figure.axes[0].collections if isinstance(c, kind) and c.get_label() == label)


def share(figure: Figure, x: np.ndarray) -> np.ndarray:
    """Places as accuracies."""
    at = {t.get_text(): t.get_position()[0] for t in figure.axes[0].texts if t.get_label() == "column"}
    return (np.asarray(x) - at["0%"]) / (at["100%"] - at["0%"])


@pytest.mark.parametrize("num", [1, 2, 9, 60])
def test_texts_neither_overlap_nor_leave_the_figure(num: int) -> None:
    assert_legible(group_accuracy(*found(num), title="a title " * 30))


def test_every_repeat_is_a_point_and_the_mean_a_line() -> None:
    first, second = (
        {"fc": np.array([0.2, 0.6]), "out": np.array([0.5])},
        {"fc": np.array([0.9]), "out": np.array([0.7])},
    )
    figure = group_accuracy(first, second, {"fc": 0.95, "out": 0.94}, title="epoch 7")
    points = drawn(figure, PathCollection, SIGNIFICANT).get_offsets()
    np.testing.assert_allclose(share(figure, points[:, 0]), [0.2, 0.6, 0.5])
    means = drawn(figure, LineCollection, SIGNIFICANT).get_segments()
    np.testing.assert_allclose(share(figure, [segment[0, 0] for segment in means]), [0.4, 0.5])
    points = drawn(figure, PathCollection, OTHERS).get_offsets()
    np.testing.assert_allclose(share(figure, points[:, 0]), [0.9, 0.7])
    whole = drawn(figure, LineCollection, "all units").get_segments()
    np.testing.assert_allclose(share(figure, [segment[0, 0] for segment in whole]), [0.95, 0.94])
    assert texts(figure, "row") == ["fc", "out"]
    assert texts(figure, "difference") == ["50 points", "20 points"]
    assert title(figure) == "epoch 7"


def test_points_stand_in_the_row_of_their_layer_significant_above_others() -> None:
    figure = group_accuracy(*found(3))
    rows = [t.get_position()[1] for t in figure.axes[0].texts if t.get_label() == "row"]
    above = drawn(figure, PathCollection, SIGNIFICANT).get_offsets()[:, 1].reshape(3, 10)
    below = drawn(figure, PathCollection, OTHERS).get_offsets()[:, 1].reshape(3, 10)
    for i in range(3):
        assert (above[i] < rows[i]).all()
        assert (below[i] > rows[i]).all()
        assert i == 2 or (below[i] < above[i + 1]).all()
    colors = [drawn(figure, PathCollection, label).get_facecolor()[0][:3].tolist() for label in (SIGNIFICANT, OTHERS)]
    assert colors[0] != colors[1]


def test_differences_have_a_proper_minus_and_more_digits_when_small() -> None:
    before, after = {"a": np.array([0.9]), "b": np.array([0.5])}, {"a": np.array([0.6]), "b": np.array([0.512])}
    assert texts(group_accuracy(before, after, dict.fromkeys("ab", 1.0)), "difference") == ["−30 points", "1.2 points"]


def test_what_is_missing_is_not_drawn() -> None:
    nothing = np.full(3, np.nan)
    figure = group_accuracy(
        {"a": nothing, "b": np.empty(0)}, {"a": np.array([0.5]), "b": nothing}, {"a": np.nan, "b": 1}
    )
    assert texts(figure, "difference") == ["no value"] * 2
    assert len(drawn(figure, PathCollection, SIGNIFICANT).get_offsets()) == 0
    assert len(drawn(figure, LineCollection, "all units").get_segments()) == 1
    assert_legible(figure)


def test_what_raises() -> None:
    with pytest.raises(ValueError, match="at least one"):
        group_accuracy({}, {}, {})
    with pytest.raises(ValueError, match="same layers"):
        group_accuracy({"a": np.zeros(1)}, {"b": np.zeros(1)}, {"a": 1.0})
    with pytest.raises(ValueError, match="'a' must be"):
        group_accuracy({"a": np.zeros((1, 1))}, {"a": np.zeros(1)}, {"a": 1.0})
