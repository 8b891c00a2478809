"""Figures in notebooks: they know their picture, and no more than a plain figure is needed to keep or log them."""

from __future__ import annotations

import copy
import pickle
from io import BytesIO

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from lightning_separation.plots import separation_heatmap


def heatmap(value: float = 0.5) -> Figure:
    return separation_heatmap({"fc": np.array([[0, value], [value, 0]])}, ["a", "b"])


def pixels(figure: Figure) -> np.ndarray:
    return np.asarray(Image.open(BytesIO(figure._repr_png_())))


def saved(figure: Figure, **settings) -> np.ndarray:
    content = BytesIO()
    figure.savefig(content, format="png", **settings)
    return np.asarray(Image.open(content))


def test_the_picture_is_the_figure() -> None:
    figure = heatmap()
    assert (pixels(figure) == saved(figure)).all()
    assert (pixels(figure) != pixels(heatmap(0.9))).any()


@pytest.mark.parametrize(
    "again", [copy.deepcopy, lambda figure: pickle.loads(pickle.dumps(figure))], ids=["copy", "pickle"]
)
def test_a_copy_shows_itself(again) -> None:
    figure = heatmap()
    twin = again(figure)
    before = pixels(figure)
    assert (pixels(twin) == before).all()
    twin.set_facecolor("black")
    assert (pixels(twin) != before).any()
    assert (pixels(figure) == before).all()


def test_loggers_that_go_by_the_name_of_the_class_know_it() -> None:
    assert (type(heatmap()).__module__, type(heatmap()).__name__) == ("matplotlib.figure", "Figure")


def test_a_tight_picture_has_all_of_it() -> None:
    figure = heatmap()
    whole, tight = saved(figure), saved(figure, bbox_inches="tight", pad_inches=0)
    assert abs(np.subtract(whole.shape, tight.shape)).max() <= 1
    height, width = np.minimum(whole.shape, tight.shape)[:2]
    assert (whole[:height, :width] != 255).any(2).sum() == pytest.approx((tight != 255).any(2).sum(), rel=0.02)
