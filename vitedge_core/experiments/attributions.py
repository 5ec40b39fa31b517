"""What counts for an answer, before and after a recipe: pixels, patches or heads, by Captum's methods."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from vitedge_core.compress import compress, context_for, load_trained
from vitedge_core.datasets.uploads import prepared
from vitedge_core.evidence import Quantity
from vitedge_core.explain.attribution import METHODS, Attribution, Method, attribute
from vitedge_core.explain.conductance import Conductance, conductance_of_heads
from vitedge_core.explain.lineage import Origin, origins
from vitedge_core.models.load import preprocessing
from vitedge_core.recipe import Recipe

HEADS = "heads"
WAYS = {
    **METHODS,
    HEADS: Method(
        "Conductance of heads",
        "How much of the logit's change between grey and this image runs through each head, on top of what passes by.",
        signed=True, unit="logit",
    ),
}  # fmt: skip
Report = Callable[[float, str], None]
Cancelled = Callable[[], bool]
Values = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Explained:
    """What counts for one class in two models.

    way: a key of `WAYS`. target: the class, the answer of the model before. before, after: [h, w] over the image, or
    [L, H] over blocks and heads of the model before, NaN where one is gone; in the way's unit. errors: by how much the
    values miss the sum they promise, each as a share; None where a method promises none.
    """

    way: str
    target: int
    before: Values
    after: Values
    errors: tuple[Quantity | None, Quantity | None]


def explain_both(  # noqa: PLR0917  the order of `look`
    recipe: Recipe, image: Image.Image, way: str, images: str | None, report: Report, cancelled: Cancelled
) -> Explained:
    """Ask both models what counts for the answer of the model before.

    Args:
        recipe: Its model is the one before.
        image: RGB.
        way: A key of `WAYS`.
        images: Where the recipe's steps find images, as for `context_for`.
        report: Told the share that is done.
        cancelled: Asked often.

    Raises:
        VitEdgeError: The method does not suit the model, a model has no weights here, or a step cannot be carried out.
        Cancelled: `cancelled` said so.
    """
    ready = prepared(image, preprocessing(recipe.model))
    baseline = load_trained(recipe.model)
    done = compress(recipe, context_for(recipe, images), _part(report, 0, "Recipe"), cancelled)
    with torch.no_grad():
        target = int(baseline(ready)[0].argmax())
    ask = _heads if way == HEADS else _pixels
    before = ask(baseline, ready, target, way, _part(report, 1, "Baseline"), cancelled)
    after = ask(done.model, ready, target, way, _part(report, 2, "Compressed"), cancelled)
    if isinstance(before, Attribution):
        return Explained(way, target, *_maps(before, after), (before.completeness, after.completeness))
    lineage = origins(done.plans, done.techniques)
    if len(lineage) != len(after.heads):
        lineage = tuple(Origin(block, tuple(range(len(heads)))) for block, heads in enumerate(after.heads))
    shape = (len(before.heads), max(map(len, before.heads)))
    whole = [Origin(block, tuple(range(len(heads)))) for block, heads in enumerate(before.heads)]
    errors = (before.completeness, after.completeness)
    return Explained(way, target, _table(before, whole, shape), _table(after, lineage, shape), errors)


def _pixels(model: nn.Module, ready: Tensor, target: int, *rest: Any) -> Any:
    return attribute(model, ready, target, *rest)


def _heads(model: nn.Module, ready: Tensor, target: int, way: str, *rest: Any) -> Any:
    return conductance_of_heads(model, ready, target, *rest)


def _part(report: Report, number: int, name: str) -> Report:
    """Progress of one of three parts."""
    return lambda share, sentence: report((number + share) / 3, f"{name}: {sentence}")


def _maps(before: Attribution, after: Attribution) -> tuple[Values, Values]:
    return before.values.numpy(), after.values.numpy()


def _table(found: Conductance, lineage: Any, shape: tuple[int, int]) -> Values:
    """Heads where they are in the model before, [L, H]; NaN where one is gone."""
    table = np.full(shape, np.nan, np.float32)
    for origin, heads in zip(lineage, found.heads, strict=True):
        table[origin.block, list(origin.heads)] = heads.numpy()
    return table
