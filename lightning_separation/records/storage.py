"""Records as files: a run.json and one .npz for each analysed validation. Readable with NumPy alone."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO
from zipfile import BadZipFile, is_zipfile

import numpy as np

from ..checks import check_file_name
from .findings import Findings
from .record import Record

SCHEMA = 1
RUN_FILE = "run.json"
_FILED = ("figures", "tables", "histograms")  # folders beside the records; names of files end in their step
_INFO = {"schema": int, "settings": dict, "versions": dict}
_HEAD = {
    **dict.fromkeys(("schema", "epoch", "step"), int),
    **dict.fromkeys(("stage", "split"), str),
    **dict.fromkeys(("layers", "class_names", "notes", "index"), list),
    **dict.fromkeys(("axes", "labels"), dict),
}


class NotARecordError(ValueError):
    """A file is no record, or not a whole one."""


class NewerSchemaError(ValueError):
    """A newer version of the package wrote a file."""


def save_run_info(folder: Path, info: Mapping[str, Any]) -> None:
    """Write what holds for a whole run: layers, classes, sample, settings, versions.

    Args:
        folder: Of the records; it is made. The file is ``run.json``.
        info: What JSON can hold.

    Raises:
        OSError: If it cannot be written.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save_run_info(Path(folder), {"layers": ["input", "fc"]})
        ...     load_run_info(Path(folder))["layers"]
        ['input', 'fc']
    """
    text = json.dumps({"schema": SCHEMA, **info}, indent=1)
    write_whole(folder / RUN_FILE, lambda file: file.write(text.encode()))


def load_run_info(folder: Path) -> dict[str, Any]:
    """Read what :func:`save_run_info` wrote.

    Args:
        folder: With a file ``run.json``.

    Returns:
        What was given, with ``schema``, and ``settings`` and ``versions`` even if nothing is known of them.

    Raises:
        OSError: If it cannot be read.
        NotARecordError: If it is something else, or broken.
        NewerSchemaError: If a newer version of the package wrote it.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save_run_info(Path(folder), {"settings": {"seed": 0}})
        ...     load_run_info(Path(folder))
        {'settings': {'seed': 0}, 'versions': {}, 'schema': 1}
    """
    path = folder / RUN_FILE
    content = path.read_bytes()
    try:
        info = {"settings": {}, "versions": {}, **json.loads(content)}
        _check_schema(info["schema"], path)
        _check_types(info, _INFO)
    except NewerSchemaError:
        raise
    except Exception as error:  # whatever is in there
        raise NotARecordError(f"{path} is not what a monitor writes: {error!r}") from error
    return info


def forget_fit(folder: Path, first: int = 0) -> int:
    """Remove the records of an earlier fit from an epoch on: another one begins there in the same folder.

    With them go the figures, tables and histograms of steps that no other record has.

    Args:
        folder: Of the records; those outside of a fit (of ``trainer.validate``) stay.
        first: The first epoch to be removed.

    Returns:
        How many records there were.

    Raises:
        OSError: If one cannot be removed.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     for epoch in range(3):
        ...         _ = save_record(Path(folder), Record(epoch, epoch, "fit", "val", [], [], np.zeros(0, int), {}))
        ...     forget_fit(Path(folder), first=1), [path.name for path in Path(folder).iterdir()]
        (2, ['fit-epoch=0000-val.npz'])
    """
    records = folder.glob("fit-epoch=*-*.npz")
    forgotten = [file for file in records if int(file.name.split("-")[1].removeprefix("epoch=")) >= first]
    steps = _steps(forgotten)
    for file in forgotten:
        file.unlink()
    if steps:
        steps -= _steps(folder.glob("*.npz"))
    for step in steps:
        for kind in _FILED:
            for shown in (folder / kind).glob(f"*-step={step:08d}.*"):
                shown.unlink()
    return len(forgotten)


def _steps(files: Iterable[Path]) -> set[int]:
    """Of the records in some files; of one that is broken nothing is known."""
    steps = set()
    for file in files:
        with suppress(Exception), file.open("rb") as opened, np.load(opened, allow_pickle=False) as record:
            steps.add(int(json.loads(record["head"].item())["step"]))
    return steps


def save_record(folder: Path, record: Record) -> Path:
    """Write a record into its own file; a file of that name is replaced as a whole or not at all.

    During a fit there is one file an epoch. Validations outside of it can be of any checkpoint and get a number each.

    Args:
        folder: It is made.
        record: What is written: arrays as they are, the rest as JSON in an array ``head`` of text.

    Returns:
        The file, such as ``fit-epoch=0003-val.npz``.

    Raises:
        ValueError: If the stage or the split cannot be part of a file's name.
        OSError: If it cannot be written.

    Example:
        >>> import tempfile
        >>> found = Findings({"mean": ()}, {"fc": {"mean": 0.5}})
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = save_record(
        ...         Path(folder), Record(3, 120, "fit", "val", ["fc"], [], np.zeros(0, int), {"mine": found})
        ...     )
        ...     with np.load(path) as file:  # without this package
        ...         path.name, json.loads(file["head"].item())["index"], file["array_0"].item()
        ('fit-epoch=0003-val.npz', [{'analysis': 'mine', 'layer': 'fc', 'quantity': 'mean', 'array': 'array_0'}], 0.5)
    """
    check_file_name("stage", record.stage)
    check_file_name("split", record.split)
    stem = f"{record.stage}-epoch={record.epoch:04d}-{record.split}"
    path = folder / f"{stem}.npz"
    if record.stage != "fit":
        number = 0
        while (path := folder / f"{stem}-{number:04d}.npz").exists():
            number += 1
    arrays: dict[str, Any] = {}
    index: list[dict[str, str]] = []
    for analysis, found in record.findings.items():
        for layer, quantities in found.items():
            for quantity, array in quantities.items():
                name = f"array_{len(index)}"
                arrays[name] = array
                index.append({"analysis": analysis, "layer": layer, "quantity": quantity, "array": name})
    head = {
        "schema": SCHEMA,
        "epoch": int(record.epoch),
        "step": int(record.step),
        "stage": record.stage,
        "split": record.split,
        "layers": record.layers,
        "class_names": record.class_names,
        "notes": record.notes,
        "axes": {analysis: found.axes for analysis, found in record.findings.items()},
        "labels": {analysis: found.labels for analysis, found in record.findings.items()},
        "index": index,
    }
    arrays |= {"head": np.array(json.dumps(head)), "counts": record.counts}
    write_whole(path, lambda file: np.savez_compressed(file, **arrays))
    return path


def load_record(path: Path) -> Record:
    """Read what :func:`save_record` wrote.

    Args:
        path: The file.

    Returns:
        The record as it was written.

    Raises:
        NewerSchemaError: If a newer version of the package wrote it.
        NotARecordError: If it is something else, broken, or cannot be read.

    Example:
        >>> import tempfile
        >>> found = Findings({"mean": ()}, {"fc": {"mean": 0.5}})
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = save_record(
        ...         Path(folder), Record(3, 120, "fit", "val", ["fc"], [], np.zeros(0, int), {"mine": found})
        ...     )
        ...     load_record(path).findings["mine"]["fc"]["mean"].item()
        0.5
    """
    try:
        return _read(path)
    except NewerSchemaError:
        raise
    except Exception as error:  # whatever is in there
        raise NotARecordError(f"{path} is not a whole record: {error!r}") from error


def _read(path: Path) -> Record:
    with path.open("rb") as opened:  # here, as NumPy leaves open what is broken
        if not is_zipfile(opened):  # or NumPy would take it for a pickle
            raise BadZipFile("no .npz file")
        opened.seek(0)
        with np.load(opened, allow_pickle=False) as file:
            return _record(file, path)


def _record(file: Any, path: Path) -> Record:
    """The record that an opened .npz holds."""
    if broken := file.zip.testzip():  # NumPy compares checksums only of what it reads to its end
        raise BadZipFile(f"{broken} is damaged")
    head = {"labels": {}, **json.loads(file["head"].item())}
    _check_schema(head["schema"], path)
    _check_types(head, _HEAD)
    layers: dict[str, dict[str, dict[str, Any]]] = {analysis: {} for analysis in head["axes"]}
    for entry in head["index"]:
        found = layers[entry["analysis"]].setdefault(entry["layer"], {})
        found[entry["quantity"]] = file[entry["array"]]
    return Record(
        epoch=head["epoch"],
        step=head["step"],
        stage=head["stage"],
        split=head["split"],
        layers=head["layers"],
        class_names=head["class_names"],
        counts=file["counts"],
        findings={
            name: Findings(head["axes"][name], found, head["labels"].get(name)) for name, found in layers.items()
        },
        notes=head["notes"],
    )


def _check_types(content: Mapping[str, Any], types: Mapping[str, type]) -> None:
    """Raise ValueError unless all keys are there with values of their types, lists of text where they are lists."""
    for key, kind in types.items():
        if type(content[key]) is not kind:
            raise ValueError(f"{key} is a {type(content[key]).__name__}, not a {kind.__name__}")
        if kind is list and key != "index" and not all(isinstance(item, str) for item in content[key]):
            raise ValueError(f"{key} holds other things than text")


def _check_schema(schema: Any, path: Path) -> None:
    if type(schema) is int and schema > SCHEMA:
        raise NewerSchemaError(
            f"{path} has schema {schema}; this version of lightning_separation reads up to {SCHEMA}. "
            "Upgrade it: python -m pip install --upgrade lightning-separation"
        )


def write_whole(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Write a file under another name first: whoever is stopped half-way leaves the old one, or none, but none broken.

    Args:
        path: Of the file; its folder is made.
        write: Writes to the open file.

    Raises:
        OSError: If the disk does not take it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with unfinished.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)
