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
        self.logger.experiment.log_histogram_3d(values, self.tag(tag), step)

    def figures(self, tag: str, figure: Figure, step: int) -> None:
        """Log a figure."""
        self.logger.experiment.log_figure(self.tag(tag), figure, step=step)

    def tables(self, tag: str, table: Table, step: int) -> None:
        """Log a table."""
        self.logger.experiment.set_step(step)  # log_table is given none
        name = f"{self.tag(tag)}-step={step:08d}.csv"
        self.logger.experiment.log_table(name, [list(row) for row in table.rows], headers=list(table.header))

    def tag(self, tag: str) -> str:
        """A tag with the logger's own ``prefix=``, as Comet has it before the names of scalars."""
        prefix = self.logger._prefix
        return f"{prefix}_{tag}" if prefix else tag

    def scalar_name(self, tag: str) -> str | None:
        """The name under which the logger keeps a scalar; None: it would refuse it, and the whole step with it."""
        name = self.tag(tag)
        return name if len(name) <= _LONGEST else name[: _LONGEST - len(_CUT)] + _CUT
