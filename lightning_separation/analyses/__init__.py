"""What a monitor can compute: each analysis makes findings of a snapshot."""

from ..records import Findings
from .base import Analysis, LayerAnalysis
from .henze_penrose import HenzePenrose

__all__ = ["Analysis", "Findings", "HenzePenrose", "LayerAnalysis"]
