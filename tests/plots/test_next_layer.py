"""What the figure of layers behind shows."""

from __future__ import annotations

import numpy as np
import pytest

from lightning_separation.plots import follower_heatmap
from tests.plots.test_henze_penrose import assert_legible, texts, title


def panels(num: int, *, long: bool = False) -> tuple[dict, list[str]]:
    rng = np.random.default_rng(0)
    names = [f"model.encoder.layers.{i}.linear1" if long else f"fc{i}" for i in range(num)]
    found = {
        words: {names[i]: {names[j]: rng.uniform(-1, 0.2) for j in range(i + 1, num)} for i in range(num - 1)}
        for words in ("without significant units", "without as many others")
    }
    return found, names[1:]


@pytest.mark.parametrize("long", [False, True])
@pytest.mark.parametrize("num", [2, 3, 4, 8, 11, 40, 90])
def test_texts_neither_overlap_nor_leave_the_figure(num: int, long: bool) -> None:
    found, followers = panels(num, long=long)
    found["without as many others"][next(iter(found["without as many others"]))][followers[0]] = np.nan
    assert_legible(follower_heatmap(found, followers, title="a title " * 30))


def test_removed_are_rows_and_behind_are_columns_of_every_panel() -> None:
    found, followers = panels(4)
    figure = follower_heatmap(found, followers, title="epoch 7")
    assert texts(figure, "row") == ["fc0", "fc1", "fc2"]
    assert texts(figure, "column") == ["fc1", "fc2", "fc3"] * 2
    assert texts(figure, "panel") == list(found)
    assert title(figure) == "epoch 7"
    for image, panel in zip(figure.axes[0].images, found.values(), strict=True):
        shown = image.get_array()
        assert shown[0, 2] == panel["fc0"]["fc3"]
        np.testing.assert_array_equal(shown.mask, np.tri(3, k=-1, dtype=bool))
    written = [f"{x:.2f}".replace("-", "−") for panel in found.values() for row in panel.values() for x in row.values()]
    assert texts(figure, "value") == written


def test_one_scale_for_all_figures_blue_where_separation_is_lost() -> None:
    for size in (0.01, 3.0):
        figure = follower_heatmap({"a": {"fc": {"out": -size}}}, ["out"])
        image = figure.axes[0].images[0]
        assert image.get_clim() == (-0.5, 0.5)
    red, blue = image.to_rgba(np.array([0.3, -0.3]))
    assert red[0] > red[2]
    assert blue[2] > blue[0]
    assert [text.get_text() for text in figure.axes[1].texts[:3]] == ["≤ −0.5", "0", "≥ 0.5"]


def test_the_scale_of_what_is_never_negative_begins_at_zero_with_the_same_colours() -> None:
    signed, positive = (follower_heatmap({"a": {"fc": {"out": 0.3}}}, ["out"], signed=s) for s in (True, False))
    (one,), (other,) = signed.axes[0].images, positive.axes[0].images
    np.testing.assert_array_equal(one.to_rgba(np.array([0.0, 0.3])), other.to_rgba(np.array([0.0, 0.3])))
    assert [text.get_text() for text in positive.axes[1].texts[:2]] == ["0", "≥ 0.5"]
    scale = np.asarray(positive.axes[1].collections[0].get_array()).reshape(-1, 4)
    np.testing.assert_allclose(scale[[0, -1]], other.to_rgba(np.array([0.0, 0.5])), atol=0.01)
    assert_legible(positive)


def test_only_layers_behind_without_a_value_are_hatched() -> None:
    def hatched(figure) -> int:
        return sum(len(c.get_paths()) for c in figure.axes[0].collections if c.get_hatch())

    found, followers = panels(4)
    assert hatched(follower_heatmap(found, followers)) == 0
    found["without significant units"]["fc0"]["fc2"] = np.nan
    found["without as many others"]["fc1"]["fc3"] = np.inf
    figure = follower_heatmap(found, followers)
    assert hatched(figure) == 2
    assert len(texts(figure, "value")) == 10
    assert any("no value" in text.get_text() for text in figure.axes[1].texts)


def test_what_raises() -> None:
    with pytest.raises(ValueError, match="0 panels"):
        follower_heatmap({}, ["a"])
    with pytest.raises(ValueError, match="0 followers"):
        follower_heatmap({"a": {"fc": {}}}, [])
    with pytest.raises(ValueError, match="layers"):
        follower_heatmap({"a": {"fc": {}}, "b": {}}, ["out"])
    with pytest.raises(ValueError, match=r"unknown layers \['x'\] behind 'fc'"):
        follower_heatmap({"a": {"fc": {"x": 0.1}}}, ["out"])
