"""Which scalars belong into one chart: a page of charts for the loggers that have such pages."""

from __future__ import annotations

import re
from collections.abc import Collection

import numpy as np

from .display import prefixed

Layout = dict[str, dict[str, tuple[str, list[str]]]]
"""By category and title of a chart its kind and tags: in one of kind "Multiline" regular expressions that a tag begins
with, in one of kind "Margin" value, lower and upper end."""

_MOST_LAYERS = 20  # with a chart each
_OURS = " (lightning-separation)"  # ends the titles of our categories


def dashboard(scalars: Collection[str], name: str) -> Layout:
    """One category with the charts whose scalars there are: of all layers at once, then of single layers.

    Charts of all layers name none, so those of runs with different layers are the same: TensorBoard shows such runs in
    one chart.

    Args:
        scalars: Tags, in order of execution. Of more than 20 layers those with a chart each are evenly spread.
        name: The monitor's name.

    Example:
        >>> layout = dashboard(["net/fc1", "net_min/fc1", "net_max/fc1"], "net")
        >>> for title, chart in layout["net (lightning-separation)"].items():
        ...     print(title, chart)
        mean separation, all layers ('Multiline', ['^net/'])
        hardest pair, all layers ('Multiline', ['^net_min/'])
        fc1: hardest pair, mean, easiest pair ('Margin', ['net/fc1', 'net_min/fc1', 'net_max/fc1'])
    """
    every_layer = {
        "mean separation": name,
        "hardest pair": f"{name}_min",
        "Bayes error, upper bound": prefixed(name, "bayes_error"),
        "train minus validation": f"{name}_gap",
        "largest loss by one unit": prefixed(name, "ablation_max_loss"),
        "significant units": prefixed(name, "significant_fraction"),
    }
    charts = {
        f"{what}, all layers": ("Multiline", [f"^{re.escape(word)}/"])
        for what, word in every_layer.items()
        if any(tag.startswith(f"{word}/") for tag in scalars)
    }
    layers = [tag.removeprefix(f"{name}/") for tag in scalars if tag.startswith(f"{name}/")]
    bands = {layer: [f"{word}/{layer}" for word in (name, f"{name}_min", f"{name}_max")] for layer in layers}
    complete = [layer for layer in layers if set(bands[layer]) <= set(scalars)]
    for i in np.linspace(0, len(complete) - 1, min(len(complete), _MOST_LAYERS)).astype(int):
        charts[f"{complete[i]}: hardest pair, mean, easiest pair"] = ("Margin", bands[complete[i]])
    return {f"{name}{_OURS}": charts} if charts else {}


def is_ours(layout: Layout) -> bool:
    """Whether nobody else has laid out any of it."""
    return all(category.endswith(_OURS) for category in layout)


def with_prefix(layout: Layout, prefix: str) -> Layout:
    r"""A layout of scalars whose tags have something before them.

    Example:
        >>> with_prefix({"a": {"x": ("Multiline", ["^x/"]), "y": ("Margin", ["y", "z"])}}, "b-")
        {'a': {'x': ('Multiline', ['^b\\-x/']), 'y': ('Margin', ['b-y', 'b-z'])}}
    """

    def named(kind: str, tag: str) -> str:
        return f"^{re.escape(prefix)}{tag.removeprefix('^')}" if kind == "Multiline" else f"{prefix}{tag}"

    return {
        category: {title: (kind, [named(kind, tag) for tag in tags]) for title, (kind, tags) in charts.items()}
        for category, charts in layout.items()
    }


def with_more(layout: Layout, more: Layout) -> Layout:
    """A layout with the charts of another added to it.

    Example:
        >>> with_more({"a": {"x": ("Multiline", ["^x$"])}}, {"a": {"y": ("Multiline", ["^y$"])}})
        {'a': {'x': ('Multiline', ['^x$']), 'y': ('Multiline', ['^y$'])}}
    """
    return layout | {category: layout.get(category, {}) | charts for category, charts in more.items()}
