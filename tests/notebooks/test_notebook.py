"""The example notebook, and what users do in theirs, in a real kernel."""

from __future__ import annotations

import base64
import json
import re
from io import BytesIO

import nbformat
import pytest
from PIL import Image

from lightning_separation import load_run
from tests.notebooks.kernel import ROOT, execute, kinds, run_cells

PATH = ROOT / "examples" / "notebook.ipynb"
STORED = nbformat.read(PATH, as_version=4)
CODE = [i for i, cell in enumerate(STORED.cells) if cell.cell_type == "code"]
FIGURE = """
from lightning_separation import Record
from lightning_separation.plots import separation_heatmap
import numpy as np
figure = separation_heatmap({"fc": np.array([[0, 0.5], [0.5, 0]])}, ["a", "b"])
"""


@pytest.fixture(scope="module")
def executed(tmp_path_factory):
    notebook = nbformat.read(PATH, as_version=4)
    execute(notebook, tmp_path_factory.mktemp("notebook"))
    return notebook


def table_numbers(cell) -> list[float]:
    """In the cells of its tables."""
    found = re.findall(r"<td>([+−]?[\d.]+)</td>", "".join(o.data["text/html"] for o in cell.outputs if "data" in o))
    return [float(text.replace("−", "-")) for text in found]


def printed(cell) -> str:
    return "".join(output.text for output in cell.outputs if output.output_type == "stream")


@pytest.mark.parametrize("i", CODE)
def test_every_cell_shows_what_the_stored_one_shows(executed, i) -> None:
    assert kinds(executed.cells[i].outputs) == kinds(STORED.cells[i].outputs)
    assert not any(output.get("name") == "stderr" for output in executed.cells[i].outputs)


def test_three_figures_and_three_tables() -> None:
    shown = [kind for cell in STORED.cells for kind in kinds(cell.get("outputs", []))]
    assert [kind - {"text/plain"} for kind in shown] == [{"text/html"}] * 2 + [{"image/png"}] * 3 + [{"text/html"}]


def test_the_stored_numbers_are_those_of_today(executed) -> None:
    tables = [i for i in CODE if any("text/html" in kind for kind in kinds(STORED.cells[i].outputs))]
    for i in (tables[0], tables[-1]):  # the run and the effect of training
        stored, now = table_numbers(STORED.cells[i]), table_numbers(executed.cells[i])
        assert len(stored) > 12
        assert now == pytest.approx(stored, abs=0.03)
    stored, now = ([float(n) for n in re.findall(r"\d\.\d+", printed(nb.cells[-1]))] for nb in (STORED, executed))
    assert len(stored) == 4
    assert now == pytest.approx(stored, abs=0.05)


def test_what_the_text_says_is_so() -> None:
    run, effect = (table_numbers(STORED.cells[i]) for i in (CODE[3], CODE[-2]))
    rows = [run[k : k + 8] for k in range(0, len(run), 8)]  # input and three layers: eight numbers each
    before, last = ([row[column] for row in rows] for column in (0, 6))
    assert before == sorted(before, reverse=True)
    assert min(last) == last[0]
    assert all(row[1] - row[0] > 0.5 * row[7] for row in rows[1:])
    assert effect[:2] == [last[0], before[0]]


def test_the_stored_notebook_is_clean() -> None:
    assert [STORED.cells[i].execution_count for i in CODE] == list(range(1, len(CODE) + 1))
    text = json.dumps([[cell.source, cell.get("outputs", [])] for cell in STORED.cells])
    assert not re.search(r"/(tmp|home|root|usr|work|Users)/|[Ww]arning: ", re.sub(r'"image/png": "[^"]*"', "", text))
    assert PATH.stat().st_size < 400_000
    nbformat.validate(STORED)


def test_figures_show_by_themselves_once_without_pyplot(tmp_path) -> None:
    without, again, _, inline, displayed = run_cells(
        tmp_path, FIGURE + "figure", "figure", "%matplotlib inline", "figure", "display(figure)"
    )
    sizes = []
    for outputs in (without, again, inline, displayed):
        assert kinds(outputs) == [{"text/plain", "image/png"}]
        sizes.append(Image.open(BytesIO(base64.b64decode(outputs[0].data["image/png"]))).size)
    width, height = (float(part) for part in re.findall(r"[\d.]+", without[0].data["text/plain"])[:2])
    assert sizes[0] == sizes[1] == (int(width), int(height))
    assert sizes[2] == sizes[3] == pytest.approx((width + 20, height + 20), abs=2)  # nothing cut, and a margin


def test_two_processes_in_a_notebook(tmp_path) -> None:
    fit = f"""
from pytorch_lightning import Trainer
from lightning_separation import SeparationMonitor
from tests.helpers import Classifier, blobs, loader
trainer = Trainer(default_root_dir={str(tmp_path)!r}, callbacks=[SeparationMonitor(emit=())], max_epochs=1,
    accelerator="cpu", devices=2, strategy="ddp_notebook", enable_progress_bar=False)
trainer.fit(Classifier(), loader(blobs()), loader(blobs(seed=1)))
"""
    (outputs,) = run_cells(tmp_path, fit)
    assert not [output for output in outputs if output.output_type == "error"]
    (record,) = load_run(tmp_path).records
    assert record.counts.tolist() == [20, 20, 20]
