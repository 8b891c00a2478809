"""From records to scalars, histograms, figures and tables in the Trainer's loggers."""

from .emit import KINDS, displays, emit

__all__ = ["KINDS", "displays", "emit"]
