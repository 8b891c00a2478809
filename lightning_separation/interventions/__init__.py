"""Running a network with something taken out of it, exactly and fast."""

from .ablation import AblationDeltas, ablation_deltas
from .directions import SearchedDirection, search_direction
from .patching import ablate, remove_direction
from .permutation import PermutationEffects, permutation_effects, permutation_importance

__all__ = [
    "AblationDeltas",
    "PermutationEffects",
    "SearchedDirection",
    "ablate",
    "ablation_deltas",
    "permutation_effects",
    "permutation_importance",
    "remove_direction",
    "search_direction",
]
