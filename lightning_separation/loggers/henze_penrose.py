"""What is shown of Henze-Penrose separation."""

from __future__ import annotations

import numpy as np

from ..plots import separation_depth, separation_heatmap
from ..records import Record
from ..records.summary import hardest_pairs
from ..runs.figures import class_intervals
from ..tables import Table
from .display import Display, History, prefixed, title

_MOST_ROWS = 10


def display(record: Record, history: History, name: str) -> Display:
    """Scalars, histograms, figures and tables of one record.

    Args:
        record: With findings of ``HenzePenrose``.
        history: With ``separation``, the mean over pairs.
        name: The monitor's name.

    Returns:
        Scalars ``<name>/<layer>`` (mean over pairs), ``<name>_min/<layer>`` (hardest pair), ``<name>_max/<layer>``
        (easiest pair), ``bayes_error/<layer>`` (``<name>_bayes_error/<layer>`` unless the name is "separation") and
        ``<name>_last`` (mean of the last layer); a histogram over pairs for each layer; heatmap, depth figure and the
        table of the hardest pairs.
    """
    found = record.findings["henze_penrose"]
    shown = Display()
    bayes = prefixed(name, "bayes_error")
    layers = [layer for layer in record.layers if layer in found]
    upper = np.triu_indices(len(record.class_names), 1)
    for layer in layers:
        shown.scalars[f"{name}/{layer}"] = found[layer]["separation"].item()
        for end in ("min", "max"):
            shown.scalars[f"{name}_{end}/{layer}"] = found[layer][f"separation_{end}"].item()
        shown.scalars[f"{bayes}/{layer}"] = found[layer]["bayes_error"].item()
        pairs = found[layer]["divergence"][upper]
        shown.histograms[f"{name}_pairs/{layer}"] = pairs[np.isfinite(pairs)]
    if not layers:
        return shown
    if layers[-1] == record.layers[-1]:
        shown.scalars[f"{name}_last"] = found[layers[-1]]["separation"].item()
    values = {layer: found[layer]["divergence"] for layer in layers}
    fewest, most = int(record.counts.min()), int(record.counts.max())
    size = f"{most}" if fewest == most else f"{fewest} to {most}"
    samples = f"{size} samples a class"
    shown.figures[f"{name}_figures/layers_by_pairs"] = lambda: separation_heatmap(
        values, record.class_names, title=title(name, "Henze-Penrose separation", record, samples)
    )
    curves = {label: row["separation"] for label, row in history.items()}
    shown.figures[f"{name}_figures/depth"] = lambda: separation_depth(
        curves, title=title(name, "Separation against depth", record, samples), band=class_intervals(record)
    )
    shown.tables[f"{name}_tables/hardest_pairs"] = _hardest_pairs(record, layers[-1])
    return shown


def _hardest_pairs(record: Record, last: str) -> Table:
    found = record.findings["henze_penrose"]
    first = next(iter(found))
    pairs = hardest_pairs(found[last]["divergence"])
    rows = []
    for a, b in pairs[:_MOST_ROWS]:
        row = [record.class_names[a], record.class_names[b]]
        row += [f"{found[layer]['divergence'][a, b]:.3f}" for layer in (first, last)]
        if "p_value" in found[last]:
            row += [f"{found[last]['p_value'][a, b]:.1g}"]
            row += [f"{found[last]['bayes_lower'][a, b]:.3f} to {found[last]['bayes_upper'][a, b]:.3f}"]
        rows.append(row)
    header = ["class a", "class b", f"separation in {first}", f"in {last}"]
    if "p_value" in found[last]:
        header += [f"p in {last}", "best possible error for the pair"]
    caption = (
        f"The {len(rows)} hardest of {len(pairs)} pairs in `{last}`, {record.when}. "
        "Errors hold for the balance of classes in the sample."
    )
    return Table(header, rows, caption)
