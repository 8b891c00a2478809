"""Bars among those of the Trainer, in their style."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

from pytorch_lightning import Trainer
from rich.markup import escape
from tqdm import tqdm

from .progress import Bar, Progress, costs_a_bar_only


def progress_of(trainer: Trainer, name: str) -> Progress:
    """Bars in the style of the Trainer's and beside them, in the process that shows those; none without them.

    Of progress bars of other kinds nothing is known, so nothing is shown beside them.

    Args:
        trainer: In a validation.
        name: Of the monitor.
    """
    return Progress(name, partial(_beside, trainer) if trainer.is_global_zero else None)


@contextmanager
def room_for_a_line(trainer: Trainer) -> Iterator[None]:
    """Takes the Trainer's bars off the screen while something is printed there, which would else end in one of them."""
    around = ExitStack()
    with costs_a_bar_only():
        bar = _shown_by(trainer)
        if _is_a(bar, "RichProgressBar") and bar.progress is not None:
            around.enter_context(_hidden(bar.progress))
        elif _is_a(bar, "TQDMProgressBar"):
            around.enter_context(tqdm.external_write_mode())
    try:
        yield
    finally:
        with costs_a_bar_only():
            around.close()


def _shown_by(trainer: Trainer) -> Any:
    """The Trainer's progress bar if it shows anything."""
    bar: Any = trainer.progress_bar_callback
    return bar if getattr(bar, "is_enabled", False) else None


def _beside(trainer: Trainer, text: str, total: int) -> Bar | None:
    """A bar below that of the pass over the data, if that is shown."""
    bar = _shown_by(trainer)
    if _is_a(bar, "RichProgressBar") and bar.progress is not None:
        return _RichBar(bar, text, total)
    if _is_a(bar, "TQDMProgressBar"):
        beside = bar.test_progress_bar if trainer.testing else bar.val_progress_bar
        return None if beside.disable else _TqdmBar(beside, text, total)
    return None


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
