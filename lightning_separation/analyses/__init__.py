"""What a monitor can compute: each analysis makes findings of a snapshot."""

from ..records import Findings
from .ablation import Ablation
from .base import Analysis, LayerAnalysis
from .confusion import Confusion
from .direction_ablation import DirectionAblation
from .feature_information import FeatureInformation
from .group_ablation import GroupAblation
from .henze_penrose import HenzePenrose
from .input_features import InputFeatures
from .label_suspects import LabelSuspects
from .layer_information import LayerInformation
from .membership_test import MembershipTest
from .modularity import Modularity
from .next_layer_effect import NextLayerEffect
from .permutation_importance import PermutationImportance
from .principal_components import PrincipalComponents
from .selectivity import Selectivity
from .significance import Significance
from .weight_contributions import WeightContributions

__all__ = [
    "Ablation",
    "Analysis",
    "Confusion",
    "DirectionAblation",
    "FeatureInformation",
    "Findings",
    "GroupAblation",
    "HenzePenrose",
    "InputFeatures",
    "LabelSuspects",
    "LayerAnalysis",
    "LayerInformation",
    "MembershipTest",
    "Modularity",
    "NextLayerEffect",
    "PermutationImportance",
    "PrincipalComponents",
    "Selectivity",
    "Significance",
    "WeightContributions",
]
