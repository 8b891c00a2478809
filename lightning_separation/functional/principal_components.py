"""The directions in which samples differ most."""

from __future__ import annotations

from math import ceil
from typing import NamedTuple

import torch
from torch import Tensor

from ._bins import check_count
from ._inputs import as_matrix, device_of, full_precision

_BLOCK = 1 << 24  # numbers converted to float64 at a time


class PrincipalComponents(NamedTuple):
    """Result of :func:`principal_components`: ``[N, C]`` and ``[C]`` float64."""

    projection: Tensor
    explained_variance_ratio: Tensor


def principal_components(features: Tensor, *, num_components: int = 2) -> PrincipalComponents:
    """Coordinates of the samples on the principal components of their features.

    Exact, from the smaller of the two Gram matrices, of samples or of features, in float64.

    Args:
        features: ``[N, ...]``, real, finite; flattened to ``[N, d]``. Half precision is upcast.
        num_components: C.

    Returns:
        ``projection`` and each component's share of the variance, ``explained_variance_ratio``, descending; on the
        features' device. The coordinate that is largest in absolute value is positive in every component; where several
        are, up to rounding, the first of them. Components beyond the rank of the features, all of them if the features
        are constant, are 0.

    Raises:
        ValueError: For NaN or infinite features, or no components.

    Example:
        >>> import torch
        >>> found = principal_components(torch.tensor([[0.0, 1.0], [3.0, 5.0], [6.0, 9.0]]))  # on a line, 5 apart
        >>> found.explained_variance_ratio
        tensor([1., 0.], dtype=torch.float64)
        >>> found.projection.abs().round(decimals=9)
        tensor([[5., 0.],
                [0., 0.],
                [5., 0.]], dtype=torch.float64)
    """
    check_count(num_components, "num_components")
    device = device_of(features)
    with full_precision(device):
        matrix = as_matrix(features)
        num, dim = matrix.shape
        largest = matrix.abs().max().double()
        unit = largest.where(largest > 0, 1)  # no square over- or underflows
        step = dim if dim < num else ceil(_BLOCK / num)
        blocks = (_centred(columns.double() / unit) for columns in matrix.split(step, 1))
        if dim < num:
            (centred,) = blocks
            variances, vectors = torch.linalg.eigh(centred.T @ centred)
            projection = centred @ vectors
        else:
            gram = torch.zeros(num, num, dtype=torch.float64, device=device)
            for block in blocks:
                gram.addmm_(block, block.T)
            variances, vectors = torch.linalg.eigh(gram)
            projection = vectors * variances.clamp(min=0).sqrt()
        variances, projection = variances.flip(0), projection.flip(1)
        none = variances <= variances[0] * max(num, dim) * torch.finfo(torch.float64).eps  # rounding
        variances, projection = variances.masked_fill(none, 0), projection.masked_fill(none, 0)
        ratio = variances / variances.sum().where(variances[0] > 0, 1)
        missing = max(0, num_components - len(ratio))
        projection = torch.nn.functional.pad(projection[:, :num_components], (0, missing))
        ratio = torch.nn.functional.pad(ratio[:num_components], (0, missing))
        return PrincipalComponents(_with_sign(projection) * unit, ratio)


def _centred(columns: Tensor) -> Tensor:
    """Columns less their means; exactly 0 where constant."""
    columns = columns - columns[0]
    return columns - columns.mean(0)


def _with_sign(projection: Tensor) -> Tensor:
    """The first of the coordinates that are largest in absolute value is positive."""
    size = projection.abs()
    first = (size >= size.amax(0) * (1 - 1e-9)).int().argmax(0)
    return projection * torch.where(projection.gather(0, first[None]) < 0, -1.0, 1.0)
