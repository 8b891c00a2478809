"""Which weights carry the class differences from layer to layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ..capture import Snapshot
from ..functional import unit_activations, weight_contributions
from .base import LayerAnalysis

_MOST_CELLS = 4_000_000  # contributions worked out at a time
_MOST_DRAWN = 20_000  # contributions of a layer that a picture can do something with


@dataclass
class WeightContributions(LayerAnalysis):
    """For every linear layer, how much of each unit's class difference comes from which unit before it.

    The dissociation of classes that a unit shows is carried by weights: weight x class difference of the unit before.
    See :func:`lightning_separation.functional.weight_contributions`.

    Args:
        count: So many of the largest contributions of a layer are kept.
        layers: Names or glob patterns that narrow the monitor's; of those the ``nn.Linear`` count.
        every_n_epochs: Narrows the monitor's schedule.

    Found for each linear layer: ``difference`` (axes: unit, class; class against the mean of the others, in standard
    deviations within the classes) and ``source_difference`` (source, class); ``amplification`` (unit);
    ``amplification_median`` (a number); the largest contributions ``link_contribution`` with ``link_unit``,
    ``link_source`` and ``link_class`` (link); for small layers all of them, ``contribution`` (unit, source, class).

    Example:
        >>> WeightContributions(count=5).name
        'weight_contributions'
    """

    count: int = 20

    name: ClassVar[str] = "weight_contributions"  # type: ignore[misc]
    needs_classes: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.count < 1:
            raise ValueError(f"count must be at least 1, not {self.count}")

    @property
    def axes(self) -> Mapping[str, Sequence[str]]:
        """Quantities and their axes."""
        links = ("link_unit", "link_source", "link_class", "link_contribution")
        return {
            "difference": ("unit", "class"),
            "source_difference": ("source", "class"),
            "amplification": ("unit",),
            "amplification_median": (),
            **dict.fromkeys(links, ("link",)),
            "contribution": ("unit", "source", "class"),
        }

    def looks_at(self, layer: str, snapshot: Snapshot) -> bool:
        """Whether the layer is linear."""
        return isinstance(snapshot.module(layer), nn.Linear)

    def measure(self, layer: str, snapshot: Snapshot) -> Mapping[str, Any]:
        """The contributions to one linear layer's units."""
        assert snapshot.target is not None  # needs_classes
        module = snapshot.module(layer)
        assert isinstance(module, nn.Linear)
        given: list[Tensor] = []
        # Where a layer sees many positions of a sample, means over them are carried linearly too.
        snapshot.replay([layer], lambda p: given.append(unit_activations(p.given[layer], unit_axis=-1)))
        features, weight = torch.cat(given), module.weight.detach()
        cells = features.shape[1] * len(snapshot.labels)
        parts = [weight_contributions(w, features, snapshot.target) for w in weight.split(max(1, _MOST_CELLS // cells))]
        amplification = torch.cat([part.amplification for part in parts])
        found = {
            "difference": torch.cat([part.difference for part in parts]),
            "source_difference": parts[0].source_difference,
            "amplification": amplification,
            "amplification_median": amplification.nanmedian(),
            **self._links([part.contribution for part in parts]),
        }
        if weight.shape[0] * cells <= _MOST_DRAWN:
            found["contribution"] = torch.cat([part.contribution for part in parts])
        return {name: value.cpu() for name, value in found.items()}

    def _links(self, contributions: Sequence[Tensor]) -> dict[str, Tensor]:
        kept: list[tuple[Tensor, Tensor]] = []
        start = 0
        num_sources, num_classes = contributions[0].shape[1:]
        for part in contributions:
            if num_classes == 2:  # the second class says it all: what tells it from the first tells the first from it
                part = part * torch.tensor([0.0, 1.0], dtype=part.dtype, device=part.device)
            flat = part.nan_to_num(0).flatten()
            top = flat.abs().topk(min(self.count, len(flat))).indices
            kept.append((top + start, flat[top]))
            start += len(flat)
        places, values = (torch.cat(both) for both in zip(*kept, strict=True))
        best = values.abs().argsort(descending=True, stable=True)[: self.count]
        return {
            "link_unit": places[best] // (num_sources * num_classes),
            "link_source": places[best] // num_classes % num_sources,
            "link_class": places[best] % num_classes,
            "link_contribution": values[best],
        }
