"""Which operation holds which parameters and buffers, so that each is counted exactly once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from torch import Tensor, nn

from vitedge_core.models.recorder import Event
from vitedge_core.plan import Half, Kind, Op


def share_out(
    model: nn.Module, events: Sequence[Event], ops: list[Op], place_of: Callable[[str], tuple[int, Half]]
) -> list[Op]:
    """Give every parameter and buffer to one operation; a parameter nobody's own becomes an embedding.

    A weight goes to the product that multiplies by it, or to its module's where it is standardised first; a bias or a
    norm to its module's main operation; a table of biases of scores to the scores.

    Args:
        model: Whose parameters they are.
        events: What it did; one for each operation.
        ops: The operations so far, without parameters; changed in place.
        place_of: Block and half of a path.
    """
    users: dict[str, list[int]] = defaultdict(list)
    direct: dict[str, int] = {}
    for index, event in enumerate(events):
        users[event.path].append(index)
        if event.parameter:
            direct.setdefault(event.parameter, index)
    modules = dict(model.named_modules())
    spare: list[tuple[int, Op]] = []
    for name, tensor, header in _state(model):
        owner = modules[name.rpartition(".")[0]]
        used = users[name.rpartition(".")[0]]
        index = direct[name] if name in direct else _main(used, ops, alone=not _has_parts(owner, tensor))
        if index is None:
            block, half = place_of(name)
            op = _with(Op(name, Kind.EMBEDDING, block=block, half=half), tensor, header)
            spare.append((min(used, default=0), op))
        else:
            standardised = events[index].is_convolution and not events[index].parameter and tensor.dim() > 1
            ops[index] = _with(ops[index], tensor, header, weight=name in direct or standardised)
    for index, op in sorted(spare, key=lambda pair: -pair[0]):
        ops.insert(index, op)
    return ops


def _state(model: nn.Module) -> Iterator[tuple[str, Tensor, int]]:
    """Every parameter and buffer once, with its name and the bytes of its entry in a file; none if no file keeps it."""
    saved = model.state_dict()
    digits = len(str(sum(tensor.numel() * tensor.element_size() for tensor in saved.values())))
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        yield name, tensor, _header(name, tensor, digits) if name in saved else 0


def _header(name: str, tensor: Tensor, digits: int) -> int:
    """Bytes of a tensor's entry in the JSON header of a safetensors file, whose offsets have so many digits."""
    shape = ",".join(map(str, tensor.shape))
    return len(f'"{name}":{{"dtype":"F32","shape":[{shape}],"data_offsets":[,]}},') + 2 * digits


def _has_parts(module: nn.Module, tensor: Tensor) -> bool:
    """Whether a parameter of the module is none of its own business: other modules inside do the work."""
    parts = (part for child in module.children() for part in child.parameters())
    return isinstance(tensor, nn.Parameter) and next(parts, None) is not None


def _main(used: list[int], ops: list[Op], *, alone: bool) -> int | None:
    """The operation that carries what its module holds: its product, or in a module without parts its first."""
    products = [index for index in used if ops[index].macs]
    return next(iter(products or (used if alone else ())), None)


def _with(op: Op, tensor: Tensor, header: int, *, weight: bool = False) -> Op:
    """The operation with one more tensor."""
    count, header = tensor.numel(), op.header + header
    if not isinstance(tensor, nn.Parameter):
        size = count * tensor.element_size()
        if header > op.header:
            return replace(op, header=header, buffers=op.buffers + size)
        return replace(op, constants=op.constants + size)
    if weight:
        return replace(op, header=header, weights=op.weights + count)
    return replace(op, header=header, others=op.others + count)
