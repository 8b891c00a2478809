"""Whether separations differ by more than chance. NumPy and SciPy only: saved runs are compared without torch."""

from .adjust import adjusted
from .difference import ASSUMES, Difference
from .jackknife import JackknifeMean, jackknife_difference, jackknife_mean
from .mantel import Mantel, mantel_test
from .welch import welch_difference

__all__ = [
    "ASSUMES",
    "Difference",
    "JackknifeMean",
    "Mantel",
    "adjusted",
    "jackknife_difference",
    "jackknife_mean",
    "mantel_test",
    "welch_difference",
]
