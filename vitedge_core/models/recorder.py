"""Writes down every operation of a forward pass on the meta device: its module, its shape, and what memory is alive.

Operators are seen where PyTorch dispatches them (below `matmul`, `einsum`, `F.linear`, `jit.script`), so nothing hides
behind a friendlier name. Fused attention is caught one level higher, because what it is split into differs by device.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from vitedge_core.models.workspace import NO_WORKSPACE, Steps, Workspace, workspace

aten = torch.ops.aten

_MATRICES = {aten.mm: (0, 1), aten.bmm: (0, 1), aten.addmm: (1, 2), aten.baddbmm: (1, 2)}
_ALLOCATE_ONLY = {aten.empty, aten.empty_like, aten.empty_strided, aten.new_empty, aten.new_empty_strided}


@dataclass(slots=True)
class Event:
    """One operator call. Sizes in elements; `alive` is every activation in memory when it ends, its own included.

    path: the module whose forward called it. parameter: name of the parameter a product multiplies by, "" when both
    factors are activations. role: "scores" or "mix" of fused attention. workspace: what its kernel needs for itself.
    kept: what it made and a module keeps for later passes; no activation, and not in `alive`. shared: whether no image
    has a part in it.
    """

    path: str
    operator: str
    reads: int
    writes: int
    alive: int
    rows: int = 0
    inputs: int = 0
    outputs: int = 0
    parameter: str = ""
    role: str = ""
    workspace: Workspace = NO_WORKSPACE
    kept: int = 0
    shared: bool = False

    @property
    def macs(self) -> int:
        """Multiply-accumulates."""
        return self.rows * self.inputs * self.outputs

    @property
    def is_convolution(self) -> bool:
        """Whether it is a convolution."""
        return self.operator == "convolution"

    @property
    def is_activation_product(self) -> bool:
        """Whether two activations are multiplied, as attention does."""
        return self.macs > 0 and not self.parameter and not self.is_convolution


def record(model: nn.Module, example: Tensor) -> list[Event]:
    """Run `model` (on the meta device, in eval mode, owned by the caller) and list what it did, in order.

    Args:
        model: Gets hooks for the duration of the call.
        example: [B, C, height, width] on the meta device.
    """
    recorder = _Operators(model)
    recorder.own(example, derived=True)
    with torch.no_grad(), _paths(model, recorder.stack), _FusedAttention(recorder), recorder:
        answer = model(example)
    recorder.settle([*_tensors((answer,)), example], {_storage(buffer) for buffer in model.buffers()})
    return recorder.events


@contextmanager
def _paths(model: nn.Module, stack: list[str]) -> Iterator[None]:
    """Keep the path of the running module on top of `stack`; the hooks are gone afterwards, whatever happens."""
    handles = []
    try:
        for name, module in model.named_modules():
            handles.append(module.register_forward_pre_hook(lambda *_, name=name: stack.append(name)))
            handles.append(module.register_forward_hook(lambda *_: _pop(stack), always_call=True))
        yield
    finally:
        for handle in handles:
            handle.remove()


def _pop(stack: list[str]) -> None:
    stack.pop()  # a hook's return value would replace the module's output


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata  # noqa: SLF001  the only identity a storage on meta has


def _tensors(values: Any) -> Iterator[Tensor]:
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from _tensors(value)


class _Owned(NamedTuple):
    """Memory that is alive: its elements, the event that made it, and whether an image has a part in it."""

    memory: StorageWeakRef
    size: int
    made: int
    derived: bool


class _FusedAttention(TorchFunctionMode):
    """Answers scaled dot product attention itself: two products, and no score that ever reaches the memory."""

    def __init__(self, operators: _Operators) -> None:
        super().__init__()
        self._operators = operators

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is F.scaled_dot_product_attention:
            return self._operators.attention(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


class _Operators(TorchDispatchMode):
    """Notes every operator that computes; views, and constants made from nothing, are no events."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.events: list[Event] = []
        self.stack: list[str] = []
        self._names = {_storage(p): name for name, p in model.named_parameters()}
        self._constants = {_storage(b) for b in model.buffers()} | set(self._names)
        self._owned: dict[int, _Owned] = {}
        self._muted = False

    def own(self, tensor: Tensor, *, derived: bool) -> None:
        """Count the tensor's memory until nobody refers to it any more; `derived` if an image has a part in it."""
        storage = tensor.untyped_storage()
        key = _storage(tensor)
        known = self._owned.get(key)
        if (known is None or known.memory.expired()) and key not in self._constants:
            self._owned[key] = _Owned(StorageWeakRef(storage), storage.nbytes() // 4, len(self.events), derived)

    def attention(self, query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None, *_: Any,
                  **__: Any) -> Tensor:  # fmt: skip
        """[..., H, N, d], [..., H, M, d], [..., H, M, e] -> [..., H, N, e], laid out as the CPU kernel does."""
        rows, others, width = prod(query.shape[:-1]), key.shape[-2], value.shape[-1]
        factors = [query, key] if attn_mask is None else [query, key, attn_mask]
        self._add("attention", factors, [], _Shape(rows, query.shape[-1], others), role="scores")
        *lead, length = query.shape[:-1]
        self._muted = True
        mixed = query.new_empty((*lead[:-1], length, *lead[-1:], width))
        self._muted = False
        self.own(mixed, derived=True)
        self._add("attention", [value], [mixed], _Shape(rows, others, width), role="mix")
        return mixed.transpose(-3, -2) if lead else mixed

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if not self._muted:
            self._note(func, args, kwargs or {}, result)
        return result

    def _note(self, func: Any, args: Any, kwargs: Any, result: Any) -> None:
        given = list(_tensors((*args, *kwargs.values())))
        made = list(_tensors(result if isinstance(result, list | tuple) else (result,)))
        before = set(map(_storage, given))
        fresh = [tensor for tensor in made if _storage(tensor) not in before]
        derived = self._derived(given)
        for tensor in fresh:
            self.own(tensor, derived=derived)
        if derived and func._schema.is_mutable:  # noqa: SLF001  PyTorch has no public question for it
            self._mark(given[0])
        packet = func.overloadpacket
        computes = bool(fresh) or func._schema.is_mutable  # noqa: SLF001
        if given and computes and packet not in _ALLOCATE_ONLY:
            shape, factor = _product(packet, args, made)
            name = self._names.get(_storage(factor), "") if factor is not None else ""
            self._add(packet.__name__, given, made, shape, parameter=name, own=_workspace(packet, args, made))

    def _add(self, operator: str, given: list[Tensor], made: list[Tensor], shape: _Shape, *, parameter: str = "",
             role: str = "", own: Workspace = NO_WORKSPACE) -> None:  # fmt: skip
        reads = sum(_elements(tensor) for tensor in given if _storage(tensor) not in self._constants)
        path = self.stack[-1] if self.stack else ""
        writes = sum(map(_elements, made))
        self.events.append(
            Event(
                path,
                operator,
                reads,
                writes,
                self._alive(),
                *shape,
                parameter,
                role,
                own,
                shared=not self._derived(given),
            )
        )

    def _derived(self, tensors: list[Tensor]) -> bool:
        """Whether an image has a part in one of them."""
        return any(owned.derived for tensor in tensors if (owned := self._owned.get(_storage(tensor))))

    def _mark(self, tensor: Tensor) -> None:
        """From now on an image has a part in it: it was written into."""
        key = _storage(tensor)
        if key in self._owned:
            self._owned[key] = self._owned[key]._replace(derived=True)

    def _alive(self) -> int:
        for key in [key for key, owned in self._owned.items() if owned.memory.expired()]:
            del self._owned[key]
        return sum(owned.size for owned in self._owned.values())

    def settle(self, known: list[Tensor], buffers: set[int]) -> None:
        """What outlives the pass without being `known` (images, answer) is a table that a module keeps.

        New buffers are no activations either, and are counted with all others.
        """
        self._alive()
        spared = set(map(_storage, known))
        for key, owned in self._owned.items():
            if key not in spared:
                self.events[owned.made].kept += 0 if key in buffers else owned.size
                for event in self.events[owned.made :]:
                    event.alive -= owned.size


class _Shape(NamedTuple):
    rows: int
    inputs: int = 0
    outputs: int = 0


def _product(packet: Any, args: Any, made: list[Tensor]) -> tuple[_Shape, Tensor | None]:
    """Shape and second factor of a matrix product or convolution; of anything else how many vectors it makes."""
    if packet in _MATRICES:
        left, right = (args[index] for index in _MATRICES[packet])
        return _Shape(prod(left.shape[:-1]), left.shape[-1], right.shape[-1]), right
    if packet is aten.convolution:
        image, weight, transposed = args[0], args[1], args[6]
        places = (image if transposed else made[0]).shape
        inputs = weight.shape[0] if transposed else prod(weight.shape[1:])
        return _Shape(places[0] * prod(places[2:]), inputs, weight.numel() // inputs), weight
    return _Shape(made[0].numel() // max(1, made[0].shape[-1]) if made[0].dim() else 1), None


def _workspace(packet: Any, args: Any, made: list[Tensor]) -> Workspace:
    """What a convolution's kernel keeps for itself; nothing of any other operator, and of a transposed one."""
    if packet is not aten.convolution or args[6]:
        return NO_WORKSPACE
    image, weight, _, stride, _, dilation, _, _, groups = args
    return workspace(image, weight, made[0], Steps(stride, dilation, groups))


def _elements(tensor: Tensor) -> int:
    """Elements that lie in memory; an expanded tensor has fewer than it shows."""
    return min(tensor.numel(), tensor.untyped_storage().nbytes() // tensor.element_size())
