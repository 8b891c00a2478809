"""The information between all units of two layers: this package against a loop over scikit-learn.

Run ``python tests/benchmarks/information.py`` (a minute) or with ``--quick`` (a smoke test). Prints a markdown table.

- value and baseline: ``mutual_information``, with its shuffle baseline, from the activations on.
- value alone: what the loop computes; ``joint_entropy`` and the two entropies, also from the activations on.
- scikit-learn loop: ``sklearn.metrics.mutual_info_score`` for each pair of units, on bins that were found before, which
  are not timed. It takes a random 1000 pairs, and its time is scaled up to all; it computes no baseline.

Both get the same float32 activations, 10 bins, half of the units ReLU-like with many zeros; one round of each in turn.
Times are medians over the rounds, the first of which comes after one that is not timed. The difference is the largest
one between the values of ours and the loop.
"""

from __future__ import annotations

import argparse
import datetime
import platform
import random
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from sklearn.metrics import mutual_info_score

from lightning_separation.functional import entropy, joint_entropy, mutual_information
from lightning_separation.functional._bins import binned

SAMPLED = 1000


def layers(samples: int, units: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(samples, units, generator=generator)
    y = x @ torch.randn(units, units, generator=generator) / units**0.5
    x[:, ::2].relu_()
    y[:, ::2].relu_()
    return x, y


def value_alone(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return entropy(x)[:, None] + entropy(y) - joint_entropy(x, y)


def seconds_of(function: Callable[[], object]) -> tuple[float, object]:
    start = time.perf_counter()
    found = function()
    return time.perf_counter() - start, found


def row_of_table(samples: int, units: int, rounds: int) -> str:
    x, y = layers(samples, units)
    codes_x, codes_y = binned(x, 10, None).codes.numpy(), binned(y, 10, None).codes.numpy()
    pairs = [divmod(p, units) for p in random.Random(0).sample(range(units**2), min(SAMPLED, units**2))]
    contestants: dict[str, Callable[[], object]] = {
        "both": lambda: mutual_information(x, y).value,
        "value": lambda: value_alone(x, y),
        "loop": lambda: [mutual_info_score(codes_x[i], codes_y[j]) for i, j in pairs],
    }
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    found = {name: contestant() for name, contestant in contestants.items()}
    for _ in range(rounds):
        for name, contestant in contestants.items():
            elapsed, found[name] = seconds_of(contestant)
            seconds[name].append(elapsed * (units**2 / len(pairs) if name == "loop" else 1))
    median = {name: statistics.median(values) for name, values in seconds.items()}
    ours = found["both"].numpy()[tuple(np.array(pairs).T)]
    cells = [f"{units} x {units} units, {samples} samples"]
    cells += [f"{median[name]:.3g} s ({median['loop'] / median[name]:.3g}x)" for name in ("both", "value")]
    cells += [f"{median['loop']:.3g} s", f"{np.abs(ours - np.array(found['loop'])).max():.0e}"]
    return "| " + " | ".join(cells) + " |"


def cpu_model() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next((line.split(": ")[1] for line in lines if line.startswith("model name")), platform.processor())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a small size only")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print(
        f"{datetime.date.today()}, {cpu_model()}, {torch.get_num_threads()} threads, torch {torch.__version__}, "
        f"medians of {arguments.rounds} rounds; times (the loop's relative to it)"
    )
    print(f"\n    python {' '.join(sys.argv)}\n")
    print("| work | value and baseline | value alone | scikit-learn loop | largest difference |")
    print("|---" * 5 + "|")
    for samples, units in [(200, 64)] if arguments.quick else [(1000, 512), (1000, 128), (10000, 128)]:
        print(row_of_table(samples, units, arguments.rounds), flush=True)


if __name__ == "__main__":
    main()
