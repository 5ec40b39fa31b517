"""A long job is a process of its own; all that it and the page know of each other stands in the store.

A job is an Optuna study with four attributes: `job` (what it is and how to start it), `state`, `worker` (the process
and its heartbeat, with the progress) and `cancel` (a wish, written by others). So it survives a reload of the page and
a restart of the app, and a process that was killed is noticed by whoever looks next.
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
    FAILED = "failed"
    DIED = "stopped unexpectedly"


@dataclass(frozen=True, slots=True)
class Job:
    """A job as the store tells it. share: done, 0 to 1. seconds_left: None until there is something to go by.

    problem: the sentence that says why it failed or died; empty otherwise.
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

    @property
    def active(self) -> bool:
        """Whether a process is at work on it."""
        return self.state in {State.STARTING, State.RUNNING}

    @property
    def resumable(self) -> bool:
        """Whether it can go on where it stopped."""
        return self.state in {State.CANCELLED, State.FAILED, State.DIED}


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
        home.set_user_attr("cancel", 0)
        home.set_user_attr("worker", heartbeat(0))
        home.set_user_attr("state", [State.STARTING, ""])
    pid = _launch([*PROGRAM, *arguments], _log(name))
    with stored():
        if "share" not in attributes(home)["worker"]:  # else the process has already announced itself
            home.set_user_attr("worker", heartbeat(pid))


def resume(name: str, url: str | None = None) -> None:
    """Start a job again that was cancelled or died; it goes on where it stopped."""
    job = attributes(study(name, url))["job"]
    start(name, job["kind"], job["title"], job["arguments"], url)


def cancel(name: str, url: str | None = None) -> None:
    """Ask a job to stop; it does so within seconds and keeps what it has."""
    with stored():
        study(name, url).set_user_attr("cancel", time.time())


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
    about, worker = known["job"], known.get("worker", {})
    word, problem = known.get("state", [State.STARTING, ""])
    state = State(word)
    if state in {State.STARTING, State.RUNNING} and not alive(worker):
        state, problem = State.DIED, _last_words(name)
    share = float(worker.get("share", 0.0))
    return Job(
        name, about["kind"], about["title"], state, share, worker.get("text", ""), about["started"],
        _left(worker) if state is State.RUNNING else None, problem, bool(known.get("cancel")),
    )  # fmt: skip


def _left(worker: dict[str, Any]) -> float | None:
    """Seconds left, if the rest goes as fast as what this process has done so far."""
    gained = worker.get("share", 0.0) - (worker.get("first") or 0.0)
    elapsed = worker["beat"] - worker.get("since", worker["beat"])
    return elapsed * (1 - worker["share"]) / gained if gained > 0.01 and elapsed > 1 else None


def heartbeat(pid: int) -> dict[str, Any]:
    """The sign of life of a process on this machine; 0 is one that has no number yet."""
    return {"pid": pid, "host": socket.gethostname(), "beat": time.time()}


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
