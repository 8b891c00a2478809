"""What a network makes of batches when the whole step of which it is a part is compiled."""

from __future__ import annotations

from typing import Any

import torch
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.utilities.signature_utils import is_param_in_hook_signature

from .capture import Capture
from .capture.layers import is_helper
from .capture.restore import unchanged
from .capture.structures import map_tensors
from .errors import MonitorError
from .train_split.calls import eager_copy, left_when_called


class CompiledStep:
    """Runs the network itself, eagerly, as no hook is called inside a compiled step.

    What the network is given is found by the step of a copy of the module, which is left when it calls a network: it
    logs nothing, and what it changes is gone with the copy.

    Args:
        trainer: In a validation or test.
        module: Compiled by ``torch.compile(module)``.
        capture: Started; its hooks are there only while the network runs here.
        dataloader_idx: Which loader is watched.
    """

    def __init__(self, trainer: Trainer, module: LightningModule, capture: Capture, dataloader_idx: int) -> None:
        self._trainer, self._module, self._capture = trainer, module, capture
        batches = trainer.num_test_batches if trainer.testing else trainer.num_val_batches
        self._several = [dataloader_idx] if len(batches) > 1 else []
        self._twin = eager_copy(module)
        self._step = self._twin.test_step if trainer.testing else self._twin.validation_step
        capture.unhook()

    def see(self, batch: Any, batch_idx: int) -> None:
        """A batch that the step is about to see, and that the capture was told of.

        If the step fails on the copy, that is reported, and nothing more is captured.
        """
        if not self._capture.awaits:
            return
        try:
            self._run(batch, batch_idx)
        except MonitorError:
            raise
        except Exception as error:  # a step may need its Trainer, or anything else that a copy has not
            self._capture.stop()
            told = f"it is compiled, and run without that on a copy of the module it fails: {error!r}"
            self._capture.report(self._step.__name__, f"{told}. Compile the network instead")

    def _run(self, batch: Any, batch_idx: int) -> None:
        networks = dict(self._capture.networks or self._candidates())
        twins = {name: self._twin.get_submodule(name) for name in networks}
        takes_index = is_param_in_hook_signature(self._step, "batch_idx", min_args=2)
        with unchanged(self._twin), unchanged(self._module), self._trainer.precision_plugin.val_step_context():
            with left_when_called(twins, 1) as called:
                self._step(map_tensors(torch.clone, batch), *([batch_idx] if takes_index else []), *self._several)
            with self._capture.hooked():
                for name, (args, kwargs) in called.items():
                    networks[name](*args, **kwargs)

    def _candidates(self) -> dict[str, Any]:
        return {name: part for name, part in self._module.named_modules() if not is_helper(self._module, name)}
