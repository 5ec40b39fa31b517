"""Choosing an image to look at: one of the test images, one that the recipe hits hard, or an upload."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

import streamlit as st
from PIL import ImageOps

from vitedge_core.datasets.uploads import EXTENSIONS, MAX_BYTES, read_image
from vitedge_core.recipe import Recipe
from vitedge_core.ui import cache, hardest, layout, state

if TYPE_CHECKING:
    from PIL import Image
    from streamlit.delta_generator import DeltaGenerator
    from torch import Tensor

    from vitedge_core.datasets.sets import LabelledImages

TILE = 104  # pixels: three in a row on a telephone
SAMPLES, HARDEST, UPLOAD = "samples", "hardest", "upload"
SOURCES = {SAMPLES: "Test images", HARDEST: "Hardest hit", UPLOAD: "Upload your own"}


@dataclass(frozen=True, slots=True)
class Picture:
    """An image to look at, with its true class and the mask of its object where they are known."""

    image: Image.Image
    title: str
    digest: str
    truth: int | None = None
    mask: Tensor | None = None


def pick(recipe: Recipe) -> Picture | None:
    """Let a person choose a test image, one that the recipe hits hard, or upload one; None while there is none."""
    row = st.container(horizontal=True, vertical_alignment="bottom", horizontal_alignment="distribute")
    chosen = row.segmented_control(
        "Image", list(SOURCES), default=SAMPLES, required=True, format_func=SOURCES.__getitem__, key="attention-source",
        persist_state="session",
    )  # fmt: skip
    if chosen == UPLOAD:
        return _upload()
    return _hardest(recipe) if chosen == HARDEST else _sample(recipe.model, row)


def _upload() -> Picture | None:
    file = st.file_uploader(
        "An image: JPEG, PNG, WebP, GIF, BMP, TIFF or AVIF, at most 20 MB", type=list(EXTENSIONS), key="attention-file",
        max_upload_size=MAX_BYTES // 10**6,
    )  # fmt: skip
    if file is None:
        layout.empty("add_photo_alternate", "Drop an image above to see where the model looks on it.")
        return None
    return _picture(read_image(file.getvalue(), file.name), file.name)


def _sample(model: str, row: DeltaGenerator) -> Picture | None:
    where = cache.test_images(model, state.images())
    if where is None:
        layout.empty(
            "folder_off", f"There are no test images for {model} here: upload one, or name a folder on the Build page."
        )
        return None
    images, gallery = cache.gallery(model, where)
    st.caption(f"From {images.title}." if where != state.images() else f"From {images.title}, named on the Build page.")
    kept = f"attention-sample {where}"
    chosen = min(state.recall(kept, gallery[0]), len(images) - 1)
    row.button(
        "Surprise me", key="attention-surprise", icon=":material/casino:", on_click=_surprise, args=(kept, len(images)),
        help="Any of the test images, by chance.",
    )  # fmt: skip
    shown = gallery if chosen in gallery else (*gallery, chosen)
    with st.container(horizontal=True, gap="small"):
        for index in shown:
            with st.container(width=TILE, gap="small"):
                _tile(images, index, kept, chosen=index == chosen)
    return _of(images, chosen)


def _hardest(recipe: Recipe) -> Picture | None:
    where = cache.test_images(recipe.model, state.images())
    if where is None or not recipe.active:
        why = "Add a step to the recipe first" if where else f"There are no test images for {recipe.model} here"
        layout.empty("trending_down", f"{why}; then the images that it hits hardest can be found.")
        return None
    kept = f"attention-hardest {where}"
    chosen = hardest.pick(recipe, where, state.recall(kept), kept)
    return None if chosen is None else _of(cache.gallery(recipe.model, where)[0], chosen)


def _of(images: LabelledImages, index: int) -> Picture:
    mask = images.mask(index) if hasattr(images, "mask") else None  # type: ignore[attr-defined]
    return _picture(images.image(index), f"test image {index + 1:,}", images.label(index), mask)


def _tile(images: LabelledImages, index: int, kept: str, *, chosen: bool) -> None:
    """A small image with its button."""
    name = images.class_names[images.label(index)]
    small = ImageOps.fit(images.image(index), (160, 160))
    st.image(small, width="stretch", alt=f"Test image {index + 1}, {name}")
    st.button(
        name, key=f"attention-pick-{index}", width="stretch", type="primary" if chosen else "secondary",
        on_click=state.remember, args=(kept, index),
    )  # fmt: skip


def _surprise(kept: str, count: int) -> None:
    state.remember(kept, secrets.randbelow(count))


def _picture(image: Image.Image, title: str, truth: int | None = None, mask: Tensor | None = None) -> Picture:
    digest = hashlib.sha256(repr(image.size).encode() + image.tobytes()).hexdigest()[:16]
    return Picture(image, title, digest, truth, mask)
