"""Names of scalars that a logger refuses, or cannot tell apart."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING, Any

from ..listing import listed
from .adapters import adapter_for

if TYPE_CHECKING:
    from ..capture.recorder import Report


def loggable(loggers: Iterable[Any], tags: Collection[str], report: Report) -> set[str]:
    """The tags of scalars that every logger takes: Lightning gives all of them the same, and one refusal ends a fit.

    Args:
        loggers: The Trainer's.
        tags: Of scalars.
        report: Told of tags that are refused, and of layers whose scalars a logger puts into one curve.
    """
    taken = set(tags)
    for logger in loggers:
        adapter = adapter_for(logger)
        tags_of: dict[str | None, list[str]] = {}
        for tag in tags:
            tags_of.setdefault(adapter.scalar_name(tag), []).append(tag)
        whose = type(logger).__name__
        if refused := tags_of.pop(None, []):
            taken.difference_update(refused)
            told = f"its names cannot be those of some scalars, so no logger gets them: {listed(refused)}"
            report(whose, told, harmless=True)
        merged = {tuple(tag.partition("/")[2] for tag in alike): None for alike in tags_of.values() if len(alike) > 1}
        for layers in merged:
            told = f"{' and '.join(layers)} have one name there: the scalars of these layers are in one curve"
            report(whose, told, harmless=True)
    return taken
