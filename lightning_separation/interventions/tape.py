"""One run of a network as a list of operations, so that parts of it can be run again without the network's own code."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from .folding import folded

# They look at the shape of what they are given, not at its values.
_BY_SHAPE = {
    "rand_like", "randn_like", "randint_like", "zeros_like", "ones_like", "full_like", "empty_like",
    "new_zeros", "new_ones", "new_full", "new_empty",
}  # fmt: skip
# So do these if they fill a tensor in place and are given no other.
_FILLS = {"zero", "fill", "normal", "uniform", "exponential", "bernoulli", "random"}

_READERS = {"numpy", "tolist", "__array__", "__dlpack__", "data_ptr", "__cuda_array_interface__"}

Key = tuple[Any, ...]


@dataclass(frozen=True)
class Ref:
    """A tensor on the tape."""

    value: int


@dataclass(frozen=True, eq=False)
class Op:
    """One operation.

    Attributes:
        name: Of the operation in ATen, without overload; of one that works in place that of its other form.
        function: Computes it anew, nothing in place.
        args: Its arguments, tensors as ``Ref``.
        kwargs: The same.
        inputs: Values that its result depends on.
        outputs: Values that it makes: of the tensors that ``function`` returns, in their order.
        vectorized: What to call instead for several copies under ``torch.func.vmap``; None: the same.
        obstacle: Why it cannot be computed anew once its inputs have changed; empty if it can.
    """

    name: str
    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    obstacle: str = ""
    vectorized: Callable[..., Any] | None = None


class Tape:
    """Operations and values of one run of a network, in order.

    Every state of a tensor is a value of its own: what works in place makes a new one and leaves the old as it was.

    Attributes:
        ops: In order of execution.
        values: By number; None for one that was let go.
        obstacle: Why nothing of it can be computed anew; empty if there is nothing.
        watched_changed: Whether something was changed in place that ``watch`` was told of.
        nbytes: Memory that the run took, all that operations made kept; after the recording.
    """

    def __init__(self) -> None:
        self.ops: list[Op] = []
        self.values: list[Tensor | None] = []
        self.obstacle = ""
        self.nbytes = 0
        self.watched_changed = False
        self._watched: set[Any] = set()
        self._numbers: dict[Key, int] = {}  # tensors of one place and shape in memory are one
        self._stored: dict[Any, list[int]] = {}  # storage -> values in it
        self._stale: dict[Key, tuple[Tensor, int]] = {}  # what changed through a tensor of another shape
        self._alive: list[Any] = []  # so that no memory is used twice while recording
        self._outside: set[Any] = set()  # storages that were there before
        self._lent: list[Tensor] = []  # tensors in them that were changed: buffers, which will be put back

    @contextmanager
    def recording(self, *, reading: bool = True) -> Iterator[None]:
        """Put down every operation that runs inside.

        Args:
            reading: Whether to notice what is turned into NumPy's arrays or Python's numbers, too. Fused attention and
                encoder layers take another way then.
        """
        try:
            with _Recording(self), _Reading(self) if reading else nullcontext():
                yield
        finally:
            for tensor in self._lent:
                self._keep_states(tensor)
            self.nbytes = self._room()
            self._stored, self._alive, self._lent = {}, [], []

    def number(self, tensor: Tensor) -> int:
        """The value that a tensor has now; one that no operation made becomes a constant."""
        key = _key(tensor)
        if key in self._stale:
            self._refresh(tensor, key)
        if key not in self._numbers:
            self._outside.add(key[0])
            return self._put(tensor)
        return self._numbers[key]

    def keep_only(self, needed: set[int]) -> None:
        """Let go of all other values."""
        self.values = [value if number in needed else None for number, value in enumerate(self.values)]

    def run(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run an operation and put it down."""
        name = func.overloadpacket.__name__.split(".")[-1]
        refs = tree_map(lambda x: Ref(self.number(x)) if isinstance(x, Tensor) else x, (args, kwargs))
        changed = _changed_in_place(func, args, kwargs)
        for tensor in changed:
            self._keep_states(tensor)
            self.watched_changed |= _key(tensor)[0] in self._watched
        draws = torch.Tag.nondeterministic_seeded in func.tags
        state = _random_state() if draws else []
        out = func(*args, **kwargs)
        random = not all(torch.equal(a, b) for a, b in zip(state, _random_state() if draws else [], strict=True))

        function: Callable[..., Any] = func
        made = [x for x in tree_leaves(out) if isinstance(x, Tensor)]
        if any(x.is_nested or x.layout != torch.strided for x in made):
            self.obstacle = f"{func} makes a tensor that is not dense"
            return out
        obstacle = _obstacle(func, args, random)
        if changed:
            if [x for x in made if all(x is not tensor for tensor in changed)]:
                obstacle = obstacle or f"{func} changes a tensor and makes another"
            made = changed
            name, function = _out_of_place(func, args, kwargs, changed)
            direct = [x for x in (*args, *kwargs.values()) if isinstance(x, Tensor)]
            if any(all(tensor is not x for x in direct) for tensor in changed):
                obstacle = obstacle or f"{func} changes a list of tensors"
        elif name in ("view", "_unsafe_view", "view_as_complex"):
            function = _view(func)  # what is computed anew may lie in memory in another order
        elif name == "as_strided":
            function, obstacle = _strided(func, args[0])
        inputs = tuple(dict.fromkeys(x.value for x in tree_leaves(refs) if isinstance(x, Ref)))
        if name in _BY_SHAPE or (name in _FILLS and changed and len(inputs) == 1):
            inputs, obstacle = (), ""
        outputs = tuple(self._put(tensor) for tensor in made)
        for tensor, number in zip(changed, outputs, strict=False):
            self._mark_stale(tensor, number)
        self._lent += [tensor for tensor in changed if _key(tensor)[0] in self._outside]
        op_args, op_kwargs = refs
        self.ops.append(Op(name, function, op_args, op_kwargs, inputs, outputs, obstacle, folded(func, name)))
        return out

    def watch(self, *tensors: Tensor) -> None:
        """Notice in ``watched_changed`` if their memory is changed from now on."""
        self._watched.update(_key(tensor)[0] for tensor in tensors)

    def read_by_code(self, tensor: Tensor) -> None:
        """The network's code looks at its values: put that down."""
        self.ops.append(Op("read", _unreadable, (), {}, (self.number(tensor),), (), "its code reads values"))

    def _room(self) -> int:
        storages = {}
        for tensor in (*self._alive, *(value for value in self.values if value is not None)):
            if (
                (key := _key(tensor)[0]) not in self._outside
                and tensor.layout == torch.strided
                and not tensor.is_nested
            ):
                storages[key] = tensor.untyped_storage().nbytes()
        return sum(storages.values())

    def _put(self, tensor: Tensor) -> int:
        number, key = len(self.values), _key(tensor)
        self.values.append(tensor.detach())
        self._numbers[key] = number
        self._stale.pop(key, None)
        self._alive.append(tensor)
        self._stored.setdefault(key[0], []).append(number)
        return number

    def _keep_states(self, tensor: Tensor) -> None:
        """Its memory is about to change: copy the values that are in it."""
        self.number(tensor)
        for number in self._stored.pop(_key(tensor)[0], ()):
            value = self.values[number]
            if value is not None:
                self.values[number] = value.clone()

    def _mark_stale(self, through: Tensor, number: int) -> None:
        storage, *_ = own = _key(through)
        for key in [key for key in self._numbers if key[0] == storage and key != own]:
            if key in self._stale:
                self._refresh(self._seen_as(key, through), key)
            self._stale[key] = (through, number)

    def _seen_as(self, key: Key, tensor: Tensor) -> Tensor:
        """The tensor of that place and shape in the memory of another."""
        _, offset, size, stride, (dtype, is_conj, is_neg) = key
        seen = torch.empty(0, dtype=dtype, device=tensor.device)
        seen = seen.set_(tensor.untyped_storage(), offset, size, stride)
        seen = torch._conj(seen) if is_conj else seen
        return torch._neg_view(seen) if is_neg else seen

    def _refresh(self, tensor: Tensor, key: Key) -> None:
        """What changed through another tensor must be seen in this one: an operation that puts it there."""
        through, new = self._stale.pop(key)
        old = self._numbers[key]
        here, there = _geometry(tensor), _geometry(through)
        room = tensor.untyped_storage().nbytes() // tensor.element_size()
        obstacle = "" if _kind(tensor) == _kind(through) else "one memory is used as two types"

        def see(before: Tensor, change: Tensor) -> Tensor:
            memory = before.new_empty(room)
            memory.as_strided(*here).copy_(before)
            memory.as_strided(*there).copy_(change)
            return memory.as_strided(*here)

        number = self._put(tensor)
        self.ops.append(Op("see", see, (Ref(old), Ref(new)), {}, (old, new), (number,), obstacle))


class _Reading(TorchFunctionMode):
    """Notices what leaves torch: what is computed from that is not on the tape."""

    def __init__(self, tape: Tape) -> None:
        super().__init__()
        self._tape = tape

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if getattr(func, "__name__", "") in _READERS and args and isinstance(args[0], Tensor):
            self._tape.read_by_code(args[0])
        return func(*args, **(kwargs or {}))


class _Recording(TorchDispatchMode):
    def __init__(self, tape: Tape) -> None:
        super().__init__()
        self._tape = tape

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return self._tape.run(func, args, kwargs or {})


def _key(tensor: Tensor) -> Key:
    if tensor.is_nested or tensor.layout != torch.strided:
        return (id(tensor),)
    storage = tensor.untyped_storage()._cdata
    return (storage, tensor.storage_offset(), tuple(tensor.shape), tensor.stride(), _kind(tensor))


def _kind(tensor: Tensor) -> tuple[torch.dtype, bool, bool]:
    """How its memory is read: a conjugate or negative is a view of the same memory."""
    return tensor.dtype, tensor.is_conj(), tensor.is_neg()


def _geometry(tensor: Tensor) -> tuple[Any, Any, Any]:
    return tensor.shape, tensor.stride(), tensor.storage_offset()


def _random_state() -> list[Tensor]:
    """Of all generators that an operation can draw from without being told which."""
    own = [torch.get_rng_state()]
    return own + torch.cuda.get_rng_state_all() if torch.cuda.is_available() else own


def _changed_in_place(func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> list[Tensor]:
    changed: list[Tensor] = []
    for place, argument in enumerate(func._schema.arguments):
        if argument.alias_info is not None and argument.alias_info.is_write:
            given = args[place] if place < len(args) else kwargs.get(argument.name)
            changed += [x for x in tree_leaves(given) if isinstance(x, Tensor)]
    return changed


def _types(func: Any) -> list[str]:
    """Of its arguments."""
    return [str(argument.type) for argument in func._schema.arguments]


def _out_of_place(
    func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], changed: Sequence[Tensor]
) -> tuple[str, Callable[..., Any]]:
    """Name and function of an operation's form that returns what it would change."""
    name = func.overloadpacket.__name__
    packet = getattr(torch.ops.aten, name[:-1], None) if name.endswith("_") else None
    other = getattr(packet, func._overloadname, None)
    # One of that name may take its arguments the other way round: pow(number, tensor) beside pow_(tensor, number).
    if other is not None and _types(other) != _types(func):
        other = None
    if other is not None and len(changed) == 1 and changed[0] is args[0]:
        dtype = changed[0].dtype

        def function(*given: Any, **named: Any) -> Tensor:
            out = other(*given, **named)
            return out if out.dtype == dtype else out.to(dtype)

        return name[:-1], function
    places = [i for i, x in enumerate(args) if any(x is tensor for tensor in changed)]
    names = [key for key, x in kwargs.items() if any(x is tensor for tensor in changed)]

    def on_copies(*given: Any, **named: Any) -> tuple[Tensor, ...]:
        copies = [x.clone() if i in places else x for i, x in enumerate(given)]
        named = {key: x.clone() if key in names else x for key, x in named.items()}
        func(*copies, **named)
        return (*(copies[i] for i in places), *(named[key] for key in names))

    return func.overloadpacket.__name__.rstrip("_"), on_copies


def _view(func: Any) -> Callable[..., Any]:
    """The same view of a tensor however it lies in memory, of a copy if need be."""
    if func in (torch.ops.aten.view.default, torch.ops.aten._unsafe_view.default):
        return torch.ops.aten.reshape.default
    return lambda x, *given: func(x.contiguous(), *given)


def _strided(func: Any, tensor: Tensor) -> tuple[Callable[..., Any], str]:
    """A view by strides of whatever is laid out in memory as the tensor was; and why it is not known if it is not."""
    geometry, room = _geometry(tensor), tensor.untyped_storage().nbytes() // tensor.element_size()

    def view(x: Tensor, *given: Any, **named: Any) -> Any:
        memory = x.new_empty(room)
        laid_out = memory.as_strided(*geometry)
        laid_out.copy_(x)
        return func(laid_out, *given, **named)

    in_order = sorted(range(tensor.ndim), key=tensor.stride().__getitem__, reverse=True)
    is_all = tensor.numel() == room and tensor.permute(in_order).is_contiguous()
    return view, "" if is_all else f"{func} may see more than the tensor that it is given"


def _obstacle(func: Any, args: Sequence[Any], random: bool) -> str:
    tags = func.tags
    if random:
        return f"{func} draws random numbers"
    if torch.Tag.data_dependent_output in tags:
        return f"its code reads values ({func})"
    masks = tree_leaves(args[1]) if func.overloadpacket is torch.ops.aten.index and len(args) > 1 else ()
    by_mask = any(isinstance(x, Tensor) and x.dtype in (torch.bool, torch.uint8) for x in masks)
    if by_mask or (torch.Tag.dynamic_output_shape in tags and func.overloadpacket is not torch.ops.aten.index):
        return f"shapes depend on values ({func})"
    return ""


def _unreadable() -> None:
    raise RuntimeError("what the network's code did with values is not on the tape")
