"""Tests of every neuron of a layer: this package against SciPy.

Run ``python tests/benchmarks/neurons.py`` (a minute) or with ``--quick`` (a smoke test). Prints a markdown table.

- ours: all neurons in one call.
- SciPy loop: one call of ``scipy.stats`` for each neuron.
- SciPy axis=0: one call of ``scipy.stats`` for all neurons.
- "significance + spread + normality" is what the monitor's ``Significance`` computes of a layer: the result of
  ``neuron_significance``, Brown-Forsythe, and Shapiro-Wilk over all classes. The loop is the same rule, one by one.

Two equal classes (ten in the last row) of float32 activations, half of the neurons ReLU-like with many zeros. All
contestants get the same data, one round of each in turn; SciPy gets it in float64. Times are medians over the rounds.
Where there are more than 256 neurons, the loop takes a random 256 of them, and its time is scaled up. The largest
relative difference is that between the p-values of ours and the loop.
"""

from __future__ import annotations

import argparse
import datetime
import platform
import random
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import torch
from scipy import stats

from lightning_separation.functional import mann_whitney_u, shapiro_wilk, welch_t_test
from lightning_separation.functional._neurons import sample_of_classes
from lightning_separation.functional.k_sample import brown_forsythe_of
from lightning_separation.functional.neuron_significance import significance
from lightning_separation.functional.shapiro_wilk import pooled_normality

Arrays = list[np.ndarray]  # of the classes, [samples, neurons] or [samples]
SAMPLED = 256


def layer(samples: int, neurons: int, num_classes: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(num_classes).repeat_interleave(samples // num_classes)
    x = torch.randn(len(y), neurons, generator=generator) + 0.1 * y[:, None] * torch.rand(neurons, generator=generator)
    x[:, ::2].relu_()
    return x, y


def whole(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    sample = sample_of_classes(x, y)
    found = significance(sample).p_value
    brown_forsythe_of(sample)
    pooled_normality(sample)
    return found


def scipy_whole(classes: Arrays) -> float:
    normal = all(stats.shapiro(c).pvalue > 0.05 for c in classes)
    stats.levene(*classes, center="median")
    stats.shapiro(np.concatenate(classes))
    effect = stats.kruskal(*classes)
    return (stats.f_oneway(*classes, equal_var=False) if normal else effect).pvalue


def scipy_welch(classes: Arrays) -> float:
    return stats.ttest_ind(*classes, equal_var=False).pvalue


def scipy_mann_whitney(classes: Arrays) -> float:
    return stats.mannwhitneyu(*classes, method="asymptotic").pvalue


def scipy_shapiro(classes: Arrays) -> float:
    return stats.shapiro(np.concatenate(classes), axis=0).pvalue


Work = tuple[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor], Callable[[Arrays], float], bool]
TESTS: list[Work] = [
    ("Welch t", lambda x, y: welch_t_test(*x.chunk(2)).p_value, scipy_welch, True),
    ("Mann-Whitney U", lambda x, y: mann_whitney_u(*x.chunk(2)).p_value, scipy_mann_whitney, True),
    ("Shapiro-Wilk", lambda x, y: shapiro_wilk(x).p_value, scipy_shapiro, True),
]
WHOLE: list[Work] = [("significance + spread + normality", whole, scipy_whole, False)]


def seconds_of(function: Callable[[], object]) -> tuple[float, object]:
    start = time.perf_counter()
    found = function()
    return time.perf_counter() - start, found


def rows_of_table(size: tuple[int, int, int], works: Iterable[Work], rounds: int) -> Iterable[str]:
    x, y = layer(*size)
    classes = [x[y == k].double().numpy() for k in range(size[2])]
    neurons = sorted(random.Random(0).sample(range(size[1]), min(SAMPLED, size[1])))
    for name, ours, scipy, takes_axis in works:
        contestants: dict[str, Callable[[], object]] = {
            "ours": lambda ours=ours: ours(x, y),
            "loop": lambda scipy=scipy: [scipy([c[:, i] for c in classes]) for i in neurons],
            **({"axis": lambda scipy=scipy: scipy(classes)} if takes_axis else {}),
        }
        contestants["ours"]()
        seconds: dict[str, list[float]] = {name: [] for name in contestants}
        found = {}
        for _ in range(rounds):
            for who, contestant in contestants.items():
                elapsed, found[who] = seconds_of(contestant)
                seconds[who].append(elapsed * (size[1] / len(neurons) if who == "loop" else 1))
        median = {who: statistics.median(values) for who, values in seconds.items()}
        difference = np.abs(found["ours"].numpy()[neurons] / np.array(found["loop"]) - 1).max()
        cells = [f"{name}, {size[0]} samples x {size[1]} neurons, {size[2]} classes", f"{median['ours'] * 1e3:.3g} ms"]
        cells += [
            f"{median[who] * 1e3:.3g} ms ({median[who] / median['ours']:.3g}x)" if who in median else ""
            for who in ("loop", "axis")
        ]
        yield "| " + " | ".join([*cells, f"{difference:.0e}"]) + " |"


def cpu_model() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next((line.split(": ")[1] for line in lines if line.startswith("model name")), platform.processor())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small sizes only")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    warnings.simplefilter("ignore")
    print(
        f"{datetime.date.today()}, {cpu_model()}, {torch.get_num_threads()} threads, torch {torch.__version__}, "
        f"medians of {arguments.rounds} rounds; times (relative to ours)"
    )
    print(f"\n    python {' '.join(sys.argv)}\n")
    print("| work | ours | SciPy loop | SciPy axis=0 | largest relative difference of p |")
    print("|---" * 5 + "|")
    sizes = [(200, 512, 2)] if arguments.quick else [(2000, 4096, 2), (200, 512, 2)]
    for size in sizes:
        for row in rows_of_table(size, TESTS, arguments.rounds):
            print(row, flush=True)
    if not arguments.quick:
        for row in rows_of_table((1000, 512, 10), WHOLE, arguments.rounds):
            print(row, flush=True)


if __name__ == "__main__":
    main()
