"""Sources: where every figure comes from."""

import streamlit as st

from vitedge_core.ui import layout, provenance

layout.header("Sources", "Where every figure comes from, and how far it can be trusted.")
layout.first_start()

SECTIONS = (
    ("Evidence", "evidence", provenance.evidence),
    ("How things are counted", "counting", provenance.counting),
    ("Bundled images", "images", provenance.images),
    ("Bundled models", "models", provenance.bundled),
    ("Zoo", "zoo", provenance.zoo),
    ("Published results", "results", provenance.results),
    ("Latencies of edge devices", "edge", provenance.edge),
    ("Devices, rooflines and energy", "devices", provenance.devices),
    ("References", "references", provenance.references),
)
for title, anchor, draw in SECTIONS:
    with layout.guarded():
        st.header(title, anchor=anchor)
        draw()
