"""What an exported file says of itself: the recipe and its digest, how images are prepared, what was measured.

It travels as short texts under names that begin with "vitedge.", in the place that each format has for such things.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from vitedge_core.errors import VitEdgeError
from vitedge_core.preprocessing import Preprocessing
from vitedge_core.recipe import Recipe

PREFIX = "vitedge."
FORMAT = "vitedge export 1"
NAMES = ("format", "form", "recipe", "digest", "preparation", "classes", "card", "content")
MAX_CARD = 2**20  # characters
_DAMAGED = "What the file says of itself is damaged; export the model again."


@dataclass(frozen=True, slots=True)
class Passport:
    """The words of a file.

    form: key of the form it was written in. classes: K. card: figures and the outcome of the check, as plain values.
    content: SHA-256 of what cannot be seen from these words, such as the weights; "" where the form has its own.
    """

    form: str
    recipe: Recipe
    preparation: Preprocessing
    classes: int
    card: Mapping[str, Any] = field(default_factory=dict)
    content: str = ""

    def with_content(self, digest: str) -> Passport:
        """The same for a file with these weights."""
        return replace(self, content=digest)

    @property
    def plain_preparation(self) -> dict[str, Any]:
        """How images are prepared, as plain values."""
        return asdict(self.preparation)

    def entries(self) -> dict[str, str]:
        """The texts by name."""
        plain = {
            "format": FORMAT, "form": self.form, "recipe": self.recipe.to_json(), "digest": self.recipe.digest,
            "preparation": json.dumps(self.plain_preparation), "classes": str(self.classes),
            "card": json.dumps(dict(self.card)), "content": self.content,
        }  # fmt: skip
        return {PREFIX + name: text for name, text in plain.items()}

    @classmethod
    def of(cls, entries: Mapping[str, str]) -> Passport | None:
        """The words in a file's texts; None in one that was not written here. They may come from a stranger.

        Raises:
            VitEdgeError: They are damaged, or the recipe is not the one that its digest names.
        """
        found = {name: entries.get(PREFIX + name, "") for name in NAMES}
        if not found["format"]:
            return None
        if found["format"] != FORMAT:
            raise VitEdgeError("The file was written by another version of VitEdge; open it there, or export it again.")
        recipe = Recipe.from_json(found["recipe"])
        if recipe.digest != found["digest"]:
            raise VitEdgeError(
                "The recipe in the file is not the one its digest names, so it was changed; export the model again."
            )
        try:
            classes = int(found["classes"][:9])
            wanted = preparation_from(json.loads(found["preparation"][:2_000]))
            return cls(found["form"], recipe, wanted, classes, _card(found["card"]),
                       found["content"])  # fmt: skip
        except (KeyError, TypeError, ValueError, RecursionError) as error:
            raise VitEdgeError(_DAMAGED) from error


def preparation_from(plain: Any) -> Preprocessing:
    """How images are prepared, from plain values of a stranger's.

    Raises:
        KeyError, TypeError, ValueError: No image could be prepared so.
    """
    size, mean, std = int(plain["size"]), tuple(map(float, plain["mean"])), tuple(map(float, plain["std"]))
    crop, interpolation = float(plain["crop"]), str(plain["interpolation"])
    if not 1 <= size <= 4096 or len(mean) != 3 or len(std) != 3 or not 0.1 <= crop <= 1 or min(std) < 1e-3:
        raise ValueError("out of range")
    if interpolation not in {"bicubic", "bilinear", "nearest"} or max(map(abs, (*mean, *std))) > 1e3:
        raise ValueError("out of range")
    return Preprocessing(size, mean, std, crop, interpolation)


def _card(text: str) -> dict[str, Any]:
    if len(text) > MAX_CARD:
        raise ValueError("too long")
    card = json.loads(text)
    if not isinstance(card, dict):
        raise TypeError("no card")
    return card
