"""Samples that lie among other classes, over all epochs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..records import ALL_LAYERS, Record

_INPUT = "input"
_ALL = 1 - 1e-9  # of a sample's edges
_MANY = 0.5  # of the layers


def label_suspects(records: Sequence[Record]) -> list[dict[str, Any]]:
    """See :meth:`Run.label_suspects`."""
    found: dict[int, dict[str, Any]] = {}
    used = [record for record in records if ALL_LAYERS in record.findings.get("label_suspects", {})]
    if not used:
        raise ValueError("no record has label suspects (analysis LabelSuspects)")
    for record in used:
        suspects = record.findings["label_suspects"]
        layers = [layer for layer in suspects if layer not in (ALL_LAYERS, _INPUT)] or [_INPUT]
        alone = np.array([suspects[layer]["cross_share"] >= _ALL for layer in layers])
        neighbours = np.array([suspects[layer]["neighbour_class"] for layer in layers], dtype=np.int64)
        head = suspects[ALL_LAYERS]
        for sample in np.flatnonzero(alone.any(0)).tolist():
            index, own = int(head["sample_index"][sample]), int(head["sample_class"][sample])
            row = found.setdefault(index, {"index": index, "layers": 0.0, "epochs": 0, "records": len(used)})
            row["label"] = record.class_names[own]
            row["neighbours"] = record.class_names[np.bincount(neighbours[alone[:, sample], sample]).argmax()]
            row["layers"] += alone[:, sample].mean() / len(used)
            row["epochs"] += bool(alone[:, sample].mean() >= _MANY)
    return sorted(found.values(), key=lambda row: (-row["layers"], row["index"]))
