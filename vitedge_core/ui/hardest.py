"""The images that the recipe hits hardest, found in the background, to look at one by one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st
from PIL import ImageOps

from vitedge_core.recipe import Recipe
from vitedge_core.ui import cache, quantity, state, waiting
from vitedge_core.ui.worker import Work

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vitedge_core.datasets.sets import LabelledImages
    from vitedge_core.experiments.hardest import Hit, Hits

PURPOSE = "hardest"
BY = {"prediction": "The answer changed most", "attention": "The attention changed most"}
SHOWN = 10


def pick(recipe: Recipe, where: str, chosen: int | None, kept: str) -> int | None:
    """Small images, the hardest hit first; returns the number of the one to look at, None while there are none.

    Args:
        recipe: All its steps can be carried out.
        where: What `open_images` takes.
        chosen: The one that is looked at now.
        kept: Under which name the session remembers the choice.
    """
    found: Hits | None = waiting.result_of(
        (PURPOSE, recipe.digest, where), _work(recipe, where), "Find the hardest hit",
        "Shows 300 test images to both models and ranks them by what changed: half a minute for a small model.",
    )  # fmt: skip
    if found is None:
        return None
    left, right = st.columns([2, 1])
    with left:
        by = st.segmented_control(
            "Ranked by", list(BY), default="prediction", required=True, format_func=BY.__getitem__, key="hardest-by"
        )
    with right:
        quantity.metric("Answers that change", found.flips, key="hardest-flips")
    if found.unreadable:
        st.caption(f"{found.unreadable:,} damaged files were passed over.")
    ranked = found.ranked("attention" if by == "attention" else "prediction")[:SHOWN]
    if not ranked:
        st.info("One of the models has no attention map, so that nothing can be ranked by it.", icon=":material/info:")
        return None
    images, _ = cache.gallery(recipe.model, where)
    chosen = chosen if chosen in {hit.index for hit in ranked} else ranked[0].index
    with st.container(horizontal=True, gap="small"):
        for hit in ranked:
            with st.container(width=104, gap="small"):
                _tile(images, images.class_names, hit, kept, chosen=hit.index == chosen)
    return chosen


def _work(recipe: Recipe, where: str) -> Work:
    from vitedge_core.experiments.hardest import hardest

    return lambda report, cancelled: hardest(recipe, where, report, cancelled)


def _tile(images: LabelledImages, names: Sequence[str], hit: Hit, kept: str, *, chosen: bool) -> None:
    """A small image and what became of its answer."""
    small = ImageOps.fit(images.image(hit.index), (160, 160))
    said = f"{names[hit.before]} → {names[hit.after]}" if hit.flipped else f"still {names[hit.after]}"
    st.image(small, width="stretch", alt=f"Test image {hit.index + 1}: {said}")
    st.button(
        said, key=f"hardest-pick-{hit.index}", width="stretch", type="primary" if chosen else "secondary",
        on_click=state.remember, args=(kept, hit.index),
    )  # fmt: skip
    shared = "" if hit.shared is None else f", maps {hit.shared:.0%} alike"
    st.caption(f"{hit.sure[0]:.0%} → {hit.sure[1]:.0%}{shared}")
