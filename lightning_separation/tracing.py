"""The path of one given input through a small network to its output."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from .capture.restore import unchanged
from .capture.structures import map_tensors

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
            whatever stands between them that keeps the units apart (an activation function, batch norm, dropout).
        inputs: One sample: a tensor ``[1, ...]`` or ``[features]``, or the arguments as a tuple or by name.

    Returns:
        Its path; ``plot()`` draws it.

    Raises:
        ValueError: If no linear layer runs, one is given more than one row, or one is not given what the one before
            made, and that alone (as where a network branches).

    Example:
        >>> import torch
        >>> network = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.ReLU(), torch.nn.Linear(2, 1))
        >>> _ = torch.nn.init.ones_(network[0].weight), torch.nn.init.zeros_(network[0].bias)
        >>> path = trace_path(network, torch.tensor([1.0, 2.0]))
        >>> path.layers, path.contributions[0].tolist()
        (['0', '2'], [[1.0, 2.0], [1.0, 2.0]])
    """
    steps: list[_Step] = []
    leaves: list[Tensor] = []

    def hook(name: str) -> Any:
        def keep(module: nn.Linear, given: tuple[Tensor, ...], output: Tensor) -> Tensor:
            if given[0].numel() != module.in_features:
                raise ValueError(f"{name} is given shape {tuple(given[0].shape)}: one sample, without positions")
            # The output becomes a leaf, so that the graph of what the next layer is given shows what it is made from.
            leaf = output.detach().requires_grad_()
            steps.append(_Step(name, module.weight.detach(), given[0], _used(given[0], leaves), leaf))
            leaves.append(leaf)
            return leaf.clone()

        return keep

    handles = [m.register_forward_hook(hook(n)) for n, m in network.named_modules() if isinstance(m, nn.Linear)]
    modes = {module: module.training for module in network.modules()}
    network.eval()
    try:
        with unchanged(network), torch.inference_mode(False), torch.enable_grad():
            device = next((tensor.device for tensor in (*network.parameters(), *network.buffers())), None)
            given = inputs.unsqueeze(0) if isinstance(inputs, Tensor) and inputs.ndim == 1 else inputs

            def leaf_of(tensor: Tensor) -> Tensor:
                made = tensor.detach().clone().to(device or tensor.device)
                leaves.append(made.requires_grad_(made.is_floating_point()))
                return made.clone()

            given = map_tensors(leaf_of, given)
            if isinstance(given, Mapping):
                network(**given)
            elif isinstance(given, tuple):
                network(*given)
            else:
                network(given)
    finally:
        for handle in handles:
            handle.remove()
        for module, mode in modes.items():
            module.training = mode
    if not steps:
        raise ValueError("the network ran no linear layer")
    for before, after in pairwise(steps):
        if len(after.made_from) != 1 or after.made_from[0] is not before.output:
            raise ValueError(f"{after.name} is not given what {before.name} made, and that alone")
        if after.given.numel() != before.output.numel():
            raise ValueError(f"{after.name} is given {after.given.numel()} values of {before.output.numel()} units")
    values = [_array(step.given) for step in steps] + [_array(steps[-1].output)]
    contributions = [_array(step.weight).reshape(-1, step.given.numel()) * _array(step.given) for step in steps]
    return NetworkPath([step.name for step in steps], values, contributions)


class _Step(NamedTuple):
    name: str
    weight: Tensor
    given: Tensor
    made_from: list[Tensor]
    output: Tensor


def _used(tensor: Tensor, leaves: Sequence[Tensor]) -> list[Tensor]:
    """The leaves that a tensor is computed from."""
    known = [leaf for leaf in leaves if leaf.requires_grad]
    if not tensor.requires_grad or not known:
        return []
    gradients = torch.autograd.grad(tensor.sum(), known, retain_graph=True, allow_unused=True)
    return [leaf for leaf, gradient in zip(known, gradients, strict=True) if gradient is not None]


def _array(tensor: Tensor) -> NDArray[np.float64]:
    return tensor.detach().double().cpu().flatten().numpy().copy()
