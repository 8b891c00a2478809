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
        """Log a distribution.

        Args:
            tag: Under which name; a slash ends its group. :meth:`tag` puts the logger's prefix before it.
            values: ``[n]``, finite, not empty.
            step: Where on the x axis.
        """

    def figures(self, tag: str, figure: Figure, step: int) -> None:
        """Log a figure.

        Args:
            tag: Under which name; a slash ends its group. :meth:`tag` puts the logger's prefix before it.
            figure: Any.
            step: Where on the x axis.
        """

    def tables(self, tag: str, table: Table, step: int) -> None:
        """Log a table.

        Args:
            tag: Under which name; a slash ends its group. :meth:`tag` puts the logger's prefix before it.
            table: Cells as text.
            step: Where on the x axis.
        """

    def dashboard(self, layout: Layout) -> None:
        """Lay out charts of scalars, beside those laid out before by this package; where the user did, nothing.

        Args:
            layout: By category and title of a chart its kind and tags: in one of kind ``"Multiline"`` regular
                expressions that a tag begins with, in one of kind ``"Margin"`` value, lower and upper end.
        """

    def tag(self, tag: str) -> str:
        """A tag with the logger's own ``prefix=``, as Lightning has it before the names of scalars.

        What goes through the logger's own ``log_metrics`` gets it there.

        Args:
            tag: Its name here.
        """
        prefix = getattr(self.logger, "_prefix", None)
        return f"{prefix}{self.logger.LOGGER_JOIN_CHAR}{tag}" if prefix else tag

    def scalar_name(self, tag: str) -> str | None:
        """The name under which the logger keeps a scalar; None: it would refuse it, and the whole step with it.

        Args:
            tag: Its name here.
        """
        return self.tag(tag)
