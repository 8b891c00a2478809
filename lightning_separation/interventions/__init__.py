"""Running a network with something taken out of it, exactly and fast."""

from .ablation import AblationDeltas, ablation_deltas
from .patching import ablate, remove_direction

__all__ = ["AblationDeltas", "ablate", "ablation_deltas", "remove_direction"]
