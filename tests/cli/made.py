"""Records made by hand, so that every number that is shown is known."""

import json
import math
import os
import subprocess
import sys

import numpy as np
from scipy import stats

from lightning_separation import Record, Run
from lightning_separation.records import ALL_LAYERS, Findings

LAYERS = ["input", "fc1", "fc2"]
PAIRS = ("pair",)


def matrix(num=4, low=0.5, high=0.9, seed=0):
    """Symmetric with zeros on the diagonal."""
    upper = np.triu(np.random.default_rng(seed).uniform(low, high, (num, num)), 1)
    return upper + upper.T


def separated(layers, bayes=(0.1, 0.2)):
    """Findings of HenzePenrose: by layer a matrix."""
    axes = {"divergence": PAIRS, "bayes_lower": PAIRS, "bayes_upper": PAIRS, "bayes_error_lower": (), "bayes_error": ()}
    found = {
        layer: {
            "divergence": values,
            "bayes_lower": np.full_like(values, bayes[0]),
            "bayes_upper": np.full_like(values, bayes[1]),
            "bayes_error_lower": bayes[0],
            "bayes_error": bayes[1],
        }
        for layer, values in layers.items()
    }
    return Findings(axes, found)


def record(epoch, layers, *, classes=None, count=30, stage="fit", split="val", notes=(), **findings):
    """Of one epoch; "before" is before training. ``layers``: by name a matrix, or just names."""
    before = epoch == "before"
    if isinstance(layers, dict):
        findings["henze_penrose"] = separated(layers)
        num = len(next(iter(layers.values())))
        classes = classes or [f"class {k}" for k in range(num)]
    classes = classes or []
    return Record(
        epoch=0 if before else epoch,
        step=0 if before else 10 * (epoch + 1),
        stage="validate" if before else stage,
        split=split,
        layers=list(layers),
        class_names=classes,
        counts=np.full(len(classes), count),
        findings=findings,
        notes=list(notes),
    )


def moments(shift=0.0, seed=0, epochs=("before", 0, 1), num=4, layers=LAYERS, **settings):
    """Records whose input is the same at every epoch and whose other layers rise.

    ``shift`` is on all but the input, the mean over pairs of what is not quite the same on each.
    """
    off, uneven = 1 - np.eye(num), 0.1 * matrix(num, seed=98)
    shifted = shift * (off + uneven - mean(uneven) * off)
    return [
        record(
            epoch,
            {
                layer: matrix(num, seed=99)
                if layer == "input"
                else matrix(num, seed=seed + 10 * depth + when) * (0.6 + 0.4 * when / len(epochs)) + shifted
                for depth, layer in enumerate(layers)
            },
            **settings,
        )
        for when, epoch in enumerate(epochs)
    ]


def ablated(layers, **more):
    """Findings of Ablation: by layer (losses, exact, is_output)."""
    axes = {"loss": ("unit",), "accuracy": ("unit",), "kl": ("unit",), "exact": ("unit",), "is_output": ()}
    axes |= dict.fromkeys(more, ())
    return Findings(
        axes,
        {
            layer: {
                "loss": np.array(loss),
                "accuracy": -np.array(loss) / 10,
                "kl": np.array(loss),
                "exact": np.array(exact),
                "is_output": float(is_output),
                **more,
            }
            for layer, (loss, exact, is_output) in layers.items()
        },
    )


def suspected(layers, classes, neighbours):
    """Findings of LabelSuspects of samples 100, 101, ...; by layer their shares of edges to other classes."""
    axes = dict.fromkeys(("cross_share", "neighbour_class", "sample_index", "sample_class"), ("sample",))
    found = {layer: {"cross_share": share, "neighbour_class": neighbours} for layer, share in layers.items()}
    found[ALL_LAYERS] = {"sample_index": 100 + np.arange(len(classes)), "sample_class": classes}
    return Findings(axes, found)


def members(p_values):
    """Findings of MembershipTest: by layer a p."""
    values = {layer: {"gap": 0.5 - p, "p_value": p, "q_value": min(1.0, 2 * p)} for layer, p in p_values.items()}
    return Findings(dict.fromkeys(("gap", "p_value", "q_value"), ()), values)


def confused(counts):
    """Findings of Confusion."""
    return Findings({"confusion": ("class", "class")}, {ALL_LAYERS: {"confusion": counts}})


def saved(records, folder, **info):
    """A run's folder."""
    train = [one for one in records if one.split == "train"]
    others = [one for one in records if one.split != "train"]
    return Run(others, info, train=Run(train) if train else None).save(folder)


def mean(values):
    """Over the pairs."""
    return values[np.triu_indices(len(values), 1)].mean()


def jackknife(values):
    """Effect, interval and p of a mean over pairs, class by class."""
    num = len(values)
    without = [mean(np.delete(np.delete(values, k, 0), k, 1)) for k in range(num)]
    error = math.sqrt((num - 1) / num * sum((one - np.mean(without)) ** 2 for one in without))
    margin = stats.t.ppf(0.975, num - 1) * error
    effect = mean(values)
    p_value = 2 * stats.t.sf(abs(effect) / error, num - 1) if error else float(effect == 0)
    return effect, effect - margin, effect + margin, p_value


def strict(text):
    """JSON without NaN."""

    def refuse(name):
        raise AssertionError(name)

    return json.loads(text, parse_constant=refuse)


def cells(text, heading, label):
    """Of a table below a heading the row that begins with a label, by column; columns stand two blanks apart."""
    lines = text.split(f"\n{heading}\n")[1].splitlines()
    row = next(line for line in lines[1:] if line.strip().startswith(label))
    return [cell for cell in row.strip().split("  ") if cell]


def process(*command, **env):
    """A command in a process of its own: the folder's parent need not be on the path, the package is installed."""
    return subprocess.run(
        [sys.executable, *map(str, command)],
        capture_output=True,
        encoding="utf-8",
        env={**os.environ, "OMP_NUM_THREADS": "1", **env},
        timeout=120,
    )
