"""What a teacher is worth: one student trained twice, on the same images from the same start, with and without it.

The two runs take turns, a step each, so that at every moment both have seen exactly the same; only the loss differs.
Distillation as in Hinton, Vinyals and Dean, arXiv:1503.02531.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitedge_core.datasets import wild_digits
from vitedge_core.datasets.batch import Batch
from vitedge_core.datasets.sets import prepare
from vitedge_core.errors import Cancelled
from vitedge_core.experiments.from_scratch import Curriculum, TokenLabelled, Training, mimetic, token_loss
from vitedge_core.experiments.lesson import ALONE, HELD_OUT, SCRATCH, TAUGHT, WEIGHTS, Point, Settings
from vitedge_core.preprocessing import Preprocessing
from vitedge_core.surgery.losses import mixed, soft_logits
from vitedge_core.surgery.teacher import Teacher
from vitedge_core.surgery.train import Schedule, Trainer

RATES = {WEIGHTS: 3e-4, SCRATCH: 1.5e-3}  # highest learning rate of either start
TOKEN_WEIGHT = 0.5  # of the patches' labels, which only help a start from scratch
POINTS = 25  # of a curve


@dataclass(frozen=True, slots=True)
class Trained:
    """Both students, in eval mode, and what it took: steps and images each has seen, seconds each has trained."""

    taught: nn.Module
    alone: nn.Module
    steps: int
    images: int
    seconds: dict[str, float]


class _Arm:
    """One of the two runs: a network, its trainer and its clock. `soft` is the teacher's loss, None without one."""

    def __init__(
        self, name: str, network: nn.Module, schedule: Schedule, soft: Callable[[Tensor, Batch, Tensor], Tensor] | None
    ) -> None:
        self.name, self.network, self.soft = name, network, soft
        self.trainer = Trainer(network, self._loss, schedule)
        self.seconds = 0.0
        self.losses: list[float] = []
        self.logits = torch.empty(0)

    def _loss(self, network: nn.Module, batch: Batch) -> Tensor:
        answer = network(batch.images)
        logits, extra = (answer[0], token_loss(answer[1], batch)) if isinstance(answer, tuple) else (answer, 0.0)
        hard = F.cross_entropy(logits, batch.labels)
        self.logits = logits.detach()
        self.losses.append(float(hard.detach()))
        return (self.soft(logits, batch, hard) if self.soft else hard) + TOKEN_WEIGHT * extra

    def step(self, batch: Batch, done: float) -> None:
        start = time.monotonic()
        self.trainer.step(batch, done)
        self.seconds += time.monotonic() - start

    @property
    def student(self) -> nn.Module:
        """The network without the head that only helped it to learn."""
        return self.network.network if isinstance(self.network, TokenLabelled) else self.network

    def point(self, held_out: Batch, images: int, difficulty: float) -> Point:
        loss = sum(self.losses) / len(self.losses) if self.losses else None
        self.losses.clear()
        top1 = _top1(self.student, held_out)
        return Point(self.name, self.trainer.steps, images, self.seconds, loss, top1, difficulty)


def train_both(
    student: nn.Module,
    teacher: nn.Module,
    settings: Settings,
    preprocessing: Preprocessing,
    *,
    report: Callable[[float, tuple[Point, Point]], None] = lambda share, points: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> Trained:
    """Train two copies of `student`, one with the teacher.

    Args:
        student: Copied, not changed; for a start from scratch, freshly made.
        teacher: A trained classifier of the same classes.
        settings: What a person chose.
        preprocessing: How the student wants its images.
        report: Called some `POINTS` times with the share done and where the two runs stand, the taught one first.
        cancelled: Asked before every step; true raises `Cancelled`.

    Raises:
        VitEdgeError: The teacher names other classes, or the training diverged.
    """
    curriculum = _curriculum(settings, preprocessing)
    schedule = Schedule(settings.images // curriculum.training.batch, curriculum.training.lr, settings.seconds)
    with torch.random.fork_rng(devices=[]):  # dropout draws from torch's own generator
        torch.manual_seed(settings.seed)
        held_out, copied = _held_out(settings, preprocessing), copy.deepcopy(student)
        answers = Teacher(teacher, copied, settings.teacher)
        answers.check(copied, held_out.images)
        arms = _arms(copied, answers, settings, schedule)
        return _run(arms, curriculum, schedule, held_out, report=report, cancelled=cancelled)


def _run(
    arms: tuple[_Arm, _Arm],
    curriculum: Curriculum,
    schedule: Schedule,
    held_out: Batch,
    *,
    report: Callable[[float, tuple[Point, Point]], None],
    cancelled: Callable[[], bool],
) -> Trained:
    images, told = 0, -1.0

    def tell(done: float) -> None:
        report(done, tuple(arm.point(held_out, images, curriculum.difficulty) for arm in arms))  # type: ignore[arg-type]

    for step, batch in enumerate(curriculum.batches()):
        done = schedule.done(step, sum(arm.seconds for arm in arms))
        if done >= 1:
            break
        if cancelled():
            raise Cancelled("The training was cancelled; no student was kept.")
        if done - told >= 1 / POINTS:
            tell(done)
            told = done
        for arm in arms:
            arm.step(batch, done)
        images += len(batch.labels)
        curriculum.mark(torch.cat([arm.logits for arm in arms]), batch.labels.repeat(len(arms)))
    for arm in arms:
        arm.trainer.finish()
    tell(1.0)
    taught, alone = arms
    seconds = {arm.name: arm.seconds for arm in arms}
    return Trained(taught.student.eval(), alone.student.eval(), taught.trainer.steps, images, seconds)


def _curriculum(settings: Settings, preprocessing: Preprocessing) -> Curriculum:
    """Images that get harder for a student from scratch, full difficulty for one that has learned before."""
    training = Training(images=settings.images, lr=RATES[settings.start], seed=settings.seed + 20_000)
    curriculum = Curriculum(training, lambda images: prepare(images, preprocessing))
    if settings.start == WEIGHTS:
        curriculum.difficulty = 1.0
    return curriculum


def _arms(first: nn.Module, teacher: Teacher, settings: Settings, schedule: Schedule) -> tuple[_Arm, _Arm]:
    if settings.start == SCRATCH:
        mimetic(first)
        first = TokenLabelled(first)

    def soft(logits: Tensor, batch: Batch, hard: Tensor) -> Tensor:
        return mixed(hard, soft_logits(logits, teacher(batch.images), settings.temperature), settings.weight)

    return _Arm(TAUGHT, copy.deepcopy(first), schedule, soft), _Arm(ALONE, first, schedule, None)


def _held_out(settings: Settings, preprocessing: Preprocessing) -> Batch:
    """Compositions of the training split that no run trains on; the test split stays unseen until the end."""
    digits = wild_digits.compose("train", 0, seed=settings.seed + 10_000, count=HELD_OUT)
    return Batch(prepare(digits.images, preprocessing), digits.labels)


@torch.inference_mode()
def _top1(network: nn.Module, batch: Batch) -> float:
    training = network.training
    network.eval()
    right = sum(
        int((network(images).argmax(1) == labels).sum())
        for images, labels in zip(batch.images.split(250), batch.labels.split(250), strict=True)
    )
    network.train(training)
    return right / len(batch.labels)
