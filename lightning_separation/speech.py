"""What there is to say that is no trouble: lines at level INFO, from one process."""

from __future__ import annotations

import logging

from pytorch_lightning.utilities import rank_zero_info, rank_zero_only

_log = logging.getLogger("lightning_separation.monitor")
_package_log = logging.getLogger("lightning_separation")


def is_heard() -> bool:
    """Whether anybody would see a line."""
    return not _is_set_up() or _log.isEnabledFor(logging.INFO)


@rank_zero_only
def say(line: str) -> None:
    """Log a line where the user reads: with what the user has set up of logging, else among Lightning's own."""
    (_log.info if _is_set_up() else rank_zero_info)(line)


def _is_set_up() -> bool:
    """Whether the user has set up logging; else a line goes where Lightning's own go, or nobody would see it."""
    return _log.hasHandlers() or bool(_log.level or _package_log.level)
