"""Running a network with something taken out of it, exactly and fast."""

from .ablation import AblationDeltas, ablation_deltas
from .directions import SearchedDirection, search_direction
from .patching import ablate, remove_direction

__all__ = ["AblationDeltas", "SearchedDirection", "ablate", "ablation_deltas", "remove_direction", "search_direction"]
