"""Comet."""

from __future__ import annotations

from typing import TYPE_CHECKING

from numpy.typing import NDArray

from ...tables import Table
from .base import Adapter

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_LONGEST, _CUT = 100, " [truncated]"  # name of a scalar; how Comet ends what it cuts


class CometAdapter(Adapter):
    """Comet: ``log_histogram_3d``, ``log_figure``, and ``log_table`` into ``<tag>-step=<step>.csv``."""

    takes = frozenset({"histograms", "figures", "tables"})

    def histograms(self, tag: str, values: NDArray, step: int) -> None:
        """Log the distribution of ``values``."""
        self.logger.experiment.log_histogram_3d(values, tag, step)

    def figures(self, tag: str, figure: Figure, step: int) -> None:
        """Log a figure."""
        self.logger.experiment.log_figure(tag, figure, step=step)

    def tables(self, tag: str, table: Table, step: int) -> None:
        """Log a table."""
        self.logger.experiment.set_step(step)  # log_table is given none
        name = f"{tag}-step={step:08d}.csv"
        self.logger.experiment.log_table(name, [list(row) for row in table.rows], headers=list(table.header))

    def scalar_name(self, tag: str) -> str | None:
        """The name under which the logger keeps a scalar; None: it would refuse it, and the whole step with it."""
        prefix = self.logger._prefix
        name = f"{prefix}_{tag}" if prefix else tag
        return name if len(name) <= _LONGEST else name[: _LONGEST - len(_CUT)] + _CUT
