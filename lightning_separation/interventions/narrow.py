"""The first steps behind a change of single units, computed for these units only.

As long as an operation keeps units apart (activations, normalisation by fixed statistics, pooling), only the changed
ones need to be computed: a column of one tensor for each copy of the network. A linear layer or convolution that sums
over them is then the clean output plus what the change adds: for one unit a product of rank one, or a convolution of
one channel.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from functools import cached_property, partial
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map

from .suffix import Suffix
from .tape import Op, Ref

_EACH_ELEMENT = {
    "relu", "gelu", "silu", "mish", "elu", "celu", "selu", "leaky_relu", "hardtanh", "relu6", "hardswish",
    "hardsigmoid", "sigmoid", "tanh", "softplus", "threshold", "hardshrink", "softshrink", "log_sigmoid_forward", "exp",
    "neg", "abs", "sqrt", "rsqrt", "square", "sin", "cos", "erf", "clamp", "clamp_min", "clamp_max", "pow", "clone",
    "alias", "detach", "_to_copy", "lift_fresh", "add", "sub", "rsub", "mul", "div", "maximum", "minimum", "where",
}  # fmt: skip
_POOL = {
    "max_pool2d_with_indices", "max_pool3d_with_indices", "avg_pool2d", "avg_pool3d", "_adaptive_avg_pool2d",
    "_adaptive_avg_pool3d", "adaptive_max_pool2d", "mkldnn_max_pool2d",
}  # fmt: skip
_NORMALIZE = {"native_batch_norm", "_native_batch_norm_legit_no_training", "cudnn_batch_norm", "miopen_batch_norm"}
_RESHAPE = {"view", "_unsafe_view", "reshape", "_reshape_alias"}
_FULL = (torch.float32, torch.float64)
_MOST_LOST = 0.75  # share of the largest output that a difference may take away


class Narrow(NamedTuple):
    """Of a value only the places of changed units.

    Attributes:
        tensor: As the value, but with ``copies * width`` places on ``axis``, ``width`` for each copy.
        axis: That of the units.
        width: Places of one unit, next to each other (more than one where positions were flattened into the axis).
    """

    tensor: Tensor
    axis: int
    width: int


def places(units: Tensor, width: int) -> Tensor:
    """Where on the axis the units are, ``[len(units) * width]``."""
    return (units.unsqueeze(1) * width + torch.arange(width, device=units.device)).flatten()


def widened(narrow: Narrow, clean: Tensor, units: Tensor) -> Tensor:
    """The whole value for each copy, ``[copies, ...]``: clean but for its unit."""
    copies, axis = len(units), narrow.axis
    columns = narrow.tensor.unflatten(axis, (copies, narrow.width)).movedim(axis, 0)
    where = places(units, narrow.width).view(copies, *(1,) * axis, narrow.width, *(1,) * (clean.ndim - axis - 1))
    whole = clean.unsqueeze(0).repeat(copies, *(1,) * clean.ndim)
    return whole.scatter_(axis + 1, where.expand_as(columns), columns)


class Lead:
    """The first operations behind a layer, as far as they can be computed for the changed units only.

    What keeps units apart is computed at once for all of them, here; what sums over them for some at a time, later.

    Args:
        suffix: Of a layer that runs once.
        new: What its output is replaced by, of the same shape.
        axis: That of the units in the output.

    Attributes:
        rest: Operations that are left.
        read: Values that these need, and that ``values`` gives them.
    """

    def __init__(self, suffix: Suffix, new: Tensor, axis: int) -> None:
        (mark,) = suffix.marks
        self._suffix = suffix
        self._narrow = {mark: Narrow(new, axis, 1)}
        self._sums: list[tuple[Op, Tensor]] = []  # and which units are not simply added to the clean output
        self.rest: list[Op] = []
        every = torch.arange(new.shape[axis], device=new.device)
        used = {number for op in suffix.ops for number in op.inputs} | set(suffix.reached)
        for op in suffix.ops:
            changed = suffix.changed.intersection(op.inputs)
            if not changed <= self._narrow.keys() or not used.isdisjoint(op.outputs[1:]):
                self.rest.append(op)
            elif (made := _apply(_KEEPING_APART, _Step(op, suffix, self._narrow, every))) is not None:
                assert isinstance(made, Narrow)
                self._narrow[op.outputs[0]] = made
            elif _apply(_SUMMING, _Step(op, suffix, self._some(changed, every[:1]), every[:1])) is not None:
                self._sums.append((op, _at_risk(_Step(op, suffix, self._narrow, every))))
            else:
                self.rest.append(op)
        made_later = {op.outputs[0] for op, _ in self._sums} | self._narrow.keys()
        self.read = made_later & ({number for op in self.rest for number in op.inputs} | set(suffix.reached))

    def values(self, units: Tensor) -> dict[int, Tensor]:
        """What the rest reads, ``[copies, ...]`` each, for copies that each change one unit, ``[copies]``."""
        known: dict[int, Tensor] = {}
        for op, at_risk in self._sums:
            if op.outputs[0] in self.read:
                narrow = self._some(self._suffix.changed.intersection(op.inputs), units)
                step = _Step(op, self._suffix, narrow, units)
                made = _apply(_SUMMING, step)
                assert isinstance(made, Tensor)
                known[op.outputs[0]] = _without_cancellation(step, made, at_risk[units])
        for number, narrow_value in self._some(self._narrow.keys() & self.read, units).items():
            known[number] = widened(narrow_value, self._suffix.clean(number), units)
        return known

    def _some(self, numbers: Collection[int], units: Tensor) -> dict[int, Narrow]:
        """Values at some of the units."""
        found = {}
        for number in numbers:
            tensor, axis, width = self._narrow[number]
            found[number] = Narrow(tensor.index_select(axis, places(units, width)), axis, width)
        return found


def zero_stays(suffix: Suffix, axis: int) -> list[int]:
    """Values that keep a zero unit zero, and that all goes through that comes behind a layer.

    Setting a unit to zero there is the same as in the layer itself: an activation behind it, its pooling.

    Args:
        suffix: Of a layer that runs once.
        axis: That of the units in its output.
    """
    (value,) = suffix.marks
    found = []
    while len(readers := [op for op in suffix.ops if value in op.inputs]) == 1 and value not in suffix.reached:
        (op,) = readers
        zeros = Narrow(torch.zeros_like(suffix.clean(value)), axis, 1)
        units = torch.arange(zeros.tensor.shape[axis], device=zeros.tensor.device)
        made = None
        if op.name in _EACH_ELEMENT | _POOL:
            made = _apply(_KEEPING_APART, _Step(op, suffix, {value: zeros}, units))
        others = {number for op in suffix.ops for number in op.inputs}.intersection(op.outputs[1:])
        if not isinstance(made, Narrow) or made.axis != axis or others or bool(made.tensor.any()):
            break
        value = op.outputs[0]
        found.append(value)
    return found


class _Step:
    """One operation, some of whose inputs are known at the changed units only."""

    def __init__(self, op: Op, suffix: Suffix, narrow: dict[int, Narrow], units: Tensor) -> None:
        self.op, self.units = op, units
        self.narrow = {number: narrow[number] for number in op.inputs if number in narrow}
        self.first = next(iter(self.narrow))
        self.axis, self.width = self.narrow[self.first][1:]
        self.before, self.after = suffix.clean(self.first), suffix.clean(op.outputs[0])
        self.places = places(units, self.width)
        self._clean, self._suffix = suffix.clean, suffix

    def only_input(self, position: int) -> bool:
        """Whether that argument, and no other, has changed."""
        changed = [
            x for x in tree_leaves((self.op.args, self.op.kwargs)) if isinstance(x, Ref) and x.value in self.narrow
        ]
        return self.op.args[position] == Ref(self.first) and len(changed) == 1

    def clean(self, argument: Any) -> Any:
        """An argument that has not changed."""
        return self._clean(argument.value) if isinstance(argument, Ref) else argument

    def call(self, arguments: Callable[[Any], Any]) -> Tensor:
        """The operation with each tensor replaced; the first of its results."""

        def look_up(x: Any) -> Any:
            return arguments(x) if isinstance(x, Ref) else x

        args, kwargs = tree_map(look_up, (self.op.args, self.op.kwargs))
        out = self.op.function(*args, **kwargs)
        return out if isinstance(out, Tensor) else out[0]

    @property
    def is_finite(self) -> bool:
        """Whether the clean input and output are."""
        return all(math.isfinite(self._suffix.largest(number)) for number in (self.first, self.op.outputs[0]))

    @property
    def changed(self) -> Tensor:
        """The changed input at the changed units."""
        return self.narrow[self.first].tensor

    def clean_but(self, given: Tensor, ref: Ref) -> Tensor:
        """A tensor of the clean run, or the given one for the changed input."""
        return given if ref.value == self.first else self._clean(ref.value)

    @cached_property
    def added(self) -> Tensor:
        """Changed minus clean."""
        return self.changed - self.before.index_select(self.axis, self.places)

    def of_units(self, tensor: Tensor | None) -> Tensor | None:
        """The changed units' entries of a parameter ``[units, ...]``."""
        return None if tensor is None else tensor.index_select(0, self.places)


def _apply(rules: Rules, step: _Step) -> Narrow | Tensor | None:
    """What the operation makes: narrow, or whole for each copy; None if it cannot be computed this way."""
    for names, rule in rules:
        if step.op.name in names:
            return rule(step)
    return None


def _each_element(step: _Step) -> Narrow | None:
    same = all(n[1:] == (step.axis, step.width) and n.tensor.ndim == step.before.ndim for n in step.narrow.values())
    if step.after.shape != step.before.shape or not same:
        return None

    def aligned(ref: Ref) -> Tensor:
        if ref.value in step.narrow:
            return step.narrow[ref.value].tensor
        other = step.clean(ref)
        axis = step.axis - step.before.ndim + other.ndim
        return other.index_select(axis, step.places) if axis >= 0 and other.shape[axis] > 1 else other

    return Narrow(step.call(aligned), step.axis, step.width)


def _normalize(step: _Step) -> Narrow | None:
    by_batch = step.op.name != "_native_batch_norm_legit_no_training" and step.op.args[5]
    if by_batch or not step.only_input(0) or (step.axis, step.width) != (1, 1):
        return None
    return Narrow(
        step.call(lambda ref: step.changed if ref.value == step.first else step.of_units(step.clean(ref))), 1, 1
    )


def _pool(step: _Step) -> Narrow | None:
    spatial = 3 if "3d" in step.op.name else 2
    if step.axis != 1 or step.width != 1 or step.before.ndim != spatial + 2:
        return None
    return Narrow(step.call(lambda _: step.changed), 1, 1)


def _reduce(step: _Step) -> Narrow | None:
    over = step.op.args[1] if len(step.op.args) > 1 else None
    keeps = step.after.ndim == step.before.ndim
    axes = {axis % step.before.ndim for axis in over} if isinstance(over, list | tuple) and over else set()
    if not axes or step.axis in axes:
        return None
    axis = step.axis if keeps else step.axis - sum(axis < step.axis for axis in axes)
    return Narrow(step.call(lambda _: step.changed), axis, step.width)


def _reshape(step: _Step) -> Narrow | None:
    before, after, axis = step.before.shape, step.after.shape, step.axis
    last = len(after) - 1
    if axis == len(before) - 1 and after and after[-1] == before[-1]:
        return Narrow(step.changed.reshape(*after[:-1], -1), last, step.width)
    if after[: axis + 1] == before[: axis + 1]:
        return Narrow(step.changed.reshape(*after[:axis], len(step.places), *after[axis + 1 :]), axis, step.width)
    if after == (*before[:axis], before[axis:].numel()):
        width = step.width * before[axis + 1 :].numel()
        return Narrow(step.changed.reshape(*after[:axis], -1), axis, width)
    return None


def _permute(step: _Step) -> Narrow:
    axes = torch.empty(0).new_empty([1] * step.before.ndim)
    order = list(range(step.before.ndim))
    if step.op.name == "permute":
        order = [axis % axes.ndim for axis in step.op.args[1]]
    else:
        a, b = (axis % axes.ndim for axis in step.op.args[1:3]) if step.op.name == "transpose" else (0, 1)
        order[a], order[b] = order[b], order[a]
    return Narrow(step.call(lambda _: step.changed), order.index(step.axis), step.width)


def _linear(step: _Step) -> Tensor | None:
    at = 1 if step.op.name == "addmm" else 0
    if step.op.kwargs or not step.only_input(at) or step.axis != step.before.ndim - 1 or not _exact(step):
        return None
    rows = _rows(step)
    copies, added = len(step.units), step.added.flatten(0, -2)
    clean = step.after.flatten(0, -2)
    if step.width == 1:
        whole = torch.addcmul(clean, added.t().contiguous().unsqueeze(2), rows.unsqueeze(1))
    else:
        columns = added.unflatten(1, (copies, step.width)).transpose(0, 1)
        whole = torch.baddbmm(clean.expand(copies, *clean.shape), columns, rows.unflatten(0, (copies, step.width)))
    return whole.unflatten(1, step.after.shape[:-1])


def _rows(step: _Step) -> Tensor:
    """What a linear operation makes of each changed place, ``[copies * width, outputs]``."""
    weight = step.clean(step.op.args[2 if step.op.name == "addmm" else 1])
    return (weight.t() if step.op.name == "linear" else weight).index_select(0, step.places)


def _depthwise(step: _Step) -> Narrow | None:
    _, weight, bias, *_, groups = step.op.args
    one_to_one = 1 < groups == step.before.shape[1] == step.after.shape[1]
    if not one_to_one or not step.only_input(0) or (step.axis, step.width) != (1, 1):
        return None
    return _convolve_each(step, step.changed, step.clean(weight)[step.units], step.of_units(step.clean(bias)))


def _convolution(step: _Step) -> Tensor | None:
    _, weight, *_, groups = step.op.args
    if groups != 1 or not step.only_input(0) or (step.axis, step.width) != (1, 1) or not _exact(step):
        return None
    kernels = step.clean(weight).index_select(1, step.units).transpose(0, 1)
    each = _convolve_each(step, step.added, kernels.flatten(0, 1).unsqueeze(1), None)
    return None if each is None else each.tensor.unflatten(1, kernels.shape[:2]).transpose(0, 1) + step.after


def _convolve_each(step: _Step, units: Tensor, kernels: Tensor, bias: Tensor | None) -> Narrow | None:
    """Each channel on its own."""
    stride, padding, dilation, transposed = step.op.args[3:7]
    if transposed:
        return None
    made = torch.ops.aten.convolution(units, kernels, bias, stride, padding, dilation, False, [0], units.shape[1])
    return Narrow(made, 1, 1)


def _exact(step: _Step) -> bool:
    """Whether adding to the clean output is as good as computing it: not in half precision, by infinities, of none."""
    return step.after.dtype in _FULL and step.after.numel() > 0 and step.is_finite


def _at_risk(step: _Step) -> Tensor:
    """Copies that may lose most of the output, ``[copies]`` bool: a small difference of large numbers is not exact.

    They may if they lose most in any row or any output: others can be of another order of magnitude.
    """
    added, clean = (_largest(step, tensor) for tensor in (step.added, step.after))
    if step.op.name == "convolution":
        gains = step.clean(step.op.args[1]).index_select(1, step.units).abs().flatten(2).sum(2).t()
    else:
        gains = _rows(step).abs()
    shape = (len(step.units), step.width)
    of_rows = (added * gains.amax(1)).unflatten(1, shape).sum(2) > _MOST_LOST * clean.amax(1, keepdim=True)
    of_outputs = (added.amax(0).unsqueeze(1) * gains).unflatten(0, shape).sum(1) > _MOST_LOST * clean.amax(0)
    return of_rows.any(0) | of_outputs.any(1)


def _largest(step: _Step, tensor: Tensor) -> Tensor:
    """The largest absolute value of each row and channel of an input or output, ``[rows, channels]``."""
    return tensor.abs().flatten(2).amax(2) if step.op.name == "convolution" else tensor.flatten(0, -2).abs()


def _without_cancellation(step: _Step, whole: Tensor, at_risk: Tensor) -> Tensor:
    """Copies that do lose most of the output are computed as a whole.

    Args:
        step: The operation.
        whole: ``[copies, ...]`` what came out.
        at_risk: ``[copies]`` bool, which may.
    """
    clean = None
    for copy in at_risk.nonzero().flatten().tolist():
        clean = _largest(step, step.after) if clean is None else clean
        left = _largest(step, whole[copy])
        if not any(bool((left.amax(axis) < (1 - _MOST_LOST) * clean.amax(axis)).any()) for axis in (0, 1)):
            continue
        narrow = Narrow(step.changed.narrow(step.axis, copy * step.width, step.width), step.axis, step.width)
        given = widened(narrow, step.before, step.units[copy : copy + 1])[0]
        whole[copy] = step.call(partial(step.clean_but, given))
    return whole


Rules = tuple[tuple[set[str], Callable[[_Step], Narrow | Tensor | None]], ...]

_KEEPING_APART: Rules = (
    (_EACH_ELEMENT, _each_element),
    (_NORMALIZE, _normalize),
    (_POOL, _pool),
    ({"mean", "sum", "amax"}, _reduce),
    (_RESHAPE, _reshape),
    ({"permute", "transpose", "t"}, _permute),
    ({"convolution"}, _depthwise),
)
_SUMMING: Rules = (({"addmm", "mm", "linear"}, _linear), ({"convolution"}, _convolution))
