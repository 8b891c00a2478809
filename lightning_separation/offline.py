"""The same analysis without a Trainer."""

from __future__ import annotations

from . import namespaces  # noqa: F401  # before anything else that imports Lightning

# isort: split

import inspect
import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import torch
from pytorch_lightning.utilities import move_data_to_device
from torch import nn

from .analyses import Analysis
from .analyses.base import begun_anew, possible
from .capture import Capture, NothingCapturedError, Sample, select_layers
from .capture.buffers import Pooling
from .capture.dataset_index import place
from .capture.restore import unchanged
from .capture.structures import first_tensor
from .capture.targets import TargetFn
from .checks import as_names, check_choice, check_integer, shown
from .records import Record
from .settings import check_analyses, check_class_names, check_seed, check_target_fn, parse_bytes


def analyze(
    network: nn.Module,
    dataloader: Iterable[Any],
    analyses: Sequence[Analysis] | None = None,
    layers: Sequence[str] | None = None,
    samples_per_class: int = 100,
    max_samples: int = 1000,
    target_fn: TargetFn | Literal[False] | None = None,
    class_names: Sequence[str] | Mapping[int, str] | None = None,
    pooling: Pooling = "mean",
    max_memory: str | int = "2GB",
    seed: int = 0,
) -> Record:
    """Analyse a network once, without a Trainer.

    The network runs in eval mode, without gradients, on its own device; modes, buffers and random state are afterwards
    as before. A batch ``(x, y)`` is run as ``network(x)``; of a mapping the keys that ``forward`` names are given to it
    by name, or its first tensor if it names none of them.

    Args:
        network: Any module.
        dataloader: Batches as a DataLoader gives them.
        analyses: What to compute; None: ``[HenzePenrose(), Significance(), Ablation()]``.
        layers: Names or glob patterns, as in ``network.named_modules()``; None: every module without submodules that
            computes something.
        samples_per_class: At most so many samples of each class, the first that come.
        max_samples: At most so many where there are no classes.
        target_fn: Gets the classes out of a batch; see :class:`~lightning_separation.SeparationMonitor`.
        class_names: Names of classes 0, 1, ..., or a mapping from their numbers, which may have gaps.
        pooling: ``"mean"`` or ``"max"``, for layers whose rows differ in length.
        max_memory: For held activations and the work on them.
        seed: For analyses that draw at random.

    Returns:
        A record of stage ``"analyze"``; what was left out is in its ``notes``, and warned of.

    Raises:
        ValueError: For impossible settings or an unknown layer.
        RuntimeError: If the loader is empty, or ``max_memory`` too small for what it gives.

    Example:
        >>> import torch
        >>> data = torch.utils.data.TensorDataset(torch.eye(10).repeat(4, 1), torch.arange(10).repeat(4) % 2)
        >>> record = analyze(torch.nn.Linear(10, 3), torch.utils.data.DataLoader(data, batch_size=8), layers=[])
        >>> record.layers, record.counts.tolist()
        (['input'], [20, 20])
    """
    if not isinstance(network, nn.Module):
        raise ValueError(f"network must be a torch.nn.Module, not {shown(network)}")
    if not hasattr(dataloader, "__iter__") and not hasattr(dataloader, "__getitem__"):
        raise ValueError(f"dataloader must give batches, not {shown(dataloader)}")
    check_choice("pooling", pooling, ("mean", "max"))
    check_target_fn(target_fn)
    chosen = begun_anew(check_analyses(analyses))
    patterns = as_names("layers", layers)
    notes: list[str] = []

    def report(subject: str, reason: str, *, harmless: bool = False) -> None:
        notes.append(f"{subject}: {reason}")

    capture = Capture(
        network,
        select_layers(network, patterns),
        {"": network},
        Sample(
            check_integer("samples_per_class", samples_per_class, 1),
            check_integer("max_samples", max_samples, 1),
        ),
        target_fn=target_fn,
        class_names=check_class_names(class_names),
        pooling=pooling,
        max_memory=parse_bytes(max_memory),
        report=report,
        explicit=patterns is not None,
        seed=check_seed(seed),
    )
    device = next((tensor.device for tensor in (*network.parameters(), *network.buffers())), torch.device("cpu"))
    modes = {module: module.training for module in network.modules()}
    network.eval()
    capture.start()
    try:
        with unchanged(network):
            for batch in dataloader:
                batch = move_data_to_device(batch, device)
                capture.before_batch(batch)
                args, kwargs = _arguments(network, batch)
                network(*args, **kwargs)
                capture.after_batch()
            if not capture.running:
                raise NothingCapturedError(notes[-1])
            snapshot = capture.finish()
            place(snapshot, dataloader)
            findings = {analysis.name: analysis.compute(snapshot) for analysis in possible(chosen, snapshot)}
    finally:
        capture.stop()
        for module, mode in modes.items():
            module.training = mode
    for note in notes:
        warnings.warn(f"analyze: {note}", stacklevel=2)
    return Record(
        epoch=0,
        step=0,
        stage="analyze",
        split="val",
        layers=snapshot.layers,
        class_names=snapshot.class_names,
        counts=snapshot.counts.numpy(),
        findings=findings,
        notes=notes,
    )


def _arguments(network: nn.Module, batch: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    if isinstance(batch, Mapping):
        parameters = inspect.signature(network.forward).parameters
        named = {key: value for key, value in batch.items() if key in parameters}
        return ((), named) if named else ((first_tensor(list(batch.values())),), {})
    return (batch[0] if isinstance(batch, tuple | list) else batch,), {}
