"""Findings as figures: numpy and matplotlib only; no pyplot, whose figures outlive their use."""

from .henze_penrose import separation_depth, separation_heatmap

__all__ = ["separation_depth", "separation_heatmap"]
