"""What the hooks of several processes kept, brought together in each of them."""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..processes import Processes
from .buffers import RowBuffer
from .recognition import fingerprint
from .recorder import Call, Recorder, take_rows
from .sample import Sample
from .structures import all_tensors, first_tensor, map_tensors, nbytes


class Seen(NamedTuple):
    """Samples that were seen.

    Attributes:
        positions: Where all processes' loaders together have them.
        labels: ``[N]`` int64, their classes; None without classes.
        values: ``[N, ...]``, what is to be predicted; None if it is not known.
        no_classes: Why there are no classes.
    """

    positions: Sequence[int] = ()
    labels: Tensor | None = None
    values: Tensor | None = None
    no_classes: str = ""


class _Held(NamedTuple):
    """Of one layer: the shape of a row ``[...]``, the axes that were pooled, the type of its numbers."""

    shape: tuple[int, ...]
    pooled: tuple[int, ...]
    dtype: torch.dtype


class _Part(NamedTuple):
    """What one process has; attributes as in ``Recorder``, but for activations."""

    places: list[Tensor]
    rows: int  # with those that are left out
    incomplete: dict[str, tuple[int, int]]
    calls: list[Any]  # on the CPU, each with what of it was not
    buffers: bytes
    refusal: str
    outputs: list[dict[str, Tensor]]
    weights: Tensor
    networks: list[str]
    order: dict[str, str]
    row_bytes: dict[str, int]
    num_axes: dict[str, int]
    failed: set[str]
    held: dict[str, _Held]


def bring_together(recorder: Recorder, sample: Sample, own: Seen, processes: Processes) -> Seen:
    """What all processes have seen together, as one alone would have seen it; their rows go to the recorder.

    Args:
        recorder: After the pass, detached.
        sample: Of this process; it gets the choice among all.
        own: What this process has seen.
        processes: All of which do this.

    Returns:
        The chosen samples in their order; nothing if there is none.

    Raises:
        Exception: If in one of them something cannot be sent.
    """
    known = sample.shard.known
    parts = processes.gather(lambda: (own, b"" if known else fingerprint((own.labels, recorder.calls[:1]))))
    first = parts[0][1]
    has_all = not known and all(seen.positions and inputs == first for seen, inputs in parts)
    seen = [part if rank == 0 or not has_all else Seen() for rank, (part, _) in enumerate(parts)]
    with_rows = [part for part in seen if part.positions]
    labels = _joined([part.labels for part in with_rows])
    kept = sample.merge([part.positions for part in seen], labels)
    if not len(kept):
        return Seen()
    numbers = [len(part.positions) for part in seen]
    places = torch.full((sum(numbers),), -1)
    places[kept] = torch.arange(len(kept))
    mine = places.split(numbers)[processes.rank]
    _gather(recorder, torch.nn.functional.pad(mine, (0, recorder.num_rows - len(mine)), value=-1), processes)
    values = _joined([part.values for part in with_rows])
    positions = [position for part in seen for position in part.positions]
    return Seen(
        [positions[row] for row in kept.tolist()],
        None if labels is None else labels[kept],
        None if values is None else values[kept],
        next((part.no_classes for part in with_rows if part.no_classes), ""),
    )


def _joined(parts: Sequence[Tensor | None]) -> Tensor | None:
    """Rows of all of them; None if one has none, or they do not fit together."""
    have = [part for part in parts if part is not None]
    same = len({(part.shape[1:], part.dtype) for part in have}) == 1
    return torch.cat(have) if same and len(have) == len(parts) else None


def _gather(recorder: Recorder, places: Tensor, processes: Processes) -> None:
    """Give a recorder what those of the other processes have, too.

    Args:
        recorder: After the pass, detached.
        places: ``[rows]`` int64, for each row that it has its place in the sample; -1: it is left out. One process at
            least has one that is not.
        processes: All of which do this.

    Raises:
        Exception: If in one of them it cannot be sent.
    """
    need = sum(processes.gather(lambda: int(_share_kept(recorder, places) * recorder.call_bytes)))
    if need > recorder.budget:
        recorder.call_bytes = need
        return
    parts = processes.gather(lambda: _part(recorder, places))
    holders = [part for part in parts if part.places]
    own = {key: buffer.rows[places.to(buffer.rows.device) >= 0] for key, buffer in recorder.buffers.items()}
    pooled = {key: buffer.pooled for key, buffer in recorder.buffers.items()}
    _take_over(recorder, holders, processes)
    recorder.buffers = {}
    order = torch.cat(recorder.places).argsort()
    left = recorder.budget - recorder.call_bytes
    for key, axes in _shared(holders).items():  # the smallest first; what finds no room is computed again
        left -= _nbytes(key, holders)
        if left < 0:
            break
        like = holders[0].held[key]
        none = torch.zeros(0, *like.shape, dtype=like.dtype, device=processes.device)
        buffer = RowBuffer.of(own.pop(key, none), recorder.pooling, pooled.get(key, like.pooled))
        buffer.pool(axes)
        rows = torch.cat(processes.gather_rows(buffer.rows))
        recorder.buffers[key] = RowBuffer.of(rows[order.to(rows.device)], recorder.pooling, axes)


def _take_over(recorder: Recorder, holders: Sequence[_Part], processes: Processes) -> None:
    """All but the activations."""
    modules = dict(recorder.root.named_modules(remove_duplicate=False))
    recorder.networks = {name: modules[name] for part in holders for name in part.networks}
    recorder.weights = recorder.weights if len(recorder.weights) else holders[0].weights
    recorder.places = [places for part in holders for places in part.places]
    recorder.calls = [_received(call, processes.device) for part in holders for call in part.calls]
    recorder.outputs = [_to(processes.device, output) for part in holders for output in part.outputs]
    recorder.call_bytes = nbytes(recorder.calls)
    recorder.order = _union([part.order for part in holders])
    recorder.num_axes = _union([part.num_axes for part in holders])
    recorder.row_bytes = _union([part.row_bytes for part in holders])
    recorder.failed = set().union(*(part.failed for part in holders))
    recorder.refusal = next((part.refusal for part in holders if part.refusal), "")
    if len({part.buffers for part in holders}) > 1:
        recorder.refusal = "its buffers are not the same in all processes (broadcast_buffers=False?)"
    for key in recorder.order:
        known = key not in recorder.failed and all(key in part.order for part in holders)
        if not known and any(key in part.incomplete or key not in part.order for part in holders):
            rows = [part.rows if key in part.order else 0 for part in holders]
            ran = sum(part.incomplete.get(key, (of, of))[0] for part, of in zip(holders, rows, strict=True))
            recorder.incomplete[key] = ran, sum(part.rows for part in holders)
            recorder.failed.add(key)


def _share_kept(recorder: Recorder, places: Tensor) -> float:
    """Of what the networks were given, by the rows that are kept."""
    return float((places >= 0).double().mean()) if len(places) else 0.0


def _part(recorder: Recorder, places: Tensor) -> _Part:
    kept, calls, outputs, refusal = [], [], [], ""
    for own, call, output in zip(recorder.places, recorder.calls, recorder.outputs, strict=True):
        at = places[own]
        if bool((at < 0).all()):
            continue
        rows = (at >= 0).nonzero().squeeze(1)
        kept.append(at[rows])
        calls.append({name: Call(*take_rows(tuple(given), rows, len(own))) for name, given in call.items()})
        outputs.append(_to("cpu", take_rows(output, rows, len(own))))
    try:
        pickle.dumps([map_tensors(lambda _: torch.zeros(0), call) for call in calls])
    except Exception as error:  # of the user's objects; what layers made of them can be sent
        refusal = f"what it is given cannot be sent to other processes: {error!r}"
        calls = [{name: Call((first_tensor(list(given)),), {}) for name, given in call.items()} for call in calls]
    return _Part(
        kept,
        recorder.num_rows,
        recorder.incomplete,
        [_sent(call) for call in calls],
        fingerprint(list(recorder.root.buffers())),
        refusal,
        outputs,
        recorder.weights,
        list(recorder.networks),
        recorder.order,
        recorder.row_bytes,
        recorder.num_axes,
        recorder.failed,
        {key: _Held(tuple(b.rows.shape[1:]), b.pooled, b.rows.dtype) for key, b in recorder.buffers.items()},
    )


def _shared(holders: Sequence[_Part]) -> dict[str, tuple[int, ...]]:
    """Layers that all have, the smallest first, and the axes over which they must be pooled to fit together."""
    found = {}
    for key in sorted(holders[0].held, key=lambda key: _nbytes(key, holders)):
        if not all(key in part.held and key not in part.failed for part in holders):
            continue
        lengths = [_lengths(part.held[key]) for part in holders]
        axes = {axis for part in holders for axis in part.held[key].pooled}
        axes |= {axis for axis in lengths[0] if len({some.get(axis) for some in lengths}) > 1}
        same_type = len({(part.held[key].dtype, part.num_axes[key]) for part in holders}) == 1
        if same_type and (not lengths[0] or set(lengths[0]) - axes):
            found[key] = tuple(sorted(axes))
    return found


def _lengths(held: _Held) -> dict[int, int]:
    """Of a row's axes that are not pooled, by their numbers before any was."""
    axes = [axis for axis in range(1, len(held.shape) + len(held.pooled) + 1) if axis not in held.pooled]
    return dict(zip(axes, held.shape, strict=True))


def _nbytes(key: str, holders: Sequence[_Part]) -> int:
    """Of all its rows."""
    rows = sum(len(places) for part in holders for places in part.places)
    return rows * max(part.row_bytes.get(key, 0) for part in holders)


def _union(parts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Of equal keys the first process's value counts."""
    found: dict[str, Any] = {}
    for part in parts:
        for key, value in part.items():
            found.setdefault(key, value)
    return found


def _sent(call: dict[str, Call]) -> tuple[dict[str, Call], list[bool]]:
    """A call on the CPU, and which of its tensors were not there."""
    elsewhere = [tensor.device.type != "cpu" for tensor in all_tensors(call)]
    return _to("cpu", call), elsewhere


def _received(sent: tuple[dict[str, Call], list[bool]], device: torch.device) -> dict[str, Call]:
    call, elsewhere = sent
    flags = iter(elsewhere)
    made: dict[str, Call] = map_tensors(lambda tensor: tensor.to(device) if next(flags) else tensor, call)
    return made


def _to(device: torch.device | str, value: Any) -> Any:
    return map_tensors(lambda tensor: tensor.to(device), value)
