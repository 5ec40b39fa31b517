"""One sweep, a PostgreSQL server and four processes: two are killed, then the server goes away and comes back."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from vitedge_core.errors import VitEdgeError
from vitedge_core.experiments.axes import Axis
from vitedge_core.experiments.jobs import State, status
from vitedge_core.experiments.runs import all_runs
from vitedge_core.experiments.space import Space
from vitedge_core.experiments.store import study
from vitedge_core.recipe import Recipe, Step

SPACE = Space(
    Recipe("digits_vit_small", (Step.of("head_mlp_magnitude", ratio=0.2), Step.of("uniform_ptq", w_bits=8))),
    (Axis(0, "ratio", tuple(i / 10 for i in range(1, 7))), Axis(1, "w_bits", (4, 6, 8, 10))),
    limit=60,
)  # fmt: skip
BINARIES = next(iter(sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)), None)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        BINARIES is None, reason="PostgreSQL's server is not installed (Debian: apt install postgresql)."
    ),
]


class Server:
    """A PostgreSQL of the test's own: a folder, a socket in it, no network. It refuses to be root's."""

    def __init__(self, folder):
        self.folder, self.root = folder, os.geteuid() == 0
        folder.mkdir()
        if self.root:
            shutil.chown(folder, "postgres")
        self.url = f"postgresql://postgres@/postgres?host={folder}"
        self._run("initdb", "-D", folder / "data", "-U", "postgres", "-A", "trust", "--no-sync")
        self.start()

    def start(self):
        options = f"-c listen_addresses='' -c unix_socket_directories={self.folder} -c fsync=off"
        self._run("pg_ctl", "-D", self.folder / "data", "-l", self.folder / "log", "-o", f'"{options}"', "-w", "start")

    def stop(self):
        self._run("pg_ctl", "-D", self.folder / "data", "-m", "immediate", "-w", "stop")

    def _run(self, program, *arguments):
        command = " ".join(map(str, (BINARIES / program, *arguments)))
        shell = ["su", "postgres", "-s", "/bin/sh", "-c", command] if self.root else ["sh", "-c", command]
        subprocess.run(shell, check=True, cwd=self.folder, stdout=subprocess.DEVNULL)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = Path("/tmp") / f"vitedge-pg-{os.getpid()}"  # a socket's path must be short, and postgres must get there
    server = Server(folder)
    yield server
    server.stop()
    shutil.rmtree(folder)


@pytest.fixture
def sweep(server, tmp_path, pytestconfig):
    """Starts the command that a person would type on each machine."""
    environment = {
        **os.environ, "VITEDGE_STORAGE": server.url, "VITEDGE_DATA": str(tmp_path / "data"), "OMP_NUM_THREADS": "1",
    }  # fmt: skip
    started = []

    def start(name, seed=0):
        space, path = replace(SPACE, recipe=replace(SPACE.recipe, seed=seed)), tmp_path / f"space-{seed}.json"
        if not path.exists():
            path.write_text(json.dumps(space.to_dict()))
        command = [sys.executable, "-m", "vitedge_core", "sweep", str(path), "--study", name, "--json"]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        options = {"cwd": pytestconfig.rootpath, "env": environment}
        started.append(subprocess.Popen(command, **options, **pipes))
        return started[-1]

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
            process.wait()


def wait_for(found, seconds=900):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found():
            return
        time.sleep(0.05)
    raise AssertionError("waited in vain")


def answer(process):
    told, complaint = process.communicate(timeout=1_800)
    assert process.returncode == 0, complaint
    return json.loads(told)


def trials(url, name):
    try:
        return study(name, url).get_trials(deepcopy=False)
    except VitEdgeError:  # not yet created
        return []


def at_work(url, name):
    """Which processes have a recipe in hand."""
    return {
        int(trial.user_attrs["begun"].split()[-1])
        for trial in trials(url, name)
        if trial.state.name == "RUNNING" and "begun" in trial.user_attrs
    }


def test_four_workers_two_of_them_killed(server, sweep):
    processes = [sweep("killed") for _ in range(4)]
    for process in processes[:2]:
        wait_for(lambda pid=process.pid: pid in at_work(server.url, "killed"))
        process.kill()
        process.wait()
    told = [answer(process) for process in processes[2:]]
    assert all((one["done"], one["total"], one["problems"]) == (24, 24, {}) for one in told)
    job = status("killed", server.url)
    assert (job.state, job.share) == (State.FINISHED, 1.0)
    states = Counter(trial.state.name for trial in trials(server.url, "killed"))
    assert states["COMPLETE"] == 24, "no recipe is measured twice"
    lost = [t for t in trials(server.url, "killed") if t.state.name == "FAIL" and "same as" not in t.user_attrs]
    assert len(lost) == 2, "what the two were at, and nothing else"
    assert states["RUNNING"] == states["WAITING"] == 0
    measured = {run.recipe.digest for run in all_runs(server.url)}
    assert measured >= {recipe.digest for recipe in SPACE.recipes()}


def test_a_server_that_goes_away_and_comes_back(server, sweep):
    process = sweep("away", 1)
    wait_for(lambda: sum(trial.state.name == "COMPLETE" for trial in trials(server.url, "away")) >= 2)
    server.stop()
    _, complaint = process.communicate(timeout=900)
    server.start()
    assert process.returncode == 2
    last = complaint.strip().splitlines()[-1]
    assert "store of runs cannot be used" in last
    assert "what was measured before is kept" in last
    kept = sum(trial.state.name == "COMPLETE" for trial in trials(server.url, "away"))
    assert kept >= 2
    told = answer(sweep("away", 1))
    assert told["done"] == 24
