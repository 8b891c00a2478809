"""Analyses shared out among the processes of a run."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any, NamedTuple

from ..capture import Snapshot
from ..errors import MonitorError
from ..records import Findings, check_findings, joined
from .base import Analysis, LayerChoice, load_states, states


def findings_of(analyses: Sequence[Analysis], snapshot: Snapshot) -> dict[str, Findings]:
    """What analyses find, by their names; nothing of those that find nothing, or fail, which is reported.

    Each process finds its share. Afterwards every one has all findings, and what analyses keep from time to time.

    Raises:
        MonitorError: If trouble is raised.
    """
    processes = snapshot.processes
    parts = processes.gather(lambda: _share(analyses, snapshot))
    for part in (part for rank, part in enumerate(parts) if rank != processes.rank):
        load_states([analysis for analysis in analyses if analysis.name in part.states], part.states, snapshot.report)
    found = {}
    for name in (analysis.name for analysis in analyses):
        own = [part.findings[name] for part in parts if name in part.findings]
        if own:
            found[name] = own[0] if len(own) == 1 else joined(own, snapshot.layers)
    return found


class _Part(NamedTuple):
    """What one process found: by analysis its findings, and what it keeps for the next time."""

    findings: dict[str, Findings]
    states: dict[str, dict[str, Any]]


def _share(analyses: Sequence[Analysis], snapshot: Snapshot) -> _Part:
    """What this process has to find: its share of the layers, or of the analyses that one process makes for all."""
    processes = snapshot.processes
    made = [a for a in analyses if getattr(a, "by_layer", False) or _made_by(a, processes.size) == processes.rank]
    of_training = " of the training data" if snapshot.split == "train" else ""
    findings = {}
    for analysis in made:
        try:
            with snapshot.progress.of(analysis.name.replace("_", " ") + of_training):
                found = analysis.compute(snapshot)
            if found:
                check_findings(found, len(snapshot.class_names))
                findings[analysis.name] = found
        except MonitorError:
            raise
        except Exception as error:  # a user's analysis may raise anything; training goes on
            snapshot.report(analysis.name, f"it failed: {error!r}")
    return _Part(findings, states(made, snapshot.report) if processes.size > 1 else {})


def _made_by(analysis: Analysis, processes: int) -> int:
    """The process that makes it in every epoch: it may remember; the user's own are made by the first."""
    return zlib.crc32(analysis.name.encode()) % processes if isinstance(analysis, LayerChoice) else 0
