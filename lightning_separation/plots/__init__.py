"""Findings as figures: numpy and matplotlib only; no pyplot, whose figures outlive their use."""

from .ablation import unit_ablation
from .causal import SelectiveOrUsed, effect_size_by_loss, extremes, selective_or_used
from .directions import direction_kl
from .distributions import unit_distributions
from .feature_information import feature_matrix
from .features import feature_heatmap
from .group_ablation import group_accuracy
from .henze_penrose import separation_depth, separation_heatmap
from .information import information_depth, information_epochs, information_plane
from .modules import modularity_by_layer, module_matrix
from .next_layer import follower_heatmap
from .paths import PathColumn, path_diagram
from .permutation import permutation_repeats, permutation_share
from .selectivity import selectivity_heatmap

__all__ = [
    "PathColumn",
    "SelectiveOrUsed",
    "direction_kl",
    "effect_size_by_loss",
    "extremes",
    "feature_heatmap",
    "feature_matrix",
    "follower_heatmap",
    "group_accuracy",
    "information_depth",
    "information_epochs",
    "information_plane",
    "modularity_by_layer",
    "module_matrix",
    "path_diagram",
    "permutation_repeats",
    "permutation_share",
    "selective_or_used",
    "selectivity_heatmap",
    "separation_depth",
    "separation_heatmap",
    "unit_ablation",
    "unit_distributions",
]
