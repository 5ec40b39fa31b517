"""Methods: every technique of the catalogue, drawn from its card and its docstring."""

import streamlit as st

from vitedge_core.ui import cache, gallery, layout, state

layout.header("Methods", "Every technique: its idea, its cost, when it fails, and where it departs from its paper.")
layout.first_start()

with layout.guarded():
    catalogue = cache.catalogue()
    with st.container(horizontal=True, vertical_alignment="bottom"):
        words = st.text_input(
            "Search", key="method-words", type="search", live=True, placeholder="Search titles, ideas, references",
            label_visibility="collapsed", width=360,
        )  # fmt: skip
        family = st.segmented_control(
            "Family", gallery.families(catalogue), default=gallery.EVERY, key="method-family",
            label_visibility="collapsed",
        )  # fmt: skip
    found = gallery.chosen(catalogue, family, words or "")
    wanted = state.recall("method")
    for technique in sorted(found, key=lambda cls: cls.card.key != wanted):
        with layout.guarded():
            gallery.method(technique, opened=technique.card.key == wanted)
    if not found:
        layout.empty("search_off", "No method matches; clear the search or choose another family.")
