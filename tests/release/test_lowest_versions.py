"""The lowest versions that pyproject.toml admits do the same."""

from __future__ import annotations

import shutil

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from .installation import ROOT, Environment, build, copy_source, digits

LOWEST = ROOT / "tests" / "lowest.txt"
TOOLS = (
    "captum",
    "hypothesis",
    "lightning",
    "pandas",
    "psutil",
    "pytest",
    "pytest-xdist",
    "scikit-learn",
    "statsmodels",
)
ROOMS = {
    "numbers": ["functional", "metrics", "comparison"],
    "capture": ["capture", "records", "runs"],
    "analyses": ["analyses"],
    "interventions": ["interventions"],
    "trainer": ["monitor"],
    "shown": ["cli", "loggers", "plots"],
}


def requirements(lines):
    return {requirement.name: requirement for requirement in map(Requirement, lines)}


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lowest")
    wheel = build(copy_source(folder / "source"), folder / "dist")["wheel"]
    return Environment(folder / "environment", str(wheel), *TOOLS, constraints=LOWEST)


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """The tests away from the package's source."""
    folder = tmp_path_factory.mktemp("copy")
    for name in ("tests", "examples"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "lightning_logs"))
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, folder)
    return folder


def test_the_file_names_the_bounds():
    tomllib = pytest.importorskip("tomllib", reason="is in Python since 3.11")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = [line for name in ("examples", "pandas", "test") for line in project["optional-dependencies"][name]]
    lowest = requirements(line for line in LOWEST.read_text().splitlines() if not line.startswith("#"))
    needed, optional = requirements(project["dependencies"]), requirements(extras)
    assert needed.keys() <= lowest.keys() <= needed.keys() | optional.keys()
    for name, pinned in lowest.items():
        (bound,), (version,) = {**optional, **needed}[name].specifier, pinned.specifier
        assert (bound.operator, version.operator) == (">=", "=="), name
        assert Version(bound.version) == Version(version.version), name


@pytest.mark.release
def test_the_main_job(environment, tmp_path):
    digits(environment, tmp_path)


@pytest.mark.release
@pytest.mark.parametrize("rooms", ROOMS.values(), ids=list(ROOMS))
def test_rooms(rooms, environment, copy):
    options = ["-q", "-p", "no:cacheprovider", "-n", "2", "--dist", "loadfile"]
    options += ["--ignore", "tests/loggers/test_loggers.py"]  # loggers that are no dependencies
    environment.run("pytest", *options, *[f"tests/{room}" for room in rooms], cwd=copy)
