"""Trouble with data or at run time."""

from __future__ import annotations

import logging
import re
import sys
from typing import Any

from pytorch_lightning.utilities import rank_zero_warn

from .errors import MonitorError
from .processes import Processes

_log = logging.getLogger(__name__)


class Reports:
    """Trouble is raised, or said once and kept with the record.

    Of several processes each keeps to itself what it has met until all can :meth:`share` it: one that raised, or spoke,
    alone would leave the others waiting.

    Args:
        name: Of the monitor.
        raises: Whether trouble is raised.

    Attributes:
        notes: What there is to say of the record in the making.
    """

    def __init__(self, name: str, raises: bool) -> None:
        self.notes: list[str] = []
        self._name, self._raises = name, raises
        self._said: set[tuple[str, str]] = set()
        self._processes = Processes()
        self._kept: list[tuple[str, str, bool]] = []
        self._causes: dict[str, BaseException | None] = {}  # in this process, by the reason

    def __call__(self, subject: str, reason: str, *, harmless: bool = False) -> None:
        """Report.

        Raises:
            MonitorError: If trouble is raised, unless it is harmless.
        """
        if self._processes.size > 1:
            self._kept.append((subject, reason, harmless))
            self._causes[reason] = sys.exc_info()[1]
        else:
            self._tell(subject, reason, harmless, sys.exc_info()[1])

    def __getstate__(self) -> dict[str, Any]:
        """Without errors, which may hold anything, with their frames."""
        return vars(self) | {"_causes": {}}

    def forget(self) -> None:
        """What was said before is said again."""
        self._said.clear()

    def begin(self, processes: Processes) -> None:
        """A validation of these processes begins."""
        self._processes, self._kept, self._causes, self.notes = processes, [], {}, []

    def share(self) -> None:
        """Tell what any of the processes has met; all of them do this.

        Raises:
            MonitorError: In all of them, if there is trouble and it is raised.
        """
        met = [trouble for some in self._processes.gather(lambda: self._kept) for trouble in some]
        causes, self._kept, self._causes = self._causes, [], {}
        subjects: dict[tuple[str, bool], dict[str, None]] = {}  # layers that several processes report for one reason
        for subject, reason, harmless in met:
            subjects.setdefault((reason, harmless), {}).update(dict.fromkeys(subject.split(", ")))
        for (reason, harmless), concerned in subjects.items():
            self._tell(", ".join(concerned), reason, harmless, causes.get(reason))

    def end(self) -> None:
        """The validation is over: what comes now is of this process alone."""
        self._processes = Processes()

    def _tell(self, subject: str, reason: str, harmless: bool, cause: BaseException | None) -> None:
        message = f"{subject}: {reason}"
        if self._raises and not harmless:
            raise MonitorError(message) from cause
        if message not in self.notes:
            self.notes.append(message)
        kind = (subject, re.sub(r"\d+", "#", reason))  # counts may change from epoch to epoch
        if kind not in self._said:
            self._said.add(kind)
            try:
                rank_zero_warn(f"SeparationMonitor {self._name!r}: {message}")
            except Warning as warning:  # the user turns them into errors; it is none here
                _log.warning(str(warning))
