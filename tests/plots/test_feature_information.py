"""What the figure of features by units or outputs shows."""

from __future__ import annotations

import matplotlib
import numpy as np
import pytest
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure

from lightning_separation.plots import feature_matrix
from tests.plots.test_features import IRIS
from tests.plots.test_henze_penrose import assert_legible, texts, title


def found(features: int, columns: int) -> np.ndarray:
    return np.random.default_rng(0).exponential(0.1, (features, columns)) - 0.02


def numbered(num: int) -> list[str]:
    return [str(i) for i in range(num)]


def bars(figure: Figure, name: str) -> np.ndarray:
    """Lengths of the bars, in columns, from the first row down."""
    drawn = next(c for c in figure.axes[0].collections if isinstance(c, PolyCollection) and c.get_label() == name)
    boxes = [path.vertices for path in drawn.get_paths()]
    middles = [(box[:, 1].min() + box[:, 1].max()) / 2 for box in boxes]
    np.testing.assert_allclose(middles, np.arange(len(boxes)) + 0.5)
    return np.array([np.ptp(box[:, 0]) for box in boxes])


@pytest.mark.parametrize("long", [False, True])
@pytest.mark.parametrize("scale", [1e-6, 1e6])
@pytest.mark.parametrize("features, columns", [(1, 1), (4, 8), (30, 3), (99, 80)])
def test_texts_neither_overlap_nor_leave_the_figure(features: int, columns: int, scale: float, long: bool) -> None:
    values = scale * found(features, columns)
    values[0, 0] = np.nan
    names = [f"a feature with a very, very long name {i}" for i in range(features)] if long else numbered(features)
    others = [f"a unit with a very long name {i}" for i in range(columns)] if long else numbered(columns)
    weights = np.full(features, np.nan)
    with_bars = {"mean information": np.nan_to_num(values).mean(1), "weights": weights}
    assert_legible(feature_matrix(values, names, others, bars=with_bars, title="a title " * 30))
    assert_legible(feature_matrix(values, names, others, columns="outputs", value="a long name of what it is " * 3))


def test_with_bars_the_features_stand_in_their_order() -> None:
    values = found(4, 3)
    mean, weights = np.array([0.1, 0.4, -0.2, 0.3]), np.array([0.4, 0.1, 0.3, np.nan])
    figure = feature_matrix(values, IRIS, numbered(3), bars={"mean": mean, "weights": weights}, title="epoch 7")
    order = [1, 3, 0, 2]
    assert texts(figure, "row") == [IRIS[i] for i in order]
    assert texts(figure, "head") == ["mean", "weights"]
    assert texts(figure, "bar") == ["0.4", "0.3", "0.1", "−0.2", "0.1", "–", "0.4", "0.3"]
    np.testing.assert_array_equal(figure.axes[0].images[0].get_array(), values[order].clip(0))
    np.testing.assert_allclose(bars(figure, "mean") / bars(figure, "mean")[0], [1, 0.75, 0.25, 0], atol=1e-12)
    np.testing.assert_allclose(bars(figure, "weights") / bars(figure, "weights")[2], [0.25, 0, 1, 0.75], atol=1e-12)
    assert title(figure) == "epoch 7"


def test_without_bars_all_keep_their_order_and_the_diagonal_of_an_autoencoder_is_seen() -> None:
    rng = np.random.default_rng(0)
    values = rng.uniform(0, 0.3, (100, 100)) + np.diag(rng.uniform(1, 2, 100))
    names = [f"pixel {i}" for i in range(100)]
    figure = feature_matrix(values, names, names, columns="outputs")
    assert title(figure).splitlines() == [
        "the 40 of 100 features with the largest mean", "the 64 of 100 outputs with the largest values",
    ]  # fmt: skip
    rows = [int(name.split()[1]) for name in texts(figure, "row")]
    assert rows == sorted(rows)
    assert set(rows) == set(np.argsort(-values.mean(1))[:40])
    brightest = np.asarray(figure.axes[0].images[0].get_array()).argmax(1)
    assert (np.diff(brightest) > 0).all()


def test_the_colours_begin_white_at_zero_and_end_at_the_largest() -> None:
    values = np.array([[-1.0, 0.0, 0.5]])
    figure = feature_matrix(values, ["x"], numbered(3))
    (image,) = figure.axes[0].images
    assert image.get_clim() == (0, 0.5)
    assert image.get_array().tolist() == [[0, 0, 0.5]]
    shades = image.to_rgba(np.array([0.0, 0.25, 0.5]))[:, :3].sum(1)
    assert shades[0] > 2.85
    assert (np.diff(shades) < -0.5).all()
    assert [text.get_text() for text in figure.axes[1].texts[:2]] == ["0", "0.5"]
    assert texts(figure, "value") == ["0", "0", "0.5"]


def test_cells_without_a_value_are_hatched_and_that_is_said() -> None:
    values = found(3, 3)
    assert not feature_matrix(values, "abc", "xyz").axes[0].patch.get_hatch()
    values[1, 1], values[2, 2] = np.nan, np.inf
    figure = feature_matrix(values, "abc", "xyz")
    assert figure.axes[0].patch.get_hatch()
    assert any("no value" in text.get_text() for text in figure.axes[1].texts)
    np.testing.assert_array_equal(np.ma.getmaskarray(figure.axes[0].images[0].get_array()), ~np.isfinite(values))
    assert len(texts(figure, "value")) == 7
    nothing = feature_matrix(np.full((2, 2), np.nan), "ab", "xy", bars={"mean": np.full(2, np.nan)})
    assert_legible(nothing)
    assert texts(nothing, "bar") == ["–", "–"]


def test_the_users_style_is_left_alone_and_does_not_matter() -> None:
    with matplotlib.rc_context({"image.cmap": "hot", "axes.facecolor": "black"}):
        figure = feature_matrix(found(2, 2), "ab", "xy")
    assert figure.axes[0].get_facecolor()[:3] == (1, 1, 1)


def test_what_raises() -> None:
    with pytest.raises(ValueError, match=r"\[2, 1\], at least one"):
        feature_matrix(np.zeros((2, 2)), "ab", "x")
    with pytest.raises(ValueError, match="at least one"):
        feature_matrix(np.zeros((2, 0)), "ab", "")
    with pytest.raises(ValueError, match="'mean'"):
        feature_matrix(np.zeros((2, 1)), "ab", "x", bars={"mean": np.zeros(3)})
    with pytest.raises(ValueError, match="most_columns=0"):
        feature_matrix(np.zeros((2, 1)), "ab", "x", most_columns=0)
