"""A bar for work that takes long, among those of the Trainer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from time import monotonic
from typing import Any, Protocol

from pytorch_lightning import Trainer
from rich.markup import escape

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
        make: Puts a bar on the screen, given its text and total; None: nothing is shown.

    Example:
        >>> progress = Progress()
        >>> with progress.of("mine"):
        ...     progress.advance(1, 10)
    """

    def __init__(self, name: str = "", make: Callable[[str, int], Bar] | None = None) -> None:
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
            if self._bar is not None:
                self._bar.close()
            self._what, self._bar = "", None

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
        text = f"{self._what}, {part}" if part else self._what
        if self._bar is None:
            self._bar = self._make(text, total)
        self._bar.show(text, self._done, total)


def progress_of(trainer: Trainer, name: str) -> Progress:
    """Bars in the style of the Trainer's and beside them, in the process that shows those; none without them.

    Of progress bars of other kinds nothing is known, so nothing is shown beside them.

    Args:
        trainer: In a validation.
        name: Of the monitor.
    """
    bar: Any = trainer.progress_bar_callback
    if not trainer.is_global_zero or not getattr(bar, "is_enabled", False):
        return Progress(name)
    if _is_a(bar, "RichProgressBar") and bar.progress is not None:
        return Progress(name, partial(_RichBar, bar))
    if _is_a(bar, "TQDMProgressBar"):
        beside = _tqdm_of(trainer)
        return Progress(name) if beside.disable else Progress(name, partial(_TqdmBar, beside))
    return Progress(name)


@contextmanager
def room_for_a_line(trainer: Trainer) -> Iterator[None]:
    """Takes the Trainer's bars off the screen while something is printed there, which would else end in one of them."""
    bar: Any = trainer.progress_bar_callback
    around: AbstractContextManager[None] = nullcontext()
    if getattr(bar, "is_enabled", False):
        if _is_a(bar, "RichProgressBar") and bar.progress is not None:
            around = _hidden(bar.progress)
        elif _is_a(bar, "TQDMProgressBar"):
            around = _tqdm_of(trainer).external_write_mode()
    with around:
        yield


class _TqdmBar:
    """One more of tqdm, below another.

    Args:
        beside: That is on the screen.
        text: Before the bar.
        total: Number of steps.
    """

    def __init__(self, beside: Any, text: str, total: int) -> None:
        self._text = text
        self._bar = type(beside)(
            desc=text,
            total=total,
            position=1 - beside.pos,  # tqdm counts positions downwards
            leave=False,
            dynamic_ncols=True,
            file=beside.fp,
            bar_format=beside.bar_format,
        )

    def show(self, text: str, done: int, total: int) -> None:
        """Show how many steps are done, of how many, and of what."""
        self._bar.total = total
        self._bar.update(done - self._bar.n)
        if self._text != text:  # else it is drawn ten times a second at most
            self._text = text
            self._bar.set_description(text)

    def close(self) -> None:
        """Disappear."""
        self._bar.close()


class _RichBar:
    """One more task of a display of rich.

    Args:
        callback: Lightning's, whose display is running.
        text: Before the bar.
        total: Number of steps.
    """

    def __init__(self, callback: Any, text: str, total: int) -> None:
        self._callback, self._progress = callback, callback.progress
        self._task = self._progress.add_task(self._styled(text), total=total)

    def show(self, text: str, done: int, total: int) -> None:
        """Show how many steps are done, of how many, and of what."""
        self._progress.update(self._task, description=self._styled(text), completed=done, total=total)
        self._callback.refresh()

    def close(self) -> None:
        """Disappear. The task stays, hidden: Lightning takes the numbers of tasks for places in the list of them."""
        self._progress.update(self._task, visible=False)
        self._progress.refresh()

    def _styled(self, text: str) -> str:
        style = self._callback.theme.description
        return f"[{style}]{escape(text)}" if style else escape(text)


def _tqdm_of(trainer: Trainer) -> Any:
    """The bar of the pass over the data."""
    bar: Any = trainer.progress_bar_callback
    return bar.test_progress_bar if trainer.testing else bar.val_progress_bar


@contextmanager
def _hidden(display: Any) -> Iterator[None]:
    shown = [task.id for task in display.tasks if task.visible]
    try:
        for task in shown:
            display.update(task, visible=False)
        display.refresh()
        yield
    finally:
        for task in shown:
            display.update(task, visible=True)
        display.refresh()


def _is_a(bar: Any, name: str) -> bool:
    """Whether a progress bar is of a class of Lightning's, by name: the same classes exist in two packages."""
    return any(cls.__name__ == name for cls in type(bar).__mro__)
