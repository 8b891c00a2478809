"""Names of the features of a network's input."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral, Real

from ..capture import Snapshot
from ..checks import as_list, shown


def check_feature_names(names: Sequence[str] | None) -> list[str] | None:
    """A list of its own of the names, where there are any; raise ValueError for what is no list, such as a text."""
    if names is None:
        return None
    return [str(name) for name in as_list("feature_names", names, "names", lambda name: isinstance(name, str | Real))]


def check_argument(argument: str | int | None) -> None:
    """Raise ValueError unless it can name one of several inputs of a network, or count it, or is None."""
    if isinstance(argument, bool) or not (argument is None or isinstance(argument, str | Integral)):
        raise ValueError(f"argument must be the name or the position of an input, not {shown(argument)}")


def feature_labels(names: Sequence[str] | None, num: int, analysis: str, snapshot: Snapshot) -> dict[str, list[str]]:
    """What findings call the features; nothing without names, or if their number is wrong, which is reported."""
    if names is None:
        return {}
    if len(names) != num:
        snapshot.report(analysis, f"{len(names)} feature_names for {num} features; numbers are shown")
        return {}
    return {"feature": list(names)}
