"""Which axis of a layer's output counts its units."""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn
from torch.nn.modules import batchnorm, conv, instancenorm, pooling

_CHANNELS_FIRST = (
    conv._ConvNd, batchnorm._NormBase, instancenorm._InstanceNorm, nn.GroupNorm, nn.LocalResponseNorm, nn.Upsample,
    pooling._MaxPoolNd, pooling._AvgPoolNd, pooling._AdaptiveMaxPoolNd, pooling._AdaptiveAvgPoolNd, pooling._LPPoolNd,
    nn.PixelShuffle, nn.PixelUnshuffle,
)  # fmt: skip
_CHANNELS_LAST = (
    nn.Linear, nn.Bilinear, nn.Embedding, nn.EmbeddingBag, nn.RNNBase, nn.MultiheadAttention,
    nn.TransformerEncoderLayer, nn.TransformerDecoderLayer, nn.TransformerEncoder, nn.TransformerDecoder,
)  # fmt: skip


def unit_axis(module: nn.Module | None, num_axes: int, neighbours: Iterable[tuple[nn.Module, int]]) -> int:
    """The axis of a layer's output ``[N, ...]`` that counts its units: channels of convolutions, else the last.

    Modules such as activations keep the axes of what they are given, so that of the nearest neighbour counts that
    knows its own and has as many axes. Without one: channels for four axes or more.

    Args:
        module: The layer; None for the network's input.
        num_axes: Axes of its output, samples included.
        neighbours: Other layers and the number of axes of their outputs, the nearest first.

    Example:
        >>> relu, convolution = nn.ReLU(), nn.Conv1d(3, 8, 5)
        >>> unit_axis(relu, 3, [(convolution, 3)]), unit_axis(relu, 3, []), unit_axis(relu, 4, [])
        (1, 2, 1)
    """
    if num_axes < 3:
        return num_axes - 1
    known = [(module, num_axes), *neighbours] if module is not None else list(neighbours)
    for layer, axes in known:
        if axes == num_axes and isinstance(layer, _CHANNELS_FIRST):
            return 1
        over_last_axis = len(getattr(layer, "normalized_shape", ())) == 1  # of LayerNorm and RMSNorm
        if axes == num_axes and (isinstance(layer, _CHANNELS_LAST) or over_last_axis):
            return num_axes - 1
    return 1 if num_axes > 3 else num_axes - 1
