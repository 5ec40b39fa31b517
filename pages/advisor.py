"""Advisor: a target in, recipes out."""

import streamlit as st

from vitedge_core.experiments.advisor import Wish
from vitedge_core.ui import advisor, layout

layout.header("Advisor", "Say what the device may take; get the recipes that fit, and how surely they do.")
layout.first_start()

with layout.guarded():
    with st.container(border=True):
        limits = advisor.limits()
        runs, models = advisor.measured()
    advisor.answer(advisor.advised(runs, models, Wish(*limits)))
