"""Every kind in each logger's own type, written by the real library offline and read back as that library stores it."""

import csv
import io
import json
import logging
import os
import re
import struct
import time
import warnings
import zipfile
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image
from pytorch_lightning.loggers import CSVLogger, Logger, TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn

from lightning_separation import SeparationMonitor, load_run
from lightning_separation.analyses import HenzePenrose, Significance
from lightning_separation.loggers import Adapter, displays, loggable, register_adapter, remembered
from lightning_separation.loggers.adapters import adapter_for
from lightning_separation.loggers.adapters.tensorboard import _last_layout as last_layout
from lightning_separation.loggers.bins import binned
from lightning_separation.tables import Table
from tests.helpers import Classifier, blobs, loader, trainer

LAYERS = ["input", "net.0", "net.1", "net.3"]
LONG = f"separation/{'a' * 300}"
HIDDEN = [layer for layer in LAYERS if layer != "input"]
FIGURES = {
    *(f"separation_figures/{which}" for which in ("depth", "layers_by_pairs")),
    *(f"significance_figures/{layer}" for layer in LAYERS),
    *(f"ablation_figures/{which}" for which in [*HIDDEN, "effect_size_by_loss"]),
}


@pytest.fixture(scope="module", autouse=True)
def alone(tmp_path_factory):
    """Libraries find their homes in a folder of the test, and nobody to talk to."""
    home = tmp_path_factory.mktemp("home")
    settings = {
        **dict.fromkeys(("HOME", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR", "WANDB_DATA_DIR"), str(home)),
        "WANDB_MODE": "offline",
        "WANDB_SILENT": "true",
        "WANDB_ERROR_REPORTING": "false",
        "WANDB_X_DISABLE_STATS": "true",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "true",
        "COMET_START_ONLINE": "0",  # CometLogger(online=False) disables the experiment: nothing is stored
        "COMET_LOGGING_CONSOLE": "error",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in settings.items():
            patch.setenv(name, value)
        patch.chdir(home)
        yield


def fit(root, logger, monitor=None, net=None, epochs=2):
    """Two epochs, and the records of them."""
    t = trainer(root, monitor or SeparationMonitor(), logger=logger, max_epochs=epochs, enable_checkpointing=False)
    t.fit(Classifier(net), loader(blobs()), loader(blobs(spread=1.5)))
    (folder,) = {path.parent for path in root.rglob("run.json")}
    return load_run(folder)


def expected(run):
    """What the records say has to be shown: by kind, tag and step."""
    kinds = ("scalars", "histograms", "tables", "figures")
    shown, memory = {kind: {} for kind in kinds}, {}
    for record in run.records:
        memory[record.label] = remembered(record)
        for display in displays(record, memory, "separation").values():
            for kind in kinds:
                for tag, value in getattr(display, kind).items():
                    shown[kind].setdefault(tag, {})[record.step] = value
            for tag, draw in display.layer_figures.items():
                shown["figures"].setdefault(tag, {})[record.step] = draw
    return shown


def assert_scalars(found, run):
    for tag, curve in expected(run)["scalars"].items():
        np.testing.assert_allclose([found[tag][step] for step in curve], list(curve.values()), rtol=1e-6, err_msg=tag)
        assert list(found[tag]) == list(found["val_loss"])  # where the user's own are


def assert_histograms(found, run):
    """``found``: by tag and step counts and edges."""
    right = expected(run)["histograms"]
    assert found.keys() == right.keys()
    for tag, values in right.items():
        assert found[tag].keys() == values.keys()
        for step, (counts, edges) in found[tag].items():
            np.testing.assert_array_equal(counts, np.histogram(values[step], edges)[0], err_msg=tag)
            assert sum(counts) == len(values[step])


def assert_tables(found, run, readable=False):
    """``found``: by tag and step rows, the first of which is the header."""
    right = expected(run)["tables"]
    assert found.keys() == right.keys()
    for tag, tables in right.items():
        for step, table in tables.items():
            rows = [list(table.header), *(list(row) for row in table.rows)]
            if readable:
                rows = list(csv.reader(io.StringIO(table.to_csv())))
            assert found[tag][step] == rows


def assert_figures(found, run, rtol=0.005):
    """``found``: by tag and step width and height in pixels."""
    assert found.keys() == FIGURES
    for tag, drawn in expected(run)["figures"].items():
        assert found[tag].keys() == drawn.keys()
    draw = expected(run)["figures"]["separation_figures/depth"]
    for step, size in found["separation_figures/depth"].items():
        assert 300 < size[0] < 3000
        with io.BytesIO() as file:
            draw[step]().savefig(file, format="png")
            np.testing.assert_allclose(size, Image.open(file).size, rtol)


class Named(nn.Module):
    """A network whose parts have any names."""

    def __init__(self, *names):
        super().__init__()
        self.parts = nn.ModuleDict({name: nn.Linear(6, 6) for name in names})
        self.last = nn.Linear(6, 3)

    def forward(self, x):
        for part in self.parts.values():
            x = part(x)
        return self.last(x)


# W&B


def wandb_messages(file):
    """What is in a .wandb file: blocks of 32 KiB, in them pieces with a sum, a length and a kind."""
    from wandb.proto.wandb_internal_pb2 import Record as Message

    data, at, whole = file.read_bytes(), 7, b""
    while at + 7 <= len(data):
        if (room := 32768 - at % 32768) < 7:
            at += room
            continue
        _, length, kind = struct.unpack("<IHB", data[at : at + 7])
        if at + 7 + length > len(data):
            return
        whole += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # a whole one, or the last piece of one
            yield Message.FromString(whole)
            whole = b""


def wandb_history(file):
    """The rows of the history. The process that writes the file may need a moment more than ``finish``."""
    deadline = time.monotonic() + 30
    while not (messages := list(wandb_messages(file))) or messages[-1].WhichOneof("record_type") != "exit":
        assert time.monotonic() < deadline, f"{file} has no end"
        time.sleep(0.05)
    for message in messages:
        if message.WhichOneof("record_type") == "history":
            row = {}
            for item in message.history.item:
                *path, last = list(item.nested_key) or [item.key]
                place = row
                for part in path:
                    place = place.setdefault(part, {})
                place[last] = json.loads(item.value_json)
            yield row


@pytest.fixture(scope="module")
def wandb_run(tmp_path_factory):
    from pytorch_lightning.loggers import WandbLogger

    root = tmp_path_factory.mktemp("wandb")
    logger = WandbLogger(save_dir=root, offline=True, project="flowers", id="first")
    run = fit(root, logger)
    files = logger.experiment.dir
    logger.experiment.finish()
    (file,) = root.rglob("*.wandb")
    found = {}
    for row in wandb_history(file):
        step = row["trainer/global_step"]
        for tag, value in row.items():
            found.setdefault(tag, {})[step] = value
    return run, found, root, files


def of_type(found, kind):
    return {
        tag: steps
        for tag, steps in found.items()
        if any(isinstance(value, dict) and value.get("_type") == kind for value in steps.values())
    }


def test_wandb_scalars(wandb_run):
    run, found, _, _ = wandb_run
    assert_scalars(found, run)


def test_wandb_histograms(wandb_run):
    run, found, _, _ = wandb_run
    made = of_type(found, "histogram").items()
    assert_histograms({t: {s: (h["values"], h["bins"]) for s, h in steps.items()} for t, steps in made}, run)


def test_wandb_tables(wandb_run):
    run, found, _, files = wandb_run

    def rows(value):
        with open(os.path.join(files, value["path"])) as file:
            table = json.load(file)
        return [table["columns"], *table["data"]]

    made = of_type(found, "table-file").items()
    assert_tables({tag: {step: rows(value) for step, value in steps.items()} for tag, steps in made}, run)


def test_wandb_figures(wandb_run):
    run, found, _, files = wandb_run

    def size(value):
        (name,) = value["filenames"]
        return Image.open(os.path.join(files, name)).size

    made = of_type(found, "images/separated").items()
    assert_figures({tag: {step: size(value) for step, value in steps.items()} for tag, steps in made}, run)


def test_wandb_records_have_a_folder_of_the_run(wandb_run):
    _, _, root, _ = wandb_run
    assert (root / "flowers" / "first" / "separation" / "run.json").exists()
    assert not [path for path in root.rglob("*.csv") if "separation" in str(path)]


def test_wandb_layers_with_odd_names(tmp_path):
    from pytorch_lightning.loggers import WandbLogger

    names = ["a/b", "a-b", "a" * 300]
    logger = WandbLogger(save_dir=tmp_path, offline=True)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "SeparationMonitor")
        fit(tmp_path, logger, net=Named(*names), epochs=1, monitor=SeparationMonitor([Significance()]))
    (folder,) = tmp_path.rglob("images/significance_figures")
    logger.experiment.finish()
    assert len([path for path in folder.iterdir() if path.is_file()]) == len(names) + 2


# MLflow


@pytest.fixture(scope="module")
def mlflow_run(tmp_path_factory):
    from pytorch_lightning.loggers import MLFlowLogger

    root = tmp_path_factory.mktemp("mlflow")
    uri = f"sqlite:///{root / 'runs.db'}"
    logger = MLFlowLogger(tracking_uri=uri, artifact_location=(root / "artifacts").as_uri())
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)  # it has no folder of its own: records go to the Trainer's
        run = fit(root, logger)
    return run, logger, root


def mlflow_artifacts(logger, kind):
    """By tag and step the files of a kind, as MLflow finds them."""
    client, found = logger.experiment, {}
    for top in client.list_artifacts(logger.run_id):
        for tag in client.list_artifacts(logger.run_id, top.path):
            for file in client.list_artifacts(logger.run_id, tag.path):
                if file.path.endswith(kind):
                    step = int(file.path.rpartition("=")[2].partition(".")[0])
                    found.setdefault(tag.path, {})[step] = client.download_artifacts(logger.run_id, file.path)
    return found


def test_mlflow_scalars(mlflow_run):
    run, logger, _ = mlflow_run
    tags = [*expected(run)["scalars"], "val_loss"]
    history = {tag: logger.experiment.get_metric_history(logger.run_id, tag) for tag in tags}
    assert_scalars({tag: {point.step: point.value for point in points} for tag, points in history.items()}, run)


def test_mlflow_histograms(mlflow_run):
    run, logger, _ = mlflow_run

    def bins(path):
        with open(path) as file:
            made = json.load(file)
        return made["counts"], made["edges"]

    made = mlflow_artifacts(logger, ".json").items()
    assert_histograms({tag: {step: bins(path) for step, path in steps.items()} for tag, steps in made}, run)


def test_mlflow_tables(mlflow_run):
    run, logger, _ = mlflow_run

    def rows(path):
        with open(path, newline="") as file:
            return list(csv.reader(file))

    made = mlflow_artifacts(logger, ".csv").items()
    found = {tag: {step: rows(path) for step, path in steps.items()} for tag, steps in made}
    assert_tables(found, run, readable=True)


def test_mlflow_figures(mlflow_run):
    run, logger, _ = mlflow_run
    made = mlflow_artifacts(logger, ".png").items()
    assert_figures({tag: {step: Image.open(path).size for step, path in steps.items()} for tag, steps in made}, run)


def test_mlflow_records_have_a_folder_of_the_run(mlflow_run):
    _, logger, root = mlflow_run
    assert (root / logger.experiment_id / logger.run_id / "separation" / "run.json").exists()


def test_mlflow_layers_with_odd_names_are_told_and_end_no_fit(tmp_path):
    from pytorch_lightning.loggers import MLFlowLogger

    long = "a" * 300
    names = ["block[0]", "block0", "a/b", "a-b", "é#%", long]
    logger = MLFlowLogger(
        tracking_uri=f"sqlite:///{tmp_path / 'runs.db'}", artifact_location=(tmp_path / "artifacts").as_uri()
    )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        run = fit(tmp_path, logger, SeparationMonitor([HenzePenrose()], on_error="raise"), Named(*names))
    told = [str(one.message) for one in caught if "SeparationMonitor" in str(one.message)]
    merged = "net.parts.block[0] and net.parts.block0 have one name there: the scalars of these layers are in one curve"
    refused = f"its names cannot be those of some scalars, so no logger gets them: separation/net.parts.{long}"
    assert [one.partition("MLFlowLogger: ")[2].split(", separation_min")[0] for one in told] == [refused, merged]
    history = logger.experiment.get_metric_history(logger.run_id, "separation/net.parts.block0")
    found = run.records[0].findings["henze_penrose"]
    assert {round(point.value, 5) for point in history if point.step == run.records[0].step} == {
        round(found[f"net.parts.{name}"]["separation"].item(), 5) for name in ("block[0]", "block0")
    }
    stored = mlflow_artifacts(logger, ".json")
    assert len(stored) == len(expected(run)["histograms"]) == len(names) + 2  # none is another's


# Comet


@pytest.fixture(scope="module")
def comet_run(tmp_path_factory):
    root = tmp_path_factory.mktemp("comet")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COMET_DISABLE_AUTO_LOGGING", "1")
        from pytorch_lightning.loggers import CometLogger

        logger = CometLogger(offline_directory=str(root), project="flowers", log_code=False, log_env_details=False)
        run = fit(root, logger)
        logger.log_metrics({LONG: 1.0}, 0)
        logger.experiment.end()
    (path,) = root.glob("*.zip")
    archive = zipfile.ZipFile(path)
    return run, archive, [json.loads(line) for line in archive.read("messages.json").splitlines()]


def comet_uploads(comet_run, kind):
    """By name and step what was uploaded of a kind."""
    _, archive, messages = comet_run
    found = {}
    for message in messages:
        payload = message["payload"]
        if message["type"] == "file_upload" and payload["upload_type"] == kind:
            told = payload["additional_params"]
            name = told.get("figName") or told["fileName"]
            found.setdefault(name, {})[told["step"]] = archive.read(payload["file_path"])
    return found


def test_comet_scalars(comet_run):
    run, _, messages = comet_run
    found = {}
    for message in messages:
        if message["type"] == "metric_msg":
            metric = message["payload"]["metric"]
            found.setdefault(metric["metricName"], {})[metric["step"]] = metric["metricValue"]
    assert_scalars(found, run)
    kind = type("CometLogger", (), {"_prefix": None})
    assert adapter_for(kind()).scalar_name(LONG) in found
    told = []
    assert loggable([kind()], [f"{LONG}b", LONG], lambda *what, harmless: told.append(what)) == {LONG, f"{LONG}b"}
    names = [one.partition("/")[2] for one in (f"{LONG}b", LONG)]
    assert told == [
        ("CometLogger", f"{' and '.join(names)} have one name there: the scalars of these layers are in one curve")
    ]


def test_comet_histograms(comet_run):
    from comet_ml import Histogram

    run, _, _ = comet_run
    right, found = expected(run)["histograms"], comet_uploads(comet_run, "histogram3d")
    assert found.keys() == right.keys()
    for tag, steps in found.items():
        assert steps.keys() == right[tag].keys()
        for step, text in steps.items():
            wanted = Histogram()
            wanted.add(right[tag][step])
            stored = json.loads(text)
            assert stored == json.loads(json.dumps(wanted.to_json()))
            assert sum(count for _, count in stored["index_values"]) == len(right[tag][step])


def test_comet_tables(comet_run):
    run, _, _ = comet_run
    found = {}
    for name, steps in comet_uploads(comet_run, "asset").items():
        tag, _, end = name.rpartition("-step=")
        for step, text in steps.items():
            assert int(end.removesuffix(".csv")) == step
            found.setdefault(tag, {})[step] = list(csv.reader(io.StringIO(text.decode())))
    assert_tables(found, run)


def test_comet_figures(comet_run):
    run, _, _ = comet_run

    def size(text):
        svg = ElementTree.fromstring(text)
        return tuple(float(svg.get(side).removesuffix("pt")) / 72 * 100 for side in ("width", "height"))

    made = comet_uploads(comet_run, "visualization").items()
    assert_figures({tag: {step: size(text) for step, text in steps.items()} for tag, steps in made}, run, 0.05)


# A logger's own prefix


def tensorboard_tags(logger, root):
    events = EventAccumulator(logger.log_dir, {"tensors": 0})
    events.Reload()
    found = events.Tags()
    return {
        "scalars": set(found["scalars"]),
        "histograms": set(found["histograms"]),
        "figures": set(found["images"]),
        "tables": {tag.removesuffix("/text_summary") for tag in found["tensors"] if "_tables/" in tag},
    }


def wandb_tags(logger, root):
    logger.experiment.finish()
    (file,) = root.rglob("*.wandb")
    found = {}
    for row in wandb_history(file):
        for tag, value in row.items():
            kind = value.get("_type") if isinstance(value, dict) else "scalars"
            found.setdefault(kind, set()).add(tag)
    names = {"scalars": "scalars", "histograms": "histogram", "figures": "images/separated", "tables": "table-file"}
    return {kind: found[name] for kind, name in names.items()}


def mlflow_tags(logger, root):
    endings = {"histograms": ".json", "figures": ".png", "tables": ".csv"}
    scalars = set(logger.experiment.get_run(logger.run_id).data.metrics)
    return {"scalars": scalars, **{kind: set(mlflow_artifacts(logger, ending)) for kind, ending in endings.items()}}


def comet_tags(logger, root):
    logger.experiment.end()
    (path,) = root.glob("*.zip")
    archive = zipfile.ZipFile(path)
    messages = [json.loads(line) for line in archive.read("messages.json").splitlines()]
    kinds = {"histograms": "histogram3d", "figures": "visualization", "tables": "asset"}
    found = {kind: set(comet_uploads((None, archive, messages), name)) for kind, name in kinds.items()}
    found["tables"] = {name.rpartition("-step=")[0] for name in found["tables"]}
    return found | {
        "scalars": {m["payload"]["metric"]["metricName"] for m in messages if m["type"] == "metric_msg"},
    }


def a_logger(name, root, **settings):
    """One that writes below a folder, offline."""
    from pytorch_lightning import loggers

    if name == "MLFlowLogger":
        artifacts = (root / "artifacts").as_uri()
        settings |= {"tracking_uri": f"sqlite:///{root / 'runs.db'}", "artifact_location": artifacts}
    elif name == "CometLogger":
        settings |= {"offline_directory": str(root), "log_code": False, "log_env_details": False}
    elif name == "WandbLogger":
        settings |= {"save_dir": root, "offline": True, "id": "first", "project": "flowers"}
    else:
        settings |= {"save_dir": root}
    return getattr(loggers, name)(**settings)


@pytest.mark.parametrize(
    ("name", "tags_of", "before"),
    [
        ("TensorBoardLogger", tensorboard_tags, "pre-"),
        ("WandbLogger", wandb_tags, "pre-"),
        ("MLFlowLogger", mlflow_tags, "pre-"),
        ("CometLogger", comet_tags, "pre_"),
    ],
    ids=["TensorBoard", "Wandb", "MLflow", "Comet"],
)
def test_a_loggers_prefix_is_once_before_all_that_it_gets(tmp_path, monkeypatch, name, tags_of, before):
    monkeypatch.setenv("COMET_DISABLE_AUTO_LOGGING", "1")
    logger = a_logger(name, tmp_path, prefix="pre")
    run = fit(tmp_path, logger, SeparationMonitor([HenzePenrose(), Significance()]), epochs=1)
    found = tags_of(logger, tmp_path)
    found["scalars"] = {tag for tag in found["scalars"] if any(ours in tag for ours in expected(run)["scalars"])}
    assert found == {kind: {before + tag for tag in tags} for kind, tags in expected(run).items()}


def test_the_layout_of_a_logger_with_a_prefix_finds_its_scalars(tmp_path):
    logger = TensorBoardLogger(tmp_path, prefix="pre.fix")
    fit(tmp_path, logger, SeparationMonitor([HenzePenrose()]), epochs=1)
    scalars = tensorboard_tags(logger, tmp_path)["scalars"]
    (charts,) = last_layout(logger.log_dir).values()
    assert {kind for kind, _ in charts.values()} == {"Multiline", "Margin"}
    for kind, tags in charts.values():
        for tag in tags:
            assert any(re.match(tag, scalar) for scalar in scalars) if kind == "Multiline" else tag in scalars


# Where the records are


def lines(caplog, word):
    return [
        one.message for one in caplog.records if one.name.startswith("lightning_separation") and word in one.message
    ]


@pytest.mark.parametrize("name", ["WandbLogger", "MLFlowLogger", "CometLogger", "Nowhere"])
def test_where_records_are_is_said_once_for_loggers_without_a_folder(tmp_path, monkeypatch, caplog, name):
    monkeypatch.setenv("COMET_DISABLE_AUTO_LOGGING", "1")
    monkeypatch.chdir(tmp_path)
    monitor = SeparationMonitor([HenzePenrose()])
    assert monitor.folder is None
    logger = Nowhere() if name == "Nowhere" else a_logger(name, tmp_path)
    with caplog.at_level(logging.INFO, "lightning_separation"):
        run = fit(tmp_path, logger, monitor)
    if name in ("WandbLogger", "CometLogger"):
        logger.experiment.finish() if name == "WandbLogger" else logger.experiment.end()
    assert load_run(monitor.folder).epochs == run.epochs == [0, 1]
    kinds = "Nowhere takes no figures, tables, histograms: they are with the records" if name == "Nowhere" else ""
    told = f"{kinds or 'the records are'} in {monitor.folder} (load_run(monitor.folder) reads them)"
    assert lines(caplog, "load_run") == [f"SeparationMonitor 'separation': {told}"]
    assert not said(caplog)


class Nowhere(Logger):
    """Takes scalars to nowhere."""

    name, version = "mine", 3

    def log_metrics(self, metrics, step=None):
        pass

    def log_hyperparams(self, *args, **kwargs):
        pass


@pytest.mark.parametrize("root", ["here", "memory://elsewhere"], ids=["local root", "remote root"])
def test_records_of_a_remote_log_directory_are_on_this_machine_or_not_there(tmp_path, monkeypatch, caplog, root):
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    root = str(tmp_path / root) if root == "here" else root
    monitor = SeparationMonitor([HenzePenrose()], on_error="raise")
    t = trainer(root, monitor, logger=TensorBoardLogger("memory://tb", version=4), enable_checkpointing=False)
    with caplog.at_level(logging.INFO, "lightning_separation"), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        t.fit(Classifier(), loader(blobs()), loader(blobs(spread=1.5)))
    told = [str(one.message) for one in caught if "SeparationMonitor" in str(one.message)]
    if root.startswith("memory"):
        assert monitor.folder is None
        reason = "not saved: they are files of this machine, but memory://elsewhere is not; give dirpath="
        assert told == [f"SeparationMonitor 'separation': records: {reason}"]
    else:
        assert monitor.folder == tmp_path / "here" / "lightning_logs" / "version_4" / "separation"
        assert load_run(monitor.folder).epochs == [0, 1]
        (line,) = lines(caplog, "load_run")
        assert f"the records are in {monitor.folder} (" in line
        assert told == []
    assert not list((tmp_path / "empty").iterdir())


@pytest.mark.parametrize("dirpath", ["s3://bucket/logs", "memory://x", Path("s3://bucket/logs")], ids=str)
def test_a_remote_folder_for_records_is_refused(dirpath):
    with pytest.raises(ValueError, match="dirpath must be a local folder"):
        SeparationMonitor(dirpath=dirpath)


@pytest.mark.parametrize(
    "settings", [{"save": False}, {"fast_dev_run": True}], ids=["nothing is saved", "fast_dev_run"]
)
def test_where_no_records_are_left_there_is_no_folder(tmp_path, settings):
    monitor = SeparationMonitor([HenzePenrose()], save=settings.pop("save", True))
    trainer(tmp_path, monitor, logger=False, enable_checkpointing=False, **settings).fit(
        Classifier(), loader(blobs()), loader(blobs(spread=1.5))
    )
    assert monitor.folder is None


# What no logger takes

WHO = "SeparationMonitor 'separation': "


def said(caplog):
    return [one.message for one in caplog.records if "they are in" in one.message]


def read(path):
    with path.open(newline="") as file:
        return list(csv.reader(file))


def test_what_no_logger_takes_is_in_files_and_said_once(tmp_path, caplog):
    logger = CSVLogger(tmp_path)
    with caplog.at_level(logging.INFO, "lightning_separation"):
        run = fit(tmp_path, logger)
    folder = tmp_path / "lightning_logs" / "version_0" / "separation"
    assert said(caplog) == [f"{WHO}CSVLogger takes no figures, tables, histograms: they are in {folder}"]
    right = expected(run)
    for tag, tables in right["tables"].items():
        for step, table in tables.items():
            name = tag.replace("_tables/", "-")
            assert read(folder / "tables" / f"{name}-step={step:08d}.csv") == list(
                csv.reader(io.StringIO(table.to_csv()))
            )
    for record in run.records:
        header, *rows = read(folder / "histograms" / f"effect_size-step={record.step:08d}.csv")
        assert header == ["layer", "low", "high", "count"]
        for layer in LAYERS:
            counts, edges = binned(right["histograms"][f"effect_size/{layer}"][record.step])
            made = np.array([row[1:] for row in rows if row[0] == layer], float).T
            np.testing.assert_allclose(made, [edges[:-1], edges[1:], counts])
    assert len(list((folder / "figures").iterdir())) == 2 * len(FIGURES)


def files_of(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("kinds", [["tables"], ["figures", "histograms"]], ids=" and ".join)
def test_only_kinds_that_no_logger_takes_are_in_files(tmp_path, caplog, kinds):
    class Some(CSVLogger):
        pass

    class SomeAdapter(Adapter):
        takes = frozenset(kinds)

    register_adapter(Some, SomeAdapter)
    with caplog.at_level(logging.INFO, "lightning_separation"):
        fit(tmp_path, [CSVLogger(tmp_path), Some(tmp_path, "some")], epochs=1)
    folder = tmp_path / "lightning_logs" / "version_0" / "separation"
    left = [kind for kind in ("figures", "tables", "histograms") if kind not in kinds]
    assert said(caplog) == [f"{WHO}CSVLogger and Some take no {', '.join(left)}: they are in {folder}"]
    assert {path.name for path in folder.iterdir() if path.is_dir()} == set(left)


@pytest.mark.parametrize(
    ("settings", "kinds"),
    [
        pytest.param({"logger": False}, {"figures"}, id="no logger"),
        pytest.param({"logger": "csv", "save": False}, set(), id="nothing is saved"),
        pytest.param({"logger": "csv", "fast_dev_run": True}, set(), id="fast_dev_run"),
        pytest.param({"logger": "csv", "emit": ["scalars"]}, set(), id="nothing but scalars is asked for"),
    ],
)
def test_nothing_is_said_where_nobody_was_asked(tmp_path, caplog, settings, kinds):
    ours = {name: settings.pop(name) for name in ("save", "emit") if name in settings}
    if settings["logger"] == "csv":
        settings["logger"] = CSVLogger(tmp_path)
    t = trainer(tmp_path, SeparationMonitor(**ours), max_epochs=1, enable_checkpointing=False, **settings)
    with caplog.at_level(logging.INFO, "lightning_separation"):
        t.fit(Classifier(), loader(blobs()), loader(blobs(spread=1.5)))
    assert not said(caplog)
    made = {path.name for path in tmp_path.rglob("*") if path.is_dir()}
    assert made & {"figures", "tables", "histograms"} == kinds


def test_a_repeated_fit_replaces_the_files(tmp_path):
    once, again = tmp_path / "once", tmp_path / "again"
    for root, seeds in ((once, [1]), (again, [0, 1])):
        for seed in seeds:
            module = Classifier()
            for number, part in enumerate(module.net.parameters()):
                part.data.copy_(0.1 * (seed + 1) * (part.data * 0 + 1 + number))
            monitor = SeparationMonitor([HenzePenrose()], dirpath=root)
            t = trainer(root, monitor, logger=CSVLogger(root), max_epochs=1, enable_checkpointing=False)
            module.net[2].p = 0.0
            t.fit(module, loader(blobs()), loader(blobs(spread=1.5)))
    ours = {name: text for name, text in files_of(again / "separation").items() if name.endswith(".csv")}
    assert ours == {name: text for name, text in files_of(once / "separation").items() if name.endswith(".csv")}
    assert len(ours) == 2


def test_a_shorter_fit_leaves_nothing_of_the_longer_one_but_a_resumed_one_does(tmp_path, caplog):
    def go(epochs, ckpt_path=None):
        caplog.clear()
        monitor = SeparationMonitor([HenzePenrose()], dirpath=tmp_path)
        t = trainer(tmp_path, monitor, logger=CSVLogger(tmp_path), max_epochs=epochs, enable_checkpointing=False)
        with caplog.at_level(logging.INFO, "lightning_separation"):
            t.fit(Classifier(), loader(blobs()), loader(blobs(spread=1.5)), ckpt_path=ckpt_path)
        return t

    def steps(kind):
        return {int(path.stem.rpartition("=")[2]) for path in (tmp_path / "separation" / kind).iterdir()}

    def shown():
        (all_of_them,) = {tuple(sorted(steps(kind))) for kind in ("figures", "tables", "histograms")}
        return all_of_them

    t = go(3)
    assert shown() == (3, 7, 11)
    assert not lines(caplog, "replaced")
    t.validate(t.lightning_module, loader(blobs(spread=1.5)), verbose=False)
    assert shown() == (3, 7, 11, 12)
    t = go(1)
    assert shown() == (3, 12)
    assert lines(caplog, "replaced") == [f"{WHO}3 records of an earlier fit are replaced in {tmp_path / 'separation'}"]
    t.save_checkpoint(tmp_path / "first.ckpt")
    go(2, tmp_path / "first.ckpt")
    assert shown() == (3, 7, 12)
    assert not lines(caplog, "replaced")
    assert [(one.stage, one.step) for one in load_run(tmp_path / "separation").records] == [
        ("fit", 3),
        ("fit", 7),
        ("validate", 12),
    ]


def test_files_of_layers_with_odd_names_are_not_each_others(tmp_path):
    names = ["a/b", "a-b", "a:b", "a" * 300, "a" * 301, "é" * 200]
    run = fit(tmp_path, CSVLogger(tmp_path), net=Named(*names), epochs=1, monitor=SeparationMonitor(on_error="raise"))
    (folder,) = tmp_path.rglob("figures")
    significance = [path for path in folder.iterdir() if path.name.startswith("significance-")]
    assert len(significance) == len(run.layers) == len(names) + 2


# Adapters


class Mine(TensorBoardLogger):
    pass


class Keeps(Adapter):
    takes = frozenset({"tables"})

    def tables(self, tag, table, step):
        self.logger.kept.append((tag, table, step))


def test_a_users_own_adapter_is_given_what_it_takes(tmp_path):
    class Keeper(CSVLogger):
        def __init__(self, *args):
            super().__init__(*args)
            self.kept = []

    register_adapter(Keeper, Keeps)
    logger = Keeper(tmp_path)
    run = fit(tmp_path, [logger, TensorBoardLogger(tmp_path, "tb")], epochs=1)
    kept = {(tag, step): table for tag, table, step in logger.kept}
    right = {(tag, step): table for tag, steps in expected(run)["tables"].items() for step, table in steps.items()}
    assert kept == right
    assert all(isinstance(table, Table) for table in kept.values())


def test_the_nearest_registered_class_wins_and_registering_again_replaces(tmp_path):
    class Nearer(Mine):
        pass

    register_adapter(Mine, Keeps)
    assert type(adapter_for(Nearer(tmp_path))) is Keeps
    register_adapter("Nearer", Adapter)
    assert type(adapter_for(Nearer(tmp_path))) is Adapter
    register_adapter("Nearer", Keeps)
    assert type(adapter_for(Nearer(tmp_path))) is Keeps
    assert type(adapter_for(TensorBoardLogger(tmp_path))).__name__ == "TensorBoardAdapter"


@pytest.mark.parametrize(
    ("logger", "adapter", "error", "reason"),
    [
        (CSVLogger("."), Keeps, TypeError, "a logger's class or its name was expected"),
        ("my.Logger", Keeps, ValueError, "'my.Logger' is not the name of a class"),
        (Mine, Keeps(None), TypeError, "a subclass of lightning_separation.loggers.Adapter"),
        (Mine, CSVLogger, TypeError, "a subclass of lightning_separation.loggers.Adapter"),
        (Mine, type("Odd", (Adapter,), {"takes": {"scalars"}}), ValueError, "Odd.takes is {'scalars'}"),
        (Mine, type("Odd", (Adapter,), {"takes": "tables"}), ValueError, "Odd.takes is 'tables'"),
    ],
    ids=["logger's instance", "module's name", "adapter's instance", "no adapter", "unknown kind", "no collection"],
)
def test_what_cannot_be_registered_says_why(logger, adapter, error, reason):
    with pytest.raises(error, match=reason):
        register_adapter(logger, adapter)


@pytest.mark.parametrize("package", ["pytorch_lightning", "lightning.pytorch"])
@pytest.mark.parametrize(
    ("logger", "adapter"),
    [
        ("TensorBoardLogger", "TensorBoard"),
        ("WandbLogger", "Wandb"),
        ("MLFlowLogger", "MLflow"),
        ("CometLogger", "Comet"),
    ],
)
def test_loggers_of_both_packages_have_their_adapters(package, logger, adapter):
    kind = getattr(pytest.importorskip(f"{package}.loggers"), logger)
    assert type(adapter_for(kind.__new__(kind))).__name__ == f"{adapter}Adapter"


@pytest.mark.parametrize(
    "values",
    [[0.0], [1e20, 1e20], [0.1, np.nextafter(0.1, 1)], [-3.0, 5.0], [1e-12, 2e-12], [1e300, -1e300]],
    ids=["zero", "huge and equal", "hardly different", "of both signs", "tiny", "far apart"],
)
def test_bins_of_any_numbers_hold_them_all(values):
    counts, edges = binned(np.array(values))
    assert counts.sum() == len(values)
    assert (np.diff(edges) > 0).all()
