"""Texts that are drawn fast.

Matplotlib lays out and renders every text anew, a millisecond or two each: most of the time that a figure with many
labels takes. Here the outlines of a text are worked out once, kept, and filled.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backend_bases import RendererBase
from matplotlib.colors import to_rgba
from matplotlib.font_manager import FontProperties
from matplotlib.path import Path
from matplotlib.text import Text
from matplotlib.textpath import text_to_path
from matplotlib.transforms import Affine2D, IdentityTransform, TransformedPath

DPI = 100
_LEADING = 1.15  # lines of one text
_SHARES = {"left": 0.0, "center": 0.5, "right": 1.0}
Font = tuple[float, str, tuple[str, ...]]  # size in points, weight, families
_NOT_CLIPPED = TransformedPath(Path.unit_rectangle(), IdentityTransform())


class Label(Text):
    """A text of one or more lines, level or turned by 90 degrees, that is drawn from kept outlines."""

    def draw(self, renderer: RendererBase) -> None:
        """Fill the outlines."""
        if not self.get_visible() or not self.get_text():
            return
        scale: Any = renderer.points_to_pixels(72 / DPI)  # a figure may be saved with more dots per inch
        x, y = self.get_transform().transform(self.get_unitless_position())
        color = to_rgba(self.get_color(), self.get_alpha())
        font: Font = (float(self.get_fontsize()), str(self.get_fontweight()), font_families())
        gc = renderer.new_gc()
        gc.set_linewidth(0)
        gc.set_foreground(color, isRGBA=True)
        for outline, place in self._lines(font):
            renderer.draw_path(gc, outline, place.scale(scale).translate(x, y), color)
        gc.restore()
        self.stale = False

    def _lines(self, font: Font) -> list[tuple[Path, Affine2D]]:
        """Outlines of the lines, and where they go, in pixels from the text's position."""
        lines = self.get_text().split("\n")
        widths = [width_of(line, *font) for line in lines]
        ascent, descent = _heights(*font)
        pitch = _LEADING * (ascent + descent)
        wide, high = max(widths), ascent + descent + pitch * (len(lines) - 1)
        ha, va = self.get_horizontalalignment(), self.get_verticalalignment()
        if self.get_rotation() == 90:  # the top is turned to the left, the beginning to the bottom
            across = -high * _SHARES[ha]
            up = {"top": -wide, "center": -wide / 2, "bottom": 0.0}[va]
        else:
            across = -wide * _SHARES[ha]
            middle = {"center": high / 2, "center_baseline": ascent / 2}
            up = {"top": 0.0, "bottom": high, "baseline": high - descent, **middle}[va]
        placed = []
        for i, (line, width) in enumerate(zip(lines, widths, strict=True)):
            place = Affine2D().translate((wide - width) * _SHARES[ha], -ascent - i * pitch)
            placed.append((_outline(line, *font), place.rotate_deg(self.get_rotation()).translate(across, up)))
        return placed


def write(axes: Axes, x: float, y: float, text: str, **settings: Any) -> None:
    """Adds a label to the axes; settings as those of ``Axes.text``."""
    label = Label(x, y, text, **{"transform": axes.transData, "clip_path": _NOT_CLIPPED, **settings})
    axes.add_artist(label)


def font_families() -> tuple[str, ...]:
    """The user's fonts: names may need them."""
    return *matplotlib.rcParams["font.family"], *matplotlib.rcParams["font.sans-serif"]


def width_of(text: str, size: float, weight: str, families: tuple[str, ...]) -> float:
    """Width in pixels of one line."""
    return float(np.max(np.asarray(_outline(text, size, weight, families).vertices)[:, 0], initial=0.0))


@lru_cache
def _heights(size: float, weight: str, families: tuple[str, ...]) -> tuple[float, float]:
    """Ascent and descent of a line, whatever its letters."""
    heights = np.asarray(_outline("lp", size, weight, families).vertices)[:, 1]
    return float(heights.max()), -float(heights.min())


@lru_cache(maxsize=1024)  # names come again with every layer and epoch; titles do not, at some 10 kB each
def _outline(text: str, size: float, weight: str, families: tuple[str, ...]) -> Path:
    if not text.strip():
        return Path(np.empty((0, 2)))
    # A TextPath would take what stands between dollars for mathematics.
    vertices, codes = text_to_path.get_text_path(FontProperties(weight=weight), text)
    return Path(np.asarray(vertices) * (size * DPI / 72 / text_to_path.FONT_SCALE), codes)
