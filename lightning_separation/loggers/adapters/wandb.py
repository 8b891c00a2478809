"""Weights & Biases."""

from __future__ import annotations

from typing import TYPE_CHECKING

from numpy.typing import NDArray

from ...tables import Table
from ..bins import binned
from ..files import distinct_parts
from .base import Adapter

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class WandbAdapter(Adapter):
    """Weights & Biases: ``wandb.Histogram``, ``wandb.Image``, ``wandb.Table``.

    All goes through the logger's own ``log_metrics``: its ``trainer/global_step`` is the x axis of every panel. The
    step that W&B itself counts only grows, and what is logged with a smaller one is lost.
    """

    takes = frozenset({"histograms", "figures", "tables"})

    def histograms(self, tag: str, values: NDArray, step: int) -> None:
        """Log the distribution of ``values``."""
        import wandb

        self.logger.log_metrics({tag: wandb.Histogram(np_histogram=binned(values))}, step)

    def figures(self, tag: str, figure: Figure, step: int) -> None:
        """Log a figure."""
        self.logger.log_image(_key(tag), [figure], step)

    def tables(self, tag: str, table: Table, step: int) -> None:
        """Log a table."""
        self.logger.log_table(_key(tag), list(table.header), [list(row) for row in table.rows], step=step)


def _key(tag: str) -> str:
    """A tag as W&B can make a file's name of it."""
    return "/".join(distinct_parts(tag))
