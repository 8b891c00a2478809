"""What the networks are given when ``validation_step`` sees a batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from typing import Any

import torch
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.utilities.signature_utils import is_param_in_hook_signature
from torch import nn

from ..capture.layers import add_pre_hook
from ..capture.recorder import Call
from ..capture.restore import unchanged
from ..capture.structures import map_tensors
from .errors import NoTrainingDataError


def transferred(trainer: Trainer, module: LightningModule, batch: Any) -> Any:
    """A batch as ``validation_step`` gets it."""
    batch = trainer.precision_plugin.convert_input(batch)
    batch = module._on_before_batch_transfer(batch, dataloader_idx=0)
    return trainer.strategy.batch_to_device(batch, dataloader_idx=0)


def validation_calls(
    trainer: Trainer,
    module: LightningModule,
    batches: list[Any],
    networks: Mapping[str, nn.Module],
    dataloader_idx: int,
) -> Iterator[dict[str, Call]]:
    """What each network is called with first when ``validation_step`` sees a batch.

    The step is that of a copy, and is left as soon as all networks have been called: what it changes, in weights,
    metrics or anything else that the module holds, is gone with the copy.

    Raises:
        NoTrainingDataError: If the module cannot be copied, the step fails, or it calls no network.
    """
    try:
        twin = eager_copy(module)
    except Exception as error:
        raise NoTrainingDataError(f"the LightningModule cannot be copied: {error!r}") from error
    takes_index = is_param_in_hook_signature(twin.validation_step, "batch_idx", min_args=2)
    several = len(trainer.num_val_batches) > 1
    with unchanged(twin), trainer.precision_plugin.val_step_context():
        for index, batch in enumerate(batches):
            arguments = [*([index] if takes_index else []), *([dataloader_idx] if several else [])]
            with left_when_called({name: twin.get_submodule(name) for name in networks}, len(networks)) as called:
                try:
                    twin.validation_step(map_tensors(torch.clone, batch), *arguments)
                except Exception as error:
                    raise NoTrainingDataError(
                        f"validation_step does not take a training batch outside of the loop: {error!r}"
                    ) from error
            if not called:
                raise NoTrainingDataError("validation_step calls no network for a training batch")
            yield called


def eager_copy(module: LightningModule) -> LightningModule:
    """A copy that knows no Trainer, logs nothing, has no hooks, and whose steps are not compiled."""
    twin = deepcopy(module, {id(module._compiler_ctx): None})
    twin.__dict__.update(log=_nothing, log_dict=_nothing)
    for part in twin.modules():
        part._forward_hooks.clear()  # they may belong to somebody who counts
        for name, value in list(vars(part).items()):  # a copy of a compiled method is still that of the original
            if hasattr(value, "_torchdynamo_orig_callable") and hasattr(type(part), name):
                del part.__dict__[name]
    return twin


def run(networks: Mapping[str, nn.Module], called: Mapping[str, Call]) -> None:
    """Call networks, by name.

    Raises:
        NoTrainingDataError: If that fails.
    """
    try:
        for name, (args, kwargs) in called.items():
            networks[name](*args, **kwargs)
    except Exception as error:
        told = "the network does not take what validation_step makes of a training batch"
        raise NoTrainingDataError(f"{told}: {error!r}") from error


class _AllCalledError(BaseException):
    """Leaves a step; no ``except Exception`` of the user's stops it."""


@contextmanager
def left_when_called(networks: Mapping[str, nn.Module], most: int) -> Iterator[dict[str, Call]]:
    """Leave the block when so many networks are called; yields with what, by name."""
    called: dict[str, Call] = {}

    def seen(name: str) -> Callable[..., None]:
        def hook(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            if name not in called:
                called[name] = Call(*map_tensors(torch.clone, (args, kwargs)))
            if len(called) == most:
                raise _AllCalledError

        return hook

    handles = [add_pre_hook(network, seen(name), with_kwargs=True, prepend=True) for name, network in networks.items()]
    try:
        yield called
    except _AllCalledError:
        pass
    finally:
        for handle in handles:
            handle.remove()


def _nothing(*_: Any, **__: Any) -> None:
    """Instead of the module's ``log``."""
