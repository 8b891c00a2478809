"""What records, runs and comparisons tell of themselves."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from lightning_separation import Run
from lightning_separation.records import Findings
from tests.runs.made import matrix, mean, record, run

NASTY = '<b>&"x'
MANY = ["input", *(f"encoder.layers.{i}.fc" for i in range(99))]


class Page(HTMLParser):
    """Rows of the table, every text, and every tag; tags that are not closed raise."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.tags: set[str] = set()
        self.text, self._open = "", []
        self.feed(html)
        assert not self._open

    def handle_starttag(self, tag, attributes):
        self._open.append(tag)
        self.tags.add(tag)
        assert "color" not in str(attributes)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        self.text += data
        if self._open and self._open[-1] in ("td", "th"):
            self.rows[-1][-1] += data


def units(seed: int = 0) -> dict[str, Findings]:
    loss = np.random.default_rng(seed).normal(size=5)
    return {
        "significance": Findings(
            {"significant_fraction": (), "dead_fraction": ()},
            {"fc1": {"significant_fraction": 0.8, "dead_fraction": 0.2}},
        ),
        "ablation": Findings({"loss": ("unit",)}, {"fc1": {"loss": loss}, "fc2": {"loss": np.full(5, np.nan)}}),
    }


ODD = {
    "no classes": record(0, classes="", layers=["input", "fc"]),
    "no findings": record(0, layers=["input"]),
    "one layer": record(0, {"fc": matrix()}),
    "NaN": record(0, {"fc": matrix() * np.nan}, fc=Findings({"mean": ()}, {"fc": {"mean": np.nan}})),
    "hundreds of layers": record(0, {layer: matrix(seed=i) for i, layer in enumerate(MANY)}),
    "hundreds of classes": record(0, {"fc": matrix(300)}, classes=[f"class {k}" for k in range(300)]),
    "nasty names": record(0, {NASTY: matrix(2)}, classes=[NASTY, "a\n\x1b[31mb"]),
}
ODD_RUNS = {
    "no records": Run([], name=NASTY),
    "validations only": run(epochs=[0], stage="validate", step=0),
    "tests only": run(epochs=[0], stage="test", split="test"),
    "no separations": Run([ODD["no classes"]], {"settings": {"module": NASTY, "analyses": {"a": "A()"}}}),
    "hundreds of layers": run(epochs=range(40), layers=MANY, classes=[NASTY, *"bcd"]),
    "NaN": Run([ODD["NaN"]]),
}


@pytest.mark.parametrize("name", ODD)
def test_an_odd_record_is_told_shortly(name) -> None:
    assert len(repr(ODD[name])) < 300
    assert "\n" not in repr(ODD[name])
    page = Page(ODD[name]._repr_html_())
    assert not page.tags & {"script", "style", "b", "img"}
    assert len(ODD[name]._repr_html_()) < 8000
    assert page.rows[0][0] == "layer"


@pytest.mark.parametrize("name", ODD_RUNS)
def test_an_odd_run_is_told_shortly(name) -> None:
    assert len(repr(ODD_RUNS[name])) < 300
    page = Page(ODD_RUNS[name]._repr_html_())
    assert not page.tags & {"script", "style", "b", "img"}
    assert len(ODD_RUNS[name]._repr_html_()) < 8000
    assert "nan" not in page.text.lower().replace("findings", "")


NUMBERS = {
    "henze_penrose": ("separation", "divergence", "bayes_error"),
    "significance": ("significant_fraction", "dead"),
    "ablation": ("loss", "is_output"),
    "layer_information": ("label_excess_mean",),
    "next_layer_effect": ("separation", "separation_without_significant"),
    "feature_information": ("feature_mean",),
    "principal_components": ("explained_variance_ratio",),
    "confusion": ("accuracy", "confusion"),
    "mine": ("anything",),
}
SHAPES = {"()": (), "(0,)": (0,), "(3,)": (3,), "(2, 2)": (2, 2), "(2, 0)": (2, 0), "(2, 3, 4)": (2, 3, 4)}


@pytest.mark.parametrize("dtype", ["float64", "bool", "uint8"])
@pytest.mark.parametrize("shape", SHAPES)
def test_whatever_a_record_holds_it_is_told(shape, dtype) -> None:
    """As one made by hand, or by another version, whose quantities of these names mean something else."""
    axes = ("unit", "sample", "feature")[: len(SHAPES[shape])]
    for value in (0, 1) if dtype != "float64" else (0.5, -1.0, np.nan, np.inf):
        array = np.full(SHAPES[shape], value, dtype)
        findings = {
            name: Findings(dict.fromkeys(some, axes), {layer: dict.fromkeys(some, array) for layer in ("*", "fc")})
            for name, some in NUMBERS.items()
        }
        of = record(0, layers=["input", "fc"], **findings)
        for one in (of, Run([of])):
            assert "\n" not in repr(one)
            assert Page(one._repr_html_()).rows[0][0] == "layer"


def test_the_line_of_a_record() -> None:
    m = matrix()
    of = replace(record(3, {"input": matrix(seed=1), "fc": m}), notes=["fc: a reason"])
    a, b = divmod(int(np.where(np.eye(4), 9, m).argmin()), 4)
    assert repr(of) == (
        "Record(fit, epoch 3, step 39, val: 2 layers, 4 classes, 120 samples; henze_penrose; "
        f"separation {mean(m):.3f} in fc, least {'abcd'[a]} / {'abcd'[b]}: {m[a, b]:.3f}; 1 note)"
    )
    assert repr(ODD["no classes"]) == "Record(fit, epoch 0, step 9, val: 2 layers, no classes; no findings)"
    assert repr(ODD["NaN"]).endswith("1 layer, 4 classes, 120 samples; henze_penrose, fc)")


def test_the_table_of_a_record_has_its_numbers() -> None:
    matrices = {layer: matrix(seed=i) for i, layer in enumerate(("input", "fc1", "fc2"))}
    findings = units()
    mine = Findings({"size": ()}, {"fc2": {"size": 7}})
    of = replace(record(0, matrices, mine=mine, **findings), notes=["fc2: <reason>"])
    header, *rows = Page(of._repr_html_()).rows
    assert header == [
        "layer", "separation", "hardest pair", "best error, at most", "significant units", "dead units",
        "most needed unit: loss", "mine: size",
    ]  # fmt: skip
    loss = findings["ablation"]["fc1"]["loss"]
    assert [row[0] for row in rows] == list(matrices)
    assert [row[1] for row in rows] == [f"{mean(m):.3f}" for m in matrices.values()]
    assert [row[2].split(": ")[1] for row in rows] == [f"{m[m > 0].min():.3f}" for m in matrices.values()]
    assert rows[1][3:] == ["20.0%", "80%", "20%", f"{loss.argmax()}: +{loss.max():.3g}", "–"]
    assert rows[2][3:] == ["20.0%", "–", "–", "–", "7"]
    assert "fc2: <reason>" in Page(of._repr_html_()).text


def test_many_layers_are_cut_in_the_middle() -> None:
    page = Page(ODD["hundreds of layers"]._repr_html_())
    shown = [row[0] for row in page.rows[1:]]
    assert shown[:12] + shown[13:] == MANY[:12] + MANY[-12:]
    assert shown[12] == "… 76 of 100 rows are not shown …"


def test_many_notes_are_counted() -> None:
    of = replace(record(0, {"fc": matrix()}), notes=[f"note {i}" for i in range(50)])
    text = Page(of._repr_html_()).text
    assert "50 notes" in text
    assert "note 19" in text
    assert "note 20" not in text
    assert "… and 30 more" in text


def test_names_come_through_as_text() -> None:
    page = Page(ODD["nasty names"]._repr_html_())
    assert page.rows[1][0] == NASTY
    assert page.rows[1][2].startswith(f"{NASTY} / a [31mb: ")


def test_a_run_tells_first_last_and_change() -> None:
    of = run()
    separation = of.array("henze_penrose", "separation")
    assert repr(of) == (
        "Run('one': 3 records, epoch 0 to epoch 2; 3 layers, 4 classes; henze_penrose; "
        f"separation {separation[0, -1]:.3f} → {separation[-1, -1]:.3f} in fc2)"
    )
    header, *rows = Page(of._repr_html_()).rows
    assert header == ["layer", "epoch 0", "epoch 1", "epoch 2", "change"]
    for i, row in enumerate(rows):
        assert row[:4] == [of.layers[i], *(f"{value:.3f}" for value in separation[:, i])]
        change = float(row[4].replace("−", "-"))
        assert change == pytest.approx(separation[-1, i] - separation[0, i], abs=6e-4)


def test_of_many_epochs_some_are_shown_with_both_ends() -> None:
    page = Page(ODD_RUNS["hundreds of layers"]._repr_html_())
    epochs = page.rows[0][1:-1]
    assert (epochs[0], epochs[-1], len(epochs)) == ("epoch 0", "epoch 39", 12)
    assert "12 of 40 epochs are shown" in page.text


@pytest.mark.parametrize(
    "name, line",
    [
        ("no records", f"Run({NASTY!r}: 0 records)"),
        ("tests only", "Run('one': 1 record of tests; 3 layers, 4 classes; henze_penrose)"),
        ("no separations", "Run(1 record, epoch 0; 2 layers, no classes; no findings)"),
        ("NaN", "Run(1 record, epoch 0; 1 layer, 4 classes; henze_penrose, fc)"),
    ],
)
def test_the_line_of_an_odd_run(name, line) -> None:
    assert repr(ODD_RUNS[name]) == line


def test_a_run_without_separations_tells_what_was_analysed_and_how() -> None:
    of = Run([record(0, classes="", layers=["input", "fc"], mine=Findings({"size": ()}, {"fc": {"size": 1}}))])
    assert Page(of._repr_html_()).rows == [["layer", "analyses"], ["input", "–"], ["fc", "mine"]]
    text = Page(ODD_RUNS["no separations"]._repr_html_()).text
    assert f"module: {NASTY}" in text
    assert "analyses: A()" in text


def test_a_comparison_tells_its_last_rows() -> None:
    of = run().compare(run("two", seed=1))
    page = Page(of._repr_html_())
    assert page.rows[0] == ["layer", "separation", "compared with", "of", "difference", "95% interval", "q"]
    for row, shown in zip(of.last, page.rows[1:], strict=True):
        assert shown[:4] == [row.layer, f"{row.mean:.3f}", f"{row.other_mean:.3f}", row.versus]
        assert float(shown[4].replace("−", "-")) == pytest.approx(row.effect, abs=6e-4)
    assert of.assumes in page.text
    assert re.fullmatch(r"Comparison\(.*: 3 layers at 3 epochs, test='jackknife'\)", repr(of))


def test_findings_of_many_layers_are_told_shortly() -> None:
    found = Findings({f"q{i}": () for i in range(20)}, {layer: {"q0": 1} for layer in MANY})
    assert repr(found) == (
        "Findings(q0, q1, q2, q3, q4, q5 and 14 more of input, encoder.layers.0.fc, encoder.layers.1.fc, "
        "encoder.layers.2.fc, encoder.layers.3.fc, encoder.layers.4.fc and 94 more)"
    )
