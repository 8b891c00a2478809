"""Wheel and sdist: what is in them, what they say of themselves, and that they work where the source is not."""

from __future__ import annotations

import email
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

import lightning_separation

from .installation import ROOT, Environment, build, copy_source, digits

pytestmark = pytest.mark.release

WITHOUT_PANDAS = """
from lightning_separation import load_run
try:
    load_run("lightning_logs/digits/untrained/separation").to_pandas()
except ImportError as error:
    print(error)
"""


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return copy_source(tmp_path_factory.mktemp("copy") / "source")


@pytest.fixture(scope="module")
def held(source):
    """The source's files before anything is built of them."""
    return {str(path.relative_to(source)) for path in source.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def distributions(source, held, tmp_path_factory):
    return build(source, tmp_path_factory.mktemp("dist"))


@pytest.fixture(scope="module")
def metadata(distributions):
    with zipfile.ZipFile(distributions["wheel"]) as wheel:
        (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
        return email.message_from_bytes(wheel.read(name))


def test_twine_finds_nothing(distributions):
    subprocess.run([sys.executable, "-m", "twine", "check", "--strict", *distributions.values()], check=True)


def test_the_wheel_is_the_package_and_nothing_else(distributions, held):
    with zipfile.ZipFile(distributions["wheel"]) as wheel:
        names = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert names == {name for name in held if name.startswith("lightning_separation/")}
    assert {"lightning_separation/py.typed", "lightning_separation/cli/page.html.j2"} <= names


def test_the_sdist_is_the_whole_source(distributions, held):
    with tarfile.open(distributions["sdist"]) as sdist:
        names = {member.name.partition("/")[2] for member in sdist.getmembers() if member.isfile()}
    made = {"PKG-INFO", "setup.cfg"}
    assert {name for name in names - made if ".egg-info/" not in name} == held


def test_one_version(metadata, distributions):
    version = metadata["Version"]
    assert version == lightning_separation.__version__
    assert all(f"-{version}" in path.name for path in distributions.values())
    assert re.search(rf"^## \[{re.escape(version)}\] - \d{{4}}-\d\d-\d\d$", (ROOT / "CHANGELOG.md").read_text(), re.M)


def test_metadata(metadata):
    from trove_classifiers import classifiers

    assert metadata["Name"] == "lightning-separation"
    assert metadata["License-Expression"] == "MIT"
    assert metadata["Requires-Python"] == ">=3.10"
    assert metadata["Summary"]
    assert metadata["Description-Content-Type"] == "text/markdown"
    named = metadata.get_all("Classifier")
    assert len(set(named)) == len(named)
    assert set(named) <= classifiers
    extras = {"cli", "comet", "dev", "examples", "mlflow", "notebook", "pandas", "test", "wandb"}
    assert set(metadata.get_all("Provides-Extra")) == extras


@pytest.mark.parametrize("kind", ["wheel", "sdist"])
def test_the_main_job_in_an_empty_environment(kind, distributions, tmp_path):
    constraints = ROOT / "tests" / "constraints.txt"
    requirements = [str(distributions[kind]), "scikit-learn"]
    environment = Environment(tmp_path / "environment", *requirements, constraints=constraints)
    folder = tmp_path / "work"
    folder.mkdir()
    digits(environment, folder)
    assert "No broken requirements" in environment.run("pip", "check", cwd=folder)
    where = environment.run("python", "-c", "import lightning_separation as p; print(p.__file__)", cwd=folder)
    assert Path(where.strip()).is_relative_to(environment.folder)

    def run(*arguments: str) -> str:
        return environment.run("lightning-separation", *arguments, cwd=folder)

    assert lightning_separation.__version__ in run("--version")
    assert {"show", "compare"} <= set(run("--help").split())
    runs = [f"lightning_logs/digits/{name}/separation" for name in ("untrained", "true_labels")]
    assert "layer3" in run("show", runs[1])
    assert "layer3" in run("compare", *runs)
    run("show", runs[1], "--output", "report")
    assert list((folder / "report").glob("*.html"))
    assert '"lightning-separation[pandas]"' in environment.run("python", "-c", WITHOUT_PANDAS, cwd=folder)


@pytest.mark.parametrize("extra", ["cli", "comet", "examples", "mlflow", "notebook", "pandas", "wandb"])
def test_an_extra_can_be_had(extra, distributions, tmp_path):
    requirement = f"{distributions['wheel']}[{extra}]"
    constraints = str(ROOT / "tests" / "constraints.txt")
    command = [sys.executable, "-m", "pip", "install", "-q", "--dry-run", "-c", constraints, requirement]
    subprocess.run(command, check=True, cwd=tmp_path)
