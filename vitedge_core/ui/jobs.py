"""A job on a page: how far it is, how to stop it, how to go on. The store is asked, never the process."""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st

from vitedge_core.errors import VitEdgeError
from vitedge_core.evidence import Evidence, Quantity
from vitedge_core.experiments import jobs
from vitedge_core.experiments.jobs import Job, State
from vitedge_core.text.human import duration
from vitedge_core.ui import state

POLL = 1.5  # seconds between two looks into the store
_PROBLEMS = {
    State.FAILED: "It failed",
    State.DIED: "It stopped unexpectedly",
    State.CANCELLED: "It was cancelled",
    State.PAUSED: "It is paused",
}


def live(draw: Callable[[], bool], *, active: bool) -> None:
    """Draw a part of the page, and again every moment while a job is active; then the whole page once more.

    Args:
        draw: Draws, and says whether a job is still active.
        active: Whether one is now.
    """

    def again() -> None:
        if draw() != active:
            st.rerun()

    st.fragment(again, run_every=POLL if active else None)()


def newest(kind: str) -> Job | None:
    """The job of that kind that was started last."""
    return next(iter(jobs.jobs(kind)), None)


def card(job: Job) -> None:
    """Progress, time left, and the button that fits the state; one line when it is finished."""
    if job.state is State.FINISHED:
        st.caption(f":material/check_circle: {job.title}. {job.text}.")
        return
    with st.container(border=True, gap="small"):
        with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
            st.markdown(f"**{job.title}** :small[:gray[{_when(job)}]]")
            with st.container(horizontal=True, width="content"):
                _buttons(job)
        if job.active:
            st.progress(min(max(job.share, 0.0), 1.0), text=job.text or "Starting; PyTorch takes some seconds to load")
        elif job.state in _PROBLEMS:
            reason = f": {job.problem}" if job.problem else ""
            st.caption(f":material/pause_circle: {_PROBLEMS[job.state]}{reason}. What it measured is kept.")


def _buttons(job: Job) -> None:
    if job.active:
        if job.pausable:
            st.button(
                "Pausing" if job.pausing else "Pause", key=f"pause-{job.name}", icon=":material/pause:",
                disabled=job.pausing or job.cancelling, on_click=_attempt, args=(jobs.pause, job.name),
                help="Stops after the recipe it is at; nothing is lost.",
            )  # fmt: skip
        label = "Cancelling" if job.cancelling else "Cancel"
        st.button(
            label, key=f"cancel-{job.name}", icon=":material/stop:", disabled=job.cancelling,
            on_click=_attempt, args=(jobs.cancel, job.name),
        )  # fmt: skip
    elif job.resumable:
        st.button(
            "Resume", key=f"resume-{job.name}", icon=":material/play_arrow:", on_click=_attempt,
            args=(jobs.resume, job.name), help="Goes on where it stopped; nothing is measured twice.",
        )  # fmt: skip


def _attempt(action: Callable[[str], None], name: str) -> None:
    try:
        action(name)
    except VitEdgeError as error:
        state.notice(str(error))


def _when(job: Job) -> str:
    at_work = f"{job.workers} processes" if job.workers > 1 else ""
    if job.seconds_left is None:
        return at_work
    left = Quantity(job.seconds_left, "s", Evidence.PREDICTED, "the pace so far")
    return f"about {duration(left)} left{', ' if at_work else ''}{at_work}"
