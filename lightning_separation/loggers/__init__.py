"""From records to scalars, histograms, figures and tables in the Trainer's loggers."""

from .display import Display
from .emit import KINDS, Memory, displays, emit, lay_out, remembered

__all__ = ["KINDS", "Display", "Memory", "displays", "emit", "lay_out", "remembered"]
