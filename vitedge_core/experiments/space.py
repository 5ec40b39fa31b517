"""The space of a sweep: a recipe, some of its knobs with several values each, and how to measure what comes of it."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vitedge_core.errors import VitEdgeError
from vitedge_core.recipe import MAX_JSON, Recipe, Scalar

if TYPE_CHECKING:
    from vitedge_core.techniques.base import Knob, Technique

MAX_RECIPES = 2_000
_MAX_FILE = 4 * MAX_JSON
_VERSION = 1


@dataclass(frozen=True, slots=True)
class Axis:
    """A knob that varies: number of the step in the recipe, name of the knob, its values."""

    step: int
    knob: str
    values: tuple[Scalar, ...]


@dataclass(frozen=True, slots=True)
class Space:
    """Which recipes to measure, and how.

    images: a folder, "digits", or None for the model's own. limit: how many of them, None for all. latency: whether to
    time the recipes too. gaze: whether to measure where they look, where the images have masks of their objects.
    """

    recipe: Recipe
    axes: tuple[Axis, ...]
    images: str | None = None
    limit: int | None = 500
    latency: bool = False
    gaze: bool = False

    @property
    def size(self) -> int:
        """How many recipes the grid has."""
        return math.prod(len(axis.values) for axis in self.axes)

    @property
    def title(self) -> str:
        """What is swept, in words."""
        count = "1 recipe" if self.size == 1 else f"{self.size:,} recipes"
        return f"{count} of {self.recipe.model}: {' × '.join(map(self._label, self.axes))}"

    def _label(self, axis: Axis) -> str:
        """What the knob is called on the pages."""
        labels = {knob.name: knob.label.lower() for knob in _class(self.recipe.steps[axis.step].technique).knobs()}
        return labels[axis.knob]

    def grid(self) -> Iterator[dict[str, Scalar]]:
        """The values of every recipe by axis; the last step varies fastest, so that first steps are shared."""
        axes = sorted(self.axes, key=lambda axis: axis.step)
        names = [self.name(axis) for axis in axes]
        for values in itertools.product(*(axis.values for axis in axes)):
            yield dict(zip(names, values, strict=True))

    def name(self, axis: Axis) -> str:
        """What Optuna calls an axis: "1 tome.r"."""
        return f"{axis.step + 1} {self.recipe.steps[axis.step].technique}.{axis.knob}"

    def at(self, values: dict[str, Scalar]) -> Recipe:
        """The recipe with these values of the axes."""
        steps = list(self.recipe.steps)
        for axis in self.axes:
            steps[axis.step] = steps[axis.step].with_knob(axis.knob, values[self.name(axis)])
        return replace(self.recipe, steps=tuple(steps))

    def recipes(self) -> Iterator[Recipe]:
        """All of them."""
        return map(self.at, self.grid())

    def check(self) -> None:
        """Refuse what cannot be swept.

        Raises:
            VitEdgeError: No knob, too many recipes, a step that is not there or off, a value outside a knob's range.
        """
        if not self.axes:
            raise VitEdgeError("Choose at least one knob to sweep.")
        if len({(axis.step, axis.knob) for axis in self.axes}) < len(self.axes):
            raise VitEdgeError("A knob can be swept only once.")
        for axis in self.axes:
            if not 0 <= axis.step < len(self.recipe.steps) or not self.recipe.steps[axis.step].enabled:
                raise VitEdgeError(f"The recipe has no active step {axis.step + 1} to sweep.")
            if not axis.values or len(set(axis.values)) < len(axis.values):
                raise VitEdgeError(f"{self.name(axis)} needs at least one value, and no value twice.")
            for value in axis.values:
                step = self.recipe.steps[axis.step].with_knob(axis.knob, value)
                _class(step.technique).from_knobs(step.knobs)
        if self.size > MAX_RECIPES:
            raise VitEdgeError(f"This grid has {self.size:,} recipes; at most {MAX_RECIPES:,} make a sweep.")

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        axes = [{"step": axis.step, "knob": axis.knob, "values": list(axis.values)} for axis in self.axes]
        return {
            "version": _VERSION, "recipe": self.recipe.to_dict(), "axes": axes,
            "images": self.images, "limit": self.limit, "latency": self.latency,
            **({"gaze": True} if self.gaze else {}),  # absent, a sweep from before is the same sweep
        }  # fmt: skip

    @classmethod
    def from_dict(cls, plain: object) -> Space:
        """The space such values describe; anything else is refused in one sentence."""
        if not isinstance(plain, dict) or plain.get("version") != _VERSION:
            raise VitEdgeError(f'A space must be an object with "version": {_VERSION}, "recipe" and "axes".')
        try:
            axes = tuple(Axis(int(a["step"]), str(a["knob"]), tuple(a["values"])) for a in plain["axes"])
            images, limit = plain.get("images"), plain.get("limit", 500)
            how = (images and str(images), limit and int(limit), bool(plain.get("latency", False)),
                   bool(plain.get("gaze", False)))  # fmt: skip
            return cls(Recipe.from_dict(plain["recipe"]), axes, *how)
        except (KeyError, TypeError, ValueError) as error:
            raise VitEdgeError(
                'An axis of a space must look like {"step": 0, "knob": "ratio", "values": [0.2, 0.4]}.'
            ) from error


def _class(key: str) -> type[Technique]:
    import vitedge_core.techniques  # noqa: F401  fills the registry
    from vitedge_core.registry import technique

    return technique(key)


def range_around(knob: Knob, value: float) -> tuple[float, float]:
    """From half of a knob's value to twice of it, on its steps and within its range; all of it around 0."""
    low, high, step = knob.low or 0, knob.high or 0, knob.step or 1
    if not low < value <= high:
        return low, high

    def allowed(wish: float) -> float:
        return min(max(low + round((wish - low) / step) * step, low), high)

    return allowed(value / 2), allowed(2 * value)


def values_between(knob: Knob, low: float, high: float, count: int) -> tuple[Scalar, ...]:
    """About `count` evenly spread values of a numeric knob, on its own steps; both ends are among them."""
    step = knob.step or 1
    places = {round((low + (high - low) * i / max(1, count - 1) - (knob.low or 0)) / step) for i in range(count)}
    values = ((knob.low or 0) + place * step for place in sorted(places))
    whole = isinstance(knob.default, int)
    return tuple(int(value) if whole else round(value, 10) for value in values if value <= high + step * 1e-6)


def read_space(path: Path) -> Space:
    """The space in a file, which is limited in size."""
    try:
        text = path.read_bytes()
    except OSError as error:
        raise VitEdgeError(f"The space {path} cannot be read: {error.strerror}.") from error
    if len(text) > _MAX_FILE:
        raise VitEdgeError(f"A space has at most {_MAX_FILE:,} bytes; {path.name} has {len(text):,}.")
    try:
        return Space.from_dict(json.loads(text))
    except (ValueError, RecursionError) as error:
        raise VitEdgeError(f"{path.name} is no space: it is not JSON.") from error
