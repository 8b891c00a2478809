"""What the figures of modules show."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.collections import LineCollection, PathCollection, PolyCollection

from lightning_separation.plots import modularity_by_layer, module_matrix
from tests.plots.test_henze_penrose import assert_legible, long_names, texts, title
from tests.plots.test_permutation import drawn, values_at


def network(units: int, modules: int) -> tuple[np.ndarray, np.ndarray, list[str]]:
    rng = np.random.default_rng(0)
    module = rng.integers(0, modules, units)
    weight = rng.exponential(0.03, (units, units)) + 0.3 * (module[:, None] == module)
    return np.float32((weight + weight.T) / 2), module, [str(i) for i in range(units)]


class TestMatrix:
    @pytest.mark.parametrize("long", [False, True])
    @pytest.mark.parametrize("units, modules", [(1, 1), (2, 2), (12, 3), (30, 30), (64, 1), (256, 8), (256, 256)])
    def test_texts_neither_overlap_nor_leave_the_figure(self, units: int, modules: int, long: bool) -> None:
        weight, module, names = network(units, modules)
        weight[0, -1] = weight[-1, 0] = np.nan
        names = [f"a unit with a long name {i}" for i in names] if long else names
        assert_legible(module_matrix(weight, module, names, title="a title " * 30))

    def test_modules_stand_by_size_and_units_by_what_they_share(self) -> None:
        weight, module, names = network(40, 4)
        figure = module_matrix(weight, module, names, percentile=100)
        off = weight.astype(float) * (1 - np.eye(40))
        sizes = np.bincount(module)
        order = sorted(range(40), key=lambda i: (-sizes[module[i]], module[i], -off[i].sum()))
        shown = figure.axes[0].images[0].get_array()
        np.testing.assert_allclose(shown.filled(0), off[np.ix_(order, order)])
        np.testing.assert_array_equal(np.ma.getmaskarray(shown), np.eye(40, dtype=bool))
        assert texts(figure, "module") == [f"{size} units" for size in sorted(sizes, reverse=True)]
        assert texts(figure, "up") == ["40 units in 4 modules"]

    def test_frames_are_round_the_modules(self) -> None:
        weight = np.ones((6, 6))
        figure = module_matrix(weight, np.array([7, -2, 7, 5, 5, 7]), list("abcdef"))
        assert texts(figure, "row") == texts(figure, "column") == ["a", "c", "f", "d", "e", "b"]
        corners = [
            (path.vertices.min(0).tolist(), path.vertices.max(0).tolist())
            for path in drawn(figure, PolyCollection, "modules").get_paths()
        ]
        assert corners == [([0, 0], [3, 3]), ([3, 3], [5, 5]), ([5, 5], [6, 6])]
        assert texts(figure, "module") == ["3 units", "2 units", "1 unit"]

    def test_single_pairs_and_the_diagonal_do_not_make_the_others_white(self) -> None:
        weight, module, names = network(50, 4)
        np.fill_diagonal(weight, 100)
        plain = module_matrix(weight, module, names)
        weight[3, 4] = weight[4, 3] = 50.0
        figure = module_matrix(weight, module, names, title="epoch 7")
        assert figure.axes[0].images[0].get_clim()[1] < 1.1 * plain.axes[0].images[0].get_clim()[1] < 1
        assert title(figure) == "epoch 7\ncolours end at the 98th percentile of all pairs"
        assert figure.axes[1].texts[1].get_text().startswith("≥ ")
        whole = module_matrix(weight, module, names, percentile=100)
        assert whole.axes[0].images[0].get_clim() == (0, 50)
        assert not title(whole)

    def test_where_hardly_any_pair_shares_anything_the_scale_is_theirs(self) -> None:
        weight = np.zeros((30, 30))
        weight[3, 4] = weight[4, 3] = 0.5
        figure = module_matrix(weight, np.zeros(30, int), [str(i) for i in range(30)])
        assert figure.axes[0].images[0].get_clim() == (0, 0.5)
        nothing = module_matrix(np.zeros((3, 3)), np.zeros(3, int), list("abc"))
        assert nothing.axes[0].images[0].get_clim() == (0, 1)
        assert texts(nothing, "up") == ["3 units in one module"]
        assert_legible(nothing)

    def test_negative_pairs_are_as_zero_and_missing_ones_hatched(self) -> None:
        weight = np.array([[9, -0.1, np.nan], [-0.1, 9, 0.5], [np.nan, 0.5, 9]])
        figure = module_matrix(weight, np.zeros(3, int), list("abc"), percentile=100)
        shown = figure.axes[0].images[0].get_array()
        assert sorted(shown.compressed().tolist()) == [0, 0, 0.5, 0.5]
        assert figure.axes[0].patch.get_hatch()
        assert "no value" in texts_of_scale(figure)
        weight[0, 2] = weight[2, 0] = 0.1
        figure = module_matrix(weight, np.zeros(3, int), list("abc"))
        assert not figure.axes[0].patch.get_hatch()
        assert "no value" not in texts_of_scale(figure)
        assert_legible(module_matrix(np.full((3, 3), np.nan), np.zeros(3, int), list("abc")))

    def test_the_users_arrays_are_not_changed(self) -> None:
        weight, module, names = network(5, 2)
        before = weight.copy()
        module_matrix(weight, module, names)
        np.testing.assert_array_equal(weight, before)

    def test_what_raises(self) -> None:
        with pytest.raises(ValueError, match="at least one"):
            module_matrix(np.zeros((0, 0)), np.zeros(0, int), [])
        with pytest.raises(ValueError, match=r"\[2, 2\] and module \[2\]"):
            module_matrix(np.zeros((2, 3)), np.zeros(2, int), list("ab"))
        with pytest.raises(ValueError, match=r"\[3\]"):
            module_matrix(np.zeros((2, 2)), np.zeros(3, int), list("ab"))
        with pytest.raises(ValueError, match="percentile"):
            module_matrix(np.zeros((2, 2)), np.zeros(2, int), list("ab"), percentile=0)


def texts_of_scale(figure) -> str:
    return " ".join(" ".join(text.get_text().split()) for text in figure.axes[1].texts)


class TestByLayer:
    @pytest.mark.parametrize("layers", [1, 5, 40])
    @pytest.mark.parametrize("scale", [1.0, 1e-6, -1.0, 0.0])
    def test_texts_neither_overlap_nor_leave_the_figure(self, layers: int, scale: float) -> None:
        names = long_names(layers)
        numbers = [dict.fromkeys(names, scale * value) for value in (0.3, 0.01, 0.02)]
        told = dict.fromkeys(names, "12 modules, p = 0.001")
        assert_legible(modularity_by_layer(*numbers, texts=told, title="a title " * 30))

    def test_points_are_found_and_bands_two_standard_deviations_of_the_null(self) -> None:
        quality = {"fc": 0.4, "out": -0.05, "far": np.nan}
        mean, std = {"fc": 0.01, "out": 0.0, "far": 0.02}, {"fc": 0.02, "out": 0.03, "far": np.nan}
        figure = modularity_by_layer(quality, mean, std, texts={"out": "2 modules"})
        assert texts(figure, "row") == ["fc", "out", "far"]
        assert texts(figure, "text") == ["", "2 modules", ""]
        points = np.asarray(drawn(figure, PathCollection, "found").get_offsets())
        np.testing.assert_allclose(values_at(figure, points[:, 0]), [0.4, -0.05])
        rows = [t.get_position()[1] for t in figure.axes[0].texts if t.get_label() == "row"]
        np.testing.assert_allclose(points[:, 1], rows[:2])
        bands = [path.vertices[:, 0] for path in drawn(figure, PolyCollection, "band").get_paths()]
        reach = values_at(figure, np.array([[x.min(), x.max()] for x in bands]))
        np.testing.assert_allclose(reach, [[-0.03, 0.05], [-0.06, 0.06]], atol=1e-9)
        means = np.array(drawn(figure, LineCollection, "null").get_segments())[:, 0, 0]
        np.testing.assert_allclose(values_at(figure, means), [0.01, 0.0, 0.02], atol=1e-9)

    def test_what_raises(self) -> None:
        with pytest.raises(ValueError, match="at least one"):
            modularity_by_layer({}, {}, {})
        with pytest.raises(ValueError, match="same layers"):
            modularity_by_layer({"a": 0.0}, {"b": 0.0}, {"a": 0.0})
