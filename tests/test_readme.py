"""What the pages say is true: their Python blocks and commands run, in order; links and names are real."""

import re
import runpy
import shlex
import subprocess
import sys
from importlib.metadata import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README, GUIDE, RECIPES = ROOT / "README.md", ROOT / "examples/analyses.md", ROOT / "examples/README.md"
SPEED, WORKS_WITH = ROOT / "tests/benchmarks/README.md", ROOT / "tests/compatibility/README.md"
PAGES = [README, GUIDE, RECIPES, SPEED, WORKS_WITH]


def blocks(page, language):
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)


def commands(page):
    """Shell blocks line by line, and what stands in the text as a command."""
    lines = [line.partition("  #")[0].strip() for block in blocks(page, "sh") for line in block.splitlines()]
    inline = re.findall(r"`((?:python|lightning-separation|ruff|mypy|tensorboard) [^`\n]+)`", page.read_text())
    return [line for line in lines if line] + inline


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where the Python blocks have run."""
    folder, namespace = tmp_path_factory.mktemp("reader"), {"__name__": "readme"}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for page in (README, GUIDE):
            found = blocks(page, "python")
            assert len(found) >= 3
            for block in found:
                exec(compile(block, page.name, "exec"), namespace)
    return folder


def test_python_blocks_leave_what_they_say(folder):
    assert len(list(folder.glob("lightning_logs/version_0/separation/*.npz"))) == 3
    for figure in ("depth.png", "difference.png", "curves.png", "pairs.png"):
        assert (folder / figure).stat().st_size > 5000


def test_commands_that_read_runs_work_on_what_the_blocks_left(folder):
    reading = [line for line in commands(README) if line.startswith("lightning-separation ")]
    assert len(reading) >= 2
    for line in reading:
        words = shlex.split(line)[1:]
        done = subprocess.run(
            [sys.executable, "-m", "lightning_separation", *words], cwd=folder, capture_output=True, text=True
        )
        assert done.returncode == 0, f"{line}\n{done.stderr}"
        assert "net.2" in done.stdout
    assert (folder / "comparison/index.html").stat().st_size > 10_000


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_other_command_is_run_by_a_test_of_its_own(page, request, monkeypatch):
    """Or by ``.ci/run``, where it installs: here it is checked that there is such a test, marker, extra or program."""
    markers = {marker.partition(":")[0] for marker in request.config.getini("markers")}
    extras = metadata("lightning-separation").get_all("Provides-Extra")
    for line in (part.strip() for command in commands(page) for part in command.split("&&")):
        words = shlex.split(line)
        match words:
            case ["lightning-separation", *_] | ["tensorboard", "--logdir", _] | ["ruff", *_] | ["mypy"]:
                pass  # above; tests/browser; .ci/run
            case ["python", "-m", "pip", "install", *rest]:
                for asked in re.findall(r"\[(.+?)\]", rest[-1]):
                    assert set(asked.split(",")) <= set(extras), line
            case ["python", "-m", "pytest", "-m", marker]:
                assert marker in markers, line
            case ["python", "-m", "pytest", "-n", "2", "--dist", "loadfile"]:
                assert line in (ROOT / ".ci/run").read_text().replace("\\", "")
            case ["python", "-m", "sphinx", *_]:
                assert "sphinx" in (ROOT / "tests/reference/test_reference.py").read_text()
            case ["python", script, *_] if script.startswith("examples/"):
                assert (ROOT / script).is_file(), line
                name = Path(script).stem
                tests = [path for path in ROOT.glob("tests/**/test_*.py") if name in path.read_text()]
                assert tests, f"no test runs {script}"
            case ["python", script, *_] if script.startswith("tests/benchmarks/"):
                monkeypatch.setattr(sys, "argv", [script, "--help"])
                with pytest.raises(SystemExit, match=r"^0$"):
                    runpy.run_path(str(ROOT / script), run_name="__main__")
            case _:
                pytest.fail(f"nothing runs {line!r}")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    assert "@@" not in page.read_text()  # something to be filled in
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if not link.startswith("http"):
            file, _, heading = link.partition("#")
            target = (page.parent / file) if file else page
            assert target.exists(), link
            if heading:
                headings = re.findall(r"^#+ (.+)$", target.read_text(), re.MULTILINE)
                assert heading in {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}, link


def test_every_analysis_is_in_the_table_of_questions():
    import lightning_separation
    from lightning_separation import analyses

    section = README.read_text().partition("## Which question each analysis answers")[2].partition("\n## ")[0]
    named = set(re.findall(r"^\| [^|]+\| `(\w+)` \|", section, re.MULTILINE))
    public = {name for name in lightning_separation.__all__ if hasattr(analyses, name)}
    assert named == public


def test_every_public_name_is_there():
    import lightning_separation

    for name in lightning_separation.__all__:
        assert getattr(lightning_separation, name).__doc__


class Collected:
    """A plugin of pytest that keeps the names of all tests."""

    def pytest_collection_finish(self, session):
        self.names = {item.nodeid for item in session.items}


def test_every_row_of_what_it_works_with_names_tests_that_are_there():
    collected = Collected()
    pytest.main(
        ["--collect-only", "-q", "-m", "", "-p", "no:cacheprovider", f"{ROOT}/tests/compatibility"], [collected]
    )
    there = collected.names | {name.partition("[")[0] for name in collected.names}
    rows = 0
    for group in WORKS_WITH.read_text().split("\n## ")[1:]:
        heading, *lines = group.splitlines()
        files = re.findall(r"`(tests/compatibility/\S+\.py)`", heading)
        for row in (line for line in lines if line.startswith("| ") and not line.startswith("| what ")):
            names = re.findall(r"`(test_[^`]+)`", row)
            assert names, row
            for name in names:
                assert any(f"{file}::{name}" in there for file in files), f"there is no {name}"
            rows += 1
    assert rows > 40
