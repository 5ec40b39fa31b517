"""What both models make of one image, and what they say of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import streamlit as st

from vitedge_core.errors import VitEdgeError
from vitedge_core.plots import predictions as said
from vitedge_core.recipe import Recipe
from vitedge_core.ui import cache, quantity, state, waiting
from vitedge_core.ui.pictures import Picture
from vitedge_core.ui.worker import Work

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from vitedge_core.experiments.gaze import Gaze

SEEN, WEIGHTED = "gaze", "gaze-weighted"


def seen(recipe: Recipe, picture: Picture, *, weighted: bool = False) -> Gaze | None:
    """What both models make of the image; None while a recipe that trains is still to be carried out.

    Args:
        recipe: All its steps can be carried out.
        picture: What they look at.
        weighted: Also differentiate by all attention.
    """
    from vitedge_core.compress import trains

    images = state.images()
    if not trains(recipe, images):
        return cache.gaze(recipe, images, picture.digest, picture.image, weighted=weighted)
    key = (WEIGHTED if weighted else SEEN, recipe.digest, images, picture.digest)
    if state.recall("gaze-recipe") == recipe.digest and cache.found(key) is None:
        waiting.start(key)  # another image for a recipe that a person started before
    found = waiting.result_of(
        key, _work(recipe, picture, weighted), "Carry out the recipe",
        "This recipe trains the model, which takes a while; then it is kept for this page and for Build.",
    )  # fmt: skip
    if found is not None:
        state.remember("gaze-recipe", recipe.digest)
    return found


def _work(recipe: Recipe, picture: Picture, weighted: bool) -> Work:
    from vitedge_core.experiments import gaze

    images = state.images()
    return lambda report, cancelled: gaze.look(recipe, picture.image, images, report, cancelled, weighted=weighted)


def names_of(model: str, count: int) -> Sequence[str]:
    """What the model's classes are called: as its test images say, or as is known of the model."""
    from vitedge_core.experiments.gaze import class_names

    where = cache.test_images(model, state.images())
    try:
        return cache.gallery(model, where)[0].class_names if where else class_names(model, count)
    except VitEdgeError:
        return class_names(model, count)


def answers(gaze: Gaze, picture: Picture, names: Sequence[str]) -> None:
    """The image as the networks see it, whether the answer changes, and how sure both models are."""
    left, right = st.columns([1, 2], gap="large", vertical_alignment="center")
    with left:
        st.image(_large(gaze), caption=picture.title, width="stretch", alt=f"{picture.title}, as the networks see it")
    with right:
        _verdict(gaze, picture, names)
        before, after = gaze.before.probabilities.numpy(), gaze.after.probabilities.numpy()
        quantity.chart(
            said.predictions(before, after, names, picture.truth),
            said.prediction_rows(before, after, names, picture.truth),
            "attention-predictions",
            "Probabilities of the likeliest classes, baseline beside compressed; the answer of each is marked.",
        )


def _large(gaze: Gaze) -> NDArray[np.uint8]:
    """The pixels, enlarged without inventing any, so that the browser does not blur them."""
    times = max(1, -(-480 // gaze.pixels.shape[0]))
    return gaze.pixels.repeat(times, 0).repeat(times, 1)


def _verdict(gaze: Gaze, picture: Picture, names: Sequence[str]) -> None:
    """One sentence: does the compressed model still say the same, and is it right?"""
    before, after = (names[int(s.logits.argmax())] for s in (gaze.before, gaze.after))
    truth = names[picture.truth] if picture.truth is not None else None
    right = "" if truth is None else f" The true class is **{truth}**."
    if gaze.flipped:
        st.error(f"The prediction flips: **{before}** becomes **{after}**.{right}", icon=":material/swap_horiz:")
    elif truth in {None, before}:
        st.success(f"Both models say **{before}**.{right}", icon=":material/check_circle:")
    else:
        st.warning(f"Both models say **{before}**.{right}", icon=":material/info:")
