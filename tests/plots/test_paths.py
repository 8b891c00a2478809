"""What the figure of columns, nodes and links shows."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from lightning_separation.plots import PathColumn, path_diagram
from tests.plots.test_henze_penrose import FASHION, assert_legible, texts, title


def network(*sizes: int, names: str = "") -> tuple[list[PathColumn], list[np.ndarray]]:
    rng = np.random.default_rng(0)
    columns = [
        PathColumn(f"layer {i}", [f"{names}{j}" for j in range(size)], rng.normal(0, 1, size))
        for i, size in enumerate(sizes)
    ]
    return columns, [rng.normal(0, 1, (after, before)) for before, after in itertools.pairwise(sizes)]


def links(figure: Figure, gap: int = 0):
    return figure.axes[0].collections[gap]


def circles(figure: Figure, columns: int, column: int):
    return figure.axes[0].collections[columns - 1 + column]


def bold(figure: Figure) -> list[str]:
    return [t.get_text() for t in figure.axes[0].texts if t.get_weight() == "bold" and t.get_label() == "node"]


@pytest.mark.parametrize("names", ["", "a very, very long name of $ nöde "])
@pytest.mark.parametrize("sizes", [(1,), (40,), (1, 1), (4, 12, 3), (20, 16, 8, 1), (32, 32, 32, 32), (10, 512, 784)])
def test_texts_neither_overlap_nor_leave_the_figure(sizes: tuple[int, ...], names: str) -> None:
    columns, edges = network(*sizes, names=names)
    columns[0] = dataclasses.replace(columns[0], title="model.encoder.layers.3.linear1.and.so.on")
    figure = path_diagram(columns, edges, title="a title that is too long for a small figure " * 3)
    assert_legible(figure)
    width, height = figure.axes[0].bbox.size
    for column in range(len(sizes)):
        radius = np.sqrt(circles(figure, len(sizes), column).get_sizes()[0] / np.pi) * 100 / 72
        at = circles(figure, len(sizes), column).get_offsets()
        assert (at >= radius).all()
        assert (at <= [width - radius, height - radius]).all()
        assert (np.diff(at[:, 1]) > 2 * radius).all()


def test_labels_stand_beside_circles_and_links_join_them() -> None:
    columns = [
        PathColumn("input", ["hue", "size"], np.array([0.5, -1.0])),
        PathColumn("output", ["cat", "dog"], np.array([0.9, 0.1])),
    ]
    figure = path_diagram(columns, [np.array([[0.0, -4.0], [2.0, 0.0]])], title="sample 3")
    assert title(figure) == "sample 3"
    assert texts(figure, "node") == ["hue", "size", "cat", "dog"]
    assert texts(figure, "column") == ["input", "output"]
    left, right = (circles(figure, 2, i).get_offsets() for i in range(2))
    weak, strong = links(figure).get_segments()  # the strongest last, in front
    assert [weak[0][1], weak[-1][1]] == [left[0][1], right[1][1]]
    assert [strong[0][1], strong[-1][1]] == [left[1][1], right[0][1]]
    assert left[0][0] < strong[0][0] < strong[-1][0] < right[0][0]


def test_width_opacity_and_color_say_how_much_and_of_what_sign() -> None:
    columns, _ = network(3, 1)
    figure = path_diagram(columns, [np.array([[1.0, -2.0, 4.0]])])
    widths, colors = links(figure).get_linewidths(), links(figure).get_colors()
    assert widths[0] < widths[1] < widths[2]
    assert colors[0][3] < colors[1][3] < colors[2][3]
    assert [color[0] > color[2] for color in colors] == [True, False, True]
    ten = path_diagram(columns, [np.array([[10.0, -20.0, 40.0]])])
    np.testing.assert_allclose(links(ten).get_linewidths(), widths)


def test_links_of_each_gap_are_relative_to_its_largest() -> None:
    columns, edges = network(3, 4, 2)
    figure = path_diagram(columns, [edges[0], 1000 * edges[1]])
    assert max(links(figure, 0).get_linewidths()) == max(links(figure, 1).get_linewidths())


def test_only_the_strongest_links_are_drawn_and_the_figure_says_so() -> None:
    columns, edges = network(20, 16)
    figure = path_diagram(columns, edges, most_edges=5)
    assert len(links(figure).get_segments()) == 5
    assert "the strongest 5 links of each gap" in texts(figure, "legend")
    target = circles(figure, 2, 1).get_offsets()[np.abs(edges[0]).max(1).argmax()]
    assert links(figure).get_segments()[-1][-1][1] == target[1]
    columns, edges = network(4, 12, 3)
    assert texts(path_diagram(columns, edges), "legend")[:2] == ["negative", "positive"]
    assert not any("strongest" in text for text in texts(path_diagram(columns, edges), "legend"))


def test_links_without_a_finite_value_or_of_zero_are_not_drawn() -> None:
    columns, _ = network(3, 2)
    figure = path_diagram(columns, [np.array([[np.nan, 0.0, 1.0], [np.inf, -np.inf, -0.5]])])
    assert len(links(figure).get_segments()) == 2
    figure = path_diagram(columns, [np.zeros((2, 3))])
    assert len(links(figure).get_segments()) == 0
    FigureCanvasAgg(figure).draw()


def test_circles_are_colored_symmetrically_within_their_column() -> None:
    columns = [PathColumn("a", "wxyz", np.array([-2.0, 2.0, 0.0, np.nan])), PathColumn("b", "uv", np.array([0.0, 0.0]))]
    figure = path_diagram(columns, [np.zeros((2, 4))])
    negative, positive, zero, missing = circles(figure, 2, 0).get_facecolor()
    assert negative[2] > negative[0]
    assert positive[0] > positive[2]
    assert zero.min() > 0.9
    assert missing[0] == missing[1] == missing[2] < zero.min()
    np.testing.assert_array_equal(circles(figure, 2, 1).get_facecolor(), [zero, zero])


def test_the_largest_output_stands_out_unless_told_otherwise() -> None:
    columns, edges = network(4, 3)
    columns[1] = PathColumn("out", ["cat", "dog", "emu"], np.array([0.1, np.nan, 0.7]))
    assert bold(path_diagram(columns, edges)) == ["emu"]
    assert bold(path_diagram(columns, edges, highlight={0: [2], 1: [0, 1]})) == ["2", "cat", "dog"]
    assert bold(path_diagram(columns, edges, highlight={})) == []
    widths = circles(path_diagram(columns, edges), 2, 1).get_linewidths()
    assert widths[2] > widths[0] == widths[1]
    columns[1] = PathColumn("out", ["cat", "dog", "emu"], np.full(3, np.nan))
    assert bold(path_diagram(columns, edges)) == []
    columns[1] = PathColumn("out", ["cat", "dog", "emu"], np.zeros(3))
    assert bold(path_diagram(columns, edges)) == []


def test_columns_of_up_to_32_nodes_are_drawn_as_they_are() -> None:
    columns, edges = network(32, 5)
    figure = path_diagram(columns, edges)
    assert texts(figure, "node")[:32] == [str(i) for i in range(32)]
    assert texts(figure, "part") == []


def test_of_larger_columns_the_nodes_with_the_strongest_links_are_drawn() -> None:
    columns, _ = network(2, 512, 3)
    before, after = np.zeros((512, 2)), np.zeros((3, 512))
    strong = np.arange(100, 124)
    before[strong[::2], 0] = 1.0
    after[1, strong[1::2]] = -5.0
    figure = path_diagram(columns, [before, after])
    assert sorted(texts(figure, "node")[2:26]) == [str(i) for i in strong]
    assert texts(figure, "part") == ["24 of 512"]
    figure = path_diagram(columns, [before, after], highlight={1: [7]})
    assert bold(figure) == ["7"]
    assert len(texts(figure, "node")) == 2 + 24 + 3


def test_nodes_of_larger_columns_stand_beside_what_they_are_linked_to() -> None:
    columns = [PathColumn("class", FASHION, np.zeros(10)), network(40)[0][0]]
    edge = np.zeros((40, 10))
    edge[np.arange(20), 9 - np.arange(20) // 2] = 1.0  # the first units belong to the last classes
    edge[20:, 5] = 1e-9
    figure = path_diagram(columns, [edge])
    units = [int(text) for text in texts(figure, "node")[10:] if int(text) < 20]
    classes = [9 - unit // 2 for unit in units]
    assert classes == sorted(classes)
    turned = path_diagram(columns[::-1], [edge.T])
    units = [int(text) for text in texts(turned, "node")[:24] if int(text) < 20]
    assert [9 - unit // 2 for unit in units] == sorted(9 - unit // 2 for unit in units)


def test_one_column_has_no_links() -> None:
    figure = path_diagram([PathColumn("out", ["a", "b"], np.array([1.0, 2.0]))], [])
    assert texts(figure, "node") == ["a", "b"]
    assert len(circles(figure, 1, 0).get_offsets()) == 2


def test_equal_input_gives_equal_pixels() -> None:
    images = []
    for _ in range(2):
        canvas = FigureCanvasAgg(path_diagram(*network(10, 100, 5)))
        canvas.draw()
        images.append(np.asarray(canvas.buffer_rgba()))
    np.testing.assert_array_equal(*images)


def test_what_raises() -> None:
    columns, edges = network(4, 3, 2)
    with pytest.raises(ValueError, match="no columns"):
        path_diagram([], [])
    with pytest.raises(ValueError, match="3 columns need 2 edges, not 1"):
        path_diagram(columns, edges[:1])
    with pytest.raises(ValueError, match=r"edges 1 must be \[2, 3\], not \[3, 2\]"):
        path_diagram(columns, [edges[0], edges[1].T])
    with pytest.raises(ValueError, match="most_edges must be positive, not 0"):
        path_diagram(columns, edges, most_edges=0)
    with pytest.raises(ValueError, match=r"column 'x' has 2 labels and values of shape \[3\]"):
        path_diagram([PathColumn("x", "ab", np.zeros(3))], [])
    with pytest.raises(ValueError, match="column 'x' has 0 labels"):
        path_diagram([PathColumn("x", [], np.zeros(0))], [])
    for highlight in ({3: [0]}, {-1: [0]}, {2: [2]}, {2: [-1]}):
        with pytest.raises(ValueError, match="do not exist"):
            path_diagram(columns, edges, highlight=highlight)
