"""What the figures of information over the epochs and along the depth show."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from lightning_separation.plots import information_depth, information_epochs, information_plane
from tests.plots.test_henze_penrose import assert_legible, long_names, texts, title
from tests.plots.test_permutation import drawn

Curves = dict[int | str, dict[str, float]]


def curves(layers: int, epochs: int, seed: int = 0, scale: float = 1.0) -> Curves:
    rng = np.random.default_rng(seed)
    labels = ["before training", *range(epochs - 1)]
    return {label: {name: scale * rng.uniform(0.2, 2) for name in long_names(layers)} for label in labels}


def places(figure: Figure, label: str, axis: int) -> tuple[np.ndarray, list[str]]:
    marks = [t for t in figure.axes[0].texts if t.get_label() == label]
    return np.array([t.get_position()[axis] for t in marks]), [t.get_text() for t in marks]


def on_scale(figure: Figure, label: str, axis: int, pixels: np.ndarray) -> np.ndarray:
    at, marks = places(figure, label, axis)
    slope, start = np.polyfit(at, [float(mark.replace("−", "-")) for mark in marks], 1)
    return np.asarray(slope * pixels + start)


def paths(figure: Figure) -> list[LineCollection]:
    return [c for c in figure.axes[0].collections if isinstance(c, LineCollection) and c.get_label() == "path"]


def waypoints(figure: Figure, path: LineCollection) -> np.ndarray:
    """``[epochs, 2]``, as values."""
    segments = np.array(path.get_segments())
    pixels = np.concatenate([segments[:1, 0], segments[:, 1]])
    return np.stack([on_scale(figure, "column", 0, pixels[:, 0]), on_scale(figure, "row", 1, pixels[:, 1])], axis=1)


@pytest.mark.parametrize("layers, epochs", [(1, 1), (3, 2), (6, 1), (9, 100), (40, 9)])
@pytest.mark.parametrize("scale", [1.0, -1e-3])
def test_texts_neither_overlap_nor_leave_the_figure(layers: int, epochs: int, scale: float) -> None:
    x, y = curves(layers, epochs, 0, scale), curves(layers, epochs, 1, scale)
    assert_legible(information_plane(x, y, title="a title " * 30))
    assert_legible(information_epochs(x, title="a title " * 30))


def test_a_path_goes_through_its_epochs() -> None:
    x, y = curves(3, 5), curves(3, 5, 1)
    figure = information_plane(x, y, title="epoch 7")
    assert title(figure) == "epoch 7"
    assert texts(figure, "legend") == ["first: before training", "last: epoch 3"]
    assert len(paths(figure)) == 3
    for path, layer in zip(paths(figure), long_names(3), strict=True):
        expected = np.array([[x[label][layer], y[label][layer]] for label in x])
        np.testing.assert_allclose(waypoints(figure, path), expected, atol=1e-9)


def test_paths_go_from_light_to_dark_and_neighbours_differ() -> None:
    figure = information_plane(curves(4, 12), curves(4, 12, 1))
    last = []
    for path in paths(figure):
        brightness = np.array(path.get_colors())[:, :3].sum(1)
        assert (np.diff(brightness) < 0).all()
        last.append(tuple(path.get_colors()[-1]))
    assert len(set(last)) == 4


def test_names_are_joined_to_the_last_point_of_their_path() -> None:
    x, y = curves(5, 4), curves(5, 4, 1)
    x[2]["input"] = np.nan  # the last epoch: the path ends before
    figure = information_plane(x, y)
    names = {t.get_text(): t for t in figure.axes[0].texts if t.get_label() == "layer"}
    joints = drawn(figure, LineCollection, "joints").get_segments()
    assert len(names) == len(joints) == 5
    for joint, (name, text), layer in zip(joints, names.items(), long_names(5), strict=True):
        label = 1 if layer == "input" else 2
        np.testing.assert_allclose(on_scale(figure, "column", 0, joint[:1, 0]), x[label][layer], atol=1e-9)
        np.testing.assert_allclose(on_scale(figure, "row", 1, joint[:1, 1]), y[label][layer], atol=1e-9)
        assert joint[-1, 1] == text.get_position()[1], name


def test_missing_epochs_are_gaps_and_layers_without_points_are_not_named() -> None:
    x: Curves = {0: {"a": 1.0, "b": np.nan}, 1: {"a": 2.0}, 2: {"b": 1.0}, 3: {"a": 3.0}, 4: {"a": 4.0, "b": np.inf}}
    y: Curves = {epoch: {"a": 1.0, "b": np.nan} for epoch in x}
    figure = information_plane(x, y)
    assert texts(figure, "layer") == ["a"]
    assert [len(path.get_segments()) for path in paths(figure)] == [2, 0]
    assert [len(path.get_segments()) for path in paths(information_epochs(x))] == [2, 0]
    figure = information_plane({0: {"a": np.nan}}, {0: {"a": 1.0}})
    assert texts(figure, "empty") == ["no values"]
    assert_legible(figure)


def test_of_many_layers_the_first_the_last_and_some_between_are_shown() -> None:
    figure = information_epochs(curves(50, 2), most_layers=5)
    assert title(figure) == "5 of 50 layers, evenly spaced"
    assert len(texts(figure, "layer")) == 5
    assert any(name == "input" for name in texts(figure, "layer"))
    assert any(".48." in name for name in texts(figure, "layer"))


def test_epochs_go_from_left_to_right_in_one_colour_a_layer() -> None:
    values = curves(3, 8)
    figure = information_epochs(values, value="what it is")
    assert texts(figure, "up") == ["what it is"]
    at, names = places(figure, "column", 0)
    assert (names[0], names[-1]) == ("before training", "epoch 6")
    for path, layer in zip(paths(figure), long_names(3), strict=True):
        segments = np.array(path.get_segments())
        assert (segments[:, 1, 0] > segments[:, 0, 0]).all()
        np.testing.assert_allclose([segments[0, 0, 0], segments[-1, 1, 0]], at[[0, -1]])
        got = on_scale(figure, "row", 1, np.append(segments[:, 0, 1], segments[-1, 1, 1]))
        np.testing.assert_allclose(got, [curve[layer] for curve in values.values()], atol=1e-9)
        assert len({tuple(color) for color in path.get_colors()}) == 1


class TestDepth:
    @pytest.mark.parametrize("layers", [1, 4, 40])
    @pytest.mark.parametrize("scale", [1e-5, 0.0, -0.01])
    def test_texts_neither_overlap_nor_leave_the_figure(self, layers: int, scale: float) -> None:
        values = {name: scale * (1 + i) for i, name in enumerate(long_names(layers))}
        later = dict(list(values.items())[1:])
        assert_legible(information_depth(values, later, values, class_entropy=2.3, title="a title " * 30))
        assert_legible(information_depth(values, later))

    def test_bars_are_the_values_of_each_panel(self) -> None:
        parts = [{"a": 1.0, "b": 2.0, "c": np.nan}, {"b": 0.25, "c": np.inf}, {"a": -0.1, "b": 0.3, "c": 0.6}]
        figure = information_depth(*parts)
        assert texts(figure, "head") == ["entropy", "", "with the layer before", "", "with the classes", ""]
        assert texts(figure, "text") == ["1", "2", "–", "–", "0.25", "–", "−0.1", "0.3", "0.6"]
        rows = places(figure, "row", 1)[0]
        zeros = np.array(drawn(figure, LineCollection, "zero").get_segments())[:, 0, 0]
        for i, part in enumerate(parts):
            bars = np.array(drawn(figure, LineCollection, f"bars {i}").get_segments())
            finite = {layer: value for layer, value in part.items() if np.isfinite(value)}
            np.testing.assert_allclose(bars[:, 0, 1], [rows["abc".index(layer)] for layer in finite])
            lengths = bars[:, 1, 0] - bars[:, 0, 0]
            np.testing.assert_allclose(bars[:, 0, 0], zeros[i])
            np.testing.assert_allclose(lengths / lengths.max(), np.array([*finite.values()]) / max(finite.values()))

    def test_the_entropy_of_the_classes_is_a_line_only_where_bars_get_near_it(self) -> None:
        near = information_depth({"a": 1.0}, {}, {"a": 0.5}, class_entropy=np.log(2))
        assert texts(near, "legend") == ["most that a unit can tell about the classes: 0.693 nats"]
        (line,) = drawn(near, LineCollection, "class entropy").get_segments()
        (bar,) = drawn(near, LineCollection, "bars 2").get_segments()
        np.testing.assert_allclose((line[0, 0] - bar[0, 0]) / (bar[1, 0] - bar[0, 0]), np.log(2) / 0.5)
        far = information_depth({"a": 1.0}, {}, {"a": 0.05}, class_entropy=np.log(2))
        assert title(far) == "most that a unit can tell about the classes: 0.693 nats, beyond the scale"
        assert not any(c.get_label() == "class entropy" for c in far.axes[0].collections)

    def test_without_classes_there_are_two_panels(self) -> None:
        figure = information_depth({"a": 1.0}, {}, class_entropy=1.0)
        assert texts(figure, "across") == ["mean entropy of a unit, nats", "mean information of a unit, nats"]
        assert not title(figure)


def test_colours_are_seen_on_white() -> None:
    (path, *_) = paths(information_plane(curves(1, 9), curves(1, 9, 1)))
    assert max(np.dot(color[:3], [0.3, 0.59, 0.11]) for color in path.get_colors()) < 0.9
    assert to_rgb(path.get_colors()[-1]) != to_rgb(path.get_colors()[0])


def test_what_raises() -> None:
    with pytest.raises(ValueError, match="0 epochs"):
        information_epochs({})
    with pytest.raises(ValueError, match="0 layers"):
        information_plane({0: {}}, {0: {}})
    with pytest.raises(ValueError, match=r"epochs \[0\], information \[1\]"):
        information_plane({0: {"a": 1.0}}, {1: {"a": 1.0}})
    with pytest.raises(ValueError, match="most_layers=0"):
        information_epochs({0: {"a": 1.0}}, most_layers=0)
    with pytest.raises(ValueError, match="entropy needs layers"):
        information_depth({}, {})
    with pytest.raises(ValueError, match="not only"):
        information_depth({"a": 1.0}, {"b": 1.0})
