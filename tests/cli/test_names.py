"""Names of layers and classes that are too long for tables, or would be obeyed by a terminal."""

import re

import numpy as np
import pytest

from lightning_separation.cli.names import shown_names
from lightning_separation.tables import printable, shorten
from tests.cli.made import ablated, matrix, mean, moments, record, saved, strict, suspected

WHOLE = "model.encoder.layers.{}.self_attention.projection"
LAYERS = ["input", *(WHOLE.format(i) for i in range(3)), "two\nlines\x1b[31m"]
CLASSES = ["short", "a" * 60, "a" * 60 + "b", "bell\x07"]


@pytest.fixture
def run(tmp_path):
    found = {
        "ablation": ablated({LAYERS[1]: ([0.5], [1], False)}),
        "label_suspects": suspected({LAYERS[2]: np.array([1.0])}, np.array([1]), np.array([2])),
    }
    train = moments(0.05, layers=LAYERS, classes=CLASSES, split="train")
    return saved([*moments(layers=LAYERS, classes=CLASSES, **found), *train], tmp_path / "run")


def test_text_has_names_of_forty_characters_on_one_line(run, tmp_path, call):
    other = saved(moments(0.1, layers=LAYERS, classes=CLASSES), tmp_path / "other")
    for command in (["show", run], ["compare", run, other]):
        code, text, _ = call(*command)
        assert code == 0
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", text)
        assert not any(WHOLE.format(i) in text.split("\nNotes\n")[0] for i in range(3))
        rows = [line for line in text.splitlines() if re.match(r"model\S*[012]\S*rojection  ", line)]
        assert len(rows) >= 3
        assert all(len(row.split("  ")[0]) == 40 for row in rows)
        assert "two lines [31m" in text
    _, text, _ = call("show", run)
    assert "a" * 60 not in text
    values = moments(layers=LAYERS)[-1].findings["henze_penrose"][LAYERS[3]]["divergence"]
    (row,) = (r for r in text.split("\nSeparation by layer\n")[1].splitlines()[:9] if re.match(r"model\S*2\S*roj", r))
    assert f"{mean(values):.3f}" in row


def test_a_note_cannot_write_over_the_screen(tmp_path, call):
    run = saved([record(0, {"fc": matrix()}, notes=["\x1b[2Jgone\r\n"])], tmp_path / "run")
    _, text, _ = call("show", run)
    assert " [2Jgone" in text
    assert "\x1b" not in text


def test_other_programs_get_whole_names(run, call):
    _, text, _ = call("show", run, "--format", "json")
    found = strict(text)
    assert found["run"]["layers"] == LAYERS
    assert found["run"]["class_names"] == CLASSES
    assert [row["layer"] for row in found["separation"]][: len(LAYERS)] == LAYERS
    assert found["most_needed"]["units"][0]["layers"] == [LAYERS[1]]


def test_names_that_need_no_other_keep_theirs():
    assert shown_names(["input", "a" * 40, "ünï"]) == {}
    whole = [f"{'a' * i}{j}{'b' * 50}" for i in range(5) for j in range(5)]
    shown = shown_names(whole)
    assert len(set(shown.values())) == len(shown) == 25
    assert all(len(name) <= 40 for name in shown.values())


def test_names_that_differ_in_what_is_not_seen_are_numbered():
    shown = shorten(["fc", "fc\n", "fc\x1b", "other", "fc"], 10)
    assert len({shown[0], shown[1], shown[2], shown[3]}) == 4
    assert shown[4] == shown[0]
    assert all(printable(name) == name for name in shown)
