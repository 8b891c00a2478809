"""From records to scalars, histograms, figures and tables in the Trainer's loggers."""

from . import gap
from .adapters import Adapter, register_adapter
from .display import Display
from .emit import KINDS, Memory, displays, emit, lay_out, remembered
from .presenter import Presenter
from .scalar_names import loggable

__all__ = [
    "KINDS",
    "Adapter",
    "Display",
    "Memory",
    "Presenter",
    "displays",
    "emit",
    "gap",
    "lay_out",
    "loggable",
    "register_adapter",
    "remembered",
]
