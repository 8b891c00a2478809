"""From records to scalars, histograms, figures and tables in the Trainer's loggers."""

from . import gap
from .display import Display
from .emit import KINDS, Memory, displays, emit, lay_out, remembered
from .presenter import Presenter

__all__ = ["KINDS", "Display", "Memory", "Presenter", "displays", "emit", "gap", "lay_out", "remembered"]
