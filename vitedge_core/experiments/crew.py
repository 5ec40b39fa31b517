"""More processes for one sweep on this machine: each runs the same command and shares the queue with the others."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import vitedge_core
from vitedge_core.errors import VitEdgeError
from vitedge_core.experiments.jobs import PROGRAM
from vitedge_core.experiments.store import storage_url
from vitedge_core.storage import data_folder

MOST = 64
PATIENCE = 30.0  # seconds that a process gets to end by itself


def share_threads(workers: int) -> int:
    """Give this process its part of the cores; returns how many threads that are.

    Raises:
        VitEdgeError: That is no number of processes.
    """
    import torch

    if not 1 <= workers <= MOST:
        raise VitEdgeError(f"A sweep has 1 to {MOST} workers on a machine, not {workers}.")
    threads = max(1, (os.cpu_count() or 1) // workers)
    if workers > 1:
        torch.set_num_threads(threads)
    return threads


@contextmanager
def crew(
    arguments: Sequence[str], count: int, threads: int, name: str, url: str | None = None,
    *, cancelled: Callable[[], bool],
) -> Iterator[None]:  # fmt: skip
    """Run `count` further processes `python -m vitedge_core ARGUMENTS` for the time of a block.

    At its end they are waited for; if it ends with an exception, or it is cancelled, they are asked to stop.

    Args:
        arguments: Of the command line.
        count: 0 for none.
        threads: Of each.
        name: Of the sweep, for their logs.
        url: Of the store; they inherit it, since a list of processes would show the password in it.
        cancelled: Whether they should stop.
    """
    environment = {
        **os.environ, "VITEDGE_DATA": str(data_folder().resolve()), "VITEDGE_STORAGE": url or storage_url(),
        "OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads),
    }  # fmt: skip
    started: list[subprocess.Popen[bytes]] = []
    stop = True
    try:
        logs = (data_folder("jobs") / f"{name}.{number + 2}.log" for number in range(count))
        started.extend(_start(arguments, log, environment) for log in logs)
        yield
        while any(process.poll() is None for process in started) and not cancelled():
            time.sleep(0.1)
        stop = cancelled()
    finally:
        for process in started if stop else ():
            process.send_signal(signal.SIGTERM)
        for process in started:
            _wait(process)


def _start(arguments: Sequence[str], log: Path, environment: dict[str, str]) -> subprocess.Popen[bytes]:
    home = Path(vitedge_core.__file__).parents[1]
    try:
        with log.open("wb") as output:
            process = subprocess.Popen(  # noqa: S603  our own interpreter, a list of arguments, no shell
                [*PROGRAM, *arguments], stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=home,
                env=environment,
            )  # fmt: skip
    except OSError as error:
        raise VitEdgeError(f"A worker could not be started: {error.strerror}.") from error
    # a child that nobody waits for would stay in the process table, look alive, and keep its recipe
    threading.Thread(target=process.wait, daemon=True).start()
    return process


def _wait(process: subprocess.Popen[bytes]) -> None:
    """One that hangs is ended, and its recipe goes back into the queue."""
    try:
        process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
