"""Pareto: what each point of accuracy costs, from measured recipes, and sweeps that measure many."""

import streamlit as st

from vitedge_core.experiments.sweep import KIND
from vitedge_core.ui import jobs, layout, state, studio, sweep_form

layout.header("Pareto", "What does each point of accuracy cost? Every mark is a recipe that was really measured here.")
layout.first_start()
layout.recipe_line()


def results() -> bool:
    """The newest sweep and the chart; says whether the sweep still runs."""
    job = None
    with layout.guarded():
        job = jobs.newest(KIND)
        if job is not None:
            jobs.card(job)
        studio.studio()
    return job is not None and job.active


with layout.guarded():
    newest = jobs.newest(KIND)
    running = newest is not None and newest.active
    with st.expander(
        "Measure more: sweep the knobs of this recipe", key="sweep", icon=":material/grid_on:", expanded=newest is None
    ):
        sweep_form.form(state.current_recipe())
    jobs.live(results, active=running)
