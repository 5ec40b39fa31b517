"""Carry a recipe out and write what it makes in a form that leaves; say which of its steps stands in the way."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vitedge_core.compress import Compressed, compress, context_for, default_images, plan_recipe
from vitedge_core.datasets.sets import LabelledImages
from vitedge_core.errors import Cancelled, VitEdgeError
from vitedge_core.experiments.evaluate import costs, images_for, section, tested_on
from vitedge_core.experiments.evaluation import plain
from vitedge_core.export.forms import ConversionError, Form, Parcel, Written, write
from vitedge_core.models.load import preprocessing
from vitedge_core.recipe import Recipe, Step

Report = Callable[[float, str], None]
Cancel = Callable[[], bool]
Words = Callable[[Recipe, Mapping[str, Any]], str]
PROOF = 50  # images that a written file is asked about


def take_away(
    recipe: Recipe,
    form: Form,
    path: Path,
    images: str | LabelledImages | None = None,
    *,
    figures: Mapping[str, Any] | None = None,
    words: Words | None = None,
    report: Report = lambda share, sentence: None,
    cancelled: Cancel = lambda: False,
) -> Written:
    """Write a recipe's model in a form, checked on images that none of its steps has seen.

    Args:
        recipe: What to carry out.
        form: What to write.
        path: Where to.
        images: A set or what `open_images` takes; by default the model's own.
        figures: For the card, such as `Evaluation.to_dict()`; by default what can be counted.
        words: Puts recipe and card into a page of text.
        report: Called with the share done in 0..1 and a sentence.
        cancelled: Asked often; true raises `Cancelled`, and no file stays behind.

    Raises:
        VitEdgeError: As `write`; where a step of the recipe stands in the way, the sentence names it.
    """
    problem = form.missing()
    if problem:
        raise VitEdgeError(problem)
    path = form.target(path)
    problem = unsupported(recipe, form)
    if problem:
        raise VitEdgeError(problem)
    recipe, added = completed(recipe, form)
    opened = None if images is None and default_images(recipe.model) is None else images_for(recipe.model, images)
    done = compress(recipe, context_for(recipe, opened), section(report, 0.0, 0.4), cancelled)
    known = None if added else figures  # they are those of the recipe without the step that was added
    parcel = _parcel(done, opened, known, words, report=section(report, 0.4, 1.0), cancelled=cancelled)
    try:
        written = write(form, parcel, path)
        return replace(written, notes=(*added, *written.notes))
    except ConversionError as error:
        raise VitEdgeError(_blamed(form, done, parcel, str(error))) from error


def completed(recipe: Recipe, form: Form) -> tuple[Recipe, tuple[str, ...]]:
    """The recipe with the step a form of integers cannot do without, and the sentence that says so."""
    if not form.integers or plan_recipe(recipe).last.quantised:
        return recipe, ()
    step = Step.of("uniform_ptq", w_bits=8, a_bits=8)
    words = f"The recipe rounds nothing, so {form.title} added a last step to it: uniform_ptq with 8 bits, calibrated."
    return replace(recipe, steps=(*recipe.active, step)), (words,)


def _parcel(
    done: Compressed,
    opened: LabelledImages | None,
    figures: Mapping[str, Any] | None,
    words: Words | None,
    *,
    report: Report,
    cancelled: Cancel,
) -> Parcel:
    wanted = preprocessing(done.recipe.model)
    counted = {"baseline": plain(costs(done.plans[0])), "compressed": plain(costs(done.last))}
    proof, where = _proof(done, opened)
    return Parcel(
        done.model, done.last, done.recipe, wanted, proof, where, lambda: _calibration(done.recipe, opened),
        dict(figures) if figures else counted, words, report, cancelled,
    )  # fmt: skip


def _proof(done: Compressed, opened: LabelledImages | None) -> tuple[Tensor, str]:
    """Images to ask the file about, and what they are; noise where there are none for the model."""
    wanted = preprocessing(done.recipe.model)
    if opened is None:
        noise = torch.randn(PROOF, 3, wanted.size, wanted.size, generator=torch.Generator().manual_seed(0))
        return noise, "noise, because there are no images for this model here"
    tested = tested_on(done.recipe, opened)
    return torch.cat([batch.images for batch in tested.batches(wanted, PROOF)])[:PROOF], tested.title


def _calibration(recipe: Recipe, opened: LabelledImages | None) -> Tensor:
    if opened is None:
        raise VitEdgeError(
            f"Scales are found on images and there are none for {recipe.model} here; name a folder of class folders."
        )
    return opened.calibration(preprocessing(recipe.model)).images


def unsupported(recipe: Recipe, form: Form) -> str | None:
    """None, or the sentence on the first step that prevents the export; instant, from shapes alone."""
    planned = plan_recipe(completed(recipe, form)[0])
    for number, plan in enumerate(planned.plans):
        why = form.supports(plan)
        if why:
            return f"{_step(planned.recipe, number)} prevents this export: {why}" if number else why
    return None


def _blamed(form: Form, done: Compressed, parcel: Parcel, why: str) -> str:
    """The sentence with the first step whose model the form cannot take, found by converting ever more of them."""
    for number, prefix in enumerate(done.recipe.prefixes[:-1]):
        before = compress(prefix, context_for(prefix), cancelled=parcel.cancelled)
        try:
            form.convert(replace(parcel, model=before.model, plan=before.last, recipe=prefix, report=_silent))
        except Cancelled:
            raise
        except VitEdgeError:
            return f"{_step(done.recipe, number)} prevents this export: {why}" if number else why
    return f"{_step(done.recipe, len(done.recipe.active))} prevents this export: {why}" if done.recipe.active else why


def _silent(share: float, sentence: str) -> None:
    """Nobody waits for the search of a culprit."""


def _step(recipe: Recipe, number: int) -> str:
    return f"Step {number} of the recipe ({recipe.active[number - 1].technique})"
