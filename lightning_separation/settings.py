"""Checks of what users set, shared by the monitor and ``analyze``."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from importlib.metadata import PackageNotFoundError, version
from numbers import Real
from typing import TYPE_CHECKING, Any, TypeAlias

from torch import nn

from . import analyses as known
from .analyses import Ablation, Analysis, HenzePenrose, Significance
from .checks import as_list, as_names, check_choice, check_integer, shown

if TYPE_CHECKING:
    Network: TypeAlias = str | nn.Module
else:
    Network = str  # a command line can give no module of the network, and would offer every class of torch

_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "KI": 2**10, "MI": 2**20, "GI": 2**30, "TI": 2**40}
_PACKAGES = ("lightning-separation", "torch", "pytorch-lightning", "torchmetrics", "numpy", "scipy")
_KNOWN = tuple(kind for name in known.__all__ if (kind := getattr(known, name)) is not Analysis)


def parse_bytes(size: str | int) -> int:
    """Bytes of ``"2GB"``, ``"500 MiB"``, ``"2e9"`` or a number; at most what can be addressed.

    Raises:
        ValueError: If it is neither, or not positive.

    Example:
        >>> parse_bytes("1.5GB"), parse_bytes("2 KiB"), parse_bytes("1e6"), parse_bytes(100)
        (1500000000, 2048, 1000000, 100)
    """
    number = 0.0
    try:
        if isinstance(size, str):
            match = re.fullmatch(r"\s*([0-9.]+(?:E[+-]?[0-9]+)?)\s*([KMGT]?I?)B?\s*", size.upper())
            number = float(match[1]) * _UNITS[match[2]] if match else 0.0
        elif isinstance(size, Real) and not isinstance(size, bool):
            number = float(size)
    except (ValueError, KeyError, OverflowError):
        number = 0.0
    if not number >= 1:
        raise ValueError(f'max_memory must be a positive size such as "2GB" or "500MiB", not {shown(size)}')
    return int(min(number, sys.maxsize))


def check_class_names(names: Iterable[Any] | Mapping[int, Any] | None) -> dict[int, str] | None:
    """Class names by the number of the class; numbers are names, too.

    Args:
        names: Those of classes 0, 1, ... in order, or a mapping from numbers to names, which may leave some out.

    Raises:
        ValueError: If they are neither, or two are the same.

    Example:
        >>> check_class_names(["cat", "dog"]), check_class_names({3: "cat", 7: "dog"})
        ({0: 'cat', 1: 'dog'}, {3: 'cat', 7: 'dog'})
    """
    if names is None:
        return None
    if isinstance(names, Mapping):
        keys = [check_integer("each key of class_names (a class, its value the name)", key, 0) for key in names]
        given: Any = names.values()
    else:
        keys, given = None, "a set" if isinstance(names, set | frozenset) else names
    found = [str(name) for name in as_list("class_names", given, "names", lambda name: isinstance(name, str | Real))]
    found = [name.encode(errors="replace").decode() for name in found]  # folders can have names that are no text
    if twice := {name for name in found if found.count(name) > 1}:
        raise ValueError(f"class_names must differ; there are two {shown(twice.pop())}")
    return dict(enumerate(found) if keys is None else zip(keys, found, strict=True))


def check_epochs(epochs: Iterable[int] | None) -> list[int] | None:
    """Epochs in order, each once; raise ValueError unless there are some, counted from 0."""
    if epochs is None:
        return None
    found = sorted({check_integer("each of epochs", epoch, 0) for epoch in as_list("epochs", epochs, "epochs")})
    if not found:
        raise ValueError("epochs names none; leave it out to analyse them all")
    return found


def check_splits(splits: str | Iterable[str]) -> tuple[str, ...]:
    """Which data to analyse, each once; raise ValueError unless the validation's are among them."""
    found = as_names("splits", splits) or []
    for split in found:
        check_choice("splits", split, ("val", "train"))
    if "val" not in found:
        raise ValueError(f'splits must have "val", whose pass over the data shows the network, not {shown(splits)}')
    return tuple(dict.fromkeys(found))


def check_target_fn(target_fn: Any) -> None:
    """Raise ValueError unless it can be called, or is None or False."""
    if not (target_fn is None or target_fn is False or callable(target_fn)):
        raise ValueError(f"target_fn must be a function of a batch, None or False, not {shown(target_fn)}")


def check_seed(seed: int) -> int:
    """The seed as a plain integer; raise ValueError unless torch takes it."""
    return check_integer("seed", seed, -(2**63), 2**64 - 1)


def check_analyses(analyses: Iterable[Analysis] | None) -> list[Analysis]:
    """The analyses to run: the given, or the default ones.

    Raises:
        ValueError: If there is none, one is not an analysis or has an impossible rhythm, or two have one name.
    """
    if isinstance(analyses, Analysis):
        raise ValueError(f"analyses must be a list, [{shown(analyses)}]")
    if analyses is None:
        return [HenzePenrose(), Significance(), Ablation()]
    chosen: list[Analysis] = as_list("analyses", _as_objects(analyses), "analyses")
    if not chosen:
        raise ValueError("analyses names none; leave it out for the usual ones")
    for analysis in chosen:
        if isinstance(analysis, type) or not isinstance(analysis, Analysis) or not callable(analysis.compute):
            given = shown(analysis)
            meant = f"; {analysis}() is meant?" if isinstance(analysis, str) and analysis in known.__all__ else ""
            told = f"{given} has no name, needs_classes and compute(snapshot), or is a class"
            raise ValueError(f"analyses: {told}{meant}")
        if not isinstance(analysis.name, str) or not analysis.name.strip():
            raise ValueError(f"analyses: {shown(analysis)} is called {shown(analysis.name)}, which is no name")
        if not isinstance(analysis.needs_classes, bool):
            given = shown(analysis.needs_classes)
            raise ValueError(f"analyses: needs_classes of {shown(analysis.name)} must be True or False, not {given}")
        if (rhythm := getattr(analysis, "every_n_epochs", None)) is not None:
            check_integer(f"analyses: every_n_epochs of {analysis.name!r}", rhythm, 1)
        if any(getattr(kind, "name", None) == analysis.name for kind in _KNOWN if not isinstance(analysis, kind)):
            raise ValueError(f"analyses: {shown(analysis)} has the name of another, {analysis.name!r}")
    names = [analysis.name for analysis in chosen]
    if twice := {name for name in names if names.count(name) > 1}:
        raise ValueError(
            f"analyses: two are called {twice.pop()!r}, and findings are kept by name: use a second monitor"
        )
    return chosen


def _as_objects(analyses: Any) -> Any:
    """What Hydra has made configs of: dataclasses in a list, unless it is told ``_convert_: all``."""
    config = getattr(sys.modules.get("omegaconf"), "OmegaConf", None)
    return config.to_object(analyses) if config is not None and config.is_config(analyses) else analyses


def check_network(network: Any) -> None:
    """Raise ValueError unless it is a module, the name of one, or None."""
    if not (network is None or isinstance(network, str | nn.Module)):
        raise ValueError(f"network must be a module or its name, not {shown(network)}")


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
        near = get_close_matches(network, list(modules), n=5, cutoff=0.4) if isinstance(network, str) else []
        hint = f"; nearest names: {', '.join(near)}" if near else ""
        raise ValueError(f"network: {root.__class__.__name__} has no submodule {shown(network)}{hint}")
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
