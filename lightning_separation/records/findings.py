"""What an analysis found: arrays by layer and quantity, and what their axes mean."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..listing import listed

AXES = (
    "pair", "class", "unit", "feature", "source", "link", "example", "bin", "edge", "direction", "repeat", "follower",
    "output", "sample", "component",
)  # fmt: skip
"""Names an axis can have. ``"pair"`` stands for two axes, [K, K]; the others for one.

``"feature"``: of the network's input, flattened; ``"source"``: units before a layer; ``"link"``: chosen connections;
``"example"``: chosen units; ``"bin"`` and ``"edge"``: of histograms; ``"direction"``: in the space of a layer's units;
``"repeat"``: of a random choice; ``"follower"``: layers that come behind; ``"output"``: of the network; ``"sample"``:
the data that was looked at; ``"component"``: principal components.
"""

ALL_LAYERS = "*"
"""Stands for all layers together where findings have a layer's name."""
INPUT = "input"
"""What the network is given, as a layer's name."""
DIRECTION_KINDS = ("random", "principal", "class_means", "given", "search")
"""What the numbers of kinds of directions mean."""

OBJECTIVES = ("classes", "values", "input")
"""What the numbers of what a network is to do mean: tell classes, predict values, reproduce its input."""


class Findings(Mapping[str, Mapping[str, NDArray]]):
    """Arrays by layer and quantity: ``findings["net.fc1"]["divergence"]``.

    Args:
        axes: For every quantity the names of its axes, of ``AXES``: ``()`` for a number, ``("pair",)`` for ``[K, K]``,
            ``("unit",)``, ``("unit", "class")``, ...
        layers: For every layer the arrays of its quantities; NumPy arrays, numbers, or tensors on the CPU. A layer
            without any is left out.
        labels: Names along an axis: ``{"feature": ["age", "pulse"]}``.

    Raises:
        ValueError: If a quantity has no declared axes, an array other axes than declared or no real numbers, or a layer
            or quantity is not called by text.

    Example:
        >>> findings = Findings({"divergence": ("pair",)}, {"fc1": {"divergence": [[0, 0.5], [0.5, 0]]}})
        >>> findings["fc1"]["divergence"].shape
        (2, 2)
    """

    def __init__(
        self,
        axes: Mapping[str, Sequence[str]],
        layers: Mapping[str, Mapping[str, Any]],
        labels: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        self.axes = {quantity: tuple(names) for quantity, names in axes.items()}
        self.labels = {axis: [str(name) for name in names] for axis, names in (labels or {}).items()}
        self._layers: dict[str, dict[str, NDArray]] = {}
        for quantity, names in self.axes.items():
            if unknown := set(names) - set(AXES):
                raise ValueError(f"quantity {quantity!r} has unknown axes {sorted(unknown)}; known are {list(AXES)}")
        for layer, quantities in layers.items():
            found = {name: np.asarray(value) for name, value in quantities.items()}
            if found:
                self._layers[layer] = found
            for quantity, array in found.items():
                if not isinstance(layer, str) or not isinstance(quantity, str):
                    raise ValueError(f"quantity {quantity!r} of layer {layer!r}: both must be called by text")
                if quantity not in self.axes:
                    raise ValueError(f"quantity {quantity!r} of layer {layer!r} has no declared axes")
                if array.dtype.kind not in "biuf":
                    raise ValueError(f"quantity {quantity!r} of layer {layer!r} is of {array.dtype}, not of numbers")
                expected = sum(2 if name == "pair" else 1 for name in self.axes[quantity])
                if array.ndim != expected:
                    raise ValueError(
                        f"quantity {quantity!r} of layer {layer!r} has shape {array.shape}, declared axes are "
                        f"{self.axes[quantity]}"
                    )

    def __getitem__(self, layer: str) -> Mapping[str, NDArray]:
        return self._layers[layer]

    def __iter__(self) -> Iterator[str]:
        return iter(self._layers)

    def __len__(self) -> int:
        return len(self._layers)

    def __repr__(self) -> str:
        return f"Findings({listed(list(self.axes))} of {listed(list(self._layers))})"


def joined(parts: Sequence[Findings], layers: Sequence[str]) -> Findings:
    """What several found of some layers each, in the order of the layers; of one that two have seen, the first counts.

    Args:
        parts: Findings of one analysis.
        layers: In the order of the result; layers that are not named come behind them.

    Returns:
        Findings with all quantities, axes and labels of the parts.

    Raises:
        ValueError: If the parts have different numbers of axes for one quantity.

    Example:
        >>> first, second = (Findings({"mean": ()}, {layer: {"mean": 1}}) for layer in ("fc2", "fc1"))
        >>> joined([first, second], ["fc1", "fc2"])
        Findings(mean of fc1, fc2)
    """
    axes = {quantity: names for part in parts for quantity, names in part.axes.items()}
    labels = {axis: names for part in parts for axis, names in part.labels.items()}
    found = {layer: quantities for part in reversed(parts) for layer, quantities in part.items()}
    ordered = {layer: found.pop(layer) for layer in layers if layer in found}
    return Findings(axes, ordered | found, labels)


def check_findings(found: Any, num_classes: int) -> None:
    """Raise unless these are findings, and all their axes of classes and pairs have so many places.

    Args:
        found: What an analysis gave.
        num_classes: How many classes there are.

    Raises:
        ValueError: With the layer and quantity that do not fit.

    Example:
        >>> check_findings(Findings({"mean": ("class",)}, {"fc": {"mean": [0.5, 0.25]}}), 3)
        Traceback (most recent call last):
        ValueError: quantity 'mean' of layer 'fc' has shape (2,), which does not fit 3 classes by its axes ('class',)
    """
    if not isinstance(found, Findings):
        raise ValueError(f"an analysis must give Findings, not {type(found).__name__}")
    for layer, quantities in found.items():
        for quantity, array in quantities.items():
            axes = [part for name in found.axes[quantity] for part in (["class"] * 2 if name == "pair" else [name])]
            if any(name == "class" and size != num_classes for name, size in zip(axes, array.shape, strict=True)):
                raise ValueError(
                    f"quantity {quantity!r} of layer {layer!r} has shape {array.shape}, which does not fit "
                    f"{num_classes} classes by its axes {found.axes[quantity]}"
                )
