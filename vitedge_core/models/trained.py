"""Trained weights of whole recipes that come with VitEdge, so that nobody waits an hour for what was trained before.

`assets/trained/<name>.safetensors` holds the state dict after the recipe's last training step, floats as float16;
`<name>.json` beside it the recipe, the images it was trained on and how it came about. Everything before the training
is carried out as ever, which also proves that the shapes are those of the recipe.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from vitedge_core.errors import VitEdgeError
from vitedge_core.recipe import Recipe
from vitedge_core.storage import written_whole

FOLDER = Path(__file__).parents[2] / "assets" / "trained"


@cache
def _known(folder: Path) -> dict[tuple[str, str], str]:
    """Name by digest of the recipe and of its images."""
    found = {}
    for path in sorted(folder.glob("*.json")):
        card = json.loads(path.read_text(encoding="utf-8"))
        found[Recipe.from_dict(card["recipe"]).digest, card["images"]] = path.stem
    return found


def shipped(recipe: Recipe, images: str) -> str | None:
    """The name under which the trained weights of this very recipe come with VitEdge; None if they do not.

    Args:
        recipe: With all knobs of its steps spelled out.
        images: Digest of the images its steps may look at.
    """
    return _known(FOLDER).get((recipe.digest, images))


def card(name: str) -> dict[str, Any]:
    """The recipe, the images, and how it came about, as plain values."""
    return json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))


def fill(model: nn.Module, name: str) -> nn.Module:
    """Put the trained weights into a model of the recipe's shape; in place.

    Raises:
        VitEdgeError: The file is damaged or belongs to another shape.
    """
    try:
        stored = load_file(FOLDER / f"{name}.safetensors")
        model.load_state_dict({key: v.float() if v.is_floating_point() else v for key, v in stored.items()})
    except (OSError, SafetensorError, RuntimeError) as error:
        raise VitEdgeError(
            f"assets/trained/{name}.safetensors does not hold the weights of its recipe; check it out again, or train "
            f"it anew: python -m vitedge_core train {name}"
        ) from error
    return model.eval()


def keep(model: nn.Module, card: Mapping[str, Any], path: Path) -> Path:
    """Write the weights of a trained recipe to `path` and its card beside them; returns the path.

    Args:
        model: What came out of the recipe.
        card: "recipe", as plain values with all knobs spelled out; "images", the digest of those it was trained on; and
            how it came about.
        path: Ends in ".safetensors".
    """
    tensors = {
        key: (value.half() if value.dtype == torch.float32 else value).contiguous()
        for key, value in model.state_dict().items()
    }
    with written_whole(path) as temporary:
        save_file(tensors, temporary)
    with written_whole(path.with_suffix(".json")) as temporary:
        temporary.write_text(json.dumps(dict(card), indent=1) + "\n", encoding="utf-8")
    _known.cache_clear()
    return path
