"""Sensible recipes of a space, with which a search begins; and whether a space holds any recipe at all."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

from vitedge_core.compress import plan_recipe, technique_of
from vitedge_core.errors import VitEdgeError
from vitedge_core.evidence import Quantity
from vitedge_core.experiments.axes import Axis, Blocks
from vitedge_core.experiments.goal import MEASURED
from vitedge_core.experiments.presets import presets
from vitedge_core.experiments.space import Settings, Space
from vitedge_core.recipe import Recipe, Step

TRIES = 60  # recipes that are planned before a space is called impossible


def warm_start(space: Space) -> tuple[Settings, ...]:
    """The recipe itself and the presets of each model as far as the space holds them, each once."""
    found: dict[str, Settings] = {}
    for model in space.choices["model"].values if space.models else (space.recipe.model,):
        own = [Recipe(str(model), space.recipe.steps), *(preset.recipe for preset in presets(str(model)))]
        for recipe in own:
            settings = nearest(space, recipe)
            if settings is not None:
                found.setdefault(space.at(settings).digest, settings)
    return tuple(found.values())


def nearest(space: Space, recipe: Recipe) -> Settings | None:
    """The settings most like a recipe; None if it has a step that the space lacks.

    A step that the recipe lacks is off where it may be, else as in the space's own recipe.
    """
    given = {step.technique: step for step in recipe.active}
    if not set(given) <= {step.technique for step in space.recipe.active}:
        return None
    settings: Settings = {"model": recipe.model} if space.models else {}
    if space.orders:
        settings["order"] = space.choices["order"].values[0]
    for number in space.optional:
        settings[space.switch(number)] = space.recipe.steps[number].technique in given
    for axis in space.axes:
        own = space.recipe.steps[axis.step]
        settings |= _of_axis(space, axis, given.get(own.technique, own))
    return {name: settings[name] for name in space.choices}


def _of_axis(space: Space, axis: Axis | Blocks, step: Step) -> Settings:
    name, value = space.name(axis), getattr(technique_of(step), axis.knob)
    if isinstance(axis, Axis):
        return {name: space.choices[name].nearest(value)}
    named = str(value).replace(",", " ").split()
    return {f"{name} {block}": str(block) in named for block in axis.blocks}


def probe(space: Space) -> None:
    """Refuse a space none of whose recipes can be carried out within the limits, as far as plans tell.

    Raises:
        VitEdgeError: Every recipe that was looked at is impossible, or beyond a limit; the sentence has the nearest.
    """
    problem, least = "", None
    for settings in _some(space):
        try:
            beyond = _beyond(space, space.at(settings))
        except VitEdgeError as error:
            problem = problem or str(error)
            continue
        if beyond is None:
            return
        least = beyond if least is None or beyond[0] < least[0] else least
    if least is None:
        raise VitEdgeError(f"No recipe of this space can be carried out. {problem}")
    _, limit, figure = least
    raise VitEdgeError(
        f"None of the recipes that were looked at keeps to {limit}; the nearest has {figure.value:.4g}. "
        "Loosen the limit or widen the space."
    )


def _beyond(space: Space, recipe: Recipe) -> tuple[float, str, Quantity] | None:
    """The limit that a recipe exceeds most and by how much; None where it keeps to all that a plan can tell."""
    planned = plan_recipe(recipe)
    if planned.problems:
        raise VitEdgeError(next(iter(planned.problems.values())))
    figures = space.goal.planned(planned.last)
    if not planned.last.exact:
        return None  # only the real model knows
    limits = [limit for limit in space.goal.limits if limit.figure in figures and limit.figure not in MEASURED]
    worst = max(limits, key=lambda limit: limit.excess(figures[limit.figure]), default=None)
    if worst is None or worst.excess(figures[worst.figure]) <= 0:
        return None
    return worst.excess(figures[worst.figure]), str(worst), figures[worst.figure]


def _some(space: Space) -> Iterator[Settings]:
    """The sensible ones, the corners of the space, and some at random; all of them where there are few."""
    if space.combinations <= TRIES:
        yield from space.grid()
        return
    yield from warm_start(space)
    for end in (0, -1):
        yield {name: choice.values[end] for name, choice in space.choices.items()}
    lot = random.Random(space.seed)  # noqa: S311  no secret
    for _ in range(TRIES):
        yield {name: lot.choice(choice.values) for name, choice in space.choices.items()}


def spread(space: Space, count: int, seed: int, taken: Sequence[str] = ()) -> Iterator[Settings]:
    """Up to `count` recipes at random that are not among the digests `taken`."""
    lot, seen = random.Random(seed), set(taken)  # noqa: S311  no secret
    for _ in range(20 * count):
        settings = {name: lot.choice(choice.values) for name, choice in space.choices.items()}
        digest = space.at(settings).digest
        if digest not in seen:
            seen.add(digest)
            yield settings
            count -= 1
        if not count:
            return
