"""Sweeps: the whole grid, each recipe once, whatever happens to the process."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vitedge_core.errors import Cancelled, VitEdgeError
from vitedge_core.evidence import Quantity
from vitedge_core.experiments import jobs
from vitedge_core.experiments.jobs import State, status
from vitedge_core.experiments.space import Axis, Space, range_around, read_space, values_between
from vitedge_core.experiments.sweep import run_sweep
from vitedge_core.recipe import Recipe, Step
from vitedge_core.techniques.base import Knob

RECIPE = Recipe("tiny", (Step.of("head_mlp_magnitude", ratio=0.5), Step.of("uniform_ptq", w_bits=8)))
SPACE = Space(RECIPE, (Axis(1, "w_bits", (8, 6, 4)), Axis(0, "ratio", (0.2, 0.4))))


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

    def __call__(self, space, recipe, report, cancelled):
        self.seen.append(recipe)
        report(0.5, "half of it")
        if len(self.seen) in self.raises:
            raise self.raises[len(self.seen)]
        ratio = recipe.steps[0].knobs["ratio"]
        return {"accuracy": Quantity.exact(1 - ratio, "share", "test"), "macs": Quantity.exact(ratio, "MAC", "test")}


def test_every_recipe_once_with_shared_beginnings_together(path, url):
    measure, told = Measure(), []
    result = run_sweep(path, "one", url, measure=measure, report=lambda share, text: told.append((share, text)))
    assert result == {"study": "one", "done": 6, "total": 6, "problems": {}}
    assert measure.seen == list(SPACE.recipes())
    assert [recipe.steps[0].knobs["ratio"] for recipe in measure.seen] == [0.2] * 3 + [0.4] * 3
    assert told == sorted(told, key=lambda pair: pair[0])
    assert told[-1] == (1.0, "6 of 6 recipes done")
    assert status("one", url).state is State.FINISHED
    # a second time there is nothing left to do
    assert run_sweep(path, "one", url, measure=measure)["done"] == 6
    assert len(measure.seen) == 6


def test_trials_limits_a_sitting(path, url):
    measure = Measure()
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

    def measure(space, recipe, report, cancelled):
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
        figures = super().__call__(*arguments)
        if len(self.seen) == 3:
            print("in flight", flush=True)
            time.sleep(100)
        return figures
run_sweep(Path({path!r}), "one", {url!r}, measure=Slow())
"""


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


@pytest.mark.parametrize(
    ("axes", "sentence"),
    [
        ((), "at least one knob"),
        ((Axis(5, "ratio", (0.1,)),), "no active step 6"),
        ((Axis(0, "ratio", ()),), "at least one value"),
        ((Axis(0, "ratio", (0.1, 0.1)),), "twice"),
        ((Axis(0, "ratio", (0.1,)), Axis(0, "ratio", (0.2,))), "only once"),
        ((Axis(0, "ratio", (7,)),), "outside"),
        ((Axis(0, "ration", (0.1,)),), "ratio"),
        ((Axis(0, "seed", tuple(range(3000))),), "no knob"),
    ],
)
def test_a_space_that_makes_no_sense(axes, sentence):
    with pytest.raises(VitEdgeError, match=sentence):
        Space(RECIPE, axes).check()


def test_a_grid_without_end():
    ratios = tuple(round(0.1 + i / 1000, 3) for i in range(300))
    with pytest.raises(VitEdgeError, match="2,100 recipes"):
        Space(RECIPE, (Axis(0, "ratio", ratios), Axis(1, "w_bits", tuple(range(2, 9))))).check()


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"version": 1}', "[" * 9999, '{"version": 9}', '{"version": 1, "axes": 3}']
)
def test_a_file_that_is_no_space(tmp_path, text):
    path = tmp_path / "space.json"
    path.write_text(text)
    with pytest.raises(VitEdgeError):
        read_space(path)


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(VitEdgeError, match="No such file"):
        read_space(tmp_path / "none.json")
    (tmp_path / "large.json").write_text(" " * 10**6)
    with pytest.raises(VitEdgeError, match="at most"):
        read_space(tmp_path / "large.json")


def test_a_space_comes_back_as_it_was():
    assert Space.from_dict(json.loads(json.dumps(SPACE.to_dict()))) == SPACE
    looking = replace(SPACE, gaze=True)
    assert Space.from_dict(json.loads(json.dumps(looking.to_dict()))) == looking
    assert "gaze" not in SPACE.to_dict(), "a sweep begun before it existed must resume"


@given(st.integers(1, 30), st.floats(0, 1), st.floats(0, 1))
def test_values_are_on_the_knobs_steps_and_inside(count, one, other):
    knob = Knob("ratio", 0.5, "", "", low=0.0, high=0.9, step=0.05)
    low, high = sorted((round(one * 18) * 0.05, round(other * 18) * 0.05))
    values = values_between(knob, low, high, count)
    assert 1 <= len(values) <= count
    assert list(values) == sorted(set(values))
    for value in values:
        assert knob.check("t", value) == value
        assert abs(value / 0.05 - round(value / 0.05)) < 1e-6
        assert low - 1e-9 <= value <= high + 1e-9


def test_whole_knobs_get_whole_values():
    knob = Knob("w_bits", 8, "", "", low=2, high=16, step=1)
    assert values_between(knob, 2, 8, 4) == (2, 4, 6, 8)
    assert values_between(knob, 2, 4, 9) == (2, 3, 4)
    assert all(type(value) is int for value in values_between(knob, 2, 8, 4))


def test_a_range_around_the_recipes_value():
    ratio = Knob("ratio", 0.5, "", "", low=0.0, high=0.9, step=0.05)
    assert range_around(ratio, 0.3) == pytest.approx((0.15, 0.6))
    assert range_around(ratio, 0.8) == pytest.approx((0.4, 0.9))
    assert range_around(ratio, 0.0) == (0.0, 0.9)
    assert range_around(Knob("w_bits", 8, "", "", low=2, high=16, step=1), 3) == (2, 6)


def test_a_title_in_words():
    assert SPACE.title == "6 recipes of tiny: bits of weights × share removed"
