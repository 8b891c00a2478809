"""Interpretability tracking for PyTorch Lightning: what a network's layers separate, while it trains."""

__version__ = "0.1.0"
