"""The parts of the Distil page: what to choose, how a lesson goes, and what came of it."""

from __future__ import annotations

import time

import streamlit as st

from vitedge_core.errors import VitEdgeError
from vitedge_core.experiments import distil_job, jobs
from vitedge_core.experiments.distil_job import KIND, Lesson
from vitedge_core.experiments.lesson import SCRATCH, WEIGHTS, Result, Settings
from vitedge_core.plots.distil import AXES, curves, table
from vitedge_core.ui import quantity, state
from vitedge_core.ui.jobs import card as job_card

STUDENT = "digits_vit_small"
TIMES = {30: "30 s", 60: "1 min", 120: "2 min", 300: "5 min", 600: "10 min", 1200: "20 min", 3600: "1 h"}
STARTS = {WEIGHTS: "from its weights", SCRATCH: "from nothing"}


def choose() -> Settings:
    """The controls.

    Raises:
        VitEdgeError: There is nobody who could teach.
    """
    teachers = {card.name: card.title for card in distil_job.teachers()}
    if not teachers:
        raise VitEdgeError("No trained model is here that could teach; `make train` makes the bundled ones.")
    students = {card.name: card.title for card in distil_job.students()}
    teacher = st.selectbox(
        "Teacher", teachers, key="teacher", format_func=lambda name: teachers.get(name) or str(name),
        help="A model that was trained on the digits.", persist_state="session",
    )  # fmt: skip
    student = st.selectbox(
        "Student", students, index=list(students).index(STUDENT), key="student", accept_new_options=True,
        format_func=lambda name: students.get(name) or str(name), persist_state="session",
        help="You can also type the name of a small timm classifier; it then learns from nothing.",
    )  # fmt: skip
    start = st.segmented_control(
        "The student starts", list(STARTS), default=WEIGHTS, required=True, key="start",
        format_func=STARTS.__getitem__, persist_state="session",
    )  # fmt: skip
    temperature = st.slider(
        "Temperature", 1.0, 20.0, 2.0, 0.5, key="temperature", persist_state="session",
        help="The higher, the more the student looks at answers that the teacher finds unlikely.",
    )  # fmt: skip
    weight = st.slider(
        "Teacher's share", 0.0, 1.0, 0.7, 0.05, key="weight", persist_state="session",
        help="How much of what is learned comes from the teacher; the labels give the rest.",
    )  # fmt: skip
    seconds = st.select_slider(
        "Training time", list(TIMES), 120, key="seconds", format_func=TIMES.__getitem__, persist_state="session",
        help="Of the two runs together.",
    )  # fmt: skip
    return Settings(teacher, student or "", temperature, weight, seconds, start)


def begin(settings: Settings, *, busy: bool) -> None:
    """The button that starts the lesson and shows it."""
    if st.button("Start", key="begin", type="primary", icon=":material/school:", disabled=busy, width="stretch"):
        state.show_job(KIND, distil_job.start(settings))
        st.rerun()


def earlier(shown: str) -> None:
    """Lessons that were given before; choosing one shows it."""
    known = {job.name: f"{_when(job.started)} {job.title}, {job.state}" for job in jobs.jobs(KIND)}
    if not known:
        return
    state.fill("lesson", shown if shown in known else None)
    st.selectbox(
        "Lessons so far", known, index=None, key="lesson", placeholder="choose one", format_func=known.__getitem__,
        on_change=lambda: state.show_job(KIND, state.widget("lesson") or shown),
    )  # fmt: skip


def _when(started: float) -> str:
    return time.strftime("%d %b %H:%M", time.localtime(started))


def running(name: str) -> bool:
    """Whether a process is at work on the lesson of that name."""
    return any(job.name == name and job.active for job in jobs.jobs(KIND))


def board(name: str) -> bool:
    """A lesson as it stands; says whether a process is at work on it.

    Raises:
        VitEdgeError: There is no lesson of that name.
    """
    lesson = distil_job.lesson(name)
    if lesson.job.active:
        job_card(lesson.job)
    else:
        st.subheader(lesson.job.title, anchor=False)
        _ended(lesson)
    _learning(lesson)
    if lesson.result:
        _card(lesson.result)
    return lesson.job.active


def _ended(lesson: Lesson) -> None:
    """How a lesson ended that left no student."""
    if lesson.job.problem:
        st.error(f"This lesson ended early and left no student. {lesson.job.problem}", icon=":material/error:")
    elif lesson.result is None:
        st.info("This lesson was cancelled and left no student.", icon=":material/info:")


def _learning(lesson: Lesson) -> None:
    """The curves of both runs."""
    if not lesson.points:
        return
    axis = st.segmented_control(
        "Along", list(AXES), default="images", required=True, key="axis", format_func=AXES.__getitem__
    )
    last = {point.arm: f"{point.top1:.0%} {point.arm}" for point in lesson.points}
    alt = f"Share right of held-out images as two students learn; at the end {' and '.join(last.values())}."
    quantity.chart(curves(lesson.points, axis), table(lesson.points), "curves", alt)


def _card(result: Result) -> None:
    """What the test images say, and what can be done with the student."""
    st.subheader("On the test images", anchor=False)
    told = [
        ("Teacher", result.teacher, None, None),
        ("Student before", result.before, None, None),
        ("After, without teacher", result.alone, result.before, None),
        ("After, with teacher", result.taught, result.alone, result.gain),
    ]
    shown = [(label, value, *rest) for label, value, *rest in told if value is not None]
    for column, (label, value, baseline, gain) in zip(st.columns(len(shown)), shown, strict=True):
        with column:
            quantity.metric(label, value, baseline, key=f"lesson-{label}", higher_is_better=True, difference=gain)
    st.markdown(f"**{result.verdict}** The student with the teacher is kept as `{result.model}`.")
    if st.button("Use this student in Build", key="use", type="primary", icon=":material/tune:"):
        state.set_model(result.model)
        st.switch_page("pages/build.py")
