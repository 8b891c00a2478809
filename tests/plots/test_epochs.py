"""What the heatmaps of layers by epochs show, read off the figures themselves."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection, QuadMesh
from matplotlib.figure import Figure

from lightning_separation.plots import correlation_heatmap, difference_heatmap, layers_by_epochs
from lightning_separation.plots._labels import epoch_labels, evenly_chosen, merged
from tests.plots.test_henze_penrose import assert_legible, long_names, shown, texts
from tests.plots.test_permutation import drawn

FIGURES = (layers_by_epochs, difference_heatmap, correlation_heatmap)


def found(epochs: int, layers: int) -> np.ndarray:
    return np.random.default_rng(0).uniform(-0.3, 1, (epochs, layers))


def labelled(epochs: int) -> list[str | int]:
    return ["before", *range(epochs - 1)]


def notes(figure: Figure) -> str:
    return "".join(texts_of_scale(figure, "note"))


def texts_of_scale(figure: Figure, label: str) -> list[str]:
    return [text.get_text() for text in figure.axes[1].texts if text.get_label() == label]


@pytest.mark.parametrize("draw", FIGURES)
@pytest.mark.parametrize("epochs, layers", [(1, 1), (2, 20), (12, 6), (31, 3), (200, 60), (1500, 1)])
def test_texts_neither_overlap_nor_leave_the_figure(draw, epochs: int, layers: int) -> None:
    values = found(epochs, layers)
    assert_legible(draw(values, long_names(layers), labelled(epochs), title="a title " * 30))
    values[0, 0] = np.nan
    assert_legible(draw(values, long_names(layers), list(range(epochs))))


@pytest.mark.parametrize("num", [1, 2, 4, 9, 30, 100])
def test_names_of_epochs_neither_overlap_nor_leave_the_figure(num: int) -> None:
    names = [f"a checkpoint with a long name {i}" for i in range(num)]
    figure = difference_heatmap(found(num, 2), ["a", "b"], names, significant=found(num, 2) > 0, limit=0.01)
    assert_legible(figure)
    assert len(texts(figure, "column")) >= min(num, 5)
    assert not texts(figure, "across")  # they are no numbers of epochs


def test_names_of_the_last_epochs_do_not_reach_into_the_scale() -> None:
    beyond = []
    for num in (29, 57, 58):
        figure = layers_by_epochs(found(num, 2), ["a", "b"], [f"a long name of epoch {i}" for i in range(num)])
        renderer = FigureCanvasAgg(figure).get_renderer()
        end = max(t.get_window_extent(renderer).x1 for t in figure.axes[0].texts if t.get_label() == "column")
        beyond.append(end - figure.axes[0].bbox.x1)
        assert end < figure.axes[1].bbox.x0
    assert max(beyond) > 20


@pytest.mark.parametrize("draw", FIGURES)
def test_layers_are_rows_from_the_first_down_and_epochs_columns(draw) -> None:
    values = found(4, 3)
    values[1, 2] = np.inf
    figure = draw(values, ["input", "fc", "out"], ["before", 0, 1, 2])
    assert texts(figure, "row") == ["input", "fc", "out"]
    assert texts(figure, "column") == ["before", "0", "1", "2"]
    assert texts(figure, "across") == ["epoch"]
    bottom, top = figure.axes[0].get_ylim()
    assert bottom > top
    np.testing.assert_array_equal(shown(figure).mask, np.isinf(values).T)
    np.testing.assert_array_equal(shown(figure).filled(np.inf), values.T)
    written = [f"{value:.2f}".replace("-", "−") for value in values.T.ravel() if np.isfinite(value)]
    assert texts(figure, "value") == written
    assert "no value" in notes(figure)
    assert figure.axes[0].patch.get_hatch()


@pytest.mark.parametrize("draw", FIGURES)
def test_nothing_known_is_drawn_all_the_same(draw) -> None:
    figure = draw(np.full((3, 2), np.nan), ["a", "b"], range(3))
    assert shown(figure).mask.all()
    assert_legible(figure)


@pytest.mark.parametrize("draw", FIGURES)
def test_equal_input_gives_equal_pixels(draw) -> None:
    images = []
    for _ in range(2):
        canvas = FigureCanvasAgg(draw(found(3, 2), ["a", "b"], range(3)))
        canvas.draw()
        images.append(np.asarray(canvas.buffer_rgba()))
    np.testing.assert_array_equal(*images)


@pytest.mark.parametrize("scale", [0.01, 1.0])
def test_colours_mean_the_same_in_every_figure(scale: float) -> None:
    for draw, limits in ((layers_by_epochs, (0, 1)), (correlation_heatmap, (-1, 1))):
        assert draw(scale * found(2, 2), ["a", "b"], range(2)).axes[0].collections[0].get_clim() == limits


def test_numbers_are_written_only_where_there_is_room() -> None:
    assert len(texts(layers_by_epochs(found(20, 10), long_names(10), range(20)), "value")) == 200
    assert not texts(layers_by_epochs(found(20, 30), long_names(30), range(20)), "value")
    assert not texts(layers_by_epochs(found(100, 2), long_names(2), range(100)), "value")


class TestDifference:
    @pytest.mark.parametrize("scale, limit", [(0.001, 0.05), (0.4, 0.4), (7.0, 7.0)])
    def test_the_scale_is_symmetric_and_noise_does_not_fill_it(self, scale: float, limit: float) -> None:
        effect = np.array([[-scale, 0.5 * scale]])
        figure = difference_heatmap(effect, ["a", "b"], [0])
        assert figure.axes[0].collections[0].get_clim() == (-limit, limit)
        assert texts_of_scale(figure, "row") == [f"−{limit:g}", "0", f"{limit:g}"]

    def test_what_is_beyond_a_limit_is_said(self) -> None:
        figure = difference_heatmap(np.array([[-0.3, 0.1]]), ["a", "b"], [0], limit=0.2, label="more of it")
        assert texts_of_scale(figure, "row") == ["≤ −0.2", "0", "≥ 0.2"]
        assert any(text.get_text() == "more of it" for text in figure.axes[1].texts)

    def test_only_what_is_not_significant_is_pale_and_the_figure_says_so(self) -> None:
        effect = np.array([[0.1, np.nan, 0.3], [-0.2, 0.1, 0.2]])
        significant = np.array([[True, True, False], [False, False, True]])
        figure = difference_heatmap(effect, ["a", "b", "c"], [0, 1], significant=significant)
        veil = drawn(figure, QuadMesh, "muted").get_array()
        np.testing.assert_array_equal(~np.ma.getmaskarray(veil), [[False, True], [False, True], [True, False]])
        assert "pale: not significant" in notes(figure)
        assert "pale" not in notes(difference_heatmap(effect, ["a", "b", "c"], [0, 1]))

    def test_significant_cells_have_outlines_and_their_inner_borders_none(self) -> None:
        significant = np.zeros((4, 3), dtype=bool)
        significant[1:3, 1] = True  # two epochs of the second layer: one area of two cells
        figure = difference_heatmap(np.ones((4, 3)), ["a", "b", "c"], range(4), significant=significant)
        lines = drawn(figure, LineCollection, "significant").get_segments()
        sides = {frozenset(map(tuple, line.tolist())) for line in lines}
        level = {frozenset({(x, y), (x + 1, y)}) for x in (1, 2) for y in (1, 2)}
        assert sides == level | {frozenset({(x, 1), (x, 2)}) for x in (1, 3)}

    def test_a_missing_value_is_not_significant(self) -> None:
        figure = difference_heatmap(np.array([[np.nan]]), ["a"], [0], significant=np.array([[True]]))
        assert not drawn(figure, LineCollection, "significant").get_segments()
        assert np.ma.getmaskarray(drawn(figure, QuadMesh, "muted").get_array()).all()

    def test_a_pale_cell_is_paler_than_a_significant_one_of_equal_value(self) -> None:
        figure = difference_heatmap(np.ones((1, 2)), ["a", "b"], [0], significant=np.array([[True, False]]))
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        image = np.asarray(canvas.buffer_rgba())[::-1, :, :3].astype(float)
        box = figure.axes[0].bbox
        x = int(box.x0 + 0.2 * box.width)
        strong, pale = (image[int(box.y0 + share * box.height), x].sum() for share in (0.75, 0.25))
        assert pale > strong + 150


class TestLabels:
    def test_epochs_are_named_in_round_steps(self) -> None:
        assert list(epoch_labels(range(100), 9.0)) == list(range(0, 100, 5))
        assert list(epoch_labels(range(100), 4.0)) == list(range(0, 100, 10))

    def test_numbers_count_from_the_first_of_them(self) -> None:
        labels = epoch_labels(["before", *range(200)], 4.7)
        assert labels[0] == "before"
        assert set(list(labels.values())[1:]) <= {str(i) for i in range(0, 200, 10)}

    def test_names_that_look_alike_stay_different(self) -> None:
        labels = epoch_labels([f"checkpoint-{i}-of-the-run" for i in range(5)], 300)
        assert len(set(labels.values())) == 5

    def test_first_and_last_are_always_chosen(self) -> None:
        for num in (1, 11, 12, 13, 60):
            chosen, lines = evenly_chosen(num, 12)
            assert chosen[0] == 0
            assert chosen[-1] == num - 1
            assert len(set(chosen)) == min(num, 12)
            assert bool(lines) == (num > 12)

    def test_all_names_once_and_in_the_order_of_each(self) -> None:
        sequences = [["a", "c", "e"], ["a", "b", "c"], ["d", "e"], []]
        names = merged(sequences)
        assert sorted(names) == list("abcde")
        for sequence in sequences:
            assert [name for name in names if name in sequence] == sequence


@pytest.mark.parametrize("draw", FIGURES)
@pytest.mark.parametrize("shape", [(2, 3), (0, 2), (3,)])
def test_wrong_shapes_raise(draw, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"must be \[3 epochs, 2 layers\]"):
        draw(np.zeros(shape), ["a", "b"], range(3))
    with pytest.raises(ValueError, match="at least one"):
        draw(np.zeros((0, 0)), [], [])


def test_what_else_raises() -> None:
    with pytest.raises(ValueError, match=r"significant must be \[1, 2\]"):
        difference_heatmap(np.zeros((1, 2)), ["a", "b"], [0], significant=np.zeros((2, 1), dtype=bool))
    for limit in (0.0, -1.0, np.nan, np.inf):
        with pytest.raises(ValueError, match="limit must be positive"):
            difference_heatmap(np.zeros((1, 1)), ["a"], [0], limit=limit)
    with pytest.raises(ValueError, match="between -1 and 1"):
        correlation_heatmap(np.array([[1.5]]), ["a"], [0])
