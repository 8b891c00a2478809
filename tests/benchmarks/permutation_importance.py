"""Permutation importance: this package against scikit-learn's ``permutation_importance``, in turn, in one run.

    python tests/benchmarks/permutation_importance.py [--rounds 5] [--only iris,digits,mlp] [--quick]

Both permute every column of the same float32 samples equally often for the same torch network, and take the same loss:
cross-entropy, or, where the network is to reproduce its input, the relative error in percent. scikit-learn
(``n_jobs=1``) gets the network as an estimator with a scorer that calls torch on its array in place and does nothing
else; beside it with its own ``neg_log_loss`` and the network's ``predict_proba``. This package yields accuracies and
the change of each output as well. Times are medians; permutations are not the same, so the importances are compared by
the largest difference of their means, in standard errors of it. A round of the largest takes minutes.

On dense noise only the first layer is cheaper here: of MLP 784-512-512-10 two fifths of the arithmetic are left, all in
the second layer, so as long as that is run whole, a scorer that is nothing but the network is beaten by 2.5 times at
most.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.datasets import load_digits, load_iris
from sklearn.inspection import permutation_importance as scikit_learns
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from lightning_separation.interventions import permutation_importance


def mlp(*widths: int) -> nn.Sequential:
    """Linear layers with ReLUs between them."""
    parts = [part for a, b in pairwise(widths) for part in (nn.Linear(a, b), nn.ReLU())]
    return nn.Sequential(*parts[:-1])


class Estimator(ClassifierMixin, BaseEstimator):
    """A network as scikit-learn calls it."""

    def __init__(self, network: nn.Module, classes: np.ndarray) -> None:
        self.network, self.classes_ = network, classes

    def fit(self, x: np.ndarray, y: np.ndarray) -> Estimator:
        """It is fitted already."""
        return self

    def outputs(self, x: np.ndarray) -> Tensor:
        """Of float32 ``[N, D]``, which is not copied."""
        with torch.inference_mode():
            return self.network(torch.from_numpy(x))

    def predict_proba(self, x: np.ndarray) -> np.ndarray:
        """``[N, K]``."""
        return self.outputs(x).softmax(1).numpy()


def less_cross_entropy(estimator: Estimator, x: np.ndarray, y: Tensor) -> float:
    """Score of a classifier."""
    return -float(cross_entropy(estimator.outputs(x), y))


def less_relative_error(estimator: Estimator, x: np.ndarray, y: None) -> float:
    """Score of an autoencoder, in percent."""
    given = torch.from_numpy(x)
    return -100 * float(((estimator.outputs(x) - given).norm(dim=1) / given.norm(dim=1)).mean())


@dataclass
class Work:
    """A network, samples ``[N, D]`` and their classes, None for an autoencoder."""

    network: nn.Module
    inputs: Tensor
    target: Tensor | None
    repeats: int

    def ours(self) -> np.ndarray:
        """``[D, repeats]``."""
        return permutation_importance(self.network, self.inputs, self.target, repeats=self.repeats).numpy()

    def theirs(self, scoring: Any) -> np.ndarray:
        """``[D, repeats]``."""
        classes = np.arange(0 if self.target is None else int(self.target.max()) + 1)
        found = scikit_learns(
            Estimator(self.network, classes),
            self.inputs.numpy(),
            self.target,
            scoring=scoring,
            n_repeats=self.repeats,
            n_jobs=1,
            random_state=0,
        )
        return found.importances

    @property
    def contestants(self) -> dict[str, Callable[[], np.ndarray]]:
        """Ours, and scikit-learn with scorers."""
        score = less_relative_error if self.target is None else less_cross_entropy
        made = {"ours": self.ours, "scorer": lambda: self.theirs(score)}
        return made if self.target is None else made | {"log loss": lambda: self.theirs("neg_log_loss")}


def trained(network: nn.Module, inputs: Tensor, target: Tensor | None, steps: int = 200) -> nn.Module:
    """The network after a few steps on all samples, in eval mode."""
    optimizer = torch.optim.Adam(network.parameters(), 1e-2)
    for _ in range(steps):
        optimizer.zero_grad()
        output = network(inputs)
        loss = (output - inputs).square().mean() if target is None else cross_entropy(output, target)
        loss.backward()
        optimizer.step()
    return network.eval()


def works(only: str) -> dict[str, Work]:
    """What is compared."""
    torch.manual_seed(0)
    found: dict[str, Work] = {}
    if "iris" in only:
        data = load_iris()
        chosen = torch.randperm(150)[:45]
        x = torch.from_numpy(data.data).float()
        x = ((x - x.mean(0)) / x.std(0))[chosen]
        y = torch.from_numpy(data.target)[chosen]
        autoencoder = nn.Sequential(
            nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3), nn.Tanh(),
            nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 4),
        )  # fmt: skip
        found["iris, autoencoder"] = Work(trained(autoencoder, x, None), x, None, 50)
        found["iris, MLP 4-8-3"] = Work(trained(mlp(4, 8, 3), x, y), x, y, 50)
    if "digits" in only:
        data = load_digits()
        x, y = torch.from_numpy(data.data[:450]).float() / 16, torch.from_numpy(data.target[:450])
        found["digits, MLP 64-128-64-10"] = Work(trained(mlp(64, 128, 64, 10), x, y, 50), x, y, 30)
    if "mlp" in only:
        x, y = torch.randn(1000, 784), torch.randint(10, (1000,))
        found["noise, MLP 784-512-512-10"] = Work(trained(mlp(784, 512, 512, 10), x, y, 5), x, y, 5)
    return found


def difference(ours: np.ndarray, theirs: np.ndarray) -> float:
    """The largest one of the means over repeats, in standard errors."""
    error = np.sqrt((ours.var(1, ddof=1) + theirs.var(1, ddof=1)) / ours.shape[1])
    return float((np.abs(ours.mean(1) - theirs.mean(1)) / np.maximum(error, 1e-6)).max())


def compare(name: str, work: Work, rounds: int) -> None:
    """One row of the table."""
    contestants = work.contestants
    seconds: dict[str, list[float]] = {contestant: [] for contestant in contestants}
    found: dict[str, np.ndarray] = {}
    for _ in range(rounds):
        for contestant, run in contestants.items():
            started = time.perf_counter()
            found[contestant] = run()
            seconds[contestant].append(time.perf_counter() - started)
    median = {contestant: statistics.median(values) for contestant, values in seconds.items()}
    cells = [name, f"{len(work.inputs)} x {work.inputs.shape[1]}, {work.repeats} repeats", f"{median['ours']:.3g} s"]
    for other in ("scorer", "log loss"):
        cells.append(f"{median[other]:.3g} s ({median[other] / median['ours']:.1f}x)" if other in median else "")
    cells.append(f"{difference(found['ours'], found['scorer']):.1f}")
    print("| " + " | ".join(cells) + " |", flush=True)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default="iris,digits,mlp")
    parser.add_argument("--quick", action="store_true", help="one round of the small ones: a smoke test")
    options = parser.parse_args()
    rounds, only = (1, "iris") if options.quick else (options.rounds, options.only)
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, medians of {rounds} rounds in turn\n")
    print("| network | work | ours | scikit-learn | with its log loss | difference in standard errors |")
    print("|---" * 6 + "|")
    for name, work in works(only).items():
        compare(name, work, rounds)


if __name__ == "__main__":
    main()
