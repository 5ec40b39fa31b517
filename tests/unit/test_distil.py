"""The experiment: two runs on the same images from the same start, of which only one has a teacher."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from timm.models.vision_transformer import VisionTransformer

from vitedge_core.datasets import wild_digits
from vitedge_core.errors import Cancelled, VitEdgeError
from vitedge_core.evidence import Evidence, Quantity
from vitedge_core.experiments.distil import train_both
from vitedge_core.experiments.lesson import ALONE, HELD_OUT, TAUGHT, Point, Result, Settings
from vitedge_core.models.bundled.architectures import MEAN, STD
from vitedge_core.plots.distil import curves, table
from vitedge_core.preprocessing import Preprocessing

PREPROCESSING = Preprocessing(48, MEAN, STD)
SHORT = {"teacher": "t", "student": "s", "images": 192, "seconds": 600.0}


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
    runs = [
        train_both(
            student, teacher, Settings(**SHORT, start=start), PREPROCESSING,
            report=lambda share, both, mine=mine: mine.extend(both),
        )
        for mine in points
    ]  # fmt: skip
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
    assert max(band.y) - 0.55 == pytest.approx(1.96 * (0.55 * 0.45 / HELD_OUT) ** 0.5, rel=0.05)


def test_curves_of_nothing():
    assert len(curves([]).data) == 0
    assert table([]) == []
