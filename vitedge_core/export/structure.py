"""What was done to the shape of a model, as plain values: enough to build the compressed network, without weights.

The description holds names, counts and bits, no code: a reader starts from the architecture and repeats the surgery.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn

from vitedge_core.errors import VitEdgeError
from vitedge_core.models import own
from vitedge_core.models.build import build
from vitedge_core.surgery.blocks import drop_blocks
from vitedge_core.surgery.grid import AFFINE, SYMMETRIC, Grid, Scale
from vitedge_core.surgery.heads import keep_heads
from vitedge_core.surgery.host import BlockHandle, blocks
from vitedge_core.surgery.linear import keep_inputs, keep_outputs
from vitedge_core.surgery.open_attention import is_open, opened
from vitedge_core.surgery.replace import grids, put, with_grids
from vitedge_core.surgery.tokens import merging_blocks, start_merging


@dataclass(frozen=True, slots=True)
class BlockShape:
    """A block that is left: its number in the uncompressed model, its heads, its hidden neurons (0: none to edit)."""

    origin: int
    heads: int
    hidden: int


@dataclass(frozen=True, slots=True)
class GridShape:
    """A grid by its module path; `channels` is 0 for one scale, else the number of scales along the first dimension."""

    path: str
    bits: int
    scheme: str
    channels: int


@dataclass(frozen=True, slots=True)
class Structure:
    """The shape of a compressed model.

    image, classes: 0 for the architecture's own. merged: tokens asked of each block, empty when nothing merges.
    products: paths of the attentions whose products are written out.
    """

    architecture: str
    image: int
    classes: int
    blocks: tuple[BlockShape, ...] = ()
    merged: tuple[int, ...] = ()
    proportional: bool = True
    products: tuple[str, ...] = ()
    grids: tuple[GridShape, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)

    def dense(self) -> nn.Module:
        """The uncompressed network, with random weights."""
        classes = {"num_classes": self.classes} if self.classes else {}
        return build(self.architecture, self.image or None, **classes).eval()


def describe(model: nn.Module, name: str) -> Structure:
    """The structure of a compressed model.

    Args:
        model: What came out of a recipe; only looked at.
        name: The recipe's model.

    Raises:
        VitEdgeError: It was changed in a way that cannot be described here.
    """
    facts = own.facts(name) if own.is_own(name) else {"architecture": name, "image": 0, "arguments": {}}
    base = Structure(facts["architecture"], facts["image"], facts["arguments"].get("num_classes", 0))
    with torch.device("meta"):
        dense = blocks(base.dense())
    merging = merging_blocks(model)
    members = list(merging) if merging is not None else []
    return Structure(
        base.architecture, base.image, base.classes,
        blocks=tuple(_shapes(dense, blocks(model))),
        merged=tuple(int(block.r) for block in members),  # type: ignore[arg-type]
        proportional=bool(members[0].proportional) if members else True,
        products=tuple(path for path, m in model.named_modules() if is_open(m) and m.products is not None),
        grids=tuple(_grid_shape(path, grid) for path, grid in grids(model)),
    )  # fmt: skip


def _shapes(dense: list[BlockHandle], left: list[BlockHandle]) -> Iterator[BlockShape]:
    """Each block that is left with the first of the dense model that it can be: same list, same shift of windows."""
    position = 0
    for handle in left:
        while position < len(dense) and _kin(dense[position]) != _kin(handle):
            position += 1
        if position == len(dense):
            raise VitEdgeError(
                f"{handle.path} is no block of the uncompressed model, so it cannot be packed; export the recipe alone."
            )
        yield BlockShape(position, handle.heads, handle.hidden)
        position += 1


def _kin(handle: BlockHandle) -> tuple[str, Any]:
    """What distinguishes blocks of one network but for their weights."""
    return handle.path.rpartition(".")[0], tuple(getattr(handle.block, "shift_size", ()))


def _grid_shape(path: str, grid: Grid) -> GridShape:
    return GridShape(path, grid.bits, grid.scheme, grid.step.numel() if grid.step.dim() else 0)


def structure_from(plain: Any) -> Structure:
    """The structure such values describe; they come from a stranger.

    Raises:
        VitEdgeError: They are of another form.
    """
    try:
        return Structure(
            _word(plain["architecture"]), _number(plain["image"], 0, 4096), _number(plain["classes"], 0, 99_999),
            tuple(
                BlockShape(_number(b["origin"], 0, 999), _number(b["heads"], 1, 999), _number(b["hidden"], 0, 99_999))
                for b in plain["blocks"]
            ),
            tuple(_number(r, 0, 9_999) for r in plain["merged"]),
            plain["proportional"] is True,
            tuple(map(_word, plain["products"])),
            tuple(
                GridShape(_word(g["path"]), _number(g["bits"], 2, 16), _scheme(g["scheme"]),
                          _number(g["channels"], 0, 999_999))
                for g in plain["grids"]
            ),
        )  # fmt: skip
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise VitEdgeError("The package's card.json does not describe a model; export the model again.") from error


def _word(value: object) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= 200:
        raise ValueError("no name")
    return value


def _number(value: object, low: int, high: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise ValueError("no number, or out of range")
    return value


def _scheme(value: object) -> str:
    if value not in {SYMMETRIC, AFFINE}:
        raise ValueError("no scheme")
    return str(value)


def rebuild(structure: Structure, most_parameters: int) -> nn.Module:
    """A network of that structure with random weights.

    Args:
        structure: From a stranger: everything it names is looked up, nothing is executed.
        most_parameters: A larger uncompressed network is refused before memory is spent on it.

    Raises:
        VitEdgeError: The structure fits no network.
    """
    if own.is_own(structure.architecture):
        raise VitEdgeError("The package names somebody's own model instead of its architecture; export it again.")
    with torch.device("meta"):
        size = sum(p.numel() for p in structure.dense().parameters())
    if size > most_parameters:
        raise VitEdgeError(f"The package is too small to hold a {structure.architecture[:60]}; export it again.")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = structure.dense()
    try:
        _cut(model, structure)
        if structure.merged:
            start_merging(model, structure.merged, proportional=structure.proportional)
        _quantise(model, structure)
    except (AttributeError, ValueError, IndexError, RuntimeError) as error:
        raise VitEdgeError(
            f"The package describes something that {structure.architecture[:60]} cannot become; export it again."
        ) from error
    return model.eval()


def _cut(model: nn.Module, structure: Structure) -> None:
    origins = {shape.origin for shape in structure.blocks}
    total = len(blocks(model))
    if len(origins) != len(structure.blocks) or max(origins, default=-1) >= total:
        raise ValueError("blocks that the network does not have")
    drop_blocks(model, [number for number in range(total) if number not in origins])
    for handle, shape in zip(blocks(model), structure.blocks, strict=True):
        if shape.heads != handle.heads:
            keep_heads(handle.attn, range(shape.heads))
        if shape.hidden != handle.hidden:
            mlp: Any = handle.mlp
            keep_outputs(mlp.fc1, range(shape.hidden))
            keep_inputs(mlp.fc2, range(shape.hidden))


def _quantise(model: nn.Module, structure: Structure) -> None:
    for path in structure.products:
        attention = opened(model.get_submodule(path))
        if attention is None:
            raise ValueError(f"{path} is no attention")
        attention.open_products()
        put(model, path, attention)
    for shape in structure.grids:
        _place(model, shape)


def _place(model: nn.Module, shape: GridShape) -> None:
    """Put an empty grid where it belongs: at a layer's weight or input, or at an operand of an attention."""
    owner, _, name = shape.path.rpartition(".")
    dims: tuple[int, ...] = ()
    if name in {"weight_grid", "input_grid"}:
        layer = with_grids(model.get_submodule(owner))
        if layer is None or shape.channels not in {0, len(layer.weight)}:
            raise ValueError(f"{owner} is no layer, or has another number of channels")
        put(model, owner, layer)
        if shape.channels:
            dims = (shape.channels, *(1,) * (layer.weight.dim() - 1))
    elif not (isinstance(model.get_submodule(shape.path), nn.Identity) and owner.endswith(".products")):
        raise ValueError(f"{shape.path} is no place for a grid")
    put(model, shape.path, Grid(Scale(torch.ones(dims), torch.zeros(dims)), shape.bits, shape.scheme))
