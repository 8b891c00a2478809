"""Copies of a network, each without one unit of a layer."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import torch
from torch import Tensor

from .clean_run import CleanRun, Copies
from .narrow import Lead
from .suffix import Suffix


class WithoutUnits:
    """Runs a network without single units of one of its layers, as cheaply as it allows; within ``run.replaying()``.

    Behind a layer that runs once the first steps are computed for the changed units only; else all that comes behind,
    or, where that is not known, the whole network.

    Args:
        run: The clean run.
        layer: One of its layers.
        replace: Of the layer's output ``[N, ...]`` what each unit is replaced by, of the same shape.
    """

    def __init__(self, run: CleanRun, layer: str, replace: Callable[[Tensor], Tensor]) -> None:
        self._run, self._layer, self._replace = run, layer, replace
        self._axis = run.axes[layer]
        self._suffix = run.suffix(layer)
        self._narrow = self._suffix is not None and len(self._suffix.marks) == 1
        outputs = run.clean(layer)
        if self._suffix is not None:
            outputs = [self._suffix.clean(mark) for mark in self._suffix.marks]  # those that something depends on
        self._outputs = [(output, replace(output)) for output in outputs]

    @property
    def matter(self) -> Tensor:
        """Units that are replaced by something else than they are and that the output depends on, ``[U]`` bool.

        Without one of the others exactly nothing changes.
        """
        width = self._run.clean(self._layer)[0].shape[self._axis]
        matter = torch.zeros(width, dtype=torch.bool, device=self._run.output.device)
        for output, new in self._outputs:
            matter |= (new != output).movedim(self._axis, 0).flatten(1).any(1)
        return matter

    @cached_property
    def at_once(self) -> int:
        """How many units to take at once."""
        if self._suffix is None or not self._narrow:
            return self._run.at_once(self._layer)
        try:
            lead = self._lead
        except Exception:  # copies() tells
            return 1
        return self._run.at_once(self._layer, [*lead.read, *(number for op in lead.rest for number in op.outputs)])

    def copies(self, units: Tensor) -> Copies:
        """What the network returns without each of some units, ``[k]``."""
        if self._narrow and self._run.suffix(self._layer) is not None:
            assert self._suffix is not None
            try:
                return self._copies_behind(self._suffix, self._lead, units)
            except torch.OutOfMemoryError:
                raise
            except Exception as error:
                self._run.give_up(self._layer, error)
        return self._run.run(self._layer, self._without, units)

    def _copies_behind(self, suffix: Suffix, lead: Lead, units: Tensor) -> Copies:
        known = lead.values(units)
        values = suffix.copies(known, lead.rest) if lead.rest else known
        return self._run.copies(values, len(units))

    @cached_property
    def _lead(self) -> Lead:
        """The first steps, for the changed units only."""
        assert self._suffix is not None
        ((_, new),) = self._outputs
        return Lead(self._suffix, new, self._axis)

    def _without(self, output: Tensor, unit: Tensor) -> Tensor:
        place = torch.arange(output.shape[self._axis], device=output.device)
        place = place.view(-1, *(1,) * (output.ndim - self._axis - 1))
        return torch.where(place == unit, self._replace(output), output)
