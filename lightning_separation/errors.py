"""Errors that more than one room knows."""


class MonitorError(RuntimeError):
    """Trouble with data or at run time, where the monitor was told to stop at it (``on_error="raise"``)."""
