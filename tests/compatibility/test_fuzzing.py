"""Odd settings, odd analyses, damaged files and odd records: it works as documented, or says in one line why not.

The examples are the same each time. To search further: ``FUZZING=5000 pytest`` with this file draws so many new
ones for each test.
"""

from __future__ import annotations

import inspect
import json
import os
import pickle
import shutil
import warnings
from copy import deepcopy
from dataclasses import fields
from fractions import Fraction
from pathlib import Path

import cloudpickle
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from torch import nn

import lightning_separation.analyses as rooms
from lightning_separation import HenzePenrose, Record, SeparationMonitor, analyze, load_run
from lightning_separation.capture import NothingCapturedError
from lightning_separation.cli.main import main
from lightning_separation.functional import henze_penrose_divergence
from lightning_separation.records import Findings, load_record, save_record
from lightning_separation.records.findings import AXES
from tests.compatibility.harness import run_twice
from tests.helpers import Classifier, blobs, loader, trainer
from tests.records.test_storage import same

MORE = int(os.environ.get("FUZZING", "0"))


def examples(num):
    """So many for a test, always the same; or ``FUZZING`` new ones."""
    return settings(
        max_examples=MORE or num,
        derandomize=not MORE,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


# Settings


class Nameless:
    """Cannot even be shown."""

    def __repr__(self):
        raise RuntimeError("no")


class Own:
    """An analysis of the user's."""

    needs_classes = False

    def __init__(self, name="own", gives=None):
        self.name = name
        self.gives = gives

    def __repr__(self):
        return f"Own({self.name!r})"

    def compute(self, snapshot):
        return self.gives


def nested(depth=2000):
    value = []
    for _ in range(depth):
        value = [value]
    return value


PLAIN = [
    *(
        None,
        True,
        False,
        0,
        1,
        2,
        3,
        -1,
        10**30,
        10**5000,
        -(2**70),
        0.0,
        0.5,
        1.5,
        2e9,
        float("nan"),
        float("inf"),
        1j,
    ),
    *("", " ", ".", "..", "a/b", "a\\b", "nul\0", "line\nbreak", "é ☃", "\ud800", "x" * 300, "net.0", "*", "[", "con."),
    *("val", "train", "max", "raise", "figures", "run", "random", "2GB", "1.5 gib", "1e9", "-1", "9" * 400, b"bytes"),
    *(Fraction(1, 3), np.int64(2), np.float32(0.5), np.bool_(True), np.str_("val"), Path("x"), HenzePenrose, int, len),
    *([], (), set(), {}, [[]], [None], [3], [True], [0.5], [-1], [""], ["a", "a"], ["a", "b"], [1, "1"], {"a"}),
    *({0: "a", 1: "b"}, {"a": [0, 1]}, ("val", "val"), ["val", None], (0.0, 1.0), (1.0, 0.0), [HenzePenrose], nested()),
]
MADE = [
    *(Nameless, HenzePenrose, Own, lambda: nn.Linear(2, 2), lambda: [nn.Linear(2, 2)], lambda: [Nameless()]),
    *(lambda: torch.tensor(2), lambda: torch.eye(2), lambda: {"net.0": torch.eye(8)}),
    *(lambda: np.array(3), lambda: np.arange(3), lambda: np.array(["val", "train"]), lambda: np.array([None, 1])),
    *(lambda: range(2), lambda: (x for x in ("val", "train")), lambda: iter([0, 1])),  # used up by whoever reads them
    *(lambda: [HenzePenrose()], lambda: [HenzePenrose(), HenzePenrose()]),
    *(lambda: [Own("")], lambda: [Own(3)], lambda: [Own("a/b")]),
]
ODD = st.one_of(
    st.sampled_from(PLAIN),
    st.sampled_from(MADE).map(lambda make: make()),
    st.one_of(st.integers(), st.floats(), st.text(max_size=20), st.lists(st.text(max_size=3) | st.integers(-1, 3))),
)


def told(error, name):
    """A refusal: of the right kind, in one line, with the name of what was wrong."""
    assert isinstance(error, ValueError | TypeError | NothingCapturedError), repr(error)
    message = str(error)
    assert name in message
    assert "\n" not in message
    assert len(message) < 500


def arguments(function):
    return [name for name in inspect.signature(function).parameters if name != "self"]


@pytest.mark.parametrize("argument", arguments(SeparationMonitor.__init__))
@examples(70)
@given(value=ODD)
def test_any_setting_of_the_monitor_is_taken_or_refused_by_name(argument, value):
    try:
        monitor = SeparationMonitor(**{argument: value})
    except Exception as error:
        told(error, argument)
        return
    copy = pickle.loads(cloudpickle.dumps(monitor))
    assert repr(copy).startswith("<lightning_separation.monitor.SeparationMonitor")
    plain = {name: found for name, found in vars(monitor).items() if isinstance(found, str | int | list | tuple)}
    assert {name: repr(vars(copy)[name]) for name in plain} == {name: repr(found) for name, found in plain.items()}
    plain.pop("analyses")
    json.dumps(plain)  # as run.json needs it


ANALYSES = [found for name in rooms.__all__ if hasattr(found := getattr(rooms, name), "__dataclass_fields__")]


@pytest.mark.parametrize(
    "kind", [kind for kind in ANALYSES if not inspect.isabstract(kind)], ids=lambda kind: kind.name
)
@examples(60)
@given(data=st.data())
def test_any_setting_of_an_analysis_is_taken_or_refused_by_name(kind, data):
    name, value = data.draw(st.sampled_from([field.name for field in fields(kind) if field.init])), data.draw(ODD)
    try:
        analysis = kind(**{name: value})
    except Exception as error:
        told(error, name)
        return
    assert repr(deepcopy(analysis)) == repr(analysis)
    assert SeparationMonitor([analysis]).analyses == [analysis]


BATCHES = loader(blobs(per_class=6))
NET = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))


@pytest.mark.parametrize("argument", [name for name in arguments(analyze) if name not in ("dataloader", "analyses")])
@examples(25)
@given(value=ODD)
def test_any_setting_of_analyze_works_or_is_refused_by_name(argument, value):
    assume(not isinstance(value, nn.Module))  # which may be right, but for other data
    given = {"network": NET, "dataloader": BATCHES, "analyses": [HenzePenrose()], argument: value}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            record = analyze(**given)
    except Exception as error:
        told(error, argument)
        return
    if record.class_names:
        cap = value if argument == "samples_per_class" else 100
        assert record.counts.tolist() == [min(6, cap)] * 3


@pytest.mark.parametrize(
    "given",
    [
        pytest.param({"every_n_epochs": True}, id="every_n_epochs-true"),
        pytest.param({"every_n_epochs": 1.5}, id="every_n_epochs-fraction"),
        pytest.param({"epochs": []}, id="epochs-none"),
        pytest.param({"epochs": [True]}, id="epochs-true"),
        pytest.param({"epochs": 3}, id="epochs-one-number"),
        pytest.param({"layers": [3]}, id="layers-number"),
        pytest.param({"layers": {"net.0": 1}}, id="layers-mapping"),
        pytest.param({"class_names": {"a", "b"}}, id="class_names-set"),
        pytest.param({"class_names": [1, "1"]}, id="class_names-same-text"),
        pytest.param({"max_memory": "-1"}, id="max_memory-negative"),
        pytest.param({"max_memory": True}, id="max_memory-true"),
        pytest.param({"max_memory": float("nan")}, id="max_memory-nan"),
        pytest.param({"max_memory": "9" * 400 + "x"}, id="max_memory-long"),
        pytest.param({"name": "x" * 300}, id="name-long"),
        pytest.param({"name": "a/b"}, id="name-slash"),
        pytest.param({"name": 3}, id="name-number"),
        pytest.param({"dirpath": ""}, id="dirpath-empty"),
        pytest.param({"dirpath": "a\0b"}, id="dirpath-nul"),
        pytest.param({"dirpath": "s3://bucket/logs"}, id="dirpath-remote"),
        pytest.param({"seed": 2**64}, id="seed-huge"),
        pytest.param({"seed": 1.0}, id="seed-float"),
        pytest.param({"target_fn": True}, id="target_fn-true"),
        pytest.param({"target_fn": "y"}, id="target_fn-text"),
        pytest.param({"pooling": None}, id="pooling-none"),
        pytest.param({"network": 3}, id="network-number"),
        pytest.param({"dataloader_idx": True}, id="dataloader_idx-true"),
        pytest.param({"dataloader_idx": "0"}, id="dataloader_idx-text"),
        pytest.param({"splits": ()}, id="splits-none"),
        pytest.param({"splits": "train"}, id="splits-train-alone"),
        pytest.param({"emit": "pictures"}, id="emit-unknown"),
        pytest.param({"emit": False}, id="emit-false"),
        pytest.param({"save": "no"}, id="save-text"),
        pytest.param({"analyses": ()}, id="analyses-none"),
        pytest.param({"analyses": HenzePenrose()}, id="analyses-no-list"),
        pytest.param({"analyses": [HenzePenrose]}, id="analyses-class"),
        pytest.param({"analyses": [Own(" ")]}, id="analyses-without-name"),
        pytest.param({"analyses": [Own("ablation")]}, id="analyses-name-of-another"),
        pytest.param({"analyses": [Own(3)]}, id="analyses-named-by-number"),
    ],
)
def test_what_cannot_work_is_refused_at_once(given):
    (name,) = given
    with pytest.raises(ValueError) as caught:
        SeparationMonitor(**given)
    told(caught.value, name)


def test_settings_are_copies():
    layers, epochs, names, analyses = ["net.0"], [0], ["a", "b", "c"], [HenzePenrose()]
    mine, features = ["net.0"], ["f"]
    narrowed = rooms.FeatureInformation(layers=mine, feature_names=features)
    directions, groups, modules = ["random"], {"g": [0]}, {"net.0": [0, 1]}
    others = rooms.DirectionAblation(directions=directions), rooms.PermutationImportance(groups=groups)
    of_modules = rooms.Modularity(modules=modules)
    monitor = SeparationMonitor(analyses, layers, epochs=epochs, class_names=names)
    before = repr((vars(monitor)["layers"], monitor.epochs, monitor.class_names, monitor.analyses, narrowed, others))
    for mutable in (layers, epochs, names, analyses, mine, features, directions, groups["g"], modules["net.0"]):
        mutable.append(mutable[0])
    after = repr((vars(monitor)["layers"], monitor.epochs, monitor.class_names, monitor.analyses, narrowed, others))
    assert before == after
    assert of_modules.modules == {"net.0": [0, 1]}


def make():
    return Classifier(), (loader(blobs(seed=1)), loader(blobs()))


def seen(module, layer, per_class):
    """What a layer gives for the first samples of each class, and their classes; weights are those after the fit."""
    x, y = blobs().tensors
    rows = torch.cat([(y == k).nonzero().flatten()[:per_class] for k in range(3)]).sort().values
    module.eval()
    with torch.no_grad():
        for child in list(module.net)[: 0 if layer == "input" else int(layer.removeprefix("net.")) + 1]:
            x = child(x)
    return x[rows], y[rows]


LAYERS = [
    (None, ["net.0", "net.1", "net.3"]),
    ("net.*", ["net.0", "net.1", "net.2", "net.3"]),
    (("net.0",), ["net.0"]),
    ({"net.3", "net.0"}, ["net.0", "net.3"]),
    (np.array(["net.[03]", "input"]), ["net.0", "net.3"]),
    ([], []),
]
FITS = st.fixed_dictionaries(
    {
        "every_n_epochs": st.sampled_from([1, np.int64(2), 2**63 - 1]),
        "epochs": st.sampled_from([None, range(1), np.array([0]), {0}, (0, 0)]),
        "samples_per_class": st.sampled_from([np.int64(5), 7, 20, 2**63 - 1]),
        "max_samples": st.sampled_from([1, 2**63 - 1]),
        "network": st.sampled_from([None, "net"]),
        "target_fn": st.sampled_from([None, lambda batch: batch[1].numpy(), lambda batch: batch[1].tolist()]),
        "class_names": st.sampled_from([None, range(3), ["☃", "", "a/b"], {"a": 0, "b": 1, "c": 2}.keys()]),
        "splits": st.sampled_from(["val", ["val", "val"]]),
        "pooling": st.sampled_from(["mean", "max"]),
        "emit": st.sampled_from([None, (), "figures", ["tables", "scalars"], {"histograms"}]),
        "max_memory": st.sampled_from(["2 gb", "9" * 300, 10**30, np.int64(10**7), 1e8]),
        "seed": st.sampled_from([-1, 0, -(2**63), 2**64 - 1, np.int32(3)]),
    }
)


@examples(6)
@given(given=FITS, layers=st.sampled_from(LAYERS))
def test_settings_that_are_taken_mean_in_a_fit_what_they_say(tmp_path_factory, given, layers):
    root, (chosen, names) = tmp_path_factory.mktemp("fit"), layers

    def monitor():
        return SeparationMonitor([HenzePenrose()], chosen, on_error="raise", **given)

    run, _, module = run_twice(root, make, monitor, max_epochs=1)
    (record,) = run.records
    assert record.notes == []
    assert list(record.findings["henze_penrose"]) == ["input", *names]
    assert record.class_names == [str(name) for name in given["class_names"] or range(3)]
    assert record.counts.tolist() == [min(20, given["samples_per_class"])] * 3
    for layer, found in record.findings["henze_penrose"].items():
        expected = henze_penrose_divergence(*seen(module, layer, given["samples_per_class"]))
        np.testing.assert_allclose(found["divergence"], expected, atol=1e-6)


@pytest.mark.parametrize(
    "name", [pytest.param("é ☃ #%*", id="odd-letters"), pytest.param("x" * 200, id="long"), "con."]
)
def test_names_and_folders(tmp_path, name):
    where = tmp_path / "not" / "there yet"
    t = trainer(tmp_path, SeparationMonitor([HenzePenrose()], dirpath=where, name=name, on_error="raise"), max_epochs=1)
    t.fit(*((made := make())[0], *made[1]))
    (record,) = load_run(where / name).records
    mean = record.findings["henze_penrose"]["net.3"]["separation"].item()
    assert t.callback_metrics[f"{name}/net.3"].item() == pytest.approx(mean)


def test_an_analysis_of_the_users_that_gives_no_findings_costs_only_its_own(tmp_path):
    wrong = Findings({"x": ("class",)}, {"net.0": {"x": np.zeros(7)}})
    right = Findings({"x": ()}, {"net.0": {"x": 1.5}, "nothing found": {}})
    own = [Own("none"), Own("a dict", {"net.0": {"x": 1.5}}), Own("classes", wrong), Own("separation/☃", right)]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        run, *_ = run_twice(tmp_path, make, lambda: SeparationMonitor([*own, HenzePenrose()]), max_epochs=1)
    (record,) = run.records
    assert list(record.findings) == ["separation/☃", "henze_penrose"]
    assert {layer: dict(found) for layer, found in record.findings["separation/☃"].items()} == {"net.0": {"x": 1.5}}
    assert record.notes == [
        "a dict: it failed: ValueError('an analysis must give Findings, not dict')",
        "classes: it failed: ValueError(\"quantity 'x' of layer 'net.0' has shape (7,), which does not fit 3 classes "
        "by its axes ('class',)\")",
    ]
    assert sum("it failed" in str(one.message) for one in caught) == 2


@pytest.mark.parametrize(
    "value",
    [
        pytest.param([None], id="objects"),
        pytest.param(["a"], id="text"),
        pytest.param([1j], id="complex"),
        pytest.param(np.array(["2020"], "datetime64[Y]"), id="dates"),
    ],
)
def test_findings_are_numbers(value):
    with pytest.raises(ValueError, match=r"quantity 'x' of layer 'fc' is of .*, not of numbers"):
        Findings({"x": ("unit",)}, {"fc": {"x": value}})


# Files


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A real run of two epochs and two splits, and its records by epoch and split."""
    root = tmp_path_factory.mktemp("whole")
    monitor = SeparationMonitor([HenzePenrose()], layers=["net.3"], splits=("val", "train"), emit="scalars")
    t = trainer(root, monitor)
    t.fit(*((made := make())[0], *made[1]))
    folder = Path(t.log_dir) / "separation"
    run = load_run(folder)
    records = {(record.epoch, record.split): record for record in [*run.records, *run.train.records]}
    assert len(list(folder.glob("*.npz"))) == len(records) == 4
    return folder, records


class Mine:
    """What unpickling would run."""

    ran = False

    def __reduce__(self):
        return setattr, (Mine, "ran", True)


def rewritten(path, change):
    """A record's file with its arrays changed, and its checksums right."""
    with np.load(path) as file:
        arrays = dict(file)
    change(arrays)
    np.savez(path, **arrays)


def places(tree):
    """Every place in a JSON document: what holds it, and its key."""
    for key in list(tree) if isinstance(tree, dict) else range(len(tree)) if isinstance(tree, list) else ():
        yield tree, key
        yield from places(tree[key])


ODD_JSON = st.sampled_from(
    [
        None,
        True,
        -1,
        0,
        7,
        99,
        10**30,
        0.5,
        float("nan"),
        "",
        "x",
        "1",
        "\ud800",
        "x" * 999,
        [],
        [[]],
        ["x"],
        {},
        {"x": 1},
    ]
)


@st.composite
def damages(draw):
    """A function of a folder that damages it, shown as what it does."""
    kinds = {
        "cut": lambda path, data: path.write_bytes(path.read_bytes()[: int(data * path.stat().st_size)]),
        "flip": flip,
        "delete": lambda path, data: path.unlink(),
        "garbage": lambda path, data: path.write_bytes(b"PK\x03\x04\xff\xfe" * int(100 * data)),
        "folder": lambda path, data: (path.unlink(), path.mkdir()),
        "loop": lambda path, data: (path.unlink(), path.symlink_to(path.name)),
        "dangling": lambda path, data: (path.unlink(), path.symlink_to("nowhere")),
        "other": lambda path, data: np.savez(path.with_suffix(".npz"), x=np.zeros(3)),
        "pickle": lambda path, data: path.write_bytes(pickle.dumps(Mine())),
        "objects": lambda path, data: np.savez(path.with_suffix(".npz"), head=np.array([Mine()]), counts=np.zeros(3)),
        "rename": lambda path, data: path.rename(path.with_name("renamed" + path.suffix)),
        "swap": lambda path, data: swap(path, sorted(path.parent.iterdir())[int(data * 5)]),
        "leftover": lambda path, data: shutil.copy(path, path.with_name(f".{path.name}.123.tmp")),
    }
    kind, which, data = draw(st.sampled_from(sorted(kinds))), draw(st.integers(0, 4)), draw(st.floats(0, 0.999))
    return kind, which, lambda folder: kinds[kind](sorted(folder.iterdir())[which], data)


def flip(path, data):
    content = bytearray(path.read_bytes())
    content[int(data * len(content))] ^= 1 << int(data * 1e6) % 8
    path.write_bytes(content)


def swap(one, other):
    a, b = one.read_bytes(), other.read_bytes()
    one.write_bytes(b)
    other.write_bytes(a)


def copied(folder, root):
    damaged = root / "damaged" / "separation"
    shutil.copytree(folder, damaged)
    return damaged


def refused(error, folder):
    """In one line that names the folder's file."""
    assert isinstance(error, ValueError | OSError), repr(error)
    assert str(folder) in str(error)
    assert "\n" not in str(error)


def loaded(folder):
    """The records that are there, None if it is refused; what is left out must be said with the file's name."""
    files = list(folder.glob("*.npz"))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            run = load_run(folder)
        except Exception as error:
            refused(error, folder)
            return None
    records = [*run.records, *(run.train.records if run.train else [])]
    messages = [str(one.message) for one in caught]
    assert len(records) + len(messages) == len(files)
    assert all("\n" not in message and "is not a whole record" in message for message in messages)
    assert sum(any(f"{file} " in message for message in messages) for file in files) == len(messages)
    return records


@examples(100)
@given(damage=damages())
def test_of_damaged_files_is_read_what_is_whole(whole, tmp_path_factory, damage):
    folder, originals = whole
    kind, which, do = damage
    damaged = copied(folder, tmp_path_factory.mktemp("damage"))
    do(damaged)
    records = loaded(damaged)
    assert not Mine.ran
    is_info = which == 4  # the last of the sorted files
    if records is None:
        assert is_info or kind == "swap"
        return
    for record in records:
        same(record, originals[record.epoch, record.split])
    if kind in ("rename", "leftover") and not is_info:
        assert len(records) == 4
    if kind in ("cut", "garbage", "folder", "loop", "dangling", "other", "pickle", "objects", "delete") and not is_info:
        assert len(records) == 3


@st.composite
def edits(draw):
    """A function of a folder that changes something in its JSON or arrays, so that it is still a whole file."""
    which, place, value = draw(st.integers(0, 4)), draw(st.floats(0, 0.999)), draw(ODD_JSON | st.just(KeyError))
    arrays = [np.zeros(0), np.zeros((2, 2)), np.array("x"), np.array(1.5), np.full((3, 3), np.nan), np.array([None])]
    array = draw(st.none() | st.sampled_from(range(len(arrays))))

    def edit_json(text):
        tree = json.loads(text)
        found = list(places(tree))
        holder, key = found[int(place * len(found))]
        if value is KeyError:
            del holder[key]
        else:
            holder[key] = value
        return json.dumps(tree)

    def edit(folder):
        path = sorted(folder.iterdir())[which]
        if path.suffix == ".json":
            path.write_text(edit_json(path.read_text()))
        elif array is None:
            rewritten(path, lambda held: held.update(head=np.array(edit_json(held["head"].item()))))
        else:
            rewritten(path, lambda held: held.update({list(held)[int(place * len(held))]: arrays[array]}))

    return edit


@examples(100)
@given(edit=edits())
def test_of_files_that_say_odd_things_no_raw_error_comes(whole, tmp_path_factory, edit):
    damaged = copied(whole[0], tmp_path_factory.mktemp("edit"))
    edit(damaged)
    loaded(damaged)


@examples(25)
@given(damage=damages().map(lambda damage: damage[2]) | edits(), command=st.sampled_from(["show", "compare", "json"]))
def test_the_command_line_shows_no_traceback_of_damaged_files(whole, tmp_path_factory, damage, command):
    damaged = copied(whole[0], tmp_path_factory.mktemp("command"))
    damage(damaged)
    given = {
        "show": ["show", str(damaged)],
        "json": ["show", str(damaged), "--format", "json"],
        "compare": ["compare", str(whole[0]), str(damaged)],
    }
    result = CliRunner().invoke(main, given[command])
    assert isinstance(result.exception, SystemExit | None), repr(result.exception)
    assert result.exit_code in (0, 2)
    said = result.stderr.splitlines()
    assert all(line.startswith(("Warning: ", "Error: ")) for line in said)
    assert all(str(damaged) in line or "share" in line for line in said)
    assert bool(said) >= (result.exit_code == 2)


def test_what_is_damaged_once_costs_one_record_by_name(whole, tmp_path):
    damaged = copied(whole[0], tmp_path)
    (damaged / "fit-epoch=0000-val.npz").write_bytes(b"")
    with pytest.warns(UserWarning, match=r"fit-epoch=0000-val\.npz is not a whole record: .*; it is left out"):
        run = load_run(damaged)
    assert (run.epochs, run.train.epochs) == ([1], [0, 1])


@pytest.mark.parametrize("file", ["run.json", "fit-epoch=0001-val.npz"])
@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_unreadable_files(whole, tmp_path, file):
    damaged = copied(whole[0], tmp_path)
    (damaged / file).chmod(0)
    records = loaded(damaged)
    assert records is None if file == "run.json" else len(records) == 3


def test_links_to_a_run_are_not_further_runs(whole, tmp_path):
    damaged = copied(whole[0], tmp_path)
    (tmp_path / "latest").symlink_to(damaged.parent)
    (tmp_path / "damaged" / "around").symlink_to(tmp_path)
    assert load_run(tmp_path).epochs == [0, 1]


# Records

NAMES = st.text(max_size=8) | st.sampled_from(
    ["a/b.c", "#%s", "..", "x" * 500, "\ud800", "é ☃", "array_0", "head", "*"]
)
DTYPES = st.sampled_from([np.bool_, np.int8, np.int64, np.uint8, np.uint64, np.float16, np.float32, np.float64])


@st.composite
def odd_records(draw):
    classes = draw(st.lists(NAMES, max_size=3))
    found = {}
    for analysis in draw(st.lists(NAMES, max_size=2)):
        axes = draw(st.dictionaries(NAMES, st.lists(st.sampled_from(AXES), max_size=2), max_size=3))
        layers = {}
        for layer in draw(st.lists(NAMES, max_size=2)):
            layers[layer] = {}
            for quantity in draw(st.lists(st.sampled_from(sorted(axes)), max_size=3)) if axes else ():
                parts = [part for name in axes[quantity] for part in ([name] * (1 + (name == "pair")))]
                shape = [len(classes) if part in ("pair", "class") else draw(st.integers(0, 3)) for part in parts]
                layers[layer][quantity] = draw(hnp.arrays(draw(DTYPES), tuple(shape)))
        labels = draw(st.dictionaries(st.sampled_from(AXES), st.lists(NAMES | st.integers(), max_size=2), max_size=2))
        found[analysis] = Findings(axes, layers, labels)
    return Record(
        epoch=draw(st.integers(0, 10**20) | st.integers(0, 9).map(np.int64)),
        step=draw(st.integers(0, 10**20) | st.integers(0, 9).map(np.int64)),
        stage=draw(st.sampled_from(["fit", "validate", "test", "analyze"])),
        split=draw(st.sampled_from(["val", "train", "test", "hold out ☃"])),
        layers=draw(st.lists(NAMES, max_size=3)),
        class_names=classes,
        counts=draw(hnp.arrays(np.int64, len(classes))),
        findings=found,
        notes=draw(st.lists(NAMES, max_size=2)),
    )


@examples(100)
@given(record=odd_records())
def test_any_record_comes_back_as_it_was(tmp_path_factory, record):
    again = load_record(save_record(tmp_path_factory.mktemp("record"), record))
    same(record, again)
    assert list(again.findings) == list(record.findings)
    for analysis, found in record.findings.items():
        assert again.findings[analysis].labels == found.labels
        for layer, quantities in found.items():
            for quantity, array in quantities.items():
                assert again.findings[analysis][layer][quantity].dtype == array.dtype


@pytest.mark.parametrize("wrong", [{"stage": "a/b"}, {"split": ""}, {"split": "nul\0"}], ids=str)
def test_a_record_that_no_file_can_be_named_after_is_refused(tmp_path, wrong):
    record = Record(**{"epoch": 0, "step": 0, "stage": "analyze", "split": "val"} | wrong, **EMPTY)
    with pytest.raises(ValueError) as caught:
        save_record(tmp_path, record)
    told(caught.value, *wrong)


EMPTY = {"layers": [], "class_names": [], "counts": np.zeros(0, int), "findings": {}}


def test_a_record_that_does_not_fit_its_classes_is_refused():
    with pytest.raises(ValueError, match="one whole number for each of 0 classes"):
        Record(0, 0, "fit", "val", **{**EMPTY, "counts": np.zeros(2, int)})
    of_two = {"mine": Findings({"x": ("pair",)}, {"fc": {"x": np.zeros((2, 2))}})}
    with pytest.raises(ValueError, match=r"shape \(2, 2\), which does not fit 0 classes"):
        Record(0, 0, "fit", "val", **{**EMPTY, "findings": of_two})
