"""MLflow."""

from __future__ import annotations

import posixpath
import re
from typing import TYPE_CHECKING

from numpy.typing import NDArray

from ...tables import Table
from ..bins import binned
from ..files import distinct_parts
from .base import Adapter

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_LONGEST = 250  # name of a scalar
_STRIPPED = re.compile("[^a-zA-Z0-9_/. -]+")  # by MLFlowLogger, from names of scalars
_FORBIDDEN = re.compile("[^a-zA-Z0-9_. -]")  # in a part of an artifact's path


class MLflowAdapter(Adapter):
    """MLflow: artifacts of the run, ``<tag>/step=<step>`` with the ending ``.json``, ``.png`` or ``.csv``.

    A histogram is ``{"counts": [64], "edges": [65]}``. A table is CSV, which MLflow's page shows as a table:
    ``log_table`` would add rows to those of a repeated fit, and its list of all tables is a tag that overflows.
    """

    takes = frozenset({"histograms", "figures", "tables"})

    def histograms(self, tag: str, values: NDArray, step: int) -> None:
        """Log the distribution of ``values``."""
        counts, edges = binned(values)
        bins = {"counts": counts.tolist(), "edges": edges.tolist()}
        self.logger.experiment.log_dict(self.logger.run_id, bins, self._path(tag, step, "json"))

    def figures(self, tag: str, figure: Figure, step: int) -> None:
        """Log a figure."""
        self.logger.experiment.log_figure(self.logger.run_id, figure, self._path(tag, step, "png"))

    def tables(self, tag: str, table: Table, step: int) -> None:
        """Log a table."""
        self.logger.experiment.log_text(self.logger.run_id, table.to_csv(), self._path(tag, step, "csv"))

    def scalar_name(self, tag: str) -> str | None:
        """The name under which the logger keeps a scalar; None: it would refuse it, and the whole step with it."""
        name = _STRIPPED.sub("", self.tag(tag))
        return name if len(name) <= _LONGEST and posixpath.normpath(name) == name else None

    def _path(self, tag: str, step: int, ending: str) -> str:
        return "/".join([*distinct_parts(self.tag(tag), _FORBIDDEN), f"step={step:08d}.{ending}"])
