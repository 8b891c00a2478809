"""Which weights carry the class differences from layer to layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ..capture import Snapshot
from ..checks import check_positive
from ..functional import unit_activations, weight_contributions
from ..records import Findings
from .base import LayerAnalysis
from .cost import Facts, Forwards
from .sources import NOWHERE, Source, linear_layers, linear_sources

_MOST_CELLS = 4_000_000  # contributions worked out at a time
_MOST_DRAWN = 20_000  # contributions of a layer that a picture can do something with


@dataclass
class WeightContributions(LayerAnalysis):
    """For every linear layer, how much of each unit's class difference comes from which unit before it.

    The dissociation of classes that a unit shows is carried by weights: weight x class difference of the unit before.
    See :func:`lightning_separation.functional.weight_contributions`.

    Args:
        count: So many of a layer's links are listed at most: those that carry most of a difference.
        layers: Names or glob patterns that narrow the monitor's; of those the ``nn.Linear`` count.
        every_n_epochs: Narrows the monitor's schedule.

    Found for each linear layer: ``difference`` and ``amplification`` (axes: unit, class; a class against the mean of
    the others, in standard deviations within the classes), ``source_difference`` (source, class);
    ``amplification_median`` (a number); the listed links ``link_contribution`` with ``link_unit``, ``link_source`` and
    ``link_class`` (link); for small layers all contributions, ``contribution`` (unit, source, class);
    ``source_layer``: the place in the record's layers of the one that alone, whatever follows it, makes what the layer
    is given (0: the network's input), -1 if there is none.

    Raises:
        ValueError: For impossible settings.

    Example:
        >>> from torch.utils.data import DataLoader, TensorDataset
        >>> from lightning_separation import analyze
        >>> x = torch.stack([torch.arange(40.0) // 20 * 4 + torch.arange(40) % 4, torch.arange(40.0) % 4], 1)
        >>> loader = DataLoader(TensorDataset(x, torch.arange(40) // 20), batch_size=40)  # x[:, 0] tells the class
        >>> network = torch.nn.Sequential(torch.nn.Identity(), torch.nn.Linear(2, 2, bias=False))
        >>> network[1].weight.data = torch.tensor([[-4.0, 0.0], [4.0, 0.0]])
        >>> record = analyze(network, loader, [WeightContributions()])
        >>> record.findings["weight_contributions"]["1"]["contribution"][1, :, 1].round(2)  # of each source
        array([3.49, 0.  ])
    """

    count: int = 20

    name: ClassVar[str] = "weight_contributions"
    needs_classes: ClassVar[bool] = True
    by_layer: ClassVar[bool] = True

    _sources: Mapping[str, Source] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(count=self.count)

    @property
    def axes(self) -> Mapping[str, Sequence[str]]:
        """Quantities and their axes."""
        links = ("link_unit", "link_source", "link_class", "link_contribution")
        return {
            "difference": ("unit", "class"),
            "source_difference": ("source", "class"),
            "amplification": ("unit", "class"),
            "amplification_median": (),
            "source_layer": (),
            **dict.fromkeys(links, ("link",)),
            "contribution": ("unit", "source", "class"),
        }

    def looks_at(self, layer: str, snapshot: Snapshot) -> bool:
        """Whether the layer is linear."""
        return isinstance(snapshot.module(layer), nn.Linear)

    def forwards(self, facts: Facts) -> Forwards:
        """To find where linear layers have from what they are given, and what that is for each of them."""
        linear = linear_layers(facts.one)
        return Forwards(bool(linear) + len(self.chosen(facts.one)), backwards=2 * len(linear))

    def compute(self, snapshot: Snapshot) -> Findings:
        """Measure every chosen layer of the snapshot."""
        self._sources = linear_sources(snapshot)
        return super().compute(snapshot)

    def measure(self, layer: str, snapshot: Snapshot) -> Mapping[str, Any]:
        """The contributions to one linear layer's units."""
        assert snapshot.target is not None  # needs_classes
        module = snapshot.module(layer)
        assert isinstance(module, nn.Linear)
        given: list[Tensor] = []
        # Where a layer sees many positions of a sample, means over them are carried linearly too.
        snapshot.replay([layer], lambda p: given.append(unit_activations(p.given[layer], unit_axis=-1)))
        features, weight = snapshot.joined(given), module.weight.detach()
        cells = features.shape[1] * len(snapshot.labels)
        parts = [weight_contributions(w, features, snapshot.target) for w in weight.split(max(1, _MOST_CELLS // cells))]
        amplification = torch.cat([part.amplification for part in parts])
        found = {
            "difference": torch.cat([part.difference for part in parts]),
            "source_difference": parts[0].source_difference,
            "amplification": amplification,
            "amplification_median": amplification.nanmedian(),
            "source_layer": torch.tensor(self._sources.get(layer, NOWHERE).place),
            **self._links([(part.contribution, part.difference) for part in parts]),
        }
        if weight.shape[0] * cells <= _MOST_DRAWN:
            found["contribution"] = torch.cat([part.contribution for part in parts])
        return {name: value.cpu() for name, value in found.items()}

    def _links(self, parts: Sequence[tuple[Tensor, Tensor]]) -> dict[str, Tensor]:
        """The links that carry most of their unit's difference: of its sign, and no more than there is of it."""
        places, values, carried = [], [], []
        start = 0
        num_sources, num_classes = parts[0][0].shape[1:]
        for contribution, difference in parts:
            toward = (contribution * difference.sign().unsqueeze(1)).nan_to_num(0.0)
            part = torch.minimum(toward, difference.abs().nan_to_num(0.0).unsqueeze(1))
            if num_classes == 2:  # what tells the second class from the first tells the first from the second
                part[:, :, 0] = 0.0
            top = part.flatten().topk(min(self.count, part.numel())).indices
            places.append(top + start)
            values.append(contribution.flatten()[top])
            carried.append(part.flatten()[top])
            start += part.numel()
        place, value, most = torch.cat(places), torch.cat(values), torch.cat(carried)
        best = most.argsort(descending=True, stable=True)[: self.count]
        best = best[most[best] > 0]
        return {
            "link_unit": place[best] // (num_sources * num_classes),
            "link_source": place[best] // num_classes % num_sources,
            "link_class": place[best] % num_classes,
            "link_contribution": value[best],
        }
