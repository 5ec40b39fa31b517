"""Attention: where the model looks on one image, before and after the recipe."""

import streamlit as st

from vitedge_core.ui import cache, layout

EXPLANATION = """
**A patch** is a small square of the image; a vision transformer turns each into a *token*. In every **block** each
token asks all others what they have to offer, and the shares of its attention sum to 100 %. A block asks in several
ways at once: its **heads**.

**One block** shows whom the classifier's token (or, without one, the average patch) attends to there. **Rollout**
follows attention through all blocks back to the patches: half of every token stays with itself (the shortcut around
the attention), half comes from where it looked (Abnar and Zuidema, 2020). **Gradients** counts only
attention that raises the score of the baseline's answer (Chefer et al., 2021). **Click a patch** to see what that patch
looks at.

**Compressed beside baseline**: pruning removes heads and blocks, fewer bits blur them, merging puts patches together.
A merged token's attention is shared out evenly among its patches, so nothing is lost or counted twice.

**With care**: attention says where information comes from, not why the model decides. Two models can look at the same
place and disagree, and the other way round.
"""
NO_STEPS = "The recipe has no step to carry out, so both sides show the same model. Add a step on the Build page."

layout.header("Attention", "Where a vision transformer looks, and what your recipe does to it.")
layout.first_start()

from vitedge_core.ui import attributions, gaze, maps, pictures  # noqa: E402  they load PyTorch: see first_start

with layout.guarded():
    recipe = layout.planned_recipe().runnable
    if not recipe.active:
        st.info(NO_STEPS, icon=":material/add_circle:")
    missing = cache.without_weights(recipe.model)
    if missing:
        layout.empty("cloud_off", missing)
    else:
        with st.container(border=True):
            picture = None
            with layout.guarded():
                picture = pictures.pick(recipe)
        found = gaze.seen(recipe, picture) if picture else None
        if picture and found:
            names = gaze.names_of(recipe.model, len(found.before.logits))
            with layout.guarded():
                gaze.answers(found, picture, names)
            st.subheader("Where they look", anchor=False)
            with layout.guarded():
                maps.explore(recipe, found, picture, names)
            with layout.guarded():
                attributions.attributions(recipe, found, picture, names)
            with st.expander("What am I looking at?", icon=":material/help:"):
                st.markdown(EXPLANATION)
