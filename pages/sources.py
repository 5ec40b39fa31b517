"""Sources: where every figure comes from."""

import streamlit as st

from vitedge_core.ui import layout, provenance

layout.header("Sources", "Where every figure comes from, and how far it can be trusted.")
layout.first_start()

with layout.guarded():
    st.header("Evidence", anchor="evidence", divider=False)
    provenance.evidence()
with layout.guarded():
    st.header("How things are counted", anchor="counting")
    provenance.counting()
with layout.guarded():
    st.header("Bundled images", anchor="images")
    provenance.images()
with layout.guarded():
    st.header("Bundled models", anchor="models")
    provenance.bundled()
with layout.guarded():
    st.header("Zoo", anchor="zoo")
    provenance.zoo()
with layout.guarded():
    st.header("Latencies of edge devices", anchor="edge")
    provenance.edge()
with layout.guarded():
    st.header("References", anchor="references")
    provenance.references()
