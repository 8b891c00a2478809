"""What one pass over the data left: the same samples every time, and what every layer made of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from ..functional import unit_activations
from ..listing import listed
from ..processes import Processes
from ..progress import Progress
from ..records import INPUT
from .buffers import Pooling, RowBuffer
from .planning import in_groups
from .recognition import difference, excerpt, fingerprint, same_sizes, weights_sizes
from .recorder import Call, Recorder, Report
from .replay import Context, Pass, communicates, replay, the_network
from .restore import same_random_numbers, unchanged
from .structures import first_tensor
from .units import unit_axis

_MOST_BYTES = 2**26  # of an input that is worth a checksum


class Snapshot:
    """Activations of the sample by layer. Layers that are not held are computed again, some at a time.

    Attributes:
        layers: In order of execution; the network's input first.
        target: ``[N]`` int64 position of each row's class in ``class_names``; None without classes.
        labels: ``[K]`` int64 the classes' own numbers, ascending; empty without classes.
        class_names: As given.
        counts: ``[K]`` int64 samples of each class.
        report: ``report(layer, reason)`` for an analysis that leaves a layer out.
        seed: For an analysis that draws at random: it makes a generator of its own from it.
        progress: Where an analysis that takes long shows how far it is: ``snapshot.progress.advance(1, 10)`` when one
            more step of ten is done.
        no_classes: Why there are no classes; empty if there are.
        values: ``[N, ...]`` what the network is to predict, on the CPU, where that is no class; None if it is, or is
            not known.
        positions: ``[N]`` int64 index of each sample in the dataset (under any ``Subset``), if that is known; else its
            position among all that the loader gives.
        indexed: Whether they are indices in the dataset.
        split: ``"val"``, ``"train"`` or ``"test"``.
        processes: All of which have this snapshot, so that they can share out what there is to find in it.
        beside: Of a sample of the training data the validation's snapshot in the same epoch; else None.
    """

    def __init__(
        self,
        recorder: Recorder,
        labels: Tensor | None,
        class_names: Sequence[str],
        forward_context: Context,
        report: Report,
        explicit: bool,
        seed: int = 0,
        progress: Progress | None = None,
        *,
        no_classes: str = "",
        values: Tensor | None = None,
        positions: Tensor | None = None,
        split: str = "val",
        processes: Processes | None = None,
    ) -> None:
        """Take over what a pass left.

        Args:
            recorder: After the pass, detached.
            labels: ``[N]`` integer classes of the rows; None without classes.
            class_names: Name of every class that occurs in ``labels``, ascending.
            forward_context: In what the network is run again (the Trainer's autocast).
            report: Told of what is left out, and why.
            explicit: Whether the user named the layers: then one that does not run is trouble.
            seed: Of what analyses draw at random.
            progress: Where long work shows how far it is; None: nowhere.
            no_classes: Why there are no classes.
            values: ``[N, ...]`` what the network is to predict, where that is no class.
            positions: ``[N]`` int64, where the loader has each sample.
            split: Which data the sample is from.
            processes: All of which have this snapshot.
        """
        self.split = split
        self.positions = torch.arange(recorder.num_rows) if positions is None else positions
        self.indexed = False
        self.beside: Snapshot | None = None
        self.seed, self.progress = seed, progress or Progress()
        self.no_classes, self.values = no_classes, values
        self.processes = processes or Processes()
        self._digest: bytes | None = None
        self._differs: float | None = None  # what the network gives when it is run again, from what it gave
        self._draws = False  # random numbers
        self.class_names = list(class_names)
        none = torch.zeros(0, dtype=torch.int64)
        self.target: Tensor | None = None
        self.labels = self.counts = none
        if labels is not None:
            self.labels, self.target, self.counts = labels.unique(return_inverse=True, return_counts=True)
        self.report = report
        self._explicit = explicit
        self._recorder = recorder
        self._order = _order(recorder.places)
        self._forward_context = forward_context
        self._again: dict[str, Tensor] = {}
        self._pooled: set[str] = set()  # layers of which that was said
        self._tell_pooled(recorder.buffers)
        if self.processes.size > 1 and any(self.processes.gather(lambda: communicates(recorder, forward_context))):
            recorder.refusal = "it communicates with other processes, which would wait for it"
        order = self._order_of_execution()
        self._groups = self._plan([key for key in order if key not in recorder.buffers])
        again = {key for group in self._groups for key in group}
        self.layers = [INPUT, *(key for key in order if key in recorder.buffers or key in again)]

    def activations(self, layer: str) -> Tensor:
        """What a layer computed, ``[N, ...]``; of ``"input"`` the first tensor that the network was given.

        Raises:
            KeyError: For a layer that is not in ``layers``.
            ValueError: If it has to be computed again, and that fails.
        """
        if layer == INPUT:
            return self._input()
        if layer in self._recorder.buffers:
            return self._recorder.buffers[layer].rows
        if layer not in self._again:
            group = next((group for group in self._groups if layer in group), None)
            if group is None:
                raise KeyError(layer)
            self._again = {}  # let go of the last group before the next one is computed
            self._again = self._run_again(group)
        return self._again[layer]

    def input_digest(self) -> bytes | None:
        """A checksum of the network's input and the classes, to know them again; None if they are very many numbers.

        Raises:
            ValueError: If the network was given no tensor.
        """
        if self._digest is None:
            activations = self._input()
            if activations.nbytes > _MOST_BYTES:
                return None
            self._digest = fingerprint((activations, self.labels, self.target))
        return self._digest

    def units(self, layer: str, pooling: Pooling = "mean") -> Tensor:
        """One number for each unit of a layer and sample, ``[N, U]`` float32 or float64.

        Units are the channels of convolutions and of what follows them, else the last axis; over the other axes the
        mean or the maximum is taken.

        Raises:
            KeyError: For a layer that is not in ``layers``.
            ValueError: If it has to be computed again, and that fails.
        """
        return self.pool(layer, self.activations(layer), pooling)

    def pool(self, layer: str, activations: Tensor, pooling: Pooling = "mean") -> Tensor:
        """Some rows of a layer's activations as units, ``[rows, U]``; gradients lead through it."""
        axis = self._unit_axis(layer, activations.ndim) if activations.ndim > 1 else None
        return unit_activations(activations, unit_axis=axis, pooling=pooling)

    def module(self, layer: str) -> nn.Module | None:
        """The module of a layer; None for the network's input."""
        return None if layer == INPUT else self._recorder.layers[self._recorder.order[layer]]

    @property
    def network(self) -> nn.Module:
        """The network that the step calls.

        Raises:
            ValueError: If it calls several.
        """
        return the_network(self._recorder)[1]

    @property
    def calls(self) -> list[tuple[Tensor, Call]]:
        """What the network was given: rows of the sample, and its arguments cut down to them, batch by batch."""
        name, _ = the_network(self._recorder)
        return list(zip(self._recorder.places, (calls[name] for calls in self._recorder.calls), strict=True))

    def joined(self, parts: Sequence[Tensor]) -> Tensor:
        """What the batches of ``calls`` have, one tensor each, in the order of the samples, ``[N, ...]``."""
        rows = torch.cat(list(parts))
        return rows if self._order is None or len(rows) != len(self._order) else rows[self._order.to(rows.device)]

    @property
    def forward_context(self) -> Context:
        """In what the network is run again (the Trainer's autocast)."""
        return self._forward_context

    @property
    def budget(self) -> int:
        """Bytes that activations may take while the network is run again."""
        return self._recorder.budget

    @property
    def has_same_weights(self) -> bool:
        """Whether the parameters are now what they were in the pass."""
        return same_sizes(self._recorder.weights, weights_sizes(self.root))

    def check_replay(self, *, with_pass: bool = False) -> None:
        """Make sure that the network, run again, gives what it gave in the pass.

        Else what is found by changing something in it would be of another network. One that draws random numbers gives
        something else every time: it can only be compared with itself under the same ones, and that is reported.

        Args:
            with_pass: Whether it will be compared with what was captured in the pass.

        Raises:
            ValueError: If it does not, with the reason.
        """
        if self._differs is None:
            if not self.has_same_weights:
                raise ValueError(
                    "the network's weights are no longer those of the validation (a callback that averages them?)"
                )
            name, _ = the_network(self._recorder)
            before = [kept.get(name, torch.zeros(0)) for kept in self._recorder.outputs]
            known = _differences(before, self._outputs_again())
            if not known:
                raise ValueError(
                    "the network's output in the validation is not known: nothing to check a second run by"
                )
            self._differs = max(known)
            if self._differs > 0 and max(_differences(self._outputs_again(0), self._outputs_again(1))) > 0:
                self._differs, self._draws = 0.0, True
                told = "it draws random numbers: what is changed in it is compared with it under the same ones"
                self.report("network", told, harmless=True)
        if self._draws and with_pass:
            raise ValueError("the network draws random numbers: it cannot be compared with that in the validation")
        if self._differs > 0:
            raise ValueError(
                f"run again, the network gives another output than in the validation (by {self._differs:.2g} of the "
                "largest): other weights (a callback that averages them?), or it looks at whole batches"
            )

    def _outputs_again(self, seed: int | None = None) -> list[Tensor]:
        """A part of what the network returns when it is run again, by batch; with random numbers of its own."""
        found: list[Tensor] = []
        with same_random_numbers():
            if seed is not None:
                torch.manual_seed(seed)
            self.replay([], lambda p: found.append(excerpt(p.output, len(p.rows))))
        return found

    @property
    def nan_rows(self) -> Tensor:
        """Samples for which the network returned NaN, ``[N]`` bool."""
        name, _ = the_network(self._recorder)
        outputs = [kept.get(name, torch.zeros(0)) for kept in self._recorder.outputs]
        sizes = map(len, self._recorder.places)
        return self.joined(
            [
                output.isnan().any(1).cpu() if len(output) == size else torch.zeros(size, dtype=torch.bool)
                for output, size in zip(outputs, sizes, strict=True)
            ]
        )

    @property
    def root(self) -> nn.Module:
        """The module whose ``named_modules()`` names the layers."""
        return self._recorder.root

    def unit_axis(self, layer: str) -> int:
        """The axis of what a layer computes, ``[N, ...]``, that counts its units; ``[N]`` counts as ``[N, 1]``."""
        if layer == INPUT:
            return max(1, self._unit_axis(layer, self.activations(layer).ndim))
        return max(1, self._unit_axis(layer, self._recorder.num_axes[layer]))

    def again(self, layers: Sequence[str]) -> Iterator[tuple[str, Tensor]]:
        """Layers and what they compute, ``[N, ...]``, if the network is run now: for one that was changed meanwhile.

        It is run once for as many layers as fit into memory beside what is held; what the snapshot says stays.

        Raises:
            ValueError: If that fails.
        """
        held = sum(buffer.nbytes for buffer in self._recorder.buffers.values())
        for group in self._plan(list(layers), held):
            yield from self._run_again(group).items()

    def replay(
        self, layers: Sequence[str], visit: Callable[[Pass], None], *, gradients: bool = False, cut: bool = False
    ) -> None:
        """Run the network again, batch by batch; see :func:`lightning_separation.capture.replay.replay`."""
        replay(self._recorder, layers, visit, self._forward_context, gradients=gradients, cut=cut)

    def _unit_axis(self, layer: str, held_axes: int) -> int:
        num_axes = {**self._recorder.num_axes, INPUT: held_axes}
        at = self.layers.index(layer)
        nearest = [*reversed(self.layers[1:at]), *self.layers[at + 1 :]]
        neighbours = [(module, num_axes[key]) for key in nearest if (module := self.module(key)) is not None]
        axis = unit_axis(self.module(layer), num_axes[layer], neighbours)
        # Axes that differed from batch to batch are gone; they were not that of the units, unless only that is left.
        return axis if axis == 1 and held_axes > 2 else held_axes - 1

    def _input(self) -> Tensor:
        rows = self._recorder.num_rows
        buffer = RowBuffer(rows, self._recorder.pooling)
        for calls in self._recorder.calls:
            tensor = first_tensor(list(next(iter(calls.values())))) if calls else None
            if tensor is None or tensor.ndim == 0:
                raise ValueError("the network was given no tensor")
            buffer.append(tensor.to_dense())
        self._tell_pooled({INPUT: buffer})
        if len(buffer.rows) != rows:
            raise ValueError(f"the network was given {len(buffer.rows)} rows for {rows} samples")
        return self.joined([buffer.rows])

    def _tell_pooled(self, buffers: Mapping[str, RowBuffer]) -> None:
        """Report, once, the layers whose rows differ in length, and what is analysed instead."""
        new = {key: buffer.pooled for key, buffer in buffers.items() if buffer.pooled and key not in self._pooled}
        self._pooled.update(new)
        for axes in sorted(set(new.values())):
            layers = listed([key for key in new if new[key] == axes])
            over = f"{'axis' if len(axes) == 1 else 'axes'} {' and '.join(map(str, axes))}"
            told = f"rows differ in length from batch to batch: their {self._recorder.pooling} over {over} is analysed"
            self.report(layers, told, harmless=True)

    def _order_of_execution(self) -> list[str]:
        """Keys of all layers that run. Those that hooks did not see are looked for by running the network again."""
        recorder = self._recorder
        unseen = set(recorder.layers) - set(recorder.order.values())
        if not unseen or not recorder.calls:
            return list(recorder.order)
        try:
            found = self._record(recorder.layers, recorder.calls[:1], budget=0)
        except Exception as error:
            for name in sorted(unseen):
                self.report(name, f"hooks saw nothing, and running the network again failed: {error}")
            return list(recorder.order)
        never = [name for name in recorder.layers if name in unseen - set(found.order.values())]
        for name in never if self._explicit else ():
            self.report(name, "it produced nothing: the network ran without calling it")
        if never and not self._explicit:
            told = f"the network ran without calling {listed(never, 10)}: nothing to see of them"
            self.report("layers", told, harmless=True)
        recorder.row_bytes = {**found.row_bytes, **recorder.row_bytes}
        recorder.num_axes = {**found.num_axes, **recorder.num_axes}
        recorder.order = {**found.order, **recorder.order}  # also what only a later batch ran
        return list(recorder.order)

    def _plan(self, missing: list[str], held: int = 0) -> list[list[str]]:
        """Groups of layers that fit into memory together, beside so many bytes held; one layer alone always does."""
        rows, row_bytes, budget = self._recorder.num_rows, self._recorder.row_bytes, self._recorder.budget
        failed = self._recorder.failed  # that was reported
        need = {key: rows * row_bytes[key] for key in missing if key in row_bytes and key not in failed}
        for key, size in need.items():
            if size > budget:
                told = f"{rows} rows need {size:,} bytes, max_memory leaves {budget:,} for one layer"
                self.report(key, f"{told}: raise it, or take fewer samples")
        return in_groups(need, budget, held)

    def _run_again(self, keys: list[str]) -> dict[str, Tensor]:
        names = {self._recorder.order[key] for key in keys}
        layers = {name: module for name, module in self._recorder.layers.items() if name in names}
        others = frozenset(self._recorder.order) - set(keys)
        rows = self._recorder.num_rows
        found = self._record(layers, self._recorder.calls, self._recorder.budget, rows, others)
        if missing := set(keys) - set(found.buffers):
            raise ValueError(f"running the network again gave nothing for {', '.join(sorted(missing))}")
        self._tell_pooled(found.buffers)
        return {key: self.joined([found.buffers[key].rows]) for key in keys}

    def _record(
        self,
        layers: Mapping[str, nn.Module],
        calls: Sequence[Mapping[str, Call]],
        budget: int,
        expected: int = 0,
        skip: frozenset[str] = frozenset(),
    ) -> Recorder:
        recorder = Recorder(
            self._recorder.root,
            layers,
            self._recorder.networks,
            pooling=self._recorder.pooling,
            budget=budget,
            expected=expected,
            skip=skip,
            keep_calls=False,
            report=self.report,
        )
        if self._recorder.refusal:
            raise ValueError(f"the network cannot be run again: {self._recorder.refusal}")
        with unchanged(recorder.root), self._forward_context():
            recorder.attach(everywhere=True)
            try:
                for places, call in zip(self._recorder.places, calls, strict=False):
                    recorder.begin_batch(torch.arange(len(places)), len(places))
                    for name, (args, kwargs) in call.items():
                        recorder.networks[name](*args, **kwargs)
                    recorder.end_batch()
            finally:
                recorder.detach()
        return recorder


def _order(places: Sequence[Tensor]) -> Tensor | None:
    """What puts rows that come batch by batch into their places; None if they come so."""
    found = torch.cat(list(places)) if places else torch.zeros(0, dtype=torch.int64)
    return None if torch.equal(found, torch.arange(len(found))) else found.argsort()


def _differences(before: Sequence[Tensor], after: Sequence[Tensor]) -> list[float]:
    """By how much outputs differ, batch by batch, where that is known."""
    found = (difference(a, b) for a, b in zip(before, after, strict=True))
    return [differs for differs in found if differs is not None]
