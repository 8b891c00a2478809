"""What is shown of principal components."""

from __future__ import annotations

from functools import partial

from ..records import Record
from ..runs.figures import component_figure
from .display import Display, History, prefixed, title


def display(record: Record, history: History, name: str) -> Display:
    """The figure of one record.

    Args:
        record: With findings of ``PrincipalComponents``.
        history: Not used.
        name: The monitor's name.

    Returns:
        The figure ``principal_components_figures/layers``: the samples on the first two components of each layer. The
        monitor's name stands before it unless it is "separation".
    """
    found = record.findings["principal_components"]
    shown = Display()
    if any(layer in found for layer in record.layers):
        shown.figures[f"{prefixed(name, 'principal_components_figures')}/layers"] = partial(
            component_figure, record, title(name, "Two principal components", record)
        )
    return shown
