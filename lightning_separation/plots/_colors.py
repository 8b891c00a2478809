"""Colours and shapes that tell classes and runs apart, the colour-blind included."""

from __future__ import annotations

from ._layout import INK
from ._panels import BLUE, GREEN, GREY, ORANGE

CATEGORIES = (BLUE, ORANGE, GREEN, "#cc79a7", "#e69f00", "#56b4e9", INK, "#8a6d00", "#7a3f98", GREY)
SHAPES = ("o", "s", "^", "D", "v", "P", "X", "*", "<", ">")
