"""Directions in the space of a layer's units: what a network loses without one, and the one that it needs most."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ..capture.structures import output_tensor
from ..checks import check_positive
from .batches import Batch, Context, evaluating, running
from .clean_run import CleanRun
from .outcomes import Comparison, Outcome, Readout, readout_of
from .patching import check_layer, check_network, unit_edit, without_direction

_ANGLES = torch.tensor([1.2, 0.7, 0.4, 0.2, 0.1, 0.05, 0.02, 0.005])  # of a step, in radians
_MOST_UNITS = 512  # that are tried as directions
_ENOUGH = 1e-5  # relative gain of a step below which the search ends
_NO_DISTRIBUTION = "the network's output is no distribution: it has no divergence to search by"


class SearchedDirection(NamedTuple):
    """The direction that a network needs most.

    Attributes:
        direction: ``[U]`` float64, of length 1.
        kl: ``[]`` float64, KL(clean || without it) of the output distributions, in nats, mean over the samples.
    """

    direction: Tensor
    kl: Tensor


def search_direction(
    network: nn.Module,
    layer: str,
    inputs: Any,
    *,
    candidates: int = 128,
    restarts: int = 3,
    steps: int = 50,
    generator: torch.Generator | None = None,
) -> SearchedDirection:
    """Find the direction of a layer whose removal changes the output distribution most.

    From the best of random directions, single units and principal components it climbs KL(clean || removed) along the
    gradient on the unit sphere, each step as far as it gains. So it is never worse than the best of them, but may end
    on a local maximum. The network runs in eval mode; it works inside ``torch.inference_mode()`` and ``no_grad()``, and
    no parameter gets a gradient.

    Args:
        network: Any module whose output is a distribution: logits, probabilities, one output or several.
        layer: One of the names of ``network.named_modules()``.
        inputs: What the network is given: a tensor, a tuple of arguments, or a mapping of them.
        candidates: How many random directions to begin with.
        restarts: From how many of the best beginnings to climb.
        steps: The most steps of each climb.
        generator: For the random directions; None: one with seed 0.

    Returns:
        The direction and its KL.

    Raises:
        ValueError: For an argument of the wrong type, an unknown layer, one that does not run, has no floating-point
            output, or puts out NaN or inf, or an output that is no distribution.

    Example:
        >>> network = nn.Linear(2, 2, bias=False)
        >>> _ = network.weight.data.copy_(torch.tensor([[2.0, 0.0], [0.0, 0.0]]))
        >>> x = torch.tensor([[1.0, 0.5], [2.0, -1.0]])
        >>> found = search_direction(nn.Sequential(nn.Identity(), network), "0", x)
        >>> found.direction.abs().argmax().item()
        0
    """
    check_network(network)
    check_layer(layer)
    check_positive(candidates=candidates, restarts=restarts, steps=steps)
    batch = Batch.of(inputs)
    with evaluating(network):
        run = CleanRun(network, [layer], batch)
        search = DirectionSearch(network, layer, batch, run)
        try:
            beginnings = search.beginnings(candidates, generator)
        except ValueError as error:
            raise ValueError(f"{layer}: {error}") from error
        return search.climb(beginnings, restarts, steps)


def without_directions(run: CleanRun, layer: str, vectors: Tensor, compare: Comparison) -> Outcome:
    """What changes without each of some directions: changed minus clean.

    Args:
        run: The clean run.
        layer: One of its layers.
        vectors: ``[k, U]``.
        compare: With the clean output.
    """
    axis = run.axes[layer]
    found = [torch.zeros(4, 0, dtype=torch.float64, device=vectors.device)]
    for some in vectors.split(run.at_once(layer)):
        copies = run.run(layer, lambda output, vector: without_direction(output, vector, axis), some)
        found.append(torch.stack(compare.deltas(copies.outputs, copies.returned)))
    return Outcome(*torch.cat(found, 1))


def random_directions(num: int, width: int, generator: torch.Generator | None = None) -> Tensor:
    """Evenly distributed over the sphere, ``[num, width]`` float64."""
    generator = torch.Generator().manual_seed(0) if generator is None else generator
    drawn = torch.randn(num, width, dtype=torch.float64, generator=generator, device=generator.device)
    return drawn / drawn.norm(dim=1, keepdim=True)


def num_searched(width: int, candidates: int, restarts: int, steps: int) -> int:
    """At most so many directions of a layer are tried by a :class:`DirectionSearch`."""
    return min(width, _MOST_UNITS) + candidates + min(width, 16) + restarts * (1 + steps * len(_ANGLES))


def principal_directions(activations: Tensor, axis: int, num: int) -> Tensor:
    """Principal components of a layer's units over samples and positions, ``[at most num, U]`` float64.

    Args:
        activations: ``[N, ...]``.
        axis: That of the units.
        num: How many, those with the largest variance first; without any variance there are none.

    Raises:
        ValueError: For activations that are not finite.
    """
    if not bool(activations.isfinite().all()):
        raise ValueError("its activations hold NaN or inf: they have no principal components")
    points = activations.detach().movedim(axis, -1).flatten(0, -2).double()
    points = points - points.mean(0)
    variances, vectors = torch.linalg.eigh(points.T @ points)
    alive = variances.flip(0) > variances.abs().max() * 1e-12
    return vectors.T.flip(0)[alive][:num]


def class_mean_directions(units: Tensor, target: Tensor, num: int) -> Tensor:
    """Differences of the class means of each pair of classes, ``[at most num, U]`` float64, of length 1.

    Args:
        units: ``[N, U]``.
        target: ``[N]`` places of classes.
        num: How many, in order of the pairs.
    """
    means = torch.stack([units[target == place].double().mean(0) for place in target.unique()])
    pairs = torch.combinations(torch.arange(len(means), device=means.device))[:num]
    differences = means[pairs[:, 1]] - means[pairs[:, 0]]
    lengths = differences.norm(dim=1, keepdim=True)
    return (differences / lengths)[lengths.squeeze(1) > 0]


class DirectionSearch:
    """Gradient ascent on the sphere of a layer's directions.

    Args:
        network: In the mode in which it is to be run.
        layer: Its layer.
        batch: What it is given.
        run: The clean run on that.
        forward_context: In what it runs.
        readout: How its output is read; None: found out.

    Raises:
        ValueError: If its output is no distribution.
    """

    def __init__(
        self,
        network: nn.Module,
        layer: str,
        batch: Batch,
        run: CleanRun,
        forward_context: Context = nullcontext,
        readout: Readout | None = None,
    ) -> None:
        self._network, self._layer, self._batch, self._run = network, layer, batch, run
        self._forward_context = forward_context
        self._readout = readout or readout_of(run.output, made_by=run.made_by)
        if self._readout.kind == "values":
            raise ValueError(_NO_DISTRIBUTION)
        self._compare = Comparison(self._readout, run.output, None)
        self._axis = run.axes[layer]

    def beginnings(self, candidates: int, generator: torch.Generator | None = None) -> Tensor:
        """Directions to begin with, ``[k, U]``: random ones, single units that vary most, principal components.

        Raises:
            ValueError: For activations that are not finite.
        """
        output = self._run.clean(self._layer)[0]
        width = output.shape[self._axis]
        sizes = output.double().movedim(self._axis, 0).flatten(1).square().mean(1)
        units = torch.eye(width, dtype=torch.float64, device=output.device)[
            sizes.argsort(descending=True)[:_MOST_UNITS]
        ]
        drawn = random_directions(candidates, width, generator).to(output.device)
        return torch.cat([units, drawn, principal_directions(output, self._axis, min(width, 16))])

    def climb(self, beginnings: Tensor, restarts: int, steps: int) -> SearchedDirection:
        """From the best beginnings upwards."""
        heights = self._kl(beginnings).nan_to_num(-torch.inf)
        best = [self._climb(beginnings[i], steps) for i in heights.argsort(descending=True)[:restarts]]
        return max(best, key=lambda found: float(found.kl))

    def _climb(self, direction: Tensor, steps: int) -> SearchedDirection:
        kl = self._kl(direction.unsqueeze(0))[0]
        for _ in range(steps):
            gradient = self._gradient(direction)
            uphill = gradient - (gradient @ direction) * direction
            if not bool(uphill.norm() > 0):
                break
            uphill = uphill / uphill.norm()
            angles = _ANGLES.to(direction).unsqueeze(1)
            further = angles.cos() * direction + angles.sin() * uphill
            heights = self._kl(further)
            top = heights.nan_to_num(-torch.inf).argmax()
            if not bool(heights[top] > kl * (1 + _ENOUGH)):
                break
            direction, kl = further[top] / further[top].norm(), heights[top]
        return SearchedDirection(direction, kl)

    def _kl(self, vectors: Tensor) -> Tensor:
        return without_directions(self._run, self._layer, vectors, self._compare).kl

    def _gradient(self, direction: Tensor) -> Tensor:
        """Of the KL with respect to the direction, ``[U]``."""
        with torch.inference_mode(False), torch.enable_grad():
            leaf = direction.clone().requires_grad_()

        def remove(output: Tensor, _: int) -> Tensor:
            return without_direction(output.detach(), leaf, self._axis)

        edits = {self._layer: unit_edit(self._network, self._layer, remove)}
        with running(self._network, self._batch, edits, self._forward_context, gradients=True) as (args, kwargs):
            kl = self._compare.divergence(output_tensor(self._network(*args, **kwargs), self._batch.size))
            if not kl.requires_grad:  # the network cuts the graph
                return torch.zeros_like(direction)
            (gradient,) = torch.autograd.grad(kl, leaf, allow_unused=True)
        return torch.zeros_like(direction) if gradient is None else gradient
