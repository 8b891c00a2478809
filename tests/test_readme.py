"""The README's Python blocks run, as a reader would run them: in order, in one folder."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_python_blocks_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    assert len(blocks) >= 3
    namespace: dict[str, object] = {"__name__": "readme"}
    for block in blocks:
        exec(compile(block, "README.md", "exec"), namespace)


def test_every_public_name_is_there():
    import lightning_separation

    for name in lightning_separation.__all__:
        assert getattr(lightning_separation, name).__doc__


def test_every_row_of_what_it_works_with_names_tests_that_are_there():
    section = (ROOT / "README.md").read_text().partition("## What it works with")[2].partition("\n## ")[0]
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-m", "", "-p", "no:cacheprovider"]
    listed = subprocess.run([*command, "tests/compatibility"], cwd=ROOT, capture_output=True, text=True, check=True)
    there = set(re.findall(r"^(\S+::.*)$", listed.stdout, re.MULTILINE))
    there |= {name.partition("[")[0] for name in there}
    rows = 0
    for group in section.split("\n### ")[1:]:
        heading, *lines = group.splitlines()
        files = re.findall(r"`(tests/compatibility/\S+\.py)`", heading)
        for row in (line for line in lines if line.startswith("| ") and not line.startswith("| what ")):
            names = re.findall(r"`(test_[^`]+)`", row)
            assert names, row
            for name in names:
                assert any(f"{file}::{name}" in there for file in files), f"there is no {name}"
            rows += 1
    assert rows > 40
