"""What the figures show, read off the figures themselves."""

from __future__ import annotations

import itertools

import matplotlib
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from lightning_separation.plots import separation_depth, separation_heatmap
from lightning_separation.plots._layout import shorten

FASHION = ["T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"]


def divergences(num_classes: int, layers: list[str]) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    found = {}
    for layer in layers:
        upper = np.triu(rng.uniform(-0.1, 1, (num_classes, num_classes)), 1)
        found[layer] = upper + upper.T
    return found


def long_names(count: int) -> list[str]:
    return ["input", *(f"model.encoder.layers.{i}.linear1" for i in range(count - 1))]


def texts(figure: Figure, label: str) -> list[str]:
    return [text.get_text() for text in figure.axes[0].texts if text.get_label() == label]


def shown(figure: Figure) -> np.ma.MaskedArray:
    return figure.axes[0].collections[0].get_array()


def title(figure: Figure) -> str:
    return figure.axes[0].get_title()


def curve(figure: Figure, epoch: int) -> np.ndarray:
    return np.asarray(figure.axes[0].lines[epoch].get_ydata())


def assert_legible(figure: Figure) -> None:
    """No two texts overlap and none leaves the figure."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    boxes = []
    for axes in figure.axes:
        for text in (*axes.texts, axes.title):
            if text.get_text():
                boxes.append((text.get_text(), text.get_window_extent(canvas.get_renderer())))
    for text, box in boxes:
        assert box.x0 >= 0, text
        assert box.y0 >= 0, text
        assert box.x1 <= figure.bbox.x1, text
        assert box.y1 <= figure.bbox.y1, text
    for (one, a), (other, b) in itertools.combinations(boxes, 2):
        across = min(a.x1, b.x1) - max(a.x0, b.x0)
        down = min(a.y1, b.y1) - max(a.y0, b.y0)
        assert across < 0.5 or down < 0.5, f"{one!r} overlaps {other!r}"


class TestHeatmap:
    @pytest.mark.parametrize(
        "layers, classes",
        [
            (["input"], ["cat", "dog"]),
            (["input", "fc1", "fc2"], ["Ankle boot", "Sneaker", "a very, very long name of a class"]),
            (["input", "fc1"], [str(i) for i in range(10)]),
            (["input", "fc1", "fc2", "fc3", "fc4", "fc5"], FASHION),
            (long_names(8), FASHION[:6]),
            (long_names(60), FASHION[:5]),
            (long_names(200), [f"n{i:08d}" for i in range(20)]),
        ],
    )
    def test_texts_neither_overlap_nor_leave_the_figure(self, layers: list[str], classes: list[str]) -> None:
        found = divergences(len(classes), layers)
        found[layers[-1]][0, 1] = np.nan
        assert_legible(separation_heatmap(found, classes, title="a title that is too long for a small figure " * 2))

    def test_pairs_stand_in_class_order_and_layers_from_the_input_down(self) -> None:
        found = divergences(4, ["input", "fc1", "fc2"])
        figure = separation_heatmap(found, ["a", "b", "c", "d"])
        assert texts(figure, "column") == ["a–b", "a–c", "a–d", "b–c", "b–d", "c–d"]
        assert texts(figure, "row") == ["input", "fc1", "fc2"]
        bottom, top = figure.axes[0].get_ylim()
        assert bottom > top  # so that row 0 is on top
        np.testing.assert_array_equal(shown(figure)[1], found["fc1"][np.triu_indices(4, 1)])

    def test_colors_mean_the_same_in_every_figure(self) -> None:
        for scale in (0.01, 1.0, -0.2):
            figure = separation_heatmap({"input": np.full((3, 3), scale)}, "abc")
            mesh = figure.axes[0].collections[0]
            assert mesh.get_clim() == (0, 1)
        assert mesh.to_rgba(np.array([-0.2])).tolist() == mesh.to_rgba(np.array([0.0])).tolist()

    def test_hardest_pairs_are_those_of_the_last_layer_hardest_first(self) -> None:
        found = {"input": np.zeros((4, 4)), "fc": np.zeros((4, 4))}
        found["fc"][np.triu_indices(4, 1)] = [0.9, np.nan, 0.2, 0.7, 0.1, 0.8]
        figure = separation_heatmap(found, "abcd", most_pairs=3, title="epoch 7")
        assert texts(figure, "column") == ["b–d", "a–d", "b–c"]
        assert title(figure) == "epoch 7\nthe hardest 3 of 6 pairs"
        figure = separation_heatmap(found, "abcd", most_pairs=5)
        assert "a–c" not in texts(figure, "column")  # NaN comes last
        assert title(figure) == "the hardest 5 of 6 pairs"

    def test_hardest_pairs_where_the_last_layer_has_no_values(self) -> None:
        found = {"fc1": np.zeros((3, 3)), "fc2": np.full((3, 3), np.nan)}
        found["fc1"][np.triu_indices(3, 1)] = [0.3, 0.2, 0.1]
        assert texts(separation_heatmap(found, "abc", most_pairs=2), "column") == ["b–c", "a–c"]

    def test_title_is_as_given_when_all_pairs_are_shown(self) -> None:
        figure = separation_heatmap(divergences(10, ["input"]), FASHION, title="epoch 7")
        assert title(figure) == "epoch 7"
        assert len(texts(figure, "column")) == 45

    def test_cells_without_value_are_hatched_and_the_figure_says_so(self) -> None:
        found = divergences(3, ["input", "fc1", "fc2"])
        assert separation_heatmap(found, "abc").axes[0].patch.get_hatch() is None
        found["fc1"][:] = np.nan
        found["fc2"][0, 1] = np.inf
        figure = separation_heatmap(found, "abc")
        np.testing.assert_array_equal(shown(figure).mask, [[0, 0, 0], [1, 1, 1], [1, 0, 0]])
        assert figure.axes[0].patch.get_hatch()
        assert any("no value" in text.get_text() for text in figure.axes[1].texts)
        assert len(texts(figure, "value")) == 5

    def test_values_are_written_when_there_are_few(self) -> None:
        found = {"input": np.array([[0, -0.004, -0.05], [0, 0, 1], [0, 0, 0]])}
        assert texts(separation_heatmap(found, "abc"), "value") == ["0.00", "−0.05", "1.00"]
        assert texts(separation_heatmap(divergences(10, long_names(6)), FASHION), "value") == []

    def test_names_are_drawn_as_they_are(self) -> None:
        figure = separation_heatmap({"_a_$x$": np.zeros((2, 2))}, ["$1 to $5", "two\nlines"])
        assert texts(figure, "column") == ["$1 to $5–two lines"]
        assert not any(text.get_parse_math() for text in figure.axes[0].texts)
        FigureCanvasAgg(figure).draw()

    def test_the_users_style_neither_changes_the_figure_nor_is_changed(self) -> None:
        with matplotlib.rc_context({"text.color": "white", "figure.facecolor": "black", "text.usetex": True}):
            figure = separation_heatmap(divergences(3, ["input"]), "abc")
            assert matplotlib.rcParams["text.color"] == "white"
        assert matplotlib.colors.to_rgb(figure.get_facecolor()) == (1, 1, 1)
        assert figure.axes[0].texts[0].get_color() != "white"
        FigureCanvasAgg(figure).draw()

    def test_equal_input_gives_equal_pixels(self) -> None:
        images = []
        for _ in range(2):
            canvas = FigureCanvasAgg(separation_heatmap(divergences(3, ["input", "fc"]), "abc"))
            canvas.draw()
            images.append(np.asarray(canvas.buffer_rgba()))
        np.testing.assert_array_equal(*images)

    @pytest.mark.parametrize(
        "found, classes, most_pairs, message",
        [
            ({}, "ab", 45, "no layers"),
            ({"fc": np.zeros((1, 1))}, "a", 45, "two classes"),
            ({"fc": np.zeros((2, 2))}, "ab", 0, "most_pairs=0"),
            ({"input": np.zeros((2, 2)), "fc": np.zeros((2, 3))}, "ab", 45, r"\(2, 3\) in layer 'fc'"),
        ],
    )
    def test_what_raises(self, found: dict[str, np.ndarray], classes: str, most_pairs: int, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            separation_heatmap(found, classes, most_pairs=most_pairs)


def curves(num_epochs: int, layers: list[str]) -> dict[int | str, dict[str, float]]:
    rng = np.random.default_rng(0)
    keys = ["untrained", *range(num_epochs - 1)]
    return {key: {layer: float(rng.uniform(0, 1)) for layer in layers} for key in keys}


class TestDepth:
    @pytest.mark.parametrize("num_epochs", [1, 5, 100])
    @pytest.mark.parametrize("layers", [["input"], ["input", "fc1", "fc2"], long_names(30), long_names(60)])
    def test_texts_neither_overlap_nor_leave_the_figure(self, num_epochs: int, layers: list[str]) -> None:
        assert_legible(separation_depth(curves(num_epochs, layers), title="separation by depth"))

    def test_names_of_equal_ends_are_moved_apart(self) -> None:
        for end in (-0.5, 0.0, 1.0, np.nan):
            assert_legible(separation_depth({epoch: {"input": 0.5, "fc": end} for epoch in range(6)}))

    def test_all_layers_are_named_up_to_60_and_fewer_above(self) -> None:
        assert len(texts(separation_depth(curves(2, long_names(60))), "column")) == 60
        figure = separation_depth(curves(2, long_names(150)))
        assert 20 < len(texts(figure, "column")) < 100
        assert_legible(figure)

    def test_y_axis_is_the_same_in_every_figure(self) -> None:
        for value in (-3.0, 0.5):
            figure = separation_depth({0: {"input": value, "fc": value}}, value="mean")
            assert figure.axes[0].get_ylim() == (-0.1, 1.02)
            assert "mean" in [text.get_text() for text in figure.axes[0].texts]

    def test_missing_layers_leave_gaps(self) -> None:
        figure = separation_depth({0: {"a": 0.1, "c": 0.3}, 1: {"a": 0.2, "b": 0.4, "c": np.nan}})
        assert texts(figure, "column") == ["a", "b", "c"]
        np.testing.assert_array_equal(curve(figure, 0), [0.1, np.nan, 0.3])
        np.testing.assert_array_equal(curve(figure, 1), [0.2, 0.4, np.nan])

    def test_points_without_neighbours_are_seen_among_many_epochs(self) -> None:
        many = curves(20, ["a", "b", "c"])
        many[3]["b"] = np.nan
        figure = separation_depth(many)
        assert figure.axes[0].lines[4].get_markevery() == [0, 2]
        assert figure.axes[0].lines[5].get_marker() == "None"

    def test_last_epoch_stands_out(self) -> None:
        figure = separation_depth(curves(4, ["input", "fc"]))
        widths = [line.get_linewidth() for line in figure.axes[0].lines]
        assert widths[-1] > 2 * max(widths[:-1])
        bold = [text.get_text() for text in figure.axes[0].texts if text.get_weight() == "bold"]
        assert bold == ["epoch 2"]

    def test_lines_darken_from_early_to_late(self) -> None:
        figure = separation_depth(curves(12, ["input", "fc"]))
        brightness = [np.dot(line.get_color()[:3], [0.3, 0.6, 0.1]) for line in figure.axes[0].lines]
        assert brightness == sorted(brightness, reverse=True)

    def test_few_epochs_are_named_one_by_one_and_many_by_a_scale(self) -> None:
        few = separation_depth(curves(6, ["input", "fc"]))
        assert len(few.axes) == 1
        assert texts(few, "epoch") == ["untrained", "epoch 0", "epoch 1", "epoch 2", "epoch 3", "epoch 4"]
        many = separation_depth(curves(9, ["input", "fc"]))
        assert texts(many, "epoch") == ["epoch 7"]
        scale = [text.get_text() for text in many.axes[1].texts]
        assert scale == ["untrained", "epoch 1", "epoch 3", "epoch 5", "epoch 7"]

    def test_the_last_line_has_a_band_of_the_layers_that_have_one(self) -> None:
        given = curves(3, ["a", "b", "c", "d", "e"])
        band = {"a": (0.1, 0.2), "b": (-3.0, 0.5), "c": (np.nan, np.nan), "e": (0.5, 7.0)}
        figure = separation_depth(given, band=band)
        assert_legible(figure)
        (shape,) = (part for part in figure.axes[0].collections if part.get_label() == "band")
        stretch, bar = (path.vertices[:-1] for path in shape.get_paths())
        np.testing.assert_allclose(stretch, [[0, 0.1], [1, -0.1], [1, 0.5], [0, 0.2]])
        assert bar[:, 0].mean() == pytest.approx(4)
        assert (bar[:, 1].min(), bar[:, 1].max()) == (0.5, 1.02)  # the axis ends there
        assert shape.get_zorder() < min(line.get_zorder() for line in figure.axes[0].lines)
        assert [text.get_text() for text in figure.axes[1].texts] == ["95% interval over classes"]

    @pytest.mark.parametrize("band", [None, {}, {"input": (np.nan, np.nan)}, {"input": (0.1, np.nan)}])
    def test_without_an_interval_the_figure_is_as_ever(self, band: dict[str, tuple[float, float]] | None) -> None:
        figure = separation_depth(curves(2, ["input", "fc"]), band=band)
        assert len(figure.axes) == 1
        assert not [part for part in figure.axes[0].collections if part.get_label() == "band"]

    @pytest.mark.parametrize("num_epochs", [1, 100])
    @pytest.mark.parametrize("layers", [["input"], long_names(60)])
    def test_a_band_takes_no_room_from_texts(self, num_epochs: int, layers: list[str]) -> None:
        band = dict.fromkeys(layers, (0.2, 1.0))
        assert_legible(separation_depth(curves(num_epochs, layers), title="a title " * 30, band=band))

    def test_a_band_of_an_unknown_layer_raises(self) -> None:
        with pytest.raises(ValueError, match=r"layers that no curve has: \['fc9'\]"):
            separation_depth(curves(2, ["fc"]), band={"fc9": (0.1, 0.2)})

    @pytest.mark.parametrize("nothing", [{}, {0: {}}])
    def test_nothing_to_draw_raises(self, nothing: dict[int, dict[str, float]]) -> None:
        with pytest.raises(ValueError, match="no epochs or no layers"):
            separation_depth(nothing)


def test_shortened_names_stay_different() -> None:
    names = [f"a_common_beginning_{i}_and_a_common_end_of_all" for i in range(9)]
    assert all(len(name) <= 28 for name in shorten(names))
    assert len(set(shorten(names))) == 9
    assert shorten(["short"]) == ["short"]
