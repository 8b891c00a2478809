"""The arithmetic: tensors in, tensors out. Nothing here knows of Lightning."""

from .bayes_error import BayesErrorBounds, bayes_error_bounds
from .friedman_rafsky import FriedmanRafsky, friedman_rafsky, henze_penrose_divergence
from .generalized_henze_penrose import GeneralizedHenzePenrose, generalized_henze_penrose
from .spanning_tree import SpanningTree, minimum_spanning_tree

__all__ = [
    "BayesErrorBounds",
    "FriedmanRafsky",
    "GeneralizedHenzePenrose",
    "SpanningTree",
    "bayes_error_bounds",
    "friedman_rafsky",
    "generalized_henze_penrose",
    "henze_penrose_divergence",
    "minimum_spanning_tree",
]
