"""A compressed model as a folder: weights packed at their real bits, the recipe and a card, all without pickle.

`model.safetensors` holds, under the names of the state dict: float32 tensors as they are; quantised weights as bytes of
packed integers (uint8, flat) beside `<name>_grid.step` (float32) and, where the levels are affine, `<name>_grid.zero`;
and in `activation_grids` the step and the zero point of every activation, in the order of the card's list of grids.
Beside it lie `recipe.json`, `card.json`, a model card in words, and `rebuild.py`, which needs no VitEdge.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from vitedge_core.errors import Cancelled, VitEdgeError
from vitedge_core.export.bits import pack, packed_size, unpack
from vitedge_core.export.script import PARTS, SCRIPT, script_files
from vitedge_core.export.structure import Structure, describe, rebuild, structure_from
from vitedge_core.plan import Plan
from vitedge_core.recipe import MAX_JSON, Recipe
from vitedge_core.surgery.grid import AFFINE, Grid
from vitedge_core.surgery.replace import grids, quantised_layers

WEIGHTS, RECIPE, CARD, WORDS = "model.safetensors", "recipe.json", "card.json", "MODEL_CARD.md"
FILES = {WEIGHTS, RECIPE, CARD, WORDS, SCRIPT, PARTS}
FORMAT = "vitedge package 1"
ACTIVATIONS = "activation_grids"
MAX_CARD = 4 * 2**20  # bytes
MAX_WEIGHTS = 16 * 2**30
DENSEST = 40  # parameters before compression per byte of a file: a tenth is left, of 2 bits each
_NAMES = {"U8": torch.uint8, "U16": torch.uint16, "F32": torch.float32, "I64": torch.int64}


@dataclass(frozen=True, slots=True)
class _Packed:
    """A weight that the file keeps as integers."""

    weight: Tensor
    grid: Grid

    def entries(self, name: str) -> dict[str, tuple[torch.dtype, tuple[int, ...]]]:
        """Type and shape of what the file holds for it."""
        size = packed_size(self.weight.numel(), self.grid.bits)
        made = {name: (torch.uint8, (size,)), f"{name}_grid.step": (torch.float32, tuple(self.grid.step.shape))}
        if self.grid.scheme == AFFINE:
            made[f"{name}_grid.zero"] = (self._zero_type, tuple(self.grid.zero.shape))
        return made

    @property
    def _zero_type(self) -> torch.dtype:
        return torch.uint8 if self.grid.bits <= 8 else torch.uint16

    def tensors(self, name: str) -> dict[str, Tensor]:
        """What the file holds for it."""
        packed = pack(self.grid.codes(self.weight).numpy().ravel(), self.grid.bits)
        made = {name: torch.from_numpy(packed), f"{name}_grid.step": self.grid.step}
        if self.grid.scheme == AFFINE:
            made[f"{name}_grid.zero"] = self.grid.zero.to(self._zero_type)
        return made

    @torch.no_grad()
    def load(self, name: str, tensors: Mapping[str, Tensor]) -> None:
        """Fill weight and grid with what a file holds; in place."""
        self.grid.step.copy_(tensors[f"{name}_grid.step"])
        if self.grid.scheme == AFFINE:
            self.grid.zero.copy_(tensors[f"{name}_grid.zero"])
        codes = unpack(tensors[name].numpy(), self.grid.bits, self.weight.numel())
        self.weight.copy_(self.grid.values(torch.from_numpy(codes.astype(np.float32)).reshape(self.weight.shape)))


@dataclass(frozen=True, slots=True)
class _Layout:
    """A model's tensors as the file sees them: packed weights, grids of activations, and the rest by name."""

    packed: dict[str, _Packed]
    activations: list[Grid]
    plain: dict[str, Tensor]

    @classmethod
    def of(cls, model: nn.Module) -> _Layout:
        packed = {
            f"{path}.weight": _Packed(layer.weight.detach(), layer.weight_grid)
            for path, layer in quantised_layers(model)
            if isinstance(layer.weight_grid, Grid)
        }
        found = dict(grids(model))
        of_grids = {f"{path}.{name}" for path in found for name in ("step", "zero")}
        plain = {
            name: tensor.detach()
            for name, tensor in model.state_dict().items()
            if name not in packed and name not in of_grids
        }
        activations = [grid for path, grid in found.items() if not path.endswith(".weight_grid")]
        return cls(packed, activations, plain)

    def entries(self) -> dict[str, tuple[torch.dtype, tuple[int, ...]]]:
        """Name, type and shape of every tensor of the file."""
        made = {name: (tensor.dtype, tuple(tensor.shape)) for name, tensor in self.plain.items()}
        for name, packed in self.packed.items():
            made |= packed.entries(name)
        if self.activations:
            made[ACTIVATIONS] = (torch.float32, (len(self.activations), 2))
        return made

    def tensors(self) -> dict[str, Tensor]:
        """The tensors of the file."""
        made = {name: tensor.clone().contiguous() for name, tensor in self.plain.items()}
        for name, packed in self.packed.items():
            made |= packed.tensors(name)
        if self.activations:
            made[ACTIVATIONS] = torch.stack([torch.stack([grid.step, grid.zero]) for grid in self.activations])
        return {name: tensor.contiguous() for name, tensor in made.items()}

    @torch.no_grad()
    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Fill the model with the tensors of a file; in place."""
        for name, tensor in self.plain.items():
            tensor.copy_(tensors[name])
        for name, packed in self.packed.items():
            packed.load(name, tensors)
        for grid, (step, zero) in zip(self.activations, tensors.get(ACTIVATIONS, ()), strict=True):
            grid.step.copy_(step)
            grid.zero.copy_(zero)


def write(
    model: nn.Module, plan: Plan, recipe: Recipe, folder: Path, card: Mapping[str, Any], *,
    words: Callable[[Recipe, Mapping[str, Any]], str] | None = None, cancelled: Callable[[], bool] = lambda: False,
) -> Path:  # fmt: skip
    """Write a package; it appears whole or not at all.

    Args:
        model: What came out of the recipe.
        plan: Its plan.
        recipe: What was done.
        folder: Where to; an older package there is replaced, anything else is left alone.
        card: Plain values for the card, such as the figures before and after.
        words: Puts recipe and card into the words of `MODEL_CARD.md`; None leaves that file out.
        cancelled: Asked between the files; true raises `Cancelled`.

    Returns:
        The folder.

    Raises:
        VitEdgeError: The folder holds something else, cannot be written, or the model cannot be described.
    """
    folder = free_folder(folder)
    structure = describe(model, recipe.model)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as spare:
            made = Path(spare) / "package"
            made.mkdir()
            save_file(_Layout.of(model).tensors(), made / WEIGHTS)
            _go_on(cancelled)
            about = {"format": FORMAT, "title": recipe.model, "params": plan.params, "macs": plan.macs, **card}
            texts = {RECIPE: recipe.to_json(), **script_files(structure)}
            texts |= {WORDS: words(recipe, about)} if words else {}
            for name, text in texts.items():
                (made / name).write_text(text, encoding="utf-8")
            about |= {
                "files": {path.name: _seal(path) for path in sorted(made.iterdir())},
                "structure": structure.to_dict(), "timm": _for_timm(structure),
            }  # fmt: skip
            (made / CARD).write_text(json.dumps(about, indent=1), encoding="utf-8")
            _go_on(cancelled)
            move(made, folder, Path(spare) / "old")
    except OSError as error:
        raise VitEdgeError(f"{folder} cannot be written: {error.strerror or error}.") from error
    return folder


def free_folder(folder: Path) -> Path:
    """The folder as an absolute path, if a package may be written there; ask before hours of work, too.

    Raises:
        VitEdgeError: It holds something else than an older package.
    """
    folder = Path(folder).expanduser().absolute()
    if folder.exists() and not _is_replaceable(folder):
        raise VitEdgeError(f"{folder} holds something else already; name a folder that is new or empty.")
    return folder


def _is_replaceable(folder: Path) -> bool:
    if folder.is_symlink() or not folder.is_dir():
        return False
    names = {path.name for path in folder.iterdir()}
    return not names or {WEIGHTS, RECIPE, CARD} <= names <= FILES


def _for_timm(structure: Structure) -> dict[str, Any]:
    """What `timm.create_model` takes to build the uncompressed network, for a script without VitEdge."""
    arguments: dict[str, Any] = {"img_size": structure.image, "num_classes": structure.classes}
    arguments = {name: value for name, value in arguments.items() if value}
    with torch.device("meta"):
        try:
            timm.create_model(structure.architecture, **arguments)
        except TypeError:  # a network of convolutions sees any size
            arguments.pop("img_size", None)
    return {"name": structure.architecture, "arguments": arguments}


def _go_on(cancelled: Callable[[], bool]) -> None:
    if cancelled():
        raise Cancelled("The export was cancelled; nothing was written.")


def _seal(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        return {"bytes": path.stat().st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def move(made: Path, folder: Path, old: Path) -> None:
    """Put the finished package in its place; an older one moves out of the way and dies with the temporary folder."""
    if not folder.exists() or made.is_file():
        made.replace(folder)
        return
    folder.rename(old)
    try:
        made.rename(folder)
    except OSError:
        old.rename(folder)
        raise


def read(folder: Path) -> tuple[nn.Module, Recipe]:
    """The model of a package and its recipe. The folder may come from a stranger: everything in it is checked.

    Returns:
        The model in eval mode on the CPU, the very one that was written, and its recipe.

    Raises:
        VitEdgeError: The folder is no package, or it is damaged or hostile.
    """
    folder = Path(folder).expanduser()
    card = card_of(folder)
    recipe = Recipe.from_json(_checked(folder, RECIPE, card, MAX_JSON).read_bytes())
    weights = _checked(folder, WEIGHTS, card, MAX_WEIGHTS)
    structure = structure_from(card.get("structure"))
    model = rebuild(structure, most_parameters=DENSEST * weights.stat().st_size)
    layout = _Layout.of(model)
    layout.load(_tensors(weights, layout.entries()))
    return model, recipe


def _file(folder: Path, name: str, most: int) -> Path:
    """A plain file of the package, no link, no larger than `most`."""
    path = folder / name
    if path.is_symlink() or not path.is_file():
        raise VitEdgeError(f"{folder} is no package of VitEdge: it holds no file {name}.")
    if path.stat().st_size > most:
        raise VitEdgeError(f"{name} has {path.stat().st_size:,} bytes; in a package it has at most {most:,}.")
    return path


def card_of(folder: Path) -> dict[str, Any]:
    """What the card of a package says, as plain values.

    Raises:
        VitEdgeError: It is none.
    """
    text = _file(folder, CARD, MAX_CARD).read_bytes()
    try:
        card = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise VitEdgeError(f"{CARD} is no JSON; export the model again.") from error
    if not isinstance(card, dict) or card.get("format") != FORMAT or not isinstance(card.get("files"), dict):
        raise VitEdgeError(f"{CARD} is not that of a {FORMAT}; export the model again.")
    return card


def _checked(folder: Path, name: str, card: dict[str, Any], most: int) -> Path:
    path = _file(folder, name, most)
    if card["files"].get(name) != _seal(path):
        raise VitEdgeError(f"{name} is not the file that was written with this package; export the model again.")
    return path


def _tensors(path: Path, expected: dict[str, tuple[torch.dtype, tuple[int, ...]]]) -> dict[str, Tensor]:
    """The tensors of the file, after a look at names, types and shapes.

    Raises:
        VitEdgeError: One is missing, too many, or of another shape; or numbers are not finite.
    """
    damaged = VitEdgeError(f"{path.name} does not hold the tensors its card describes; export the model again.")
    try:
        with safe_open(path, framework="pt") as file:
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118  no dict
            found = {name: (_NAMES.get(part.get_dtype()), tuple(part.get_shape())) for name, part in slices.items()}
            if found != expected:
                raise damaged
            tensors = {name: file.get_tensor(name) for name in expected}
    except (SafetensorError, OSError) as error:
        raise damaged from error
    if not all(bool(t.isfinite().all()) for t in tensors.values() if t.is_floating_point()):
        raise VitEdgeError(f"{path.name} holds numbers that are not finite; export the model again.")
    return tensors
