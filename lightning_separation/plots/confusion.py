"""Which classes a network takes for which."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from numpy.typing import NDArray

from . import _layout as layout
from ._heatmap import Scale, draw_heatmap
from ._layout import GAP, PALE, SEQUENTIAL, SMALL

_MOST_WRITTEN = 20  # classes
_SIZE = 600.0
_SHARES = (0.0, 0.01, 0.1, 0.25, 0.5, 1.0)
# By the square root: of a good network all mistakes are few, and none would be seen.
_SCALE = Scale(SEQUENTIAL, 0.0, 1.0, {share**0.5: f"{share:.0%}" for share in _SHARES}, "share of the true class")


def confusion_matrix(confusion: NDArray[np.number], class_names: Sequence[str], *, title: str = "") -> Figure:
    """For each true class, as what it is predicted: mistakes in colour, what is correct in grey.

    The colours mean the same in every figure: the share of the true class, 0 to 100%, by its square root, so that few
    mistakes are seen as well. Of up to 20 classes the numbers of samples are written in, but for mistakes that never
    happened. Classes without samples are hatched. Equal input gives equal figures.

    Args:
        confusion: ``[K, K]``, numbers of samples: rows are the true classes, columns the predicted ones.
        class_names: The K classes; they are thinned where there is no room.
        title: Title of the figure.

    Returns:
        A figure without a canvas; its first axes are the matrix, its second the colour scale.

    Raises:
        ValueError: If ``confusion`` is not ``[K, K]`` with at least one class, or a number is negative or not finite.

    Example:
        >>> import numpy as np
        >>> figure = confusion_matrix(np.array([[8, 2], [0, 5]]), ["cat", "dog"])
        >>> [text.get_text() for text in figure.axes[0].texts if text.get_label() == "value"]
        ['8', '2', '5']
    """
    counts = np.asarray(confusion, dtype=np.float64)
    num = len(class_names)
    if not num or counts.shape != (num, num):
        raise ValueError(f"confusion must be [{num}, {num}] for {num} classes, not {list(counts.shape)}")
    if not (np.isfinite(counts) & (counts >= 0)).all():
        raise ValueError("confusion must be numbers of samples, finite and not negative")
    totals = counts.sum(1, keepdims=True)
    values = np.sqrt(np.divide(counts, totals, out=np.full(counts.shape, np.nan), where=totals > 0))
    right = np.flatnonzero(totals[:, 0])
    values[right, right] = 0.0  # drawn grey, where there are samples
    written = (counts > 0) | (np.eye(num, dtype=bool) & (totals > 0))
    texts = np.where(written, np.char.mod("%.0f", counts), "")
    with matplotlib.rc_context(layout.STYLE):
        names = layout.shorten(class_names, most=14)
        wide = layout.text_width(texts.ravel(), SMALL) + GAP if num <= _MOST_WRITTEN else 0.0
        cell = max(min(_SIZE / num, 60.0), wide, 1.0)
        columns = layout.thinned(names, 0.5, cell)
        figure, axes = draw_heatmap(
            values,
            names,
            columns,
            _SCALE,
            cell=(cell, cell),
            upright=layout.text_width(names, columns[1]) + GAP > cell,
            named=("predicted class", "true class"),
            lines=[title] if title else [],
            notes=["grey: correct"],
        )
        squares = [[(i, i), (i + 1, i), (i + 1, i + 1), (i, i + 1)] for i in right.tolist()]
        axes.add_collection(PolyCollection(squares, facecolors=PALE, linewidths=0, label="right"), autolim=False)
        if num <= _MOST_WRITTEN:
            layout.write_values(axes, texts, _SCALE.faces(values), upright=False)
    return figure
