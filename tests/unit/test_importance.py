"""Which knob matters: known answers, and a refusal where there is none."""

import random

import pytest

from tests.unit.test_points import with_cost
from tests.unit.test_runs import a_run
from vitedge_core.errors import Cancelled, VitEdgeError
from vitedge_core.evidence import Evidence
from vitedge_core.experiments import importance
from vitedge_core.experiments.importance import importances, kinds, missing, settings, varied
from vitedge_core.experiments.points import points
from vitedge_core.recipe import Recipe, Step


@pytest.fixture(autouse=True)
def _few_resamples(monkeypatch):
    monkeypatch.setattr(importance, "RESAMPLES", 2)


def drawn(count, gain, seed=1):
    draw = random.Random(seed)
    chosen = [{"1 a.x": draw.random(), "1 a.n": draw.randint(1, 9), "2 b.mode": draw.choice(["one", "two"]),
               "2 b.fixed": 3} for _ in range(count)]  # fmt: skip
    return chosen, [gain(one) + draw.gauss(0, 1e-3) for one in chosen]


@pytest.mark.parametrize(("gain", "first"), [
    (lambda s: s["1 a.x"], "1 a.x"), (lambda s: -0.1 * s["1 a.n"], "1 a.n"),
    (lambda s: float(s["2 b.mode"] == "two"), "2 b.mode"),
])  # fmt: skip
def test_the_knob_that_decides_explains_most(gain, first):
    found = importances(*drawn(40, gain))
    assert next(iter(found)) == first
    assert found[first].value > 0.9
    assert set(found) == {"1 a.x", "1 a.n", "2 b.mode"}
    assert sum(share.value for share in found.values()) == pytest.approx(1, abs=0.01)
    assert all(share.low <= share.value <= share.high for share in found.values())
    assert found[first].evidence is Evidence.PREDICTED
    assert "40 measured recipes" in found[first].source


def test_it_is_the_same_each_time():
    chosen, gains = drawn(40, lambda s: s["1 a.x"])
    assert importances(chosen, gains) == importances(chosen, gains)


def test_too_few_recipes_are_refused_with_their_number():
    chosen, gains = drawn(20, lambda s: s["1 a.x"])
    assert missing(chosen) == 16
    with pytest.raises(VitEdgeError, match="16 more recipes"):
        importances(chosen, gains)
    with pytest.raises(VitEdgeError, match="No knob varies"):
        importances(chosen[:1], gains[:1])
    with pytest.raises(VitEdgeError, match="came out the same"):
        importances(drawn(40, lambda s: 0.0)[0], [0.5] * 40)


def test_it_reports_and_can_be_cancelled():
    told = []
    chosen, gains = drawn(40, lambda s: s["1 a.x"])
    importances(chosen, gains, report=lambda share, sentence: told.append(share))
    assert told == [1 / 3, 2 / 3]
    with pytest.raises(Cancelled):
        importances(chosen, gains, cancelled=lambda: True)


def test_only_some_of_very_many_are_looked_at(monkeypatch):
    monkeypatch.setattr(importance, "MOST", 40)
    found = importances(*drawn(300, lambda s: s["1 a.x"]))
    assert all("over 40 measured recipes" in share.source for share in found.values())


def test_recipes_are_told_apart_by_kind():
    runs = [with_cost(a_run(r), 1e5) for r in (0.1, 0.2, 0.3)]
    (kind, own), *rest = kinds(points(runs, "macs")).items()
    assert kind == ("tiny", "head_mlp_magnitude")
    assert len(own) == 3  # the uncompressed model is none of them
    assert rest == []


def test_knobs_at_their_default_count_too():
    told = settings(Recipe("tiny", (Step.of("head_mlp_magnitude"), Step.of("tome", r=4, enabled=True))))
    assert told["2 tome.r"] == 4
    assert (
        told["1 head_mlp_magnitude.ratio"]
        == settings(Recipe("tiny", (Step.of("head_mlp_magnitude"),)))["1 head_mlp_magnitude.ratio"]
    )
    assert settings(Recipe("tiny", (Step.of("gone", x=1),))) == {"1 gone.x": 1}
    assert varied([{"a": 1, "b": 2}, {"a": 1, "b": 3}]) == ("b",)
