"""The studio of measured recipes: what to compare them by, which of them, and the ways to look at them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import streamlit as st

from vitedge_core.ui import budgets, cache, engine_choice, knobs, layout, state, studio_chart, words
from vitedge_core.ui.objectives import OBJECTIVES

if TYPE_CHECKING:
    from vitedge_core.experiments.points import Point
    from vitedge_core.experiments.runs import Run

CHART, SPACE, SIDE, MATTERS = "Chart", "In space", "Knobs side by side", "Which knob matters"
MODEL, SWEEP = "model", "sweep or origin"
ENGINE_CHOICE = "pareto-engine"  # key of the choice; who starts a sweep sets it


@dataclass(frozen=True, slots=True)
class Choice:
    """What a person chose to see.

    runs: those shown. engine: title of the one they ran in. axes: objectives. colours: what they tell. limits: the
    budget, by objective.
    """

    runs: tuple[Run, ...]
    engine: str
    axes: tuple[str, ...]
    colours: str
    limits: dict[str, float]


def studio() -> None:
    """Everything below the sweep: filters, chart, what stands on the front."""
    from vitedge_core.experiments.points import points
    from vitedge_core.experiments.runs import all_runs

    runs = all_runs(engine=None)
    if not runs:
        layout.empty(
            "scatter_plot", "Nothing has been measured yet. Start a sweep above, measure a recipe in Build, or look at "
            "what others published: the switch at the top.",
        )  # fmt: skip
        return
    choice = _choose(runs)
    if len(set(choice.axes)) < len(choice.axes):
        layout.empty("rule", "Choose different objectives.")
        return
    found = points(choice.runs, *choice.axes)
    if not found:
        layout.empty(*_missing(choice, known=any(run.engine == choice.engine for run in runs)))
        return
    budgets.verdict(found, choice.limits)
    _view(found, choice)
    _front(found, engine_choice.key_of(choice.engine))


def _choose(runs: Sequence[Run]) -> Choice:
    """Objectives and image set. Only one set is ever shown: accuracies on two cannot be compared."""
    from vitedge_core.experiments.points import image_sets

    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        axes = [_objective("Cost", "macs", "cost"), _objective("Gain", "accuracy", "gain")]
        third = st.selectbox(
            "Third objective", [None, *OBJECTIVES], key="pareto-third", persist_state="session", width=190,
            format_func=lambda key: OBJECTIVES[key].name if key else "none",
            help="The front is then of all three: marks differ in size, and can be turned in space.",
        )  # fmt: skip
        runs, engine = engine_choice.measured_in(runs, ENGINE_CHOICE)
        sets = {images.digest: images for images in image_sets(runs)}
        digest = st.selectbox(
            "Images", list(sets), key="pareto-images", persist_state="session", disabled=len(sets) < 2, width=260,
            format_func=lambda key: f"{sets[key].title} ({sets[key].runs} runs)",
            help="Accuracies on different images cannot be compared, so a chart shows one set.",
        )  # fmt: skip
        shown = [run for run in runs if run.evaluation.digest == digest]
        chosen, colours = _filtered(shown)
        named = (*axes, third) if third else tuple(axes)
        limits = budgets.typed(tuple(dict.fromkeys(named)))
    return Choice(tuple(chosen), engine, named, colours, limits)


def _objective(label: str, default: str, key: str) -> str:
    return st.selectbox(
        label, list(OBJECTIVES), index=list(OBJECTIVES).index(default), format_func=lambda each: OBJECTIVES[each].name,
        key=f"pareto-{key}", persist_state="session", width=190,
    )  # fmt: skip


def _filtered(runs: Sequence[Run]) -> tuple[list[Run], str]:
    """Some of the runs, each with the sweep it is from, and what colours tell."""
    from vitedge_core.experiments.studies import attributed, memberships

    runs = attributed(runs, memberships())
    models = sorted({run.recipe.model for run in runs})
    sources = list(dict.fromkeys(run.origin for run in reversed(runs)))
    with st.popover("Filter", icon=":material/filter_alt:", key="pareto-filter"):
        wanted = st.multiselect(
            "Models", models, key="pareto-models", placeholder="all models", persist_state="session",
            disabled=len(models) < 2, format_func=cache.model_title,
        )  # fmt: skip
        sweeps = st.multiselect(
            "From", sources, key="pareto-from", placeholder="all sweeps and pages", persist_state="session",
            disabled=len(sources) < 2, help="A recipe that several sweeps hold belongs to the newest of them.",
        )  # fmt: skip
        colours = st.segmented_control(
            "Colours and shapes tell", [MODEL, SWEEP], default=MODEL, required=True, key="pareto-colours",
            persist_state="session",
        )  # fmt: skip
    kept = [run for run in runs if run.recipe.model in (wanted or models) and run.origin in (sweeps or sources)]
    return kept, colours


def _missing(choice: Choice, *, known: bool) -> tuple[str, str]:
    """Icon and sentence: why no recipe can be shown, and how to get some; `known` says if the engine has any runs."""
    if not choice.runs and known:
        return "filter_alt_off", "No recipe passes the filter: take a part of it away."
    if not choice.runs:
        return "memory", f"No recipe was measured in {choice.engine} yet. Sweep in it above, or measure one in Build."
    if "latency_seconds" in choice.axes:
        return "timer", "No recipe here was timed on this machine yet. Switch on “Time each recipe too”."
    return "visibility", (
        "Nobody measured yet where these recipes look. Sweep with “Where each looks, too”, or open one in Build, on "
        "images whose objects have masks: the bundled digits."
    )


def _view(found: Sequence[Point], choice: Choice) -> None:
    """The chosen way to look at the points."""
    views = [CHART, *([SPACE] if len(choice.axes) > 2 else []), SIDE, MATTERS]
    if state.widget("pareto-view") not in views:  # nothing chosen yet, or there is no third objective any more
        state.fill("pareto-view", CHART)
    view = st.segmented_control("View", views, required=True, key="pareto-view", label_visibility="collapsed")
    if view == SIDE:
        knobs.side_by_side(found)
    elif view == MATTERS:
        knobs.which_matters(found)
    else:
        recipe = studio_chart.chart(
            found, choice.runs, choice.limits, by_sweep=choice.colours == SWEEP, in_space=view == SPACE
        )  # fmt: skip
        if recipe is not None:
            layout.open_in(recipe, "build", engine_choice.key_of(choice.engine))


def _front(found: Sequence[Point], engine: str) -> None:
    """The front as a list, for those who do not click on charts; the knee is offered first."""
    front = sorted((point for point in found if point.on_front), key=lambda point: not point.knee)
    lines = {point.key: words.line(point) for point in front}
    with st.container(horizontal=True, vertical_alignment="bottom"):
        chosen = st.selectbox(
            "Recipes on the front", list(lines), format_func=lambda key: lines[key],
            key=f"front-{'-'.join(front[0].axes)}",
        )  # fmt: skip
        recipe = next(point.recipe for point in front if point.key == chosen)
        if st.button("Open in Build", key="front-open", icon=":material/tune:", type="primary"):
            layout.open_in(recipe, "build", engine)
        if st.button("See its attention", key="front-attention", icon=":material/visibility:"):
            layout.open_in(recipe, "attention")
