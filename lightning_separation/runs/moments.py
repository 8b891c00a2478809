"""When a record was made."""

from __future__ import annotations

BEFORE = "before"
"""What the moment before training is called; the others are epochs."""

Moment = int | str
"""An epoch, or ``"before"`` training."""


def named(moment: Moment) -> str:
    """A moment in a sentence.

    Example:
        >>> named("before"), named(3)
        ('before training', 'epoch 3')
    """
    return "before training" if moment == BEFORE else f"epoch {moment}"
