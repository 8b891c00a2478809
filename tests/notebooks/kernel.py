"""A fresh kernel of this interpreter, which leaves nothing outside of a folder."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).parents[2]
SPEC = {
    "argv": [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"],
    "display_name": "here",
    "language": "python",
}


def execute(notebook: nbformat.NotebookNode, folder: Path) -> None:
    """Run all cells, in the folder; raises CellExecutionError for a cell that fails."""
    spec = folder / "jupyter" / "kernels" / "here" / "kernel.json"
    spec.parent.mkdir(parents=True)
    spec.write_text(json.dumps(SPEC))
    with pytest.MonkeyPatch.context() as patch:
        for name in ("JUPYTER_PATH", "JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR"):
            patch.setenv(name, str(folder / "jupyter"))
        patch.setenv("IPYTHONDIR", str(folder / "ipython"))
        patch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
        resources = {"metadata": {"path": str(folder)}}
        NotebookClient(notebook, kernel_name="here", timeout=300, resources=resources).execute()


def run_cells(folder: Path, *sources: str) -> list[list[nbformat.NotebookNode]]:
    """Outputs of each cell."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in sources])
    execute(notebook, folder)
    return [cell.outputs for cell in notebook.cells]


def kinds(outputs: list[nbformat.NotebookNode]) -> list[set[str]]:
    """Of each output that is shown its types, without the streams of text."""
    return [set(output.data) for output in outputs if "data" in output]
