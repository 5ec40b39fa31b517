"""The Distil page: choose, start, watch, cancel, reload, keep the student."""

from __future__ import annotations

import os
import subprocess
import time

import pytest
from streamlit.testing.v1 import AppTest

from vitedge_core.datasets import wild_digits
from vitedge_core.datasets.sets import DigitImages
from vitedge_core.experiments import distil, distil_job, jobs
from vitedge_core.experiments.jobs import State
from vitedge_core.experiments.lesson import Settings
from vitedge_core.models import own
from vitedge_core.models.build import build
from vitedge_core.models.checkpoint import save_own

TIMEOUT = 120


@pytest.fixture(scope="module")
def teacher():
    name = save_own(build("digits_convnet"), "digits_convnet", "Page teacher", task="digits").name
    yield name
    own.forget(name)


@pytest.fixture(scope="module")
def finished(teacher):
    """A whole lesson, carried out in this process on a few images."""
    few = wild_digits.load("test", 100)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DigitImages, "_pixels", lambda self: few)
        patch.setattr(distil, "HELD_OUT", 50)
        result = distil_job.run_job(Settings(teacher, teacher, images=64, seconds=600), "distil-page-finished")
    yield "distil-page-finished", result
    own.forget(result.model)


def page(job: str = "") -> AppTest:
    app = AppTest.from_file("../../app.py", default_timeout=TIMEOUT)
    if job:
        app.query_params["job"] = job
    app.run()
    app.switch_page("pages/distil.py").run()
    assert not app.exception
    return app


def said(app: AppTest) -> str:
    texts = [*app.markdown, *app.caption, *app.error, *app.info, *app.warning, *app.subheader]
    return "\n".join(text.value for text in texts)


def test_it_says_what_it_is_for_and_offers_what_there_is(teacher):
    app = page()
    assert "what the teacher is worth" in said(app)
    assert teacher in app.selectbox(key="teacher").options or "Page teacher" in app.selectbox(key="teacher").options
    assert app.selectbox(key="student").value == "digits_vit_small"
    assert not app.button(key="begin").disabled
    assert not app.error


def test_without_a_teacher_it_says_so(monkeypatch):
    monkeypatch.setattr(distil_job, "teachers", lambda: ())
    assert "make train" in said(page())


@pytest.fixture
def launched(monkeypatch):
    """What was started, while nothing is."""
    commands = []
    monkeypatch.setattr(jobs, "_launch", lambda command, log: commands.append(command) or os.getpid())
    return commands


def begin(app: AppTest, teacher: str) -> str:
    """Start a lesson with what stands on the page; the job's name."""
    app.selectbox(key="teacher").select(teacher)
    app.segmented_control(key="start").set_value("scratch")
    app.slider(key="temperature").set_value(4.0)
    app.run()
    app.button(key="begin").click().run()
    assert not app.exception
    job = app.query_params["job"]
    return job if isinstance(job, str) else job[0]


def test_start_cancel_and_reload(teacher, launched):
    app = page()
    job = begin(app, teacher)
    (command,) = launched
    assert command[2:4] == ["vitedge_core", "distil"]
    told = dict(zip(command[4::2], command[5::2], strict=True))
    assert told["--teacher"] == teacher
    assert told["--temperature"] == "4.0"
    assert told["--start"] == "scratch"
    assert told["--job"] == job
    assert app.button(key="begin").disabled

    again = page(job)  # the page is reloaded: nothing but the address is left
    assert "Digits ViT small taught by" in said(again)
    again.button(key=f"cancel-{job}").click().run()
    assert jobs.status(job).cancelling


def test_two_sessions_do_not_see_each_others_lesson(teacher, launched):
    begin(page(), teacher)
    assert "start: the curves of both runs appear here" in said(page())


def test_a_process_that_died_is_noticed(teacher, monkeypatch):
    ended = subprocess.Popen(["true"])
    ended.wait()
    monkeypatch.setattr(jobs, "_launch", lambda command, log: ended.pid)
    app = page()
    job = begin(app, teacher)
    assert jobs.status(job).state is State.DIED
    assert "ended early and left no student" in said(page(job))
    assert not page(job).button(key="begin").disabled


def test_the_result_and_its_way_into_build(finished):
    job, result = finished
    app = page(job)
    assert len(app.get("plotly_chart")) == 1
    labels = [metric.label for metric in app.metric]
    assert labels == ["Teacher", "Student before", "After, without teacher", "After, with teacher"]
    assert result.verdict in said(app)
    assert result.model in said(app)
    app.segmented_control(key="axis").set_value("seconds").run()
    assert not app.exception
    app.button(key="use").click().run()
    assert not app.exception
    assert app.session_state["recipe"].model == result.model


def test_lessons_so_far_can_be_opened(finished):
    job, result = finished
    app = page()
    app.selectbox(key="lesson").select(job).run()
    assert result.verdict in said(app)


@pytest.mark.parametrize("job", ["distil-never-was", "../../etc/passwd", "x" * 5000, "' or 1=1"])
def test_a_link_to_no_lesson_is_one_sentence(job):
    app = page(job)
    assert len(app.error) == 1
    assert "There is no study" in app.error[0].value
    assert app.selectbox(key="student")


def test_a_student_without_weights_is_refused_in_a_sentence(teacher, launched, monkeypatch):
    monkeypatch.setattr("vitedge_core.models.load.has_weights", lambda name: name == teacher)
    app = page()
    app.button(key="begin").click().run()
    assert "digits_vit_small has no weights trained on the digits here; let it start from scratch." in said(app)
    assert not launched
    assert app.selectbox(key="student")


@pytest.mark.slow
def test_a_real_process_gives_a_real_student(teacher):
    job = distil_job.start(Settings(teacher, "digits_convnet", seconds=2, start="scratch"))
    until = time.monotonic() + 300
    while jobs.status(job).active and time.monotonic() < until:
        time.sleep(1)
    lesson = distil_job.lesson(job)
    assert lesson.job.state is State.FINISHED, lesson.job.problem
    assert "After, with teacher" in [metric.label for metric in page(job).metric]
    own.forget(lesson.result.model)
