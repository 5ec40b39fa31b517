"""A recipe in an engine: figures of what really runs, agreement with eager, and runs that are kept by engine."""

from __future__ import annotations

import json
from dataclasses import replace

import homegrown
import pytest
from fake_engines import MadeUp

from vitedge_core import backends
from vitedge_core.backends import BASELINE
from vitedge_core.compress import compress, plan_recipe
from vitedge_core.datasets import wild_digits
from vitedge_core.errors import Cancelled, VitEdgeError
from vitedge_core.evidence import Evidence
from vitedge_core.experiments import engines, runs
from vitedge_core.experiments import evaluate as evaluating
from vitedge_core.experiments.evaluate import evaluate
from vitedge_core.experiments.evaluation import COSTS, IN_ENGINE
from vitedge_core.experiments.goal import Goal, Limit
from vitedge_core.experiments.space import Axis, Space
from vitedge_core.experiments.store import study
from vitedge_core.experiments.sweep import run_sweep
from vitedge_core.recipe import Recipe, Step

HALF = Step.of("head_mlp_magnitude", ratio=0.5, compensate=False)
FAULTS = {
    "missing": "pip install made-up", "refuses": "cannot run this", "fails": "no kernel for this",
    "memory": "too little memory", "infinite": "infinite or undefined",
}  # fmt: skip


@pytest.fixture(autouse=True)
def small(monkeypatch, tmp_path):
    made = {split: wild_digits.compose(split, 0, count=40) for split in wild_digits.SPLITS}
    monkeypatch.setattr(wild_digits, "load", lambda split="test", count=0, seed=0: made[split])
    monkeypatch.setenv("VITEDGE_STORAGE", f"sqlite:///{tmp_path / 'runs.db'}")
    evaluating._outcomes.clear()
    engines._memory.clear()


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    return Recipe(homegrown.keep("in-engine"), (HALF,))


@pytest.fixture
def offer(monkeypatch):
    """Make these the engines beside the eager one."""

    def install(*others: MadeUp) -> None:
        monkeypatch.setattr(backends, "ENGINES", (BASELINE, *others))

    return install


def test_accuracy_latency_and_file_are_those_of_the_artefact(recipe, offer):
    offer(MadeUp(raised=1e6))  # always answers 0
    found = evaluate(recipe, limit=32, engine="made-up")
    eager = evaluate(recipe, limit=32, latency=False)
    assert found.n == 32
    assert set(found.compressed) == {*COSTS, *IN_ENGINE, "accuracy", "latency_seconds"}
    assert all(found.compressed[name] == eager.compressed[name] for name in COSTS)
    zeros = int((wild_digits.load().labels[:32] == 0).sum())
    accuracy = found.compressed["accuracy"]
    assert accuracy.value == zeros / 32
    assert accuracy.evidence is Evidence.MEASURED
    assert "answered by Made up" in accuracy.source
    assert found.compressed["eager_accuracy"] == eager.compressed["accuracy"]
    assert found.baseline["accuracy"] == eager.baseline["accuracy"]
    assert found.difference.value == pytest.approx(accuracy.value - found.baseline["accuracy"].value)
    assert found.compressed["artefact_bytes"].value == 1_000
    assert found.compressed["build_seconds"].value == 0.5
    model = compress(Recipe(recipe.model)).model
    weights = sum(tensor.numel() * tensor.element_size() for tensor in model.state_dict().values())
    assert found.baseline["artefact_bytes"].value == weights
    assert found.ratio is not None
    assert "Made up by uncompressed PyTorch, eager" in found.ratio.source
    assert "Made up" in found.compressed["latency_seconds"].source


def test_an_engine_that_changes_answers_is_flagged_and_one_that_does_not_is_not(recipe, offer):
    offer(MadeUp(key="wild", raised=1e6), MadeUp(key="true"))
    wild, true = (evaluate(recipe, limit=32, latency=False, engine=key) for key in ("wild", "true"))
    assert wild.flagged
    assert any("changes more answers" in note for note in wild.notes)
    assert not true.flagged
    assert true.compressed["same_answers"].value == 1
    assert true.compressed["logits_error"].value < 1e-5
    assert not any("changes more" in note for note in true.notes)
    assert not evaluate(recipe, limit=32, latency=False).flagged


def test_facts_and_the_engines_own_step_are_told(recipe, offer):
    offer(MadeUp(raised=0.1))
    notes = evaluate(recipe, limit=8, latency=False, engine="made-up").notes
    assert "Made up: everything is made up." in notes
    assert "Last step, by the engine: rounds by itself" in notes


@pytest.mark.parametrize("fault", FAULTS)
def test_whatever_goes_wrong_is_one_sentence_and_nothing_is_kept(recipe, offer, fault):
    offer(MadeUp(fault=fault))
    with pytest.raises(VitEdgeError, match=FAULTS[fault]) as caught:
        runs.measured(recipe, limit=8, latency=False, engine="made-up")
    assert "\n" not in str(caught.value)
    assert not runs.all_runs(engine=None)


def test_an_unknown_engine_names_the_nearest(recipe, offer):
    offer(MadeUp())
    with pytest.raises(VitEdgeError, match="did you mean 'made-up'"):
        runs.measured(recipe, limit=8, engine="made-upp")


def test_cancelling_while_it_builds_keeps_nothing(recipe, offer):
    offer(MadeUp(fault="cancelled"))
    with pytest.raises(Cancelled):
        runs.measured(recipe, limit=8, latency=False, engine="made-up")
    assert not runs.all_runs(engine=None)


def test_progress_never_falls(recipe, offer):
    offer(MadeUp())
    shares: list[float] = []
    evaluate(recipe, limit=8, engine="made-up", report=lambda share, _: shares.append(share))
    assert shares == sorted(shares)
    assert shares[-1] == 1.0


def test_runs_are_kept_and_found_by_engine(recipe, offer, monkeypatch):
    log: list[str] = []
    offer(MadeUp(built=(log,)))
    first = runs.measured(recipe, limit=8, latency=False, engine="made-up")
    engines._memory.clear()
    again = runs.measured(recipe, limit=8, latency=False, engine="made-up")
    assert again == first
    assert log == ["made-up"], "it was measured before, so nothing is built"
    eager = runs.measured(recipe, limit=8, latency=False)
    assert "same_answers" not in eager.compressed
    assert [run.engine for run in runs.all_runs()] == ["PyTorch, eager"]
    assert {run.engine for run in runs.all_runs(engine=None)} == {"PyTorch, eager", "Made up"}
    monkeypatch.setattr(runs, "versions", lambda: (("made-up", "2"),))
    runs.measured(recipe, limit=8, latency=False, engine="made-up")
    assert log == ["made-up", "made-up"], "another version of a library may answer otherwise"


def test_a_run_from_before_there_were_engines_ran_in_the_eager_one(recipe):
    assert BASELINE.title == runs.ENGINE
    assert BASELINE.key == runs.EAGER
    evaluation = evaluate(recipe, limit=8, latency=False)
    plain = runs.Run(evaluation, 8, "Digits", "w", 1.0, 1.0).to_dict()
    assert plain.pop("engine") == "PyTorch, eager"
    assert runs.Run.from_dict(plain).engine == "PyTorch, eager"


def test_titles_name_engines_as_well_as_keys_do():
    titles = [engine.title for engine in backends.ENGINES]
    assert len(titles) == len(set(titles))


def test_a_sweep_measures_in_its_engine(recipe, offer, tmp_path):
    offer(MadeUp(raised=1e6))  # always answers 0
    most = plan_recipe(replace(recipe, steps=(HALF.with_knob("ratio", 0.4),))).last.params
    goal = Goal(("accuracy", "latency_seconds"), (Limit("params", most=most),))
    space = Space(recipe, (Axis(0, "ratio", (0.2, 0.4, 0.6)),), limit=32, goal=goal, halving=True, engine="made-up")
    path = tmp_path / "space.json"
    path.write_text(json.dumps(space.to_dict()))
    found = run_sweep(path, "swept")
    assert (found["done"], found["problems"], found["skipped"]) == (3, {}, 1)
    kept = runs.all_runs(engine=None)
    assert [run.engine for run in kept] == ["Made up", "Made up"]
    assert all(run.timed for run in kept)
    zeros = int((wild_digits.load().labels[:32] == 0).sum())
    measured = [trial.values[0] for trial in study("swept").trials if trial.values]
    assert measured == [zeros / 32, zeros / 32]
