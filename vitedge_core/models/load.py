"""Real models with their weights, a fresh copy each time.

Weights come from this repository (bundled models), from the user's data folder (own models), from the folder that
VITEDGE_WEIGHTS names (`<timm name with tag>.safetensors`), or from timm's hub; else the model is for costs only.
"""

from __future__ import annotations

import copy
import hashlib
import os
import threading
from collections import OrderedDict
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from vitedge_core.errors import VitEdgeError
from vitedge_core.models import hub, own
from vitedge_core.models.build import build, first_line
from vitedge_core.models.checkpoint import load_checkpoint, save_own
from vitedge_core.models.zoo import BUNDLED, WEIGHTS
from vitedge_core.preprocessing import Preprocessing

__all__ = ["Loaded", "fingerprint", "has_weights", "load", "load_checkpoint", "preprocessing", "save_own"]

FOLDER = "VITEDGE_WEIGHTS"
REMEMBERED = 600 * 2**20  # bytes of masters that stay in memory


@dataclass(frozen=True, slots=True)
class Loaded:
    """A float32 model in eval mode on the CPU, the caller's own.

    weights: where they came from; None means random ones, and `note` then says how to get real ones.
    """

    name: str
    model: nn.Module
    weights: str | None
    note: str


class _Masters:
    """Models that copies are taken from, by name and content of the weights; the least recently used are dropped."""

    def __init__(self, limit: int = REMEMBERED) -> None:
        self.limit = limit
        self.lock = threading.Lock()
        self._kept: OrderedDict[tuple[str, str], Loaded] = OrderedDict()

    def find(self, key: tuple[str, str]) -> Loaded | None:
        if key in self._kept:
            self._kept.move_to_end(key)
        return self._kept.get(key)

    def keep(self, key: tuple[str, str], loaded: Loaded) -> None:
        self._kept[key] = loaded
        while len(self._kept) > 1 and sum(_bytes(kept.model) for kept in self._kept.values()) > self.limit:
            self._kept.popitem(last=False)


def _bytes(model: nn.Module) -> int:
    return sum(p.numel() * p.element_size() for p in model.parameters())


_masters = _Masters()


def load(name: str) -> Loaded:
    """A model by name, with weights if there are any.

    Raises:
        VitEdgeError: Nobody knows the name, or its weights are damaged.
    """
    with _masters.lock:
        key = (name, fingerprint(name))
        master = _masters.find(key)
        if master is None:
            master = _fetch(name)
            if master.weights is None:
                return master
            _masters.keep(key, master)
    return replace(master, model=copy.deepcopy(master.model))


def has_weights(name: str) -> bool:
    """Whether `load` will find weights; asks the hub at most once in a while."""
    return _file(name) is not None or (timm.is_model(name) and hub.offers(name) and hub.reachable())


def fingerprint(name: str) -> str:
    """Sixteen characters that name the content of the model's weights file; "" where none is on this machine yet.

    Raises:
        VitEdgeError: Nobody knows the name of a model of one's own.
    """
    found = _file(name)
    if found is None:
        return ""
    about = found[0].stat()
    return _digest(found[0], about.st_size, about.st_mtime_ns)


@lru_cache(maxsize=256)
def _digest(path: Path, size: int, changed: int) -> str:
    """Of a file; its size and time say when to read it anew."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def _fetch(name: str) -> Loaded:
    found = _file(name)
    if found is not None:
        path, place = found
        return Loaded(name, _from_file(name, path), place, f"Weights: {place}.")
    if timm.is_model(name) and hub.offers(name) and hub.reachable():
        try:
            return Loaded(name, _built(name, pretrained=True), "timm's hub", "Weights: timm's hub.")
        except Exception as error:  # noqa: BLE001  whatever the network does to a download
            hub.give_up()
            return Loaded(
                name, _built(name), None, f"The download of {name} failed: {first_line(error)} {_advice(name)}"
            )
    return Loaded(name, _built(name), None, _advice(name))


def _file(name: str) -> tuple[Path, str] | None:
    """The file with the model's weights and where that is, in words."""
    if name in BUNDLED:
        path = WEIGHTS / f"{name}.safetensors"
        return (path, "trained by this repository") if path.is_file() else None
    if own.is_own(name):
        return own.weights(name), "your own"
    folder = os.environ.get(FOLDER)
    path = Path(folder).expanduser() / hub.file_name(name) if folder and timm.is_model(name) else None
    if path is not None and path.is_file():
        return path, f"{path.name} in the folder {FOLDER} names"
    cached = hub.cached(name) if timm.is_model(name) else None
    return (cached, "timm's hub, downloaded earlier") if cached else None


def _from_file(name: str, path: Path) -> nn.Module:
    try:
        if name in BUNDLED or own.is_own(name):
            model = _built(name)
            model.load_state_dict(load_file(path))
            return model
        return _built(name, pretrained=True, pretrained_cfg_overlay={"file": str(path)})
    except (SafetensorError, RuntimeError, OSError, VitEdgeError) as error:
        raise VitEdgeError(f"{path.name} does not hold the weights of {name}: {first_line(error)}") from error


def _built(name: str, **arguments: Any) -> nn.Module:
    """Built without touching anybody's random numbers."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return build(name, **arguments).eval()


def _advice(name: str) -> str:
    """What to do about missing weights."""
    if name in BUNDLED:
        return f"{name} has no weights yet: run `make train`; until then it is for costs only."
    file = hub.file_name(name)
    if not hub.offers(name):
        return (
            f"timm has no weights for {name}: it is for costs only, unless you load a checkpoint of your own into it."
        )
    return (
        f"{name} has no weights here and is for costs only: connect to the network, or put {file} into a folder and "
        f"name the folder in {FOLDER}."
    )


@cache
def preprocessing(name: str) -> Preprocessing:
    """How the model wants its images.

    Raises:
        VitEdgeError: Nobody knows the name.
    """
    with torch.device("meta"):
        model = build(name)
    data = timm.data.resolve_model_data_config(model)  # type: ignore[attr-defined]
    return Preprocessing(
        data["input_size"][1], tuple(data["mean"]), tuple(data["std"]), data["crop_pct"], data["interpolation"]
    )
