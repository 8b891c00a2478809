"""Layouts as TensorBoard itself reads, merges and fills them."""

import json
from itertools import pairwise
from pathlib import Path

import pytest
from pytorch_lightning.loggers import CSVLogger, TensorBoardLogger
from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
from tensorboard.context import RequestContext
from tensorboard.plugins.base_plugin import TBContext
from tensorboard.plugins.custom_scalar.custom_scalars_plugin import CustomScalarsPlugin
from tensorboard.plugins.scalar.scalars_plugin import ScalarsPlugin
from torch.utils.tensorboard import SummaryWriter

from lightning_separation.loggers import lay_out

USERS = {"mine": {"losses": ["Multiline", ["loss/.*"]]}}


def separation(*layers, name="separation"):
    return [f"{word}/{layer}" for layer in layers for word in (name, f"{name}_min", f"{name}_max")]


def logger(root, version="run", scalars=()):
    """A logger that has these scalars."""
    made = TensorBoardLogger(root, name="", version=version)
    for tag in scalars:
        made.experiment.add_scalar(tag, 0.5, 0)
    return made


def fail(subject, reason):
    pytest.fail(f"{subject}: {reason}")


def lay(made, scalars, name="separation", report=fail):
    lay_out([made], scalars, name, report)
    made.experiment.flush()


class TensorBoard:
    """The page "Custom Scalars" of a folder of runs."""

    def __init__(self, root):
        runs = EventMultiplexer().AddRunsFromDirectory(str(root)).Reload()
        provider = MultiplexerDataProvider(runs, str(root))
        instances = {}
        context = TBContext(logdir=str(root), data_provider=provider, plugin_name_to_instance=instances)
        instances["scalars"] = ScalarsPlugin(context)
        self.plugin = CustomScalarsPlugin(context)

    def categories(self):
        """By category and title of a chart its contents."""
        layout = self.plugin.layout_impl(RequestContext(), "")
        categories = json.loads(layout)["category"] if layout else []
        charts = {category["title"]: category["chart"] for category in categories}
        assert all(len({chart["title"] for chart in row}) == len(row) for row in charts.values())
        return {category: {chart["title"]: chart for chart in row} for category, row in charts.items()}

    def tags(self, chart, run="run"):
        """What a chart of several lines shows."""
        (expression,) = chart["multiline"]["tag"]
        return set(self.plugin.scalars_impl(RequestContext(), run, expression, "")["tag_to_events"])


def layouts(folder):
    """How many layouts have been written."""
    events = (event for path in Path(folder).iterdir() for event in EventFileLoader(str(path)).Load())
    return sum(value.tag == "custom_scalars__config__" for event in events for value in event.summary.value)


@pytest.mark.parametrize("name", ["separation", "a.b+c (d) [e]|f", "^sep$"])
def test_a_chart_shows_the_layers_of_one_quantity_of_one_monitor_whatever_they_are_called(tmp_path, name):
    tags = separation("input", "net.0", "a[0]/b", "x+y (z)|w^$", "1", name=name)
    others = [
        *separation("input", name="aXb+c (d) [e]|f"),
        f"{name}_last",
        f"{name}_other/input",
        f"my/{name}/input",
        "f/g",
    ]
    lay(logger(tmp_path, scalars=tags + others), tags, name)
    page = TensorBoard(tmp_path)
    (charts,) = page.categories().values()
    for title, word in (("mean separation", name), ("hardest pair", f"{name}_min")):
        assert page.tags(charts[f"{title}, all layers"]) == {tag for tag in tags if tag.startswith(f"{word}/")}
    bands = {title: chart["margin"]["series"] for title, chart in charts.items() if "margin" in chart}
    assert len(bands) == 5
    (band,) = bands["x+y (z)|w^$: hardest pair, mean, easiest pair"]
    ends = {"value": name, "lower": f"{name}_min", "upper": f"{name}_max"}
    assert band == {end: f"{word}/x+y (z)|w^$" for end, word in ends.items()}


@pytest.mark.parametrize("name", ["separation", "other"])
def test_only_what_is_logged_has_a_chart(tmp_path, name):
    prefix = "" if name == "separation" else f"{name}_"
    found = {
        f"{prefix}bayes_error/fc": "Bayes error, upper bound, all layers",
        f"{name}_gap/fc": "train minus validation, all layers",
        f"{prefix}ablation_max_loss/fc": "largest loss by one unit, all layers",
        f"{prefix}significant_fraction/fc": "significant units, all layers",
        f"{name}/fc": "mean separation, all layers",  # without its ends: no band
    }
    for i, (tag, title) in enumerate(found.items()):
        root = tmp_path / str(i)
        lay(logger(root, scalars=found), [tag], name)
        page = TensorBoard(root)
        (charts,) = page.categories().values()
        assert list(charts) == [title]
        assert page.tags(charts[title]) == {tag}


def test_nothing_is_laid_out_of_other_scalars(tmp_path):
    made = logger(tmp_path)
    lay(made, [])
    lay(made, ["loss", "separation_last", "norm_mean/input", *separation("fc", name="other")])
    assert layouts(made.log_dir) == 0


def test_of_many_layers_twenty_from_the_first_to_the_last_have_a_band(tmp_path):
    names = [f"layers.{i}" for i in range(57)]
    lay(logger(tmp_path, scalars=separation(*names)), separation(*names))
    page = TensorBoard(tmp_path)
    (charts,) = page.categories().values()
    bands = [chart["margin"]["series"][0]["value"] for chart in charts.values() if "margin" in chart]
    numbers = [int(band.rpartition(".")[2]) for band in bands]
    assert (len(numbers), numbers[0], numbers[-1]) == (20, 0, 56)
    assert {b - a for a, b in pairwise(numbers)} <= {2, 3}
    assert len(page.tags(charts["mean separation, all layers"])) == 57


def test_runs_with_different_layers_share_the_charts_of_all_layers(tmp_path):
    runs = {"a": separation("input", "fc1"), "b": separation("input", "fc1", "fc2"), "c": separation("conv")}
    for run, tags in runs.items():
        lay(logger(tmp_path, run, tags), tags)
    page = TensorBoard(tmp_path)
    (charts,) = page.categories().values()
    assert len(charts) == 2 + 4
    for run, tags in runs.items():
        assert page.tags(charts["mean separation, all layers"], run) == {t for t in tags if t.startswith("separation/")}


@pytest.mark.parametrize("flushed", [False, True])
def test_a_users_own_layout_stays(tmp_path, flushed):
    made = logger(tmp_path)
    made.experiment.add_custom_scalars(USERS)
    if flushed:
        made.experiment.flush()
    lay(made, separation("fc"))
    assert list(TensorBoard(tmp_path).categories()) == ["mine"]
    assert layouts(made.log_dir) == 1


def test_a_users_own_layout_stays_when_the_run_goes_on(tmp_path):
    before = logger(tmp_path)
    before.experiment.add_custom_scalars(USERS)
    before.experiment.close()
    with SummaryWriter(before.log_dir) as later:
        later.add_scalar("loss", 1.0)
    made = logger(tmp_path)
    lay(made, separation("fc"))
    assert list(TensorBoard(tmp_path).categories()) == ["mine"]


@pytest.mark.parametrize("goes_on", [False, True])
def test_a_users_later_layout_stays_even_if_it_has_our_charts_in_it(tmp_path, goes_on):
    made = logger(tmp_path)
    lay(made, separation("fc"))
    (ours,) = TensorBoard(tmp_path).categories()
    if goes_on:  # in a file of its own
        made.experiment.close()
        made = logger(tmp_path)
    made.experiment.add_custom_scalars({ours: {"x": ["Multiline", ["x"]]}, **USERS})
    lay(made, separation("fc", "more"))
    assert list(TensorBoard(tmp_path).categories()) == [ours, "mine"]
    assert layouts(made.log_dir) == 2


def test_what_is_there_is_not_written_again(tmp_path):
    for _ in range(2):  # the run goes on in a file of its own
        made = logger(tmp_path)
        for _ in range(2):
            lay(made, separation("input", "fc"))
        made.experiment.close()
    assert layouts(made.log_dir) == 1
    assert len(list(Path(made.log_dir).iterdir())) == 2


def test_what_only_mentions_a_layout_is_none(tmp_path):
    made = logger(tmp_path, scalars=["custom_scalars__config__ of mine"])
    made.experiment.add_text("notes", "custom_scalars__config__")
    lay(made, separation("fc"))
    assert len(TensorBoard(tmp_path).categories()) == 1


def test_charts_of_other_monitors_and_of_later_scalars_are_added(tmp_path):
    made = logger(tmp_path)
    lay(made, separation("fc"))
    lay(made, separation("fc", name="other"), "other")
    lay(made, ["separation_gap/fc"])
    categories = TensorBoard(tmp_path).categories()
    first, second = categories.values()
    bands = [charts["fc: hardest pair, mean, easiest pair"]["margin"]["series"] for charts in (first, second)]
    assert [band["value"] for (band,) in bands] == ["separation/fc", "other/fc"]
    assert list(first)[-1] == "train minus validation, all layers"
    assert len(first) == len(second) + 1
    lay(made, [*separation("fc"), "separation_gap/fc"])
    assert layouts(made.log_dir) == 3


def test_every_logger_that_takes_it_gets_it(tmp_path):
    loggers = [logger(tmp_path / "a"), CSVLogger(tmp_path / "b"), object(), logger(tmp_path / "c")]
    lay_out(loggers, separation("fc"), "separation", fail)
    for made in (loggers[0], loggers[3]):
        made.experiment.flush()
        assert layouts(made.log_dir) == 1


@pytest.mark.parametrize("kept", [5, 100, 400])
def test_a_file_cut_off_in_mid_write_is_no_trouble(tmp_path, kept):
    before = logger(tmp_path)
    lay(before, separation("fc"))
    before.experiment.close()
    (path,) = Path(before.log_dir).iterdir()
    path.write_bytes(path.read_bytes()[:kept])
    made = logger(tmp_path)
    lay(made, separation("fc"))
    (charts,) = TensorBoard(tmp_path).categories().values()
    assert len(charts) == 3


def test_trouble_is_reported(tmp_path):
    broken, made = logger(tmp_path / "a"), logger(tmp_path / "b")
    record = b"\xffcustom_scalars__config__\xff"
    head = len(record).to_bytes(8, "little")
    Path(broken.experiment.log_dir, "events.out.tfevents.0").write_bytes(head + bytes(4) + record + bytes(4))
    said = []
    lay_out([broken, made], separation("fc"), "separation", lambda *words: said.append(words))
    ((subject, reason),) = said
    assert subject == "TensorBoardLogger"
    assert reason.startswith("it did not take dashboard: DecodeError")
    made.experiment.flush()
    assert layouts(made.log_dir) == 1
