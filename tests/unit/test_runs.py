"""Runs: kept whole, found again, shared by processes."""

import subprocess
import sys
import threading
from dataclasses import replace

import pytest

from vitedge_core.errors import Cancelled, VitEdgeError
from vitedge_core.evidence import Evidence, Quantity
from vitedge_core.experiments import runs, store
from vitedge_core.experiments.evaluation import GAZE, Evaluation
from vitedge_core.experiments.runs import Run, all_runs, find, measured, record
from vitedge_core.recipe import Recipe, Step


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path / 'runs.db'}"


@pytest.fixture(autouse=True)
def _known_weights(monkeypatch):
    monkeypatch.setattr(runs, "_weights", lambda model: f"weights of {model}")


def share(value):
    return Quantity(value, "share", Evidence.MEASURED, "counted", value - 0.02, value + 0.02)


def an_evaluation(ratio=0.5, n=500, accuracy=0.9, digest="d1", timed=False):
    recipe = Recipe("tiny", (Step.of("head_mlp_magnitude", ratio=ratio),))
    macs = Quantity.exact(1_000_000, "MAC", "the plan")
    before = {"accuracy": share(0.95), "macs": macs}
    after = {"accuracy": share(accuracy), "macs": replace(macs, value=5e5, low=5e5, high=5e5)}
    paired = Quantity(0.7, "ratio", Evidence.MEASURED, "clock", 0.6, 0.8) if timed else None
    difference = Quantity(-0.05, "share", Evidence.MEASURED, "paired", -0.06, -0.04)
    return Evaluation(recipe, "digits", digest, n, before, after, difference, paired, ("a note",))


def a_run(ratio=0.5, n=500, accuracy=0.9, digest="d1", *, timed=False, **more):
    about = {"limit": n, "title": "Digits", "weights": "weights of tiny", "time": 1.0, "seconds": 2.0, **more}
    return Run(an_evaluation(ratio, n, accuracy, digest, timed), **about)


def test_a_run_comes_back_as_it_was(url):
    run = a_run(timed=True, machine=runs.machine(), versions=runs.versions(), origin="Build")
    record(run, url)
    assert all_runs(url) == (run,)
    assert dict(run.versions)["torch"]


def test_find_wants_the_same_recipe_images_and_count(url, monkeypatch):
    record(a_run(), url)
    record(a_run(digest="all", n=2000, limit=None), url)
    recipe = a_run().recipe
    assert find(recipe, "d1", 500, url=url)
    assert find(replace(recipe, steps=(*recipe.steps, Step.of("tome", enabled=False))), "d1", 500, url=url)
    assert not find(recipe, "d2", 500, url=url)
    assert not find(recipe, "d1", 501, url=url)
    assert not find(a_run(0.4).recipe, "d1", 500, url=url)
    assert find(recipe, "all", None, url=url)
    assert find(recipe, "all", 2000, url=url)
    monkeypatch.setattr(runs, "_weights", lambda model: "trained anew")
    assert not find(recipe, "d1", 500, url=url)


def test_a_latency_counts_only_on_this_machine(url):
    recipe, timed = a_run().recipe, a_run(timed=True, machine=runs.machine())
    record(a_run(), url)
    assert not find(recipe, "d1", 500, latency=True, url=url)
    record(timed, url)
    assert find(recipe, "d1", 500, latency=True, url=url) == timed
    record(replace(timed, machine="another"), url)
    assert find(recipe, "d1", 500, latency=True, url=url) == timed


def looking(run):
    figures = {**run.evaluation.compressed, **{name: share(0.5) for name in GAZE}}
    return replace(run, evaluation=replace(run.evaluation, compressed=figures))


def test_runs_that_know_where_a_model_looks_are_found_when_that_is_wanted(url):
    record(a_run(), url)
    recipe = a_run().recipe
    assert not find(recipe, "d1", 500, gaze=True, url=url)
    assert not a_run().gazed, "a run from before knew nothing of it, and still loads"
    knows = looking(a_run())
    record(knows, url)
    record(a_run(accuracy=0.8), url)
    assert find(recipe, "d1", 500, gaze=True, url=url) == knows
    assert all_runs(url) == (knows,)


def test_a_repetition_replaces_unless_it_knows_less(url):
    record(a_run(accuracy=0.9, timed=True), url)
    record(a_run(accuracy=0.91, timed=True), url)
    record(a_run(accuracy=0.92), url)
    assert [run.evaluation.compressed["accuracy"].value for run in all_runs(url)] == [0.91]


class Images:
    """As much of an image set as looking up needs."""

    digest, title = "d1", "Digits"


@pytest.fixture
def evaluated(url, monkeypatch):
    """What was really evaluated, with a measurement that costs nothing."""
    from vitedge_core.experiments import evaluate as module

    monkeypatch.setenv("VITEDGE_STORAGE", url)
    monkeypatch.setattr(module, "images_for", lambda model, images: Images)
    monkeypatch.setattr(module, "tested_on", lambda recipe, images, engine: images)
    done = []

    def evaluate(recipe, images, limit, latency, *, gaze, gate, report, cancelled, engine):
        if cancelled():
            raise Cancelled
        done.append((recipe, limit, latency))
        return replace(an_evaluation(n=limit, timed=latency), recipe=recipe)

    monkeypatch.setattr(module, "evaluate", evaluate)
    return done


def test_nothing_is_measured_twice(evaluated):
    recipe = a_run().recipe
    first = measured(recipe, latency=False)
    assert measured(recipe, latency=False) == first
    assert measured(recipe, latency=False, limit=100).n == 100
    assert measured(recipe, latency=True).ratio  # only accuracy was known
    assert measured(recipe, latency=False) == measured(recipe, latency=True)
    assert evaluated == [(recipe, 500, False), (recipe, 100, False), (recipe, 500, True)]


def test_what_is_cancelled_is_not_kept(evaluated):
    with pytest.raises(Cancelled):
        measured(a_run().recipe, cancelled=lambda: True)
    assert all_runs() == ()


def test_what_another_version_left_is_passed_over(url):
    record(a_run(), url)
    store.study(runs.STUDY, url).enqueue_trial({})
    assert len(all_runs(url)) == 1


WRITER = """
import sys; sys.path.insert(0, {root!r})
from tests.unit.test_runs import a_run
from vitedge_core.experiments.runs import record
for i in range(12):
    record(a_run(ratio=round({start} + i / 100, 2)), {url!r})
"""


@pytest.mark.slow
def test_processes_share_one_file(url, pytestconfig):
    """They even create it at the same moment."""
    root = str(pytestconfig.rootpath)
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER.format(root=root, url=url, start=start)], cwd=root)
        for start in (0.1, 0.3, 0.5)
    ]
    assert [writer.wait(timeout=120) for writer in writers] == [0, 0, 0]
    assert len(all_runs(url)) == 36


def test_threads_share_one_store(url):
    """The page looks while the measuring thread writes, and neither has opened it before."""
    problems = []

    def write(ratio):
        try:
            record(a_run(ratio), url)
        except VitEdgeError as error:
            problems.append(error)

    threads = [threading.Thread(target=write, args=(ratio,)) for ratio in (0.1, 0.2, 0.3, 0.4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    assert len(all_runs(url)) == 4


def test_a_store_that_is_none(tmp_path):
    path = tmp_path / "runs.db"
    path.write_text("no database, but long enough to look like one " * 40)
    with pytest.raises(VitEdgeError, match="cannot be used"):
        all_runs(f"sqlite:///{path}")
    with pytest.raises(VitEdgeError):
        all_runs("nonsense")


def test_no_password_in_messages():
    with pytest.raises(VitEdgeError) as caught:
        store.study("absent", "postgresql://me:secret@nowhere.invalid/x")
    assert "secret" not in str(caught.value)


def test_usual_seconds(url, monkeypatch):
    monkeypatch.setenv("VITEDGE_STORAGE", url)
    assert runs.usual_seconds("tiny", 500, latency=False) is None
    for ratio, seconds in ((0.1, 3.0), (0.2, 1.0), (0.3, 2.0)):
        record(a_run(ratio, seconds=seconds, machine=runs.machine()))
    assert runs.usual_seconds("tiny", 500, latency=False) == 2.0
    assert runs.usual_seconds("tiny", 500, latency=True) is None
