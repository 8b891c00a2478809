"""The arithmetic: tensors in, tensors out. Nothing here knows of Lightning."""

from ._bins import bin_edges
from ._neurons import SignificanceTest
from .bayes_error import BayesErrorBounds, bayes_error_bounds
from .class_selectivity import ClassSelectivityResult, class_selectivity
from .correlated_features import correlated_features
from .effect_sizes import hedges_g, omega_squared, rank_biserial, rank_eta_squared, roc_auc
from .friedman_rafsky import FriedmanRafsky, friedman_rafsky, henze_penrose_divergence
from .generalized_henze_penrose import GeneralizedHenzePenrose, generalized_henze_penrose
from .information import MutualInformation, conditional_entropy, entropy, joint_entropy, mutual_information
from .jackknife_test import JackknifeTest, jackknife_test
from .k_sample import brown_forsythe, kruskal_wallis, welch_anova
from .membership_test import MembershipTest, membership_test
from .modularity import Modularity, find_modules, modularity
from .module_comparisons import ModuleComparisons, modularity_loss, module_comparisons
from .multiple_testing import false_discovery_control
from .neuron_significance import TEST_NAMES, NeuronTests, neuron_significance
from .permutation_test import PermutationTest, permutation_test
from .pooled_information import PooledInformation, pooled_information
from .principal_components import PrincipalComponents, principal_components
from .shapiro_wilk import shapiro_wilk
from .spanning_tree import SpanningTree, minimum_spanning_tree
from .tree_neighbours import TreeNeighbours, tree_neighbours
from .two_sample import mann_whitney_u, welch_t_test
from .units import unit_activations
from .weight_contributions import WeightContributionsResult, weight_contributions

__all__ = [
    "TEST_NAMES",
    "BayesErrorBounds",
    "ClassSelectivityResult",
    "FriedmanRafsky",
    "GeneralizedHenzePenrose",
    "JackknifeTest",
    "MembershipTest",
    "Modularity",
    "ModuleComparisons",
    "MutualInformation",
    "NeuronTests",
    "PermutationTest",
    "PooledInformation",
    "PrincipalComponents",
    "SignificanceTest",
    "SpanningTree",
    "TreeNeighbours",
    "WeightContributionsResult",
    "bayes_error_bounds",
    "bin_edges",
    "brown_forsythe",
    "class_selectivity",
    "conditional_entropy",
    "correlated_features",
    "entropy",
    "false_discovery_control",
    "find_modules",
    "friedman_rafsky",
    "generalized_henze_penrose",
    "hedges_g",
    "henze_penrose_divergence",
    "jackknife_test",
    "joint_entropy",
    "kruskal_wallis",
    "mann_whitney_u",
    "membership_test",
    "minimum_spanning_tree",
    "modularity",
    "modularity_loss",
    "module_comparisons",
    "mutual_information",
    "neuron_significance",
    "omega_squared",
    "permutation_test",
    "pooled_information",
    "principal_components",
    "rank_biserial",
    "rank_eta_squared",
    "roc_auc",
    "shapiro_wilk",
    "tree_neighbours",
    "unit_activations",
    "weight_contributions",
    "welch_anova",
    "welch_t_test",
]
