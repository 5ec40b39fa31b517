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
    optimiser = torch.optim.AdamW(_groups(model, schedule.weight_decay), lr=schedule.lr, betas=(0.9, 0.98))
    average = (
        AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(schedule.average), use_buffers=True)
        if schedule.average
        else None
    )
    model.train()
    start = time.monotonic()
    images, losses = 0, []
    for step, batch in enumerate(batches):
        spent = time.monotonic() - start
        done = max(step / schedule.steps, spent / schedule.seconds if schedule.seconds else 0.0)
        if done >= 1:
            break
        if cancelled():
            raise Cancelled("Training was cancelled; nothing was changed.")
        for group in optimiser.param_groups:
            group["lr"] = schedule.rate(done)
        value = loss(model, batch)
        if not torch.isfinite(value):
            raise VitEdgeError(f"The training diverged at step {step}; try a smaller learning rate than {schedule.lr}.")
        optimiser.zero_grad(set_to_none=True)
        value.backward()
        nn.utils.clip_grad_norm_(model.parameters(), schedule.clip)
        optimiser.step()
        after_step(model)
        if average is not None:
            average.update_parameters(model)
        images += len(batch.labels)
        losses.append(float(value.detach()))
        if (step + 1) % report_every == 0 or step + 1 == schedule.steps:
            report(Progress(step + 1, images, time.monotonic() - start, sum(losses) / len(losses), done))
            losses.clear()
    if average is not None:
        model.load_state_dict(average.module.state_dict())
    model.eval()
