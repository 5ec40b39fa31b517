"""Distil: train a small model with and without the help of a trained one, watch both, and keep the student."""

import streamlit as st

from vitedge_core.experiments import distil_job, jobs
from vitedge_core.ui import layout, lessons, state

POLL_SECONDS = 2


def board(name: str, *, live: bool) -> None:
    """The lesson as it stands; while it is live, it is drawn anew every few seconds."""
    with layout.guarded():
        lesson = distil_job.lesson(name)
        if live and not lesson.job.active:
            st.rerun()
        st.subheader(lesson.job.title, anchor=False)
        lessons.progress(lesson)
        lessons.learning(lesson)
        if lesson.result:
            lessons.card(lesson.result)


layout.header(
    "Distil",
    "A trained teacher does not only say which digit it sees, but how likely every other one would be. Here a student "
    "learns twice from the same images, with and without those answers, so that you see what the teacher is worth.",
)
layout.first_start()

name, busy = state.job(distil_job.KIND), False
with layout.guarded():
    busy = bool(name) and jobs.status(name).active
    if name:
        st.fragment(board, run_every=POLL_SECONDS if busy else None)(name, live=busy)
    else:
        layout.empty("school", "Choose a teacher and a student, and start: the curves of both runs appear here.")
with st.sidebar, layout.guarded():
    lessons.begin(lessons.choose(), busy=busy)
    lessons.earlier(name)
