"""A bar for work that takes long."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tqdm.auto import tqdm

_DELAY = 3.0  # seconds before there is a bar at all


@contextmanager
def progress(description: str, visible: bool) -> Iterator[Callable[[int, int], None]]:
    """Shows how much of some work is done once it has taken a few seconds, and disappears afterwards.

    Args:
        description: In front of the bar.
        visible: Whether to show it at all.

    Yields:
        A function to be told how many steps more are done, and of how many.

    Example:
        >>> with progress("units", visible=False) as advance:
        ...     advance(1, 10)
    """
    with tqdm(desc=description, delay=_DELAY, leave=False, disable=not visible) as bar:

        def advance(steps: int, total: int) -> None:
            bar.total = total
            bar.update(steps)

        yield advance
