"""Runs: everything that was measured, found again, compared, tagged, deleted, taken away and brought in."""

import streamlit as st

from vitedge_core.ui import layout, run_compare, run_import, runs

layout.header("Runs", "Everything that was measured is kept here: find it, compare it, take it with you.")
layout.first_start()

with layout.guarded():
    chosen = runs.section()
    run_compare.section(chosen)
with layout.guarded(), st.container(key="runs-import"):
    run_import.section()
