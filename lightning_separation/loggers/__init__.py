"""From records to scalars, histograms, figures and tables in the Trainer's loggers."""

from .display import Display
from .emit import KINDS, displays, emit

__all__ = ["KINDS", "Display", "displays", "emit"]
