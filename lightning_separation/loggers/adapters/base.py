"""What an adapter is: how a logger takes histograms, figures, tables and charts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from numpy.typing import NDArray

from ...tables import Table
from ..dashboard import Layout

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Adapter:
    """Takes nothing; a subclass overrides what its logger can take and names it in ``takes``.

    Scalars are not an adapter's: they go through LightningModule's own ``log``. What raises is said once, and training
    goes on.

    Args:
        logger: Of the Trainer.

    Attributes:
        takes: Which of ``"histograms"``, ``"figures"``, ``"tables"``, ``"dashboard"``.
        logger: Of the Trainer.
    """

    takes: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, logger: Any) -> None:
        self.logger = logger

    def histograms(self, tag: str, values: NDArray, step: int) -> None:
        """Log the distribution of ``values``: ``[n]``, finite, not empty."""

    def figures(self, tag: str, figure: Figure, step: int) -> None:
        """Log a figure."""

    def tables(self, tag: str, table: Table, step: int) -> None:
        """Log a table."""

    def dashboard(self, layout: Layout) -> None:
        """Lay out charts of scalars, beside those laid out before by this package; where the user did, nothing."""

    def scalar_name(self, tag: str) -> str | None:
        """The name under which the logger keeps a scalar; None: it would refuse it, and the whole step with it."""
        return tag
