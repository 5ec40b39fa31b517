"""Measures the current recipe in the background: a first answer on few images, then all images and the latency.

The page asks in every run; what belonged to recipes before is given up. Nothing here draws.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vitedge_core.errors import Cancelled
from vitedge_core.recipe import Recipe
from vitedge_core.ui import cache, state
from vitedge_core.ui.worker import Report, Stage, Task, Work

if TYPE_CHECKING:
    from vitedge_core.experiments.evaluation import Evaluation

QUICK_IMAGES = 500
POLL = 0.5  # seconds between two looks at a task under way
# Above these MACs of the baseline a person starts the measurement: the first answer would take more than a minute on a
# laptop's processor, all images and the latency more than that.
QUICK_MACS = 2e9
FULL_MACS = 2e8

QUICK, FULL = "quick", "full"


@dataclass(frozen=True, slots=True)
class Reading:
    """What is known of a recipe now.

    best: the finished evaluation on most images. task: what is still under way. stopped: what failed or was cancelled.
    """

    best: Evaluation | None
    task: Task | None
    stopped: Task | None

    @property
    def mark(self) -> tuple[Any, ...]:
        """Changes when the page has something new to draw besides progress."""
        return (
            self.best and (self.best.n, self.best.ratio is not None),
            self.task and self.task.key,
            bool(self.stopped),
        )


def key(stage: str, recipe: Recipe, images: str | None, engine: str = state.EAGER) -> tuple[Any, ...]:
    """Names a measurement completely."""
    return (stage, recipe.digest, images, engine)


def automatic(
    recipe: Recipe, baseline_macs: float, engine: str = state.EAGER, images: str | None = None
) -> tuple[str, ...]:
    """The stages that start by themselves: none where a step trains or the engine compiles, or for a large model."""
    from vitedge_core.backends import engine as named
    from vitedge_core.compress import trains

    if engine != state.EAGER and (named(engine).waits or baseline_macs > FULL_MACS):
        return ()
    if trains(recipe, images) or baseline_macs > QUICK_MACS or cancelled(recipe, engine):
        return ()
    return (QUICK, FULL) if baseline_macs <= FULL_MACS else (QUICK,)


def follow(recipe: Recipe, images: str | None, stages: tuple[str, ...], engine: str = state.EAGER) -> Reading:
    """Start what shall be measured now, give up what nobody looks at any more."""
    keys = {stage: key(stage, recipe, images, engine) for stage in (QUICK, FULL)}
    cache.leave_but(*keys.values(), purposes=(QUICK, FULL))
    for stage in stages:
        task = cache.found(keys[stage])
        if task is None or task.stage is Stage.CANCELLED or task.unwanted.is_set():
            start(stage, recipe, images, engine)
        if task is None or task.stage is not Stage.DONE:
            break
    return read(recipe, images, engine)


def start(stage: str, recipe: Recipe, images: str | None, engine: str = state.EAGER) -> None:
    """Measure now, because a person asked for it or because it is cheap."""
    wanted = key(stage, recipe, images, engine)
    cache.worker().forget(wanted)
    cache.background(wanted, _work(stage, recipe, images, engine), order=int(stage == FULL))


def cancel(recipe: Recipe, engine: str = state.EAGER) -> None:
    """Stop measuring this recipe, and do not start again by itself."""
    state.remember("cancelled", (recipe.digest, engine))
    cache.leave_but(purposes=(QUICK, FULL))


def cancelled(recipe: Recipe, engine: str = state.EAGER) -> bool:
    """Whether the person stopped this recipe's measurement."""
    return state.recall("cancelled") == (recipe.digest, engine)


def read(recipe: Recipe, images: str | None, engine: str = state.EAGER) -> Reading:
    """What is known by now."""
    tasks = [task for stage in (FULL, QUICK) if (task := cache.found(key(stage, recipe, images, engine)))]
    best = next((task.result for task in tasks if task.stage is Stage.DONE), None)
    running = next((task for task in tasks if task.active and not task.unwanted.is_set()), None)
    stopped = next((task for task in tasks if task.stage is Stage.FAILED), None)
    return Reading(best, running, stopped)


def leave_a_core() -> None:
    """Work for the measuring thread begins with this: one core stays for the pages."""
    import torch

    torch.set_num_threads(max(1, (os.cpu_count() or 2) - 1))


def _work(stage: str, recipe: Recipe, images: str | None, engine: str) -> Work:
    def work(report: Report, cancelled: Any) -> Evaluation:
        from vitedge_core.experiments.runs import measured

        leave_a_core()
        if cancelled():
            raise Cancelled
        limit = QUICK_IMAGES if stage == QUICK else None
        return measured(
            recipe, images, limit, latency=stage == FULL, gaze=stage == FULL, report=report, cancelled=cancelled,
            origin="Build", engine=engine,
        )  # fmt: skip

    return work
