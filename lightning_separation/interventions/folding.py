"""Fused operations for several copies of a network at once, where torch has no form of them for that."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

# Arguments that have samples on their first axis, by name in the operation's schema.
_WITH_SAMPLES = {
    "_scaled_dot_product_flash_attention_for_cpu": ("query", "key", "value"),
    "_scaled_dot_product_flash_attention": ("query", "key", "value"),
    "_scaled_dot_product_efficient_attention": ("query", "key", "value"),
    "_scaled_dot_product_cudnn_attention": ("query", "key", "value"),
    "_native_multi_head_attention": ("query", "key", "value"),
    "_transformer_encoder_layer_fwd": ("src",),
    "native_batch_norm": ("input",),
    "_native_batch_norm_legit_no_training": ("input",),
    "cudnn_batch_norm": ("input",),
}
_BY_BATCH = ("training", "train")  # arguments that say that it does
_MASKS = ("attn_mask", "attn_bias", "mask")


def folded(function: Any, name: str) -> Callable[..., Any] | None:
    """The operation as one that ``torch.func.vmap`` takes: copies become more samples. None if it is not such a one.

    Args:
        function: An operation of ATen.
        name: Its name.
    """
    if name not in _WITH_SAMPLES:
        return None
    names = [argument.name for argument in function._schema.arguments]

    def call(*args: Any, **kwargs: Any) -> Any:
        given = {**dict(zip(names, args, strict=False)), **kwargs}
        return _Folded.apply(function, _WITH_SAMPLES[name], tuple(given), *given.values())

    return call


class _Folded(torch.autograd.Function):
    """Never differentiated: a rule for vmap is all that it adds."""

    @staticmethod
    def forward(function: Any, sampled: tuple[str, ...], names: tuple[str, ...], *given: Any) -> Any:
        return function(**dict(zip(names, given, strict=True)))

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        """Nothing is kept."""

    @staticmethod
    def vmap(
        info: Any, in_dims: Any, function: Any, sampled: tuple[str, ...], names: tuple[str, ...], *given: Any
    ) -> Any:
        """Copies and samples as one axis."""
        copies = info.batch_size
        if any(given[names.index(flag)] for flag in _BY_BATCH if flag in names):
            raise RuntimeError(f"{function}: it looks at all samples together")
        values, dims = dict(zip(names, given, strict=True)), dict(zip(names, in_dims[3:], strict=True))
        if any(dims[name] is not None for name in names if name not in sampled):
            raise RuntimeError(f"{function}: something else than its samples differs between copies")
        samples = values[sampled[0]].shape[0 if dims[sampled[0]] is None else int(dims[sampled[0]] == 0)]
        for name in (*sampled, *(mask for mask in _MASKS if mask in names)):
            value, dim = values[name], dims[name]
            if not isinstance(value, Tensor):
                continue
            if name in _MASKS and (value.ndim == 2 or len(value) == 1):
                if value.ndim == 2 and len(value) == samples:
                    raise RuntimeError(f"{function}: a mask of samples or of positions?")
                continue
            whole = value.expand(copies, *value.shape) if dim is None else value.movedim(dim, 0)
            values[name] = whole.flatten(0, 1)
        out = function(**values)
        single = isinstance(out, Tensor)
        parts = [out] if single else list(out)
        apart = [isinstance(x, Tensor) and x.ndim > 0 and len(x) == copies * samples for x in parts]
        made = [x.unflatten(0, (copies, samples)) if is_apart else x for x, is_apart in zip(parts, apart, strict=True)]
        out_dims = [0 if is_apart else None for is_apart in apart]
        return (made[0], out_dims[0]) if single else (tuple(made), tuple(out_dims))
