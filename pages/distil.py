"""Distil: train a small model with and without the help of a trained one, watch both, and keep the student."""

import streamlit as st

from vitedge_core.experiments.distil_job import KIND
from vitedge_core.ui import jobs, layout, lessons, state

layout.header(
    "Distil",
    "A trained teacher does not only say which digit it sees, but how likely every other one would be. Here a student "
    "learns twice from the same images, with and without those answers, so that you see what the teacher is worth.",
)
layout.first_start()

name = state.job(KIND)
busy = lessons.running(name)


def board() -> bool:
    """The lesson in the address, or in its place the problem with it."""
    with layout.guarded():
        return lessons.board(name)
    return False


if name:
    jobs.live(board, active=busy)
else:
    layout.empty("school", "Choose a teacher and a student, and start: the curves of both runs appear here.")

with st.sidebar, layout.guarded():
    lessons.begin(lessons.choose(), busy=busy)
    lessons.earlier(name)
