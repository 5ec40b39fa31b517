"""Recipes to start from, fitted to a model: their knobs are searched on its plan, so that "half" is half."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from vitedge_core.compress import plan_recipe, spelled_out
from vitedge_core.datasets.sets import DIGITS, open_images
from vitedge_core.errors import VitEdgeError
from vitedge_core.experiments.winners import FIVE, FOUR, SIX, WINNERS
from vitedge_core.models.trained import shipped
from vitedge_core.plan import Plan
from vitedge_core.recipe import Recipe, Step

WORDS = {
    SIX: ("Six narrow blocks, trained for long", "Half of the heads and a quarter of the neurons stay."),
    FIVE: (
        "Five narrow blocks, cut and trained twice",
        "The six narrow blocks without one of them and with fewer neurons.",
    ),
    FOUR: ("Four blocks, trained for long", "Half of the heads and neurons of four of six blocks stay."),
}
RATIOS = tuple(round(0.05 * i, 2) for i in range(1, 19))


@dataclass(frozen=True, slots=True)
class Preset:
    """A recipe with the name of what it is for and a sentence that says what it does."""

    key: str
    title: str
    lead: str
    recipe: Recipe


def presets(model: str) -> tuple[Preset, ...]:
    """Those whose every step makes sense on this model.

    Raises:
        VitEdgeError: Nobody knows the model.
    """
    plan = plan_recipe(Recipe(model)).last
    found = []
    for key, title, lead, steps in _offers(model, plan):
        recipe = Recipe(model, tuple(steps))
        if steps and not plan_recipe(recipe).problems:
            found.append(Preset(key, title, lead, recipe))
    return (*found, *_trained(model))


def _trained(model: str) -> Iterable[Preset]:
    """Those that take an hour to train and whose trained weights come with VitEdge."""
    images = open_images(DIGITS).digest
    for key, recipe in WINNERS.items():
        if recipe.model == model and shipped(spelled_out(recipe), images):
            title, lead = WORDS[key]
            yield Preset(key, title, f"{lead} Its trained weights come with VitEdge.", recipe)


def _offers(model: str, plan: Plan) -> Iterable[tuple[str, str, str, list[Step]]]:
    halved = _pruned(model, lambda after: after.macs <= 0.5 * plan.macs)
    quartered = _pruned(model, lambda after: after.macs <= 0.25 * plan.macs)
    merged = Step.of("tome", r=_merged(plan))
    yield "half_macs", "Half the MACs", "Heads and MLP neurons cut until half of the arithmetic is left.", halved
    yield (
        "eight_bit",
        "8-bit weights and activations",
        "The usual deployment: a quarter of the size.",
        [Step.of("uniform_ptq", w_bits=8, a_bits=8)],
    )
    yield (
        "four_bit",
        "4-bit weights",
        "An eighth of the size; activations stay at 8 bits.",
        [Step.of("uniform_ptq", w_bits=4, a_bits=8)],
    )
    yield (
        "fewer_tokens",
        "Fewer tokens",
        "Similar tokens are merged until about half are left; no weight changes.",
        [merged],
    )
    yield (
        "shallower",
        "A third of the blocks less",
        "Whole blocks go: the surest way to a shorter latency.",
        [Step.of("layer_drop", ratio=0.34)],
    )
    yield "heal", "Prune, then distil", "Half the MACs, then a minute of training with the uncut model as teacher.", [
        *halved, Step.of("soft_logits", seconds=60)
    ] if halved else []  # fmt: skip
    yield "microcontroller", "For a microcontroller", "A quarter of the MACs, 4-bit weights, 8-bit activations.", [
        *quartered, Step.of("uniform_ptq", w_bits=4, a_bits=8)
    ] if quartered else []  # fmt: skip
    yield "everything", "A bit of everything", "A fifth of the units, fewer tokens and 8 bits, one after the other.", [
        Step.of("head_mlp_taylor", ratio=0.2), merged, Step.of("uniform_ptq", w_bits=8, a_bits=8)
    ]  # fmt: skip


def _pruned(model: str, enough: Callable[[Plan], bool]) -> list[Step]:
    """The mildest structured pruning after which there is little enough left; none where that cannot be reached."""
    for ratio in RATIOS:
        step = Step.of("head_mlp_taylor", ratio=ratio)
        try:
            planned = plan_recipe(Recipe(model, (step,)))
        except VitEdgeError:
            return []
        if not planned.problems and enough(planned.last):
            return [step]
    return []


def _merged(plan: Plan) -> int:
    """Tokens to merge in each block so that about half of them are left in the last."""
    if not plan.blocks:
        return 0
    return max(1, round(plan.blocks[0].tokens / 2 / len(plan.blocks)))
