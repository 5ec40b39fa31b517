"""Choose a sweep: what varies, how it is searched, what it is after; and the button that starts it."""

from __future__ import annotations

import os
from typing import Any

import streamlit as st

from vitedge_core.errors import VitEdgeError
from vitedge_core.evidence import Evidence, Quantity
from vitedge_core.experiments.samplers import METHODS
from vitedge_core.experiments.space import GRID, MAX_RECIPES, RUNGS, Space
from vitedge_core.recipe import Recipe
from vitedge_core.text.human import duration
from vitedge_core.ui import cache, engine_choice, layout, state, sweep_axes
from vitedge_core.ui.studio import ENGINE_CHOICE
from vitedge_core.ui.sweep_aim import aim

LIMITS = {200: "200, a first look", 500: "500", 0: "all"}
TRIALS = 40  # of a search, unless told otherwise
MOST_WORKERS = 4  # offered; the command line takes more


def form(recipe: Recipe) -> None:
    """The choices, what they come to, and the button that starts the sweep."""
    knobs = sweep_axes.knobs_of(recipe)
    if not knobs:
        layout.empty("tune", "This recipe has no step with a knob to vary. Add one in Build, then come back.")
        return
    places = sweep_axes.chosen_knobs(recipe, knobs)
    search = _search()
    axes = sweep_axes.axes(recipe, places, knobs, search=search["sampler"] != GRID)
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        goal = aim()
        more = _more(recipe)
        limit = st.segmented_control(
            "Images for each recipe", list(LIMITS), default=500, required=True, format_func=lambda n: LIMITS[n],
            key="sweep-limit",
        )  # fmt: skip
    how, workers = _how()
    _offer(Space(recipe, axes, state.images(), limit or None, goal=goal, **search, **more, **how), workers)


def _search() -> dict[str, Any]:
    """How the recipes are chosen, and how many."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        key = st.selectbox(
            "Which recipes", list(METHODS), key="sweep-sampler", format_func=lambda name: METHODS[name].title, width=260
        )
        method = METHODS[key]
        if key == GRID:
            return {"sampler": key}
        trials = st.number_input("Recipes to measure", 2, MAX_RECIPES, TRIALS, 10, key="sweep-trials", width=170)
        st.caption(method.lead)
    return {"sampler": key, "trials": int(trials)}


def _more(recipe: Recipe) -> dict[str, Any]:
    """What else varies."""
    with st.popover("Steps and models", icon=":material/shuffle:", help="What may vary beside the knobs."):
        optional = sweep_axes.optional_steps(recipe)
        orders = sweep_axes.orders(recipe)
        return {"optional": optional, "orders": orders, "models": sweep_axes.other_models(recipe)}


def _how() -> tuple[dict[str, Any], int]:
    """How each recipe is measured, and by how many processes."""
    engines = engine_choice.available()
    with st.container(horizontal=True, vertical_alignment="center", gap="medium"):
        engine = st.selectbox(
            "Runs on", list(engines), format_func=engines.__getitem__, key="sweep-engine", width=230,
            help="Accuracy and latency are those of what really runs there; most engines take seconds to build each.",
        )  # fmt: skip
        eager = engine == state.EAGER
        halving = st.toggle(
            "Fewer images for beaten ones", value=True, key="sweep-halving", disabled=not eager,
            help=f"After {' and '.join(map(str, RUNGS))} images a recipe ends if even the upper end of its interval is "
            "beaten by a recipe that costs no more.",
        )  # fmt: skip
        latency = st.toggle(
            "Time each recipe too", key="sweep-latency",
            help="Some seconds more for each: recipe and uncompressed model run in turns.",
        )  # fmt: skip
        gaze = st.toggle(
            "Where each looks, too", key="sweep-gaze", disabled=not eager,
            help="Some seconds more for each, on images whose objects have masks: does it still look at the object?",
        )  # fmt: skip
        able = list(range(1, min(MOST_WORKERS, os.cpu_count() or 1) + 1))
        workers = 1
        if len(able) > 1:
            workers = st.segmented_control(
                "Processes", able, default=1, required=True, key="sweep-workers",
                help="They share the recipes and the processor's cores. A latency needs the machine for itself: 1.",
            )  # fmt: skip
    how = {"halving": halving and eager, "latency": latency, "gaze": gaze and eager, "engine": engine}
    return how, int(workers or 1)


def _offer(space: Space, workers: int) -> None:
    """How many recipes that is, how long it will take, and the button."""
    missing = cache.without_weights(space.recipe.model)
    if missing:
        st.info(missing, icon=":material/download:")
        return
    hint = _hint(space)
    count = 0 if hint else space.total
    with st.container(horizontal=True, vertical_alignment="center"):
        st.button(
            f"Measure {count} recipe{'' if count == 1 else 's'}", key="sweep-start", type="primary",
            icon=":material/play_arrow:", disabled=bool(hint), on_click=start, args=(space, workers),
        )  # fmt: skip
        st.caption(hint or _estimate(space, workers))


def _hint(space: Space) -> str:
    """Why it cannot be started, or nothing."""
    if not space.axes:
        return "Choose at least one knob."
    if not all(choice.values for choice in space.choices.values()):
        return "Every chosen knob needs a value."
    try:
        space.check()
    except VitEdgeError as error:
        return str(error)
    return ""


def _estimate(space: Space, workers: int) -> str:
    """How long it will take, from the runs of this model so far."""
    from vitedge_core.experiments.runs import usual_seconds

    title = engine_choice.title_of(space.engine)
    seconds = usual_seconds(space.recipe.model, space.limit, latency=space.times, engine=title)
    what = f"out of {space.combinations:,}"
    if space.sampler == GRID:
        what = " × ".join(str(len(choice.values)) for choice in space.choices.values()) + " values"
    if seconds is None:
        return f"{what}. The first recipes will show how long it takes."
    whole = Quantity(
        seconds * space.total / workers, "s", Evidence.PREDICTED, "the usual time of a run of this model here"
    )
    return f"{what}, about {duration(whole)}; less where a recipe was measured before."


def start(space: Space, workers: int) -> None:
    """Start a sweep; why it cannot be is shown at the top of the page."""
    from vitedge_core.experiments.sweep import start_sweep

    try:
        start_sweep(space, workers)
        state.fill(ENGINE_CHOICE, engine_choice.title_of(space.engine))
    except VitEdgeError as error:
        state.notice(str(error))
