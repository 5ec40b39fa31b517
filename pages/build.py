"""Build: choose a model, compose a recipe, and see what it costs and what it breaks."""

import streamlit as st

from vitedge_core.ui import cache, engine_choice, layout, reasons, recipe_editor, results, share, state, verdict

actions = layout.header("Build", "Compose a recipe: costs follow every slider at once, accuracy a moment later.")
with st.sidebar, layout.guarded():
    recipe_editor.model_picker()
    composer = st.container()
layout.first_start()

with layout.guarded():
    recipe = state.current_recipe()
    planned, costs = cache.planned(recipe)
    with composer:
        recipe_editor.presets()
        recipe_editor.steps(planned.problems, results.effects(costs))
        recipe_editor.adder()
        engine_choice.choice(planned.last)
        recipe_editor.own_things()
    with actions:
        share.bar(planned.runnable)
    engine = engine_choice.current(planned.last)
    known = None if planned.last.exact else verdict.figures(planned.runnable, engine)
    results.cost_cards(costs[0], costs[-1], known)
    verdict.cards(planned.runnable, planned.plans[0].macs, engine)
    reasons.panel(planned)
    results.charts(*results.carried_out(planned, costs))
