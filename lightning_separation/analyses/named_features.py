"""Names of the features of a network's input."""

from __future__ import annotations

from collections.abc import Sequence

from ..capture import Snapshot


def check_feature_names(names: Sequence[str] | None) -> None:
    """Raise ValueError for a single text where a list of names is meant."""
    if isinstance(names, str):
        raise ValueError(f"feature_names must be a list of names, not {names!r}")


def feature_labels(names: Sequence[str] | None, num: int, analysis: str, snapshot: Snapshot) -> dict[str, list[str]]:
    """What findings call the features; nothing without names, or if their number is wrong, which is reported."""
    if names is None:
        return {}
    if len(names) != num:
        snapshot.report(analysis, f"{len(names)} feature_names for {num} features; numbers are shown")
        return {}
    return {"feature": [str(name) for name in names]}
