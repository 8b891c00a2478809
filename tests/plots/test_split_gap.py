"""What the gap between training and validation shows, read off the figure itself."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure

from lightning_separation.plots import split_gap
from lightning_separation.plots._layout import FAINT, INK
from tests.plots.test_henze_penrose import assert_legible, long_names, texts
from tests.plots.test_permutation import drawn

TRAIN = {"input": 0.3, "fc": 0.8, "out": 0.9}
VALIDATION = {"input": 0.35, "fc": 0.6, "out": 0.85}
INTERVALS = {"input": (-0.2, -0.01), "fc": (0.1, 0.3), "out": (-0.1, 0.2)}


def told(figure: Figure) -> list[str]:
    return [text for text in texts(figure, "text") if text]


def values_of(figure: Figure, pixels: np.ndarray, panel: int) -> np.ndarray:
    """Places on the scale of a panel, as values."""
    marks = [(t.get_position()[0], t.get_text()) for t in figure.axes[0].texts if t.get_label() == "column"]
    places = np.array([(x, float(text.replace("−", "-"))) for x, text in marks])
    (end,) = np.flatnonzero(np.diff(places[:, 1]) < 0) + 1  # where the second panel begins
    places = places[end:] if panel else places[:end]
    slope, start = np.polyfit(*places.T, 1)
    return np.asarray(slope * pixels + start)


@pytest.mark.parametrize("layers", [1, 5, 60])
@pytest.mark.parametrize("scale", [1e-9, 0.3, -1.0])
def test_texts_neither_overlap_nor_leave_the_figure(layers: int, scale: float) -> None:
    train = dict.fromkeys(long_names(layers), scale)
    validation = dict.fromkeys(train, scale / 2)
    intervals = {name: (-abs(scale), 2 * abs(scale)) for name in train}
    assert_legible(split_gap(train, validation, intervals=intervals, title="a title " * 30))
    assert_legible(split_gap(train, validation))


def test_both_values_stand_in_the_row_of_their_layer() -> None:
    figure = split_gap(TRAIN, VALIDATION)
    rows = [t.get_position()[1] for t in figure.axes[0].texts if t.get_label() == "row"]
    assert texts(figure, "row") == list(TRAIN)
    joints = np.array(drawn(figure, LineCollection, "joint").get_segments())
    for i, (label, values) in enumerate((("training", TRAIN), ("validation", VALIDATION))):
        points = drawn(figure, PathCollection, label).get_offsets()
        np.testing.assert_allclose(points[:, 1], rows)
        np.testing.assert_allclose(values_of(figure, points[:, 0], 0), list(values.values()))
        np.testing.assert_allclose(joints[:, i], points)


def test_gaps_and_intervals_are_drawn_and_told() -> None:
    figure = split_gap(TRAIN, VALIDATION, intervals=INTERVALS)
    assert told(figure) == [
        "−0.05  (−0.20 to −0.01)  not 0",
        "0.20  (0.10 to 0.30)  not 0",
        "0.05  (−0.10 to 0.20)",
    ]
    points = drawn(figure, PathCollection, "gap").get_offsets()
    np.testing.assert_allclose(values_of(figure, points[:, 0], 1), [-0.05, 0.2, 0.05], atol=1e-9)
    ends = np.array(drawn(figure, LineCollection, "interval").get_segments())
    np.testing.assert_allclose(values_of(figure, ends[:, :, 0], 1), list(INTERVALS.values()), atol=1e-9)
    np.testing.assert_allclose(ends[:, 0, 1], points[:, 1])


def test_only_intervals_without_zero_are_dark() -> None:
    figure = split_gap(TRAIN, VALIDATION, intervals=INTERVALS)
    expected = [to_rgba(color) for color in (INK, INK, FAINT)]
    np.testing.assert_allclose(drawn(figure, PathCollection, "gap").get_facecolor(), expected)
    np.testing.assert_allclose(drawn(figure, LineCollection, "interval").get_colors(), expected)
    assert texts(figure, "legend")[2:] == ["gap, interval excludes 0", "gap, interval includes 0"]
    touching = split_gap({"a": 0.5}, {"a": 0.4}, intervals={"a": (0.0, 0.2)})
    assert told(touching) == ["0.10  (0.00 to 0.20)"]
    assert drawn(touching, PathCollection, "gap").get_facecolor().tolist() == [list(to_rgba(FAINT))]


def test_an_end_that_is_nearly_zero_does_not_look_like_it() -> None:
    assert told(split_gap({"a": 0.5}, {"a": 0.4}, intervals={"a": (0.002, 0.2)})) == ["0.10  (0.002 to 0.20)  not 0"]


def test_without_intervals_gaps_are_told_alone() -> None:
    figure = split_gap(TRAIN, VALIDATION)
    assert told(figure) == ["−0.05", "0.20", "0.05"]
    assert texts(figure, "legend") == ["training", "validation"]


def test_what_is_missing_is_left_out() -> None:
    train = {**TRAIN, "fc": np.nan}
    figure = split_gap(train, VALIDATION, intervals={"input": (-np.inf, 0.2), "out": (np.nan, np.nan)})
    assert told(figure) == ["−0.05", "–", "0.05"]
    assert len(drawn(figure, LineCollection, "joint").get_segments()) == 2
    assert not drawn(figure, LineCollection, "interval").get_segments()
    assert_legible(split_gap(dict.fromkeys("ab", np.nan), dict.fromkeys("ab", np.nan)))


def test_values_of_the_other_split_are_found_by_name() -> None:
    turned = dict(reversed(VALIDATION.items()))
    assert told(split_gap(TRAIN, turned)) == told(split_gap(TRAIN, VALIDATION))


def test_what_raises() -> None:
    for wrong in (({}, {}, None), (TRAIN, {"fc": 1.0}, None), (TRAIN, VALIDATION, {"other": (0, 1)})):
        with pytest.raises(ValueError, match="the same layers"):
            split_gap(wrong[0], wrong[1], intervals=wrong[2])
    with pytest.raises(ValueError, match="above the upper"):
        split_gap(TRAIN, VALIDATION, intervals={"fc": (0.2, 0.1)})
