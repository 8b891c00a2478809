"""What a network's output says of each sample: loss, correctness, and how it differs from another output."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import log_softmax, logsigmoid

Loss = Callable[[Any, Tensor], Tensor]
"""``loss(outputs, target) -> [N]``; outputs are all that the network returns."""

Kind = Literal["logits", "probabilities", "log_probabilities", "binary_logits", "binary_probabilities", "values"]
MadeBy = Literal["sigmoid", "softmax", "log_softmax", "linear"]
"""Which kind of operation the output comes from."""

_SHORT_AXIS = 64
IGNORED = -100  # a class that does not count, as in torch
_TOLERANCE = 1e-2  # of sums of probabilities: they may come in bfloat16


class Outcome(NamedTuple):
    """Means over samples, one for each of several outputs; NaN where undefined.

    Attributes:
        loss: ``[copies]`` float64, the loss.
        accuracy: ``[copies]`` float64, share of right predictions.
        kl: ``[copies]`` float64, divergence of the output distribution from the clean one, KL(clean || this), in nats.
        entropy: ``[copies]`` float64, of the output distribution, in nats.
    """

    loss: Tensor
    accuracy: Tensor
    kl: Tensor
    entropy: Tensor


@dataclass(frozen=True)
class Readout:
    """How to read a network's output; see :func:`readout_of`.

    Attributes:
        kind: What the output is. Binary: each output stands for a question of its own.
        class_axis: Where the classes are, counted from the end; None for binary outputs and values.
    """

    kind: Kind
    class_axis: int | None = None

    def log_probabilities(self, output: Tensor) -> Tensor | None:
        """Of every class, the classes on the last axis; None for values.

        Args:
            output: ``[N, ...]``, or several such, ``[copies, N, ...]``.
        """
        if self.kind == "values":
            return None
        scores = output if output.dtype == torch.float64 else output.float()
        if self.kind == "binary_logits":
            return torch.stack((logsigmoid(-scores), logsigmoid(scores)), -1)
        if self.kind == "binary_probabilities":
            return _log(torch.stack((1 - scores, scores), -1))
        assert self.class_axis is not None
        scores = scores.movedim(self.class_axis, -1)
        if self.kind == "probabilities":
            return _log(scores)
        logs = _log_softmax(scores) if self.kind == "logits" else scores
        return logs.clamp(min=torch.finfo(torch.float32).min)  # of a class ruled out by -inf: 0 log 0 is 0

    def targets(self, target: Tensor, output: Tensor) -> Tensor:
        """The target in the shape and on the device of the output; of classes their numbers.

        Args:
            target: ``[N, ...]`` as :func:`readout_of` was given it.
            output: ``[N, ...]``.
        """
        target = target.to(output.device)
        if self.class_axis is None:
            return target.reshape(output.shape)
        if target.shape == output.shape and target.ndim > 1:
            return target.argmax(self.class_axis)
        return target.reshape(output.movedim(self.class_axis, -1).shape[:-1]).long()

    def decisions(self, output: Tensor) -> Tensor:
        """The class that is predicted at each position; of binary outputs whether it is yes. Not for values."""
        if self.class_axis is not None:
            return output.movedim(self.class_axis, -1).argmax(-1)
        return output > (0.5 if self.kind == "binary_probabilities" else 0)

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        """Cross-entropy, of values the squared error, of each sample: a mean over its positions, ``[N]``."""
        losses = _losses(self.log_probabilities(output), output, self.targets(target, output))
        return losses.reshape(len(output), -1).mean(1)

    def accuracy(self, output: Tensor, target: Tensor) -> Tensor:
        """Whether each sample is predicted right, or the share of its positions, ``[N]`` float64; NaN for values."""
        if self.kind == "values":
            return torch.full((len(output),), torch.nan, dtype=torch.float64, device=output.device)
        correct = (self.decisions(output) == self.targets(target, output)).double()
        return correct.reshape(len(output), -1).mean(1)


def readout_of(output: Tensor, target: Tensor | None = None, *, made_by: MadeBy | None = None) -> Readout:
    """Find out what a network's clean output is.

    One output for each class if the target is integer classes, or one-hot; one output for each question if the target
    has the output's shape and is 0 or 1 everywhere; else plain values. Without a target: classes, unless there is one
    output only. They are probabilities (or their logarithms) if they are made by a softmax or sigmoid or, where that is
    not known, look like it: rows that sum to 1, or values from 0 to 1.

    Args:
        output: ``[N, K]``, ``[N]``, ``[N, positions, K]`` or ``[N, K, positions...]``.
        target: ``[N]``, ``[N, 1]``, one-hot ``[N, K]``, ``[N, positions...]``, or the output's shape.
        made_by: If it is known.

    Raises:
        ValueError: If output and target do not fit, or the target gives each class a share (rows of fractions that sum
            to 1): no loss is taken for granted then.

    Example:
        >>> readout_of(torch.tensor([[0.2, 0.8], [0.5, 0.5]]), torch.tensor([0, 1])).kind
        'probabilities'
        >>> readout_of(torch.tensor([[1.3], [-0.4]]), torch.tensor([0, 1])).kind
        'binary_logits'
    """
    if target is None:
        axis = -1 if output.ndim < 4 else 1 - output.ndim
        several = output.ndim > 1 and output.shape[axis] > 1
        return _of_classes(output, axis, made_by) if several else _binary(output, made_by)
    integral = not target.is_floating_point() or bool((target == target.round()).all())
    same = target.numel() == output.numel() and len(target) == len(output)
    if integral and output.ndim > 1:
        flat = target.squeeze(-1) if target.ndim == output.ndim and target.shape[-1] == 1 else target
        if output.shape[-1] > 1 and (flat.shape == output.shape[:-1] or (same and _is_one_hot(target, -1))):
            return _of_classes(output, -1, made_by, target)
        if output.ndim > 2 and output.shape[1] > 1 and flat.shape == (len(output), *output.shape[2:]):
            return _of_classes(output, 1 - output.ndim, made_by, target)
    if not same:
        raise ValueError(
            f"an output of shape {tuple(output.shape)} does not fit a target of shape {tuple(target.shape)} and "
            f"{target.dtype}; give loss=, or the target as classes"
        )
    if integral and is_yes_or_no(target):
        return _binary(output, made_by)
    if target.is_floating_point() and any(_gives_shares(target, axis) for axis in {1, target.ndim - 1}):
        raise ValueError(
            f"each row of the target {tuple(target.shape)} sums to 1 without being one-hot, as soft targets of classes "
            "do; their loss is not clear, give loss="
        )
    return Readout("values")


def is_yes_or_no(target: Tensor) -> bool:
    """Whether every number is the answer, yes or no, to a question of its own."""
    return bool(((target == 0) | (target == 1)).all())


class _Terms(NamedTuple):
    """Of each copy, sample and position, ``[copies, N, ...]``; ``logs`` with the classes behind."""

    loss: Tensor
    accuracy: Tensor
    entropy: Tensor
    logs: Tensor | None


class Comparison:
    """How the outputs of a changed network differ from its clean output for the same samples.

    Differences are taken sample by sample: of what is hardly changed little is lost to rounding.

    Args:
        readout: How outputs are read.
        output: The clean output, ``[N, ...]``.
        target: ``[N, ...]``; None: no loss, no accuracy.
        loss: A loss of the user's own.
        returned: All that the network returned, for such a loss.
        distributions: Whether to compare the distributions; else KL and entropy are NaN.

    Raises:
        ValueError: If ``loss`` does not give one number for each sample.
    """

    def __init__(
        self,
        readout: Readout,
        output: Tensor,
        target: Tensor | None,
        loss: Loss | None = None,
        returned: Any = None,
        *,
        distributions: bool = True,
    ) -> None:
        self._readout, self._loss, self._given, self._distributions = readout, loss, target, distributions
        unread = target is None or (loss is not None and readout.kind == "values")
        self._target = None if target is None or unread else readout.targets(target, output)
        self._clean = self._terms(output.unsqueeze(0), lambda _: returned)

    @property
    def clean(self) -> Outcome:
        """Of the clean output, ``[1]`` each."""
        loss, accuracy, entropy = (_mean(term) for term in self._clean[:3])
        return Outcome(loss, accuracy, entropy * 0, entropy)

    def deltas(self, outputs: Tensor, returned: Callable[[int], Any]) -> Outcome:
        """Changed minus clean.

        Args:
            outputs: ``[copies, N, ...]``.
            returned: Of one copy all that the network returned; called only for a loss of the user's own.
        """
        terms = self._terms(outputs, returned)
        loss, accuracy, entropy = (_mean(term - clean) for term, clean in zip(terms[:3], self._clean[:3], strict=True))
        kl = torch.full_like(loss, torch.nan)
        if terms.logs is not None and self._clean.logs is not None:
            less = self._clean.logs - terms.logs
            kl = (less.flatten(1) @ self._clean.logs.exp().flatten()).double() / max(less[0, ..., 0].numel(), 1)
        return Outcome(loss, accuracy, kl, entropy)

    def divergence(self, output: Tensor) -> Tensor:
        """KL(clean || this) of one output ``[N, ...]``, ``[]`` with its graph.

        Raises:
            ValueError: If outputs are plain values.
        """
        logs = self._readout.log_probabilities(output)
        if logs is None or self._clean.logs is None:
            raise ValueError("plain values have no divergence")
        clean = self._clean.logs[0]
        return (clean.exp() * (clean - logs)).sum(-1).mean()

    def _terms(self, outputs: Tensor, returned: Callable[[int], Any]) -> _Terms:
        loss = correct = entropy = torch.full(outputs.shape[:2], torch.nan, dtype=torch.float64, device=outputs.device)
        logs = self._readout.log_probabilities(outputs)
        if logs is not None and self._distributions:
            entropy = -(logs.exp() * logs).sum(-1)
        if self._target is not None:
            loss = _losses(logs, outputs, self._target)
            correct = loss * torch.nan
            if logs is not None:
                correct = (self._readout.decisions(outputs) == self._target).double()
                counts = self._target != IGNORED
                if not bool(counts.all()):
                    loss, correct = (term[..., counts] for term in (loss, correct))
        if self._loss is not None:
            size = outputs.shape[1]
            losses = [own_losses(self._loss, returned(copy), self._given, size) for copy in range(len(outputs))]
            loss = torch.stack(losses).to(outputs.device)
        return _Terms(loss, correct, entropy, logs if self._distributions else None)


def relative_error(output: Tensor, given: Tensor) -> Tensor:
    r"""How badly an input is reproduced, :math:`100\, \|output - given\| / \|given\|` in percent.

    Args:
        output: ``[..., n]``.
        given: ``[..., n]``.

    Returns:
        ``[...]`` float64; 0 where the input is all zero, of which there is no share.

    Example:
        >>> relative_error(torch.tensor([3.0, 3.0]), torch.tensor([3.0, 4.0]))
        tensor(20., dtype=torch.float64)
    """
    length = given.double().norm(dim=-1)
    error = (output.double() - given.double()).norm(dim=-1)
    return torch.where(length == 0, 0.0, 100 * error / length)


def own_losses(loss: Loss, returned: Any, target: Tensor | None, size: int) -> Tensor:
    """A user's own loss of each sample, ``[size]`` float64.

    Raises:
        ValueError: If it gives something else.
    """
    losses = loss(returned, target)  # type: ignore[arg-type]  # None where the caller has no target
    if not isinstance(losses, Tensor) or losses.shape != (size,):
        found = f"a tensor {tuple(losses.shape)}" if isinstance(losses, Tensor) else f"a {type(losses).__name__}"
        raise ValueError(
            f'loss(outputs, target) must give one number for each of {size} samples (reduction="none"), not {found}'
        )
    return losses.detach().double()


def _of_classes(output: Tensor, axis: int, made_by: MadeBy | None, target: Tensor | None = None) -> Readout:
    num = output.shape[axis]
    if target is not None and not _is_one_hot(target, axis):
        if int(target.max()) >= num:
            raise ValueError(f"the target has class {int(target.max())}, the output only {num} columns")
        if bool(((target < 0) & (target != IGNORED)).any()):
            raise ValueError(f"the target has class {int(target.min())}; classes count from 0 ({IGNORED} is ignored)")
    if made_by == "sigmoid":
        raise ValueError(f"{num} sigmoid outputs for one class: their loss is not clear, give loss=")
    values = output.detach().float()
    if made_by in ("softmax", "log_softmax"):
        kind: Kind = "probabilities" if made_by == "softmax" else "log_probabilities"
    elif _sums_to_one(values, axis):
        kind = "probabilities"
    elif bool((values <= 0).all()) and _sums_to_one(values.exp(), axis):
        kind = "log_probabilities"
    else:
        kind = "logits"
    return Readout(kind, axis)


def _binary(output: Tensor, made_by: MadeBy | None) -> Readout:
    within = bool(((output >= 0) & (output <= 1)).all())
    probabilities = made_by == "sigmoid" or (made_by != "linear" and within)
    return Readout("binary_probabilities" if probabilities else "binary_logits")


def _sums_to_one(values: Tensor, axis: int) -> bool:
    return bool((values >= 0).all()) and bool(((values.sum(axis) - 1).abs() < _TOLERANCE).all())


def _gives_shares(target: Tensor, axis: int) -> bool:
    return target.ndim > 1 and target.shape[axis] > 1 and _sums_to_one(target.float(), axis)


def _is_one_hot(target: Tensor, axis: int) -> bool:
    return target.ndim > 1 and target.shape[axis] > 1 and is_yes_or_no(target) and bool((target.sum(axis) == 1).all())


def _log_softmax(scores: Tensor) -> Tensor:
    """Over the last axis. Where that is short, a CPU is several times faster over the first one."""
    if scores.device.type != "cpu" or scores.shape[-1] > _SHORT_AXIS:
        return log_softmax(scores, -1)
    return log_softmax(scores.movedim(-1, 0).contiguous(), 0).movedim(0, -1)


def _log(probabilities: Tensor) -> Tensor:
    """Finite also where a probability is 0."""
    return probabilities.clamp(min=torch.finfo(torch.float32).tiny).log()


def _losses(logs: Tensor | None, outputs: Tensor, target: Tensor) -> Tensor:
    """Of each position; 0 for one with a negative class, which torch ignores."""
    if logs is None:
        return (outputs.double() - target.double()) ** 2
    of_target = logs.gather(-1, target.clamp(min=0).long().unsqueeze(-1).expand(*logs.shape[:-1], 1)).squeeze(-1)
    return torch.where(target == IGNORED, 0, -of_target)


def _mean(terms: Tensor) -> Tensor:
    """``[copies]`` float64 of ``[copies, ...]``."""
    return terms.flatten(1).sum(1, dtype=torch.float64) / max(terms[0].numel(), 1)
