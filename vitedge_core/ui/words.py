"""Recipes and measured points in words, for hovers, lists and tables."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

from vitedge_core.recipe import Recipe, Scalar, Step
from vitedge_core.text.human import human, interval
from vitedge_core.ui import cache
from vitedge_core.ui.objectives import OBJECTIVES

if TYPE_CHECKING:
    from vitedge_core.experiments.points import Point


@lru_cache(16_384)
def of_recipe(recipe: Recipe) -> tuple[str, ...]:
    """What is done to the model, a line for each step."""
    return tuple(map(of_step, recipe.active)) or ("uncompressed",)


def of_step(step: Step) -> str:
    """A method and the knobs that were set, by the labels that Build shows: "Token merging: tokens merged 4"."""
    labels = cache.labels_of(step.technique)
    knobs = ", ".join(f"{cache.inside(labels.get(name, name))} {_value(value)}" for name, value in step.params)
    return f"{cache.title_of(step)}: {knobs}" if knobs else cache.title_of(step)


def _value(value: Scalar) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return str(value) if value != "" else "none"


def told(point: Point, axis: str) -> str:
    """One of its figures with its interval: "93.0 % (91.2 to 94.5 %)"."""
    value = point.figures[axis]
    bounds = "" if value.is_exact else interval(value)
    return f"{human(value)} ({bounds})" if bounds else human(value)


def row(point: Point) -> dict[str, Any]:
    """A point as a row of the table that says what the chart says."""
    figures = {OBJECTIVES[axis].name: human(point.figures[axis]) for axis in point.axes}
    intervals = {
        f"{OBJECTIVES[axis].name}, 95 % interval": interval(point.figures[axis])
        for axis in point.axes if not point.figures[axis].is_exact
    }  # fmt: skip
    return {
        "Model": cache.model_title(point.recipe.model), "Recipe": "; ".join(of_recipe(point.recipe)),
        **figures, **intervals,
        "Accuracy": human(point.accuracy), "Images": point.n, "From": point.origin, "On front": point.on_front,
        "Knee": point.knee,
    }  # fmt: skip


def line(point: Point) -> str:
    """A point in one line, for a list to choose from."""
    costs = ", ".join(human(point.figures[axis]) for axis in (point.axes[0], *point.axes[2:]))
    figures = f"{human(point.gain)} at {costs}"
    knee = "Knee: " if point.knee else ""
    return f"{knee}{figures}: {cache.model_title(point.recipe.model)}, {'; '.join(of_recipe(point.recipe))}"
