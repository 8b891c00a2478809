"""The statistics as ``torchmetrics.Metric`` classes, for any torch code."""

from .class_selectivity import ClassSelectivity
from .henze_penrose import HenzePenroseDivergence
from .neuron_significance import NeuronSignificance

__all__ = ["ClassSelectivity", "HenzePenroseDivergence", "NeuronSignificance"]
