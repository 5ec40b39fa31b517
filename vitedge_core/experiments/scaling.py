"""A recipe at several input sizes, and models with different kinds of attention side by side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from vitedge_core.compress import plan_recipe
from vitedge_core.cost.scaling import Size, growth, kinds, size
from vitedge_core.errors import Cancelled, VitEdgeError
from vitedge_core.models.trace import trace
from vitedge_core.recipe import Recipe

Report = Callable[[float, str], None]
MOST = 1_024  # pixels a side that a curve goes up to by itself
MOST_SIZES = 12
# What the first attention of a model sees, by a model that shows it
ATTENTIONS = {
    "deit_tiny_patch16_224": "global: every token asks all others",
    "swin_tiny_patch4_window7_224": "windows of 7 by 7 tokens",
    "pvt_v2_b0": "spatial reduction: keys are merged, 64 to 1 at first",
    "pvt_v2_b2_li": "pooled: always 7 by 7 keys",
    "efficientvit_b0": "linear: keys and values are multiplied first",
}
COMPARED = (224, 448, 672, 896)  # multiples of 224, where windows need no filling up


@dataclass(frozen=True, slots=True)
class Scaling:
    """A recipe at several sizes. problems: why a size is missing, by side."""

    recipe: Recipe
    sizes: tuple[Size, ...]
    problems: dict[int, str]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as the command line prints them."""
        powers = {kind: growth(self.sizes, kind) for kind in kinds(self.sizes)}
        return {
            "sizes": [each.to_dict() for each in self.sizes],
            "power_of_pixels": {"total": growth(self.sizes), **powers},
            "problems": {str(side): sentence for side, sentence in self.problems.items()},
        }


def usual_sides(own: int) -> tuple[int, ...]:
    """Sizes around a model's own to draw a curve through: half of it to three times, up to `MOST` pixels."""
    sides = dict.fromkeys(own * halves // 2 for halves in (1, 2, 3, 4, 5, 6))
    return tuple(side for side in sides if side <= max(MOST, own))


def scaling(
    recipe: Recipe,
    sides: Sequence[int] | None = None,
    batch: int = 1,
    *,
    report: Report = lambda share, sentence: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> Scaling:
    """What the recipe costs at each size; one that the network cannot take is told in `problems`.

    Args:
        recipe: Steps that cannot be carried out change nothing.
        sides: In pixels; by default `usual_sides` of the model's own.
        batch: Images in the inference.
        report: Called with the share done in 0..1 and a sentence.
        cancelled: Asked before each size; true raises `Cancelled`.

    Raises:
        VitEdgeError: Nobody knows the model, no size is possible, or too many are asked for.
    """
    wanted = usual_sides(trace(recipe.model).image[1]) if sides is None else tuple(dict.fromkeys(sides))
    if not 1 <= len(wanted) <= MOST_SIZES:
        raise VitEdgeError(f"A curve goes through 1 to {MOST_SIZES} sizes, not {len(wanted)}.")
    found, problems = [], {}
    for number, side in enumerate(wanted):
        if cancelled():
            raise Cancelled
        report(number / len(wanted), f"{recipe.model} at {side} pixels")
        try:
            found.append(size(plan_recipe(recipe, side).last, batch))
        except VitEdgeError as error:
            problems[side] = str(error)
    if not found:
        raise VitEdgeError(next(iter(problems.values())))
    return Scaling(recipe, tuple(sorted(found, key=lambda each: each.side)), problems)


def attentions(
    *, report: Report = lambda share, sentence: None, cancelled: Callable[[], bool] = lambda: False
) -> dict[str, Scaling]:
    """The models of `ATTENTIONS`, uncompressed, at the sizes `COMPARED`."""
    made = {}
    for number, model in enumerate(ATTENTIONS):

        def part(share: float, sentence: str, done: int = number) -> None:
            report((done + share) / len(ATTENTIONS), sentence)

        made[model] = scaling(Recipe(model), COMPARED, report=part, cancelled=cancelled)
    return made
