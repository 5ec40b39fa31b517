"""The space of a sweep: which recipes may be measured, how they are searched, and how each is measured.

A space starts from one recipe. Its knobs may take several values, its steps be switched off or change places, and other
models may stand in for its own. One recipe of it is named by its settings, a value for each dimension.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vitedge_core.errors import VitEdgeError
from vitedge_core.experiments.axes import Axis, Blocks, Choice, class_of, read_axis
from vitedge_core.experiments.goal import KEPT, LATENCY, Goal
from vitedge_core.experiments.runs import EAGER
from vitedge_core.models.zoo import called
from vitedge_core.recipe import MAX_JSON, Recipe, Scalar

if TYPE_CHECKING:
    from vitedge_core.backends.base import Engine

MAX_RECIPES = 2_000  # of a grid
MAX_TRIALS = 20_000  # of a search
MOST_MODELS = 16
MOST_ORDERED = 4  # steps whose every order may be tried
RUNGS = (100, 500)  # images after which a recipe that is clearly beaten is given up
GRID = "grid"
_COUNTED = 10_000  # combinations among which the different recipes of a grid are looked for
_MAX_FILE = 4 * MAX_JSON
_VERSION = 2
_KNOWN = {
    "version", "recipe", "axes", "models", "optional", "orders", "images", "limit", "latency", "gaze", "halving",
    "sampler", "trials", "seed", "objectives", "limits", "device", "engine",
}  # fmt: skip
_GOAL = Goal()  # accuracy against MACs
Settings = dict[str, Scalar]


@dataclass(frozen=True)
class Space:
    """Which recipes to measure, and how.

    recipe: where it starts. axes: knobs that vary. images: a folder, "digits", or None for the model's own. limit: how
    many of them, None for all. latency: whether to time the recipes too. gaze: whether to measure where they look,
    where the images have masks of their objects. models: beside the recipe's own. optional: numbers of steps that may
    be off. orders: of the steps, beside the one they have. goal: what is traded. sampler: how it is searched. trials:
    recipes to measure, None for the whole grid. halving: whether a recipe that is clearly beaten sees fewer images; in
    an engine other than the eager one none does. engine: key of the engine that the recipes run in.
    """

    recipe: Recipe
    axes: tuple[Axis | Blocks, ...]
    images: str | None = None
    limit: int | None = 500
    latency: bool = False
    gaze: bool = False
    models: tuple[str, ...] = ()
    optional: tuple[int, ...] = ()
    orders: tuple[tuple[int, ...], ...] = ()
    goal: Goal = _GOAL
    sampler: str = GRID
    trials: int | None = None
    seed: int = 0
    halving: bool = False
    engine: str = EAGER

    @cached_property
    def choices(self) -> dict[str, Choice]:
        """The dimensions by name, in an order in which the last ones change least of a recipe."""
        found: dict[str, Choice] = {}
        if self.models:
            found["model"] = Choice(tuple(dict.fromkeys((self.recipe.model, *self.models))))
        if self.orders:
            own = tuple(range(len(self.recipe.steps)))
            found["order"] = Choice(tuple(map(_order_word, dict.fromkeys((own, *self.orders)))))
        for number in range(len(self.recipe.steps)):
            if number in self.optional:
                found[self.switch(number)] = Choice((True, False))
            for axis in self.axes:
                if axis.step == number:
                    found |= self._choices_of(axis)
        return found

    def _choices_of(self, axis: Axis | Blocks) -> dict[str, Choice]:
        if isinstance(axis, Axis):
            return {self.name(axis): Choice(axis.values)}
        return {f"{self.name(axis)} {block}": Choice((False, True)) for block in axis.blocks}

    @cached_property
    def combinations(self) -> int:
        """How many settings there are; several may give the same recipe."""
        return math.prod(len(choice.values) for choice in self.choices.values())

    @cached_property
    def size(self) -> int:
        """How many different recipes there are, or settings where those are too many to look at."""
        if not (self.optional or self.orders) or self.combinations > _COUNTED:
            return self.combinations
        return len({self.at(settings).digest for settings in self._all()})

    @property
    def whole(self) -> bool:
        """Whether every recipe is measured."""
        return self.sampler == GRID or (self.trials is not None and self.size <= min(self.trials, MAX_RECIPES))

    @property
    def total(self) -> int:
        """How many recipes will be measured."""
        return self.size if self.trials is None else min(self.trials, self.size)

    @property
    def rungs(self) -> tuple[int, ...]:
        """Numbers of images after which it is asked whether more are needed."""
        asked = self.halving and self.engine == EAGER
        return tuple(n for n in RUNGS if self.limit is None or n < self.limit) if asked else ()

    @property
    def title(self) -> str:
        """What is swept, in words."""
        count = "1 recipe" if self.total == 1 else f"{self.total:,} recipes"
        models = called(self.recipe.model) if not self.models else f"{1 + len(self.models)} models"
        where = "" if self.engine == EAGER else f" in {_engine(self.engine).title}"
        return f"{count} of {models}{where}: {' × '.join(self._labels()) or 'as it is'}"

    def _labels(self) -> list[str]:
        """What varies, as it is called on the pages."""
        labels = []
        for axis in self.axes:
            knobs = class_of(self.recipe.steps[axis.step].technique).knobs()
            labels += [knob.label.lower() for knob in knobs if knob.name == axis.knob]
        return labels + ["steps on or off"] * bool(self.optional) + ["their order"] * bool(self.orders)

    def grid(self) -> Iterator[Settings]:
        """Settings of every different recipe; the last step varies fastest, so that first steps are shared."""
        seen = set()
        for settings in self._all():
            digest = self.at(settings).digest
            if digest not in seen:
                seen.add(digest)
                yield settings

    def _all(self) -> Iterator[Settings]:
        for values in itertools.product(*(choice.values for choice in self.choices.values())):
            yield dict(zip(self.choices, values, strict=True))

    def name(self, axis: Axis | Blocks) -> str:
        """What Optuna calls an axis: "1 tome.r"."""
        return f"{axis.step + 1} {self.recipe.steps[axis.step].technique}.{axis.knob}"

    def switch(self, step: int) -> str:
        """What Optuna calls the choice whether a step is on."""
        return f"{step + 1} {self.recipe.steps[step].technique}"

    def at(self, settings: Mapping[str, Scalar]) -> Recipe:
        """The recipe with these settings."""
        steps = list(self.recipe.steps)
        for axis in self.axes:
            steps[axis.step] = steps[axis.step].with_knob(axis.knob, self._value(axis, settings))
        for number in self.optional:
            steps[number] = replace(steps[number], enabled=bool(settings[self.switch(number)]))
        if self.orders:
            steps = [steps[int(number) - 1] for number in str(settings["order"]).split()]
        return replace(self.recipe, model=str(settings.get("model", self.recipe.model)), steps=tuple(steps))

    def _value(self, axis: Axis | Blocks, settings: Mapping[str, Scalar]) -> Scalar:
        name = self.name(axis)
        if isinstance(axis, Axis):
            return self.choices[name].nearest(settings[name])
        return ",".join(str(block) for block in axis.blocks if settings[f"{name} {block}"])

    def recipes(self) -> Iterator[Recipe]:
        """All of a grid."""
        return map(self.at, self.grid())

    def check(self) -> None:
        """Refuse what cannot be swept.

        Raises:
            VitEdgeError: Nothing varies, there are too many recipes, a step is not there or off, a value is outside
                its knob's range, or the goal or the method makes no sense.
        """
        from vitedge_core.experiments.samplers import sampler_named

        if not (self.axes or self.models or self.optional or self.orders):
            raise VitEdgeError("Choose at least one knob to sweep.")
        if len({(axis.step, axis.knob) for axis in self.axes}) < len(self.axes):
            raise VitEdgeError("A knob can be swept only once.")
        for axis in self.axes:
            self._check_axis(axis)
        self._check_steps()
        sampler_named(self.sampler).check()
        self.goal.check()
        self._check_engine()
        if self.trials is not None and not 1 <= self.trials <= MAX_TRIALS:
            raise VitEdgeError(f"A search measures 1 to {MAX_TRIALS:,} recipes, not {self.trials:,}.")
        if self.sampler == GRID and self.size > MAX_RECIPES:
            raise VitEdgeError(
                f"This grid has {self.size:,} recipes; at most {MAX_RECIPES:,} make a sweep. A search takes any number."
            )
        if self.sampler != GRID and self.trials is None:
            raise VitEdgeError('A search needs "trials", the number of recipes it may measure.')

    def _check_engine(self) -> None:
        missing = _engine(self.engine).missing()
        if missing:
            raise VitEdgeError(missing)
        if self.engine != EAGER and self.looks:
            raise VitEdgeError("Where a model looks is known in eager PyTorch only; sweep in that, or leave it out.")

    def _check_axis(self, axis: Axis | Blocks) -> None:
        self._check_step(axis.step)
        step = self.recipe.steps[axis.step]
        values = axis.values if isinstance(axis, Axis) else axis.blocks
        if not values or len(set(values)) < len(values):
            raise VitEdgeError(f"{self.name(axis)} needs at least one value, and no value twice.")
        if isinstance(axis, Blocks) and not any(
            knob.name == axis.knob and knob.blocks for knob in class_of(step.technique).knobs()
        ):
            raise VitEdgeError(f"{self.name(axis)} does not name blocks, so it cannot be swept over them.")
        words = values if isinstance(axis, Axis) else (",".join(map(str, values)),)
        for value in words:
            class_of(step.technique).from_knobs(step.with_knob(axis.knob, value).knobs)

    def _check_step(self, number: int) -> None:
        if not 0 <= number < len(self.recipe.steps) or not self.recipe.steps[number].enabled:
            raise VitEdgeError(f"The recipe has no active step {number + 1} to sweep.")

    def _check_steps(self) -> None:
        for number in self.optional:
            self._check_step(number)
        if len(self.models) > MOST_MODELS:
            raise VitEdgeError(f"A sweep has at most {MOST_MODELS} models beside the recipe's.")
        own = list(range(len(self.recipe.steps)))
        for order in self.orders:
            if sorted(order) != own:
                raise VitEdgeError(f"An order of steps names each of the numbers 0 to {len(own) - 1} once.")

    @property
    def times(self) -> bool:
        """Whether latencies are measured."""
        return self.latency or LATENCY in self.goal.figures

    @property
    def looks(self) -> bool:
        """Whether it is measured where the models look."""
        return self.gaze or KEPT in self.goal.figures

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "version": _VERSION, "recipe": self.recipe.to_dict(), "axes": [axis.to_dict() for axis in self.axes],
            "models": list(self.models), "optional": list(self.optional), "orders": [list(o) for o in self.orders],
            "images": self.images, "limit": self.limit, "latency": self.latency, "gaze": self.gaze,
            "halving": self.halving, "sampler": self.sampler, "trials": self.trials, "seed": self.seed,
            "engine": self.engine, **self.goal.to_dict(),
        }  # fmt: skip

    @classmethod
    def from_dict(cls, plain: object) -> Space:
        """The space such values describe, of version 1 or 2; anything else is refused in one sentence."""
        if not isinstance(plain, dict) or plain.get("version") not in {1, _VERSION}:
            raise VitEdgeError(f'A space must be an object with "version": {_VERSION}, "recipe" and "axes".')
        extra = set(plain) - _KNOWN
        if extra:
            raise VitEdgeError(f"The space holds {min(map(str, extra))[:40]!r}, which no space has.")
        try:
            recipe = Recipe.from_dict(plain["recipe"])
            axes = tuple(map(read_axis, plain["axes"]))
            return cls(recipe, axes, **_how(plain), **_search(plain, len(recipe.steps)), goal=Goal.from_dict(plain))
        except (KeyError, TypeError, ValueError) as error:
            raise VitEdgeError(
                'A space needs "recipe" and "axes", a list such as [{"step": 0, "knob": "ratio", "values": [0.2, 0.4]}]'
                ", and numbers, lists and true or false where those belong."
            ) from error


def read_space(path: Path) -> Space:
    """The space in a file, which is limited in size."""
    try:
        with path.open("rb") as file:
            text = file.read(_MAX_FILE + 1)
    except OSError as error:
        raise VitEdgeError(f"The space {path} cannot be read: {error.strerror}.") from error
    if len(text) > _MAX_FILE:
        raise VitEdgeError(f"A space has at most {_MAX_FILE:,} bytes; {path.name} has more.")
    try:
        return Space.from_dict(json.loads(text))
    except (ValueError, RecursionError) as error:
        raise VitEdgeError(f"{path.name} is no space: it is not JSON.") from error


def _how(plain: Mapping[str, Any]) -> dict[str, Any]:
    """How each recipe is measured."""
    images, limit = plain.get("images"), plain.get("limit", 500)
    return {
        "images": images and str(images), "limit": limit and int(limit), "latency": bool(plain.get("latency", False)),
        "gaze": bool(plain.get("gaze", False)), "halving": bool(plain.get("halving", plain["version"] > 1)),
        "engine": str(plain.get("engine", EAGER)),
    }  # fmt: skip


def _search(plain: Mapping[str, Any], steps: int) -> dict[str, Any]:
    """What else varies, and how it is searched."""
    orders, trials, models = plain.get("orders", []), plain.get("trials"), plain.get("models", [])
    if orders == "any":
        if steps > MOST_ORDERED:
            raise VitEdgeError(f"Every order of {steps} steps is too many; list the orders, or use {MOST_ORDERED}.")
        orders = list(itertools.permutations(range(steps)))[1:]
    if isinstance(models, str) or isinstance(orders, str):
        raise TypeError
    return {
        "models": tuple(map(str, models)), "optional": tuple(map(int, plain.get("optional", []))),
        "orders": tuple(tuple(map(int, order)) for order in orders), "sampler": str(plain.get("sampler", GRID)),
        "trials": None if trials is None else int(trials), "seed": int(plain.get("seed", 0)),
    }  # fmt: skip


def _engine(key: str) -> Engine:
    from vitedge_core.backends import engine  # takes seconds, which who only reads spaces need not wait for

    return engine(key)


def _order_word(order: tuple[int, ...]) -> str:
    """The numbers of the steps as people count them: "2 1"."""
    return " ".join(str(number + 1) for number in order)
