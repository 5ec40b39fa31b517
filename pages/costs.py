"""Costs: every figure of what a recipe costs, where, in which form, and how it grows with the input."""

import streamlit as st

from vitedge_core.ui import cache, layout, state, units

LEAD = "What the recipe costs before it runs: where, in which form, what is in memory when, and how it grows."

actions = layout.header("Costs", LEAD)
layout.first_start()

from vitedge_core.ui import cost_memory, cost_parts, cost_scaling, results, roofline  # noqa: E402  they load what is announced

with layout.guarded():
    recipe = state.current_recipe()
    own = layout.planned_recipe().plans[0].image[1]
    with actions:
        units.switch("costs")
    with st.container(horizontal=True, vertical_alignment="bottom"):
        image = st.number_input(
            "Pixels a side", 1, 4096, own, key=f"costs-image-{recipe.model}", width=150, persist_state="session",
            help=f"The model's own size is {own}. Weights are the same at any size; work and memory are not.",
        )  # fmt: skip
        batch = st.number_input(
            "Images at once", 1, 65_536, 1, key="costs-batch", width=150, persist_state="session",
            help="Weights are read once for all of them, and activations are needed for each.",
        )  # fmt: skip
    planned, before, after = cache.priced(recipe, image or own, batch or 1)
    results.cost_cards(before, after, None)
    if batch and batch > 1:
        st.caption(f"{units.operations()} and peak memory are those of all {batch:,} images.")
    sections = {
        ":material/bar_chart: Where": lambda: cost_parts.spent(before, after),
        ":material/save: Sizes": lambda: cost_parts.sizes(planned, before, after),
        ":material/memory: Memory": lambda: cost_memory.timeline(planned, batch or 1),
        ":material/roofing: Roofline": lambda: roofline.panel(planned),
        ":material/trending_up: Growth": lambda: cost_scaling.scaling(planned.runnable, batch or 1),
    }
    section = st.segmented_control(
        "Section", list(sections), default=next(iter(sections)), required=True, key="costs-section",
        persist_state="session", label_visibility="collapsed",
    )  # fmt: skip
    with layout.guarded():
        sections[section]()
