"""Jobs: their only channel is the store, and whoever looks sees what became of them."""

import os
import signal
import sys
import time

import pytest

from vitedge_core.errors import Cancelled, VitEdgeError
from vitedge_core.experiments import jobs, store, worker
from vitedge_core.experiments.jobs import State, cancel, details, resume, start, status
from vitedge_core.experiments.worker import working

SCRIPT = """
import sys, time
sys.path.insert(0, {root!r})
from vitedge_core.errors import Cancelled
from vitedge_core.experiments import worker
worker.BEAT_SECONDS = 0.1
with worker.working(sys.argv[1], "test", "A test", {url!r}) as job:
    job.report(0.25, "a quarter")
    while not job.cancelled():
        time.sleep(0.02)
    raise Cancelled
"""


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path / 'runs.db'}"


@pytest.fixture
def program(tmp_path, url, monkeypatch, pytestconfig):
    """In place of our own command line, a job that works until it is cancelled."""
    path = tmp_path / "program.py"
    path.write_text(SCRIPT.format(root=str(pytestconfig.rootpath), url=url))
    monkeypatch.setattr(jobs, "PROGRAM", (sys.executable, str(path)))
    return path


def wait_for(url, wanted, seconds=60):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        job = status("one", url)
        if wanted(job):
            return job
        time.sleep(0.05)
    raise AssertionError(f"waited in vain; the job is {status('one', url)}")


def pid(url):
    return jobs.attributes(store.study("one", url))["worker"]["pid"]


def test_start_cancel_resume_kill(program, url):
    start("one", "test", "A test", ["one"], url)
    assert status("one", url).active
    job = wait_for(url, lambda job: job.share == 0.25)
    assert (job.state, job.text, job.title) == (State.RUNNING, "a quarter", "A test")
    assert os.getsid(pid(url)) != os.getsid(0)  # closing our terminal does not end it
    with pytest.raises(VitEdgeError, match="already running"):
        resume("one", url)

    cancel("one", url)
    job = wait_for(url, lambda job: not job.active)
    assert (job.state, job.resumable, job.problem) == (State.CANCELLED, True, "")

    resume("one", url)
    wait_for(url, lambda job: job.state is State.RUNNING)
    os.kill(pid(url), signal.SIGKILL)
    job = wait_for(url, lambda job: not job.active)
    assert (job.state, job.resumable) == (State.DIED, True)
    assert "killed" in job.problem
    assert [job.name for job in jobs.jobs("test", url)] == ["one"]
    assert jobs.jobs("other", url) == ()


def test_a_process_that_cannot_start_leaves_its_last_words(program, url):
    program.write_text("raise SystemExit('no such thing as a job')")
    start("one", "test", "A test", ["one"], url)
    job = wait_for(url, lambda job: not job.active)
    assert job.state is State.DIED
    assert job.problem == "no such thing as a job"


def test_kill_asks_for_an_orderly_end(program, url):
    start("one", "test", "A test", ["one"], url)
    wait_for(url, lambda job: job.state is State.RUNNING)
    os.kill(pid(url), signal.SIGTERM)
    assert wait_for(url, lambda job: not job.active).state is State.CANCELLED


def test_how_it_ended_is_written_down(url):
    with working("one", "test", "A test", url) as job:
        job.report(0.5, "half")
        job.keep("curve", [1, 2])
    assert status("one", url).state is State.FINISHED
    assert status("one", url).share == 0.5
    assert details("one", "curve", url) == [1, 2]
    assert details("one", "none", url) is None

    with pytest.raises(VitEdgeError), working("one", "test", "A test", url):
        raise VitEdgeError("Too large.")
    assert (status("one", url).state, status("one", url).problem) == (State.FAILED, "Too large.")

    with pytest.raises(ZeroDivisionError), working("one", "test", "A test", url):
        _ = 1 / 0
    assert status("one", url).problem == "ZeroDivisionError: division by zero"

    with pytest.raises(Cancelled), working("one", "test", "A test", url):
        raise Cancelled
    assert status("one", url).state is State.CANCELLED


def test_only_one_process_at_a_time(url, monkeypatch):
    with working("one", "test", "A test", url):
        monkeypatch.setattr(worker.os, "getpid", lambda: 1)
        with pytest.raises(VitEdgeError, match="already at work"), working("one", "test", "A test", url):
            pass
        monkeypatch.undo()


def test_silence_is_death(url, monkeypatch):
    """A process on another machine cannot be asked; its heart must beat."""
    with working("one", "test", "A test", url):
        monkeypatch.setattr(jobs.socket, "gethostname", lambda: "elsewhere")
        assert status("one", url).state is State.RUNNING
        monkeypatch.setattr(jobs, "SILENT_SECONDS", -1.0)
        assert status("one", url).state is State.DIED


def test_time_left():
    left = jobs._left
    assert left({"beat": 100.0, "since": 0.0, "share": 0.5, "first": 0.0}) == 100.0
    # half was there before this process began: its own pace counts
    assert left({"beat": 100.0, "since": 0.0, "share": 0.75, "first": 0.5}) == 100.0
    assert left({"beat": 100.0, "since": 0.0, "share": 0.0, "first": None}) is None


def test_names(url):
    assert jobs.new_name("sweep") != jobs.new_name("sweep")
    with pytest.raises(VitEdgeError, match="name"):
        start("../../etc", "test", "A test", [], url)
    with pytest.raises(VitEdgeError, match="no study"):
        status("absent", url)
    store.study("plain", url, create=True)
    with pytest.raises(VitEdgeError, match="no job"):
        status("plain", url)
