"""Whether a module of units across two layers depends on itself or on the others."""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

from ._bins import (
    Correction,
    Edges,
    Numbers,
    as_numbers,
    check_tensor,
    checked_edges,
    edges_between,
    edges_of_sides,
    soft_shares,
)
from ._inputs import device_of
from .pooled_information import Pairing, PooledInformation, pooled_information


class ModuleComparisons(NamedTuple):
    """Result of :func:`module_comparisons`, 0-dim float64 each, in nats."""

    others_alone: Tensor
    all_over_module: Tensor
    all_over_others: Tensor


def module_comparisons(
    first: Tensor,
    second: Tensor,
    module_first: Numbers,
    module_second: Numbers,
    *,
    bins: int = 10,
    edges: Edges | None = None,
    correction: Correction | None = None,
    pairing: Pairing = "truncate",
) -> ModuleComparisons:
    """What the units of a module in a later layer owe to those in an earlier one, and to the others there.

    With P1 and P2 for the units of the module in both layers, "not P1" for the other units of the first and "all1"
    for all of them, each taken as one variable as :func:`pooled_information` does:

    - ``others_alone`` = H(P2 | not P1) - H(P2): how much less uncertain P2 is for what the others say. Never positive
      without a correction; near 0 in a modular network.
    - ``all_over_module`` = H(P2 | all1) - H(P2 | P1): what all units say beyond the module. Near 0 or positive in a
      modular network: positive where the many others hide in the pool what the module says.
    - ``all_over_others`` = H(P2 | all1) - H(P2 | not P1): what all units say beyond the others. Negative in a modular
      network.

    H(P2) is taken of the same pairs as H(P2 | not P1): of all activations, unless P2 is wider and truncated.

    Args:
        first: ``[N, U]``, real.
        second: ``[N, V]``, the same samples in the later layer.
        module_first: Distinct indices of units, or ``[U]`` bool; neither none nor all.
        module_second: The same of the second layer; but it may be all, as of an output layer. Where activations are
            paired unit by unit, the order of the indices matters.
        bins: As in :func:`pooled_information`, for each of the slices.
        edges: As there: ``[B + 1]``, or a pair for the first and the second layer.
        correction: As there.
        pairing: As there.

    Returns:
        The three comparisons, on the device of second.

    Raises:
        ValueError: As :func:`pooled_information`, or for a module that is empty, leaves no others in the first layer,
            or does not fit.

    Example:
        >>> import torch
        >>> first = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
        >>> found = module_comparisons(first, first, [0], [0], bins=2, pairing="all")
        >>> found.others_alone, found.all_over_others  # the other unit says nothing of this one
        (tensor(0., dtype=torch.float64), tensor(-0.1308, dtype=torch.float64))
    """
    module, others = _module_and_others(first, module_first)
    later = second[:, _units(second, module_second, "second")]
    edges_first, edges_second = edges_of_sides(edges)

    def given(slice_of_first: Tensor) -> PooledInformation:
        sides = edges_second, edges_first
        return pooled_information(later, slice_of_first, bins=bins, edges=sides, correction=correction, pairing=pairing)

    of_others = given(first[:, others])
    by_others, by_module, by_all = (
        found.conditional_entropy for found in (of_others, given(first[:, module]), given(first))
    )
    return ModuleComparisons(by_others - of_others.entropy_x, by_all - by_module, by_all - by_others)


LossPairing = Literal["each", "truncate", "all"]


def modularity_loss(
    first: Tensor,
    second: Tensor,
    module_first: Numbers,
    module_second: Numbers,
    *,
    bins: int = 10,
    edges: Edges | None = None,
    pairing: LossPairing = "each",
) -> Tensor:
    """A term for the loss of a training step: small when a module depends on itself and not on the other units.

    It is I(P2; not P1) - I(P2; P1) or, which is the same, H(P2 | P1) - H(P2 | not P1), of :func:`module_comparisons`
    the third less the second; on soft bins, so that gradients lead to the activations. A value is shared between the
    two bins whose centres it lies between, linearly: values on the centres give the numbers of hard bins.

    Args:
        first: ``[N, U]`` floating point.
        second: ``[N, V]``, the same samples in the later layer.
        module_first: As in :func:`module_comparisons`. For several modules, sum their losses.
        module_second: As there.
        bins: Number of bins, at least two.
        edges: As in :func:`mutual_information`, finite, for the units of the first and the second layer; for the
            pooled pairings as in :func:`module_comparisons`. None: bins of one width from the smallest to the largest
            value of every unit, or slice; gradients lead through these too.
        pairing: ``"each"``: the mean over pairs of units of their own information. ``"truncate"`` or ``"all"``: that of
            pooled slices as in :func:`module_comparisons`.

    Returns:
        0-dim, in nats, in the dtype of the activations but at least float32, also under autocast.

    Raises:
        ValueError: If the activations, modules, edges, bins or pairing do not fit.

    Example:
        >>> import torch
        >>> first = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]], requires_grad=True)
        >>> modularity_loss(first, first, [0], [0], bins=2)  # - log 2: knows itself and nothing of the other
        tensor(-0.6931, grad_fn=<SubBackward0>)
    """
    if pairing not in get_args(LossPairing):
        raise ValueError(f"pairing must be one of {get_args(LossPairing)}, not {pairing!r}")
    module, others = _module_and_others(first, module_first)
    units = _units(second, module_second, "second")
    if len(first) != len(second) or not (first.is_floating_point() and second.is_floating_point()):
        raise ValueError(
            "first and second must hold floating point numbers of the same samples, not "
            f"{tuple(first.shape)} of {first.dtype} and {tuple(second.shape)} of {second.dtype}"
        )
    edges_first, edges_second = edges_of_sides(edges)
    pooled = pairing != "each"
    with torch.autocast(first.device.type, enabled=False):
        dtype = torch.promote_types(torch.promote_types(first.dtype, second.dtype), torch.float32)
        first, second = first.to(dtype), second.to(dtype)
        later = _shares(second, units, bins, edges_second, pooled, "second")

        def uncertainty(known: Tensor) -> Tensor:
            """H(P2 | some units of the first layer), for one or the mean over all pairs of units."""
            x, y = _shares(first, known, bins, edges_first, pooled, "first"), later
            if pairing == "truncate":
                width = min(x.shape[1], y.shape[1])
                x, y = (side[:, :width].reshape(-1, 1, side.shape[2]) for side in (x, y))
            elif pairing == "all":
                x, y = x.mean(1, keepdim=True), y.mean(1, keepdim=True)
            joint = torch.tensordot(x, y, ([0], [0])) / len(x)  # [units known, B, units, B]
            return (_entropy(joint, (1, 3)) - _entropy(joint.sum(3), (1,))).mean()

        return uncertainty(module) - uncertainty(others)


def _entropy(share: Tensor, axes: tuple[int, ...]) -> Tensor:
    """Entropy over some axes, with a gradient of 0 from empty bins: nothing that moves them a little fills them."""
    return -(share * share.where(share > 0, 1).log()).sum(axes)


def _shares(layer: Tensor, units: Tensor, bins: int, edges: Numbers | None, pooled: bool, name: str) -> Tensor:
    """Soft bins of some units, ``[N, units, B]``: each unit's own, or those of all their activations."""
    part = layer[:, units]
    columns = part.reshape(-1, 1) if pooled else part
    if edges is None:
        limits = edges_between(columns.amin(0), columns.amax(0), bins)
    else:
        given = checked_edges(edges, 1 if pooled else layer.shape[1], layer.device, name)
        limits = (given if pooled else given[units]).to(layer.dtype)
        if not bool(limits.isfinite().all()):
            raise ValueError(f"edges of {name} must be finite: soft bins have centres")
    if limits.shape[1] < 3:
        raise ValueError("there must be at least two bins: on a single one nothing depends on anything")
    return soft_shares(columns, limits).view(*part.shape, -1)


def _units(layer: Tensor, module: Numbers, name: str) -> Tensor:
    """Indices of a module's units in a layer ``[N, U]``, in the order given.

    Raises:
        ValueError: With the reason.
    """
    check_tensor(layer, name)
    device = device_of(layer)
    if layer.ndim != 2 or layer.numel() == 0:
        raise ValueError(f"{name} must be [N, U] and not empty, but has shape {tuple(layer.shape)}")
    width = layer.shape[1]
    units = as_numbers(module, f"module_{name}").to(device)
    if units.dtype == torch.bool and units.shape == (width,):
        units = units.nonzero()[:, 0]
    if units.numel() == 0:
        raise ValueError(f"module_{name} is empty")
    if units.dtype == torch.bool or units.is_floating_point() or units.is_complex() or units.ndim != 1:
        raise ValueError(f"module_{name} must hold indices of units, or one bool for each of the {width} units")
    if not bool(((units >= 0) & (units < width)).all()) or len(units.unique()) < len(units):
        raise ValueError(f"module_{name} must hold distinct indices from 0 to {width - 1}")
    return units.long()


def _module_and_others(first: Tensor, module_first: Numbers) -> tuple[Tensor, Tensor]:
    """Indices of the module's units in the first layer, and of the others there."""
    module = _units(first, module_first, "first")
    others = torch.ones(first.shape[1], dtype=torch.bool, device=module.device).index_fill_(0, module, False)
    if not bool(others.any()):
        raise ValueError("module_first holds the whole layer, which leaves no others to compare with")
    return module, others.nonzero()[:, 0]
