"""The one training loop: bundled models, fine-tuning after compression and distillation all run through it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from vitedge_core.datasets.batch import Batch
from vitedge_core.errors import Cancelled, VitEdgeError

Loss = Callable[[nn.Module, Batch], Tensor]


@dataclass(frozen=True, slots=True)
class Schedule:
    """AdamW with linear warm-up and cosine decay.

    The run ends after `steps`, or after `seconds` if that comes first. Only a run that ends by steps is reproducible
    bit for bit. `average` is the decay of the exponential moving average of the weights; 0 keeps the last weights.
    """

    steps: int
    lr: float
    seconds: float | None = None
    warmup: float = 0.05
    weight_decay: float = 0.05
    clip: float = 1.0
    average: float = 0.0

    def done(self, step: int, seconds: float) -> float:
        """Share of the run that is over after so many steps and seconds."""
        return max(step / self.steps, seconds / self.seconds if self.seconds else 0.0)

    def rate(self, done: float) -> float:
        """Learning rate when the share `done` of the run is over."""
        if done < self.warmup:
            return self.lr * max(done, 1e-3) / self.warmup
        return self.lr * 0.5 * (1 + math.cos(math.pi * min(1.0, (done - self.warmup) / (1 - self.warmup))))


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a run stands: `loss` is the mean since the last report."""

    step: int
    images: int
    seconds: float
    loss: float
    done: float


def _groups(model: nn.Module, weight_decay: float) -> list[dict[str, object]]:
    """Parameter groups: no decay on biases, norms and position embeddings, as is usual for ViTs."""
    trained = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    plain = [p for name, p in trained if p.ndim <= 1 or name.endswith(("pos_embed", "cls_token"))]
    plain_ids = {id(p) for p in plain}
    decayed = [p for _, p in trained if id(p) not in plain_ids]
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": plain, "weight_decay": 0.0}]


class Trainer:
    """One network in training, a step at a time; `fit` is its usual driver, an experiment may drive several.

    Args:
        model: Trained in place where its parameters require gradients.
        loss: Maps model and batch to a scalar.
        schedule: Learning rate, decay and averaging; its length is the driver's business.
        after_step: Called with the model after every optimiser step (masks that must stay zero, say).
    """

    def __init__(
        self, model: nn.Module, loss: Loss, schedule: Schedule, after_step: Callable[[nn.Module], None] = lambda _: None
    ) -> None:
        self.model, self.loss, self.schedule, self.after_step = model, loss, schedule, after_step
        self.steps = 0
        self.optimiser = torch.optim.AdamW(_groups(model, schedule.weight_decay), lr=schedule.lr, betas=(0.9, 0.98))
        self.average = (
            AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(schedule.average), use_buffers=True)
            if schedule.average
            else None
        )
        model.train()

    def step(self, batch: Batch, done: float) -> float:
        """One optimiser step when the share `done` of the run is over; the loss before it.

        Raises:
            VitEdgeError: The loss is no finite number any more.
        """
        for group in self.optimiser.param_groups:
            group["lr"] = self.schedule.rate(done)
        value = self.loss(self.model, batch)
        if not torch.isfinite(value):
            raise VitEdgeError(
                f"The training diverged at step {self.steps}; try a smaller learning rate than {self.schedule.lr}."
            )
        self.optimiser.zero_grad(set_to_none=True)
        value.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), self.schedule.clip)
        self.optimiser.step()
        self.after_step(self.model)
        if self.average is not None:
            self.average.update_parameters(self.model)
        self.steps += 1
        return float(value.detach())

    def finish(self) -> None:
        """Take over the averaged weights, if any, drop the gradients, and leave the model in eval mode."""
        if self.average is not None:
            self.model.load_state_dict(self.average.module.state_dict())
        self.optimiser.zero_grad(set_to_none=True)
        self.model.eval()


def fit(
    model: nn.Module,
    batches: Iterable[Batch],
    loss: Loss,
    schedule: Schedule,
    *,
    report: Callable[[Progress], None] = lambda _: None,
    report_every: int = 10,
    cancelled: Callable[[], bool] = lambda: False,
    after_step: Callable[[nn.Module], None] = lambda _: None,
) -> None:
    """Train `model` in place; it is left in eval mode.

    Args:
        model: Trained where its parameters require gradients.
        batches: As many as the schedule needs; a shorter stream ends the run.
        loss: Maps model and batch to a scalar.
        schedule: Length, learning rate and the rest.
        report: Called every `report_every` steps.
        cancelled: Asked before every step; true raises `Cancelled`.
        after_step: Called with the model after every optimiser step (masks that must stay zero, say).
        report_every: Steps between two reports.

    Raises:
        VitEdgeError: The loss is no finite number any more.
    """
    trainer = Trainer(model, loss, schedule, after_step)
    start = time.monotonic()
    images, losses = 0, []
    for step, batch in enumerate(batches):
        done = schedule.done(step, time.monotonic() - start)
        if done >= 1:
            break
        if cancelled():
            raise Cancelled("Training was cancelled; nothing was changed.")
        losses.append(trainer.step(batch, done))
        images += len(batch.labels)
        if (step + 1) % report_every == 0 or step + 1 == schedule.steps:
            report(Progress(step + 1, images, time.monotonic() - start, sum(losses) / len(losses), done))
            losses.clear()
    trainer.finish()
