"""Records of which every number is known, and what is worked out from them by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from scipy import stats

from lightning_separation import Record, Run
from lightning_separation.records import Findings

LAYERS = ("input", "fc1", "fc2")


def matrix(num: int = 4, seed: int = 0, low: float = 0.3, high: float = 0.9) -> np.ndarray:
    """Symmetric, zeros on the diagonal."""
    upper = np.triu(np.random.default_rng(seed).uniform(low, high, (num, num)), 1)
    return upper + upper.T


def record(
    epoch: int, matrices: Mapping[str, np.ndarray] = {}, classes: Sequence[str] | str = "abcd", **settings
) -> Record:
    """A fit's, unless the settings say something else; more findings are keywords."""
    head = {"step": 10 * epoch + 9, "stage": "fit", "split": "val", "counts": np.full(len(classes), 30)}
    given = {name: settings.pop(name, value) for name, value in head.items()}
    axes = {"divergence": ("pair",), "separation": (), "bayes_error_lower": (), "bayes_error": ()}
    found = {
        layer: {"divergence": m, "separation": mean(m), "bayes_error_lower": 0.1, "bayes_error": 0.2}
        for layer, m in matrices.items()
    }
    layers = settings.pop("layers", list(matrices))
    findings = {**({"henze_penrose": Findings(axes, found)} if matrices else {}), **settings}
    return Record(epoch, layers=list(layers), class_names=list(classes), findings=findings, **given)


def run(
    name: str = "one",
    seed: int = 0,
    epochs: Sequence[int] = (0, 1, 2),
    layers: Sequence[str] = LAYERS,
    classes: Sequence[str] | str = "abcd",
    **settings,
) -> Run:
    """Its input is the same at every epoch and in every run of as many classes; its other layers differ."""
    records = []
    for epoch in epochs:
        seeds = {layer: 7 if layer == "input" else 1000 * seed + 50 * epoch + i for i, layer in enumerate(layers)}
        matrices = {layer: matrix(len(classes), seeds[layer]) for layer in layers}
        records.append(record(epoch, matrices, classes, **settings))
    return Run(records, name=name)


def divergence(of: Run, epoch: int, layer: str) -> np.ndarray:
    (found,) = (r.findings["henze_penrose"][layer]["divergence"] for r in of.records if r.epoch == epoch)
    return found


def pairs(m: np.ndarray, without: int | None = None) -> list[float]:
    num = len(m)
    return [m[a, b] for a in range(num) for b in range(a + 1, num) if without not in (a, b)]


def mean(m: np.ndarray) -> float:
    values = [value for value in pairs(m) if np.isfinite(value)]
    return float(np.mean(values)) if values else np.nan


def jackknife(x: np.ndarray, y: np.ndarray) -> list[float]:
    """Effect, ends of the interval and p, by leaving out one class after the other."""
    num = len(x)
    left = np.array([np.mean(pairs(x - y, without=c)) for c in range(num)])
    effect, error = np.mean(pairs(x - y)), np.sqrt((num - 1) / num * np.sum((left - left.mean()) ** 2))
    if error < 1e-12:
        return [effect, effect, effect, float(abs(effect) < 1e-12)]
    t = stats.t(num - 1)
    return [effect, effect - t.ppf(0.975) * error, effect + t.ppf(0.975) * error, 2 * t.sf(abs(effect) / error)]
