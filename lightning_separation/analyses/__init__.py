"""What a monitor can compute: each analysis makes findings of a snapshot."""

from ..records import Findings
from .base import Analysis, LayerAnalysis
from .henze_penrose import HenzePenrose
from .input_features import InputFeatures
from .selectivity import Selectivity
from .significance import Significance
from .weight_contributions import WeightContributions

__all__ = [
    "Analysis",
    "Findings",
    "HenzePenrose",
    "InputFeatures",
    "LayerAnalysis",
    "Selectivity",
    "Significance",
    "WeightContributions",
]
