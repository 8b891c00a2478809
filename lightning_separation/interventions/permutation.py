"""What a network loses when features of its input are shuffled among the samples."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ..checks import check_positive
from ..functional._inputs import device_of
from .batches import Batch, Context, evaluating
from .clean_run import CleanRun, Copies
from .gate import GATE, GatedInput, PermutedFeatures, chosen_input, inputs_like
from .outcomes import Comparison, Loss, Readout, own_losses, relative_error
from .patching import Numbers, Units, check_loss, check_network
from .without_units import WithoutUnits


class PermutationEffects(NamedTuple):
    """What changes when features are permuted; F features or groups of them, permuted minus clean, NaN where undefined.

    On the device of the network's output.

    Attributes:
        loss: ``[F, repeats]`` float64, positive = worse without; where the network is to reproduce its input, its
            relative error in percent.
        accuracy: ``[F, repeats]`` float64.
        outputs: ``[F, outputs]`` float64, absolute change of each output: mean over samples, positions and repeats.
    """

    loss: Tensor
    accuracy: Tensor
    outputs: Tensor


def permutation_importance(
    network: nn.Module,
    inputs: Any,
    target: Numbers | None = None,
    *,
    repeats: int = 50,
    loss: Loss | None = None,
    groups: Sequence[Units] | None = None,
    argument: str | int | None = None,
    axis: int | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    r"""How much worse a network does when a feature of its input is shuffled among the samples.

    Permutation importance (Breiman 2001; Fisher, Rudin and Dominici 2019, "model reliance"): in each repeat every
    feature in turn is replaced by its values for other samples, drawn without replacement, and the loss is taken again.
    What features have in common, none of them has alone: of correlated ones each can look unimportant; permute them
    together (``groups``). The network runs in eval mode, on its own device, and is afterwards as before.

    Args:
        network: Any module.
        inputs: What the network is given, N samples: a tensor, a tuple of arguments, or a mapping of them.
        target: ``[N, ...]``: integer or one-hot classes, 0 or 1 for each output, or values to predict. None: the
            (permuted) input itself, as for an autoencoder; of several the first that has as many numbers as the output.
        repeats: How often each feature is permuted; all features of a repeat in the same way.
        loss: ``loss(outputs, target) -> [N]``, outputs being all that the network returns. None: cross-entropy for
            classes, else the squared error; without a target the relative error
            :math:`100\, \|output - input\| / \|input\|` of each sample, in percent (0 for an input that is all
            zero).
        groups: Features to permute together, as lists of their numbers; None: each on its own.
        argument: Which of several inputs: a name, or the position of an argument. None: the first tensor.
        axis: That of the features in the input, such as 1 for the channels of ``[N, C, T]``. None: columns of
            ``[N, D]``, channels of images ``[N, C, H, W]``, the last axis of sequences ``[N, T, D]``.
        generator: For the permutations; None: one with seed 0.

    Returns:
        ``[features, repeats]`` float64, positive = worse without it; of a feature that is constant 0.

    Raises:
        ValueError: For an argument of the wrong type, features that the input does not have, an input of no or of
            different width, a loss that is not clear, or, without a target, an output that is not of the input's size.

    Example:
        >>> network = nn.Linear(3, 1, bias=False)
        >>> _ = network.weight.data.copy_(torch.tensor([[2.0, 1.0, 0.0]]))
        >>> x = torch.randn(500, 3, generator=torch.Generator().manual_seed(0))
        >>> importance = permutation_importance(network, x, network(x).detach())
        >>> [round(value) for value in importance.mean(1).tolist()]  # 2 var(x) w^2
        [8, 2, 0]
    """
    found = permutation_effects(
        network, inputs, target,
        repeats=repeats, loss=loss, groups=groups, argument=argument, axis=axis, generator=generator,
    )  # fmt: skip
    return found.loss


def permutation_effects(
    network: nn.Module,
    inputs: Any,
    target: Numbers | None = None,
    *,
    repeats: int = 50,
    loss: Loss | None = None,
    groups: Sequence[Units] | None = None,
    argument: str | int | None = None,
    axis: int | None = None,
    generator: torch.Generator | None = None,
) -> PermutationEffects:
    """All that changes when a feature of the input is shuffled among the samples.

    An output is a column of ``[N, K]``, a channel of ``[N, C, H, W]``, the last axis of ``[N, T, K]``.

    Args:
        network: Any module.
        inputs: As in :func:`permutation_importance`.
        target: As in :func:`permutation_importance`.
        repeats: How often each feature is permuted.
        loss: As in :func:`permutation_importance`.
        groups: Features to permute together; None: each on its own.
        argument: Which of several inputs; None: the first tensor.
        axis: That of the features in the input; None: as in :func:`permutation_importance`.
        generator: For the permutations; None: one with seed 0.

    Returns:
        The changes of the loss, the accuracy and the outputs.

    Raises:
        ValueError: As :func:`permutation_importance`.

    Example:
        >>> network = nn.Linear(2, 2, bias=False)
        >>> _ = network.weight.data.copy_(torch.tensor([[1.0, 0.0], [0.0, 0.0]]))
        >>> permutation_effects(network, torch.tensor([[0.0, 1.0], [1.0, 3.0]]), repeats=9).outputs > 0
        tensor([[ True, False],
                [False, False]])
    """
    check_network(network)
    check_loss(loss)
    check_positive(repeats=repeats)
    if generator is not None and not isinstance(generator, torch.Generator):
        raise ValueError(f"generator must be a torch.Generator or None, not {generator!r}")
    work = FeaturePermutation(
        network, groups=groups, argument=argument, axis=axis, reproduces=target is None, loss=loss
    )
    with evaluating(network):
        found = work.effects([Batch.of(inputs, target)], repeats, generator)
    if work.whole:
        warnings.warn(f"{work.whole}; the whole network was run for each feature and repeat", stacklevel=2)
    return found


class FeaturePermutation:
    """Permutation of features on a sample that comes in batches.

    Args:
        network: In the mode in which it is to be run.
        groups: Features to permute together; None: each on its own.
        argument: Which input; None: the first tensor.
        axis: That of the features, samples first; None: 1 of four axes or more, else the last.
        reproduces: Whether the network is to reproduce its input; else the batches have targets.
        loss: A loss of the user's own.
        forward_context: In what the network runs.
        advance: Told after some runs how many more are done, and of how many.

    Attributes:
        clean_loss: Of the network as it is, mean over the samples; after the work.
        clean_accuracy: The same, NaN where undefined.
        clean_outputs: ``[rows, outputs]``, what it puts out; a row for each sample and position.
        whole: Why the whole network was run each time; empty if it was not.
        advance: As given.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        groups: Sequence[Units] | None = None,
        argument: str | int | None = None,
        axis: int | None = None,
        reproduces: bool = False,
        loss: Loss | None = None,
        forward_context: Context = nullcontext,
        advance: Callable[[int, int], None] = lambda steps, total: None,
    ) -> None:
        self._gated, self._groups, self._argument, self._axis = GatedInput(network, argument), groups, argument, axis
        self._reproduces, self._loss, self._forward_context = reproduces, loss, forward_context
        self.advance = advance
        self.clean_loss = self.clean_accuracy = float("nan")
        self.clean_outputs = torch.zeros(0, 0)
        self.whole = ""

    def effects(
        self, batches: Sequence[Batch], repeats: int, generator: torch.Generator | None = None
    ) -> PermutationEffects:
        """What changes when each group of features is permuted.

        Args:
            batches: The sample.
            repeats: How often.
            generator: For the permutations; None: one with seed 0.
        """
        inputs = [chosen_input(batch, self._argument) for batch in batches]
        features = PermutedFeatures(inputs, repeats, axis=self._axis, groups=self._groups, generator=generator)
        total, steps = sum(batch.size for batch in batches), len(batches) * len(features.varying) * repeats
        scores = torch.zeros(2, len(features.groups), repeats, dtype=torch.float64)
        clean = torch.zeros(2, dtype=torch.float64)
        changes: list[Tensor] = []
        outputs: list[Tensor] = []
        readout: Readout | None = None
        for number, batch in enumerate(batches):
            run = CleanRun(self._gated, [GATE], batch, {GATE: features.axis}, self._forward_context)
            readout = readout or self._readout(run, batches)
            judge = self._judge(run, batch, readout)
            clean += judge.clean.cpu() * (batch.size / total)
            outputs.append(_outputs_last(run.output, run.output.ndim, readout).flatten(0, -2).cpu())
            changes.append(torch.zeros(len(features.groups), outputs[0].shape[1], dtype=torch.float64))
            for groups, drawn, copies in self._copies(run, features, number):
                found = judge.deltas(copies, partial(features.inputs_of, number, groups, drawn))
                scores[:, groups, drawn] += found.cpu() * (batch.size / total)
                differences = (copies.outputs - run.output).abs()
                sizes = _outputs_last(differences, run.output.ndim, readout).flatten(1, -2).double().mean(1)
                changes[-1].index_add_(0, groups, sizes.cpu() * (batch.size / total / repeats))
                self.advance(len(groups), steps)
            self.whole = self.whole or run.whole.get(GATE, "")
        self.clean_loss, self.clean_accuracy = clean.tolist()
        self.clean_outputs = torch.cat(outputs)
        scores[clean.isnan()] = torch.nan
        device = device_of(run.output)
        loss, accuracy = scores.to(device)
        return PermutationEffects(loss, accuracy, torch.stack(changes).sum(0).to(device))

    def _readout(self, run: CleanRun, batches: Sequence[Batch]) -> Readout:
        return Readout("values") if self._reproduces else run.readout(batches, self._loss)

    def _judge(self, run: CleanRun, batch: Batch, readout: Readout) -> _Prediction | _Reproduction:
        if not self._reproduces:
            return _Prediction(
                Comparison(readout, run.output, batch.target, self._loss, run.returned, distributions=False)
            )
        permuted = given = chosen_input(batch, self._argument)
        if self._loss is None:
            given = _reproduced(run, batch)
        return _Reproduction(run, given, self._loss, stays=given is not permuted)

    def _copies(
        self, run: CleanRun, features: PermutedFeatures, number: int
    ) -> Iterator[tuple[Tensor, Tensor, Copies]]:
        """The network on permuted inputs: which groups and which repeats, ``[copies]`` each, and what it returned."""
        room = run.outputs_at_once * run.output.numel()  # inputs take it too, also where nothing is known to read them
        at_once = min(run.at_once(GATE), max(room // run.clean(GATE)[0].numel(), 1))
        suffix = run.suffix(GATE)
        once = suffix is not None and len(suffix.marks) == 1
        if once and features.single and len(features.varying) >= at_once:
            yield from self._column_by_column(run, features, number)
            return
        pairs = torch.cartesian_prod(torch.arange(features.repeats), features.varying)
        for repeats, groups in (part.T for part in pairs.split(at_once)) if len(pairs) else ():
            yield groups, repeats, run.run_with(GATE, features.inputs_of(number, groups, repeats))

    def _column_by_column(
        self, run: CleanRun, features: PermutedFeatures, number: int
    ) -> Iterator[tuple[Tensor, Tensor, Copies]]:
        """One repeat after the other: of the first steps only what one column changes."""
        for repeat in range(features.repeats):
            permuted = features.permuted(number, torch.tensor([repeat]))[0]
            with run.replaying():
                without = WithoutUnits(run, GATE, partial(_instead, permuted))
            for groups in features.varying.split(without.at_once):
                with run.replaying():
                    copies = without.copies(features.columns[groups].to(permuted.device))
                yield groups, torch.full_like(groups, repeat), copies


class _Prediction:
    """How well a network predicts a target that stays.

    Attributes:
        clean: ``[2]``, loss and accuracy of the network as it is.
    """

    def __init__(self, compare: Comparison) -> None:
        self._compare = compare
        self.clean = torch.cat(compare.clean[:2])

    def deltas(self, copies: Copies, inputs: Callable[[], Tensor]) -> Tensor:
        """Changes of loss and accuracy, ``[2, copies]``."""
        return torch.stack(self._compare.deltas(copies.outputs, copies.returned)[:2])


class _Reproduction:
    """How well a network reproduces what it is given.

    Attributes:
        clean: ``[2]``, mean error of the network as it is, and NaN.

    Args:
        run: The clean run.
        given: ``[N, ...]`` what is to be reproduced.
        loss: The user's own.
        stays: Whether another input than that is permuted.
    """

    def __init__(self, run: CleanRun, given: Tensor, loss: Loss | None, *, stays: bool) -> None:
        self._loss, self._given, self._stays = loss, given, stays
        self._clean = self._errors(Copies(run.output.unsqueeze(0), lambda _: run.returned), given.unsqueeze(0))
        self.clean = torch.stack([self._clean.mean(), self._clean.new_tensor(torch.nan)])

    def deltas(self, copies: Copies, inputs: Callable[[], Tensor]) -> Tensor:
        """Changes of the mean error, ``[2, copies]``."""
        given = self._given.unsqueeze(0) if self._stays else inputs()
        changes = (self._errors(copies, given) - self._clean).mean(1)
        return torch.stack([changes, changes * torch.nan])

    def _errors(self, copies: Copies, inputs: Tensor) -> Tensor:
        """``[copies, N]`` float64."""
        if self._loss is None:
            return relative_error(_flat(copies.outputs), _flat(inputs))
        given = inputs.view(-1, *self._given.shape)  # features of an input [N] come as [N, 1]
        return torch.stack([own_losses(self._loss, copies.returned(i), x, len(x)) for i, x in enumerate(given)])


def _reproduced(run: CleanRun, batch: Batch) -> Tensor:
    """The first input that has as many numbers as the output.

    Raises:
        ValueError: If there is none.
    """
    fitting = inputs_like((batch.args, batch.kwargs), run.output[0].numel(), batch.size)
    if not fitting:
        raise ValueError(
            f"without a target the input is to be reproduced, but an output of shape {tuple(run.output.shape)} does "
            f"not fit an input of shape {tuple(chosen_input(batch, None).shape)}; give target= or loss="
        )
    return fitting[0]


def _flat(rows: Tensor) -> Tensor:
    """``[copies, N, ...]`` as ``[copies, N, n]``."""
    return rows.reshape(*rows.shape[:2], -1)


def _instead(permuted: Tensor, _: Tensor) -> Tensor:
    return permuted


def _outputs_last(outputs: Tensor, axes: int, readout: Readout) -> Tensor:
    """Outputs ``[..., N, ...]``, of ``axes`` axes from the samples on, with what counts the outputs at the end."""
    if axes == 1:
        return outputs.unsqueeze(-1)
    axis = readout.class_axis or (-1 if axes < 4 else 1 - axes)
    return outputs.movedim(axis, -1)
