"""A network run with something taken out of it, the plain way: hooks that replace what layers return."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import cache, partial
from types import EllipsisType
from typing import Any, Literal, get_args

import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pad_packed_sequence

from ..capture.layers import add_hook, unknown_layer
from ..capture.recorder import batch_axis
from ..capture.structures import first_tensor, with_first_tensor
from ..capture.units import unit_axis
from ..checks import shown
from ..functional._inputs import device_of

Edit = Callable[[Tensor], Tensor]
Units = Sequence[int] | Sequence[bool] | Tensor | slice | int | EllipsisType | None
Named = Literal["zero", "mean", "resample"]
Value = Named | Tensor | float
Numbers = Tensor | NDArray[Any] | Sequence[float]
"""What can be made a tensor."""


def check_network(network: Any) -> None:
    """Raise ValueError unless it is a module."""
    if not isinstance(network, nn.Module):
        raise ValueError(f"network must be an nn.Module, not {described(network)}")


def layer_names(layer: Any) -> list[str]:
    """One name or several as a list.

    Raises:
        ValueError: For what is no string, or holds something else.
    """
    names = list(layer) if isinstance(layer, Sequence) and not isinstance(layer, str) else [layer]
    for name in names:
        if not isinstance(name, str):
            raise ValueError(
                f"layer must be a name, one of those of network.named_modules(), or several, not {described(name)}"
            )
    return names


def check_layer(layer: Any) -> None:
    """Raise ValueError unless it is one name."""
    if not isinstance(layer, str):
        raise ValueError(f"layer must be a name, one of those of network.named_modules(), not {described(layer)}")


def check_loss(loss: Any) -> None:
    """Raise ValueError unless it is a function or None."""
    if loss is not None and not callable(loss):
        raise ValueError(f"loss must be a function, loss(outputs, target) -> [N], not {described(loss)}")


def as_tensor(name: str, value: Any) -> Tensor:
    """A tensor as it is, or one of what an array, list or tuple holds.

    Raises:
        ValueError: With the name, for anything else and for complex numbers.
    """
    if isinstance(value, Tensor):
        tensor = value
    else:
        try:
            with torch.inference_mode(False):  # it may have to be kept for gradients
                tensor = torch.tensor(value)
        except (TypeError, ValueError, RuntimeError, KeyError, OverflowError):
            raise ValueError(
                f"{name} must be a tensor, or an array or list of numbers, not {described(value)}"
            ) from None
    if tensor.is_complex():
        raise ValueError(f"{name} must hold real numbers, not {tensor.dtype}")
    return tensor


def described(value: Any) -> str:
    """What was given, for messages: short values as they are, others by their type."""
    if value is None or isinstance(value, str | bool | int | float):
        return shown(value)
    return f"a {type(value).__name__}"


@contextmanager
def patched(network: nn.Module, edits: Mapping[str, Edit]) -> Iterator[None]:
    """Replaces what layers return, at every call of them.

    Of a tuple, list, mapping or dataclass the first tensor is replaced; its type and the rest are kept. Of an
    ``nn.LSTM``, ``nn.GRU`` or ``nn.RNN`` that is the sequence, and the last layer's final state ``h_n``, which is the
    same activations once more, follows it (``c_n`` stays). Nothing else of the network changes, and nothing at all
    afterwards. Compiled networks run eagerly meanwhile: their graphs have no place for what is new.

    Args:
        network: Any module.
        edits: By names of ``network.named_modules()`` functions that make a tensor of the same shape of a layer's
            output and leave that one as it is.

    Raises:
        ValueError: For an unknown layer; when it runs, for one that returns no tensor, or an edit that makes something
            else than a tensor of the same shape and dtype.

    Example:
        >>> network = nn.Sequential(nn.Linear(2, 3), nn.ReLU())
        >>> with patched(network, {"0": torch.ones_like}):
        ...     network(torch.rand(1, 2)).tolist()
        [[1.0, 1.0, 1.0]]
    """
    modules = _modules(network)
    for layer in edits:
        if layer not in modules:
            raise ValueError(unknown_layer(layer, [name for name in modules if name]))
    with ExitStack() as stack:
        if hasattr(torch.compiler, "set_stance"):
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        for layer, edit in edits.items():
            stack.callback(add_hook(modules[layer], _editor(layer, edit)).remove)
        yield


@contextmanager
def ablate(
    network: nn.Module,
    units: Mapping[str, Units],
    value: Value = "zero",
    reference: Tensor | Mapping[str, Tensor] | None = None,
    *,
    generator: torch.Generator | None = None,
) -> Iterator[None]:
    """Replaces activations of units by something that says nothing about the sample, at every call of their layers.

    Units are channels for convolutional outputs ``[N, C, ...]``, the last axis for ``[N, D]`` and ``[N, T, D]``. An
    output ``[N]`` is one unit. Several layers are ablated at once, each on what it is given then.

    Args:
        network: Any module.
        units: By names of ``network.named_modules()`` which units: numbers, a bool for each unit, a slice, one number,
            or None (or ``...``) for all.
        value: ``"zero"``; ``"mean"``: the unit's mean over the batch and all positions; ``"resample"``: what another
            sample of the batch, drawn at random, has there, the same sample for all units; a number; or a tensor:
            ``[U]``, a number for each unit, one of the output's own shape, or ``[units chosen]``, in the order in which
            they are given.
        reference: Activations ``[N_ref, ...]`` of the layer, or by layer, to take means or samples of instead of the
            batch's.
        generator: For ``"resample"``; None: one with seed 0 at each call, so batches of one size are resampled alike.

    Raises:
        ValueError: For an argument of the wrong type, an unknown layer, units that are negative or no units, an unknown
            value, or a reference that is not asked for or lacks a layer; when the network runs, for units that a layer
            does not have, a value or reference of another size, or an output that is not floating point.

    Example:
        >>> network = nn.Linear(1, 3, bias=False)
        >>> _ = nn.init.constant_(network.weight, 2.0)
        >>> with torch.no_grad(), ablate(network, {"": [0, 2]}):
        ...     network(torch.ones(1, 1))
        tensor([[0., 2., 0.]])
    """
    check_network(network)
    if not isinstance(units, Mapping):
        raise ValueError(f"units must be a mapping, {{layer: units}}, not {described(units)}")
    for layer in units:
        check_layer(layer)
    _check_value(value)
    for given in reference.values() if isinstance(reference, Mapping) else (reference,):
        if given is not None and not isinstance(given, Tensor):
            raise ValueError(f"reference must be a tensor, or a mapping of tensors by layer, not {described(given)}")
    if reference is not None and value not in ("mean", "resample"):
        raise ValueError('a reference is for value="mean" or "resample" only')
    if isinstance(reference, Tensor) and len(units) > 1:
        raise ValueError(f"reference must be a mapping with activations of each of {', '.join(units)}")
    edits = {}
    for layer, chosen in units.items():
        known = reference.get(layer) if isinstance(reference, Mapping) else reference
        if known is None and reference is not None:
            raise ValueError(f"reference holds no activations of {layer!r}")
        edits[layer] = _ablation(network, layer, _as_units(chosen, layer), value, known, generator)
    with patched(network, edits):
        yield


@contextmanager
def remove_direction(network: nn.Module, layer: str, direction: Numbers) -> Iterator[None]:
    """Takes a direction out of a layer's activations, at every call and position.

    Activations h become ``h - (h . v) v``.

    Args:
        network: Any module.
        layer: One of the names of ``network.named_modules()``.
        direction: ``[U]``, of any length but 0; v is the unit vector along it. An array or list is converted.

    Raises:
        ValueError: For an argument of the wrong type, an unknown layer, or a direction that is zero, complex, not
            finite or no vector; when the network runs, for one that has not a number for each unit.

    Example:
        >>> network = nn.Identity()
        >>> with remove_direction(network, "", torch.tensor([0.0, 5.0])):
        ...     network(torch.tensor([[3.0, 4.0]]))
        tensor([[3., 0.]])
    """
    check_network(network)
    check_layer(layer)
    unit = unit_vector(direction)
    edit = unit_edit(network, layer, lambda output, axis: without_direction(output, unit, axis))
    with patched(network, {layer: edit}):
        yield


def replace_units(
    output: Tensor,
    axis: int,
    units: Units,
    value: Value = "zero",
    reference: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """A layer's output with some units replaced, as :func:`ablate` does it.

    Args:
        output: ``[N, ...]``, floating point.
        axis: That counts the units.
        units: As in :func:`ablate`.
        value: As in :func:`ablate`.
        reference: As in :func:`replacement`.
        generator: As in :func:`replacement`.

    Returns:
        A new tensor of the same shape and dtype; gradients lead to the units that are left.

    Raises:
        ValueError: For units that the layer does not have, and as :func:`replacement`.

    Example:
        >>> replace_units(torch.ones(2, 3), 1, [0, 2], torch.tensor([5.0, 7.0]))
        tensor([[5., 1., 7.],
                [5., 1., 7.]])
    """
    width = output.shape[axis]
    chosen = chosen_units(units, width).to(output.device)
    if isinstance(value, Tensor) and value.shape == chosen.shape and len(value) != width:
        value = output.new_zeros(width).index_put((chosen,), value.to(output))
    new = replacement(output, axis, value, reference, generator)
    mask = torch.zeros(width, dtype=torch.bool, device=output.device).index_fill(0, chosen, True)
    return torch.where(_along(mask, axis, output.ndim), new, output)


def replacement(
    output: Tensor,
    axis: int,
    value: Value,
    reference: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """What each unit of a layer would be replaced by.

    Args:
        output: ``[N, ...]``, floating point.
        axis: That counts the units.
        value: ``"zero"``; ``"mean"``: of each unit over all other axes, summed in float32 at least; ``"resample"``:
            each sample gets all that another one has, by a random permutation in which none stays where it is; or a
            number, or a tensor: ``[]``, ``[U]``, or of the output's shape.
        reference: ``[N_ref, ...]`` with the axes of the output, or ``[N_ref, U]``, of one unit also ``[N_ref]``: its
            mean is taken, or its rows are drawn (with replacement), instead of the output's.
        generator: For ``"resample"``; None: one with seed 0.

    Returns:
        Of the output's shape, dtype and device; may be an expanded view: not to be changed in place.

    Raises:
        ValueError: For an output that is not dense and floating point, a value or reference that does not fit it, or
            one sample alone to resample.

    Example:
        >>> replacement(torch.tensor([[1.0, 2.0], [3.0, 6.0]]), 1, "mean")
        tensor([[2., 4.],
                [2., 4.]])
    """
    _check_value(value)
    if output.layout != torch.strided or not output.is_floating_point():
        raise ValueError(
            f"its output is {output.layout} {output.dtype}; only dense floating-point units can be replaced"
        )
    known = output if reference is None else _with_axes_of(output, axis, reference)
    if isinstance(value, Tensor | float | int):
        given = torch.as_tensor(value, dtype=output.dtype, device=output.device)
        if given.ndim == 1 and len(given) == output.shape[axis]:
            given = _along(given, axis, output.ndim)
        elif given.shape == output.shape[:1] and output.shape[1:] == (1,):  # of a layer that puts out [N]
            given = given.unsqueeze(1)
        elif given.ndim and given.shape != output.shape:
            raise ValueError(
                f"value has shape {tuple(given.shape)}: neither one number, nor one for each of {output.shape[axis]} "
                f"units, nor the output's shape {tuple(output.shape)}"
            )
    elif value == "zero":
        given = output.new_zeros(())
    elif value == "mean":
        others = [i for i in range(known.ndim) if i != axis % known.ndim]
        given = known.mean(others, keepdim=True, dtype=torch.promote_types(known.dtype, torch.float32))
    else:
        given = known[_donors(len(output), None if reference is None else len(known), generator).to(known.device)]
    try:
        return given.to(output).expand_as(output)
    except RuntimeError:
        raise ValueError(f"reference has shape {tuple(known.shape)}, the output {tuple(output.shape)}") from None


def without_direction(output: Tensor, direction: Tensor, axis: int) -> Tensor:
    """Activations h less what they have of a direction v: ``h - (h . v) v``, computed in float32 at least.

    Args:
        output: ``[N, ...]``, floating point.
        direction: ``[U]``; v is the unit vector along it.
        axis: That counts the units.

    Returns:
        Of the output's shape and dtype; gradients lead to both.

    Raises:
        ValueError: For an output that is not floating point, or a direction that is zero, not finite, or has not one
            number for each unit.

    Example:
        >>> without_direction(torch.tensor([[3.0, 1.0, 2.0]]), torch.tensor([0.0, 5.0, 0.0]), 1)
        tensor([[3., 0., 2.]])
    """
    if not output.is_floating_point():
        raise ValueError(f"its output is {output.dtype}: it has no directions")
    if len(direction) != output.shape[axis]:
        raise ValueError(f"the direction has {len(direction)} numbers, the layer {output.shape[axis]} units")
    dtype = torch.promote_types(output.dtype, torch.float32)
    v = _along(unit_vector(direction).to(output.device, dtype), axis, output.ndim)
    h = output.to(dtype)
    return (h - (h * v).sum(axis, keepdim=True) * v).to(output.dtype)


def unit_vector(direction: Numbers) -> Tensor:
    """The direction at length 1, ``[U]`` float64.

    Raises:
        ValueError: For one that is no vector, zero, complex or not finite.

    Example:
        >>> unit_vector(torch.tensor([3, 4]))
        tensor([0.6000, 0.8000], dtype=torch.float64)
    """
    direction = as_tensor("a direction", direction)
    if direction.ndim != 1:
        raise ValueError(f"a direction is a tensor [units], not shape {tuple(direction.shape)}")
    if not len(direction) or not bool(direction.isfinite().all()) or not bool(direction.any()):
        raise ValueError("a direction must be finite and not zero")
    scaled = direction.to(device_of(direction), torch.float64)
    scaled = scaled / scaled.detach().abs().amax()  # or squares could overflow or vanish
    return scaled / scaled.norm()


def chosen_units(units: Units, width: int) -> Tensor:
    """The numbers of chosen units, ``[k]`` int64.

    Args:
        units: As in :func:`ablate`.
        width: How many the layer has.

    Raises:
        ValueError: For units that it does not have.

    Example:
        >>> chosen_units([True, False, True], 3), chosen_units(slice(1, None), 3)
        (tensor([0, 2]), tensor([1, 2]))
    """
    units = _as_units(units)
    if isinstance(units, slice):
        return torch.arange(*units.indices(width))
    if units.dtype == torch.bool:
        if len(units) != width:
            raise ValueError(f"a mask of {len(units)} for {width} units")
        return units.nonzero().squeeze(1)
    if len(units) and int(units.max()) >= width:
        raise ValueError(f"it has {width} units, there is no unit {int(units.max())}")
    return units


def layer_unit_axis(network: nn.Module, layer: str, num_axes: int) -> int:
    """The axis of a layer's output that counts its units; see :func:`lightning_separation.capture.units.unit_axis`.

    Where the layer itself does not say, the nearest module that does counts: of its own parts the last, then what
    stands before and behind it in the module around it, then around that one, and so on. Outside of ``nn.Sequential``
    and ``nn.ModuleList`` modules need not stand in the order in which they run: there those come first that are made
    for as many axes. Convolutions, poolings and norms of one, two or three dimensions count for outputs of three, four
    or five axes only.

    Args:
        network: Any module.
        layer: One of its names.
        num_axes: Axes of the output, samples included.

    Raises:
        ValueError: For an unknown layer.

    Example:
        >>> network = nn.Sequential(nn.Conv1d(3, 8, 5), nn.ReLU(), nn.Linear(9, 2), nn.ReLU())
        >>> layer_unit_axis(network, "1", 3), layer_unit_axis(network, "3", 3)
        (1, 2)
    """
    modules = _modules(network)
    if layer not in modules:
        raise ValueError(unknown_layer(layer, [name for name in modules if name]))
    names = list(modules)
    at = names.index(layer)
    by_order = [*reversed(names[:at]), *names[at + 1 :]]
    path = layer.split(".") if layer else []
    nearest = [name for name in reversed(names) if _is_part(name, layer)]
    for depth in range(len(path) - 1, -1, -1):
        around = ".".join(path[:depth])
        inside = [name for name in by_order if _is_part(name, around)]
        if not isinstance(modules[around], nn.Sequential | nn.ModuleList):
            inside.sort(key=lambda name: _num_axes_of(modules[name]) != num_axes)
        nearest += inside  # some once more, which changes nothing
    neighbours = [(modules[name], _num_axes_of(modules[name]) or num_axes) for name in nearest]
    return unit_axis(modules[layer], num_axes, neighbours)


def _modules(network: nn.Module) -> dict[str, nn.Module]:
    """Every module by every name that it has."""
    return dict(network.named_modules(remove_duplicate=False))


def _is_part(name: str, around: str) -> bool:
    return name.startswith(f"{around}.") if around else bool(name)


def _num_axes_of(module: nn.Module) -> int | None:
    """Axes that a module's name promises: 4 for ``Conv2d``."""
    found = (re.search(r"([123])d$", cls.__name__) for cls in type(module).__mro__)
    return next((int(match[1]) + 2 for match in found if match), None)


def _editor(layer: str, edit: Edit) -> Callable[..., Any]:
    def replace(module: nn.Module, _: Any, output: Any) -> Any:
        before = first_tensor(output)
        if before is None:
            raise ValueError(f"{layer}: its output, a {type(output).__name__}, holds no tensor")
        if before.is_nested:
            raise ValueError(
                f"{layer}: its output is a nested tensor, as nn.TransformerEncoder makes it of a padding mask; set its "
                "enable_nested_tensor to False"
            )
        after = edit(before)
        if not isinstance(after, Tensor) or after.shape != before.shape or after.dtype != before.dtype:
            made = f"{tuple(after.shape)} {after.dtype}" if isinstance(after, Tensor) else type(after).__name__
            raise ValueError(f"{layer}: an edit made {made} of {tuple(before.shape)} {before.dtype}")
        edited = with_first_tensor(output, after)
        if isinstance(module, nn.RNNBase) and isinstance(edited, tuple) and len(edited) == 2 and after.ndim > 1:
            return _with_final_state(module, *edited)
        return edited

    return replace


def _with_final_state(module: nn.RNNBase, sequence: Tensor | PackedSequence, state: Any) -> tuple[Any, Any]:
    """A recurrent module's output with the last layer's final state as the sequence has it.

    Forwards that is the sequence at the last step of each sample, backwards at the first.

    Args:
        module: Whose output it is.
        sequence: ``[T, N, D * H]``, ``[N, T, D * H]``, ``[T, D * H]`` or packed.
        state: ``h_n`` ``[layers * D, (N,) H]``, or ``(h_n, c_n)``.
    """
    h_n, *c_n = state if isinstance(state, tuple) else (state,)
    if isinstance(sequence, PackedSequence):
        steps, lengths = pad_packed_sequence(sequence)
        last = steps[lengths.to(steps.device) - 1, torch.arange(len(lengths), device=steps.device)]
    else:
        steps = sequence.transpose(0, 1) if module.batch_first and sequence.ndim == 3 else sequence
        last = steps[-1]
    directions = 1 + module.bidirectional
    width = h_n.shape[-1]
    ends = torch.stack([last[..., :width], steps[0][..., width:]][:directions])
    h_n = torch.cat([h_n[:-directions], ends])
    return sequence, ((h_n, *c_n) if c_n else h_n)


def unit_edit(network: nn.Module, layer: str, function: Callable[[Tensor, int], Tensor]) -> Edit:
    """An edit of a layer's units, whatever stands where in its output; its errors name the layer.

    Args:
        network: Any module.
        layer: One of the names of ``network.named_modules()``.
        function: ``function(output [N, ...], axis)``, of which the axis counts the units. It is given an output
            ``[N]``, which is one unit, as ``[N, 1]``.
    """
    axis_of = cache(partial(layer_unit_axis, network, layer))

    def edit(output: Tensor) -> Tensor:
        if output.ndim == 0:
            raise ValueError(f"{layer}: its output is a single number: it has no units")
        turned = output.ndim == 3 and batch_axis(network, layer) == 1
        try:
            if output.ndim == 1:
                return function(output.unsqueeze(1), 1).squeeze(1)
            made = function(output.transpose(0, 1) if turned else output, axis_of(output.ndim))
        except ValueError as error:
            raise ValueError(f"{layer}: {error}") from error
        return made.transpose(0, 1) if turned else made

    return edit


def _ablation(
    network: nn.Module,
    layer: str,
    units: Units,
    value: Value,
    reference: Tensor | None,
    generator: torch.Generator | None,
) -> Edit:
    return unit_edit(network, layer, lambda h, axis: replace_units(h, axis, units, value, reference, generator))


def _as_units(units: Units, layer: str = "units") -> Tensor | slice:
    """Units as a tensor of numbers or of bools, or a slice."""
    if units is None or units is ...:
        return slice(None)
    if isinstance(units, slice):
        return units
    try:
        index = torch.as_tensor(units).cpu()
    except (TypeError, ValueError, RuntimeError):
        raise ValueError(f"{layer}: units must be numbers, bools or a slice, not {units!r}") from None
    if index.numel() == 0 and index.ndim == 1:
        return index.long()
    if index.dtype == torch.bool and index.ndim == 1:
        return index
    index = index.reshape(1) if index.ndim == 0 and index.dtype != torch.bool else index
    if index.ndim != 1 or index.is_floating_point() or index.is_complex() or index.dtype == torch.bool:
        raise ValueError(f"{layer}: units must be numbers, bools or a slice, not {units!r}")
    if int(index.min()) < 0:
        raise ValueError(f"{layer}: units are counted from 0, not {int(index.min())}")
    return index.long()


def _check_value(value: Any) -> None:
    named = isinstance(value, str) and value in get_args(Named)
    if isinstance(value, bool) or not (named or isinstance(value, Tensor | float | int)):
        raise ValueError(f"value must be one of {get_args(Named)} or a tensor, not {value!r}")


def _along(vector: Tensor, axis: int, num_axes: int) -> Tensor:
    """A vector ``[U]`` that broadcasts along one of so many axes."""
    shape = [1] * num_axes
    shape[axis] = len(vector)
    return vector.reshape(shape)


def _with_axes_of(output: Tensor, axis: int, reference: Tensor) -> Tensor:
    """Reference activations with as many axes as the output."""
    if reference.ndim == 1 and output.shape[1:] == (1,):  # of a layer that puts out [N]
        reference = reference.unsqueeze(1)
    if reference.ndim == 2 and output.ndim > 2:
        shape = [1] * output.ndim
        shape[0], shape[axis] = reference.shape
        reference = reference.reshape(shape)
    if reference.ndim != output.ndim or reference.shape[axis] != output.shape[axis] or not len(reference):
        raise ValueError(f"reference has shape {tuple(reference.shape)}, the output {tuple(output.shape)}")
    return reference


def _donors(num: int, among: int | None, generator: torch.Generator | None) -> Tensor:
    """For each of so many samples the row that it gets its activations from, ``[num]``.

    Args:
        num: Samples.
        among: Rows of a reference; None: the samples themselves, of which none is its own.
        generator: None: one with seed 0.
    """
    generator = torch.Generator().manual_seed(0) if generator is None else generator
    if among is not None:
        return torch.randint(among, (num,), generator=generator, device=generator.device)
    if num < 2:
        raise ValueError("one sample alone cannot be resampled; give a reference")
    order = torch.randperm(num, generator=generator, device=generator.device)
    return torch.empty_like(order).scatter(0, order, order.roll(1))  # one cycle: nobody stays
