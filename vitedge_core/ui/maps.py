"""Where both models look: the maps side by side or one wiped over the other, and all blocks at a glance."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import streamlit as st

from vitedge_core.plots import attention as figures
from vitedge_core.recipe import Recipe
from vitedge_core.ui import gaze as gazes
from vitedge_core.ui import layout, quantity, tokens, viewing
from vitedge_core.ui.pictures import Picture
from vitedge_core.ui.viewing import Choice

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from vitedge_core.experiments.gaze import Gaze, Map, View

NAMES = ("baseline", "compressed")
_STRIP = "attention-strip"


@st.fragment
def explore(recipe: Recipe, gaze: Gaze, picture: Picture, names: Sequence[str]) -> None:
    """The maps, the figures beside them, and all blocks at a glance."""
    if gaze.why_not(viewing.whole()):
        layout.empty("visibility_off", gaze.why_not(viewing.whole()))
        return
    choice = viewing.controls(gaze)
    if choice.kind == viewing.TOKENS:
        tokens.fates(gaze)
        return
    with layout.guarded():
        shown = gazes.seen(recipe, picture, weighted=True) if choice.view.weighted else gaze
        if shown is not None:
            _compared(shown, choice, picture, names)
    _strip(gaze, choice.view)


def _compared(gaze: Gaze, choice: Choice, picture: Picture, names: Sequence[str]) -> None:
    view, maps = choice.view, gaze.maps(choice.view)
    _cards(gaze, picture, names, maps)
    if sentence := gaze.why_not(view):
        st.info(sentence, icon=":material/content_cut:")
    said = _said(gaze, view, names)
    before, after = maps
    if before is not None and after is not None and choice.compare == viewing.SLIDER:
        _wiped(gaze, choice, before, after, said)
    else:
        _beside(gaze, choice, maps, said)
    st.caption(
        f"{said} Baseline and compressed share one colour scale; what goes to class and register tokens is not shown."
    )
    pairs = list(zip(NAMES, maps, strict=True))
    quantity.twin(figures.map_rows(pairs, percent=not view.weighted), "attention-maps", said)


def _beside(gaze: Gaze, choice: Choice, maps: tuple[Map | None, Map | None], said: str) -> None:
    """Baseline, compressed, and what changed."""
    style, top = _style(choice), figures.top_of(*maps)
    before, after = maps
    columns = st.columns(3 if before is not None and after is not None else 2)
    for column, name, found in zip(columns, NAMES, maps, strict=False):
        figure = figures.panel(gaze.pixels, found, name, top, **style)
        _draw(column, figure, f"attention-{name}", f"{name.capitalize()}. {said}")
    if before is not None and after is not None:
        figure = figures.difference(gaze.pixels, before, after, **style)
        _draw(columns[2], figure, "attention-difference", f"Compressed less baseline. {said}")


def _wiped(gaze: Gaze, choice: Choice, before: Map, after: Map, said: str) -> None:
    """One map over the other with an edge to move, and what changed."""
    style = _style(choice)
    style.pop("patch")
    left, right = st.columns(2)
    left = left.container(horizontal_alignment="center")
    figure = figures.wipe(gaze.pixels, before, after, figures.top_of(before, after), **style)
    left.plotly_chart(figure, key="attention-wipe", config=layout.CHART, width="content",
                      alt=f"The compressed model's map wiped over the baseline's. {said}")  # fmt: skip
    changed = figures.difference(gaze.pixels, before, after, **_style(choice))
    _draw(right, changed, "attention-difference", f"Compressed less baseline. {said}")


def _draw(where: Any, figure: go.Figure, key: str, alt: str) -> None:
    """A map whose patches can be clicked."""
    picked: Callable[[], None] = partial(viewing.pick_patch, key)
    where.plotly_chart(figure, key=key, config=layout.CHART, on_select=picked, alt=alt)


def _style(choice: Choice) -> dict[str, Any]:
    unit = figures.RELEVANCE if choice.view.weighted else figures.SHARE
    return {"opacity": choice.opacity, "patch": choice.view.patch, "unit": unit}


def _said(gaze: Gaze, view: View, names: Sequence[str]) -> str:
    """What the maps show, as a sentence."""
    if view.weighted:
        answer = names[int(gaze.before.logits.argmax())]
        return f"Which patches speak for “{answer}”: attention weighed by its gradient, through the whole network."
    who, width = f"the {gaze.before.reader_name}", gaze.before.grid[1]
    if view.patch is not None:
        who = f"the framed patch in row {view.patch // width + 1}, column {view.patch % width + 1}"
    where = "through the whole network" if view.block is None else (
        f"in block {view.block + 1}, {viewing.head_name(view)}"
    )  # fmt: skip
    return f"Attention {where}, from {who} to each patch."


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
    head = view.head if view.block is not None else viewing.MEAN
    rows = list(zip(NAMES, gaze.strip(head, view.patch), strict=True))
    labels = [str(block + 1) for block in range(gaze.blocks)]
    st.subheader("All blocks at a glance", anchor=False)
    st.caption("Click a block to look closer. Each column has its own colour scale, the same for both models.")
    quantity.chart(
        figures.strip(gaze.pixels, rows, labels, view.block), figures.strip_rows(rows, labels), _STRIP,
        f"Small attention maps of all {gaze.blocks} blocks, a column for each; baseline above, compressed below.",
        on_select=partial(viewing.pick_block, _STRIP),
    )  # fmt: skip
