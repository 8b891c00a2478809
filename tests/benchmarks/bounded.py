"""What one analysed validation takes, in memory and time, where there is much to analyse.

    python tests/benchmarks/bounded.py [--case ...] [--max-memory 2GB 500MB 100MB] [--analysis HenzePenrose ...]

Each case runs in a process of its own, forked from one in which everything was used once. Its peak is the most that the
process held (Linux: ``VmHWM``) from the start of the validation to its end, when the record is on the disk, above what
it held before. Batches are small: what the network itself takes for one counts, too.
"""

from __future__ import annotations

import argparse
import json
import logging
import multiprocessing
import tempfile
import time
import warnings
from collections.abc import Callable
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import lightning_separation
from lightning_separation import SeparationMonitor, load_run

MB = 1_000_000
_SAID = "SeparationMonitor 'separation': "


class Model(LightningModule):
    """Any network; it is not trained."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def validation_step(self, batch: list[Tensor], _: int) -> None:
        """Run it."""
        self.net(batch[0])


class Meter(Callback):
    """Peak of the process and seconds, from the start of the validation to its end. List it before the monitor."""

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin."""
        Path("/proc/self/clear_refs").write_text("5")
        self.before, self.began = status("VmRSS"), time.perf_counter()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """End."""
        self.peak, self.seconds = status("VmHWM") - self.before, time.perf_counter() - self.began


def status(entry: str) -> int:
    """Bytes by an entry of ``/proc/self/status``."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(f"{entry}:")).split()[1]) * 1024


def samples(classes: int, each: int, *shape: int) -> TensorDataset:
    """Gaussian classes that overlap, interleaved."""
    generator = torch.Generator().manual_seed(0)
    target = torch.arange(classes).repeat(each)
    centres = torch.randn(classes, *shape, generator=generator)
    return TensorDataset(0.3 * centres[target] + torch.randn(len(target), *shape, generator=generator), target)


def mlp(*widths: int) -> nn.Sequential:
    """Linear layers with ReLU between them."""
    linear = [nn.Linear(a, b) for a, b in pairwise(widths)]
    return nn.Sequential(*(part for layer in linear[:-1] for part in (layer, nn.ReLU())), linear[-1])


CASES: dict[str, Callable[[], tuple[nn.Module, TensorDataset]]] = {
    "small": lambda: (mlp(8, 8, 3), samples(3, 10, 8)),
    "1000 classes x 20, d = 64": lambda: (mlp(64, 64, 1000), samples(1000, 20, 64)),
    "1000 classes x 20, d = 512": lambda: (mlp(512, 512, 1000), samples(1000, 20, 512)),
    "d = 100,000, linear": lambda: (mlp(32, 100_000, 10), samples(10, 20, 32)),
    "d = 100,000, convolution": lambda: (
        nn.Sequential(nn.Conv2d(3, 64, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(64 * 40 * 40, 10)),
        samples(10, 20, 3, 40, 40),
    ),
    "200 layers, d = 256": lambda: (mlp(256, *[256] * 199, 10), samples(10, 100, 256)),
}


def validate(case: str, max_memory: str, analyses: list[Any] | None) -> dict[str, Any]:
    """What an analysed validation of a case takes and says; in this process."""
    torch.manual_seed(0)
    net, data = CASES[case]()
    meter, monitor = Meter(), SeparationMonitor(analyses, max_memory=max_memory)
    quiet: dict[str, Any] = {"enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        trainer = Trainer(default_root_dir=folder, callbacks=[meter, monitor], **quiet)
        trainer.validate(Model(net), DataLoader(data, batch_size=20), verbose=False)
        assert trainer.log_dir is not None
        try:
            records = load_run(trainer.log_dir).records
        except FileNotFoundError:  # nothing could be analysed
            records = []
    said = [str(warning.message) for warning in caught]
    notes = [message.removeprefix(_SAID) for message in said if message.startswith(_SAID)]
    found = {name: len(findings) for record in records for name, findings in record.findings.items()}
    return {"peak": meter.peak, "seconds": meter.seconds, "found": found, "notes": notes}


def in_another_process(case: str, max_memory: str, analyses: list[Any] | None = None) -> dict[str, Any]:
    """The same, in a fork of this process."""
    ours, theirs = multiprocessing.Pipe()

    def run() -> None:
        validate("small", "2GB", None)  # so that libraries are in the memory of this process, too
        theirs.send(validate(case, max_memory, analyses))

    process = multiprocessing.get_context("fork").Process(target=run)
    process.start()
    theirs.close()
    try:
        return ours.recv()
    except EOFError:
        raise RuntimeError(f"{case}, {max_memory}: the process ended with {process.exitcode}") from None
    finally:
        process.join()


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--case", nargs="*", default=[case for case in CASES if case != "small"], choices=CASES)
    parser.add_argument("--max-memory", nargs="*", default=["2GB", "500MB", "100MB"])
    parser.add_argument("--analysis", nargs="*", default=[""], help="by name, each alone; else the default ones")
    parser.add_argument("--json", action="store_true", help="one line for each row instead of a table")
    chosen = parser.parse_args()
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)  # more do not survive a fork
    validate("small", "2GB", None)
    if not chosen.json:
        print(
            "| case | analyses | max_memory | peak, MB | seconds | layers found | notes |", "|" + "---|" * 7, sep="\n"
        )
    for case, analysis, max_memory in product(chosen.case, chosen.analysis, chosen.max_memory):
        analyses = [getattr(lightning_separation, analysis)()] if analysis else None
        row = in_another_process(case, max_memory, analyses)
        if chosen.json:
            print(json.dumps({"case": case, "max_memory": max_memory, **row}), flush=True)
            continue
        found = ", ".join(f"{name} {num}" for name, num in row["found"].items())
        numbers = f"{row['peak'] / MB:.0f} | {row['seconds']:.1f}"
        told = "; ".join(row["notes"])
        print(f"| {case} | {analysis or 'default'} | {max_memory} | {numbers} | {found} | {told} |", flush=True)


if __name__ == "__main__":
    main()
