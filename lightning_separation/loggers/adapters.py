"""How each logger takes histograms, figures and tables. Scalars go through the LightningModule's own ``log``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .display import Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure


_FINEST_BIN, _MOST_BINS = 0.02, 100


class Adapter:
    """Takes nothing; a subclass overrides what its logger can take and names it in ``takes``."""

    takes: frozenset[str] = frozenset()

    def __init__(self, logger: Any) -> None:
        self.logger = logger

    def histograms(self, tag: str, values: NDArray, step: int) -> None:
        """Log the distribution of ``values``."""

    def figures(self, tag: str, figure: Figure, step: int) -> None:
        """Log a figure."""

    def tables(self, tag: str, table: Table, step: int) -> None:
        """Log a table."""


class TensorBoardAdapter(Adapter):
    """TensorBoard: everything, tables as Markdown."""

    takes = frozenset({"histograms", "figures", "tables"})

    def histograms(self, tag: str, values: NDArray, step: int) -> None:
        """Log the distribution of ``values``."""
        # By default bins grow with the distance from 0, and one would hold all that lies between 0.9 and 1.
        low, high = float(values.min()), float(values.max())
        width = max(_FINEST_BIN, (high - low) / _MOST_BINS)
        edges = width * np.arange(np.floor(low / width), np.floor(high / width) + 2)
        self.logger.experiment.add_histogram(tag, values, step, bins=edges)

    def figures(self, tag: str, figure: Figure, step: int) -> None:
        """Log a figure."""
        self.logger.experiment.add_figure(tag, figure, step)

    def tables(self, tag: str, table: Table, step: int) -> None:
        """Log a table."""
        self.logger.experiment.add_text(tag, table.to_markdown(), step)


_ADAPTERS: dict[str, type[Adapter]] = {"TensorBoardLogger": TensorBoardAdapter}


def adapter_for(logger: Any) -> Adapter:
    """The adapter of a logger's class or its nearest base, by name: the same classes exist in two packages."""
    names = (cls.__name__ for cls in type(logger).__mro__)
    return next((_ADAPTERS[name] for name in names if name in _ADAPTERS), Adapter)(logger)
