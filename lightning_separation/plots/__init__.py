"""Findings as figures: numpy and matplotlib only; no pyplot, whose figures outlive their use."""

from .ablation import unit_ablation
from .bands import bayes_error_epochs, separation_bands, separation_over_epochs
from .causal import SelectiveOrUsed, effect_size_by_loss, extremes, selective_or_used
from .class_matrices import class_matrices
from .components import component_scatter
from .confusion import confusion_matrix
from .directions import direction_kl
from .distributions import unit_distributions
from .epochs import correlation_heatmap, difference_heatmap, layers_by_epochs
from .feature_information import feature_matrix
from .features import feature_heatmap
from .group_ablation import group_accuracy
from .henze_penrose import separation_depth, separation_heatmap
from .information import information_depth, information_epochs, information_plane
from .modules import modularity_by_layer, module_matrix
from .next_layer import follower_heatmap
from .pair_distributions import pair_histograms
from .paths import PathColumn, path_diagram
from .permutation import permutation_repeats, permutation_share
from .selectivity import selectivity_heatmap
from .split_gap import split_gap

__all__ = [
    "PathColumn",
    "SelectiveOrUsed",
    "bayes_error_epochs",
    "class_matrices",
    "component_scatter",
    "confusion_matrix",
    "correlation_heatmap",
    "difference_heatmap",
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
    "layers_by_epochs",
    "modularity_by_layer",
    "module_matrix",
    "pair_histograms",
    "path_diagram",
    "permutation_repeats",
    "permutation_share",
    "selective_or_used",
    "selectivity_heatmap",
    "separation_bands",
    "separation_depth",
    "separation_heatmap",
    "separation_over_epochs",
    "split_gap",
    "unit_ablation",
    "unit_distributions",
]
