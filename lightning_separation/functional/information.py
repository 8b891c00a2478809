"""Entropy of units and information between them, every unit or pair of units on bins of its own."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ._bins import (
    Binned,
    Correction,
    Edges,
    Numbers,
    binned,
    binned_pair,
    check_correction,
    check_count,
    check_generator,
    entropies,
    joint_entropies,
)
from ._inputs import full_precision


class MutualInformation(NamedTuple):
    """Result of :func:`mutual_information` for U and V units, ``[U, V]`` float64 each, in nats."""

    value: Tensor
    baseline: Tensor
    excess: Tensor


def entropy(x: Tensor, *, bins: int = 10, edges: Numbers | None = None, correction: Correction | None = None) -> Tensor:
    r"""Entropy of every unit, :math:`H(x) = -\sum_b p_b \log p_b` in nats over the shares of samples in its bins.

    The bins are ``bins`` of one width from the unit's smallest to its largest value, closed on the left, the last on
    both sides, as NumPy's are; a constant unit has entropy 0. Or they are given by their edges, so that values of many
    epochs can be compared: then values outside count to the outermost bin, and none are lost when activations grow.

    Integers and bool are numbers like others. For K categories, give edges half-way between them, as in the example.

    Args:
        x: ``[N, U]`` or ``[N]``, real; see :func:`unit_activations`.
        bins: Number of bins, where ``edges`` are not given; may be more than samples.
        edges: ``[B + 1]`` for all units or ``[U, B + 1]``, strictly increasing; a tensor, an array or a list.
        correction: ``"miller-madow"`` adds (bins with samples - 1) / (2N) against the bias of few samples.

    Returns:
        ``[U]`` float64 on the device of x; NaN for a unit with NaN or infinite values.

    Raises:
        ValueError: For an x that is not dense, real, filled and of one or two axes, edges that do not fit or do not
            increase, bins that are not an integer of at least 1, or an unknown correction.

    Example:
        >>> import torch
        >>> category = torch.tensor([0, 1, 2, 2])
        >>> entropy(category, edges=torch.arange(4) - 0.5)  # shares 1/4, 1/4, 1/2: 1.5 log 2
        tensor([1.0397], dtype=torch.float64)
    """
    check_correction(correction)
    columns = binned(x, bins, edges)
    return _marginal(columns, correction).where(columns.finite, torch.nan)


def joint_entropy(
    x: Tensor, y: Tensor, *, bins: int = 10, edges: Edges | None = None, correction: Correction | None = None
) -> Tensor:
    r"""Entropy of every unit of x with every unit of y, :math:`H(x, y) = -\sum_{ab} p_{ab} \log p_{ab}` in nats.

    Args:
        x: ``[N, U]`` or ``[N]``, real.
        y: ``[N, V]`` or ``[N]``, the same samples.
        bins: Number of bins of each unit, as in :func:`entropy`, where no edges are given.
        edges: As in :func:`entropy` for the units of both; or a pair, for those of x and those of y, None where the
            bins are each unit's own. A list or tuple of numbers is edges for both.
        correction: ``"miller-madow"``: as in :func:`entropy`, with the pairs of bins that have samples.

    Returns:
        ``[U, V]`` float64 on the device of x; NaN where one of the units has NaN or infinite values.

    Raises:
        ValueError: As :func:`entropy`; or if the numbers of samples differ.

    Example:
        >>> import torch
        >>> x = torch.tensor([0.0, 0.0, 1.0, 1.0])
        >>> y = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
        >>> joint_entropy(x, y, bins=2)  # log 4, log 2
        tensor([[1.3863, 0.6931]], dtype=torch.float64)
    """
    check_correction(correction)
    first, second = binned_pair(x, y, bins, edges)
    return _joint(first, second, correction)


def conditional_entropy(
    x: Tensor, y: Tensor, *, bins: int = 10, edges: Edges | None = None, correction: Correction | None = None
) -> Tensor:
    """What remains unknown of every unit of x once a unit of y is known, H(x | y) = H(x, y) - H(y), in nats.

    Args:
        x: ``[N, U]`` or ``[N]``, real.
        y: ``[N, V]`` or ``[N]``, the same samples.
        bins: As in :func:`joint_entropy`.
        edges: As in :func:`joint_entropy`.
        correction: ``"miller-madow"`` corrects both entropies, as in :func:`joint_entropy` and :func:`entropy`.

    Returns:
        ``[U, V]`` float64 on the device of x, never negative; NaN for a unit with NaN or infinite values.

    Raises:
        ValueError: As :func:`joint_entropy`.

    Example:
        >>> import torch
        >>> x = torch.tensor([0.0, 0.0, 1.0, 1.0])
        >>> y = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
        >>> conditional_entropy(x, y, bins=2)  # the first unit of y says nothing of x, the second all
        tensor([[0.6931, 0.0000]], dtype=torch.float64)
    """
    check_correction(correction)
    first, second = binned_pair(x, y, bins, edges)
    return (_joint(first, second, correction) - _marginal(second, correction)).clamp(min=0)


def mutual_information(
    x: Tensor,
    y: Tensor,
    *,
    bins: int = 10,
    edges: Edges | None = None,
    correction: Correction | None = None,
    generator: torch.Generator | None = None,
    shuffles: int = 1,
) -> MutualInformation:
    """Information between every unit of x and every unit of y, I = H(x) + H(y) - H(x, y), and what chance makes of it.

    Units that have nothing to do with each other seem to share about (Bx - 1)(By - 1) / (2N) nats, Bx and By being
    their bins with samples. The baseline is what they share once the samples of y are put in random order; the excess
    over it is what to report.

    Args:
        x: ``[N, U]`` or ``[N]``, real.
        y: ``[N, V]`` or ``[N]``, the same samples.
        bins: As in :func:`joint_entropy`.
        edges: As in :func:`joint_entropy`.
        correction: ``"miller-madow"``: the three entropies are those of :func:`entropy` with the correction. The
            value may then be negative; without it never is.
        generator: Of the random orders; None: torch's global one.
        shuffles: Random orders, at least one, that the baseline is the mean of; each costs as much as the value.

    Returns:
        ``value``, ``baseline`` and ``excess``, the difference of the two; ``[U, V]`` float64 on the device of x.
        Exactly 0 where one of the units lies in a single bin, NaN where one has NaN or infinite values.

    Raises:
        ValueError: As :func:`joint_entropy`, for no shuffles, or a generator of another type.

    Example:
        >>> import torch
        >>> x = torch.arange(1000.0)
        >>> found = mutual_information(x, torch.stack([x, -x, x % 2], 1), generator=torch.Generator().manual_seed(0))
        >>> found.value  # log 10, log 10 and nothing
        tensor([[2.3026, 2.3026, 0.0000]], dtype=torch.float64)
        >>> found.baseline < 0.07  # about 81/2000, 81/2000, 9/2000
        tensor([[True, True, True]])
    """
    check_correction(correction)
    check_count(shuffles, "shuffles")
    check_generator(generator)
    first, second = binned_pair(x, y, bins, edges)
    of_x, of_y = _marginal(first, correction)[:, None], _marginal(second, correction)
    varies = (of_x > 0) & (of_y > 0)
    known = first.finite[:, None] & second.finite

    def information(second: Binned) -> Tensor:
        found = of_x + of_y - _joint(first, second, correction)
        found = found if correction else found.clamp(min=0)  # negative only by rounding
        return found.where(varies, 0).where(known, torch.nan)

    def shuffled() -> Binned:
        device = "cpu" if generator is None else generator.device
        order = torch.randperm(second.codes.shape[1], generator=generator, device=device)
        return second.in_order(order.to(second.codes.device))

    value = information(second)
    baseline = torch.stack([information(shuffled()) for _ in range(shuffles)]).mean(0)
    return MutualInformation(value, baseline, value - baseline)


def _marginal(columns: Binned, correction: Correction | None) -> Tensor:
    return entropies(columns.counts(), columns.codes.shape[1], correction, (1,))


def _joint(first: Binned, second: Binned, correction: Correction | None) -> Tensor:
    with full_precision(first.codes.device):
        found = joint_entropies(first, second, correction)
    return found.where(first.finite[:, None] & second.finite, torch.nan)
