"""Pareto: what each point of accuracy costs, from recipes measured here, and from what others published."""

import streamlit as st

from vitedge_core.experiments.sweep import KIND
from vitedge_core.ui import jobs, layout, published, state, studio, sweep_form

HERE, ELSEWHERE = "Measured here", "Published"

layout.header("Pareto", "What does each point of accuracy cost? Every mark is a recipe that somebody really measured.")
layout.first_start()


def results() -> bool:
    """The newest sweep and the chart; says whether the sweep still runs."""
    job = None
    with layout.guarded():
        job = jobs.newest(KIND)
        if job is not None:
            jobs.card(job)
        studio.studio()
    return job is not None and job.active


def here() -> None:
    """What was measured on this machine or came from a store, and the way to measure more."""
    layout.recipe_line()
    newest = jobs.newest(KIND)
    running = newest is not None and newest.active
    from vitedge_core.experiments.runs import all_runs

    empty = newest is None and not all_runs(engine=None)  # else the chart comes first
    with st.expander(
        "Measure more: sweep the knobs of this recipe", key="sweep", icon=":material/grid_on:", expanded=empty
    ):
        sweep_form.form(state.current_recipe())
    jobs.live(results, active=running)


shown = st.segmented_control(
    "Results", [HERE, ELSEWHERE], default=HERE, required=True, key="pareto-shown", label_visibility="collapsed",
    persist_state="session",
)  # fmt: skip
with layout.guarded():
    if shown == ELSEWHERE:
        published.browse()
    else:
        here()
