"""The recipes that win on the bundled base model, and their training, whose result comes with VitEdge.

`benchmarks/winning_recipe.py` measures them. Token merging is no part of them: with 65 tokens of width 128 comparing
and adding tokens takes OpenVINO about as long as it saves, and half of the tokens merged early cost far more accuracy
than heads and neurons of the same time. Depth is dear and worth it: among structures that take equally long, those
with more and narrower blocks learn better, and cutting in two rounds with a training after each keeps most.

The five blocks that come with VitEdge went on from the six as they are stored, in float16; trained anew, both
trainings run in full precision.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from vitedge_core.compress import Compressed, compress, context_for, spelled_out
from vitedge_core.datasets.sets import DIGITS, LabelledImages, open_images
from vitedge_core.measure.accuracy import evaluate
from vitedge_core.models.load import preprocessing
from vitedge_core.models.trained import FOLDER, keep
from vitedge_core.recipe import Recipe, Step

SIX, FIVE, FOUR = "digits_six_narrow_blocks", "digits_five_narrow_blocks", "digits_four_blocks"
_NARROW = (
    Step.of("head_mlp_taylor", ratio=0.75, heads=False),
    Step.of("head_mlp_taylor", ratio=0.5, mlp=False),
    Step.of("soft_logits", images=240_000, lr=1e-3, average=0.998, seconds=36_000),
)
WINNERS = {
    SIX: Recipe("digits_vit_base", _NARROW),
    FIVE: Recipe("digits_vit_base", (
        *_NARROW,
        Step.of("layer_drop", blocks="4"),
        Step.of("head_mlp_taylor", ratio=0.25, heads=False),
        Step.of("soft_logits", images=200_000, lr=1e-3, average=0.998, seconds=36_000),
    )),
    FOUR: Recipe("digits_vit_base", (
        Step.of("layer_drop", blocks="1,4"),
        Step.of("head_mlp_taylor", ratio=0.5),
        Step.of("soft_logits", images=300_000, lr=1e-3, average=0.998, seconds=36_000),
    )),
}  # fmt: skip


def train(
    name: str, folder: Path = FOLDER, *, images: int | None = None, log: Callable[[str], None] = lambda line: None
) -> Path:
    """Carry a winner's recipe out, measure it on the test images, and write its trained weights.

    Args:
        name: A key of `WINNERS`.
        folder: Where the files go.
        images: Fewer for each training than the recipe's, to see that it runs; the recipe in the card says so.
        log: Called with a line now and then.

    Returns:
        The path of the weights.
    """
    recipe = WINNERS[name]
    if images is not None:
        fewer = (step.with_knob("images", images) if "images" in step.knobs else step for step in recipe.steps)
        recipe = replace(recipe, steps=tuple(fewer))
    test = open_images(DIGITS)
    context: Any = context_for(recipe, test)
    context.key += ", trained anew"  # else what comes with VitEdge would stand for the training
    told = [0.0]

    def report(share: float, sentence: str) -> None:
        if share >= told[0]:
            told[0] = share + 0.01
            log(json.dumps({"recipe": name, "done": round(share, 3), "told": sentence}))

    return write(name, compress(recipe, context, report), test, folder)


def write(name: str, made: Compressed, test: LabelledImages, folder: Path) -> Path:
    """Weights and card of a recipe that was carried out, with its accuracy on the test images."""
    accuracy = evaluate(made.model, test, preprocessing(made.recipe.model)).top1
    card = {
        "recipe": spelled_out(made.recipe).to_dict(), "images": test.digest, "top1": accuracy.to_dict(),
        "params": made.last.params, "macs": made.last.macs, "date": time.strftime("%Y-%m-%d"),
        "torch": torch.__version__, "licence": "trained by this repository on data free to use",
    }  # fmt: skip
    return keep(made.model, card, folder / f"{name}.safetensors")
