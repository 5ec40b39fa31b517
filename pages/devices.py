"""Edge devices: what the current recipe takes on named devices, and whether that fits a budget."""

import streamlit as st

from vitedge_core.ui import boards, edge_devices, layout

layout.header("Edge devices", "How fast is it on a real device? Predicted from published measurements, with its error.")
layout.first_start()

with layout.guarded():
    planned = layout.planned_recipe()
    targets, budget = edge_devices.choice()
    rows = edge_devices.rows(planned, targets)
    edge_devices.verdict(planned, rows, budget)
    edge_devices.table(rows, budget)
    edge_devices.chart(rows, budget)
    edge_devices.counter_examples(rows)
with layout.guarded():
    st.subheader("How well is that known?", anchor=False)
    edge_devices.agreement(targets)
with layout.guarded():
    boards.section()
