"""What is wrong is said in one line, by exit code 2, and never as a traceback."""

import json
import shlex
import shutil

import pytest

from lightning_separation.records.storage import SCHEMA
from tests.cli.made import ablated, moments, process, record, saved, strict


@pytest.fixture
def run(tmp_path):
    return saved(moments(), tmp_path / "logs" / "version_0" / "separation")


@pytest.fixture
def refused(call):
    """What is said when a command is refused; nothing goes to standard output."""

    def refused(*arguments):
        code, out, err = call(*arguments)
        assert (code, out) == (2, "")
        assert "Traceback" not in err
        return err

    return refused


def rewrite(path, **changed):
    path.write_text(json.dumps({**json.loads(path.read_text()), **changed}))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["show"], "Missing argument 'RUN'"),
        (["show", "RUN", "RUN"], "unexpected extra argument"),
        (["show", "RUN", "--format", "xml"], "'xml' is not one of"),
        (["compare"], "two runs or groups at least"),
        (["compare", "RUN"], 'what one run tells "lightning-separation show" tells'),
        (["compare", "RUN", "RUN", "--epoch", "last"], "an epoch, or \"before\", not 'last'"),
        (["compare", "RUN", "RUN", "--epoch", "-1"], "not '-1'"),
        (["compare", "RUN", "RUN", "--epoch", "1", "--all-epochs"], "--epoch or --all-epochs, not both"),
        (["compare", "RUN", "RUN", "--test", "t"], "'t' is not one of"),
        (["compare", "RUN", "--group", "a=RUN"], "single runs, or groups (--group), not both"),
        (["compare", "--group", "a=RUN"], "two groups at least"),
        (["compare", "--group", "a=RUN", "--group", "b=RUN", "--test", "fisher"], "compared by Welch's test"),
        (["analyse", "RUN"], "No such command 'analyse'"),
    ],
)
def test_wrong_usage_says_what_is_right(run, refused, arguments, said):
    err = refused(*(argument.replace("RUN", str(run)) for argument in arguments))
    assert err.startswith("Usage: lightning-separation")
    assert said in err


def test_there_is_nothing_to_read(tmp_path, refused):
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("none")
    assert refused("show", tmp_path / "nowhere") == f"Error: there is no file or folder {tmp_path}/nowhere\n"
    for path in (tmp_path / "empty", tmp_path / "notes.txt"):
        err = refused("show", path)
        assert "not the log directory of an analysed run" in err
        assert err.count("\n") == 1


def test_several_runs_are_listed_to_be_pasted(tmp_path, call, refused):
    names = ["first run", "second's"]
    wanted = [saved(moments(), tmp_path / "my logs" / name / "separation") for name in names]
    err = refused("show", tmp_path / "my logs")
    first, *listed = err.splitlines()
    assert "give one of:" in first
    assert [shlex.split(line) for line in listed] == [[str(path)] for path in wanted]
    assert call("show", *shlex.split(listed[1]))[0] == 0
    assert refused("compare", wanted[0], tmp_path / "my logs") == err


@pytest.mark.parametrize("text", ["", '{"schema": 1', "[]", '"schema"', "{}", "7"])
def test_a_broken_description_is_refused(run, refused, text):
    (run / "run.json").write_text(text)
    err = refused("show", run)
    assert "run.json is not what a monitor writes" in err
    assert err.count("\n") == 1


def test_newer_schemas_are_refused(run, refused):
    rewrite(run / "run.json", schema=SCHEMA + 1)
    assert f"has schema {SCHEMA + 1}" in refused("show", run)


def test_half_written_records_are_warned_of_and_left_out(run, call, refused):
    records = sorted(run.glob("*.npz"))
    broken = run / "fit-epoch=0001-val.npz"
    broken.write_bytes(broken.read_bytes()[:700])
    code, out, err = call("show", run, "--format", "json")
    assert code == 0
    assert strict(out)["run"]["moments"] == ["before", 0]
    assert err.startswith("Warning: ")
    assert f"{broken} is not a whole record" in err
    assert err.count("\n") == 1
    for path in records:
        path.write_bytes(b"")
    err = refused("show", run)
    assert err.splitlines()[-1] == f"Error: {run} has no whole record"


def test_runs_that_cannot_be_compared(tmp_path, run, refused):
    coder = saved([record(0, ["a"], ablation=ablated({"a": ([1.0], [1], False)}))], tmp_path / "coder")
    other_layers = saved(moments(layers=["x", "y"]), tmp_path / "layers")
    classes = saved(moments(classes=["a", "b", "c", "d"]), tmp_path / "classes")
    assert "has no separation of classes to compare" in refused("compare", run, coder)
    assert "share no layer" in refused("compare", run, other_layers)
    assert "no two classes are in both" in refused("compare", run, classes)
    for other in (coder, other_layers, classes):
        assert refused("compare", run, other).count("\n") == 1


def test_a_run_is_no_comparison_to_itself(run, refused):
    err = refused("compare", run, run.parent)
    assert err == f"Error: {run} is given twice\n"
    assert "is given twice" in refused("compare", "--group", f"a={run}", "--group", f"b={run.parent}")


@pytest.mark.parametrize("group", ["RUN,RUN", "=RUN", "a=", "a=RUN,"])
def test_groups_are_written_name_and_runs(run, refused, group):
    assert "a group is written NAME=RUN,RUN" in refused("compare", "--group", group, "--group", f"b={run}")


def test_groups_need_replicates(tmp_path, run, refused):
    other = saved(moments(), tmp_path / "other")
    third = saved(moments(), tmp_path / "third")
    assert "two replicates or more" in refused("compare", "--group", f"a={run}", "--group", f"b={other},{third}")
    assert "two replicates or more" in refused("compare", "--group", f"a={run}", "--group", f"b={other}")


def test_a_page_cannot_be_written_over_a_file(tmp_path, run, call):
    (tmp_path / "taken").write_text("mine")
    code, out, err = call("show", run, "--output", tmp_path / "taken")
    assert (code, out) == (2, "")
    assert (tmp_path / "taken").read_text() == "mine"
    code, _, err = call("show", run, "--output", tmp_path / "taken" / "below")
    assert code == 2
    assert "cannot write to" in err
    assert err.count("\n") == 1


def test_the_installed_command_ends_without_a_traceback(tmp_path, run):
    ended = process("-m", "lightning_separation", "show", tmp_path / "nowhere")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == f"Error: there is no file or folder {tmp_path}/nowhere\n"
    shutil.copytree(run, tmp_path / "logs" / "version_1" / "separation")
    ended = process("-m", "lightning_separation", "compare", *sorted((tmp_path / "logs").iterdir()))
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "version_1 minus version_0: none of 2 layers differs" in ended.stdout


def test_one_folder_of_several_runs_is_told_which(tmp_path, refused):
    one, two = (saved(moments(), tmp_path / name) for name in ("one", "two"))
    err = refused("compare", tmp_path)
    assert str(one) in err
    assert str(two) in err


def test_groups_may_be_patterns(tmp_path, call):
    for name in ("a0", "a1", "b0", "b1"):
        saved(moments(), tmp_path / name)
    code, out, _ = call("compare", "--group", f"a={tmp_path}/a*", "--group", f"b={tmp_path}/b*")
    assert code == 0
    assert "b (2 runs) minus a (2 runs)" in out
