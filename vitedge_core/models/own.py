"""The user's own models on disk: a folder each with `model.safetensors` and `card.json`, named "mine/<slug>"."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

from vitedge_core.errors import VitEdgeError, unknown
from vitedge_core.storage import data_folder

PREFIX = "mine/"
_FACTS = {"architecture", "arguments", "title", "task", "params", "macs", "image", "top1"}
_SLUG = re.compile(r"[a-z0-9][a-z0-9-]{0,59}")


def is_own(name: str) -> bool:
    """Whether the name is one of the user's own, existing or not."""
    return name.startswith(PREFIX)


def folder(name: str) -> Path:
    """Where the model "mine/<slug>" lies.

    Raises:
        VitEdgeError: There is none of that name.
    """
    slug = name.removeprefix(PREFIX)
    path = data_folder("models") / slug
    if not _SLUG.fullmatch(slug) or not (path / "card.json").is_file():
        raise unknown("model", name, names())
    return path


def weights(name: str) -> Path:
    """The model's weights file."""
    return folder(name) / "model.safetensors"


def facts(name: str) -> dict[str, Any]:
    """What its card says: architecture, arguments, title, task, params, macs, image, and how it came about.

    Raises:
        VitEdgeError: There is none of that name, or its card is damaged.
    """
    path = folder(name) / "card.json"
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if set(found) >= _FACTS:
            return found
    except (OSError, ValueError, TypeError):
        pass
    raise VitEdgeError(f"The card of {name} is damaged; delete {path.parent} or put its card.json right.")


def names() -> tuple[str, ...]:
    """All of them, in alphabetical order."""
    found = data_folder("models").glob("*/card.json")
    return tuple(sorted(PREFIX + path.parent.name for path in found if _SLUG.fullmatch(path.parent.name)))


def keep(prepared: Path, title: str) -> str:
    """Move a finished folder to its place under a slug of the title that is still free; returns the model's name.

    A model appears whole or not at all, also when two processes keep one of the same title.
    """
    slug = _slug(title)
    for number in range(1, 10_000):
        name = slug if number == 1 else f"{slug}-{number}"
        try:
            prepared.rename(data_folder("models") / name)
        except OSError:  # taken: a folder cannot be renamed onto a full one
            continue
        return PREFIX + name
    raise unknown("free name for", title, ())


def called(name: str) -> str:
    """Its title; with its name where another one took that title first.

    Raises:
        VitEdgeError: There is none of that name, or its card is damaged.
    """
    title = str(facts(name)["title"])
    return title if name == PREFIX + _slug(title) else f"{title} ({name})"


def _slug(title: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")[:50] or "model"


def forget(name: str) -> None:
    """Delete one of the user's own models."""
    shutil.rmtree(folder(name))
