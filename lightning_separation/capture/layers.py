"""Which modules are looked at."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from fnmatch import fnmatchcase

from torch import nn
from torchmetrics import Metric, MetricCollection

INPUT = "input"
"""Name of the layer that stands for what the network is given."""

_NO_LAYER = (
    nn.Identity, nn.Flatten, nn.Unflatten, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout,
    nn.FeatureAlphaDropout, nn.ModuleList, nn.ModuleDict, nn.ParameterList, nn.ParameterDict, nn.Sequential,
)  # fmt: skip


def select_layers(
    root: nn.Module, patterns: Sequence[str] | None = None, network: nn.Module | None = None
) -> dict[str, nn.Module]:
    """The chosen modules of ``root`` by their dotted names, in the order of ``root.named_modules()``.

    Args:
        root: The module whose names count.
        patterns: Names or glob patterns; ``"input"``, which is always there, may be among them. None takes every
            module in ``network`` without submodules that computes something: no dropout, identity, flatten, container,
            loss or metric.
        network: Where to look when there are no patterns; None is ``root``.

    Raises:
        ValueError: If a pattern fits no module (the nearest names are shown), or a chosen module is called "input".
    """
    modules = {name: module for name, module in root.named_modules() if name and not is_helper(root, name)}
    if patterns is None:
        inside = set((network or root).modules())
        chosen = {name: m for name, m in modules.items() if m in inside and _computes(root, name, m)}
    else:
        chosen = {}
        for pattern in patterns:
            found = {name: m for name, m in modules.items() if name == pattern or fnmatchcase(name, pattern)}
            if not found and pattern != INPUT:
                raise ValueError(_unknown(pattern, list(modules)))
            chosen.update(found)
        chosen = {name: module for name, module in modules.items() if name in chosen}
    if INPUT in chosen:
        raise ValueError(
            f'a module of the network is called "{INPUT}", which names what the network is given. Rename the module, '
            "or choose layers= without it"
        )
    return chosen


def is_helper(root: nn.Module, name: str) -> bool:
    """Whether the module of that name is, or is part of, a loss or a metric."""
    module, parts = root, name.split(".") if name else []
    for part in ["", *parts]:
        module = module.get_submodule(part)
        if isinstance(module, Metric | MetricCollection) or type(module).__module__ == "torch.nn.modules.loss":
            return True
    return False


def _computes(root: nn.Module, name: str, module: nn.Module) -> bool:
    inside_attention = any(
        isinstance(root.get_submodule(name[:dot]), nn.MultiheadAttention) for dot, c in enumerate(name) if c == "."
    )  # its parts are used without being called
    is_leaf = not any(module.children()) or isinstance(module, nn.MultiheadAttention)
    return is_leaf and not inside_attention and not isinstance(module, _NO_LAYER)


def _unknown(pattern: str, names: list[str]) -> str:
    near = get_close_matches(pattern, names, n=5, cutoff=0.4)
    hint = f"nearest names: {', '.join(near)}" if near else f"there are: {', '.join(names[:20])}"
    return f"layers: no module fits {pattern!r}; {hint}. Names are those of named_modules()"
