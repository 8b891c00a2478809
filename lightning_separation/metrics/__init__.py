"""The statistics as ``torchmetrics.Metric`` classes, for any torch code."""

from .henze_penrose import HenzePenroseDivergence

__all__ = ["HenzePenroseDivergence"]
