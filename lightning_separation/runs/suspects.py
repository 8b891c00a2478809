"""Samples that lie among other classes, over all epochs."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..records import ALL_LAYERS
from .run import Run

_MANY = 0.5  # of the layers


def label_suspects(run: Run) -> list[dict[str, Any]]:
    """See :meth:`Run.label_suspects`."""
    used = [record for record in run.moments.values() if record.findings.get("label_suspects")]
    if not used:
        raise ValueError("no record has label suspects (analysis LabelSuspects)")
    found: dict[int, dict[str, Any]] = {}
    for record in used:
        suspects, names = record.findings["label_suspects"], record.class_names
        layers = [layer for layer in record.layers if layer in suspects]
        alone = np.array([suspects[layer]["cross_share"] == 1 for layer in layers])
        neighbours = np.array([suspects[layer]["neighbour_class"] for layer in layers])
        index, own = (suspects[ALL_LAYERS][quantity].tolist() for quantity in ("sample_index", "sample_class"))
        share = alone.mean(0).tolist()
        for i in np.flatnonzero(alone.any(0)).tolist():
            head = {"index": index[i], "label": names[own[i]], "layers": 0.0, "epochs": 0, "records": len(used)}
            row = found.setdefault(index[i], head)
            row["neighbours"] = names[np.bincount(neighbours[alone[:, i], i]).argmax()]
            row["layers"] += share[i] / len(used)
            row["epochs"] += share[i] >= _MANY
    return sorted(found.values(), key=lambda row: (-row["layers"], row["index"]))
