"""Which layers a figure shows and which epochs it names."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from . import _layout as layout
from ._layout import GAP, TEXT


def merged(sequences: Sequence[Sequence[str]]) -> list[str]:
    """All names once; a name that only some sequences have stands behind the one it follows there.

    Example:
        >>> merged([["input", "fc", "out"], ["input", "conv", "out"]])
        ['input', 'conv', 'fc', 'out']
    """
    names: list[str] = []
    for sequence in sequences:
        if set(sequence) <= set(names):
            continue
        at = 0
        for name in sequence:
            if name in names:
                at = names.index(name)
            else:
                names.insert(at, name)
            at += 1
    return names


def evenly_chosen(num: int, most: int, title: str = "", what: str = "layers") -> tuple[list[int], list[str]]:
    """At most so many of ``num`` things, evenly spaced from first to last, and the lines of a title that says so.

    Example:
        >>> evenly_chosen(5, 3, "a run")
        ([0, 2, 4], ['a run', '3 of 5 layers, evenly spaced'])
        >>> evenly_chosen(2, 3)
        ([0, 1], [])
    """
    lines = [title] if title else []
    if num <= most:
        return list(range(num)), lines
    chosen = np.linspace(0, num - 1, most).round().astype(int).tolist()
    return chosen, [*lines, f"{most} of {num} {what}, evenly spaced"]


def epoch_labels(epochs: Sequence[str | int], spacing: float, size: float = TEXT, most: int = 14) -> dict[int, str]:
    """Labels of as many epochs as there is room for, by their places 0, 1, ...

    Numbered epochs are named in round steps from the first of them. Where a name such as "before" leaves no room, the
    number beside it is left out.

    Args:
        epochs: All epochs, numbers or names.
        spacing: Pixels from one to the next.
        size: Of the texts, in points.
        most: Characters of a label.

    Example:
        >>> epoch_labels([0, 1, 2, 3, 4], spacing=40)
        {0: '0', 1: '1', 2: '2', 3: '3', 4: '4'}
        >>> epoch_labels(["before", *range(5)], spacing=12)
        {0: 'before', 5: '4'}
    """
    texts = layout.shorten([str(epoch) for epoch in epochs], most)
    numbered = [i for i, epoch in enumerate(epochs) if isinstance(epoch, int | np.integer)]
    named = sorted(set(range(len(texts))) - set(numbered))
    wide = layout.text_width((texts[i] for i in numbered), size)
    steps = (factor * 10**power for power in range(10) for factor in (1, 2, 5))
    step = next(step for step in steps if step * spacing >= wide + GAP)
    half = dict.fromkeys(numbered[::step], wide / 2)
    half |= dict.fromkeys(named, layout.text_width((texts[i] for i in named), size) / 2)
    labels, end = {}, -np.inf
    for i in sorted(half):
        if i * spacing - half[i] >= end - 1e-6:
            labels[i] = texts[i]
            end = i * spacing + half[i] + GAP
    return labels
