"""Choose what to sweep: knobs of the current recipe, a range and a number of values for each, images, latency."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from vitedge_core.errors import VitEdgeError
from vitedge_core.evidence import Evidence, Quantity
from vitedge_core.experiments.space import MAX_RECIPES, Axis, Space, range_around, values_between
from vitedge_core.recipe import Recipe, Scalar
from vitedge_core.text.human import duration
from vitedge_core.ui import cache, layout, state

if TYPE_CHECKING:
    from vitedge_core.techniques.base import Knob

MOST_KNOBS = 3
VALUES = 4
LIMITS = {200: "200, a first look", 500: "500", 0: "all"}
Place = tuple[int, str]  # number of the step in the recipe, name of the knob


def form(recipe: Recipe) -> None:
    """The choices, what they come to, and the button that starts the sweep."""
    knobs = _knobs(recipe)
    if not knobs:
        layout.empty("tune", "This recipe has no step with a knob to vary. Add one in Build, then come back.")
        return
    chosen = st.multiselect(
        "Knobs to vary", list(knobs), default=_first_of_each(knobs), max_selections=MOST_KNOBS, key="sweep-knobs",
        format_func=lambda place: _label(recipe, place, knobs[place]), placeholder="Choose one to three knobs",
    )  # fmt: skip
    axes = tuple(Axis(*place, _values(recipe, place, knobs[place])) for place in chosen)
    with st.container(horizontal=True, vertical_alignment="bottom", gap="large"):
        limit = st.segmented_control(
            "Images for each recipe", list(LIMITS), default=500, required=True, format_func=lambda n: LIMITS[n],
            key="sweep-limit",
        )  # fmt: skip
        latency = st.toggle(
            "Time each recipe too", key="sweep-latency",
            help="Some seconds more for each: recipe and uncompressed model run in turns.",
        )  # fmt: skip
        gaze = st.toggle(
            "Where each looks, too", key="sweep-gaze",
            help="Some seconds more for each, on images whose objects have masks: does it still look at the object?",
        )  # fmt: skip
    _offer(Space(recipe, axes, state.images(), limit or None, latency, gaze))


def _offer(space: Space) -> None:
    """How many recipes that is, how long it will take, and the button."""
    missing = cache.without_weights(space.recipe.model)
    if missing:
        st.info(missing, icon=":material/download:")
        return
    fits = bool(space.axes) and all(axis.values for axis in space.axes) and space.size <= MAX_RECIPES
    count = space.size if fits else 0
    with st.container(horizontal=True, vertical_alignment="center"):
        st.button(
            f"Measure {count} recipe{'' if count == 1 else 's'}", key="sweep-start", type="primary",
            icon=":material/play_arrow:", disabled=not fits, on_click=_start, args=(space,),
        )  # fmt: skip
        st.caption(_estimate(space) if fits else _hint(space))


def _hint(space: Space) -> str:
    if not space.axes:
        return "Choose at least one knob."
    if space.size > MAX_RECIPES:
        return f"{space.size:,} recipes are too many; at most {MAX_RECIPES:,}."
    return "Every chosen knob needs a value."


def _estimate(space: Space) -> str:
    """How long it will take, from the runs of this model so far."""
    from vitedge_core.experiments.runs import usual_seconds

    seconds = usual_seconds(space.recipe.model, space.limit, latency=space.latency)
    product = " × ".join(str(len(axis.values)) for axis in space.axes)
    if seconds is None:
        return f"{product} values. The first recipes will show how long it takes."
    whole = Quantity(seconds * space.size, "s", Evidence.PREDICTED, "the usual time of a run of this model here")
    return f"{product} values, about {duration(whole)}; less where a recipe was measured before."


def _start(space: Space) -> None:
    from vitedge_core.experiments.sweep import start_sweep

    try:
        start_sweep(space)
    except VitEdgeError as error:
        state.notice(str(error))


def _knobs(recipe: Recipe) -> dict[Place, Knob]:
    """What can be varied: numbers, choices and switches of the steps that are on."""
    found: dict[Place, Knob] = {}
    for number, step in enumerate(recipe.steps):
        technique = cache.catalogue().get(step.technique)
        if technique is not None and step.enabled:
            knobs = technique.knobs()
            found |= {(number, knob.name): knob for knob in knobs if knob.options or not isinstance(knob.default, str)}
    return found


def _first_of_each(knobs: dict[Place, Knob]) -> list[Place]:
    """The first knob of the first two steps: each method shows its main one first."""
    firsts = {number: (number, name) for number, name in reversed(knobs)}
    return [firsts[number] for number in sorted(firsts)][:2]


def _label(recipe: Recipe, place: Place, knob: Knob) -> str:
    return f"{place[0] + 1}. {cache.title_of(recipe.steps[place[0]])}: {knob.label}"


def _values(recipe: Recipe, place: Place, knob: Knob) -> tuple[Scalar, ...]:
    """The values of one knob."""
    name, key = _label(recipe, place, knob), f"sweep-{state.steps()[place[0]][0]}-{knob.name}"
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
    with middle:
        count = st.number_input("Values", 1, 20, VALUES, key=f"{key}-count")
    values = values_between(knob, ends[0], ends[1], int(count))
    with right:
        st.markdown(" ".join(f":blue-badge[{value:g}]" for value in values))
    return values
