"""Information between two layers whose activations are binned all together."""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

from ._bins import Correction, Edges, as_columns, binned, check_correction, edges_of_sides, entropies

Pairing = Literal["truncate", "all"]


class PooledInformation(NamedTuple):
    """Result of :func:`pooled_information`, 0-dim float64 each, in nats."""

    entropy_x: Tensor
    entropy_y: Tensor
    joint_entropy: Tensor
    conditional_entropy: Tensor
    information: Tensor


def pooled_information(
    x: Tensor,
    y: Tensor,
    *,
    bins: int = 10,
    edges: Edges | None = None,
    correction: Correction | None = None,
    pairing: Pairing = "truncate",
) -> PooledInformation:
    """Entropies and information of two slices of activations, each taken as one variable.

    All activations of a slice lie on one set of bins, of one width from its smallest to its largest value, or given.
    What makes a pair of activations is the pairing:

    - ``"truncate"``: on every sample, unit i of x with unit i of y; the units that the wider slice has more are left
      out (though not of its bins). The order of the units matters.
    - ``"all"``: on every sample, each unit of x with each unit of y.

    The entropies of x and y are those of the activations that are paired: of all, but for the wider slice where it is
    truncated. So H(x | y) = H(x, y) - H(y) and I = H(x) + H(y) - H(x, y) hold always.

    Args:
        x: ``[N, U]`` or ``[N]``, real.
        y: ``[N, V]`` or ``[N]``, the same samples.
        bins: Number of bins of a slice, where edges are not given.
        edges: ``[B + 1]`` for both slices, or a pair, None where the bins are the slice's own; strictly increasing.
            Values outside count to the outermost bin.
        correction: ``"miller-madow"`` adds (bins with values - 1) / (2n) to every entropy; n counts activations (NU,
            NV), for the joint one pairs of them.
        pairing: As above.

    Returns:
        ``entropy_x``, ``entropy_y``, ``joint_entropy``, ``conditional_entropy`` (of x, y being known) and
        ``information``, on the device of x; all NaN if there are NaN or infinite values.

    Raises:
        ValueError: As :func:`joint_entropy`; also for edges of more than one axis or an unknown pairing.

    Example:
        >>> import torch
        >>> x = torch.tensor([[0.0, 1.0], [1.0, 0.0]])
        >>> pooled_information(x, 1 - x, bins=2).information  # log 2
        tensor(0.6931, dtype=torch.float64)
        >>> pooled_information(x, 1 - x, bins=2, pairing="all").information
        tensor(0., dtype=torch.float64)
    """
    check_correction(correction)
    if pairing not in get_args(Pairing):
        raise ValueError(f"pairing must be one of {get_args(Pairing)}, not {pairing!r}")
    x, y = as_columns(x, "x"), as_columns(y, "y")
    if len(x) != len(y):
        raise ValueError(f"x and y must have the same samples, but have {len(x)} and {len(y)}")
    sides = zip((x, y), edges_of_sides(edges), ("x", "y"), strict=True)
    first, second = (binned(side.flatten(), bins, given, name) for side, given, name in sides)
    codes_x, codes_y = first.codes.view(x.shape).long(), second.codes.to(x.device).view(y.shape).long()
    of_x, of_y, joint = (_truncated if pairing == "truncate" else _all)(codes_x, codes_y, first.bins, second.bins)

    def of(counts: Tensor) -> Tensor:
        found = entropies(counts, int(counts.sum()), correction, tuple(range(counts.ndim)))
        return found.where(first.finite[0] & second.finite.to(x.device)[0], torch.nan)

    h_x, h_y, h_joint = of(of_x), of(of_y), of(joint)
    return PooledInformation(h_x, h_y, h_joint, h_joint - h_y, h_x + h_y - h_joint)


def _truncated(codes_x: Tensor, codes_y: Tensor, bins_x: int, bins_y: int) -> tuple[Tensor, Tensor, Tensor]:
    """Counts of x, y and pairs: unit by unit."""
    width = min(codes_x.shape[1], codes_y.shape[1])
    pairs = codes_x[:, :width] * bins_y + codes_y[:, :width]
    joint = pairs.flatten().bincount(minlength=bins_x * bins_y).view(bins_x, bins_y)
    return joint.sum(1), joint.sum(0), joint


def _all(codes_x: Tensor, codes_y: Tensor, bins_x: int, bins_y: int) -> tuple[Tensor, Tensor, Tensor]:
    """Counts of x, y and pairs: on every sample, each unit with each."""
    num = len(codes_x)
    sample = torch.arange(num, device=codes_x.device)[:, None]

    def of_sample(codes: Tensor, bins: int) -> Tensor:
        return (codes + sample * bins).flatten().bincount(minlength=num * bins).view(num, bins).double()

    counts_x, counts_y = of_sample(codes_x, bins_x), of_sample(codes_y, bins_y)
    return counts_x.sum(0), counts_y.sum(0), counts_x.T @ counts_y
