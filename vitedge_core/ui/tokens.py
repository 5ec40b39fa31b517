"""What the compressed model made of the patches: kept, merged with which others, dropped, block by block."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import streamlit as st

from vitedge_core.plots import tokens as figures
from vitedge_core.plots.canvas import place
from vitedge_core.ui import quantity, state

if TYPE_CHECKING:
    from vitedge_core.experiments.gaze import Gaze
    from vitedge_core.explain.fate import Turn

_CHART, _FOLLOWED = "attention-groups", "attention-followed"


def fates(gaze: Gaze) -> None:
    """The tokens after a block chosen with a slider, and the story of a patch chosen with a click."""
    numbers = list(range(1, len(gaze.after.blocks) + 1))
    key = f"attention-tokens-{len(numbers)}"
    block = st.select_slider("After block", numbers, value=numbers[-1], key=key, width=280) - 1
    owners = gaze.groups(block)
    followed = state.recall(_FOLLOWED)
    followed = followed if followed is not None and followed < owners.size else None
    alone, merged, dropped = figures.counts(owners)
    left, right = st.columns(2, gap="large")
    with left:
        quantity.chart(
            figures.groups(gaze.pixels, owners, followed), figures.group_rows(owners), _CHART,
            f"The patches of the image, coloured by the token they belong to after block {block + 1}.",
            on_select=partial(_follow, _CHART),
        )  # fmt: skip
    with right:
        st.markdown(
            f"After block {block + 1}, of {owners.size:,} patches **{alone:,}** are still a token of their own, "
            f"**{merged:,}** share a token with others, and **{dropped:,}** are dropped."
        )
        st.caption(
            "Patches inside one white line are one token, drawn in their mean colour; attention to a token is shared "
            "out evenly among its patches."
        )
        _story(gaze, followed)


def _follow(key: str) -> None:
    event = state.widget(key)
    points = event.selection.points if event else []
    if points:
        state.remember(_FOLLOWED, int(points[0]["customdata"]))


def _story(gaze: Gaze, followed: int | None) -> None:
    """What happened to one patch in each block, as a table."""
    if followed is None:
        st.info("Click a patch to follow it through the blocks.", icon=":material/ads_click:")
        return
    width = gaze.after.grid[1]
    st.markdown(f"**The patch in {place(followed, width)}**")
    rows = [
        {"block": turn.block + 1, "fate": str(turn.became), "together with": _company(turn, followed, width)}
        for turn in gaze.story(followed)
    ]
    alt = f"What each block did to the patch in {place(followed, width)}"
    st.dataframe(rows, hide_index=True, key="attention-story", alt=alt)


def _company(turn: Turn, followed: int, width: int) -> str:
    others = [patch for patch in turn.companions if patch != followed]
    return " ".join(f"({patch // width + 1}, {patch % width + 1})" for patch in others)
