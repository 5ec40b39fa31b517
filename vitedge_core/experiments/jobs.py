"""A long job is a process of its own; all that it and the page know of each other stands in the store.

A job is an Optuna study with these attributes: `job` (what it is and how to start it), `state`, one `worker ...` for
each process at work on it (its heartbeat with the progress, and how it ended), `worker` (the process that was started
and has not announced itself yet), and the wishes `cancel` and `pause`, written by others. So a job survives a reload of
the page and a restart of the app, a process that was killed is noticed by whoever looks next, and where a job can be
shared, several processes on several machines work on it and its state is told from all of them.
"""

from __future__ import annotations

import os
import re
import secrets
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import vitedge_core
from vitedge_core.errors import VitEdgeError
from vitedge_core.experiments.store import storage, stored, study
from vitedge_core.storage import data_folder

if TYPE_CHECKING:
    from optuna import Study

PROGRAM = (sys.executable, "-m", "vitedge_core")
SILENT_SECONDS = 120.0  # importing torch on a busy machine can take half of it


class State(StrEnum):
    """Where a job stands, in the word that is shown."""

    STARTING = "starting"
    RUNNING = "running"
    FINISHED = "finished"
    CANCELLED = "cancelled"
    PAUSED = "paused"
    FAILED = "failed"
    DIED = "stopped unexpectedly"


@dataclass(frozen=True, slots=True)
class Job:
    """A job as the store tells it. share: done, 0 to 1. seconds_left: None until there is something to go by.

    problem: the sentence that says why it failed or died; empty otherwise. workers: processes at work. pausable:
    whether it can be paused. cancelling, pausing: somebody wishes it.
    """

    name: str
    kind: str
    title: str
    state: State
    share: float = 0.0
    text: str = ""
    started: float = 0.0
    seconds_left: float | None = None
    problem: str = ""
    cancelling: bool = False
    workers: int = 0
    pausable: bool = False
    pausing: bool = False

    @property
    def active(self) -> bool:
        """Whether a process is at work on it."""
        return self.state in {State.STARTING, State.RUNNING}

    @property
    def resumable(self) -> bool:
        """Whether it can go on where it stopped."""
        return self.state in {State.CANCELLED, State.PAUSED, State.FAILED, State.DIED}


def new_name(kind: str) -> str:
    """A fresh name for a job, readable and sortable by time."""
    return f"{kind}-{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}"


def start(name: str, kind: str, title: str, arguments: Sequence[str], url: str | None = None) -> None:
    """Start `python -m vitedge_core ARGUMENTS` as a process that outlives this one.

    Raises:
        VitEdgeError: A process is already at work on this job, or the system refuses a new one.
    """
    if not re.fullmatch(r"[\w.-]{1,80}", name):
        raise VitEdgeError(f"A job's name has 1 to 80 letters, digits, dots and dashes; {name[:80]!r} has others.")
    home = study(name, url, create=True)
    if "job" in attributes(home) and status(name, url).active:
        raise VitEdgeError(f"{title} is already running.")
    with stored():
        home.set_user_attr("job", {"kind": kind, "title": title, "arguments": list(arguments), "started": time.time()})
        clear(home)
        home.set_user_attr("worker", heartbeat(0))
        home.set_user_attr("state", [State.STARTING, ""])
    pid = _launch([*PROGRAM, *arguments], _log(name))
    with stored():
        home.set_user_attr("worker", heartbeat(pid))


def clear(home: Study) -> None:
    """Forget the wishes of others and the processes of before."""
    for key in attributes(home):
        if key in {"cancel", "pause"}:
            home.set_user_attr(key, 0)
        elif is_worker(key):
            home.set_user_attr(key, {})


def is_worker(key: str) -> bool:
    """Whether an attribute of a study tells of a process."""
    return key == "worker" or key.startswith("worker ")


def workers(known: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The processes at work on a job by the attribute that tells of them, the one being started among them."""
    found = {key: worker for key, worker in known.items() if is_worker(key)}
    return {key: worker for key, worker in found.items() if worker and "end" not in worker and alive(worker)}


def resume(name: str, url: str | None = None) -> None:
    """Start a job again that was cancelled or died; it goes on where it stopped."""
    job = attributes(study(name, url))["job"]
    start(name, job["kind"], job["title"], job["arguments"], url)


def cancel(name: str, url: str | None = None) -> None:
    """Ask a job to stop; it does so within seconds and keeps what it has."""
    with stored():
        study(name, url).set_user_attr("cancel", time.time())


def pause(name: str, url: str | None = None) -> None:
    """Ask a job to stop at the next good moment, such as the end of the recipe it measures."""
    with stored():
        study(name, url).set_user_attr("pause", time.time())


def status(name: str, url: str | None = None) -> Job:
    """Where a job stands.

    Raises:
        VitEdgeError: There is no job of that name.
    """
    known = attributes(study(name, url))
    if "job" not in known:
        raise VitEdgeError(f"The study {name[:80]!r} is no job.")
    return _job(name, known)


def jobs(kind: str, url: str | None = None) -> tuple[Job, ...]:
    """All jobs of a kind, the newest first."""
    with stored():
        studies = storage(url).get_all_studies()
    found = [(s.study_name, s.user_attrs) for s in studies if s.user_attrs.get("job", {}).get("kind") == kind]
    return tuple(sorted((_job(*one) for one in found), key=lambda job: job.started, reverse=True))


def details(name: str, key: str, url: str | None = None) -> Any:
    """What the job's process kept under that key; None before it did."""
    return attributes(study(name, url)).get(f"detail {key}")


def attributes(home: Study) -> dict[str, Any]:
    """What the store knows of a study beside its trials."""
    with stored():
        return home.user_attrs


def _job(name: str, known: dict[str, Any]) -> Job:
    about, active = known["job"], workers(known)
    word, problem = known.get("state", [State.STARTING, ""])
    state = State(word)
    if state in {State.STARTING, State.RUNNING} and not active:
        state, problem = State.DIED, _last_words(name)
    telling = _telling(known, active if state is State.RUNNING else {})
    return Job(
        name, about["kind"], about["title"], state, float(telling.get("share", 0.0)), telling.get("text", ""),
        about["started"], _left(telling) if state is State.RUNNING and telling else None, problem,
        cancelling=bool(known.get("cancel")), workers=len(active.keys() - {"worker"}),
        pausable=any(worker.get("pausable") for worker in active.values()), pausing=bool(known.get("pause")),
    )  # fmt: skip


def _telling(known: dict[str, Any], active: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The process whose word on the progress is taken: of those at work, else of all, the one that is furthest."""
    told = [worker for worker in active.values() if "share" in worker]
    told = told or [worker for key, worker in known.items() if is_worker(key) and "share" in worker]
    return max(told, key=lambda worker: (worker["share"], worker["beat"]), default={})


def _left(worker: dict[str, Any]) -> float | None:
    """Seconds left, if the rest goes as fast as what this process has done so far."""
    gained = worker.get("share", 0.0) - (worker.get("first") or 0.0)
    elapsed = worker["beat"] - worker.get("since", worker["beat"])
    return elapsed * (1 - worker["share"]) / gained if gained > 0.01 and elapsed > 1 else None


def heartbeat(pid: int) -> dict[str, Any]:
    """The sign of life of a process on this machine; 0 is one that has no number yet."""
    return {"pid": pid, "host": socket.gethostname(), "beat": time.time()}


def own_key() -> str:
    """The attribute under which this process tells of itself."""
    return f"worker {socket.gethostname()} {os.getpid()}"


def alive(worker: dict[str, Any]) -> bool:
    """Whether the process still works: its heart beat lately and, on this machine, it exists."""
    if time.time() - worker.get("beat", 0.0) > SILENT_SECONDS:
        return False
    if worker["host"] != socket.gethostname() or not worker["pid"]:
        return True
    try:
        os.kill(worker["pid"], 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # somebody else's process, so it exists
        return True
    return True


def _launch(command: list[str], log: Path) -> int:
    """A process in a session of its own, with nothing of ours open."""
    home = Path(vitedge_core.__file__).parents[1]
    environment = {**os.environ, "VITEDGE_DATA": str(data_folder().resolve())}  # it starts in another folder
    try:
        with log.open("wb") as output:
            process = subprocess.Popen(  # noqa: S603  our own interpreter, a list of arguments, no shell
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
                cwd=home, env=environment,
            )  # fmt: skip
    except OSError as error:
        raise VitEdgeError(f"The job could not be started: {error.strerror}.") from error
    # a child that nobody waits for would stay in the process table and look alive
    threading.Thread(target=process.wait, daemon=True).start()
    return process.pid


def _log(name: str) -> Path:
    return data_folder("jobs") / f"{name}.log"


def _last_words(name: str) -> str:
    """The last line the process wrote, for instance when it could not even start."""
    log = _log(name)
    lines = log.read_text(errors="replace").split("\n") if log.exists() else []
    last = next((line.strip() for line in reversed(lines) if line.strip()), "")
    return last[:300] or "The process was killed, or the machine was restarted."
