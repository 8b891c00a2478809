"""Figures of runs and comparisons as PNG, each with how to read it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from io import BytesIO
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ..plots import separation_bands
from ..runs import Run
from ..runs.figures import drawn, interval_bands
from ..runs.run import Moment, named
from .compare import Compared

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MOST_CURVES = 6
_LEAST = 0.05  # that a scale of differences reaches to
_SHARPNESS = 2  # dots per pixel of the page

READING = {
    "epochs": "Layers from top to bottom in order, epochs from left to right: where and when do the classes part?",
    "curves": "The mean over pairs of classes in each layer, with its 95% interval over classes.",
    "bands": "From the input to the last layer: the mean over pairs of classes, and where the hardest and the easiest "
    "pair lie.",
    "histograms": "How the separations of the single pairs are spread: a mean can hide pairs that stay together.",
    "pairs": "Every pair of classes in every layer; the darker, the closer they lie.",
    "bayes_error": "The error of the best classifier that sees only this layer lies in the band, on samples balanced "
    "like those analysed.",
    "training_effect": "What training changed; what is not more than chance is pale.",
    "layer_steps": "What each layer adds to the separation in the layer before (red), or takes from it (blue).",
    "epoch_steps": "Which layers still change: since the record before they gained (red) or lost (blue) separation.",
    "gap": "How much further the training data are separated than the validation data. A gap of the input says that "
    "the two sets of data differ; only what a layer has beyond that speaks for samples learnt by heart.",
    "forecast": "Near 1: the pairs with low separation at this epoch are those that the network confuses at the end.",
    "confusion": "Rows are the true classes, columns what the network says.",
    "components": "Two directions of many, as a check by eye: classes that lie on each other here may still be apart.",
}


class Picture(NamedTuple):
    """A figure.

    Attributes:
        path: Where it is written, below the folder of the page, without ``.png``.
        reading: How to read it.
        png: The file's content.
        width: Pixels on the page.
    """

    path: str
    reading: str
    png: bytes
    width: int


def of_run(run: Run, folder: str = "") -> list[Picture]:
    """Every figure that the run has something for."""
    return [_picture(f"{folder}{kind}", READING[kind], figure) for kind, figure in drawn(run).items()]


def of_comparisons(compared: Sequence[Compared], variants: Mapping[str, Sequence[Run]]) -> Iterator[Picture]:
    """All variants against depth, and the differences of each to the baseline.

    Args:
        compared: All but the baseline.
        variants: By name one run each, or replicates; the baseline first.
    """
    first = compared[0]
    moments = [*first.whole.moments, *first.shown.moments]  # rather what is listed
    runs = [run for members in variants.values() for run in members]
    if shared := [moment for moment in moments if all(moment in run.moments for run in runs)]:
        yield _depth(variants, shared[-1])
    effects = np.concatenate([np.abs(one.whole.array("effect")).ravel() for one in compared])
    limit = max(float(np.nanmax(effects)), _LEAST)  # one scale for all
    for name, whole, *_ in compared:
        scale = " The scale is the same for all differences on this page." if len(compared) > 1 else ""
        reading = (
            f"Red: better separated in {name}; blue: in {whole.rows[0].versus}. Not more than chance: pale.{scale}"
        )
        yield _picture(f"difference-{name.replace('/', '-')}", reading, whole.plot(limit=limit))


def _depth(variants: Mapping[str, Sequence[Run]], moment: Moment) -> Picture:
    replicates = any(len(runs) > 1 for runs in variants.values())
    find = _range_of_runs if replicates else _interval_of_run
    curves = {name: find(runs, moment) for name, runs in list(variants.items())[:_MOST_CURVES]}
    band = "lowest to highest run" if replicates else "95% interval over classes"
    of = f", the first {_MOST_CURVES} of {len(variants)}" if len(variants) > _MOST_CURVES else ""
    figure = separation_bands(curves, title=f"Separation against depth, {named(moment)}{of}", band=band)
    reading = "Mean over the pairs of classes, from the input to the last layer."
    if not replicates:
        reading += (
            " The bands are of each run by itself; differences are tested on the same classes, so bands may overlap "
            "where a difference is sure."
        )
    return _picture("depth", reading, figure)


def _interval_of_run(runs: Sequence[Run], moment: Moment) -> dict[str, tuple[float, float, float]]:
    return interval_bands(runs[0].moments[moment])


def _range_of_runs(runs: Sequence[Run], moment: Moment) -> dict[str, tuple[float, float, float]]:
    means: dict[str, list[float]] = {}
    for run in runs:
        for layer, (_, mean, _) in interval_bands(run.moments[moment]).items():
            means.setdefault(layer, []).append(float(mean))
    return {layer: (min(values), float(np.mean(values)), max(values)) for layer, values in means.items()}


def _picture(path: str, reading: str, figure: Figure) -> Picture:
    file = BytesIO()
    figure.savefig(file, format="png", dpi=_SHARPNESS * figure.dpi)
    return Picture(path, reading, file.getvalue(), round(figure.get_figwidth() * figure.dpi))
