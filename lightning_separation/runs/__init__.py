"""Saved records of one run or several: tables and figures. Imports no torch."""

from .run import Run, load_run

__all__ = ["Run", "load_run"]
