"""The background worker: shared by key, cancelled when unwanted, alive after a failure."""

from __future__ import annotations

import threading
import time
import weakref

import pytest

from vitedge_core.errors import Cancelled, VitEdgeError
from vitedge_core.ui.worker import Stage, Worker


def wait(task, seconds: float = 5.0):
    deadline = time.monotonic() + seconds
    while task.active and time.monotonic() < deadline:
        time.sleep(0.005)
    return task


def gated(gate: threading.Event, result="done"):
    """Work that waits for the gate and minds cancellation."""

    def work(report, cancelled):
        while not gate.wait(0.005):
            if cancelled():
                raise Cancelled
        report(0.5, "half")
        return result

    return work


@pytest.fixture
def worker() -> Worker:
    return Worker(delay=0.0)


def test_a_key_is_computed_once_for_everybody(worker: Worker) -> None:
    runs = []
    work = lambda report, cancelled: runs.append(1) or "value"  # noqa: E731
    first = wait(worker.ask("key", work, "ann"))
    second = worker.ask("key", work, "bob")
    assert first is second
    assert (second.stage, second.result, len(runs)) == (Stage.DONE, "value", 1)


def test_a_task_is_cancelled_only_when_nobody_wants_it(worker: Worker) -> None:
    gate = threading.Event()
    task = worker.ask("key", gated(gate), "ann")
    worker.ask("key", gated(gate), "bob")
    worker.leave("ann")
    assert not task.unwanted.is_set()
    worker.leave("bob", but=("key",))
    assert not task.unwanted.is_set()
    worker.leave("bob")
    assert wait(task).stage is Stage.CANCELLED
    gate.set()
    again = wait(worker.ask("key", gated(gate), "ann"))
    assert again is not task
    assert again.result == "done"


def test_lower_order_goes_first(worker: Worker) -> None:
    gate, order = threading.Event(), []
    worker.ask("first", gated(gate), "ann")
    time.sleep(0.05)
    late = worker.ask("refine", lambda report, cancelled: order.append("refine"), "ann", order=2)
    quick = worker.ask("quick", lambda report, cancelled: order.append("quick"), "ann", order=0)
    gate.set()
    wait(late), wait(quick)
    assert order == ["quick", "refine"]


def test_a_moved_slider_leaves_no_work_behind() -> None:
    worker, runs = Worker(delay=0.2), []
    for position in range(5):
        worker.leave("ann")
        task = worker.ask(position, lambda report, cancelled, p=position: runs.append(p), "ann")
    wait(task)
    assert runs == [4]


def test_failures_become_sentences_and_the_thread_lives_on(worker: Worker) -> None:
    def known(report, cancelled):
        raise VitEdgeError("There is no teacher.")

    def bug(report, cancelled):
        raise ZeroDivisionError("division by zero")

    assert wait(worker.ask(1, known, "ann")).error == "There is no teacher."
    assert "ZeroDivisionError" in wait(worker.ask(2, bug, "ann")).error
    assert wait(worker.ask(3, lambda report, cancelled: 3, "ann")).result == 3


def test_the_queue_and_the_memory_are_bounded() -> None:
    worker, gate = Worker(keep=4, waiting=3, delay=0.0), threading.Event()
    running = worker.ask("running", gated(gate), "ann")
    time.sleep(0.05)
    for number in range(3):
        worker.ask(number, gated(gate), "ann")
    with pytest.raises(VitEdgeError, match="Too many"):
        worker.ask("one too many", gated(gate), "ann")
    gate.set()
    wait(running)
    for number in range(10, 30):
        wait(worker.ask(number, gated(gate), "ann"))
    assert len(worker._tasks) <= 5
    assert worker.find("running") is None


class Upload:
    """Something large that work holds."""


def held(worker: Worker, key: str, gate: threading.Event) -> weakref.ref[Upload]:
    upload = Upload()

    def work(report, cancelled):
        gate.wait(5)
        assert upload

    worker.ask(key, work, "ann")
    return weakref.ref(upload)


def test_what_work_holds_goes_with_it_whether_it_was_done_or_given_up(worker: Worker) -> None:
    gate = threading.Event()
    first, second = held(worker, "first", gate), held(worker, "second", gate)
    time.sleep(0.05)
    assert first() is not None
    worker.leave("ann", but=("first",))
    gate.set()
    end = time.monotonic() + 5
    while (first() or second()) and time.monotonic() < end:
        time.sleep(0.01)
    assert (first(), second()) == (None, None)
    assert [worker.find(key).stage for key in ("first", "second")] == [Stage.DONE, Stage.CANCELLED]


def test_progress_is_kept_between_nought_and_one(worker: Worker) -> None:
    gate = threading.Event()

    def work(report, cancelled):
        report(7.0, "too much")
        gate.wait(2)

    task = worker.ask("key", work, "ann")
    time.sleep(0.05)
    assert (task.fraction, task.text) == (1.0, "too much")
    gate.set()
    assert wait(task).stage is Stage.DONE
