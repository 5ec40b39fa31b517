"""A job seen from inside its process: it announces itself, tells how far it is, and listens for a wish to stop."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from vitedge_core.errors import Cancelled, VitEdgeError
from vitedge_core.experiments.jobs import State, alive, attributes, heartbeat
from vitedge_core.experiments.store import stored, study

if TYPE_CHECKING:
    from optuna import Study

BEAT_SECONDS = 2.0


class Worker:
    """The process of a job. Its methods may be called from any thread."""

    def __init__(self, study: Study) -> None:
        self.study = study
        self._since = time.time()
        self._progress: dict[str, Any] = {"share": 0.0, "text": "", "first": None}
        self._stop = threading.Event()
        self._over = threading.Event()

    def report(self, share: float, text: str) -> None:
        """Tell where the job stands, 0 to 1 and a sentence; it reaches the store with the next heartbeat."""
        first = self._progress["first"]
        self._progress = {"share": share, "text": text, "first": share if first is None else first}

    def stop(self) -> None:
        """Wish the job to stop."""
        self._stop.set()

    def cancelled(self) -> bool:
        """Whether somebody wishes the job to stop; costs nothing."""
        return self._stop.is_set()

    def keep(self, key: str, value: Any) -> None:
        """Store a value of plain JSON under the job, such as a curve; `jobs.details` reads it."""
        with stored():
            self.study.set_user_attr(f"detail {key}", value)

    def beat(self) -> None:
        """Write the heartbeat with the progress, and read the wish to stop."""
        with stored():
            self.study.set_user_attr("worker", {**heartbeat(os.getpid()), **self._progress, "since": self._since})
            if self.study.user_attrs.get("cancel"):
                self.stop()

    @contextmanager
    def alive(self) -> Iterator[None]:
        """Beat in the background for the time of a block."""
        self.beat()
        heart = threading.Thread(target=self._beat_on, daemon=True)
        heart.start()
        try:
            yield
        finally:
            self._over.set()
            heart.join()
            self.beat()

    def _beat_on(self) -> None:
        while not self._over.wait(BEAT_SECONDS):
            try:
                self.beat()
            except VitEdgeError:  # the store is away for a moment: the work goes on
                continue


@contextmanager
def working(
    name: str, kind: str, title: str, url: str | None = None, *, arguments: Sequence[str] = ()
) -> Iterator[Worker]:
    """Be the process of the job `name`, and write down how it ended.

    Args:
        name: Of its study.
        kind: Such as "sweep".
        title: For people.
        url: Of the store.
        arguments: Of the command line that goes on with it, for a job that no page started.

    Raises:
        VitEdgeError: Another process is at work on it.
    """
    worker = Worker(study(name, url, create=True))
    known = attributes(worker.study)
    _refuse_a_second(name, known)
    with stored():
        if "job" not in known:  # typed by hand, without a page
            about = {"kind": kind, "title": title, "arguments": list(arguments), "started": time.time()}
            worker.study.set_user_attr("job", about)
        worker.study.set_user_attr("state", [State.RUNNING, ""])
    ended = [State.FINISHED, ""]
    try:
        with _signals(worker.stop), worker.alive():
            yield worker
    except Cancelled:
        ended = [State.CANCELLED, ""]
        raise
    except BaseException as error:
        ended = [State.FAILED, _sentence(error)]
        raise
    finally:
        with stored():
            worker.study.set_user_attr("state", ended)


def _refuse_a_second(name: str, known: dict[str, Any]) -> None:
    other = known.get("worker", {})
    active = known.get("state", [""])[0] in {State.STARTING, State.RUNNING}
    if active and other.get("pid", 0) not in {0, os.getpid()} and alive(other):
        raise VitEdgeError(f"Process {other['pid']} on {other['host']} is already at work on {name}; cancel it first.")


def _sentence(error: BaseException) -> str:
    return str(error) if isinstance(error, VitEdgeError) else f"{type(error).__name__}: {error}"[:500]


@contextmanager
def _signals(stop: Callable[[], None]) -> Iterator[None]:
    """Ctrl-C and `kill` ask for an orderly end, as the page's cancel does."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, lambda *_: stop()) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
