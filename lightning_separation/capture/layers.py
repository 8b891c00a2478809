"""Which modules are looked at."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from fnmatch import fnmatchcase

import torch
from torch import nn
from torchmetrics import Metric, MetricCollection

from ..records import INPUT

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
            loss or metric. A TorchScript module counts as one without: its parts call each other without hooks.
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
                raise ValueError(unknown_layer(pattern, list(modules)))
            chosen.update(found)
        chosen = {name: module for name, module in modules.items() if name in chosen}
    if INPUT in chosen:
        raise ValueError(
            f'a module of the network is called "{INPUT}", which names what the network is given. Rename the module, '
            "or choose layers= without it"
        )
    return chosen


# Module's own methods: of a TorchScript module they are hidden, but its calls from Python run the hooks as any other's.
add_hook, add_pre_hook = nn.Module.register_forward_hook, nn.Module.register_forward_pre_hook


def ancestors(root: nn.Module, name: str) -> list[nn.Module]:
    """The modules around a module and itself, from the outermost in."""
    modules = [root]
    for part in name.split(".") if name else ():
        modules.append(modules[-1]._modules[part])  # type: ignore[arg-type]  # also of TorchScript modules
    return modules


def is_helper(root: nn.Module, name: str) -> bool:
    """Whether the module of that name is, or is part of, a loss, metric or parametrization, or inside TorchScript."""
    *around, module = ancestors(root, name)
    return (
        ".parametrizations." in f".{name}."
        or any(isinstance(m, torch.jit.ScriptModule) for m in around)
        or any(_is_loss_or_metric(m) for m in (*around, module))
    )


def _is_loss_or_metric(module: nn.Module) -> bool:
    is_loss = any(cls.__module__ == "torch.nn.modules.loss" for cls in type(module).__mro__)
    return is_loss or isinstance(module, Metric | MetricCollection)


def _computes(root: nn.Module, name: str, module: nn.Module) -> bool:
    # The parts of an attention module are used without being called.
    inside_attention = any(isinstance(m, nn.MultiheadAttention) for m in ancestors(root, name)[:-1])
    parts = [part for part, _ in module.named_children() if part != "parametrizations"]
    is_leaf = not parts or isinstance(module, nn.MultiheadAttention | torch.jit.ScriptModule)
    return is_leaf and not inside_attention and not isinstance(module, _NO_LAYER)


def unknown_layer(pattern: str, names: list[str]) -> str:
    """What to say of a name or pattern that none of the names fits: the nearest of them."""
    near = get_close_matches(pattern, names, n=5, cutoff=0.4)
    hint = f"nearest names: {', '.join(near)}" if near else f"there are: {', '.join(names[:20])}"
    return f"layers: no module fits {pattern!r}; {hint}. Names are those of named_modules()"
