"""What every function of the package checks and converts first."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple, get_args

import torch
from torch import Tensor

from ._points import Distance, Points


class Classes(NamedTuple):
    """Class labels as consecutive indices."""

    labels: Tensor  # [K], ascending, in the target's dtype
    of_sample: Tensor  # [N], position of each sample's label in labels
    counts: Tensor  # [K], samples of each class


def device_of(features: Tensor) -> torch.device:
    """Where the float64 results belong: on the features' device, but on the CPU for MPS, which has no float64.

    Raises:
        ValueError: If features are not a tensor.
    """
    if not isinstance(features, Tensor):
        raise ValueError(f"features must be a torch.Tensor, not {type(features).__name__}")
    return torch.device("cpu") if features.device.type == "mps" else features.device


def as_matrix(features: Tensor) -> Tensor:
    """Features ``[N, ...]`` as a finite matrix ``[N, d]`` of float32 or float64.

    Raises:
        ValueError: With the reason, for features that no distance can be taken of.
    """
    if features.is_complex() or features.layout != torch.strided or features.is_nested:
        raise ValueError(f"features must be a dense real tensor, not {features.layout} of {features.dtype}")
    if features.ndim == 0 or features.numel() == 0:
        raise ValueError(f"features must have at least one row and one column, but have shape {tuple(features.shape)}")
    matrix = features.detach().reshape(len(features), -1)
    if matrix.device.type == "mps":  # has no float64
        matrix = matrix.cpu()
    if not matrix.is_floating_point():
        matrix = matrix.double()
    elif matrix.dtype.itemsize < 4:
        matrix = matrix.float()
    if not bool(matrix.isfinite().all()):
        bad = int((~matrix.isfinite()).any(1).sum())
        raise ValueError(f"features hold NaN or infinite values in {bad} of {len(matrix)} rows")
    return matrix


def as_classes(target: Tensor, num_samples: int, device: torch.device) -> Classes:
    """Integer labels ``[N]`` as class indices.

    Raises:
        ValueError: If there is not one integer for every sample.
    """
    if not isinstance(target, Tensor) or target.is_floating_point() or target.is_complex():
        kind = target.dtype if isinstance(target, Tensor) else type(target).__name__
        raise ValueError(f"target must be a tensor of integers, not {kind}")
    if target.ndim != 1 or len(target) != num_samples:
        raise ValueError(
            f"target must hold one integer for each of the {num_samples} samples, but has shape {tuple(target.shape)}"
        )
    return Classes(*target.detach().to(device).unique(sorted=True, return_inverse=True, return_counts=True))


def as_points(features: Tensor, distance: Distance) -> Points:
    """The distinct points of features ``[N, ...]``."""
    if distance not in get_args(Distance):
        raise ValueError(f"distance must be one of {get_args(Distance)}, not {distance!r}")
    return Points(as_matrix(features), distance)


@contextmanager
def full_precision(device: torch.device) -> Iterator[None]:
    """Matrix products in true float32 (no TF32, no bfloat16 inside) and outside any autocast."""
    with torch.no_grad(), torch.autocast(device.type, enabled=False), _float32_products():
        yield


@contextmanager
def _float32_products() -> Iterator[None]:
    backends = [b.matmul for b in (torch.backends.cuda, torch.backends.mkldnn) if hasattr(b, "matmul")]
    backends = [b for b in backends if hasattr(b, "fp32_precision")]
    if backends:  # torch 2.9 and later; there the one overall setting raises once a user has set a backend's
        before = [b.fp32_precision for b in backends]
        try:
            for backend in backends:
                backend.fp32_precision = "ieee"
            yield
        finally:
            for backend, value in zip(backends, before, strict=True):
                backend.fp32_precision = value
    else:
        overall = torch.get_float32_matmul_precision()
        try:
            torch.set_float32_matmul_precision("highest")
            yield
        finally:
            torch.set_float32_matmul_precision(overall)
