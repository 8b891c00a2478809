"""Checks of settings. Whatever is given, the message says which one and what it must be."""

from __future__ import annotations

import math
import operator
import os
import re
import sys
from collections.abc import Callable, Collection, Iterable, Mapping
from numbers import Integral, Real
from pathlib import Path
from reprlib import Repr
from typing import Any

import numpy as np

_LONGEST_NAME = 200  # bytes; file systems take 255, and records have suffixes
_LONGEST_SHOWN = 80
_REMOTE = re.compile(r"[A-Za-z][\w+.-]+:/")  # a letter alone is a drive; Path makes one slash of two


def shown(value: Any) -> str:
    """A value as a message shows it: in one line, cut if it is long.

    Example:
        >>> shown("a" * 1000) == f"'{'a' * 37}...{'a' * 38}'", shown([1, 2])
        (True, '[1, 2]')
    """
    short = Repr()
    short.maxstring = short.maxother = short.maxlong = _LONGEST_SHOWN
    try:
        return " ".join(short.repr(value).split())
    except Exception:  # of a huge number, or of another's class
        return f"a {type(value).__name__}"


def check_choice(name: str, value: Any, choices: Collection[Any]) -> None:
    """Raise ValueError unless the value is one of the choices, which are text, or None."""
    if not (value is None or isinstance(value, str)) or value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}, not {shown(value)}")


def check_integer(name: str, value: Any, low: int, high: int = sys.maxsize) -> int:
    """The value as a plain integer; raise ValueError unless it is one from ``low`` to ``high``."""
    try:
        number = None if isinstance(value, bool) else operator.index(value)  # also of a tensor with one integer
    except Exception:  # another's class may raise anything
        number = None
    if number is None or not low <= number <= high:
        bounds = f"of at least {low}" if high == sys.maxsize else f"from {low} to {high}"
        raise ValueError(f"{name} must be an integer {bounds}, not {shown(value)}")
    return number


def check_positive(**values: int) -> None:
    """Raise ValueError unless each value is a positive integer, and no larger than anything can be."""
    for name, value in values.items():
        if not isinstance(value, Integral) or isinstance(value, bool) or not 0 < int(value) <= sys.maxsize:
            raise ValueError(f"{name} must be a positive integer, not {shown(value)}")


def check_number(name: str, value: float, low: float = float("-inf"), high: float = float("inf")) -> None:
    """Raise ValueError unless the value is a number between two others, neither included."""
    try:
        number = float(value) if isinstance(value, Real) and not isinstance(value, bool) else math.nan
    except OverflowError:
        number = math.inf
    if not (math.isfinite(number) and low < number < high):
        raise ValueError(f"{name} must be a number above {low} and below {high}, not {shown(value)}")


def check_share(name: str, value: float) -> None:
    """Raise ValueError unless the value is above 0 and at most 1."""
    if isinstance(value, bool) or not isinstance(value, Real) or not 0 < value <= 1:
        raise ValueError(f"{name} must be above 0 and at most 1, not {shown(value)}")


def check_flag(name: str, value: Any) -> bool:
    """The value as a plain bool; raise ValueError unless it is True or False."""
    if not isinstance(value, bool | np.bool_):
        raise ValueError(f"{name} must be True or False, not {shown(value)}")
    return bool(value)


def as_list(name: str, value: Any, what: str, fits: Callable[[Any], bool] = lambda item: True) -> list[Any]:
    """A list of its own of what was given in order.

    Args:
        name: Of the setting.
        value: A list, a tuple, a generator, an array, ...; text and mappings are none.
        what: It must hold, for the message.
        fits: Whether an item is such.

    Raises:
        ValueError: If it is no list, or an item does not fit.
    """
    if not isinstance(value, Iterable) or isinstance(value, str | bytes | Mapping):
        raise ValueError(f"{name} must be a list of {what}, not {shown(value)}")
    try:
        items = list(value)
    except TypeError:  # arrays without axes say only then that they are no lists
        raise ValueError(f"{name} must be a list of {what}, not {shown(value)}") from None
    for item in items:
        if not fits(item):
            raise ValueError(f"{name} must be a list of {what}; {shown(item)} is none")
    return items


def as_names(name: str, value: str | Iterable[str] | None) -> list[str] | None:
    """A list of its own of the texts that were given, also of a single one; None if None was.

    Raises:
        ValueError: If they are something else.
    """
    if value is None:
        return None
    given = [value] if isinstance(value, str) else value
    return [str(item) for item in as_list(name, given, "names", lambda item: isinstance(item, str))]


def check_file_name(name: str, value: str) -> None:
    """Raise ValueError unless the value can be the name of a folder, or part of a file's."""
    usable = isinstance(value, str) and value.strip(". ") and value.isprintable() and not set(value) & set("/\\")
    if not usable or len(value.encode()) > _LONGEST_NAME:
        most = f"printable, without slashes, of at most {_LONGEST_NAME} bytes"
        raise ValueError(f"{name} must be usable as a folder and a tag ({most}), not {shown(value)}")


def check_path(name: str, value: str | os.PathLike[str]) -> Path:
    """The value as a path; raise ValueError unless it can be one of this machine."""
    try:
        path = os.fsencode(value) if isinstance(value, str | os.PathLike) else b""
    except ValueError:  # text that the file system cannot hold
        path = b""
    if not path or b"\0" in path:
        raise ValueError(f"{name} must be a path, not {shown(value)}")
    if is_remote(value):
        raise ValueError(f"{name} must be a local folder, not {shown(value)}: records are files of this machine")
    return Path(value)


def is_remote(path: str | os.PathLike[str]) -> bool:
    """Whether a path is an address, such as of a bucket, and no place of this machine's.

    Example:
        >>> is_remote("s3://bucket/logs"), is_remote("C:/logs"), is_remote("logs")
        (True, False, False)
    """
    return _REMOTE.match(os.fsdecode(path)) is not None
