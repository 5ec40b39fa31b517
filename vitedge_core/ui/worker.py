"""Background work of the pages: a bounded queue, one thread, results kept by key. Knows nothing of Streamlit.

Sessions that ask for the same key share one task; it is cancelled only when nobody wants it any more.
"""

from __future__ import annotations

import heapq
import itertools
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Hashable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from vitedge_core.errors import Cancelled, VitEdgeError

Report = Callable[[float, str], None]
Work = Callable[[Report, Callable[[], bool]], Any]


class Stage(StrEnum):
    """Where a task stands."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


def _over(report: Report, cancelled: Callable[[], bool]) -> None:
    """Stands where the work of a task stood that is over."""


@dataclass(eq=False)
class Task:
    """One computation: its worker writes progress and result into it, pages only read."""

    key: Hashable
    work: Work
    stage: Stage = Stage.WAITING
    fraction: float = 0.0
    text: str = "waiting for its turn"
    result: Any = None
    error: str = ""
    watchers: set[str] = field(default_factory=set)
    unwanted: threading.Event = field(default_factory=threading.Event)

    def drop(self) -> None:
        """Nobody wants it any more, and it has not begun."""
        self.stage, self.work = Stage.CANCELLED, _over

    @property
    def active(self) -> bool:
        """Whether a result may still come."""
        return self.stage in {Stage.WAITING, Stage.RUNNING}

    def report(self, fraction: float, text: str) -> None:
        """Progress, 0 to 1, and what is being done."""
        self.fraction, self.text = min(max(fraction, 0.0), 1.0), text

    def run(self) -> None:
        """Carry it out; a problem becomes its sentence. What the work holds, such as an upload, is let go."""
        if self.unwanted.is_set():
            self.drop()
            return
        self.stage = Stage.RUNNING
        work, self.work = self.work, _over
        try:
            self.result = work(self.report, self.unwanted.is_set)
            self.stage = Stage.DONE
        except Cancelled:
            self.stage = Stage.CANCELLED
        except VitEdgeError as error:
            self.error, self.stage = str(error), Stage.FAILED
        except Exception as error:  # noqa: BLE001  the thread must live on, and the page must say what happened
            self.error = f"Measuring failed: {type(error).__name__}: {str(error)[:300]}"
            self.stage = Stage.FAILED


class Worker:
    """One thread that carries out tasks, lowest `order` first, and remembers the last `keep` of them.

    A task starts `delay` seconds after it was asked for, so that a slider on its way starts nothing that it leaves
    at once.
    """

    def __init__(self, keep: int = 256, waiting: int = 32, delay: float = 0.3) -> None:
        self._tasks: OrderedDict[Hashable, Task] = OrderedDict()
        self._queue: list[tuple[int, int, float, Task]] = []
        self._keep, self._waiting, self._delay = keep, waiting, delay
        self._number = itertools.count()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def ask(self, key: Hashable, work: Work, watcher: str, order: int = 0) -> Task:
        """The task of that key: found, joined, or put into the queue.

        Raises:
            VitEdgeError: Too much is waiting already.
        """
        with self._changed:
            task = self._tasks.get(key)
            if task is None or task.stage is Stage.CANCELLED or (task.active and task.unwanted.is_set()):
                task = self._enqueue(Task(key, work), order)
            task.watchers.add(watcher)
            self._tasks.move_to_end(key)
            return task

    def find(self, key: Hashable) -> Task | None:
        """The task of that key, if anybody asked for it lately."""
        with self._changed:
            return self._tasks.get(key)

    def leave(self, watcher: str, *, but: Collection[Hashable] = ()) -> None:
        """The watcher wants nothing any more, except these keys; tasks that nobody wants are cancelled."""
        with self._changed:
            for key, task in self._tasks.items():
                if key not in but and watcher in task.watchers:
                    task.watchers.discard(watcher)
                    if task.active and not task.watchers:
                        task.unwanted.set()

    def forget(self, key: Hashable) -> None:
        """Drop a finished task, so that the next `ask` does it again."""
        with self._changed:
            task = self._tasks.get(key)
            if task is not None and not task.active:
                del self._tasks[key]

    def _enqueue(self, task: Task, order: int) -> Task:
        self._sweep()
        if len(self._queue) >= self._waiting:
            raise VitEdgeError("Too many measurements are waiting on this machine; try again in a minute.")
        heapq.heappush(self._queue, (order, next(self._number), time.monotonic() + self._delay, task))
        self._tasks[task.key] = task
        finished = [key for key, known in self._tasks.items() if not known.active]
        for key in finished[: max(0, len(self._tasks) - self._keep)]:
            del self._tasks[key]
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._serve, name="measuring", daemon=True)
            self._thread.start()
        self._changed.notify()
        return task

    def _sweep(self) -> None:
        """Take out of the queue what nobody wants any more."""
        for *_, task in self._queue:
            if task.unwanted.is_set():
                task.drop()
        self._queue = [entry for entry in self._queue if entry[-1].active]
        heapq.heapify(self._queue)

    def _serve(self) -> None:
        while True:
            self._next().run()

    def _next(self) -> Task:
        with self._changed:
            while True:
                self._sweep()
                wait = self._queue[0][2] - time.monotonic() if self._queue else None
                if wait is not None and wait <= 0:
                    return heapq.heappop(self._queue)[-1]
                self._changed.wait(wait)
