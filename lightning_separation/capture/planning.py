"""Which layers find room in memory, and which are computed together."""

from __future__ import annotations

from collections.abc import Mapping


def with_room(sizes: Mapping[str, int], budget: int) -> list[str]:
    """As many of the smallest as the budget holds, by their sizes in bytes.

    >>> with_room({"a": 60, "b": 10, "c": 30}, 50)
    ['b', 'c']
    """
    kept = []
    for key in sorted(sizes, key=sizes.__getitem__):
        budget -= sizes[key]
        if budget < 0:
            break
        kept.append(key)
    return kept


def in_groups(sizes: Mapping[str, int], budget: int, held: int = 0) -> list[list[str]]:
    """Those that are computed together in one run, in their order; without those that have no room even alone.

    Args:
        sizes: In bytes.
        budget: Bytes that may be held. One alone may take them all, several what is not held by others.
        held: Bytes that are held by others.

    >>> in_groups({"a": 60, "b": 10, "c": 30, "d": 200}, 80)
    [['a', 'b'], ['c']]
    """
    groups: list[list[str]] = []
    room = 0
    for key, size in sizes.items():
        if size > budget:
            continue
        if groups and size <= room:
            groups[-1].append(key)
            room -= size
        else:
            groups.append([key])
            room = budget - held - size
    return groups
