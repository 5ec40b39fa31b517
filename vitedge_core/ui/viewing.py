"""The controls of the maps: what to show, of which block and head, seen from where, and how to compare."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import streamlit as st

from vitedge_core.ui import state

if TYPE_CHECKING:
    from vitedge_core.experiments.gaze import Gaze, View
    from vitedge_core.explain.attention import Head

WHOLE, WEIGHTED, BLOCK, TOKENS = "whole", "weighted", "block", "tokens"
KINDS = {
    WHOLE: "Whole network (rollout)", WEIGHTED: "Gradient-weighted", BLOCK: "One block", TOKENS: "Fate of the tokens",
}  # fmt: skip
MEAN: Literal["mean"] = "mean"
MAX: Literal["max"] = "max"
ONE = "one"
HEADS = {MEAN: "Mean of heads", MAX: "Strongest head", ONE: "One head"}
BESIDE, SLIDER = "beside", "slider"
COMPARISONS = {BESIDE: "Side by side", SLIDER: "Slider"}
READER, PATCH = "reader", "patch"
_BLOCK_KEY, _KIND_KEY, _FROM_KEY, _PATCH = "attention-block", "attention-kind", "attention-from", "attention-patch"


@dataclass(frozen=True, slots=True)
class Choice:
    """What a person wants to see. kind: of `KINDS`; compare: of `COMPARISONS`; opacity: of the maps, 0 to 1."""

    kind: str
    view: View
    compare: str
    opacity: float


def whole() -> View:
    """The view of the whole network."""
    from vitedge_core.experiments.gaze import View

    return View(None)


def controls(gaze: Gaze) -> Choice:
    """All of them, in one row where there is room."""
    from vitedge_core.experiments.gaze import View

    kinds = [kind for kind in KINDS if kind != TOKENS or gaze.merges]
    if state.widget(_KIND_KEY) not in kinds:
        state.fill(_KIND_KEY, WHOLE)
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        kind = st.segmented_control("Show", kinds, required=True, format_func=KINDS.__getitem__, key=_KIND_KEY)
        if kind == TOKENS:
            return Choice(TOKENS, View(None), BESIDE, 1)
        block, head = _block(gaze) if kind == BLOCK else (None, MEAN)
        patch = _patch(gaze) if kind != WEIGHTED else None
        compare = st.segmented_control(
            "Compare", list(COMPARISONS), default=BESIDE, required=True, format_func=COMPARISONS.__getitem__,
            key="attention-compare",
        )  # fmt: skip
        opacity = st.slider("Opacity", 0, 100, 65, 5, format="%d %%", key="attention-opacity", width=160)
    view = View(block, head, kind == WEIGHTED, patch)
    return Choice(kind or WHOLE, view, compare or BESIDE, opacity / 100)


def _block(gaze: Gaze) -> tuple[int, Head]:
    numbers = list(range(1, gaze.blocks + 1))
    if state.widget(_BLOCK_KEY) not in numbers:
        state.fill(_BLOCK_KEY, gaze.blocks)
    block = st.select_slider("Block", numbers, key=_BLOCK_KEY, width=200) - 1
    chosen = st.segmented_control(
        "Heads", list(HEADS), default=MEAN, required=True, format_func=HEADS.__getitem__, key="attention-heads"
    )
    if chosen != ONE:
        return block, MAX if chosen == MAX else MEAN
    heads = gaze.heads(block)
    if heads == 1:
        return block, 0
    return block, st.select_slider("Head", range(1, heads + 1), key=f"attention-head-{heads}", width=150) - 1


def _patch(gaze: Gaze) -> int | None:
    """Who looks: None is what the classifier reads. Clicks on a patch come here, too."""
    rows, columns = gaze.before.grid
    choices = {READER: gaze.before.reader_name.capitalize(), PATCH: "One patch"}
    chosen = st.segmented_control(
        "Seen from", list(choices), default=READER, required=True, format_func=choices.__getitem__, key=_FROM_KEY,
        help="Click any patch of a map to see what it looks at.",
    )  # fmt: skip
    if chosen != PATCH:
        return None
    start = min(state.recall(_PATCH, rows // 2 * columns + columns // 2), rows * columns - 1)
    state.fill(f"{_PATCH}-row-{rows}", start // columns + 1)
    state.fill(f"{_PATCH}-column-{columns}", start % columns + 1)
    moved = {"on_change": _moved, "args": (rows, columns), "width": 110}
    row = st.number_input("Row", 1, rows, key=f"{_PATCH}-row-{rows}", **moved)
    column = st.number_input("Column", 1, columns, key=f"{_PATCH}-column-{columns}", **moved)
    return (int(row) - 1) * columns + int(column) - 1


def _moved(rows: int, columns: int) -> None:
    row, column = state.widget(f"{_PATCH}-row-{rows}"), state.widget(f"{_PATCH}-column-{columns}")
    state.remember(_PATCH, (row - 1) * columns + column - 1)


def pick_patch(key: str) -> None:
    """A callback: a patch of the chart of that key was clicked, and is who looks now."""
    event = state.widget(key)
    points = event.selection.points if event else []
    if points:
        state.remember(_PATCH, int(points[0]["customdata"]))
        state.fill(_FROM_KEY, PATCH)
        if state.widget(_KIND_KEY) == WEIGHTED:
            state.fill(_KIND_KEY, WHOLE)


def pick_block(key: str) -> None:
    """A callback: a small map of the chart of that key was clicked, and its block is shown now."""
    event = state.widget(key)
    points = event.selection.points if event else []
    if points:
        state.fill(_KIND_KEY, BLOCK)
        state.fill(_BLOCK_KEY, int(points[0]["customdata"]) + 1)


def head_name(view: View) -> str:
    """The heads of a view in words."""
    return f"head {view.head + 1}" if isinstance(view.head, int) else HEADS[view.head].lower()
