"""Distillation by softened class probabilities: the model learns what a teacher finds likely, not only what is right.

Geoffrey Hinton, Oriol Vinyals and Jeff Dean, "Distilling the Knowledge in a Neural Network", NIPS 2014 deep learning
workshop, arXiv:1503.02531.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitedge_core.datasets.batch import Batch
from vitedge_core.errors import VitEdgeError
from vitedge_core.plan import Plan
from vitedge_core.registry import register
from vitedge_core.surgery.losses import mixed, soft_logits
from vitedge_core.surgery.masks import keep_zeros
from vitedge_core.surgery.teacher import Teacher
from vitedge_core.surgery.train import Progress, Schedule, fit
from vitedge_core.techniques.base import Card, Context, Family, Technique, knob, text


@register
@dataclass(frozen=True)
class SoftLogits(Technique):
    """Train on with a teacher's answers, shape unchanged.

    Idea: A trained teacher does not only say "this is a 3"; it also says how far from a 9 it is. Learning those
    softened probabilities together with the labels gives back accuracy that pruning or fewer bits took away.

    Cost: Nothing at run time. Training takes a forward pass of the teacher beside every step of the student.

    When it fails: With few steps after a deep cut, with a teacher that is no better than the student, with a teacher
    trained with label smoothing, mixup or a sigmoid loss (its probabilities say little), and without training images.

    Reference: Hinton, Vinyals and Dean, arXiv:1503.02531.
    """

    card = Card(
        key="soft_logits",
        title="Soft labels of a teacher",
        family=Family.DISTILLATION,
        reference="Hinton, Vinyals and Dean, Distilling the Knowledge in a Neural Network, NIPS 2014 workshop",
        arxiv="1503.02531",
        differs=(
            "Fine-tunes the model at hand instead of training a small network from scratch; the Distil page does that.",
            "AdamW with warm-up and cosine decay instead of the paper's momentum SGD.",
            "Weights that pruning made zero stay zero.",
            "On request a running mean of the weights is kept (Polyak and Juditsky, 1992).",
        ),
        measured=(
            "On digits_vit_base without half of its heads and neurons, 25,600 images bring 61.6 % of 2,000 test images "
            "back to 93.8 % with the teacher and to 93.5 % with labels alone: +0.4 points (−0.3 to +1.0), no clear "
            "gain where exact labels never run out."
        ),
        trains=True,
    )

    teacher: str = text(
        "", label="Teacher", help="Name of a trained model with the same classes; empty is the uncompressed model."
    )
    temperature: float = knob(
        2.0,
        1.0,
        20.0,
        0.5,
        label="Temperature",
        help="Higher values look more at the classes that are not the answer.",
    )
    weight: float = knob(
        0.7,
        0.0,
        1.0,
        0.05,
        label="Teacher's share",
        help="Share of the loss that comes from the teacher.",
    )
    seconds: int = knob(60, 1, 36_000, 1, label="Seconds", help="Training ends after this time at the latest.")
    images: int = knob(
        6_400, 16, 1_000_000, 16, label="Images",
        help="Training ends after about so many images; a run that ends by images gives the same weights every time.",
    )  # fmt: skip
    lr: float = knob(3e-4, 1e-6, 1e-2, 1e-5, label="Learning rate", help="Highest step size of AdamW.")
    average: float = knob(
        0.0, 0.0, 0.9999, 0.001, label="Averaging",
        help="Share of the old in a running mean of the weights, which is kept in the end; 0 keeps the last weights.",
    )  # fmt: skip

    def plan(self, plan: Plan) -> Plan:
        """The same shapes: only values of weights change."""
        return plan

    def apply(self, model: nn.Module, context: Context) -> nn.Module:
        """Train `model` in place, against the labels and the teacher.

        Raises:
            VitEdgeError: There are no training images, no teacher, or the teacher names other classes.
        """
        batches = self._batches(context)
        first = next(batches)
        teacher = self._teacher(model, context)
        teacher.check(model, first.images)
        steps = max(1, -(-self.images // len(first.labels)))
        schedule = Schedule(steps, self.lr, seconds=self.seconds, average=self.average)
        with torch.random.fork_rng(devices=[]):  # dropout draws from torch's own generator
            torch.manual_seed(_seed(context))
            fit(
                model, itertools.chain([first], batches), self._loss(teacher), schedule,
                report=lambda progress: context.report(*_told(progress)), cancelled=context.cancelled,
                after_step=keep_zeros,
            )  # fmt: skip
        return model

    def _batches(self, context: Context) -> Iterator[Batch]:
        if context.stream is None:
            raise VitEdgeError(
                "Soft labels of a teacher need training images and there are none for this model; choose one of the "
                "digits models, or take this step out."
            )
        return iter(context.stream(_seed(context)))

    def _teacher(self, model: nn.Module, context: Context) -> Teacher:
        if context.teacher is None:
            raise VitEdgeError("No trained weights are at hand for a teacher; get the weights of the model first.")
        return Teacher(context.teacher(self.teacher), model, self.teacher or "(the uncompressed model)")

    def _loss(self, teacher: Teacher) -> Callable[[nn.Module, Batch], Tensor]:
        def loss(student: nn.Module, batch: Batch) -> Tensor:
            logits = student(batch.images)
            hard = F.cross_entropy(logits, batch.labels)
            return mixed(hard, soft_logits(logits, teacher(batch.images), self.temperature), self.weight)

        return loss


def _seed(context: Context) -> int:
    return int(torch.randint(2**31 - 1, (1,), generator=context.generator))


def _told(progress: Progress) -> tuple[float, str]:
    """Share done and a sentence."""
    return progress.done, f"{progress.images:,} images, loss {progress.loss:.3f}"
