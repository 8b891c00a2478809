"""Checks of what users set, shared by the monitor and ``analyze``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from difflib import get_close_matches
from importlib.metadata import PackageNotFoundError, version

from torch import nn

from .analyses import Ablation, Analysis, HenzePenrose, Significance

_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "KI": 2**10, "MI": 2**20, "GI": 2**30, "TI": 2**40}
_PACKAGES = ("lightning-separation", "torch", "pytorch-lightning", "torchmetrics", "numpy", "scipy")


def parse_bytes(size: str | int) -> int:
    """Bytes of ``"2GB"``, ``"500 MiB"`` or a number.

    Raises:
        ValueError: If it is neither, or not positive.

    Example:
        >>> parse_bytes("1.5GB"), parse_bytes("2 KiB"), parse_bytes(100)
        (1500000000, 2048, 100)
    """
    match = re.fullmatch(r"\s*([0-9.]+)\s*([KMGT]?I?)B?\s*", str(size).upper())
    try:
        number = float(match[1]) * _UNITS[match[2]] if match else 0.0
    except (ValueError, KeyError):
        number = 0.0
    if number < 1:
        raise ValueError(f'max_memory must be a positive size such as "2GB" or "500MiB", not {size!r}')
    return int(number)


def check_class_names(names: Sequence[str] | None) -> list[str] | None:
    """Class names as a list; raise ValueError unless they differ."""
    if names is None:
        return None
    if isinstance(names, str) or len(set(names)) < len(names):
        raise ValueError(f"class_names must be a list of different names, not {names!r}")
    return [str(name) for name in names]


def check_analyses(analyses: Sequence[Analysis] | None) -> list[Analysis]:
    """The analyses to run: the given, or the default ones.

    Raises:
        ValueError: If one is not an analysis, or two have one name.
    """
    if isinstance(analyses, Analysis):
        raise ValueError(f"analyses must be a list, [{analyses!r}]")
    chosen: list[Analysis] = [HenzePenrose(), Significance(), Ablation()] if analyses is None else list(analyses)
    for analysis in chosen:
        if isinstance(analysis, type) or not isinstance(analysis, Analysis):
            raise ValueError(f"analyses: {analysis!r} has no name, needs_classes and compute(snapshot), or is a class")
    names = [analysis.name for analysis in chosen]
    if twice := {name for name in names if names.count(name) > 1}:
        raise ValueError(
            f"analyses: two are called {twice.pop()!r}, and findings are kept by name: use a second monitor"
        )
    return chosen


def find_network(root: nn.Module, network: str | nn.Module | None) -> dict[str, nn.Module] | None:
    """The submodule to analyse by its name; None if it is to be found.

    Raises:
        ValueError: If ``root`` has no such submodule.
    """
    if network is None:
        return None
    modules = dict(root.named_modules())
    name = network if isinstance(network, str) else next((n for n, m in modules.items() if m is network), None)
    if name is None or name not in modules:
        near = get_close_matches(str(network), list(modules), n=5, cutoff=0.4) if isinstance(network, str) else []
        hint = f"; nearest names: {', '.join(near)}" if near else ""
        raise ValueError(f"network: {root.__class__.__name__} has no submodule {network!r}{hint}")
    return {name: modules[name]}


def package_versions() -> dict[str, str]:
    """Versions of the packages that a result depends on."""
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
