"""Henze-Penrose divergence of all pairs of classes: this package against other ways to the same numbers.

Run ``python tests/benchmarks/henze_penrose.py`` (minutes) or with ``--quick`` (a smoke test). Prints a markdown table.

- ours: ``friedman_rafsky``, all pairs.
- GEMM + SciPy: one float32 matrix product for all distances, then ``scipy.sparse.csgraph`` for every pair.
- quitefastmst: its ``mst_euclid`` for every pair, in float32 (``pip install quitefastmst``).
- gather + SciPy: ``cdist`` in float64 and ``csgraph`` for every pair, as research code does it.
- floor: one float32 matrix product of all points into distances, and one pass over them. No trees.

All contestants get the same data, one round of each in turn; times are medians over the rounds. Where a peer would take
minutes, it computes a random sample of the pairs, and the time per pair is scaled up: the table says how many. Peak
memory is that of a process of its own, above what it held before the call. R is compared on every pair computed: the
float64 peer must agree, those in float32 can differ where two distances are nearly equal.
"""

from __future__ import annotations

import argparse
import datetime
import itertools
import platform
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from scipy.sparse.csgraph import minimum_spanning_tree
from scipy.spatial.distance import cdist

from lightning_separation.functional import friedman_rafsky

try:
    import quitefastmst
except ImportError:
    quitefastmst = None

Pair = tuple[int, int]
SIZES = [(10, n, d) for n in (100, 300, 1000) for d in (16, 512, 4096)] + [(100, 100, 512)]
QUICK = [(3, 20, 16), (10, 100, 16)]
SECONDS = 5.0  # small work is repeated for this long, at most 15 rounds
BUDGET = 2e7  # distances that a peer computes in trees per round; beyond, it gets a sample of the pairs


def classes(num: int, n: int, dim: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Mildly separated Gaussian classes in random order."""
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(num).repeat_interleave(n)[torch.randperm(num * n, generator=generator)]
    centres = torch.randn(num, dim, generator=generator) * 2 / dim**0.5
    x = torch.randn(num * n, dim, generator=generator)
    return x.add_(centres[y]), y


def cross(edges: np.ndarray, y: np.ndarray) -> int:
    return int((y[edges[:, 0]] != y[edges[:, 1]]).sum())


def csgraph_cross(distances: np.ndarray, y: np.ndarray) -> int:
    return cross(np.stack(minimum_spanning_tree(distances).nonzero(), 1), y)


def rows_of(y: np.ndarray, pair: Pair) -> np.ndarray:
    return np.flatnonzero((y == pair[0]) | (y == pair[1]))


# Every contestant: (x, y, pairs) -> seconds of what is done once, seconds of the pairs, R of the pairs.
Timed = tuple[float, float, list[float]]


def ours(x: torch.Tensor, y: torch.Tensor, pairs: list[Pair]) -> Timed:
    start = time.perf_counter()
    found = friedman_rafsky(x, y).cross_edges
    return time.perf_counter() - start, 0.0, [found[pair].item() for pair in pairs]


def floor(x: torch.Tensor, y: torch.Tensor, pairs: list[Pair]) -> Timed:
    start = time.perf_counter()
    all_distances(x).amin(1)
    return time.perf_counter() - start, 0.0, []


def all_distances(x: torch.Tensor) -> torch.Tensor:
    square = x.square().sum(1)
    return torch.addmm(square, x, x.T, alpha=-2).add_(square[:, None])


def gemm_scipy(x: torch.Tensor, y: torch.Tensor, pairs: list[Pair]) -> Timed:
    start = time.perf_counter()
    distances = all_distances(x).clamp_(min=1e-12).numpy()
    once = time.perf_counter() - start
    labels = y.numpy()
    start, found = time.perf_counter(), []
    for pair in pairs:
        rows = rows_of(labels, pair)
        found.append(csgraph_cross(distances[np.ix_(rows, rows)], labels[rows]))
    return once, time.perf_counter() - start, found


def quitefast(x: torch.Tensor, y: torch.Tensor, pairs: list[Pair]) -> Timed:
    points, labels = x.numpy(), y.numpy()
    start, found = time.perf_counter(), []
    for pair in pairs:
        rows = rows_of(labels, pair)
        found.append(cross(quitefastmst.mst_euclid(points[rows])[1], labels[rows]))
    return 0.0, time.perf_counter() - start, found


def gather_scipy(x: torch.Tensor, y: torch.Tensor, pairs: list[Pair]) -> Timed:
    points, labels = x.numpy(), y.numpy()
    start, found = time.perf_counter(), []
    for pair in pairs:
        rows = rows_of(labels, pair)
        sample = points[rows]
        found.append(csgraph_cross(cdist(sample, sample), labels[rows]))
    return 0.0, time.perf_counter() - start, found


CONTESTANTS: dict[str, Callable[[torch.Tensor, torch.Tensor, list[Pair]], Timed]] = {
    "ours": ours,
    "floor": floor,
    "GEMM + SciPy": gemm_scipy,
    **({"quitefastmst": quitefast} if quitefastmst else {}),
    "gather + SciPy": gather_scipy,
}


def sample_of_pairs(num: int, n: int, dim: int) -> list[Pair]:
    pairs = list(itertools.combinations(range(num), 2))
    wanted = max(1, int(BUDGET / ((2 * n) ** 2 * (1 + dim / 512))))
    return pairs if wanted >= len(pairs) else sorted(random.Random(0).sample(pairs, wanted))


def peak_memory(name: str, size: tuple[int, int, int]) -> float:
    """Megabytes, in a process of its own."""
    command = [sys.executable, __file__, "--memory", name, *map(str, size)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def print_memory(name: str, size: tuple[int, int, int]) -> None:
    CONTESTANTS[name](*classes(3, 20, 8), [(0, 1)])  # libraries that load at first use
    x, y = classes(*size)
    before = peak_resident()
    CONTESTANTS[name](x, y, [(0, 1)])
    print(peak_resident() - before)


def peak_resident() -> float:
    """Megabytes of this process at most so far. Not ``getrusage``: its maximum starts with that of the parent."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM")), float("nan"))


def row_of_table(size: tuple[int, int, int], rounds: int) -> str:
    x, y = classes(*size)
    pairs, all_pairs = sample_of_pairs(*size), size[0] * (size[0] - 1) // 2
    friedman_rafsky(x, y)
    seconds: dict[str, list[float]] = {name: [] for name in CONTESTANTS}
    found = {}
    start, done = time.perf_counter(), 0
    while done < rounds or (done < 15 and time.perf_counter() - start < SECONDS):
        done += 1
        for name, contestant in CONTESTANTS.items():
            once, per_pairs, found[name] = contestant(x, y, pairs)
            seconds[name].append(once + per_pairs * all_pairs / len(pairs))
    median = {name: statistics.median(values) for name, values in seconds.items()}
    memory = {name: peak_memory(name, size) for name in CONTESTANTS}
    cells = [f"K={size[0]}, n={size[1]}, d={size[2]}", f"{len(pairs)} of {all_pairs}", str(done)]
    for name in CONTESTANTS:
        ratio = "" if name == "ours" else f" ({median[name] / median['ours']:.3g}x)"
        cells.append(f"{median[name]:.3g} s{ratio}, {memory[name]:.0f} MB")
    other = {
        name: sum(a != b for a, b in zip(values, found["ours"], strict=True))
        for name, values in found.items()
        if values
    }
    cells.append(", ".join(f"{count} ({name})" for name, count in other.items() if count) or "none")
    return "| " + " | ".join(cells) + " |"


def cpu_model() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next((line.split(": ")[1] for line in lines if line.startswith("model name")), platform.processor())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small sizes only")
    parser.add_argument("--rounds", type=int, default=3, help="at least")
    parser.add_argument("--memory", nargs=4, metavar=("CONTESTANT", "K", "N", "D"), help="print one peak, in MB")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if quitefastmst is not None:
        quitefastmst.omp_set_num_threads(arguments.threads)
    if arguments.memory:
        name, *size = arguments.memory
        print_memory(name, tuple(map(int, size)))
        return
    print(
        f"{datetime.date.today()}, {cpu_model()}, {torch.get_num_threads()} threads, torch {torch.__version__}, ",
        end="",
    )
    print(f"medians of {arguments.rounds} or more rounds; times (relative to ours), peak extra memory")
    if quitefastmst is None:
        print("\nquitefastmst is missing: pip install quitefastmst")
    print(f"\n    python {' '.join(sys.argv)}\n")
    print("| " + " | ".join(["work", "pairs timed", "rounds", *CONTESTANTS, "pairs with another R than ours"]) + " |")
    print("|---" * (len(CONTESTANTS) + 4) + "|")
    for size in QUICK if arguments.quick else SIZES:
        print(row_of_table(size, arguments.rounds), flush=True)


if __name__ == "__main__":
    main()
