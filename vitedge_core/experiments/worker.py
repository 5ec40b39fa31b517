"""A job seen from inside a process: it announces itself, tells how far it is, and listens for a wish to stop."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from vitedge_core.errors import Cancelled, VitEdgeError
from vitedge_core.experiments.jobs import State, attributes, clear, heartbeat, own_key, workers
from vitedge_core.experiments.store import stored, study

if TYPE_CHECKING:
    from optuna import Study

BEAT_SECONDS = 2.0


class Worker:
    """The process of a job, or one of several. Its methods may be called from any thread."""

    def __init__(self, study: Study, *, pausable: bool = False) -> None:
        self.study = study
        self.key = own_key()
        self._pausable, self._left_early = pausable, False
        self._since = time.time()
        self._progress: dict[str, Any] = {"share": 0.0, "text": "", "first": None}
        self._stop, self._pause = threading.Event(), threading.Event()
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

    def pausing(self) -> bool:
        """Whether somebody wishes the job to pause; costs nothing."""
        return self._pause.is_set()

    def keep(self, key: str, value: Any) -> None:
        """Store a value of plain JSON under the job, such as a curve; `jobs.details` reads it."""
        with stored():
            self.study.set_user_attr(f"detail {key}", value)

    @property
    def paused(self) -> bool:
        """Whether the work was left before it was done, because somebody wished a pause."""
        return self._left_early

    def leave(self) -> None:
        """Say that the work is left as somebody wished a pause."""
        self._left_early = True

    def beat(self, ended: Sequence[str] = ()) -> None:
        """Write the heartbeat with the progress, or how it ended, and read the wishes of others."""
        told: dict[str, Any] = {**heartbeat(os.getpid()), **self._progress, "since": self._since}
        with stored():
            self.study.set_user_attr(
                self.key, {**told, "pausable": self._pausable, **({"end": list(ended)} if ended else {})}
            )
            wishes = self.study.user_attrs
        if wishes.get("cancel"):
            self.stop()
        if wishes.get("pause") and self._pausable:
            self._pause.set()

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
    name: str, kind: str, title: str, url: str | None = None, *, arguments: Sequence[str] = (), shared: bool = False
) -> Iterator[Worker]:
    """Be the process of the job `name`, or one of its processes, and write down how it ended.

    Args:
        name: Of its study.
        kind: Such as "sweep".
        title: For people.
        url: Of the store.
        arguments: Of the command line that goes on with it, for a job that no page started.
        shared: Whether other processes may be at work on it, too; such a job can be paused.

    Raises:
        VitEdgeError: Another process is at work on a job that is not shared.
    """
    worker = Worker(study(name, url, create=True), pausable=shared)
    known = attributes(worker.study)
    others = _others(known)
    if others and not shared:
        one = next(iter(others.values()))
        raise VitEdgeError(f"Process {one['pid']} on {one['host']} is already at work on {name}; cancel it first.")
    with stored():
        if not others and known.get("state", [""])[0] != State.STARTING:
            clear(worker.study)  # typed by hand: a wish to stop was meant for those before
        if "job" not in known:  # typed by hand, without a page
            about = {"kind": kind, "title": title, "arguments": list(arguments), "started": time.time()}
            worker.study.set_user_attr("job", about)
        worker.study.set_user_attr("state", [State.RUNNING, ""])
    ended = [State.FINISHED, ""]
    try:
        with _signals(worker.stop), worker.alive():
            yield worker
        if worker.paused:
            ended = [State.PAUSED, ""]
    except Cancelled:
        ended = [State.CANCELLED, ""]
        raise
    except BaseException as error:
        ended = [State.FAILED, _sentence(error)]
        raise
    finally:
        _sign_off(worker, ended)


def _others(known: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The other processes at work on the job; what was started and has no number yet is this one."""
    return {key: worker for key, worker in workers(known).items() if worker["pid"] not in {0, os.getpid()}}


def _sign_off(worker: Worker, ended: Sequence[str]) -> None:
    """Write down how this process ended; the job ended so, too, unless others go on with it."""
    worker.beat(ended)
    with stored():
        if ended[0] == State.FINISHED or not _others(worker.study.user_attrs):
            worker.study.set_user_attr("state", list(ended))


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
