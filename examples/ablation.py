"""What does a network lose without a neuron, without a group of them, without a direction?

A unit that tells the classes apart need not be used, and one that is used need not tell them apart. So here units are
taken away from two trained networks, and everything behind them is computed again:

- heart disease: are the units that tell the healthy from the sick worth more than others? The accuracy without nine
  tenths of them against the accuracy without as many others, and with the numbers of the notebook that asked this
  first: nine tenths of each, though these are far more of the one than of the other;
- handwritten digits: which units are needed most, which are selective but unused, or used but unselective; and how
  much more than any unit is one direction worth: many units at once, each a little;
- for both: what becomes of the layer behind?

    python -m pip install -e ".[examples]"
    python examples/ablation.py
    tensorboard --logdir lightning_logs/ablation
"""

from __future__ import annotations

import argparse
import logging
import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from digits import Classifier
from digits import load_data as load_digits
from heart_disease import GROUPS, HeartClassifier
from heart_disease import load_data as load_patients
from pytorch_lightning import LightningModule, Trainer, seed_everything
from pytorch_lightning.loggers import TensorBoardLogger
from torch import nn
from torch.utils.data import DataLoader, Dataset, random_split

from lightning_separation import (
    Ablation,
    DirectionAblation,
    GroupAblation,
    HenzePenrose,
    NextLayerEffect,
    Record,
    SeparationMonitor,
    Significance,
    analyze,
    load_run,
)
from lightning_separation.plots import extremes, selective_or_used
from lightning_separation.plots.causal import MOST_CHANGE, MOST_EFFECT
from lightning_separation.records import ALL_LAYERS, DIRECTION_KINDS

SAMPLES = {"heart_disease": 120, "digits": 60}  # of each class
KINDS = ("random", "principal", "class_means", "search")


class WideHeartClassifier(HeartClassifier):
    """The example's network with 128 and 64 hidden units: where there are few, nearly all tell the classes apart."""

    def __init__(self, num_features: int) -> None:
        super().__init__(num_features)
        self.linear1, self.linear2, self.fc = nn.Linear(num_features, 128), nn.Linear(128, 64), nn.Linear(64, 1)


def train(
    name: str,
    network: LightningModule,
    train: Dataset,
    val: Dataset,
    epochs: int,
    logdir: Path,
    hidden: str,
    output: str,
    **settings: Any,
) -> Record:
    """Train and watch one network.

    Args:
        name: The run goes to ``<logdir>/ablation/<name>``; an earlier one there is deleted.
        network: With an accuracy of its own.
        train: Training samples.
        val: Validation samples.
        epochs: To train for; the network is looked at a few times, the last time at the end.
        logdir: For all runs.
        hidden: Pattern of the layers to take something away from.
        output: The layer behind them.
        settings: More of the monitor's.

    Returns:
        What was found at the end.
    """
    logger = TensorBoardLogger(logdir, name="ablation", version=name, default_hp_metric=False)
    shutil.rmtree(logger.log_dir, ignore_errors=True)  # or TensorBoard would show old and new curves as one
    monitor = SeparationMonitor(
        layers=[hidden, output],
        analyses=[
            HenzePenrose(),
            Significance(),
            Ablation(layers=[hidden]),
            GroupAblation(),
            DirectionAblation(KINDS, layers=[hidden]),
            NextLayerEffect(),
        ],
        every_n_epochs=max(1, epochs // 4),
        samples_per_class=SAMPLES[name],
        **settings,
    )
    trainer = Trainer(
        callbacks=[monitor],
        logger=logger,
        max_epochs=epochs,
        log_every_n_steps=10,
        num_sanity_val_steps=0,
        accelerator="cpu",  # too small a network for anything else
        deterministic=True,
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=False,
    )
    trainer.fit(network, DataLoader(train, batch_size=32, shuffle=True), DataLoader(val, batch_size=256))
    return load_run(logger.log_dir).records[-1]


def format_groups(record: Record) -> list[str]:
    """The accuracy without significant units, and without others."""
    lines = []
    found = record.findings["group_ablation"]
    for layer in found:
        values = found[layer]
        cells = [f"{values['clean_accuracy']:.0%}"]
        for kind, units in (("significant", "significant_units"), ("others", "other_units")):
            without = f"{values[f'accuracy_without_{kind}'].mean():.0%}"
            cells.append(f"{without} ({values[f'removed_{kind}']} of {values[units]})")
        difference, spread = values["difference"].item(), values["difference_std"].item()
        accuracy, draws = values["accuracy_without_others"].mean(), len(values["accuracy_without_others"])
        by_chance = (spread**2 / draws + accuracy * (1 - accuracy) / (record.counts.sum() // 2)) ** 0.5
        answer = "unclear" if abs(difference) <= 2 * by_chance else "yes" if difference > 0 else "less"
        cells.append(f"{answer:>10} ({100 * difference:+.1f} ± {100 * spread:.1f})")
        name = "together" if layer == ALL_LAYERS else layer
        lines.append(f"  {name:10}{cells[0]:>9}{cells[1]:>22}{cells[2]:>20}{cells[3]}")
    return lines or ["  no layer has enough units of both kinds to compare"]


def format_dead(record: Record) -> str:
    """How many of the others are dead."""
    found = record.findings["group_ablation"]
    layers = [layer for layer in found if layer != ALL_LAYERS]
    dead = [f"{found[layer]['dead_others']} of {found[layer]['other_units']} in {layer}" for layer in layers]
    return ", ".join(dead) or "no layer is compared"


def format_units(record: Record) -> list[str]:
    """For each layer the most needed units, and those whose response and need do not go together."""
    found, tested = record.findings["ablation"], record.findings["significance"]
    lines = []
    for layer in found:
        loss, accuracy, effect = found[layer]["loss"], found[layer]["accuracy"], tested[layer]["effect_size"]
        groups = selective_or_used(effect, loss, tested[layer]["significant"], ~tested[layer]["dead"])
        most = [f"unit {unit} ({loss[unit]:+.3f}, {100 * accuracy[unit]:+.1f})" for unit in np.argsort(-loss)[:3]]
        lines.append(f"  {layer:8}most needed           {', '.join(most)}")
        for words, group in (("selective but unused", groups.unused), ("used but unselective", groups.unselective)):
            units = extremes(group, effect, loss)
            named = [f"unit {unit} (effect {effect[unit]:.2f}, loss {loss[unit]:+.3f})" for unit in units[:2]]
            more = f" and {len(units) - 2} more" if len(units) > 2 else ""
            lines.append(f"          {words}  {', '.join(named) or 'none'}{more}")
    return lines


def format_directions(record: Record) -> list[str]:
    """How far the predictions move without the best unit and the best direction of each kind."""
    removed, directions = record.findings["ablation"], record.findings["direction_ablation"]
    lines, times = [], {}
    for layer in directions:
        values = directions[layer]
        kinds = [values["kind"] == DIRECTION_KINDS.index(kind) for kind in KINDS]
        unit, *best = np.nanmax(removed[layer]["kl"]), *(values["kl"][kind].max() for kind in kinds)
        cells = "".join(f"{kl:13.3f}" for kl in [unit, *best])
        clean, without = values["clean_accuracy"], values["clean_accuracy"] + values["accuracy"][kinds[-1]][0]
        lines.append(f"  {layer:8}{cells}   {clean:.0%} -> {without:.0%}")
        times[layer] = best[-1] / unit, best[-1] / best[0]
    layer = max(times, key=lambda layer: times[layer])
    units, random = times[layer]
    lines.append(f"\n  The direction found in {layer} moves them {units:.0f} times as far as the best unit,")
    return [*lines, f"  and {random:.0f} times as far as the best of 128 random directions."]


def format_next_layer(*records: Record) -> list[str]:
    """What becomes of the layer behind each layer."""
    lines, changes, moves = [], [0.0], [0.0]
    for record in records:
        found = record.findings["next_layer_effect"]
        for layer in found:
            values = {quantity: array.flat[0] for quantity, array in found[layer].items()}
            way = f"{layer} -> {record.layers[values['follower']]}"
            cells = [f"{values['removed_units']:9}{values['separation']:13.3f}"]
            for kind in ("significant", "others"):
                cells.append(f"{values[f'separation_without_{kind}']:15.3f} ({values[f'shift_without_{kind}']:.2f})")
            lines.append(f"  {way:18}{''.join(cells)}")
            changes.append(values["separation_without_significant"] - values["separation"])
            moves.append(values["shift_without_significant"])
    lines.append(
        f"\n  Without significant units the separation behind changes by {min(changes):.3f} to {max(changes):+.3f},"
    )
    return [*lines, f"  while the units behind move by up to {max(moves):.2f}."]


def main(arguments: list[str] | None = None) -> None:
    """Train both networks, print what they lose, and how to look at the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--logdir", type=Path, default=Path("lightning_logs"))
    options = parser.parse_args(arguments)

    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)  # no tips, no list of accelerators
    warnings.filterwarnings("ignore", ".*does not have many workers")  # the data are in memory
    warnings.filterwarnings("ignore", ".*LeafSpec.* is deprecated")  # Lightning's own
    torch.set_num_threads(1)  # so small a network gains nothing from more, and any machine gets the same numbers

    seed_everything(0, verbose=False)
    patients, names = load_patients()
    known, new = random_split(patients, [0.7, 0.3])
    network = WideHeartClassifier(len(names))
    where = options.epochs, options.logdir
    heart = train("heart_disease", network, known, new, *where, "relu?", "fc", class_names=GROUPS)
    each = [GroupAblation(counts="each", layers=["relu?"])]
    unequal = analyze(network, DataLoader(new, batch_size=256), each, samples_per_class=SAMPLES["heart_disease"])

    seed_everything(0, verbose=False)
    images = load_digits(random_labels=False)
    digits = train("digits", Classifier(), images["train"], images["validation"], *where, "layer?", "logits")

    print("HEART DISEASE: the accuracy without units that tell the healthy from the sick, and without others\n")
    print(f"  {'':10}all units   without significant      without others   significant needed more?")
    print("  as many of each, 90% of the rarer", *format_groups(heart), sep="\n")
    print("  90% of each, far more of the one", *format_groups(unequal), sep="\n")
    half = int(heart.counts.sum()) // 2
    print(f"\n  Units are told apart on {half} patients, the accuracy is that on {half} others.")
    print("  Means of 10 draws; in brackets by how many points, and the standard deviation over the draws.")
    print("  Unclear: within two standard errors of the draws and of so few patients.")
    print("  Others that are dead, with the same value for every sample they were tested on:")
    print(f"  {format_dead(heart)}; of the digits {format_dead(digits)}.\n")
    print("DIGITS: without single units, in brackets the change of the loss and of the accuracy (points)\n")
    print(*format_units(digits), sep="\n")
    print("\n  Selective, used: in the upper third of the layer's living units; un-: in the lower, unused with at most")
    shares = f"{MOST_CHANGE:.0%} of its largest change of the loss, unselective with at most {MOST_EFFECT:.0%}"
    print(f"  {shares} of its largest effect.\n")
    print("DIGITS: how far the predictions move (KL divergence, nats) without the best ...\n")
    kinds = ("unit", "random", "principal", "class means", "searched")
    print("  layer   " + "".join(f"{kind:>13}" for kind in kinds) + "   accuracy without the searched")
    print(*format_directions(digits), sep="\n")
    print("\nTHE LAYER BEHIND: how far its classes are apart (in brackets how far its units' distributions move)\n")
    print(f"  {'':18}  removed    all units  no significant         no others")
    print(*format_next_layer(heart, digits), sep="\n")
    print(f"\nCurves, figures and tables:\n\n    tensorboard --logdir {options.logdir / 'ablation'}")


if __name__ == "__main__":
    main()
