"""What a person types, as values: recipes, numbers, lists; and the options that verbs share."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from vitedge_core.errors import VitEdgeError
from vitedge_core.recipe import MAX_JSON, Recipe, Scalar, Step

Verb = Callable[[argparse.Namespace], None]
IMAGES = "a folder of class folders, or digits"


class Adder(Protocol):
    """Adds a verb to the command line; it is called like its function, and its first line is the help."""

    def __call__(self, run: Verb, *, reports: bool = True, recipe: bool = False) -> argparse.ArgumentParser:
        """The verb's own parser; `reports` gives it --json, `recipe` the options that name a recipe."""
        ...


def scalar(text: str) -> Scalar:
    """A knob's value as it is typed: true, false, a whole number, a number, else a text."""
    if text.lower() in {"true", "false"}:
        return text.lower() == "true"
    for kind in (int, float):
        with suppress(ValueError):
            return kind(text)
    return text


def step_of(text: str) -> Step:
    """The step that `KEY:knob=value,knob=value` describes.

    Raises:
        VitEdgeError: It is written otherwise.
    """
    key, _, knobs = text.partition(":")
    words = _text_knobs(key.strip())
    params: dict[str, Scalar] = {}
    for part in filter(None, knobs.split(",")):
        name, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals or not name:
            raise VitEdgeError(f"A step is written KEY:knob=value,knob=value, which {text[:80]!r} is not.")
        if name in params:
            raise VitEdgeError(f"The step {text[:80]!r} sets {name} twice.")
        params[name] = value if name in words else scalar(value)
    return Step.from_dict({"technique": key.strip(), "params": params})


def _text_knobs(key: str) -> set[str]:
    """Knobs of a method that hold a text, even one that looks like a number: "3" names a block."""
    import vitedge_core.techniques  # noqa: F401  fills the registry
    from vitedge_core import registry

    known = {cls.card.key: cls for cls in registry.techniques()}
    return {knob.name for knob in known[key].knobs() if isinstance(knob.default, str)} if key in known else set()


def recipe_of(arguments: argparse.Namespace) -> Recipe:
    """The recipe that the options describe.

    Raises:
        VitEdgeError: There is none, there are two, or it is damaged.
    """
    if arguments.recipe is None:
        if arguments.model is None:
            raise VitEdgeError("Name a model with --model NAME, or a recipe with --recipe FILE or --recipe TOKEN.")
        steps = [step_of(text).to_dict() for text in arguments.step]
        return Recipe.from_dict({"model": arguments.model, "steps": steps, "seed": arguments.seed or 0})
    if arguments.model is not None or arguments.step or arguments.seed is not None:
        raise VitEdgeError("A recipe comes from --recipe, or from --model, --step and --seed, but not from both.")
    return stored_recipe(arguments.recipe)


def stored_recipe(text: str) -> Recipe:
    """The recipe of a file or of a link's token.

    Raises:
        VitEdgeError: There is no such file, or it is damaged.
    """
    path = Path(text)
    with suppress(OSError, ValueError):  # a token may be too long for a file's name
        if path.is_file():
            with path.open("rb") as file:
                return Recipe.from_json(file.read(MAX_JSON + 1))
    if text.endswith(".json"):
        raise VitEdgeError(f"There is no recipe file {text}.")
    return Recipe.from_token(text.rpartition("?r=")[2].partition("&")[0])


def planned_of(recipe: Recipe, image: int | None = None) -> Any:
    """The recipe's plans; a step that cannot be carried out is an error here."""
    from vitedge_core.compress import plan_recipe

    planned = plan_recipe(recipe, image)
    if planned.problems:
        raise VitEdgeError(next(iter(planned.problems.values())))
    return planned


def at_least_one(text: str) -> int:
    """A whole number from 1, for an option."""
    with suppress(ValueError):
        if int(text) >= 1:
            return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 1")


def counts(text: str) -> tuple[int, ...]:
    """Whole numbers from 1 with commas between them, for an option; each once."""
    return tuple(dict.fromkeys(at_least_one(part.strip()) for part in text.split(",")))


def names(text: str) -> tuple[str, ...]:
    """Words with commas between them, for an option; each once."""
    return tuple(dict.fromkeys(filter(None, (part.strip() for part in text.split(",")))))


def sides(text: str) -> tuple[int, ...]:
    """Whole numbers with commas between them, for an option."""
    with suppress(ValueError):
        return tuple(int(side) for side in text.split(","))
    raise argparse.ArgumentTypeError(f"{text!r} is no list of sizes such as 224,384")


def add_recipe(parser: argparse.ArgumentParser) -> None:
    """The options that name a recipe, as `recipe_of` reads them."""
    parser.add_argument("--model", metavar="NAME", help="a bundled model, one of your own, or any timm classifier")
    parser.add_argument(
        "--step", action="append", default=[], metavar="KEY:knob=value,...", help="repeatable; carried out in order"
    )
    parser.add_argument("--seed", type=int, help="of everything random (0)")
    parser.add_argument("--recipe", metavar="FILE|TOKEN", help="a recipe file, or the token of a link")
