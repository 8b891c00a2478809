"""What is shown of a record, in terms that every logger can translate."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..records import OBJECTIVES
from ..tables import Table, percent, plain

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ..records import Record


History = Mapping[int | str, Mapping[str, Mapping[str, float]]]
"""Some numbers of every record so far: by its label, quantity and layer; the latest record's come last."""


@dataclass
class Display:
    """Everything to show of one analysis of one record, by tag.

    Attributes:
        scalars: Finite numbers.
        histograms: Arrays ``[n]``, finite, not empty.
        figures: Functions that draw: called only if someone can take the figure.
        layer_figures: The same, for figures of single layers. They are many, so they are not drawn every time.
        tables: Tables.
    """

    scalars: dict[str, float] = field(default_factory=dict)
    histograms: dict[str, NDArray] = field(default_factory=dict)
    figures: dict[str, Callable[[], Figure]] = field(default_factory=dict)
    layer_figures: dict[str, Callable[[], Figure]] = field(default_factory=dict)
    tables: dict[str, Table] = field(default_factory=dict)


def prefixed(name: str, word: str) -> str:
    """First part of a tag: the word, with the monitor's name before it unless that is "separation"."""
    return word if name == "separation" else f"{name}_{word}"


def title(name: str, what: str, record: Record, *more: str) -> str:
    """Title of a figure: what it shows, of which epoch and data, in whose name if the monitor has another."""
    whose = "" if name == "separation" else f"{name}: "
    return ", ".join([f"{whose}{what}", record.when, record.split, *more])


def score_of(values: Mapping[str, NDArray]) -> tuple[str, str]:
    """By what a network is measured, and the unit of its changes; that may be empty.

    Args:
        values: With ``objective`` (index into ``records.OBJECTIVES``) and, where there is one, ``clean_accuracy``.
    """
    objective = OBJECTIVES[int(values["objective"])] if "objective" in values else "classes"
    if objective == "input":
        return "reconstruction error", "percentage points"
    if objective == "classes" or np.isfinite(values.get("clean_accuracy", np.nan)):
        return "cross-entropy", "nats"
    return "mean squared error", ""


def clean_score(values: Mapping[str, NDArray]) -> str:
    """How a network does as it is, by ``clean_loss`` and ``clean_accuracy``."""
    score, _ = score_of(values)
    accuracy = float(values.get("clean_accuracy", np.nan))
    more = f", accuracy {percent(accuracy)}" if np.isfinite(accuracy) else ""
    return f"{score} {plain(values.get('clean_loss', np.nan))}{'%' * (score == 'reconstruction error')}{more}"


def number(values: Mapping[str, NDArray], quantity: str) -> float:
    """A number of a layer; NaN if it has none."""
    return values[quantity].item() if quantity in values else math.nan


def feature_names(record: Record, num: int, analysis: str) -> list[str]:
    """Names of the input's ``num`` features: as the analysis was told, else as others were, else their numbers."""
    findings = record.findings
    told = [found.labels.get("feature", []) for found in (findings[analysis], *findings.values())]
    return next((names for names in told if len(names) == num), [str(i) for i in range(num)])
