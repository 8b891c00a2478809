"""What is kept of a network's run to know the network again."""

from __future__ import annotations

import hashlib
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from .structures import all_tensors, output_tensor

_MOST_NUMBERS = 64  # of each sample's output: too few to count as memory
# What may differ when a network is run again, of its largest output: rounding, where kernels or compilers differ.
_CLOSE, _CLOSE_ON_DEVICE, _CLOSE_IN_HALF_PRECISION = 1e-4, 5e-3, 3e-2


def weights_sizes(root: nn.Module) -> Tensor:
    """Norm and sum of every parameter, float32 on the CPU: other weights have others."""
    parameters = [p.detach() for p in root.parameters() if not is_lazy(p) and p.numel()]
    real = [torch.view_as_real(p) if p.is_complex() else p for p in parameters]
    full = [p.float() if p.dtype in (torch.float16, torch.bfloat16) else p for p in real]
    sizes = [size.float().to(full[0].device) for p in full for size in (p.norm(), p.sum())]
    return torch.stack(sizes).cpu() if sizes else torch.zeros(0)


def fingerprint(value: Any) -> bytes:
    """A checksum of all tensors in a structure."""
    digest = hashlib.blake2b(digest_size=16)
    for tensor in all_tensors(value):
        digest.update(repr((tensor.shape, tensor.dtype)).encode())
        digest.update(bytes(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy()))
    return digest.digest()


def same_sizes(before: Tensor, after: Tensor) -> bool:
    """Whether weights have the same sizes, to the last bit; those that are not numbers are alike."""
    return before.shape == after.shape and bool(((before == after) | (before.isnan() & after.isnan())).all())


def excerpt(returned: Any, size: int, rows: Tensor | None = None) -> Tensor:
    """A part of what a network returned for each sample, ``[rows, at most 64]``; empty if it returned no such thing.

    Args:
        returned: A tensor, tuple, list, mapping or dataclass-like output.
        size: Samples that it was given.
        rows: Which of them; None: all.
    """
    try:
        output = output_tensor(returned, size).detach()
        rows_of_output = output if rows is None else output.index_select(0, rows.to(output.device))
        numbers = rows_of_output.unsqueeze(-1).flatten(1)
    except Exception:  # whatever it is, it must not end the user's validation
        return torch.zeros(0)
    return numbers[:, :: -(-numbers.shape[1] // _MOST_NUMBERS)].clone()


def difference(before: Tensor, after: Tensor) -> float | None:
    """How far two excerpts of outputs are apart, of the largest number; 0 if that is but rounding.

    None where there is nothing to compare, as one sample alone gives whose axis is squeezed away.
    """
    if not before.numel() or before.shape != after.shape:
        return None
    known = before.isfinite()
    if not torch.equal(known, after.isfinite()):
        return torch.inf
    if not bool(known.any()):
        return 0.0
    first, second = before[known].double(), after[known].double()
    ratio = (first - second).abs().max() / first.abs().max()
    differs = float(ratio.nan_to_num(0, posinf=torch.inf))  # nothing of nothing is nothing
    close = _CLOSE if before.device.type == "cpu" else _CLOSE_ON_DEVICE
    if before.dtype in (torch.float16, torch.bfloat16):
        close = _CLOSE_IN_HALF_PRECISION
    return differs if differs > close else 0.0
