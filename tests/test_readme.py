"""The README's Python blocks run, as a reader would run them: in order, in one folder."""

import re
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
