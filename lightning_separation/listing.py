"""Names and numbers in a sentence."""

from __future__ import annotations

from collections.abc import Sequence


def listed(names: Sequence[str], most: int = 6) -> str:
    """The first names, and how many more there are.

    Example:
        >>> listed(["fc1", "fc2", "fc3"]), listed(["a", "b", "c"], most=2)
        ('fc1, fc2, fc3', 'a, b and 1 more')
    """
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def counted(num: int, what: str, plural: str = "") -> str:
    """A number of things.

    Example:
        >>> counted(1, "layer"), counted(3, "class", "classes")
        ('1 layer', '3 classes')
    """
    return f"{num} {what if num == 1 else plural or what + 's'}"
