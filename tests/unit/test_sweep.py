"""Sweeps: each recipe once, whatever happens to the processes; searches that skip what is of no use."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import suppress
from dataclasses import replace

import optuna
import pytest

from vitedge_core.errors import Cancelled, VitEdgeError
from vitedge_core.evidence import Evidence, Quantity
from vitedge_core.experiments import jobs, trial_queue
from vitedge_core.experiments.axes import Axis
from vitedge_core.experiments.goal import Goal, Limit
from vitedge_core.experiments.jobs import State, status
from vitedge_core.experiments.samplers import METHODS
from vitedge_core.experiments.space import Space
from vitedge_core.experiments.store import change_state, study
from vitedge_core.experiments.sweep import run_sweep
from vitedge_core.recipe import Recipe, Step

RECIPE = Recipe("digits_vit_base", (Step.of("head_mlp_magnitude", ratio=0.5), Step.of("uniform_ptq", w_bits=8)))
SPACE = Space(RECIPE, (Axis(1, "w_bits", (8, 6, 4)), Axis(0, "ratio", (0.2, 0.4))))
SEARCH = Space(
    RECIPE, (Axis(1, "w_bits", tuple(range(2, 9))), Axis(0, "ratio", tuple(i / 20 for i in range(1, 17)))),
    optional=(0, 1), sampler="random", trials=20,
)  # fmt: skip


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path / 'runs.db'}"


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "space.json"
    path.write_text(json.dumps(SPACE.to_dict()))
    return path


class Measure:
    """In place of a real measurement: remembers what it was asked, and what to raise when."""

    def __init__(self, **raises):
        self.seen, self.raises = [], {int(number[1:]): error for number, error in raises.items()}

    def __call__(self, space, recipe, gate, report, cancelled):
        self.seen.append(recipe)
        report(0.5, "half of it")
        if len(self.seen) in self.raises:
            raise self.raises[len(self.seen)]
        ratio = recipe.steps[0].knobs["ratio"]
        return {
            "accuracy": Quantity.exact(1 - ratio, "share", "test"),
            "macs": Quantity.exact(ratio, "MAC", "test"),
        }, 500


def test_every_recipe_once_with_shared_beginnings_together(path, url):
    measure, told = Measure(), []
    result = run_sweep(path, "one", url, measure=measure, report=lambda share, text: told.append((share, text)))
    assert result == {"study": "one", "done": 6, "total": 6, "skipped": 0, "problems": {}, "paused": False}
    assert measure.seen == list(SPACE.recipes())
    assert [recipe.steps[0].knobs["ratio"] for recipe in measure.seen] == [0.2] * 3 + [0.4] * 3
    assert told == sorted(told, key=lambda pair: pair[0])
    assert told[-1] == (1.0, "6 of 6 recipes done")
    assert status("one", url).state is State.FINISHED
    # a second time there is nothing left to do
    assert run_sweep(path, "one", url, measure=measure)["done"] == 6
    assert len(measure.seen) == 6


def test_trials_limits_all_sittings_together(path, url):
    measure = Measure()
    assert run_sweep(path, "one", url, measure=measure, trials=2)["done"] == 2
    assert run_sweep(path, "one", url, measure=measure, trials=2)["done"] == 2
    assert run_sweep(path, "one", url, measure=measure)["done"] == 6
    assert len(measure.seen) == 6


def test_what_cannot_be_carried_out_is_noted(path, url):
    result = run_sweep(path, "one", url, measure=Measure(n2=VitEdgeError("Too few heads.")))
    assert result["done"] == 6
    assert list(result["problems"].values()) == ["Too few heads."]


def test_cancel_gives_the_recipe_in_flight_back(path, url):
    measure = Measure(n3=Cancelled())
    with pytest.raises(Cancelled):
        run_sweep(path, "one", url, measure=measure)
    assert status("one", url).state is State.CANCELLED
    result = run_sweep(path, "one", url, measure=measure)
    assert (result["done"], result["problems"]) == (6, {})
    assert len(measure.seen) == 7


def test_a_recipe_may_be_cancelled_as_often_as_one_likes(path, url):
    """Unlike one whose process dies, it is never given up."""
    path.write_text(json.dumps(Space(RECIPE, (Axis(0, "ratio", (0.2,)),)).to_dict()))
    for _ in range(4):
        with pytest.raises(Cancelled):
            run_sweep(path, "one", url, measure=Measure(n1=Cancelled()))
    assert run_sweep(path, "one", url, measure=Measure())["problems"] == {}


def test_cancel_between_two_recipes(path, url):
    measure = Measure()
    with pytest.raises(Cancelled):
        run_sweep(path, "one", url, measure=measure, cancelled=lambda: len(measure.seen) == 2)
    assert len(measure.seen) == 2


def test_the_wish_to_cancel_comes_through_the_store(path, url, monkeypatch):
    monkeypatch.setattr("vitedge_core.experiments.worker.BEAT_SECONDS", 0.02)

    def measure(space, recipe, gate, report, cancelled):
        jobs.cancel("one", url)
        while not cancelled():
            time.sleep(0.01)
        raise Cancelled

    with pytest.raises(Cancelled):
        run_sweep(path, "one", url, measure=measure)


KILLED = """
import sys, time
sys.path.insert(0, {root!r})
from pathlib import Path
from tests.unit.test_sweep import Measure
from vitedge_core.experiments.sweep import run_sweep
class Slow(Measure):
    def __call__(self, *arguments):
        measured = super().__call__(*arguments)
        if len(self.seen) == 3:
            print("in flight", flush=True)
            time.sleep(100)
        return measured
run_sweep(Path({path!r}), "one", {url!r}, measure=Slow())
"""


@pytest.mark.slow
def test_kill_9_loses_only_the_recipe_in_flight(path, url, pytestconfig):
    root = str(pytestconfig.rootpath)
    program = KILLED.format(root=root, path=str(path), url=url)
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, cwd=root)
    assert process.stdout.readline() == b"in flight\n"
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert status("one", url).state is State.DIED
    measure = Measure()
    assert run_sweep(path, "one", url, measure=measure)["done"] == 6
    assert len(measure.seen) == 4  # two were done, the third and the rest are measured now


def test_a_recipe_that_kills_its_process_is_given_up(path, url):
    """Otherwise a sweep that runs out of memory would die at the same place for ever."""

    class Killed(BaseException):
        pass

    path.write_text(json.dumps(Space(RECIPE, (Axis(0, "ratio", (0.2,)),)).to_dict()))
    for _ in range(3):
        with pytest.raises(Killed):
            run_sweep(path, "one", url, measure=Measure(n1=Killed()))
    measure = Measure()
    result = run_sweep(path, "one", url, measure=measure)
    assert list(result["problems"].values()) == ["The process died 3 times on this recipe."]
    assert (result["done"], measure.seen) == (1, [])


def test_another_sweep_under_the_same_name(path, url):
    run_sweep(path, "one", url, measure=Measure())
    path.write_text(json.dumps(Space(RECIPE, SPACE.axes[:1]).to_dict()))
    with pytest.raises(VitEdgeError, match="another sweep"):
        run_sweep(path, "one", url, measure=Measure())


def written(path, space):
    path.write_text(json.dumps(space.to_dict()))
    return path


def likely(recipe):
    """A made-up accuracy that falls with every removal, on 500 images."""
    ratio = next((step.knobs["ratio"] for step in recipe.active if "ratio" in step.knobs), 0.0)
    bits = next((step.knobs["w_bits"] for step in recipe.active if "w_bits" in step.knobs), 32)
    value = max(0.1, 0.95 - ratio**2 - 0.5 / bits**2)
    return Quantity(value, "share", Evidence.MEASURED, "test", value - 0.02, value + 0.02)


class Pretend:
    """Measures with `likely` and the real costs, and remembers what it was asked."""

    def __init__(self):
        self.seen = []

    def __call__(self, space, recipe, gate, report, cancelled):
        from vitedge_core.compress import plan_recipe

        self.seen.append(recipe)
        plan = plan_recipe(recipe).last
        gate.before(plan, Quantity(0.95, "share", Evidence.MEASURED, "test", 0.94, 0.96))
        return {**space.goal.planned(plan), "accuracy": likely(recipe)}, 500


@pytest.mark.slow
@pytest.mark.parametrize("sampler", [key for key in METHODS if key != "grid"])
def test_every_method_measures_as_many_different_recipes_as_it_may(path, url, sampler):
    measure = Pretend()
    space = replace(SEARCH, sampler=sampler, trials=14, goal=Goal(("accuracy", "macs", "weight_bytes")))
    result = run_sweep(written(path, space), "one", url, measure=measure)
    assert (result["done"], result["total"], result["problems"]) == (14, 14, {})
    assert len({recipe.digest for recipe in measure.seen}) == len(measure.seen) == 14
    # the recipe itself and the presets come first
    assert measure.seen[0].digest == RECIPE.digest
    assert [d.name for d in study("one", url).directions] == ["MAXIMIZE", "MINIMIZE", "MINIMIZE"]


@pytest.mark.slow
def test_the_same_seed_proposes_the_same(path, tmp_path):
    seen = []
    for number in (1, 2, 3):
        measure = Pretend()
        space = replace(SEARCH, trials=8, seed=number // 3)
        run_sweep(written(path, space), "one", f"sqlite:///{tmp_path / f'{number}.db'}", measure=measure)
        seen.append([recipe.digest for recipe in measure.seen])
    assert seen[0] == seen[1] != seen[2]


def test_what_breaks_a_limit_on_its_plan_is_never_carried_out(path, url):
    measure = Pretend()
    goal = Goal(limits=(Limit.parse("weight_bytes <= 3 MB"),))
    result = run_sweep(written(path, replace(SEARCH, goal=goal)), "one", url, measure=measure)
    assert result["skipped"] > 0
    assert result["done"] == 20
    trials = study("one", url).get_trials()
    skipped = [trial for trial in trials if "skipped" in trial.user_attrs]
    assert all(trial.state.name == "PRUNED" for trial in skipped)
    assert "does not keep to weight_bytes <= 3e+06" in skipped[0].user_attrs["skipped"]
    assert {space_recipe.digest for space_recipe in measure.seen}.isdisjoint(
        {SEARCH.at(trial.params).digest for trial in skipped}
    )


def test_a_search_ends_when_no_recipe_is_left(path, url):
    small = replace(SEARCH, axes=(Axis(0, "ratio", (0.2, 0.4)),), optional=(0,), trials=2)
    measure = Pretend()
    assert run_sweep(written(path, small), "one", url, measure=measure)["done"] == 2
    # three recipes exist; asked for more than there are, it measures all of them
    assert run_sweep(written(path, replace(small, trials=50)), "two", url, measure=measure)["done"] == 3


def test_a_search_that_finds_nothing_worth_measuring_ends(path, url, monkeypatch):
    monkeypatch.setattr(trial_queue, "BARREN", 15)
    goal = Goal(limits=(Limit.parse("accuracy >= 0.5"),))

    def never(space, recipe, gate, report, cancelled):
        from vitedge_core.errors import Unneeded

        raise Unneeded("It is beaten.")

    result = run_sweep(written(path, replace(SEARCH, goal=goal)), "one", url, measure=never)
    assert (result["done"], result["skipped"] + 5 >= 15) == (0, True)
    assert status("one", url).state is State.FINISHED


def test_a_space_without_a_possible_recipe_is_refused(path, url):
    goal = Goal(limits=(Limit.parse("weight_bytes <= 1 kB"),))
    with pytest.raises(VitEdgeError, match=r"None of the recipes.*weight_bytes <= 1000; the nearest has"):
        run_sweep(written(path, replace(SEARCH, goal=goal)), "one", url, measure=Pretend())
    backwards = Recipe("digits_vit_base", tuple(reversed(RECIPE.steps)))
    space = Space(backwards, (Axis(1, "ratio", (0.2, 0.4)),))
    with pytest.raises(VitEdgeError, match="No recipe of this space can be carried out"):
        run_sweep(written(path, space), "one", url, measure=Pretend())


def test_a_study_of_another_version(path, url):
    run_sweep(path, "one", url, measure=Measure())
    study("one", url).set_user_attr("space", {**SPACE.to_dict(), "version": 99})
    with pytest.raises(VitEdgeError, match="another version of VitEdge"):
        run_sweep(path, "one", url, measure=Measure())


def test_a_sweep_of_version_1_goes_on(path, url):
    """Begun before there was a search: the same grid, and what it measured counts."""
    axes = [{"step": 1, "knob": "w_bits", "values": [8, 6, 4]}, {"step": 0, "knob": "ratio", "values": [0.2, 0.4]}]
    old = {
        "version": 1, "recipe": RECIPE.to_dict(), "axes": axes, "images": None, "limit": 500, "latency": False
    }  # fmt: skip
    path.write_text(json.dumps(old))
    run_sweep(path, "one", url, measure=Measure(), trials=2)
    study("one", url).set_user_attr("space", old)
    measure = Measure()
    assert run_sweep(path, "one", url, measure=measure)["done"] == 6
    assert len(measure.seen) == 4


def test_pause_ends_after_the_recipe_in_flight_and_loses_nothing(path, url, monkeypatch):
    monkeypatch.setattr("vitedge_core.experiments.worker.BEAT_SECONDS", 0.02)

    class Pausing(Measure):
        def __call__(self, *arguments):
            found = super().__call__(*arguments)
            if len(self.seen) == 2:
                assert status("one", url).pausable
                jobs.pause("one", url)
                time.sleep(0.3)
            return found

    measure = Pausing()
    result = run_sweep(path, "one", url, measure=measure)
    assert (result["paused"], result["done"], len(measure.seen)) == (True, 2, 2)
    job = status("one", url)
    assert (job.state, job.resumable) == (State.PAUSED, True)
    assert run_sweep(path, "one", url, measure=measure)["done"] == 6
    assert len(measure.seen) == 6
    assert status("one", url).state is State.FINISHED


def test_no_two_processes_take_the_same_trial(url):
    """Optuna's own taking reads first and writes then: on SQLite two processes could both believe they have it."""
    home = study("race", url, create=True)
    for number in range(40):
        home.enqueue_trial({"x": number})
    waiting, taken, start = home.get_trials(), Counter(), threading.Barrier(4)

    def take():
        start.wait()
        for trial in waiting:
            if change_state(home, trial, optuna.trial.TrialState.WAITING, optuna.trial.TrialState.RUNNING):
                taken[trial.number] += 1

    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert taken == dict.fromkeys(range(40), 1)


JOINED = """
import sys, time
sys.path.insert(0, {root!r})
from pathlib import Path
from tests.unit.test_sweep import Measure
from vitedge_core.experiments.sweep import run_sweep
class Slow(Measure):
    def __call__(self, space, recipe, *rest):
        time.sleep(0.05)
        print(recipe.digest, flush=True)
        return super().__call__(space, recipe, *rest)
print("ready", flush=True)
sys.stdin.readline()
run_sweep(Path({path!r}), "one", {url!r}, measure=Slow())
"""


@pytest.mark.slow
def test_processes_share_a_sweep_and_the_others_finish_what_a_killed_one_began(path, url, pytestconfig):
    ratios = Axis(0, "ratio", tuple(i / 20 for i in range(1, 11)))
    space = Space(RECIPE, (Axis(1, "w_bits", (8, 6, 4)), ratios))
    written(path, space)
    root = str(pytestconfig.rootpath)
    program = [sys.executable, "-c", JOINED.format(root=root, path=str(path), url=url)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    processes = [subprocess.Popen(program, cwd=root, **pipes) for _ in range(3)]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()
    first = processes[0].stdout.readline()
    processes[0].send_signal(signal.SIGKILL)  # in the middle of its second recipe, or close to it
    processes[0].wait()
    seen = [first, *processes[0].stdout.readlines()]
    for process in processes[1:]:
        seen += process.communicate(timeout=120)[0].splitlines()
    digests = {digest.strip() for digest in seen} - {"ready", ""}
    assert digests == {recipe.digest for recipe in space.recipes()}
    assert len(seen) <= 30 + 2, "only what the killed one was at may be measured twice"
    job = status("one", url)
    assert (job.state, job.share) == (State.FINISHED, 1.0)
    complete = [trial for trial in study("one", url).get_trials() if trial.state.name == "COMPLETE"]
    assert len({json.dumps(trial.params) for trial in complete}) == 30


def test_a_full_disk_is_a_sentence_and_what_was_measured_stays(path, url, tmp_path):
    """SQLite says the same of a full disk as of a file that may not grow."""
    import sqlalchemy

    from vitedge_core.experiments.store import storage

    class Filling(Measure):
        def __call__(self, *arguments):
            if len(self.seen) == 3:
                sqlalchemy.event.listen(storage(url)._backend.engine, "checkout", no_growth)
                raise VitEdgeError("x" * 2_000_000)
            return super().__call__(*arguments)

    def no_growth(connection, *_):
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count={pages}")

    with pytest.raises(VitEdgeError, match=r"full.*what was measured before is kept"):
        run_sweep(path, "one", url, measure=Filling())
    engine = storage(url)._backend.engine
    sqlalchemy.event.remove(engine, "checkout", no_growth)
    engine.dispose()  # a new connection: the disk has room again
    assert sum(trial.state.name == "COMPLETE" for trial in study("one", url).get_trials()) == 3
    assert run_sweep(path, "one", url, measure=Measure())["done"] == 6


def test_a_recipe_that_another_process_is_just_choosing_disturbs_nobody(path, url):
    home = study("one", url, create=True)
    other = {**jobs.heartbeat(0), "host": "elsewhere", "share": 0.0, "first": 0.0, "since": 0.0}
    home.set_user_attr("worker elsewhere 1", other)
    begun = home.ask()
    begun.suggest_categorical("1 head_mlp_magnitude.ratio", (0.2, 0.4))

    def give_up():
        with suppress(ValueError):  # on a slow machine somebody else has ended it
            home.tell(begun, state=optuna.trial.TrialState.FAIL)

    threading.Timer(3.0, give_up).start()
    assert run_sweep(path, "one", url, measure=Measure())["done"] == 6
