"""The experiment: two runs on the same images from the same start, of which only one has a teacher."""

from __future__ import annotations

import copy
import json
import os

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from timm.models.vision_transformer import VisionTransformer

from vitedge_core.__main__ import main
from vitedge_core.datasets import wild_digits
from vitedge_core.datasets.sets import DigitImages
from vitedge_core.errors import Cancelled, VitEdgeError
from vitedge_core.evidence import Evidence, Quantity
from vitedge_core.experiments import distil, distil_job, jobs
from vitedge_core.experiments.distil import Trained, train_both
from vitedge_core.experiments.jobs import State
from vitedge_core.experiments.lesson import ALONE, HELD_OUT, TAUGHT, Point, Result, Settings
from vitedge_core.experiments.worker import working
from vitedge_core.measure.accuracy import evaluate
from vitedge_core.models import own
from vitedge_core.models.build import build
from vitedge_core.models.bundled.architectures import MEAN, STD
from vitedge_core.models.checkpoint import save_own
from vitedge_core.models.load import load, preprocessing
from vitedge_core.models.zoo import card
from vitedge_core.plots.distil import curves, table
from vitedge_core.preprocessing import Preprocessing

PREPROCESSING = Preprocessing(48, MEAN, STD)
SHORT = {"teacher": "t", "student": "s", "images": 192, "seconds": 600.0}


@pytest.fixture(autouse=True)
def _few_held_out(monkeypatch):
    monkeypatch.setattr(distil, "HELD_OUT", 50)


def tiny(seed: int = 0, classes: int = 10) -> VisionTransformer:
    torch.manual_seed(seed)
    return VisionTransformer(img_size=48, patch_size=12, embed_dim=24, depth=2, num_heads=2, num_classes=classes)


def states_equal(first: torch.nn.Module, second: torch.nn.Module) -> bool:
    ours, theirs = first.state_dict(), second.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[key], theirs[key]) for key in ours)


@pytest.mark.parametrize("start", ["weights", "scratch"])
def test_same_settings_same_students(start):
    student, teacher = tiny(0), tiny(1)
    before = copy.deepcopy(student)
    points: list[list[Point]] = [[], []]
    runs = []
    for mine in points:
        torch.rand(3 * len(runs))  # whatever else drew numbers
        settings = Settings(**SHORT, start=start)
        runs.append(
            train_both(student, teacher, settings, PREPROCESSING, report=lambda _, both, m=mine: m.extend(both))
        )
    assert states_equal(runs[0].taught, runs[1].taught)
    assert states_equal(runs[0].alone, runs[1].alone)
    assert not states_equal(runs[0].taught, runs[0].alone)
    assert states_equal(student, before)
    assert (runs[0].steps, runs[0].images) == (3, 192)
    assert [p.top1 for p in points[0]] == [p.top1 for p in points[1]]
    assert not runs[0].taught.training


@pytest.mark.parametrize("start", ["weights", "scratch"])
def test_a_teacher_without_weight_changes_nothing(start):
    """With a share of 0 the two runs are one and the same: same start, same images, same loss."""
    trained = train_both(tiny(0), tiny(1), Settings(**SHORT, weight=0.0, start=start), PREPROCESSING)
    assert states_equal(trained.taught, trained.alone)


def test_the_curves_compare_the_same_loss():
    points: list[Point] = []
    train_both(
        tiny(0), tiny(1), Settings(**SHORT, weight=1.0, temperature=20.0), PREPROCESSING,
        report=lambda share, both: points.extend(both),
    )  # fmt: skip
    first = [point for point in points if point.step == 1]
    assert first[0].loss == first[1].loss  # cross-entropy at the common start, whatever is learned from


def test_training_images_and_test_images_are_apart(monkeypatch):
    asked = []
    compose = wild_digits.compose

    def watched(split, block, **settings):
        asked.append((split, block, settings["seed"]))
        return compose(split, block, **settings)

    monkeypatch.setattr(wild_digits, "compose", watched)
    train_both(tiny(), tiny(1), Settings(**SHORT), PREPROCESSING)
    assert {split for split, _, _ in asked} == {"train"}
    assert len(set(asked)) == len(asked)


def test_from_scratch_the_digits_are_clean_first():
    points: list[Point] = []
    train_both(
        tiny(), tiny(1), Settings(**SHORT, start="scratch"), PREPROCESSING, report=lambda _, both: points.extend(both)
    )
    assert points[0].difficulty == 0
    points.clear()
    train_both(tiny(), tiny(1), Settings(**SHORT), PREPROCESSING, report=lambda _, both: points.extend(both))
    assert points[0].difficulty == 1


def test_seconds_end_both_runs_together():
    points: list[Point] = []
    settings = Settings("t", "s", seconds=1.0)
    trained = train_both(tiny(), tiny(1), settings, PREPROCESSING, report=lambda _, both: points.extend(both))
    assert sum(trained.seconds.values()) == pytest.approx(1.0, abs=0.7)
    assert points[-1].step == points[-2].step == trained.steps


def test_cancel():
    with pytest.raises(Cancelled):
        train_both(tiny(), tiny(1), Settings(**SHORT), PREPROCESSING, cancelled=lambda: True)


def test_a_teacher_of_other_classes_is_refused_before_any_training():
    steps = []
    with pytest.raises(VitEdgeError, match="The teacher t names 7 classes and the student 10"):
        train_both(tiny(), tiny(1, classes=7), Settings(**SHORT), PREPROCESSING, report=lambda *a: steps.append(a))
    assert not steps


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"temperature": 0.5}, "temperature = 0.5 is outside 1 to 20"),
        ({"weight": 1.5}, "weight = 1.5 is outside 0 to 1"),
        ({"seconds": 0}, "seconds = 0 is outside 1 to 7,200"),
        ({"images": 1}, "images = 1 is outside"),
        ({"start": "nothing"}, "weights or scratch"),
        ({"seed": -1}, "seed"),
    ],
)
def test_settings_out_of_range_are_refused(changes, words):
    with pytest.raises(VitEdgeError, match=words):
        Settings(**{**SHORT, **changes})


quantities = st.floats(0, 1).map(lambda share: Quantity(share, "share", Evidence.MEASURED, "here", 0.0, 1.0))


@given(quantities, quantities, st.none() | quantities, st.integers(1, 10**6))
def test_a_result_survives_the_store(teacher, gain, before, steps):
    result = Result("mine/x", teacher, gain, gain, gain, before, steps, 64 * steps, {TAUGHT: 1.5, ALONE: 1.0})
    assert Result.from_dict(result.to_dict()) == result


POINTS = [
    Point(arm, step, 64 * step, 2.0 * step, loss, top1, 1.0)
    for step, loss, top1 in ((0, None, 0.1), (5, 1.2, 0.55))
    for arm in (TAUGHT, ALONE)
]


def test_curves_and_their_table_say_the_same():
    figure = curves(POINTS)
    lines = [trace for trace in figure.data if trace.name]
    assert [list(line.y) for line in lines] == [[0.1, 0.55]] * 2
    assert list(lines[0].x) == [0, 320]
    assert list(curves(POINTS, "seconds").data[1].x) == [0, 10]
    rows = table(POINTS)
    assert [row["images seen"] for row in rows] == [0, 320]
    assert rows[1]["right, with the teacher"] == rows[1]["right, without"] == "55.0%"
    assert rows[0]["loss, without"] is None


def test_the_band_is_the_interval_of_the_held_out_images():
    band = curves(POINTS).data[0]
    assert band.mode == "lines"  # few points would otherwise be marked
    assert max(band.y) - 0.55 == pytest.approx(1.96 * (0.55 * 0.45 / HELD_OUT) ** 0.5, rel=0.05)


def test_curves_of_nothing():
    assert len(curves([]).data) == 0
    assert table([]) == []


# --- the job ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def small_sets(monkeypatch):
    """Few images to be examined on, so that a whole lesson takes seconds."""
    few = wild_digits.load("test", 100)
    monkeypatch.setattr(DigitImages, "_pixels", lambda self: few)


@pytest.fixture(scope="module")
def teacher():
    torch.manual_seed(5)
    name = save_own(build("digits_convnet"), "digits_convnet", "A teacher", task="digits").name
    yield name
    own.forget(name)


def test_a_lesson_leaves_a_student_that_is_picked_by_name(small_sets, teacher):
    settings = Settings(teacher, teacher, images=64, seconds=600)
    result = distil_job.run_job(settings, "distil-test-1")
    told = distil_job.lesson("distil-test-1")
    assert told.job.state is State.FINISHED
    assert (told.settings, told.result) == (settings, result)
    assert [point.step for point in told.points] == [0, 0, 1, 1]
    assert result.before is not None
    assert result.before.value == result.teacher.value
    known = card(result.model)
    assert known.task == "digits"
    assert known.top1 == result.taught
    facts = own.facts(result.model)
    assert facts["architecture"] == "digits_convnet"
    assert Settings(**facts["facts"]["lesson"]) == settings
    outcome = evaluate(load(result.model).model, DigitImages(), preprocessing(result.model))
    assert outcome.top1 == result.taught
    assert result.gain.low <= result.gain.value == pytest.approx(result.taught.value - result.alone.value)
    own.forget(result.model)


def stubborn(answer: int) -> torch.nn.Module:
    """A network that gives the same answer to everything."""
    network = build("digits_convnet")
    with torch.no_grad():
        network.head.fc.weight.zero_()
        network.head.fc.bias.copy_(10.0 * torch.nn.functional.one_hot(torch.tensor(answer), 10))
    return network.eval()


def test_the_gain_is_the_taught_one_minus_the_other_and_the_taught_one_is_kept(small_sets, teacher, monkeypatch):
    labels = DigitImages()._pixels().labels
    often, seldom = int(labels.bincount().argmax()), int(labels.bincount(minlength=10).argmin())
    both = Trained(stubborn(often), stubborn(seldom), 1, 64, {TAUGHT: 1.0, ALONE: 1.0})
    monkeypatch.setattr(distil, "train_both", lambda *a, **k: both)
    result = distil_job.run_job(Settings(teacher, teacher), "distil-test-4")
    share = {digit: float((labels == digit).float().mean()) for digit in (often, seldom)}
    assert result.taught.value == pytest.approx(share[often])
    assert result.alone.value == pytest.approx(share[seldom])
    assert result.gain.value == pytest.approx(share[often] - share[seldom])
    assert int(load(result.model).model(torch.zeros(1, 3, 48, 48)).argmax()) == often
    own.forget(result.model)


@pytest.mark.parametrize(
    ("low", "high", "words"), [(0.01, 0.2, "helped"), (-0.2, -0.01, "did harm"), (-0.1, 0.2, "No difference beyond")]
)
def test_the_verdict_needs_an_interval_that_leaves_zero_out(low, high, words):
    one = Quantity(0.5, "share", Evidence.MEASURED, "here", 0.4, 0.6)
    gain = Quantity((low + high) / 2, "share", Evidence.MEASURED, "here", low, high)
    assert words in Result("mine/x", one, one, one, gain, None, 1, 64, {}).verdict


@pytest.mark.slow
def test_any_small_timm_classifier_can_begin_from_nothing(small_sets, teacher):
    settings = Settings(teacher, "mobilenetv3_small_050", start="scratch", images=64, seconds=600)
    result = distil_job.run_job(settings, "distil-test-2")
    assert result.before is None
    assert card(result.model).image == 48
    assert evaluate(load(result.model).model, DigitImages(), preprocessing(result.model)).top1 == result.taught
    own.forget(result.model)


def test_a_cancelled_lesson_keeps_its_curves_and_no_student(small_sets, teacher):
    before = own.names()
    told = []
    with pytest.raises(Cancelled):
        distil_job.run_job(
            Settings(teacher, teacher, images=6400), "distil-test-3",
            report=lambda share, text: told.append(text), cancelled=lambda: bool(told),
        )  # fmt: skip
    lesson = distil_job.lesson("distil-test-3")
    assert lesson.job.state is State.CANCELLED
    assert lesson.points
    assert lesson.result is None
    assert own.names() == before


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"teacher": "deit_tiny_patch16_224.fb_in1k"}, "cannot teach: a teacher was trained on the digits"),
        ({"teacher": "digits_vit_bse"}, "digits_vit_base"),
        ({"student": "mobilenetv3_small_050"}, "let it start from scratch"),
        ({"student": "vit_base_patch16_224", "start": "scratch"}, "at most 12,000,000"),
    ],
)
def test_what_cannot_be_carried_out_is_refused_before_a_process_is_started(monkeypatch, teacher, changes, words):
    monkeypatch.setattr(jobs, "_launch", lambda *a: pytest.fail("a process was started"))
    with pytest.raises(VitEdgeError, match=words):
        distil_job.start(Settings(**{"teacher": teacher, "student": teacher, **changes}))


def test_what_is_typed_is_what_was_chosen(monkeypatch, capsys, teacher):
    typed = []
    monkeypatch.setattr(jobs, "_launch", lambda command, log: typed.extend(command) or os.getpid())
    settings = Settings(teacher, teacher, 3.5, 0.25, 45, "scratch", 640, 7)
    name = distil_job.start(settings)
    called = []
    one = Quantity(1.0, "share", Evidence.MEASURED, "here", 0.9, 1.0)
    result = Result("mine/x", one, one, one, one, None, 1, 64, {TAUGHT: 1.0, ALONE: 1.0})
    monkeypatch.setattr(distil_job, "run_job", lambda *a: called.append(a) or result)
    assert main([*typed[3:], "--json"]) == 0
    assert called[0][:2] == (settings, name)
    assert Result.from_dict(json.loads(capsys.readouterr().out)) == result
    assert distil_job.lesson(name).job.state is State.STARTING


def test_a_sweep_is_no_lesson():
    with pytest.raises(VitEdgeError, match="no distillation"), working("sweep-x", "sweep", "Sweep"):
        distil_job.lesson("sweep-x")
