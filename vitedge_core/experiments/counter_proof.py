"""The counter-proof of a reason: the same recipe with the cause removed, timed beside it and beside the baseline."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch

from vitedge_core.compress import Planned, compress, load_trained, plan_recipe
from vitedge_core.cost.reasons import Cause, odd_macs
from vitedge_core.evidence import Quantity
from vitedge_core.measure.latency import compare
from vitedge_core.plan import Plan
from vitedge_core.recipe import Recipe, Step

Report = Callable[[float, str], None]
_GRID = 0.05  # of the knob "share removed"
_MOST = 0.9


@dataclass(frozen=True, slots=True)
class Counter:
    """A recipe without a cause, and what it does otherwise, in words."""

    cause: Cause
    recipe: Recipe
    title: str


@dataclass(frozen=True, slots=True)
class Proof:
    """Median times of one image and their ratios to the baseline, all three models timed in turn."""

    baseline: Quantity
    ours: Quantity
    counter: Quantity
    ours_ratio: Quantity
    counter_ratio: Quantity
    warning: str | None


def counter(planned: Planned, cause: Cause) -> Counter | None:
    """The recipe with that cause removed; None where no recipe does that, or none that can be carried out."""
    makers = {Cause.ZEROS: _without_zeros, Cause.ROUNDING: _without_rounding, Cause.ODD_CHANNELS: _rounded,
              Cause.CALLS: _fewer_calls}  # fmt: skip
    found = makers[cause](planned) if cause in makers else None
    if found is None or found.recipe.active == planned.runnable.active:
        return None
    return None if plan_recipe(found.recipe).problems else found


def prove(
    recipe: Recipe,
    found: Counter,
    *,
    seconds: float = 6.0,
    report: Report = lambda share, sentence: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> Proof:
    """Carry out both recipes and time them in turn with their baseline, one image on one thread.

    Raises:
        VitEdgeError: The model has no weights here, or a step cannot be carried out.
        Cancelled: `cancelled` said so.
    """
    ours = compress(recipe, None, lambda share, text: report(0.35 * share, text), cancelled).model
    other = compress(found.recipe, None, lambda share, text: report(0.35 + 0.35 * share, text), cancelled).model
    models = {"baseline": load_trained(recipe.model), "ours": ours, "counter": other}
    image = plan_recipe(recipe.baseline).plans[0].image
    example = torch.randn(1, *image, generator=torch.Generator().manual_seed(0))
    timings = compare(models, example, seconds=seconds, cancelled=cancelled,
                      report=lambda share, text: report(0.7 + 0.3 * share, text))  # fmt: skip
    return Proof(
        timings.median("baseline"), timings.median("ours"), timings.median("counter"),
        timings.ratio("ours", "baseline"), timings.ratio("counter", "baseline"), timings.warning,
    )  # fmt: skip


def _steps(planned: Planned) -> Iterator[tuple[Step, Plan, Plan]]:
    """Each step that can be carried out, with the plans before and after it."""
    for number, step in enumerate(planned.recipe.active):
        if number not in planned.problems:
            yield step, planned.plans[number], planned.plans[number + 1]


def _exchanged(planned: Planned, exchange: Callable[[Step, Plan, Plan], Step | None]) -> Recipe:
    """The recipe with some steps replaced, or left out where `exchange` gives None."""
    steps = (exchange(*found) for found in _steps(planned))
    return replace(planned.runnable, steps=tuple(step for step in steps if step is not None))


def _on_grid(share: float) -> float:
    return min(_MOST, max(_GRID, round(round(share / _GRID) * _GRID, 2)))


def _without_zeros(planned: Planned) -> Counter | None:
    """Steps that only set weights to zero become structured pruning of the same share."""

    def exchange(step: Step, before: Plan, after: Plan) -> Step:
        if after.zeros <= before.zeros or after.macs != before.macs:
            return step
        holders = [op for op in after.ops if op.zeros]
        share = sum(op.zeros for op in holders) / sum(op.weights for op in holders)
        return Step.of("head_mlp_magnitude", ratio=_on_grid(share))

    return Counter(Cause.ZEROS, _exchanged(planned, exchange), "as many heads and neurons cut out instead of zeros")


def _without_rounding(planned: Planned) -> Counter | None:
    def exchange(step: Step, before: Plan, after: Plan) -> Step | None:
        return None if after.quantised and not before.quantised else step

    return Counter(Cause.ROUNDING, _exchanged(planned, exchange), "the same shapes without any rounding")


def _rounded(planned: Planned) -> Counter | None:
    """Structured pruning with the nearest share whose channel counts are multiples of eight."""
    for step, before, after in _steps(planned):
        ratio = step.knobs.get("ratio")
        if odd_macs(after.ops) <= odd_macs(before.ops) or not isinstance(ratio, int | float):
            continue
        near = sorted((round(place / 200, 3) for place in range(1, 181)), key=lambda r, ratio=ratio: abs(r - ratio))
        for other in near[:60]:
            recipe = _with_ratio(planned, step, other)
            plans = plan_recipe(recipe)
            if not plans.problems and odd_macs(plans.last.ops) <= odd_macs(before.ops):
                title = f"{other:.1%} removed instead of {ratio:.1%}, which leaves multiples of eight"
                return Counter(Cause.ODD_CHANNELS, recipe, title)
    return None


def _with_ratio(planned: Planned, chosen: Step, ratio: float) -> Recipe:
    return _exchanged(planned, lambda step, *_: step.with_knob("ratio", ratio) if step is chosen else step)


def _fewer_calls(planned: Planned) -> Counter | None:
    """Narrower layers become fewer blocks of about the same multiply-accumulates."""
    steps = list(_steps(planned))
    for step, before, after in steps:
        if after.macs < before.macs and len(after.blocks) == len(before.blocks) and not after.merges_tokens:
            drop = Step.of("layer_drop", ratio=_on_grid(1 - after.macs / before.macs))
            recipe = _exchanged(planned, lambda known, *_, s=step, d=drop: d if known is s else known)
            return Counter(Cause.CALLS, recipe, "whole blocks dropped instead of narrower layers")
    return None
