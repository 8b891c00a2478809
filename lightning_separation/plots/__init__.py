"""Findings as figures: numpy and matplotlib only; no pyplot, whose figures outlive their use."""

from .distributions import unit_distributions
from .features import feature_heatmap
from .henze_penrose import separation_depth, separation_heatmap
from .paths import PathColumn, path_diagram
from .selectivity import selectivity_heatmap

__all__ = [
    "PathColumn",
    "feature_heatmap",
    "path_diagram",
    "selectivity_heatmap",
    "separation_depth",
    "separation_heatmap",
    "unit_distributions",
]
