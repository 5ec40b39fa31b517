"""Every figure of the Costs page of a recipe as plain values: what the command line prints and a program reads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from vitedge_core.compress import plan_recipe
from vitedge_core.cost.memory import timeline, weights_in_memory
from vitedge_core.cost.report import Cost, cost
from vitedge_core.errors import VitEdgeError
from vitedge_core.experiments.evaluation import plain
from vitedge_core.experiments.scaling import scaling
from vitedge_core.plan import Plan
from vitedge_core.recipe import Recipe


def costing(
    recipe: Recipe,
    image: int | None = None,
    batch: int = 1,
    sides: Sequence[int] = (),
    report: Callable[[float, str], None] = lambda share, sentence: None,
) -> dict[str, Any]:
    """Baseline and compressed side by side.

    Args:
        recipe: What is done.
        image: Side of the input in pixels; None is the model's own.
        batch: Images in the inference.
        sides: Sizes for the curve of costs against the input; none, no curve.
        report: Called with the share done in 0..1 and a sentence.

    Returns:
        `baseline` and `compressed` with every figure as a quantity; `by_block`, `by_kind` and `memory` with both sides;
        `scaling` if sizes were asked for.

    Raises:
        VitEdgeError: Nobody knows the model, it cannot take images of that size, or a step cannot be carried out.
    """
    planned = plan_recipe(recipe, image)
    if planned.problems:
        raise VitEdgeError(next(iter(planned.problems.values())))
    plans = {"baseline": planned.plans[0], "compressed": planned.last}
    found = {side: cost(plan, batch) for side, plan in plans.items()}
    told: dict[str, Any] = {
        "recipe": recipe.to_dict(), "exact": planned.last.exact, "image": planned.last.image[1], "batch": batch,
        **{side: plain(each.figures) for side, each in found.items()},
        "by_block": {side: _parts(each, "by_block") for side, each in found.items()},
        "by_kind": {side: _parts(each, "by_kind") for side, each in found.items()},
        "memory": {side: _memory(plan, batch) for side, plan in plans.items()},
    }  # fmt: skip
    if sides:
        told["scaling"] = scaling(recipe, sides, batch, report=report).to_dict()
    return told


def _parts(found: Cost, name: str) -> list[dict[str, Any]]:
    return [part.to_dict() for part in getattr(found, name)]


def _memory(plan: Plan, batch: int) -> dict[str, Any]:
    """Bytes of the weights, the operation at the peak, and what is alive at every operation."""
    moments = timeline(plan, batch)
    peak = max(moments, key=lambda moment: moment.total, default=None)
    return {
        "weight_bytes": weights_in_memory(plan),
        "peak_at": peak.path if peak else "",
        "timeline": [{**asdict(moment), "total": moment.total} for moment in moments],
    }
