"""Ablation of every unit: this package against Captum's LayerFeatureAblation, in turn, in one run.

    python tests/benchmarks/ablation.py [--rounds 3] [--only mlp,resnet,transformer] [--units 24]

Both zero the same units of the same layers and look at the loss of the same samples (this package at accuracy, KL and
entropy as well). Captum gets the best of several ``perturbations_per_eval``. Of a layer with many units a random sample
is timed by both, and scaled up. The largest difference between the two and memory are printed beside it, and how well
the first-order estimate ranks units.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Mapping
from itertools import pairwise

import torch
from captum.attr import LayerFeatureAblation
from scipy.stats import spearmanr
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from lightning_separation.interventions import ablation_deltas
from lightning_separation.interventions.batches import Batch, evaluating
from lightning_separation.interventions.clean_run import CleanRun

PERTURBATIONS = (1, 2, 4, 8, 16)


def mlp() -> nn.Module:
    """784-512-512-10."""
    hidden = [part for a, b in pairwise((784, 512, 512)) for part in (nn.Linear(a, b), nn.ReLU())]
    return nn.Sequential(*hidden, nn.Linear(512, 10))


class Block(nn.Module):
    """Two convolutions and a way around them."""

    def __init__(self, given: int, made: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(given, made, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(made)
        self.conv2 = nn.Conv2d(made, made, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(made)
        self.relu = nn.ReLU(inplace=True)
        self.down = nn.Identity()
        if stride > 1 or given != made:
            self.down = nn.Sequential(nn.Conv2d(given, made, 1, stride, bias=False), nn.BatchNorm2d(made))

    def forward(self, x: Tensor) -> Tensor:
        """``[N, given, H, W]`` to ``[N, made, H / stride, W / stride]``."""
        y = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        y += self.down(x)
        return self.relu(y)


class ResNet18(nn.Module):
    """For images of 32 x 32."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        for i, (given, made) in enumerate(pairwise((64, 64, 128, 256, 512)), 1):
            blocks = nn.Sequential(Block(given, made, 1 if i == 1 else 2), Block(made, made, 1))
            self.add_module(f"layer{i}", blocks)
        self.fc = nn.Linear(512, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``[N, 10]``."""
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(x.mean((2, 3)))


class Transformer(nn.Module):
    """Four encoder layers of width 128 on 32 tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(16, 128)
        self.encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(128, 4, 256, batch_first=True), 4)
        self.head = nn.Linear(128, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``[N, 10]`` of ``[N, 32, 16]``."""
        return self.head(self.encoder(self.embed(x)).mean(1))


class Work:
    """A network, samples, and the units to ablate by layer."""

    def __init__(self, network: nn.Module, inputs: Tensor, layers: list[str], units: int) -> None:
        self.network, self.inputs, self.layers = network.eval(), inputs, layers
        self.target = torch.arange(len(inputs)) % 10
        with evaluating(network):
            run = CleanRun(network, layers, Batch.of(inputs))
        self.widths = {layer: run.clean(layer)[0].shape[run.axes[layer]] for layer in layers}
        generator = torch.Generator().manual_seed(0)
        self.units = {
            layer: torch.randperm(width, generator=generator)[:units].sort().values
            for layer, width in self.widths.items()
        }
        self.modules = dict(network.named_modules())


def ours(work: Work, layers: list[str]) -> tuple[float, dict[str, Tensor]]:
    """Seconds for all units, and the change of the loss of those that were sampled."""

    def timed(units: Mapping[str, Tensor]) -> tuple[float, dict[str, Tensor]]:
        started = time.perf_counter()
        deltas = ablation_deltas(work.network, list(units), work.inputs, work.target, units=units)
        return time.perf_counter() - started, {layer: found.loss for layer, found in deltas.items()}

    if all(len(work.units[layer]) == work.widths[layer] for layer in layers):
        return timed({layer: work.units[layer] for layer in layers})
    none = torch.zeros(0, dtype=torch.int64)
    whole, _ = timed(dict.fromkeys(layers, none))  # what is needed once for all layers
    found: dict[str, Tensor] = {}
    for layer in layers:
        once, _ = timed({layer: none})
        seconds, losses = timed({layer: work.units[layer]})
        whole += max(seconds - once, 0) * work.widths[layer] / len(work.units[layer])
        found |= losses
    return whole, found


def captums(work: Work, layers: list[str], perturbations: int) -> tuple[float, dict[str, Tensor]]:
    """The same of Captum; layer by layer, each scaled by its own width."""

    def losses(inputs: Tensor, target: Tensor) -> Tensor:
        return cross_entropy(work.network(inputs), target, reduction="none")

    whole, found = 0.0, {}
    for layer in layers:
        chosen, width = work.units[layer], work.widths[layer]
        # Group 0 holds all units that are not looked at; its one run is not counted.
        groups = torch.zeros(width, dtype=torch.int64)
        groups[chosen] = torch.arange(1, len(chosen) + 1)
        rest = 0 if len(chosen) == width else 1
        channels = isinstance(work.modules[layer], nn.Conv2d)
        tokens = isinstance(work.modules[layer], nn.TransformerEncoderLayer)
        shape = (1, width, 1, 1) if channels else (1, 1, width) if tokens else (1, width)
        ablation = LayerFeatureAblation(losses, work.modules[layer])
        started = time.perf_counter()
        with torch.no_grad():
            change = ablation.attribute(
                work.inputs,
                additional_forward_args=work.target,
                layer_mask=(groups - (1 - rest)).reshape(shape),
                layer_baselines=0,
                perturbations_per_eval=perturbations,
            )
        seconds = time.perf_counter() - started
        whole += seconds * width / (len(chosen) + rest + 1)  # and the clean run
        of_units = change[:, :, 0, 0] if channels else change[:, 0] if tokens else change
        found[layer] = -of_units[:, chosen].mean(0)
    return whole, found


def best_perturbations(work: Work, layers: list[str]) -> int:
    """The setting that is fastest for Captum on the first layer."""
    seconds = {number: captums(work, layers[:1], number)[0] for number in PERTURBATIONS}
    return min(seconds, key=seconds.__getitem__)


def compare(name: str, work: Work, layers: list[str], rounds: int) -> None:
    """One row of the table."""
    perturbations = best_perturbations(work, layers)
    contestants: dict[str, Callable[[], tuple[float, Mapping[str, Tensor]]]] = {
        "ours": lambda: ours(work, layers),
        "captum": lambda: captums(work, layers, perturbations),
    }
    seconds: dict[str, list[float]] = {contestant: [] for contestant in contestants}
    found: dict[str, Mapping[str, Tensor]] = {}
    for _ in range(rounds):
        for contestant, run in contestants.items():
            took, found[contestant] = run()
            seconds[contestant].append(took)
    mine, captum = (statistics.median(values) for values in seconds.values())
    differs = max(float((found["ours"][layer] - found["captum"][layer]).abs().max()) for layer in layers)
    units = sum(work.widths[layer] for layer in layers)
    print(
        f"| {name} | {units} | {mine:.3g} s | {captum:.3g} s ({perturbations} at once) | {captum / mine:.1f}x "
        f"| {differs:.0e} |",
        flush=True,
    )


def memory(name: str, work: Work, layers: list[str]) -> None:
    """What the tape of a clean run holds, beside the outputs of the layers and the network's parameters."""
    with evaluating(work.network):
        run = CleanRun(work.network, layers, Batch.of(work.inputs))
    own = {parameter.data_ptr() for parameter in (*work.network.parameters(), *work.network.buffers())}
    outputs = sum(run.clean(layer)[0].nbytes for layer in layers)
    print(f"| {name} | {run.nbytes(own) / 1e6:.0f} MB | {outputs / 1e6:.0f} MB |", flush=True)


def train(network: nn.Module, inputs: Tensor, target: Tensor, steps: int) -> None:
    """A few steps, so that units differ."""
    optimizer = torch.optim.Adam(network.parameters(), 1e-3)
    network.train()
    for _ in range(steps):
        optimizer.zero_grad()
        cross_entropy(network(inputs), target).backward()
        optimizer.step()
    optimizer.zero_grad()


def screening(name: str, work: Work, layers: list[str]) -> None:
    """How well the estimate ranks units, and how many of the most needed tenth are among the 30% that are exact."""
    exact = ablation_deltas(work.network, layers, work.inputs, work.target)
    screened = ablation_deltas(work.network, layers, work.inputs, work.target, screen=0.3)
    estimates = ablation_deltas(work.network, layers, work.inputs, work.target, screen=1e-9)
    for layer in layers:
        loss, estimate, kept = exact[layer].loss, estimates[layer].loss, screened[layer].exact
        rest = ~estimates[layer].exact  # the one that is exact says nothing of estimates
        rank = spearmanr(loss[rest], estimate[rest]).statistic
        top = loss.argsort(descending=True)[: max(1, len(loss) // 10)]
        print(f"| {name}, {layer} | {len(loss)} | {rank:.2f} | {kept[top].double().mean():.0%} |", flush=True)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--units", type=int, default=24, help="sampled of each wide layer of the larger networks")
    parser.add_argument("--only", default="mlp,resnet,transformer")
    options = parser.parse_args()
    torch.manual_seed(0)
    works: dict[str, tuple[Work, dict[str, list[str]]]] = {}
    if "mlp" in options.only:
        work = Work(mlp(), torch.randn(256, 784), ["0", "2", "4"], 512)
        works["MLP 784-512-512-10, 256 samples"] = work, {"every unit": work.layers}
    if "resnet" in options.only:
        network = ResNet18()
        convolutions = [name for name, module in network.named_modules() if isinstance(module, nn.Conv2d)]
        work = Work(network, torch.randn(32, 3, 32, 32), convolutions, options.units)
        parts = {"every channel": convolutions, "layer4": [name for name in convolutions if name.startswith("layer4")]}
        works["CIFAR ResNet-18, 32 samples"] = work, parts
    if "transformer" in options.only:
        layers = [f"encoder.layers.{i}" for i in range(4)]
        work = Work(Transformer(), torch.randn(32, 32, 16), layers, options.units)
        works["4-layer transformer, 32 x 32 tokens"] = work, {"every unit of each block": layers}
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, medians of {options.rounds} rounds in turn\n")
    print("| network | units | ours | Captum | ratio | largest difference |\n|---|---|---|---|---|---|")
    for name, (work, parts) in works.items():
        for part, layers in parts.items():
            compare(f"{name}: {part}", work, layers, options.rounds)
    print("\n| network | tape | outputs of the layers |\n|---|---|---|")
    for name, (work, _) in works.items():
        memory(name, work, work.layers)
    print("\n| trained network, layer | units | rank correlation | needed tenth that 30% holds |\n|---|---|---|---|")
    for name, (work, _) in works.items():
        if not isinstance(work.network, ResNet18):
            train(work.network, work.inputs, work.target, 30)
            screening(name, work, work.layers)


if __name__ == "__main__":
    main()
