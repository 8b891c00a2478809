"""Distributions that are built from a copy of the source, and environments that know nothing of the source."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[2]
LEFT_BEHIND = (".*", "__pycache__", "build", "dist", "*.egg-info", "lightning_logs")


def copy_source(to: Path) -> Path:
    """The source without what a developer's tools leave in it: setuptools would take it for the package's."""
    return Path(shutil.copytree(ROOT, to, ignore=shutil.ignore_patterns(*LEFT_BEHIND)))


def build(source: Path, to: Path) -> dict[str, Path]:
    """Wheel and sdist, the wheel made of the sdist."""
    subprocess.run([sys.executable, "-m", "build", "--outdir", to, source], check=True, stdout=subprocess.DEVNULL)
    (wheel,), (sdist,) = to.glob("*.whl"), to.glob("*.tar.gz")
    return {"wheel": wheel, "sdist": sdist}


class Environment:
    """A new virtual environment.

    Args:
        folder: Where it is made.
        requirements: What is installed, at once.
        constraints: The file of versions.
    """

    def __init__(self, folder: Path, *requirements: str, constraints: Path) -> None:
        self.folder = folder
        venv.create(folder, with_pip=True)
        # Built packages are kept nowhere: a wheel of the same name and version may be an older one.
        self.run("pip", "install", "-q", "--no-cache-dir", "-c", str(constraints), *requirements, cwd=folder)

    def run(self, command: str, *arguments: str, cwd: Path) -> str:
        """What a command of the environment prints."""
        variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        done = subprocess.run(
            [self.folder / "bin" / command, *arguments],
            cwd=cwd,
            env=variables | {"OMP_NUM_THREADS": "1", "COLUMNS": "120", "MPLCONFIGDIR": str(self.folder)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert done.returncode == 0, done.stdout
        return done.stdout


def digits(environment: Environment, folder: Path) -> None:
    """Run the digits example away from the source and hold its table against the README's."""
    shutil.copy(ROOT / "examples" / "digits.py", folder)
    printed, promised = (
        table(environment.run("python", "digits.py", cwd=folder)),
        table((ROOT / "README.md").read_text()),
    )
    assert list(printed) == list(promised) == ["input", "layer1", "layer2", "layer3", "logits"]
    for layer, values in promised.items():  # memorising ends a little differently where a processor rounds differently
        np.testing.assert_allclose(printed[layer], values, atol=0.02, err_msg=layer)


def table(text: str) -> dict[str, list[float]]:
    """The digits example's table in a text: layer -> its six values."""
    rows = re.findall(r"^(input|layer\d|logits) +((?: *-?\d\.\d{3}){6})$", text, re.MULTILINE)
    return {layer: [float(value) for value in values.split()] for layer, values in rows}
