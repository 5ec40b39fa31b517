"""Checkpoints that become models of the user's own: trained here, or brought along.

A brought file is safetensors or a state dict that PyTorch reads with `weights_only=True`; anything that would have to
be unpickled is refused, because a pickle can run code.
"""

from __future__ import annotations

import io
import json
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as read_safetensors
from safetensors.torch import save_file
from torch import Tensor, nn

from vitedge_core.errors import VitEdgeError
from vitedge_core.evidence import Quantity
from vitedge_core.models import own
from vitedge_core.models.anatomy import classifiers
from vitedge_core.models.build import build, input_size
from vitedge_core.models.trace import trace_model
from vitedge_core.models.zoo import DIGITS, ModelCard, card
from vitedge_core.storage import data_folder

MAX_BYTES = 2**30
_WRAPPERS = ("state_dict_ema", "model_ema", "state_dict", "model")  # where training scripts hide the state dict


def save_own(
    model: nn.Module,
    architecture: str,
    title: str,
    facts: Mapping[str, Any] | None = None,
    *,
    task: str = DIGITS,
    top1: Quantity | None = None,
) -> ModelCard:
    """Keep a model in the user's data folder; it can be chosen everywhere by the name on its card.

    Args:
        model: Has the shapes of the architecture; only looked at.
        architecture: A bundled or timm name that rebuilds it.
        title: What people call it; its name is made from it.
        facts: How it came about (teacher, knobs, date, ...); kept on the card as they are.
        task: Which classes it names.
        top1: Share of right answers.

    Raises:
        VitEdgeError: The model does not have the shapes of the architecture; the sentence names the first that differs.
    """
    state = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in model.state_dict().items()}
    sizes = _Sizes.of(model)
    with torch.device("meta"):
        twin = build(architecture, sizes.image, **sizes.arguments)
    _check(state, twin, architecture)
    return _store(state, twin, architecture, sizes, {"title": _titled(title), "task": task, "facts": dict(facts or {}),
                  "top1": top1.to_dict() if top1 else None})  # fmt: skip


def load_checkpoint(data: bytes, filename: str, architecture: str, title: str = "") -> ModelCard:
    """Read a checkpoint into a named architecture and keep it as a model of the user's own.

    Args:
        data: The file's bytes.
        filename: What it was called; for the sentences.
        architecture: A bundled or timm name. The number of classes is the checkpoint's own.
        title: What people call it; the file's name where empty.

    Raises:
        VitEdgeError: It is too large, no checkpoint, a pickle, or of another architecture.
    """
    state = _read(data, filename[:80])
    with torch.device("meta"):
        twin = build(architecture)
    classes = _classes(state, twin)
    if classes not in {None, getattr(twin, "num_classes", None)}:
        with torch.device("meta"):
            twin = build(architecture, num_classes=classes)
    sizes = _Sizes.of(twin)
    state = {name: t.float() if t.is_floating_point() else t for name, t in state.items()}
    _check(state, twin, architecture)
    if not all(bool(t.isfinite().all()) for t in state.values() if t.is_floating_point()):
        raise VitEdgeError(f"{filename[:80]} holds numbers that are not finite; its training must have diverged.")
    known = card(architecture)
    task = known.task if sizes.classes == (10 if known.task == DIGITS else 1000) else ""
    return _store(state, twin, architecture, sizes, {"title": _titled(title or Path(filename).stem), "task": task,
                  "facts": {"file": filename[:80]}, "top1": None})  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Sizes:
    """What a network was built for beyond its architecture."""

    classes: int
    image: int

    @classmethod
    def of(cls, model: Any) -> _Sizes:
        return cls(int(model.num_classes), input_size(model)[1])

    @property
    def arguments(self) -> dict[str, Any]:
        return {"num_classes": self.classes}


def _titled(title: str) -> str:
    text = "".join(letter for letter in title if letter.isprintable()).strip()
    return text[:80] or "My model"


def _store(
    state: dict[str, Tensor], twin: nn.Module, architecture: str, sizes: _Sizes, about: dict[str, Any]
) -> ModelCard:
    plan = trace_model(twin, image=(input_size(twin)[0], sizes.image, sizes.image))
    facts = {
        **about, "architecture": architecture, "arguments": sizes.arguments, "image": sizes.image,
        "params": plan.params, "macs": plan.macs, "date": time.strftime("%Y-%m-%d"),
    }  # fmt: skip
    with tempfile.TemporaryDirectory(dir=data_folder("models"), prefix=".new-") as spare:
        folder = Path(spare) / "model"
        folder.mkdir()
        save_file(state, folder / "model.safetensors")
        (folder / "card.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
        return card(own.keep(folder, about["title"]))


def _read(data: bytes, filename: str) -> dict[str, Tensor]:
    """The state dict in a file's bytes."""
    if len(data) > MAX_BYTES:
        raise VitEdgeError(f"{filename} has {len(data) / 2**20:,.0f} MiB; a checkpoint may have {MAX_BYTES // 2**20}.")
    header = int.from_bytes(data[:8], "little")
    if len(data) > 9 and data[8:9] == b"{" and header < len(data):
        try:
            return read_safetensors(data)
        except (SafetensorError, ValueError) as error:
            raise VitEdgeError(f"{filename} is a damaged safetensors file; get it anew.") from error
    try:
        loaded = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises whatever the bytes provoke
        raise VitEdgeError(
            f"{filename} is neither a safetensors file nor a plain PyTorch state dict; other pickles are refused "
            "because they can run code: save `model.state_dict()`, best as safetensors."
        ) from error
    return _unwrapped(loaded, filename)


def _unwrapped(loaded: object, filename: str) -> dict[str, Tensor]:
    for wrapper in _WRAPPERS:
        if isinstance(loaded, Mapping) and isinstance(loaded.get(wrapper), Mapping):
            loaded = loaded[wrapper]
    if not isinstance(loaded, Mapping) or not loaded or not all(isinstance(v, Tensor) for v in loaded.values()):
        raise VitEdgeError(f"{filename} holds no state dict: names with tensors, as `model.state_dict()` gives.")
    return {str(name).removeprefix("module."): tensor for name, tensor in loaded.items()}


def _classes(state: Mapping[str, Tensor], twin: nn.Module) -> int | None:
    """How many classes the checkpoint's classifier names; None if it has none where the architecture has one."""
    for path in classifiers(twin):
        weight = state.get(f"{path}.weight")
        if weight is not None and weight.dim() > 1:
            return weight.shape[0]
    return None


def _check(state: Mapping[str, Tensor], twin: nn.Module, architecture: str) -> None:
    """Refuse a state dict of another architecture."""
    expected = twin.state_dict()
    for name, tensor in expected.items():
        if name not in state:
            raise VitEdgeError(f"This is no {architecture}: the checkpoint has no {name}.")
        if state[name].shape != tensor.shape:
            have, want = ("x".join(map(str, t.shape)) or "1" for t in (state[name], tensor))
            raise VitEdgeError(
                f"This is no {architecture}: {name} is {have} in the checkpoint and {want} in the model."
            )
    extra = next((name for name in state if name not in expected), None)
    if extra is not None:
        raise VitEdgeError(f"This is no {architecture}: the checkpoint also has {extra[:80]}.")
