"""From the network in the Trainer's hands to a snapshot of what its layers make of some samples."""

from ..records import INPUT
from .capture import Capture, NothingCapturedError
from .layers import select_layers
from .sample import Sample
from .snapshot import Snapshot

__all__ = ["INPUT", "Capture", "NothingCapturedError", "Sample", "Snapshot", "select_layers"]
