"""Interpretability tracking for PyTorch Lightning: what a network's layers separate, while it trains."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .analyses import (
        Ablation,
        Confusion,
        DirectionAblation,
        FeatureInformation,
        GroupAblation,
        HenzePenrose,
        InputFeatures,
        LabelSuspects,
        LayerInformation,
        MembershipTest,
        Modularity,
        NextLayerEffect,
        PermutationImportance,
        PrincipalComponents,
        Selectivity,
        Significance,
        WeightContributions,
    )
    from .monitor import SeparationMonitor
    from .offline import analyze
    from .records import Record
    from .runs import Run, load_run
    from .tracing import trace_path

__version__ = "0.1.0"

# Imported when first used: reading saved runs needs no torch.
_HOMES = {
    "Ablation": "analyses",
    "Confusion": "analyses",
    "DirectionAblation": "analyses",
    "FeatureInformation": "analyses",
    "GroupAblation": "analyses",
    "HenzePenrose": "analyses",
    "InputFeatures": "analyses",
    "LabelSuspects": "analyses",
    "LayerInformation": "analyses",
    "MembershipTest": "analyses",
    "Modularity": "analyses",
    "NextLayerEffect": "analyses",
    "PermutationImportance": "analyses",
    "PrincipalComponents": "analyses",
    "Record": "records",
    "Run": "runs",
    "Selectivity": "analyses",
    "SeparationMonitor": "monitor",
    "Significance": "analyses",
    "WeightContributions": "analyses",
    "analyze": "offline",
    "load_run": "runs",
    "trace_path": "tracing",
}

__all__ = [
    "Ablation",
    "Confusion",
    "DirectionAblation",
    "FeatureInformation",
    "GroupAblation",
    "HenzePenrose",
    "InputFeatures",
    "LabelSuspects",
    "LayerInformation",
    "MembershipTest",
    "Modularity",
    "NextLayerEffect",
    "PermutationImportance",
    "PrincipalComponents",
    "Record",
    "Run",
    "Selectivity",
    "SeparationMonitor",
    "Significance",
    "WeightContributions",
    "analyze",
    "load_run",
    "trace_path",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{_HOMES[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
