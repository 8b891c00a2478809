"""Names that are too long for a figure, and those that look like something else."""

from __future__ import annotations

import random

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from lightning_separation.plots import information_plane, separation_depth
from lightning_separation.plots._layout import add_axes, new_figure, shorten
from lightning_separation.plots._text import font_families, width_of, write
from tests.plots.test_henze_penrose import assert_legible, texts


@pytest.mark.parametrize(
    "pattern",
    [
        "model.encoder.layers.{}.self_attn.out",
        "{}.model.encoder.layers.self_attn.out",
        "model.encoder.layers.self_attn.out.{}",
        "a_very_long_beginning_of_all_of_them.{}.and_an_end_that_is_as_long_as_that",
    ],
)
@pytest.mark.parametrize("most", [14, 20, 24, 28])
def test_the_part_in_which_names_differ_is_kept(pattern: str, most: int) -> None:
    names = [pattern.format(i) for i in range(30)]
    shown = shorten(names, most)
    assert len(set(shown)) == 30
    for i, short in enumerate(shown):
        assert len(short) <= most
        assert str(i) in short
        assert all(part in names[i] for part in short.split("…"))  # nothing is made up


@pytest.mark.parametrize("most", [5, 9, 14, 24])
@pytest.mark.parametrize("parts", [2, 5, 12])
def test_names_that_differ_stay_different(most: int, parts: int) -> None:
    """Names of a few words, which differ at many places at once."""
    rng = random.Random(parts)
    for _ in range(40):
        words = [".".join(rng.choice(["layer", "block", "1", "10"]) for _ in range(parts)) for _ in range(40)]
        names = words + words[:5]  # some twice: the same name looks the same
        shown = shorten(names, most)
        assert all(len(short) <= most for short in shown)
        assert len(set(zip(names, shown, strict=True))) == len(set(shown)) == len(set(names))


def test_what_cannot_be_told_apart_is_numbered() -> None:
    names = [f"{i}{'-' * 30}{j}{'-' * 30}{k}" for i in range(2) for j in range(2) for k in range(2)]
    shown = shorten(names, 10)
    assert len(set(shown)) == 8
    assert all(short.endswith(f"…#{i}") for i, short in enumerate(shown, 1))


def test_names_with_room_are_left_as_they_are() -> None:
    assert shorten(["input", "a" * 28, "two\nlines"]) == ["input", "a" * 28, "two lines"]
    assert shorten([]) == []


def test_every_layer_of_a_transformer_has_its_name_in_the_information_plane() -> None:
    layers = [f"model.encoder.layers.{i}.self_attn.out" for i in range(30)]
    x = {epoch: {name: 1 + 0.1 * i + 0.2 * epoch for i, name in enumerate(layers)} for epoch in range(4)}
    y = {epoch: {name: 0.05 * i + 0.3 * epoch for i, name in enumerate(layers)} for epoch in range(4)}
    figure = information_plane(x, y)
    assert len(set(texts(figure, "layer"))) == 30
    assert_legible(figure)


@pytest.mark.parametrize("name", ["a$y_1$", r"$\frac$", "$1 to $5", r"\$", "$"])
def test_dollars_are_drawn_as_they_are(name: str) -> None:
    """Not as mathematics, whatever the user's settings are: each letter has its own width."""
    size = 12.0
    font = (size, "normal", font_families())
    wide = width_of(name, *font)
    assert wide > 0.7 * sum(width_of(letter, *font) for letter in name)
    figure = new_figure(200, 100)
    write(add_axes(figure, 10, 10, 180, 80), 0, 0.5, name, fontsize=size)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    inked = np.flatnonzero((np.asarray(canvas.buffer_rgba())[..., :3] < 200).any((0, 2)))
    assert inked.max() + 1 - 10 == pytest.approx(wide, abs=2)


def test_layers_with_dollars_are_drawn() -> None:
    layers = [r"$\frac$", "a$y_1$", "_{"]
    assert_legible(separation_depth({0: dict.fromkeys(layers, 0.5)}, title=r"$\frac$"))
