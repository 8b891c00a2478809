"""Networks that do something unusual behind, in or around a layer."""

import math
from collections import namedtuple
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812
from torch.nn.utils.parametrizations import spectral_norm, weight_norm
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from tests.interventions.plain_loop import without_recurrent_unit, without_unit

N = 6
TARGET = torch.arange(N) % 3
ROWS = torch.randn(N, 5, generator=torch.Generator().manual_seed(1))
IMAGES = torch.randn(N, 2, 6, 6, generator=torch.Generator().manual_seed(2))
SIGNALS = torch.randn(N, 2, 8, generator=torch.Generator().manual_seed(3))
VOLUMES = torch.randn(N, 1, 4, 4, 4, generator=torch.Generator().manual_seed(4))
STEPS = torch.randn(N, 7, 8, generator=torch.Generator().manual_seed(5))
WORDS = torch.randint(1, 30, (N, 7), generator=torch.Generator().manual_seed(6))


@dataclass(frozen=True)
class Case:
    """A network and a layer of it.

    Attributes:
        make: Makes the network.
        inputs: What it is given.
        layer: To ablate.
        axis: Of the units in what the layer returns.
        warning: What is said of it if all of it must be run again; None if not.
        edit: As :func:`without_unit`.
        target: Of its output.
    """

    make: Callable[[], nn.Module]
    inputs: Any
    layer: str = "a"
    axis: int = 1
    warning: str | None = None
    edit: Any = without_unit
    target: torch.Tensor = TARGET


CASES: dict[str, Case] = {}


class Between(nn.Module):
    """``b(function(a(x)))``, the function being given the network too if it takes two arguments."""

    def __init__(self, a, function, b, **parts):
        super().__init__()
        self.a, self.b, self.function = a, b, function
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, x):
        given = (self.a(x),) if self.function.__code__.co_argcount == 1 else (self, self.a(x))
        return self.b(self.function(*given))


def rows(name, width=6, out=6, **settings):
    """A function of ``[6, width]`` between two linear layers."""
    parts = settings.pop("parts", dict)

    def add(function):
        def make():
            return Between(nn.Linear(5, width), function, nn.Linear(out, 3), **parts())

        CASES[name] = Case(make, settings.pop("inputs", ROWS), **settings)
        return function

    return add


def network(name, inputs=ROWS, **settings):
    """A module of its own."""

    def add(make):
        CASES[name] = Case(make, inputs, **settings)
        return make

    return add


def channels(name, inputs, a, out=4, **settings):
    """A function of what a convolution returns, then a linear layer."""
    parts = settings.pop("parts", dict)

    def add(function):
        CASES[name] = Case(lambda: Between(a(), function, nn.Linear(out, 3), **parts()), inputs, **settings)
        return function

    return add


def images(name, out=4, **settings):
    return channels(name, IMAGES, lambda: nn.Conv2d(2, 4, 3, padding=1), out, **settings)


def signals(name, out=4, **settings):
    return channels(name, SIGNALS, lambda: nn.Conv1d(2, 4, 3, padding=1), out, **settings)


def steps(name, out=4, **settings):
    return channels(name, STEPS, lambda: nn.Linear(8, 4), out, **{"axis": 2, **settings})


# ---- in place


@rows("in-place ReLU whose result is ignored", parts=lambda: {"relu": nn.ReLU(inplace=True)})
def _(net, h):
    net.relu(h)
    return h


@rows("h += r, r being h before", parts=lambda: {"inner": nn.Linear(6, 6)})
def _(net, h):
    r = h
    h = net.inner(h.tanh())
    h += r
    return h


@rows("r += h changes what r was made from", parts=lambda: {"inner": nn.Linear(6, 6)})
def _(net, h):
    r = h.view(6, 2, 3)
    r += net.inner(h).view(6, 2, 3)
    return h * r.flatten(1)


@rows("slice assignment")
def _(h):
    h[:, 0] = h[:, 1] * 2
    h[:, 2:4] = 0.5
    h[1, 4] = 3
    return h


@rows("masked_fill_ and assignment by mask")
def _(h):
    h.masked_fill_(h < -0.3, -0.5)
    h[h > 0.4] = 0.25
    return h


@rows("in place on a view, its base read afterwards")
def _(h):
    v = h.view(6, 2, 3)
    v.mul_(2)
    v[:, 0].tanh_()
    v.transpose(1, 2)[:, 1].add_(1)
    return h


@rows("two views changed in turn")
def _(h):
    a, b = h[:, :4], h[:, 2:]
    a.mul_(2)
    b.tanh_()
    a.add_(b)
    b.sub_(a.flip(1))
    return h + torch.cat([a, b[:, 2:]], 1)


@rows("chunks changed by one another")
def _(h):
    a, b = h.chunk(2, 1)
    a.add_(b)
    b.mul_(a)
    return h


@rows("out= and buffers filled")
def _(h):
    made = torch.empty(6, 6)
    torch.mul(h, h, out=made)
    filled = torch.zeros(6, 7)
    filled[:, 1:] = made
    filled.narrow(1, 2, 3).copy_(h[:, :3])
    return filled[:, :6] + filled[:, 1:]


@rows("index_add_, scatter_ and index_put_")
def _(h):
    sums = torch.zeros(6, 6).index_add_(1, torch.tensor([0, 0, 1, 3, 3, 5]), h)
    sums.scatter_(1, torch.arange(6).unsqueeze(1), h[:, 2:3])
    sums.index_put_((torch.tensor([0, 1]), torch.tensor([1, 1])), h[:2, 0], accumulate=True)
    return sums + h


@rows("zeroed and filled in place")
def _(h):
    h[:, 0].zero_()
    h[:, 1].fill_(2.0)
    h[2].fill_(h[0, 3])
    return h


@rows("the data of a tensor replaced")
def _(h):
    h.data = h.data * 2
    return h.tanh()


class PreActivation(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.head = nn.Conv2d(2, 4, 3, padding=1), nn.Linear(4, 3)
        self.bn, self.conv, self.relu = nn.BatchNorm2d(4), nn.Conv2d(4, 4, 3, padding=1), nn.ReLU(inplace=True)
        self.bn.running_mean.copy_(torch.randn(4))
        self.bn.running_var.copy_(torch.rand(4) + 0.5)

    def forward(self, x):
        x = self.stem(x)
        for _ in range(2):
            x = x + self.conv(self.bn(self.relu(x)))  # the branch gets it after the ReLU too
        return self.head(x.mean((2, 3)))


for _layer in ("stem", "bn", "conv"):
    network(f"pre-activation that changes a block's input: {_layer}", IMAGES, layer=_layer)(PreActivation)


# ---- functions, residual branches, shared and repeated modules


@rows("functional calls", parts=lambda: {"inner": nn.Linear(6, 6)})
def _(net, h):
    h = F.layer_norm(F.gelu(h), (6,)) + h
    return F.normalize(F.linear(h, net.inner.weight.t()), dim=1).clamp(-0.5, 0.7)


@rows("one weight in three places", parts=lambda: {"inner": nn.Linear(6, 6, bias=False)})
def _(net, h):
    return F.linear(net.inner(net.inner(h).relu()), net.inner.weight.t())


class Repeated(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.head = nn.Linear(5, 6), nn.Linear(6, 3)
        self.block = nn.Sequential(nn.Linear(6, 6), nn.Tanh(), nn.Sequential(nn.Linear(6, 6), nn.ReLU()))
        self.again = self.block[2]

    def forward(self, x):
        h = self.stem(x)
        for _ in range(3):
            h = h + self.block(h)
        return self.head(self.again(h) - self.block[0](h))


for _layer in ("block", "block.0", "block.1", "block.2.0", "again.1", "again"):
    network(f"called several times: {_layer}", layer=_layer)(Repeated)


@rows("a layer that is not used")
def _(h):
    return torch.ones(6, 6) * h.shape[1]


@rows("a layer used for one sample only")
def _(h):
    return torch.cat([h[:1], torch.ones(5, 6)])


network("one Linear, by the name of the whole", layer="")(lambda: nn.Linear(5, 3))


class Passing(nn.Module):
    """A layer that returns its input, which goes elsewhere too."""

    def __init__(self, same):
        super().__init__()
        self.fc, self.a, self.b = nn.Linear(5, 6), same, nn.Linear(6, 3)

    def forward(self, x):
        x = self.fc(x)
        return self.b(self.a(x).tanh() * 2 + x)


network("Identity beside its input")(lambda: Passing(nn.Identity()))
network("dropout in eval mode beside its input")(lambda: Passing(nn.Dropout(0.5)))
network("what goes into an Identity", layer="fc")(lambda: Passing(nn.Identity()))


# ---- whole batches


@rows("less the batch's mean")
def _(h):
    return h - h.mean(0)


@rows("softmax over the batch")
def _(h):
    return h.softmax(0)


@rows("sorted and ranked over the batch")
def _(h):
    return h.sort(0).values + h.cumsum(0) + h.argsort(0)


@rows("Gram matrix of samples")
def _(h):
    return h @ h.t()


@rows("a matrix by itself")
def _(h):
    return h @ h


@rows("added to its own product")
def _(h):
    return torch.addmm(h, h, torch.arange(36.0).view(6, 6).tanh())


@rows("batch norm without running statistics", parts=lambda: {"bn": nn.BatchNorm1d(6, track_running_stats=False)})
def _(net, h):
    return net.bn(h)


@rows("batch norm of given statistics", parts=lambda: {"bn": nn.BatchNorm1d(6)})
def _(net, h):
    return F.batch_norm(net.bn(h).relu(), h.mean(0), h.var(0), training=False)


@channels("axes of one length, of which the wrong one is broadcast", IMAGES[:, :, 0, :],
          lambda: nn.Conv1d(2, 6, 3, padding=1), 6)  # fmt: skip
def _(h):
    return (h * h.mean(2).relu()).sum(2)  # [6, 6, 6] by [6, 6]


# ---- convolutions and positions


@images("depthwise", parts=lambda: {"conv": nn.Conv2d(4, 4, 3, groups=4)})
def _(net, h):
    return net.conv(h.relu()).relu().mean((2, 3))


@images("depthwise with two channels of each", 8, parts=lambda: {"conv": nn.Conv2d(4, 8, 3, groups=4)})
def _(net, h):
    return net.conv(h).relu().amax((2, 3))


@images("grouped", 6, parts=lambda: {"conv": nn.Conv2d(4, 6, 3, groups=2, stride=2)})
def _(net, h):
    return net.conv(h).relu().mean((2, 3))


@images("transposed", 5, parts=lambda: {"conv": nn.ConvTranspose2d(4, 5, 3, stride=2, output_padding=1)})
def _(net, h):
    return net.conv(h).relu().mean((2, 3))


@images("dilated, strided, padded", 5, parts=lambda: {"conv": nn.Conv2d(4, 5, 3, 2, (2, 1), (2, 1))})
def _(net, h):
    return net.conv(h).relu().mean((2, 3))


@images("circular padding", 5, parts=lambda: {"conv": nn.Conv2d(4, 5, 3, padding=1, padding_mode="circular")})
def _(net, h):
    return net.conv(h).square().mean((2, 3))


@images("batch norm, pooling, flattened into a Linear", 5,
        parts=lambda: {"bn": nn.BatchNorm2d(4), "pool": nn.MaxPool2d(2), "fc": nn.Linear(36, 5)})  # fmt: skip
def _(net, h):
    return net.fc(net.pool(net.bn(h).relu()).flatten(1))


@images("half flattened, channels last", 5, parts=lambda: {"fc": nn.Linear(24, 5)})
def _(net, h):
    return net.fc(h.relu().permute(0, 2, 3, 1).flatten(2)).amax(1)


@images("adaptive pooling", 16)
def _(h):
    return F.adaptive_avg_pool2d(h.relu(), 2).flatten(1) * F.adaptive_max_pool2d(h, 2).flatten(1)


@images("pooled, unpooled", parts=lambda: {"pool": nn.MaxPool2d(2, return_indices=True)})
def _(net, h):
    spread = F.max_unpool2d(*net.pool(h), 2)
    return (spread * torch.arange(36.0).view(6, 6) / 20).square().mean((2, 3))


@images("GroupNorm, InstanceNorm, local response", parts=lambda: {"group": nn.GroupNorm(2, 4)})
def _(net, h):
    return F.local_response_norm(F.instance_norm(net.group(h) * h), 3).amax((2, 3))


@images("PixelShuffle, upsampling, grid", 1)
def _(h):
    h = F.interpolate(F.pixel_shuffle(h, 2), scale_factor=0.5, mode="bilinear").tanh()
    grid = F.affine_grid(torch.eye(2, 3).expand(6, 2, 3) * 0.7, [6, 1, 6, 6], align_corners=False)
    return F.grid_sample(h, grid, align_corners=False).mean((2, 3))


@images("channel attention", parts=lambda: {"fc": nn.Linear(4, 4)})
def _(net, h):
    weight = net.fc(h.mean((2, 3))).sigmoid()
    return (h * weight[:, :, None, None] + h * h.mean((2, 3), keepdim=True)).amax((2, 3))


@images("channels shuffled and joined", 8)
def _(h):
    shuffled = h.view(6, 2, 2, 6, 6).transpose(1, 2).flatten(1, 2)
    return torch.cat([shuffled, h.relu()], 1).mean((2, 3)).sin()


@images("a kernel made from the images", 4)
def _(h):
    return F.conv2d(h.relu(), h[:4, :, :3, :3]).mean((2, 3))


@images("windows and strides", 9)
def _(h):
    windows = F.unfold(h, 3).tanh().view(6, 4, 9, 16).sum((1, 3))
    return windows + h.unfold(2, 2, 2).amax((1, 2, 3))[:, :1] + h.contiguous().as_strided((6, 9), (144, 2))


class ChannelsLast(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.c, self.d = nn.Conv2d(2, 6, 3, padding=1), nn.Conv2d(6, 5, 3), nn.Conv2d(5, 4, 1)
        self.b = nn.Linear(4, 3)
        self.to(memory_format=torch.channels_last)

    def forward(self, x):
        x = x.contiguous(memory_format=torch.channels_last)
        h = F.relu(self.d(F.relu(self.c(F.relu(self.a(x))))))
        h = h.permute(0, 2, 3, 1).view(6, 16, 4)
        return self.b((h * 30).softmax(1).amax(1) + h[:, 0])


network("memory with channels last", IMAGES)(ChannelsLast)


@signals("one axis: convolution, poolings", 5, parts=lambda: {"conv": nn.Conv1d(4, 5, 3, dilation=2)})
def _(net, h):
    h = F.max_pool1d(net.conv(F.avg_pool1d(h, 2, 1).relu()).relu(), 2)
    return F.adaptive_avg_pool1d(h, 1).squeeze(2)


@signals("one axis flattened", 5, parts=lambda: {"fc": nn.Linear(16, 5), "bn": nn.BatchNorm1d(4)})
def _(net, h):
    return net.fc(F.max_pool1d(net.bn(h), 2).flatten(1)).relu()


@channels("three axes", VOLUMES, lambda: nn.Conv3d(1, 4, 3, padding=1), 3,
          parts=lambda: {"conv": nn.Conv3d(4, 3, 2), "bn": nn.BatchNorm3d(4)})  # fmt: skip
def _(net, h):
    return net.conv(F.max_pool3d(net.bn(h).relu(), 2)).flatten(1)


# ---- attention, recurrence, tokens


@steps("attention by bmm")
def _(h):
    return torch.bmm(torch.bmm(h, h.transpose(1, 2)).div(2).softmax(2), h).mean(1)


@steps("attention by einsum and heads", parts=lambda: {"qkv": nn.Linear(4, 12)})
def _(net, h):
    q, k, v = net.qkv(h).view(6, 7, 3, 2, 2).permute(2, 0, 3, 1, 4)
    weights = torch.einsum("nhid,nhjd->nhij", q, k).masked_fill(torch.ones(7, 7).triu(1).bool(), -torch.inf)
    return (weights.softmax(3) @ v).transpose(1, 2).reshape(6, 7, 4).amax(1) + h[:, 0]


@steps("fused attention", parts=lambda: {"attention": nn.MultiheadAttention(4, 2, batch_first=True)})
def _(net, h):
    mask = torch.ones(7, 7).triu(1).bool()
    out = F.scaled_dot_product_attention(h, h, h.tanh(), is_causal=True)
    return (net.attention(h, out, out, attn_mask=mask)[0] + net.attention(h, h, h)[0]).mean(1)


def _padding():
    return torch.arange(7) >= torch.tensor([7, 3, 4, 5, 6, 2]).unsqueeze(1)


class Encoder(nn.Module):
    def __init__(self, batch_first, masked, nested=False):
        super().__init__()
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=batch_first)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=nested)
        self.a, self.b = nn.Linear(8, 8), nn.Linear(8, 3)
        self.batch_first, self.masked = batch_first, masked

    def forward(self, x):
        mask = _padding() if self.masked else None
        h = self.a(x) if self.batch_first else self.a(x).transpose(0, 1)
        h = self.encoder(h, src_key_padding_mask=mask)
        h = h if self.batch_first else h.transpose(0, 1)
        return self.b((h if mask is None else h.masked_fill(mask.unsqueeze(2), 0)).mean(1))


for _first in (True, False):
    for _masked in (True, False):
        for _layer in ("a", "encoder.layers.0.linear1", "encoder.layers.0.norm1", "encoder.layers.0", "encoder"):
            _name = f"encoder, batch {'first' if _first else 'second'}, {'masked, ' * _masked}{_layer}"
            network(_name, STEPS, layer=_layer, axis=2)(lambda f=_first, m=_masked: Encoder(f, m))
network("nested tensors", STEPS, axis=2, warning="not dense")(lambda: Encoder(True, True, nested=True))
network("what nested tensors become", STEPS, layer="encoder", axis=2, warning="not dense")(
    lambda: Encoder(True, True, nested=True)
)


class Recurrent(nn.Module):
    def __init__(self, a, batch_first=True, packed=False):
        super().__init__()
        self.a, self.b, self.batch_first, self.packed = a, nn.Linear(4, 3), batch_first, packed

    def forward(self, x):
        if self.packed:
            packed = pack_padded_sequence(x, torch.tensor([7, 3, 4, 5, 6, 2]), batch_first=True, enforce_sorted=False)
            return self.b(pad_packed_sequence(self.a(packed)[0], batch_first=True)[0].sum(1))
        sequence, state = self.a(x if self.batch_first else x.transpose(0, 1))
        if isinstance(state, tuple):
            return self.b(state[0][-1] + state[1][0])
        return self.b((sequence if self.batch_first else sequence.transpose(0, 1))[:, 2:5].tanh().mean(1))


network("LSTM of which the last state is used", STEPS, axis=2, edit=without_recurrent_unit)(
    lambda: Recurrent(nn.LSTM(8, 4, 2, batch_first=True))
)
network("GRU both ways, steps first", STEPS, axis=2)(
    lambda: Recurrent(nn.GRU(8, 2, bidirectional=True), batch_first=False)
)
network("RNN", STEPS, axis=2)(lambda: Recurrent(nn.RNN(8, 4, batch_first=True)))


@steps("LSTM and GRU behind", parts=lambda: {"lstm": nn.LSTM(4, 4, batch_first=True), "gru": nn.GRU(4, 4)})
def _(net, h):
    sequence, (h_n, c_n) = net.lstm(h)
    return net.gru(sequence.transpose(0, 1))[1][0] + h_n[0] * c_n[0]


@steps("packed sequences behind", warning="reads values", parts=lambda: {"lstm": nn.LSTM(4, 4, batch_first=True)})
def _(net, h):
    packed = pack_padded_sequence(h, torch.tensor([7, 3, 4, 5, 6, 2]), batch_first=True, enforce_sorted=False)
    return net.lstm(packed)[1][0][0]


@steps("a loop over steps with a cell", parts=lambda: {"cell": nn.LSTMCell(4, 4)})
def _(net, h):
    state = None
    for step in h.unbind(1):
        state = net.cell(step, state)
    return state[0]


@channels("steps whose memory is turned", STEPS, lambda: nn.LSTM(8, 4, batch_first=True), axis=2)
def _(output):
    h = output[0]
    h = (h * h.mean(2, keepdim=True)).transpose(0, 1)  # as it lies in memory: steps first
    return h.view(7, 24).tanh().view(7, 6, 4).sum(0)


@channels("embedding", WORDS, lambda: nn.Embedding(30, 4, padding_idx=0), axis=2)
def _(h):
    return h.tanh().mean(1) * h[:, 0]


@channels("embedding bag", WORDS, lambda: nn.EmbeddingBag(30, 4))
def _(h):
    return h.square()


# ---- what returns more than a tensor

Pair = namedtuple("Pair", ["logits", "hidden"])


@dataclass
class Output:
    logits: torch.Tensor
    hidden: torch.Tensor | None = None


class Returning(nn.Module):
    def __init__(self, made):
        super().__init__()
        self.a, self.b, self.made = nn.Linear(5, 6), nn.Linear(6, 3), made

    def forward(self, x):
        h = self.a(x)
        return self.made(self.b(h.relu()), h)


for _kind, _made in {
    "tuple": lambda y, h: (y, h, None),
    "list": lambda y, h: [y, h],
    "mapping": lambda y, h: {"hidden": h, "logits": y, "class": y.argmax(1), "name": "x"},
    "named tuple": Pair,
    "dataclass": Output,
    "pair with a state": lambda y, h: (y, (h, h * 2)),
    "expanded": lambda y, h: (y + h[:, :1]).unsqueeze(1).expand(6, 2, 3)[:, 1],
}.items():
    network(f"returns a {_kind}")(lambda made=_made: Returning(made))


class ReturnsPair(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(5, 6)

    def forward(self, x):
        return self.fc(x), x.square()


@network("a layer that returns a tuple")
def _():
    return Between(ReturnsPair(), lambda pair: pair[0].relu() + pair[1].mean(1, keepdim=True) / 10, nn.Linear(6, 3))


# ---- what looks at values


@rows("branch", warning="reads values")
def _(h):
    return h * 2 if h[:, 0].sum() > 0.3 else h.tanh() - 1


@rows("item", warning="reads values")
def _(h):
    return h * h.abs().max().item()


@rows("tolist", warning="reads values")
def _(h):
    return h + torch.tensor(h.tolist()).flip(1)


@rows("numpy", warning="reads values")
def _(h):
    return h + torch.from_numpy(h.detach().numpy() ** 2)


@rows("rows by mask", warning="shapes depend")
def _(h):
    return h + h[h[:, 0] > 0].sum(0)


@rows("nonzero", warning="shapes depend")
def _(h):
    return h * (h > 0).nonzero().float().mean()


@rows("unique", warning="shapes depend")
def _(h):
    return h * len(h.round().unique())


@rows("torch.equal", warning="reads values")
def _(h):
    return h.tanh() if torch.equal(h.relu(), h) else h


@rows("a loop as long as values say", warning="reads values")
def _(h):
    for _ in range(1 + int(h.abs().sum())):
        h = (h * 1.1).sin()
    return h


@rows("a sparse tensor", warning="not dense|shapes depend")
def _(h):
    return torch.sparse.mm(h.relu().to_sparse(), torch.eye(6)) + h


class Doubled(torch.autograd.Function):
    """By numpy: not seen by torch."""

    @staticmethod
    def forward(ctx, h):
        return torch.from_numpy(h.detach().numpy() * 2)


@rows("an operation of its own, by numpy", warning="reads values")
def _(h):
    return Doubled.apply(h)


class Squared(torch.autograd.Function):
    @staticmethod
    def forward(ctx, h):
        ctx.save_for_backward(h)
        return h * h

    @staticmethod
    def backward(ctx, gradient):
        return 2 * gradient * ctx.saved_tensors[0]


@rows("an operation of its own")
def _(h):
    return Squared.apply(h)


# ---- random numbers


@rows("noise")
def _(h):
    return h + torch.randn_like(h) + torch.rand(6, 6) + torch.empty_like(h).normal_(1.0, 0.5)


@rows("dropout that is always on")
def _(h):
    return F.dropout(F.dropout1d(h.unsqueeze(2), 0.2, True).squeeze(2), 0.5, True)


@rows("draws from values", warning="draws random numbers")
def _(h):
    return h * torch.bernoulli(h.sigmoid()) + torch.normal(h, 0.1)


@rows("samples of classes", warning="draws random numbers")
def _(h):
    return F.gumbel_softmax(h, hard=True) + torch.multinomial(h.softmax(1), 6)


# ---- numbers and their types


@rows("Fourier transform, conjugates")
def _(h):
    z = torch.fft.fft(h)
    w = torch.fft.irfft(torch.fft.rfft(h) * torch.fft.rfft(h).conj(), n=6)
    return ((z * z.conj()).real + z.conj().imag + (z.mH @ z).abs() + w) / 20


@rows("complex numbers in place", warning="one memory is used as two types")
def _(h):
    z = torch.fft.fft(h)
    z.real.mul_(h)
    z.conj().mul_(2 - 1j)
    return z.abs()


@rows("one memory as two types", warning="one memory is used as two types")
def _(h):
    h.view(torch.int32).bitwise_and_(-16777216)
    return h


@rows("half precision in between")
def _(h):
    return (h.double().exp().half() * 2).float() + h.to(torch.bfloat16).float()


@rows("logarithms, determinants, distances")
def _(h):
    inverse = torch.linalg.inv(h @ h.t() + 3 * torch.eye(6))
    return (torch.cdist(h, inverse) + torch.logsumexp(h, 1, keepdim=True) + torch.linalg.svdvals(h)) / 10


@rows("gradients taken in the forward pass", parts=lambda: {"energy": nn.Linear(6, 1)})
def _(net, h):
    with torch.enable_grad():
        h = h.detach().requires_grad_()
        return torch.autograd.grad(net.energy(h.tanh()).square().sum(), h)[0].detach() + h.detach()


@rows("vmap and jvp in the forward pass")
def _(h):
    doubled = torch.func.vmap(lambda row: row.cumsum(0) * row)(h)
    return doubled + torch.func.jvp(torch.sin, (h,), (torch.ones_like(h),))[1]


@rows("checkpointing")
def _(h):
    return torch.utils.checkpoint.checkpoint(lambda x: x.tanh() * x, h, use_reentrant=False)


@network("without gradients by decorator")
def _():
    class Decorated(Between):
        @torch.no_grad()
        def forward(self, x):
            return super().forward(x)

    return Decorated(nn.Linear(5, 6), lambda h: h.relu(), nn.Linear(6, 3))


@network("in inference mode by decorator")
def _():
    class Decorated(Between):
        @torch.inference_mode()
        def forward(self, x):
            return super().forward(x)

    return Decorated(nn.Linear(5, 6), lambda h: h.relu_(), nn.Linear(6, 3))


@network("parametrized weights")
def _():
    a, b = weight_norm(nn.Linear(5, 6)), spectral_norm(nn.Linear(6, 6))
    return Between(a, lambda net, h: net.c(h).relu(), weight_norm(nn.Linear(6, 3)), c=b)


@network("bilinear, PReLU, scripted")
def _():
    parts = {"bilinear": nn.Bilinear(6, 6, 6), "prelu": nn.PReLU(6), "norm": nn.RMSNorm(6)}

    def function(net, h):
        return net.norm(net.prelu(net.bilinear(h, h.flip(1))))

    return Between(nn.Linear(5, 6), function, nn.Linear(6, 3), **parts)


@network("a buffer that every pass changes")
def _():
    def function(net, h):
        net.memory.mul_(0.5).add_(h.mean(0))
        net.calls += 1
        return h * net.memory + net.calls

    made = Between(nn.Linear(5, 6), function, nn.Linear(6, 3))
    made.register_buffer("memory", torch.ones(6))
    made.register_buffer("calls", torch.tensor(0))
    return made


network("float64", ROWS.double())(lambda: Between(nn.Linear(5, 6), lambda h: h.relu(), nn.Linear(6, 3)).double())


# ---- numbers of unlike size


@rows("one huge unit beside small ones", parts=lambda: {"c": nn.Linear(6, 6), "norm": nn.LayerNorm(6)})
def _(net, h):
    return net.norm(net.c(h * torch.tensor([1e8, 1, 1, 1, 1, 1])))


@rows("one huge sample beside small ones", parts=lambda: {"c": nn.Linear(6, 6), "norm": nn.LayerNorm(6)})
def _(net, h):
    scale = torch.ones(6, 6)
    scale[0, 1], scale[1:, 4] = 1e8, 1e5
    return net.norm(net.c(h * scale))


@rows("one huge output beside small ones", parts=lambda: {"c": nn.Linear(6, 6), "norm": nn.BatchNorm1d(6)})
def _(net, h):
    scale = torch.ones(6, 6)
    scale[0, 1], scale[1:, 4] = 1e8, 1e5
    return net.norm(F.linear(h, net.c.weight * scale).tanh())


@rows("huge weights", parts=lambda: {"c": nn.Linear(6, 6)})
def _(net, h):
    return (F.linear(h.relu(), net.c.weight * 1e6) / 1e6).tanh()


@images("one huge image and channel", 3, parts=lambda: {"conv": nn.Conv2d(4, 3, 3), "norm": nn.InstanceNorm2d(3)})
def _(net, h):
    scale = torch.ones(6, 4, 1, 1)
    scale[0, 1], scale[1:, 2] = 1e8, 1e5
    return net.norm(net.conv(h * scale)).relu().mean((2, 3))


@rows("no variance", parts=lambda: {"norm": nn.LayerNorm(6), "bn": nn.BatchNorm1d(6, track_running_stats=False)})
def _(net, h):
    return net.bn(net.norm(h.mean(1, keepdim=True).expand(6, 6))) + net.bn(h.round() * 0)


@rows("one sample", inputs=ROWS[:1], target=TARGET[:1])
def _(h):
    return h.tanh() * math.pi
