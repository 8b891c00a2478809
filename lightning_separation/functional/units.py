"""From the output of a layer to one number for each unit and sample."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

from ._inputs import device_of

Pooling = Literal["mean", "max"]


def unit_activations(features: Tensor, *, unit_axis: int | None = None, pooling: Pooling = "mean") -> Tensor:
    """One activation for every sample and unit of a layer.

    Units are the channels of a convolution's output and the last axis of any other; over the places or time steps that
    a unit is seen at, its activation is their mean or their largest.

    Args:
        features: ``[N, ...]``, real. NaN and infinite values are left as they are; gradients lead through.
        unit_axis: The axis of the units, not 0. None: 1 for 4 axes or more, else the last.
        pooling: ``"mean"`` (summed in float32 at least) or ``"max"``, over all other axes but the first.

    Returns:
        ``[N, U]``, ``[N, 1]`` for features ``[N]``; float32, or float64 for float64 and for integers of more than 16
        bits.

    Raises:
        ValueError: If features are not dense, real and filled, the axis is not one of them, or the pooling is unknown.

    Example:
        >>> import torch
        >>> images = torch.arange(24.0).reshape(2, 3, 2, 2)  # two samples, three channels
        >>> unit_activations(images)
        tensor([[ 1.5000,  5.5000,  9.5000],
                [13.5000, 17.5000, 21.5000]])
        >>> unit_activations(images, pooling="max")
        tensor([[ 3.,  7., 11.],
                [15., 19., 23.]])
    """
    device = device_of(features)
    if pooling not in get_args(Pooling):
        raise ValueError(f"pooling must be one of {get_args(Pooling)}, not {pooling!r}")
    if features.is_complex() or features.layout != torch.strided or features.is_nested:
        raise ValueError(f"features must be a dense real tensor, not {features.layout} of {features.dtype}")
    if features.ndim == 0 or features.numel() == 0:
        raise ValueError(f"features must have at least one row and one column, but have shape {tuple(features.shape)}")
    features = features.to(device)
    if features.ndim == 1:
        features = features[:, None]
    axes = features.ndim
    axis = (1 if axes >= 4 else axes - 1) if unit_axis is None else unit_axis
    if not (1 <= axis < axes or 1 - axes <= axis < 0):
        raise ValueError(f"unit_axis must be one of the axes 1 to {axes - 1} of features, not {unit_axis}")
    others = [i for i in range(1, axes) if i != axis % axes]
    exact_in_float32 = features.dtype == torch.float32 or features.dtype.itemsize <= 2
    dtype = torch.float32 if exact_in_float32 else torch.float64
    if not others:
        return features.to(dtype)
    if pooling == "max":
        return features.amax(others).to(dtype)
    return features.mean(others, dtype=dtype)
