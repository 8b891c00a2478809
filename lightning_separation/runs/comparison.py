"""What a comparison of separations found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..comparison import ASSUMES
from ..notebook import as_html
from .run import Moment
from .summary import comparison_line, comparison_table

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure

Test = Literal["jackknife", "fisher", "fisher_paired"]


class Row(NamedTuple):
    """The difference in one layer at one moment.

    Attributes:
        moment: Epoch, or ``"before"`` training.
        layer: Its name.
        versus: What it is compared with: another run's name, a layer, a moment or a split.
        mean: Mean separation over the pairs of classes that both have (of groups: over their runs, too).
        other_mean: That of what it is compared with.
        effect: ``mean - other_mean``.
        low: Lower end of the effect's 95% interval; NaN where there is none.
        high: Upper end.
        p_value: Two-sided; NaN where there is no spread to test by.
        q_value: The same, adjusted for the number of rows (Benjamini-Hochberg).
        classes: How many both have.
    """

    moment: Moment
    layer: str
    versus: str
    mean: float
    other_mean: float
    effect: float
    low: float
    high: float
    p_value: float
    q_value: float
    classes: int


@dataclass(frozen=True, repr=False)
class Comparison:
    """Differences in separation, layer by layer and epoch by epoch.

    Attributes:
        title: What is compared with what.
        test: ``"jackknife"``, ``"fisher"``, ``"fisher_paired"`` or ``"welch"``.
        rows: By moment, then layer in order of execution.
        notes: What the two sides do not share, what could not be tested, and what else to know.
    """

    title: str
    test: str
    rows: list[Row]
    notes: list[str]

    def __repr__(self) -> str:
        return f"Comparison({comparison_line(self)})"

    def _repr_html_(self) -> str:
        notes = [*self.notes, *([self.assumes] if self.rows else [])]
        return as_html("Comparison", comparison_line(self), comparison_table(self), notes)

    @property
    def assumes(self) -> str:
        """What the test assumes, and what it does not say."""
        return ASSUMES[self.test.removesuffix("_paired")]

    @property
    def layers(self) -> list[str]:
        """In order of execution."""
        return list(dict.fromkeys(row.layer for row in self.rows))

    @property
    def moments(self) -> list[Moment]:
        """In order."""
        return list(dict.fromkeys(row.moment for row in self.rows))

    @property
    def last(self) -> list[Row]:
        """The rows of the last moment."""
        return [row for row in self.rows if row.moment == self.rows[-1].moment]

    def since(self, alpha: float = 0.05) -> dict[str, Moment | None]:
        """By layer the first moment from which on q stays below ``alpha`` to the end; None: it is not at the end.

        Args:
            alpha: Of q.
        """
        found: dict[str, Moment | None] = {}
        for row in self.rows:
            earlier = found.get(row.layer)
            found[row.layer] = (row.moment if earlier is None else earlier) if row.q_value < alpha else None
        return found

    def array(self, quantity: str) -> NDArray[np.float64]:
        """One number of the rows as ``[moments, layers]``, NaN where there is none.

        Args:
            quantity: A number of :class:`Row`, such as ``"effect"``.

        Raises:
            AttributeError: If rows have no such number.
        """
        moments, layers = ({name: i for i, name in enumerate(names)} for names in (self.moments, self.layers))
        out = np.full((len(moments), len(layers)), np.nan)
        for row in self.rows:
            out[moments[row.moment], layers[row.layer]] = getattr(row, quantity)
        return out

    def to_pandas(self) -> pandas.DataFrame:
        """The rows as a table; see :class:`Row`.

        Raises:
            ImportError: Without pandas.
        """
        import pandas

        return pandas.DataFrame(self.rows, columns=list(Row._fields))

    def to_dict(self) -> dict[str, Any]:
        """Everything, as JSON can hold it: NaN as None."""
        return {
            "title": self.title,
            "test": self.test,
            "rows": [{name: _plain(value) for name, value in row._asdict().items()} for row in self.rows],
            "notes": list(self.notes),
            "assumes": self.assumes,
            "since": self.since(),
        }

    def plot(self, alpha: float = 0.05, limit: float | None = None) -> Figure:
        """Layers x moments, the effect as colour; what is not significant at ``alpha`` (by q) is pale.

        Args:
            alpha: Of q.
            limit: The difference at the ends of the scale, for figures to be compared; None: the largest.
        """
        from ..plots import difference_heatmap

        q_values = self.array("q_value")
        significant = None if np.isnan(q_values).all() else q_values < alpha  # as of two classes: there is no test
        effect = self.array("effect")
        return difference_heatmap(
            effect, self.layers, self.moments, significant=significant, title=self.title, limit=limit
        )


def _plain(value: float | int | str) -> float | int | str | None:
    return None if value != value else value
