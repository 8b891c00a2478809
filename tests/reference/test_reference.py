"""The reference builds without a warning, and the docstrings say of every public name what there is to know."""

import inspect
import re
import subprocess
import sys
from dataclasses import is_dataclass
from importlib import import_module
from pathlib import Path

import pytest
from sphinx.ext.napoleon import Config, GoogleDocstring
from sphinx.util.inventory import InventoryFile

HERE = Path(__file__).parent
ROOMS = ("analyses", "comparison", "functional", "interventions", "metrics", "plots", "records", "runs")
OF_LOGGERS = ("Adapter", "register_adapter")  # the other names of that room are the monitor's
WITHOUT_EXAMPLE = {
    "runs.Comparison": "the methods of Run make it, and show it",
    "plots.PathColumn": "path_diagram shows it",
    "loggers.Adapter": "register_adapter shows one",
}
NEVER_MADE = ("analyses.Analysis",)  # a protocol


def public() -> dict[str, object]:
    """Every public class and function once, by the shortest of its names."""
    top = import_module("lightning_separation")
    rooms = {room: import_module(f"lightning_separation.{room}") for room in (*ROOMS, "loggers")}
    names = [("", top, top.__all__)]
    names += [(f"{name}.", room, OF_LOGGERS if name == "loggers" else room.__all__) for name, room in rooms.items()]
    found = {f"{prefix}{name}": getattr(room, name) for prefix, room, all_names in names for name in all_names}
    first = {id(value): name for name, value in reversed(found.items())}
    return {name: found[name] for name in first.values()}


PUBLIC = public()
DESCRIBED = {name: each for name, each in PUBLIC.items() if inspect.isclass(each) or inspect.isfunction(each)}
RESULTS = {name for name, each in DESCRIBED.items() if hasattr(each, "_fields")}
ERRORS = {name for name, each in DESCRIBED.items() if inspect.isclass(each) and issubclass(each, Exception)}
METHODS = {
    f"{owner}.{name}": method
    for owner in ("Record", "Run", "runs.Comparison", "analyses.Analysis", "analyses.LayerAnalysis", "loggers.Adapter")
    for name, method in vars(PUBLIC[owner]).items()
    if inspect.isfunction(method) and not name.startswith("_")
}


def as_read(described: object) -> str:
    """A docstring as the reference has it."""
    return str(GoogleDocstring(inspect.getdoc(described), Config(napoleon_use_ivar=True)))


def parameters(described: object) -> list[str]:
    signature = inspect.signature(described).parameters.values()
    return [re.split("[:=]", str(each))[0] for each in signature if each.name != "self"]


def named(text: str, *fields: str) -> list[str]:
    """What the fields of a docstring describe, in order."""
    return [name.replace("\\", "") for name in re.findall(rf"^:(?:{'|'.join(fields)}) (\S+):", text, re.MULTILINE)]


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reference")
    options = ["-W", "-n", "--keep-going", "-q", "-E", "-b", "html", "-d", str(folder / "doctrees")]
    command = [sys.executable, "-m", "sphinx", *options, str(HERE), str(folder / "html")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder / "html"


def test_every_public_name_has_its_entry(built):
    inventory = InventoryFile.loads((built / "objects.inv").read_bytes(), uri="")
    entries = {name for kind, names in inventory.data.items() if kind.startswith("py:") for name in names}
    assert not {name for name in PUBLIC if not entries & other_names(name)}


def other_names(name: str) -> set[str]:
    """All that one object is called; a class at the top level is described in its room."""
    value = PUBLIC[name]
    rooms = ["", *(f"{room}." for room in ROOMS)]
    return {f"lightning_separation.{name}"} | {
        f"lightning_separation.{room}{name.rpartition('.')[2]}"
        for room in rooms
        if getattr(import_module(f"lightning_separation.{room}".rstrip(".")), name.rpartition(".")[2], None) is value
    }


@pytest.mark.parametrize("command", ["[OPTIONS] COMMAND", "show [OPTIONS] RUN", "compare [OPTIONS] RUN RUN"])
def test_the_help_of_every_command_is_there(built, command):
    assert f"Usage: lightning-separation {command}" in (built / "command_line.html").read_text()


@pytest.mark.parametrize("name", sorted(DESCRIBED.keys() - RESULTS - ERRORS))
def test_the_docstring_describes(name):
    described, text = DESCRIBED[name], as_read(DESCRIBED[name])
    if inspect.isclass(described):
        assert name in NEVER_MADE or set(named(text, "param", "ivar")) >= set(parameters(described))
    else:
        assert named(text, "param") == parameters(described)
        assert (":returns:" in text) == returns_something(described)
        assert ":rtype:" not in text, "a colon in the first line of Returns makes a type of what is before it"
    if name not in NEVER_MADE and re.search(r"\braise \w+Error\(|\bcheck_\w+\(", own_source(described)):
        assert ":raises " in text
    assert (">>>" in text) != (name in WITHOUT_EXAMPLE)


@pytest.mark.parametrize("name", sorted(RESULTS))
def test_every_field_of_a_result_is_described(name):
    room = sys.modules[DESCRIBED[name].__module__]
    makers = [getattr(room, each, None) for each in re.findall(r":func:`(\w+)`", DESCRIBED[name].__doc__)]
    text = " ".join(inspect.getdoc(each) for each in (DESCRIBED[name], *makers) if each)
    assert not {field for field in DESCRIBED[name]._fields if not re.search(rf"``{field}\b|^ +{field}: ", text, re.M)}


@pytest.mark.parametrize("name", sorted(METHODS))
def test_every_argument_of_a_method_is_described(name):
    assert named(as_read(METHODS[name]), "param") == parameters(METHODS[name])


def returns_something(function: object) -> bool:
    """Whether there is something to say of what it returns: not of nothing, nor of a context."""
    returned = str(inspect.signature(function).return_annotation)
    return returned != "None" and not returned.startswith("Iterator")


def own_source(described: object) -> str:
    """The code of a function, or of what makes an object of a class."""
    if inspect.isfunction(described):
        return inspect.getsource(described)
    maker = vars(described).get("__post_init__" if is_dataclass(described) else "__init__")
    return inspect.getsource(maker) if maker else ""
