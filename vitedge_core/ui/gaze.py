"""The widgets of the Attention page: what both models say of an image, and where they look."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import streamlit as st

from vitedge_core.errors import VitEdgeError
from vitedge_core.plots import attention as figures
from vitedge_core.plots import predictions as said
from vitedge_core.recipe import Recipe
from vitedge_core.ui import cache, layout, quantity, state
from vitedge_core.ui.pictures import Picture
from vitedge_core.ui.worker import Stage, Task, Work

if TYPE_CHECKING:
    from vitedge_core.experiments.gaze import Gaze, Map, View
    from vitedge_core.explain.attention import Head

WHOLE, BLOCK, TOKENS = "whole", "block", "tokens"
KINDS = {WHOLE: "Whole network (rollout)", BLOCK: "One block", TOKENS: "Merged tokens"}
MEAN: Literal["mean"] = "mean"
MAX: Literal["max"] = "max"
ONE = "one"
HEADS = {MEAN: "Mean of heads", MAX: "Strongest head", ONE: "One head"}
NAMES = ("baseline", "compressed")
_BLOCK_KEY = "attention-block"


def seen(recipe: Recipe, picture: Picture) -> Gaze | None:
    """What both models make of the image; None while a recipe that trains is still to be carried out."""
    known, images = cache.catalogue(), state.images()
    key = ("gaze", recipe.digest, images, picture.digest)
    cache.leave_but(key, purposes=("gaze",))
    if not any(known[step.technique].card.trains for step in recipe.active):
        return cache.gaze(recipe, images, picture.digest, picture.image)
    task = cache.found(key)
    if task is not None and task.stage is Stage.DONE:
        return task.result
    if state.recall("gaze") != recipe.digest or (task is not None and task.stage is Stage.FAILED):
        _offer(recipe, key, task)
        return None
    if task is None or task.stage is Stage.CANCELLED or task.unwanted.is_set():
        task = cache.background(key, _work(recipe, picture))
    st.fragment(_follow, run_every=0.4)(task)
    return None


def _offer(recipe: Recipe, key: tuple[Any, ...], failed: Task | None) -> None:
    """The button that starts a recipe which takes a while, and what went wrong the last time."""
    if failed is not None and failed.stage is Stage.FAILED:
        st.error(failed.error, icon=":material/error:")
    with st.container(border=True):
        st.markdown("This recipe trains the model, which takes a while; then it is kept for this page and for Build.")
        st.button(
            "Carry out the recipe", key="attention-start", type="primary", icon=":material/play_circle:",
            on_click=_begin, args=(recipe, key),
        )  # fmt: skip


def _begin(recipe: Recipe, key: tuple[Any, ...]) -> None:
    cache.worker().forget(key)
    state.remember("gaze", recipe.digest)


def _work(recipe: Recipe, picture: Picture) -> Work:
    from vitedge_core.experiments import gaze

    images = state.images()
    return lambda report, cancelled: gaze.look(recipe, picture.image, images, report, cancelled)


def _follow(task: Task) -> None:
    """Progress of the background work; the page is drawn anew when it ends."""
    if not task.active:
        st.rerun()
    st.progress(task.fraction, text=task.text)
    if st.button("Cancel", key="attention-cancel", icon=":material/stop_circle:", type="tertiary"):
        state.remember("gaze", None)
        cache.leave_but(purposes=("gaze",))
        st.rerun()


def names_of(model: str, count: int) -> Sequence[str]:
    """What the model's classes are called: as its test images say, or as is known of the model."""
    from vitedge_core.experiments.gaze import class_names

    where = cache.test_images(model, state.images())
    try:
        return cache.gallery(model, where)[0].class_names if where else class_names(model, count)
    except VitEdgeError:
        return class_names(model, count)


def verdict(gaze: Gaze, picture: Picture, names: Sequence[str]) -> None:
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


@st.fragment
def explore(gaze: Gaze, picture: Picture, names: Sequence[str]) -> None:
    """The maps, the figures beside them, and all blocks at a glance."""
    if gaze.why_not(_whole()):
        layout.empty("visibility_off", gaze.why_not(_whole()))
        return
    kind, view, opacity = _controls(gaze)
    if kind == TOKENS:
        _tokens(gaze)
        return
    maps = gaze.maps(view)
    _cards(gaze, picture, names, maps)
    if sentence := gaze.why_not(view):
        st.info(sentence, icon=":material/content_cut:")
    where = "through the whole network" if view.block is None else f"in block {view.block + 1}, {_head_name(view)}"
    pairs = list(zip(NAMES, maps, strict=True))
    quantity.chart(
        figures.side_by_side(gaze.pixels, pairs, opacity), figures.map_rows(pairs), "attention-maps",
        f"{picture.title} and heat maps of the attention {where}, baseline beside compressed, on one colour scale.",
    )  # fmt: skip
    st.caption(
        f"Attention {where}, from the {gaze.before.reader_name} to each patch. Both maps share one colour scale; what "
        "goes to class and register tokens is not shown."
    )
    _strip(gaze, view)


def _whole() -> View:
    from vitedge_core.experiments.gaze import View

    return View(None)


def _controls(gaze: Gaze) -> tuple[str, View, float]:
    from vitedge_core.experiments.gaze import View

    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        kinds = [kind for kind in KINDS if kind != TOKENS or gaze.merges]
        if state.widget("attention-kind") not in kinds:
            state.fill("attention-kind", WHOLE)
        kind = st.segmented_control("Show", kinds, required=True, format_func=KINDS.__getitem__, key="attention-kind")
        view = View(None)
        if kind == BLOCK:
            numbers = list(range(1, gaze.blocks + 1))
            if state.widget(_BLOCK_KEY) not in numbers:
                state.fill(_BLOCK_KEY, gaze.blocks)
            block = st.select_slider("Block", numbers, key=_BLOCK_KEY, width=220) - 1
            view = View(block, _head(gaze.heads(block)))
        opacity = 65
        if kind != TOKENS:
            opacity = st.slider("Opacity", 0, 100, 65, 5, format="%d %%", key="attention-opacity", width=180)
    return kind or WHOLE, view, opacity / 100


def _head(heads: int) -> Head:
    chosen = st.segmented_control(
        "Heads", list(HEADS), default=MEAN, required=True, format_func=HEADS.__getitem__, key="attention-heads"
    )
    if chosen != ONE:
        return MAX if chosen == MAX else MEAN
    return st.select_slider("Head", range(1, heads + 1), key=f"attention-head-{heads}", width=160) - 1


def _head_name(view: View) -> str:
    return f"head {view.head + 1}" if isinstance(view.head, int) else HEADS[view.head].lower()


def _cards(gaze: Gaze, picture: Picture, names: Sequence[str], maps: tuple[Map | None, Map | None]) -> None:
    from vitedge_core.experiments.gaze import confidence, on_object, overlap

    before, after = maps
    label = int(gaze.before.logits.argmax())
    columns = iter(st.columns(3))
    with next(columns):
        sure = (confidence(gaze.after, label, "compressed"), confidence(gaze.before, label, "baseline"))
        quantity.metric(f"Confidence in “{names[label]}”", *sure, key="attention-sure", higher_is_better=True,
                        help="The probability that each model gives to what the baseline says.")  # fmt: skip
    if before is None or after is None:
        return
    if picture.mask is not None:
        with next(columns):
            quantity.metric(
                "Attention on the object", on_object(after, picture.mask), on_object(before, picture.mask),
                key="attention-object", higher_is_better=True,
                help="How much of the attention falls on the object itself, by its mask.",
            )  # fmt: skip
    with next(columns):
        quantity.metric("Maps in common", overlap(before, after), key="attention-overlap",
                        help="100 % when both models look at exactly the same patches.")  # fmt: skip


def _strip(gaze: Gaze, view: View) -> None:
    head = view.head if view.block is not None else MEAN
    rows = list(zip(NAMES, gaze.strip(head), strict=True))
    labels = [str(block + 1) for block in range(gaze.blocks)]
    st.subheader("All blocks at a glance", anchor=False)
    st.caption("Click a block to look closer. Each column has its own colour scale, the same for both models.")
    quantity.chart(
        figures.strip(gaze.pixels, rows, labels, view.block), figures.strip_rows(rows, labels), "attention-strip",
        f"Small attention maps of all {gaze.blocks} blocks, a column for each; baseline above, compressed below.",
        on_select=_open_block,
    )  # fmt: skip


def _open_block() -> None:
    """A small map was clicked: show its block."""
    event = state.widget("attention-strip")
    points = event.selection.points if event else []
    if points:
        state.fill("attention-kind", BLOCK)
        state.fill(_BLOCK_KEY, int(points[0]["customdata"]) + 1)


def _tokens(gaze: Gaze) -> None:
    """Which patches the compressed model has put together after each block."""
    numbers = list(range(1, len(gaze.after.blocks) + 1))
    key = f"attention-tokens-{len(numbers)}"
    block = st.select_slider("After block", numbers, value=numbers[-1], key=key, width=280) - 1
    owners = gaze.groups(block)
    together = figures.group_rows(owners)
    quantity.chart(
        figures.groups(gaze.pixels, owners), together, "attention-groups",
        f"The image, and its patches coloured by the token they belong to after block {block + 1}.",
    )  # fmt: skip
    st.caption(
        f"Patches inside one white line are one token from block {block + 1} on, drawn in their mean colour: "
        f"{len(together)} tokens stand for more than one patch."
    )


def predictions(gaze: Gaze, picture: Picture, names: Sequence[str]) -> None:
    """The likeliest classes of both models."""
    before, after = gaze.before.probabilities.numpy(), gaze.after.probabilities.numpy()
    quantity.chart(
        said.predictions(before, after, names, picture.truth),
        said.prediction_rows(before, after, names, picture.truth),
        "attention-predictions",
        "Probabilities of the likeliest classes, baseline beside compressed.",
    )
