"""Two processes record into one file at once and one is killed in the middle: nothing that was recorded is lost."""

import signal
import sqlite3
import subprocess
import sys
from contextlib import closing

from vitedge_core.experiments import runs, store
from vitedge_core.experiments.runs import all_runs, record

# says the number of each run after it was recorded; a run of ours in full size, so that a kill falls into its writing
WRITER = """
import sys; sys.path.insert(0, {root!r})
from dataclasses import replace
from tests.unit.test_runs import a_run
from vitedge_core.experiments.runs import record
for number in range({count}):
    record(replace(a_run(ratio=round({start} + number / 1000, 4)), title="x" * 100_000), {url!r})
    print(number, flush=True)
"""


def test_a_kill_loses_at_most_the_run_in_flight(tmp_path, pytestconfig):
    url, root = f"sqlite:///{tmp_path / 'runs.db'}", str(pytestconfig.rootpath)

    def writer(start, count):
        code = WRITER.format(root=root, url=url, start=start, count=count)
        return subprocess.Popen([sys.executable, "-c", code], cwd=root, stdout=subprocess.PIPE, text=True)

    survivor, victim = writer(0.1, 30), writer(0.5, 10_000)
    told = [victim.stdout.readline() for _ in range(5)]
    victim.send_signal(signal.SIGKILL)
    told += victim.stdout.read().splitlines()
    assert victim.wait(timeout=60) == -signal.SIGKILL
    survivor.communicate(timeout=120)
    assert survivor.returncode == 0

    ratios = [run.recipe.steps[0].knobs["ratio"] for run in all_runs(url)]
    assert len([ratio for ratio in ratios if ratio < 0.5]) == 30
    whole = [ratio for ratio in ratios if ratio >= 0.5]
    assert whole == [round(0.5 + number / 1000, 4) for number in range(len(whole))]
    assert len(told) <= len(whole) <= len(told) + 1  # it may be stored and not yet told
    with closing(sqlite3.connect(tmp_path / "runs.db")) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    stored = store.study(runs.STUDY, url).get_trials(deepcopy=False)
    assert [trial.number for trial in stored] == list(range(len(stored)))
    assert all("run" in trial.user_attrs for trial in stored)  # none in halves
    record(all_runs(url)[0], url)  # and nobody left the file locked
