"""The callback: when to look, and the whole way from a validation to what is shown of it."""

from __future__ import annotations

from .namespaces import OtherCallback, is_overridden  # before anything else that imports Lightning

# isort: split

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from pytorch_lightning import Callback, LightningModule, Trainer
from torch import nn

from .analyses import Analysis
from .analyses.base import load_states, possible, reason_of, states
from .analyses.sharing import findings_of
from .bars import progress_of
from .capture import Capture, NothingCapturedError, Sample, Snapshot, select_layers
from .capture.buffers import Pooling
from .capture.dataset_index import place, shard_of
from .capture.restore import same_random_numbers
from .capture.targets import TargetFn
from .checks import as_names, check_choice, check_file_name, check_flag, check_integer, check_path
from .compiled_step import CompiledStep
from .errors import MonitorError
from .loggers import KINDS
from .output import Output
from .preview import Preview
from .processes import Processes, check_strategy
from .records import Record
from .reports import Reports
from .schedule import check_validated, due_analyses, is_due, is_final, is_last_in_epoch
from .settings import (
    Network,
    check_analyses,
    check_class_names,
    check_epochs,
    check_network,
    check_seed,
    check_splits,
    check_target_fn,
    find_network,
    parse_bytes,
)
from .train_split import TrainingSample
from .trainer_facts import (
    is_wrapped,
    logged_step,
    may_be_alone,
    num_samples,
    saved_step,
    validation_loader,
)

_OF_LIGHTNING = ("log", "log_dict")  # methods of the module, given to every callback
_OF_A_LOOP = ("_capture", "_compiled_step", "_preview")  # with hooks
_CHOICE = ("samples_per_class", "max_samples", "dataloader_idx")  # settings that choose the samples
_TOLD = ("layers", "every_n_epochs", "epochs", *_CHOICE, "splits", "pooling", "max_memory", "seed")  # in run.json


class SeparationMonitor(Callback, OtherCallback):  # type: ignore[misc]
    """Shows in the Trainer's loggers, while a network trains, how far each of its layers separates the classes.

    At chosen epochs it hooks the chosen layers during the Trainer's own validation, keeps what they make of a fixed
    sample, runs its analyses on that, logs the result and saves it. Training is bit for bit the same as without it.

    Args:
        analyses: What to compute; None: ``[HenzePenrose(), Significance(), Ablation()]``.
        layers: Names or glob patterns of modules (``"encoder.*"``), as in ``named_modules()``; None: every module
            without submodules that computes something. The network's input is always there, as ``"input"``.
        every_n_epochs: The first validation is analysed, then the first at least so many epochs after the last
            analysed, and the final one's (unless early stopping ends the fit in between). Of several validations in one
            epoch the last; where the length of an epoch is not known, each.
        epochs: The epochs to analyse, from 0, instead.
        samples_per_class: At most so many samples of each class, the first in the order of the loader.
        max_samples: At most so many where there are no classes.
        dataloader_idx: Which validation loader.
        network: The submodule to analyse, or its name; None: the LightningModule if its step calls ``self(x)``, else
            the modules that the step calls.
        target_fn: Gets the classes out of a batch: ``target_fn(batch) -> [B]``. None: the second element, or the key
            y, label(s) or target(s). False: there are no classes.
        class_names: Names of classes 0, 1, ..., or a mapping from their numbers, which may have gaps.
        splits: Which data to analyse: ``("val",)``, or ``("val", "train")``: also as many samples of each class of the
            training data, in the modes of validation. They are read by a process of their own; what the network is
            given is found on a copy of the module, whose ``validation_step`` is left when it calls the network. Tags
            then begin with ``<name>_train``; ``<name>_gap/<layer>`` is the difference in separation.
        pooling: ``"mean"`` or ``"max"``: how layers whose rows differ in length (sequences) get equal ones.
        emit: Which of ``"scalars"``, ``"histograms"``, ``"figures"``, ``"tables"``, ``"dashboard"`` (a layout of
            TensorBoard's Custom Scalars page, unless there is one) go to the loggers; None: all.
        save: Whether to leave records in ``<log_dir>/<name>``.
        dirpath: Instead of the Trainer's log directory.
        name: Of the folder of records, the tags and the state in checkpoints.
        max_memory: For held activations and the work on them; above it layers are computed again in groups.
        on_error: ``"warn"`` reports trouble with data, layers, loggers or the disk once and training goes on;
            ``"raise"`` raises.
        seed: For analyses that draw at random.

    Logged:

    - Separation: ``separation/<layer>`` (mean divergence over pairs of classes), ``separation_min/<layer>`` (hardest
      pair), ``separation_max/<layer>`` (easiest), ``bayes_error/<layer>`` (upper bound over all classes) and
      ``separation_last`` (the last layer's mean, to monitor); histograms ``separation_pairs/<layer>``; figures
      ``separation_figures/layers_by_pairs`` and ``.../depth``; the table ``separation_tables/hardest_pairs``.
    - Single units: ``significant_fraction/<layer>`` (respond differently to the classes), ``dead_fraction/<layer>``
      (the same value for every sample), ``best_effect_size/<layer>``; histograms ``effect_size/<layer>`` and
      ``neg_log10_q/<layer>``; figures ``significance_figures/<layer>``; the table ``significance_tables/layers``.
    - What the network loses without a unit: ``ablation_max_loss/<layer>`` (largest increase of the loss without one
      unit); histograms ``ablation_loss/<layer>``; figures ``ablation_figures/<layer>`` and
      ``ablation_figures/effect_size_by_loss``; the tables ``ablation_tables/most_needed``, ``.../layers`` and
      ``.../selective_or_used``.

    Figures of single layers are drawn for the first, second, fourth, eighth, ... record of an analysis in a fit and for
    its last: TensorBoard keeps ten images of a tag.

    EarlyStopping and ModelCheckpoint can use the scalars; with a sparse schedule give them the same rhythm: a value
    that does not exist at their first check makes them raise, and one that is not measured anew counts against
    EarlyStopping's patience.

    Raises:
        ValueError: For impossible settings at once; for an unknown layer or network, epochs that are never validated,
            or two monitors of one name when the Trainer sets up.
        RuntimeError: With ``on_error="raise"``, for trouble while it runs.

    Example:
        >>> from pytorch_lightning import Trainer
        >>> monitor = SeparationMonitor(every_n_epochs=5, layers=["net.*"])
        >>> trainer = Trainer(callbacks=[monitor], logger=False)
    """

    def __init__(
        self,
        analyses: Sequence[Analysis] | None = None,
        layers: Sequence[str] | None = None,
        every_n_epochs: int = 1,
        epochs: Sequence[int] | None = None,
        samples_per_class: int = 100,
        max_samples: int = 1000,
        dataloader_idx: int = 0,
        network: Network | None = None,
        target_fn: Literal[False] | TargetFn | None = None,
        class_names: Sequence[str] | Mapping[int, str] | None = None,
        splits: Sequence[str] = ("val",),
        pooling: Pooling = "mean",
        emit: Sequence[Literal["scalars", "histograms", "figures", "tables", "dashboard"]] | None = None,
        save: bool = True,
        dirpath: str | Path | None = None,
        name: str = "separation",
        max_memory: int | str = "2GB",
        on_error: Literal["warn", "raise"] = "warn",
        seed: int = 0,
    ) -> None:
        super().__init__()
        check_choice("pooling", pooling, ("mean", "max"))
        check_choice("on_error", on_error, ("warn", "raise"))
        kinds = as_names("emit", emit)
        for kind in kinds or ():
            check_choice("emit", kind, KINDS)
        check_network(network)
        check_target_fn(target_fn)
        check_file_name("name", name)
        self.analyses = check_analyses(analyses)
        self.layers = as_names("layers", layers)
        self.every_n_epochs = check_integer("every_n_epochs", every_n_epochs, 1)
        self.epochs = check_epochs(epochs)
        self.samples_per_class = check_integer("samples_per_class", samples_per_class, 1)
        self.max_samples = check_integer("max_samples", max_samples, 1)
        self.dataloader_idx = check_integer("dataloader_idx", dataloader_idx, 0)
        self.network = network
        self.target_fn = target_fn
        self.class_names = check_class_names(class_names)
        self.splits = check_splits(splits)
        self.pooling = pooling
        self.emit = frozenset(KINDS if kinds is None else kinds)
        self.save = check_flag("save", save)
        self.dirpath = None if dirpath is None else check_path("dirpath", dirpath)
        self.name = name
        self.max_memory = parse_bytes(max_memory)
        self.on_error = on_error
        self.seed = check_seed(seed)
        self._chosen = analyses is not None  # whether the user chose the analyses
        self._sample = self._new_sample()
        self._training_sample = TrainingSample()
        self._analysed: dict[str, int] = {}  # the last epoch of each analysis
        self._capture: Capture | None = None
        self._compiled_step: CompiledStep | None = None  # of a module that torch.compile made one graph of
        self._preview: Preview | None = None  # until it is said
        self._looked = False  # whether this fit has had an analysed validation
        self._report = Reports(name, on_error == "raise")
        self._processes = Processes()
        self._output = Output(name, self.splits, self.emit, self.save, self._report)
        self._trained: tuple[int, int] | None = None  # of the checkpoint that is validated: epoch and step

    def __getstate__(self) -> dict[str, Any]:
        """All but what belongs to a Trainer that runs: a copy, here or in another process, watches nothing yet."""
        kept = {name: value for name, value in vars(self).items() if name not in _OF_LIGHTNING}
        return kept | dict.fromkeys(_OF_A_LOOP)

    @property
    def folder(self) -> Path | None:
        """Where the records of this run are; the same in all of its processes.

        None before its first analysed validation, and where none are left: with ``save=False`` or ``fast_dev_run``, or
        without a folder on this machine.

        Example:
            >>> monitor = SeparationMonitor()
            >>> monitor.folder is None
            True
            >>> trainer.fit(module, train_loader, val_loader)  # doctest: +SKIP
            >>> run = load_run(monitor.folder)  # doctest: +SKIP
        """
        return self._output.folder

    # The Trainer's life cycle

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Check what depends on the Trainer and the module."""
        self._forget_capture()
        self._looked = False
        self._trained = None
        check_strategy(trainer)
        callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
        monitors = [c for c in callbacks if isinstance(c, SeparationMonitor) and c.name == self.name]
        if len(monitors) > 1:
            raise ValueError(f"{len(monitors)} SeparationMonitors are called {self.name!r}; give each its own name=")
        if stage == "fit":
            check_validated(trainer, self.epochs or ())
        try:
            self._choose_layers(pl_module)
        except ValueError:
            # Modules that are built later are looked for again when the fit, or a validation, starts.
            if not any(is_overridden(hook, pl_module) for hook in ("setup", "configure_model")):
                raise

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Check the layers again: modules may have been built since ``setup``."""
        layers, networks = self._choose_layers(pl_module), find_network(pl_module, self.network)
        self._preview = None
        if Preview.wanted(trainer):
            self._preview = Preview(self, pl_module, layers, networks, is_wrapped(trainer, pl_module))

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin anew, or go on after what was trained before; say so if there is nothing to look at."""
        self._report.forget()
        fresh = trainer.global_step == 0
        if fresh:
            self._sample = self._new_sample()
            self._training_sample = TrainingSample()
            if self._analysed:  # what a validation before the fit began, the fit goes on with
                load_states(self.analyses, {}, self._report)
        # A checkpoint saved after a validation goes on in the epoch of that.
        known = 0 if fresh else trainer.current_epoch + 1
        self._analysed = {name: last for name, last in self._analysed.items() if last < known}
        self._output.begin(known, fresh=fresh)
        self._say_what_it_costs(trainer)
        if not trainer.enable_validation:
            self._report(
                "validation",
                "there is no validation loop, so nothing will be analysed: it needs val_dataloaders, a validation_step "
                "and limit_val_batches above 0",
            )

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw what was not drawn of the last record; say so if no validation was analysed."""
        with same_random_numbers(), self._harmless():
            self._output.show_rest(trainer)
        if trainer.enable_validation and not self._looked and not trainer.fast_dev_run:  # type: ignore[attr-defined]
            self._report(
                "schedule",
                "no validation was analysed: none ran, or none in the epochs asked for "
                f"(check_val_every_n_epoch={trainer.check_val_every_n_epoch}, {trainer.current_epoch} epochs)",
            )

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Register the hooks, if this validation is to be analysed."""
        if trainer.sanity_checking:
            return
        if alone := may_be_alone(trainer, pl_module):
            self._looked = True
            self._report(self.name, alone)
            return
        if trainer.strategy.reduce_boolean_decision(self._is_due(trainer)):
            loaders = len(trainer.num_test_batches if trainer.testing else trainer.num_val_batches)
            if self.dataloader_idx >= loaders:
                counted = f"{loaders} validation loader{'s' * (loaders != 1)}"
                self._looked = True
                self._report(self.name, f"dataloader_idx={self.dataloader_idx}, but there is {counted}")
            else:
                self._begin(trainer, pl_module)

    def on_validation_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Choose the batch's rows."""
        if self._preview is not None and dataloader_idx == self.dataloader_idx:
            self._preview.before_batch(batch)
        if self._capture is not None and dataloader_idx == self.dataloader_idx:
            with self._harmless():
                if pl_module._compiler_ctx is not None and self._compiled_step is None:
                    self._compiled_step = CompiledStep(trainer, pl_module, self._capture, dataloader_idx)
                self._capture.before_batch(batch)
                if self._compiled_step is not None:
                    self._compiled_step.see(batch, batch_idx)

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """The batch has run."""
        if self._preview is not None and dataloader_idx == self.dataloader_idx:
            self._preview.after_batch()
        if self._capture is not None and dataloader_idx == self.dataloader_idx:
            with self._harmless():
                self._capture.after_batch()

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Analyse, log and save."""
        if not trainer.sanity_checking:  # without a sanity check
            self._say_what_it_costs(trainer)
        if self._capture is not None:
            with same_random_numbers():
                with self._harmless():
                    self._finish(trainer, pl_module)
                self._report.share()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leave no hook behind."""
        self._forget_capture()

    on_test_start = on_validation_start
    on_test_batch_start = on_validation_batch_start
    on_test_batch_end = on_validation_batch_end
    on_test_epoch_end = on_validation_epoch_end
    on_test_end = on_validation_end

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Leave no hook behind."""
        self._forget_capture()

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Leave no hook behind."""
        self._forget_capture()

    # State in checkpoints. Not by state_dict: for two monitors of one name the Trainer's constructor would then raise
    # before setup can say what to do.

    @property
    def state_key(self) -> str:
        """Of this monitor's state in a checkpoint."""
        return f"SeparationMonitor[{self.name}]"

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Keep which samples are looked at, and the curves so far."""
        checkpoint.setdefault("callbacks", {})[self.state_key] = {
            "choice": self._choice(),
            "sample": self._sample.state_dict(),
            "training_sample": self._training_sample.state_dict(),
            "presenters": self._output.state_dict(),
            "analysed": self._analysed,
            "states": states(self.analyses, self._report),
        }

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """See which weights are validated, so that a folder of checkpoints becomes a run."""
        if trainer.state.fn != "fit":
            self._trained = checkpoint.get("epoch", 0), saved_step(checkpoint)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with the same samples and curves; begin anew where that cannot be."""
        try:
            self._go_on(state_dict)
        except Exception as error:  # whatever another version has left there must not end the run
            self._begin_anew()
            self._report("checkpoint", f"what it has of this monitor cannot be read: {error!r}", harmless=True)

    def _go_on(self, state_dict: dict[str, Any]) -> None:
        choice = state_dict.get("choice", self._choice())
        if choice == self._choice():
            self._sample.load_state_dict(state_dict["sample"])
            self._training_sample.load_state_dict(state_dict.get("training_sample", {}))
        else:
            before = ", ".join(f"{name}={value}" for name, value in choice.items() if self._choice()[name] != value)
            told = f"the checkpoint's was chosen by {before}; another is chosen now, so epochs compare less well"
            self._report("sample", told, harmless=True)
        self._output.load_state_dict(state_dict.get("presenters", {}))
        self._analysed = dict(state_dict["analysed"])
        load_states(self.analyses, state_dict["states"], self._report)

    def _choice(self) -> dict[str, int]:
        """The settings that choose the samples."""
        return {name: getattr(self, name) for name in _CHOICE}

    def _begin_anew(self) -> None:
        self._sample, self._training_sample, self._analysed = self._new_sample(), TrainingSample(), {}
        self._output.forget()
        load_states(self.analyses, {}, self._report)

    # One analysed validation

    def _say_what_it_costs(self, trainer: Trainer) -> None:
        preview = self._preview
        if preview is not None and preview.known:
            self._preview = None
            preview.say(self._sample, lambda: num_samples(trainer, self.dataloader_idx))

    def _is_due(self, trainer: Trainer) -> bool:
        if trainer.state.fn != "fit":
            return True
        if not is_last_in_epoch(trainer):
            return False
        without_classes = self._sample.chosen and self._sample.labels is None
        if all(without_classes and analysis.needs_classes for analysis in self._due_analyses(trainer)):
            return False
        if self.epochs is not None:
            return trainer.current_epoch in self.epochs
        last = max(self._analysed.values(), default=None)
        return is_due(trainer.current_epoch, last, self.every_n_epochs, is_final(trainer))

    def _due_analyses(self, trainer: Trainer) -> list[Analysis]:
        return due_analyses(trainer, self.analyses, self._analysed)

    def _begin(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._looked = True
        self._processes = Processes.of(trainer)
        self._report.begin(self._processes)
        if trainer.state.fn != "fit":  # no training is lost: a setting that does not fit is refused as in setup
            self._choose_layers(pl_module)
        with self._harmless():
            # Modules may have changed since the fit began. All of the processes watch, or none.
            self._capture = self._processes.agree(lambda: self._new_capture(trainer, pl_module))
            self._output.open(trainer, self.dirpath)
            loader = validation_loader(trainer, self.dataloader_idx)
            self._capture.start(shard_of(loader, self._processes.rank, self._processes.size))
        if self._capture is None:  # in all of them; no later call will tell
            self._report.share()

    def _new_capture(self, trainer: Trainer, pl_module: LightningModule) -> Capture:
        return Capture(
            pl_module,
            self._choose_layers(pl_module),
            find_network(pl_module, self.network),
            self._sample if trainer.state.fn == "fit" else self._new_sample(),
            target_fn=self.target_fn,
            class_names=self.class_names,
            pooling=self.pooling,
            max_memory=self.max_memory,
            report=self._report,
            explicit=self.layers is not None,
            seed=self.seed,
            split="test" if trainer.testing else "val",
            processes=self._processes,
            wrapped=is_wrapped(trainer, pl_module),
        )

    def _finish(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert self._capture is not None
        capture, processes, progress = self._capture, self._processes, progress_of(trainer, self.name)
        if not processes.all(capture.running):  # it was said why
            return
        try:
            snapshot = capture.finish(trainer.precision_plugin.forward_context, progress)
        except NothingCapturedError as error:
            self._report(self.name, str(error))
            return
        place(snapshot, validation_loader(trainer, self.dataloader_idx))
        due = self._due_analyses(trainer)
        records, positions = [self._analyse(trainer, snapshot, due)], {snapshot.split: snapshot.positions.tolist()}
        if "train" in self.splits and not trainer.testing:
            training = self._training_sample.snapshot(
                trainer, pl_module, capture, snapshot, self.dataloader_idx, progress
            )
            self._report.share()
            if training is not None:
                self._report.notes = []
                records.append(self._analyse(trainer, training, due))
                positions["train"] = training.positions.tolist()
        self._output.show(trainer, pl_module, records, processes)
        if trainer.is_global_zero:
            self._output.save(records, positions, self._settings(pl_module, capture.networks or ()))
        self._output.tell(trainer, records)

    def _analyse(self, trainer: Trainer, snapshot: Snapshot, due: Sequence[Analysis]) -> Record:
        assert trainer.state.fn is not None  # a loop is running
        epoch, step = self._trained or (trainer.current_epoch, logged_step(trainer))
        made = possible(due, snapshot, self._chosen)
        if trainer.state.fn == "fit":
            self._analysed |= dict.fromkeys((analysis.name for analysis in made), epoch)
        findings = findings_of(made, snapshot)
        self._report.share()
        return Record(
            epoch=epoch,
            step=step,
            stage=trainer.state.fn.value,
            split=snapshot.split,
            layers=snapshot.layers,
            class_names=snapshot.class_names,
            counts=snapshot.counts.numpy(),
            findings=findings,
            notes=self._report.notes,
        )

    def _settings(self, pl_module: LightningModule, networks: Iterable[str]) -> dict[str, Any]:
        """What to tell of a record's making."""
        analyses = {analysis.name: repr(analysis) for analysis in self.analyses}
        of_module = {"module": type(pl_module).__qualname__, "network": list(networks), "analyses": analyses}
        return of_module | {name: getattr(self, name) for name in _TOLD}

    def _new_sample(self) -> Sample:
        return Sample(self.samples_per_class, self.max_samples)

    def _choose_layers(self, pl_module: LightningModule) -> dict[str, nn.Module]:
        networks = find_network(pl_module, self.network)
        inside = next(iter(networks.values())) if networks else None
        return select_layers(pl_module, self.layers, inside)

    def _forget_capture(self) -> None:
        if self._capture is not None:
            self._capture.stop()
        self._capture = self._compiled_step = None
        self._report.end()
        if self._preview is not None:
            self._preview.stop()

    @contextmanager
    def _harmless(self) -> Iterator[None]:
        """Whatever fails inside costs this validation's record, not the training."""
        try:
            yield
        except MonitorError:
            raise
        except Exception as error:
            if self._capture is not None:
                self._capture.stop()
            self._report(self.name, f"this validation is not analysed further: {reason_of(error)}")
