"""When work that takes long has a bar."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Protocol

_log = logging.getLogger(__name__)
_DELAY = 3.0  # seconds before there is a bar at all


class Bar(Protocol):
    """A bar that is on the screen."""

    def show(self, text: str, done: int, total: int) -> None:
        """Show how many steps are done, of how many, and of what."""

    def close(self) -> None:
        """Disappear."""


class Progress:
    """How far the analysis is that is being made, shown once it has taken a few seconds.

    Args:
        name: First word of what is shown.
        make: Puts a bar on the screen, given its text and total, or gives None; None: nothing is shown.

    Example:
        >>> progress = Progress()
        >>> with progress.of("mine"):
        ...     progress.advance(1, 10)
    """

    def __init__(self, name: str = "", make: Callable[[str, int], Bar | None] | None = None) -> None:
        self._name, self._make = name, make
        self._bar: Bar | None = None
        self._what, self._done, self._begun = "", 0, 0.0

    @contextmanager
    def of(self, what: str) -> Iterator[None]:
        """Around some work, whose bar disappears with it.

        Args:
            what: To call it by.
        """
        self._what, self._done, self._begun = f"{self._name}: {what}", 0, monotonic()
        try:
            yield
        finally:
            bar, self._what, self._bar = self._bar, "", None
            if bar is not None:
                with costs_a_bar_only():
                    bar.close()

    def advance(self, steps: int, total: int, part: str = "") -> None:
        """Tell how far the work is.

        Args:
            steps: How many more are done.
            total: Of how many.
            part: What is being worked on, such as a layer.
        """
        self._done += steps
        if self._make is None or not self._what or monotonic() - self._begun < _DELAY:
            return
        make, self._make = self._make, None  # none any more if it fails
        with costs_a_bar_only():
            text = f"{self._what}, {part}" if part else self._what
            self._bar = self._bar or make(text, total)
            if self._bar is not None:
                self._bar.show(text, self._done, total)
            self._make = make


@contextmanager
def costs_a_bar_only() -> Iterator[None]:
    """Around what is done with a bar: the Trainer's may be a user's own, which does as it likes."""
    try:
        yield
    except Exception:
        _log.debug("no progress bar", exc_info=True)
