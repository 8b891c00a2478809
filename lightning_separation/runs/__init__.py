"""Saved records of one run or several: tables, comparisons and figures. Imports no torch."""

from .compare import compare_groups
from .comparison import Comparison, Row
from .load import find_runs, load_run
from .run import BEFORE, Run

__all__ = ["BEFORE", "Comparison", "Row", "Run", "compare_groups", "find_runs", "load_run"]
