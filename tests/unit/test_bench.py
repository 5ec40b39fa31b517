"""Recipes in engines: rows with figures, rows with sentences, and what is found again."""

from __future__ import annotations

import json

import homegrown
import pytest
import torch
from fake_engines import MadeUp

from vitedge_core import backends
from vitedge_core.backends import BASELINE
from vitedge_core.datasets import wild_digits
from vitedge_core.datasets.encoded import decoder, encoded
from vitedge_core.datasets.sets import open_images
from vitedge_core.errors import Cancelled, VitEdgeError
from vitedge_core.experiments import bench as subject
from vitedge_core.experiments import bench_store, engines
from vitedge_core.experiments.bench import Request, bench
from vitedge_core.experiments.bench_rows import BenchRow, Setting
from vitedge_core.experiments.engines import built, opened
from vitedge_core.models.load import preprocessing
from vitedge_core.recipe import Recipe, Step

HALF = Step.of("head_mlp_magnitude", ratio=0.5, compensate=False)
FAULTS = {
    "missing": "pip install made-up", "refuses": "cannot run this", "fails": "no kernel for this",
    "memory": "too little memory", "infinite": "infinite or undefined",
}  # fmt: skip


@pytest.fixture(autouse=True)
def small(monkeypatch, tmp_path):
    made = {split: wild_digits.compose(split, 0, count=24) for split in wild_digits.SPLITS}
    monkeypatch.setattr(wild_digits, "load", lambda split="test", count=0, seed=0: made[split])
    monkeypatch.setenv("VITEDGE_STORAGE", f"sqlite:///{tmp_path / 'runs.db'}")
    engines._memory.clear()


@pytest.fixture(scope="module")
def name() -> str:
    return homegrown.keep("bench")


@pytest.fixture
def offer(monkeypatch):
    """Make these the engines beside the eager one."""

    def install(*others: MadeUp) -> None:
        monkeypatch.setattr(backends, "ENGINES", (BASELINE, *others))

    return install


def request(name: str, *keys: str, steps: tuple[Step, ...] = (HALF,), **changes) -> Request:
    return Request((Recipe(name, steps),), keys, **{"seconds": 0.0, **changes})


def test_a_row_has_times_a_ratio_and_what_was_built(name, offer):
    offer(MadeUp())
    eager, other = bench(request(name, "eager", "made-up"))
    for row in (eager, other):
        assert row.problem == ""
        assert row.speed.ratio.low <= row.speed.ratio.value <= row.speed.ratio.high
        assert 0 < row.speed.median.value <= row.speed.slow.value
        assert "interleaved" in row.speed.median.source
        assert row.circumstances.machine
        assert "torch" in dict(row.circumstances.versions)
    assert other.facts == ("everything is made up",)
    assert (other.build_seconds.value, other.bytes.value) == (0.5, 1_000)
    assert other.agreement is None
    assert eager.speed.baseline == other.speed.baseline, "they were timed in the same rounds"


@pytest.mark.parametrize("fault", FAULTS)
def test_a_failing_engine_has_a_sentence_and_the_others_go_on(name, offer, fault):
    offer(MadeUp(key="bad", fault=fault), MadeUp(key="good"))
    bad, good = bench(request(name, "bad", "good", limit=8))
    assert FAULTS[fault] in bad.problem
    assert "\n" not in bad.problem
    assert bad.speed is None
    assert good.speed is not None
    assert good.agreement.same.value == 1
    assert [row.engine for row in bench_store.rows()] == ["good"], "only what was measured is kept"


def test_a_batch_that_an_engine_cannot_take_fails_in_its_own_row(name, offer):
    offer(MadeUp())
    one, eight, _, both = bench(request(name, "made-up", "eager", settings=(Setting(1), Setting(8))))
    assert one.speed is not None
    assert eight.problem == "Made up takes at most 4 images."
    assert both.speed is not None
    assert both.setting.batch == 8


def test_without_steps_the_eager_row_is_the_baseline_itself(name, offer):
    offer()
    (row,) = bench(request(name, "eager", steps=(), limit=None))
    assert row.speed.ratio.is_exact
    assert row.speed.ratio.value == 1
    assert row.speed.median == row.speed.baseline
    assert (row.agreement.same.value, row.agreement.error.value, row.change.value) == (1, 0, 0)


def test_an_engine_that_changes_answers_is_flagged(name, offer):
    offer(MadeUp(key="off", raised=1e3), MadeUp(key="right"))
    off, right = bench(request(name, "off", "right", limit=None))
    assert off.agreement.n == 24
    assert off.agreement.same.value < 0.5
    assert off.flagged
    assert off.own_step == "rounds by itself"
    assert not right.flagged
    assert right.agreement.error.value < 1e-5


def test_a_missing_baseline_is_every_rows_problem(name, offer, monkeypatch):
    offer(MadeUp())

    def gone(*_, **__):
        raise VitEdgeError("There are no weights.")

    monkeypatch.setattr(subject, "built", gone)
    assert [row.problem for row in bench(request(name, "eager", "made-up"))] == ["There are no weights."] * 2


def test_what_was_measured_is_found_again_unless_it_shall_be_measured_again(name, offer):
    log: list[str] = []
    offer(MadeUp(built=(log,)))
    first = bench(request(name, "made-up", "eager"))
    assert bench(request(name, "made-up", "eager")) == first
    assert bench(request(name, "made-up", "eager", limit=8))[0].agreement is not None, "agreement was not known yet"
    assert bench(request(name, "made-up", "eager"), again=True)[0].circumstances != first[0].circumstances
    assert log == ["made-up"], "the artefact is built once"
    assert bench(request(name, "made-up", settings=(Setting(2),)))[0].setting.batch == 2


def test_rows_survive_json(name, offer):
    offer(MadeUp(raised=1.0))
    for row in bench(request(name, "made-up", "eager", limit=8)):
        assert BenchRow.from_dict(json.loads(json.dumps(row.to_dict()))) == row


def test_decoding_takes_its_time_and_gives_what_the_set_gives(name, offer):
    offer(MadeUp())
    prepared = preprocessing(name)
    images = open_images("digits")
    decoded = decoder(prepared)(encoded(images, 3))
    assert torch.allclose(decoded, next(iter(images.batches(prepared, 3))).images, atol=1e-5)
    (row,) = bench(request(name, "made-up", settings=(Setting(2, 1, True),)))
    assert "from the encoded file" in row.speed.median.source


def test_cancelling_keeps_nothing_half_done(name, offer):
    offer(MadeUp(fault="cancelled"))
    with pytest.raises(Cancelled):
        bench(request(name, "made-up"))
    with pytest.raises(Cancelled):
        bench(request(name, "eager"), cancelled=lambda: True)
    assert bench_store.rows() == []


def test_what_is_wrong_with_the_request_is_said_before_anything_is_built(name, offer):
    offer(MadeUp())
    for broken, words in (
        (request(name, "made-upp"), "did you mean 'made-up'"),
        (request(name, "eager", settings=(Setting(threads=1_000),)), "not 1000"),
        (request(name, "eager", steps=(Step.of("tome", r=10**6),)), "r"),
    ):
        with pytest.raises(VitEdgeError, match=words):
            bench(broken)


def test_memory_is_looked_at_before_a_model_is_built(name, offer, monkeypatch):
    log: list[str] = []
    offer(MadeUp(built=(log,)))
    monkeypatch.setattr(engines, "free_memory", lambda: 1_000)
    with pytest.raises(VitEdgeError, match=r"would need about .* GB of memory to build this model"):
        built(Recipe(name), "made-up")
    assert log == []
    monkeypatch.setattr(engines, "free_memory", lambda: None)
    made = built(Recipe(name), "made-up")
    monkeypatch.setattr(engines, "free_memory", lambda: 1_000)
    with pytest.raises(VitEdgeError, match="to run a batch of 2"):
        opened(made, 1, 2)


def test_the_least_used_artefact_is_forgotten(name, offer):
    log: list[str] = []
    offer(*[MadeUp(key=key, built=(log,)) for key in ("a", "b")])
    small = engines._Memory(limit=1)
    engines_memory, engines._memory = engines._memory, small
    try:
        for key in ("a", "a", "b", "a"):
            built(Recipe(name), key)
    finally:
        engines._memory = engines_memory
    assert log == ["a", "b", "a"]
