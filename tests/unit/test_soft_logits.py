"""The laws of Hinton's loss, and of training by it."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from timm.models.vision_transformer import VisionTransformer

from vitedge_core.datasets.batch import Batch
from vitedge_core.errors import Cancelled, VitEdgeError
from vitedge_core.surgery.losses import mixed, soft_logits
from vitedge_core.surgery.masks import set_mask
from vitedge_core.surgery.teacher import Teacher
from vitedge_core.techniques.base import Context
from vitedge_core.techniques.distillation.soft_logits import SoftLogits

TEMPERATURES = st.floats(1, 20)
SEEDS = st.integers(0, 10_000)


def tiny(seed: int = 0, classes: int = 10, drop: float = 0.0) -> VisionTransformer:
    torch.manual_seed(seed)
    return VisionTransformer(
        img_size=32, patch_size=8, embed_dim=48, depth=3, num_heads=3, num_classes=classes, drop_rate=drop
    )


def stream(seed: int):
    generator = torch.Generator().manual_seed(seed)
    while True:
        yield Batch(torch.randn(8, 3, 32, 32, generator=generator), torch.randint(10, (8,), generator=generator))


def context(network: torch.nn.Module | None = None, **changes) -> Context:
    known = network if network is not None else tiny(1)
    return Context(**{"images": torch.zeros(0, 3, 32, 32), "stream": stream, "teacher": lambda name: known, **changes})


def logits(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(2, 4, 7, dtype=torch.float64, generator=generator) * 3)  # type: ignore[return-value]


@given(SEEDS, TEMPERATURES)
def test_zero_exactly_where_both_say_the_same(seed, temperature):
    student, other = logits(seed)
    assert soft_logits(student, student.clone(), temperature) == 0
    assert soft_logits(student, other, temperature) > 0


@given(SEEDS, TEMPERATURES)
def test_gradient_is_temperature_times_difference_of_probabilities(seed, temperature):
    student, teacher = logits(seed)
    student.requires_grad_()
    soft_logits(student, teacher, temperature).backward()
    law = temperature * (F.softmax(student / temperature, 1) - F.softmax(teacher / temperature, 1)) / len(student)
    assert torch.allclose(student.grad, law, atol=1e-12)


@given(SEEDS, TEMPERATURES, st.floats(-50, 50))
def test_a_constant_added_to_the_logits_changes_nothing(seed, temperature, shift):
    student, teacher = logits(seed)
    loss = soft_logits(student, teacher, temperature)
    assert torch.allclose(soft_logits(student + shift, teacher - 2 * shift, temperature), loss, atol=1e-9)


@given(SEEDS)
def test_very_hot_it_is_half_the_mean_squared_distance_of_centred_logits(seed):
    student, teacher = logits(seed)
    gap = (student - student.mean(1, keepdim=True)) - (teacher - teacher.mean(1, keepdim=True))
    limit = gap.square().sum(1).mean() / (2 * student.shape[1])
    assert soft_logits(student, teacher, 1e4).item() == pytest.approx(limit.item(), rel=1e-3)


def test_no_gradient_reaches_the_teacher():
    student, teacher = (part.requires_grad_() for part in logits(3))
    soft_logits(student, teacher, 2.0).backward()
    assert teacher.grad is None


@settings(max_examples=10)
@given(SEEDS, st.floats(0, 1), TEMPERATURES)
def test_timms_own_task_computes_the_same_loss(seed, weight, temperature):
    task = pytest.importorskip("timm.task")
    if not hasattr(task, "LogitDistillationTask"):
        pytest.skip("this timm has no LogitDistillationTask")
    networks = [tiny(seed), tiny(seed + 1)]
    for network in networks:
        network.pretrained_cfg = {"mean": (0.5,) * 3, "std": (0.5,) * 3, "num_classes": 10}
        torch.nn.init.normal_(network.head.weight)
        network.eval()
    student, teacher = networks
    batch = next(stream(seed))
    referee = task.LogitDistillationTask(
        student_model=student, teacher_model=teacher, criterion=torch.nn.CrossEntropyLoss(), loss_type="kl",
        distill_loss_weight=weight, task_loss_weight=1 - weight, temperature=temperature, verbose=False,
    )  # fmt: skip
    theirs = referee(batch.images, batch.labels)["loss"]
    out = student(batch.images)
    ours = mixed(F.cross_entropy(out, batch.labels), soft_logits(out, teacher(batch.images), temperature), weight)
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-4, abs=1e-6)


def test_the_student_comes_nearer_to_its_teacher():
    student, teacher = tiny(0), tiny(1)
    torch.nn.init.normal_(teacher.head.weight, std=0.3)
    batch = next(stream(99))

    def distance() -> float:
        with torch.no_grad():
            return soft_logits(student.eval()(batch.images), teacher.eval()(batch.images), 2.0).item()

    before = distance()
    SoftLogits(images=400, weight=1.0, lr=1e-3).apply(student, context(teacher))
    assert distance() < 0.8 * before
    assert not student.training


def test_same_seed_same_weights_and_global_generator_untouched():
    states = []
    for _ in range(2):
        model, given_context = tiny(drop=0.2), context()
        torch.rand(3 * len(states))  # whatever else drew numbers
        before = torch.get_rng_state()
        SoftLogits(images=32).apply(model, given_context)
        assert torch.equal(before, torch.get_rng_state())
        states.append(model.state_dict())
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


def test_teacher_is_not_changed_and_is_asked_for_by_name():
    teacher = tiny(1).eval()
    before = copy.deepcopy(teacher.state_dict())
    asked = []

    def find(name: str) -> torch.nn.Module:
        asked.append(name)
        return teacher

    SoftLogits(images=16, teacher="digits_convnet").apply(tiny(), context(teacher=find))
    assert asked == ["digits_convnet"]
    assert all(torch.equal(before[key], value) for key, value in teacher.state_dict().items())
    assert all(parameter.requires_grad for parameter in teacher.parameters())


def test_pruned_weights_stay_zero():
    model = tiny()
    layer = model.blocks[0].mlp.fc1
    kept = torch.rand(layer.weight.shape, generator=torch.Generator().manual_seed(0)) > 0.5
    set_mask(layer, kept)
    before = layer.weight.clone()
    SoftLogits(images=32).apply(model, context())
    assert int((layer.weight == 0).sum()) == int((~kept).sum())
    assert not torch.equal(before, layer.weight)


def test_report_and_cancel():
    told: list[tuple[float, str]] = []
    SoftLogits(images=160).apply(tiny(), context(report=lambda share, text: told.append((share, text))))
    assert told
    assert all(0 <= share <= 1 for share, _ in told)
    with pytest.raises(Cancelled):
        SoftLogits(images=160).apply(tiny(), context(cancelled=lambda: True))


def test_seconds_end_a_run():
    told: list[float] = []
    SoftLogits(images=1_000_000, seconds=1).apply(tiny(), context(report=lambda share, _: told.append(share)))
    assert 0.5 < told[-1] <= 1


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"stream": None}, "training images"),
        ({"teacher": None}, "teacher"),
        ({"teacher": lambda name: tiny(2, classes=7)}, "7 classes and the student 10"),
    ],
)
def test_what_is_missing_is_said_in_one_sentence(changes, words):
    with pytest.raises(VitEdgeError, match=words):
        SoftLogits(images=16).apply(tiny(), context(**changes))


def test_a_teacher_of_other_statistics_and_size_sees_the_same_picture():
    student, teacher = tiny(), tiny(1)
    student.pretrained_cfg = {"mean": (0.5,) * 3, "std": (0.5,) * 3, "input_size": (3, 32, 32)}
    teacher.pretrained_cfg = {"mean": (0.1, 0.2, 0.3), "std": (0.2, 0.3, 0.4), "input_size": (3, 32, 32)}
    picture = torch.rand(2, 3, 32, 32)
    theirs = (picture - torch.tensor([0.1, 0.2, 0.3])[:, None, None]) / torch.tensor([0.2, 0.3, 0.4])[:, None, None]
    assert torch.allclose(Teacher(teacher, student, "t")((picture - 0.5) / 0.5), teacher(theirs), atol=1e-5)
    student.pretrained_cfg["input_size"] = (3, 48, 48)
    assert Teacher(teacher, student, "t")(torch.rand(2, 3, 48, 48)).shape == (2, 10)


def test_averaging_keeps_a_running_mean_of_the_weights():
    """With one step the mean is the last weights; with more it lies between the first and the last."""
    knobs = {"images": 32, "lr": 1e-2, "seconds": 600}
    last = SoftLogits(**knobs).apply(tiny(), context())
    mean = SoftLogits(average=0.9, **knobs).apply(tiny(), context())
    start = tiny()
    moved = [float((model.head.weight - start.head.weight).norm()) for model in (mean, last)]
    assert 0 < moved[0] < 0.9 * moved[1]
