"""Choose what varies in a sweep: knobs with their ranges, steps that may be off or change places, other models."""

from __future__ import annotations

from itertools import permutations
from typing import TYPE_CHECKING

import streamlit as st

from vitedge_core.experiments.axes import Axis, Blocks, range_around, values_between
from vitedge_core.experiments.space import MOST_ORDERED
from vitedge_core.recipe import Recipe, Scalar
from vitedge_core.ui import cache, state

if TYPE_CHECKING:
    from vitedge_core.techniques.base import Knob

MOST_KNOBS = 8
VALUES = 4  # of a knob in a grid
MOST_VALUES = 20
Place = tuple[int, str]  # number of the step in the recipe, name of the knob


def knobs_of(recipe: Recipe) -> dict[Place, Knob]:
    """What can be varied: numbers, choices, switches and lists of blocks of the steps that are on."""
    found: dict[Place, Knob] = {}
    for number, step in enumerate(recipe.steps):
        technique = cache.catalogue().get(step.technique)
        if technique is not None and step.enabled:
            knobs = technique.knobs()
            found |= {
                (number, knob.name): knob for knob in knobs
                if knob.options or knob.blocks or not isinstance(knob.default, str)
            }  # fmt: skip
    return found


def chosen_knobs(recipe: Recipe, knobs: dict[Place, Knob]) -> list[Place]:
    """The knobs that are to vary."""
    return st.multiselect(
        "Knobs to vary", list(knobs), default=_first_of_each(knobs), max_selections=MOST_KNOBS, key="sweep-knobs",
        format_func=lambda place: _label(recipe, place, knobs[place]), placeholder="Choose one or more knobs",
    )  # fmt: skip


def axes(recipe: Recipe, places: list[Place], knobs: dict[Place, Knob], *, search: bool) -> tuple[Axis | Blocks, ...]:
    """The values of each chosen knob; a search takes every value of a range."""
    return tuple(
        _blocks(recipe, place, knobs[place]) if knobs[place].blocks
        else Axis(*place, _values(recipe, place, knobs[place], search=search))
        for place in places
    )  # fmt: skip


def optional_steps(recipe: Recipe) -> tuple[int, ...]:
    """Steps that may be switched off."""
    active = [number for number, step in enumerate(recipe.steps) if step.enabled]
    return tuple(
        st.pills(
            "Steps that may be left out", active, selection_mode="multi", key="sweep-optional",
            format_func=lambda number: f"{number + 1}. {cache.title_of(recipe.steps[number])}",
        )
    )  # fmt: skip


def orders(recipe: Recipe) -> tuple[tuple[int, ...], ...]:
    """Other orders of the steps, if they may change places."""
    count = len(recipe.steps)
    if not 1 < count <= MOST_ORDERED:
        return ()
    free = st.toggle(
        "Steps may change places", key="sweep-orders", help="Orders that make no sense are left out by themselves."
    )
    return tuple(permutations(range(count)))[1:] if free else ()


def other_models(recipe: Recipe) -> tuple[str, ...]:
    """Models that are swept beside the recipe's own: with weights here, and the same classes."""
    task = cache.models()[recipe.model].task if recipe.model in cache.models() else ""
    able = [
        name for name, card in cache.models().items()
        if name != recipe.model and card.task == task and task and cache.without_weights(name) is None
    ]  # fmt: skip
    if not able:
        return ()
    return tuple(
        st.multiselect("Other models, too", able, key="sweep-models", placeholder="None", format_func=cache.model_title)
    )


def _first_of_each(knobs: dict[Place, Knob]) -> list[Place]:
    """The first knob of the first two steps: each method shows its main one first."""
    firsts = {number: (number, name) for number, name in reversed(knobs)}
    return [firsts[number] for number in sorted(firsts)][:2]


def _label(recipe: Recipe, place: Place, knob: Knob) -> str:
    """The knob first: where there is little room, the end is cut off."""
    return f"{knob.label} ({place[0] + 1}. {cache.title_of(recipe.steps[place[0]])})"


def _key(place: Place) -> str:
    return f"sweep-{state.steps()[place[0]][0]}-{place[1]}"


def _blocks(recipe: Recipe, place: Place, knob: Knob) -> Blocks:
    """Which blocks may be named, each or not."""
    count = len(cache.planned(recipe.baseline)[0].last.blocks)
    every = list(range(count))
    label = f"{_label(recipe, place, knob)}, any of"
    chosen = st.pills(label, every, default=every, selection_mode="multi", key=_key(place), help=knob.help)
    return Blocks(*place, tuple(sorted(chosen)))


def _values(recipe: Recipe, place: Place, knob: Knob, *, search: bool) -> tuple[Scalar, ...]:
    """The values of one knob."""
    name, key = _label(recipe, place, knob), _key(place)
    if knob.options or isinstance(knob.default, bool):
        options = list(dict.fromkeys(knob.options)) or [False, True]
        return tuple(st.pills(name, options, default=options, selection_mode="multi", key=key))
    kind: type[float] = int if isinstance(knob.default, int) else float
    low, high, step = kind(knob.low or 0), kind(knob.high or 0), kind(knob.step or 1)
    start = recipe.steps[place[0]].knobs.get(knob.name, knob.default)
    first, last = range_around(knob, float(start))
    left, middle, right = st.columns([6, 2, 3], gap="medium", vertical_alignment="bottom")
    with left:
        ends = st.slider(name, low, high, (kind(first), kind(last)), step=step, key=f"{key}-range", help=knob.help)
    count = round((ends[1] - ends[0]) / step) + 1
    if not search:
        with middle:
            count = st.number_input("Values", 1, MOST_VALUES, VALUES, key=f"{key}-count")
    values = values_between(knob, ends[0], ends[1], int(count))
    with right:
        few = values if len(values) <= 6 else (*values[:2], "…", values[-1])
        st.markdown(" ".join(f":blue-badge[{v if isinstance(v, str) else format(v, 'g')}]" for v in few))
    return values
