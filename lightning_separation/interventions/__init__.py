"""Running a network with something taken out of it, exactly and fast."""

from .patching import ablate, remove_direction

__all__ = ["ablate", "remove_direction"]
