"""The path of one given input through a small network to its output."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from .capture.replay import unchanged

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class NetworkPath:
    """What one input made every linear layer of a network compute, and from what.

    Attributes:
        layers: The linear layers by name, in order of execution.
        values: What each of them was given, and last what the last one computed: ``[n_0], [n_1], ...`` float64.
        contributions: For every layer weight x what it was given, ``[n_(i+1), n_i]``: with the bias they sum to what
            the layer computed.
    """

    layers: list[str]
    values: list[NDArray[np.float64]]
    contributions: list[NDArray[np.float64]]

    def plot(
        self,
        feature_names: Sequence[str] | None = None,
        class_names: Sequence[str] | None = None,
        title: str = "",
    ) -> Figure:
        """The path as a picture: features left, units, outputs right; lines are contributions.

        Args:
            feature_names: Of the input's features.
            class_names: Of the outputs.
            title: Title of the figure.
        """
        from .plots import PathColumn, path_diagram

        names: list[Sequence[str] | None] = [feature_names, *([None] * (len(self.values) - 2)), class_names]
        titles = ["input", *(f"into {layer}" for layer in self.layers[1:]), self.layers[-1]]
        columns = [
            PathColumn(name, labels or [str(i) for i in range(len(values))], values)
            for name, labels, values in zip(titles, names, self.values, strict=True)
        ]
        return path_diagram(columns, self.contributions, title=title)


def trace_path(network: nn.Module, inputs: Tensor | tuple[Any, ...] | Mapping[str, Any]) -> NetworkPath:
    """Follow one input through the linear layers of a network.

    The network runs once in eval mode, without gradients; modes, buffers and random state are afterwards as before.

    Args:
        network: A module whose linear layers follow on each other, each given what the one before made, through
            whatever stands between them.
        inputs: One sample: a tensor ``[1, ...]`` or ``[features]``, or the arguments as a tuple or by name.

    Returns:
        Its path; ``plot()`` draws it.

    Raises:
        ValueError: If no linear layer runs, one is given more than one row, or their widths do not follow on each
            other.

    Example:
        >>> import torch
        >>> network = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.ReLU(), torch.nn.Linear(2, 1))
        >>> _ = torch.nn.init.ones_(network[0].weight), torch.nn.init.zeros_(network[0].bias)
        >>> path = trace_path(network, torch.tensor([1.0, 2.0]))
        >>> path.layers, path.contributions[0].tolist()
        (['0', '2'], [[1.0, 2.0], [1.0, 2.0]])
    """
    steps: list[tuple[str, NDArray[np.float64], Tensor, Tensor]] = []

    def hook(name: str) -> Any:
        def keep(module: nn.Linear, given: tuple[Tensor, ...], output: Tensor) -> None:
            row = given[0].detach().double().cpu()
            if row.numel() != module.in_features:
                raise ValueError(f"{name} is given shape {tuple(row.shape)}: one sample at a time, without positions")
            weight = module.weight.detach().double().cpu()
            steps.append((name, row.flatten().numpy().copy(), weight, output.detach().clone()))

        return keep

    handles = [m.register_forward_hook(hook(n)) for n, m in network.named_modules() if isinstance(m, nn.Linear)]
    modes = {module: module.training for module in network.modules()}
    network.eval()
    try:
        with unchanged(network):
            if isinstance(inputs, Mapping):
                network(**inputs)
            elif isinstance(inputs, tuple):
                network(*inputs)
            else:
                device = next((tensor.device for tensor in (*network.parameters(), *network.buffers())), inputs.device)
                sample = inputs.unsqueeze(0) if inputs.ndim == 1 else inputs
                network(sample.to(device))
    finally:
        for handle in handles:
            handle.remove()
        for module, mode in modes.items():
            module.training = mode
    if not steps:
        raise ValueError("the network ran no linear layer")
    for (name, _, weight, _), (after, given, _, _) in pairwise(steps):
        if len(weight) != len(given):
            raise ValueError(
                f"{after} is given {len(given)} values after the {len(weight)} of {name}: the linear layers do not "
                "follow on each other"
            )
    values = [given for _, given, _, _ in steps]
    values.append(steps[-1][3].double().cpu().flatten().numpy().copy())
    contributions = [weight.numpy() * given for _, given, weight, _ in steps]
    return NetworkPath([name for name, *_ in steps], values, contributions)
