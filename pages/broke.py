"""What broke: which layers, which answers, and whether the model still looks at the object."""

import streamlit as st

from vitedge_core.ui import cache, layout, state

NO_STEPS = "The recipe has no step to carry out, so nothing broke. Add a step on the Build page."

layout.header("What broke", "What your recipe did to the model, where it happened, and how sure that is.")
layout.first_start()

from vitedge_core.ui import broke, broke_parts, sensitivity  # noqa: E402  they load PyTorch, see first_start

with layout.guarded():
    planned = layout.planned_recipe()
    recipe = planned.runnable
    missing = cache.unmeasurable(recipe.model, state.images())
    if missing:
        layout.empty("cloud_off", missing)
        st.stop()
    if recipe.active:
        limit = st.segmented_control(
            "Images", list(broke.LIMITS), default=500, required=True, format_func=broke.LIMITS.__getitem__,
            key="broke-limit",
        )  # fmt: skip
        found = broke.found(recipe, planned.plans[0].macs, limit)
        if found is not None:
            broke.verdict(found)
            for note in found.notes:
                st.caption(note)
            broke_parts.layers(found)
            with layout.guarded():
                broke_parts.sight(found)
            with layout.guarded():
                broke_parts.agreement(found)
    else:
        layout.empty("add_circle", NO_STEPS)
    with layout.guarded():
        sensitivity.section(recipe)
