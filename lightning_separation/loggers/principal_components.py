"""What is shown of principal components."""

from __future__ import annotations

from functools import partial

import numpy as np

from ..plots import component_scatter
from ..records import ALL_LAYERS, Record
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
    layers = [layer for layer in record.layers if layer in found]
    if layers:
        classes, names = found[ALL_LAYERS]["sample_class"], record.class_names
        if not names:
            classes, names = np.zeros_like(classes), ["all samples"]
        shown.figures[f"{prefixed(name, 'principal_components_figures')}/layers"] = partial(
            component_scatter,
            {layer: found[layer]["projection"] for layer in layers},
            classes,
            names,
            explained={layer: found[layer]["explained_variance_ratio"] for layer in layers},
            title=title(name, "Two principal components", record),
        )
    return shown
