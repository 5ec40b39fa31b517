"""MAC or FLOP: one choice for the whole session, and numbers said accordingly on every page."""

from __future__ import annotations

import streamlit as st

from vitedge_core.evidence import Quantity
from vitedge_core.text.human import human, interval
from vitedge_core.ui import state

MAC, FLOP = "MAC", "FLOP"
_HELP = "One MAC, a multiplication and an addition, is two FLOPs. The choice holds for every page of this session."


def flops() -> bool:
    """Whether operations are said as FLOPs."""
    return state.recall("flops", default=False)


def switch(page: str) -> None:
    """The choice, to be drawn once on a page."""
    key = f"operations-{page}"
    state.fill(key, FLOP if flops() else MAC)
    st.segmented_control(
        "Operations in", [MAC, FLOP], key=key, required=True, help=_HELP, label_visibility="collapsed",
        on_change=lambda: state.remember("flops", state.widget(key) == FLOP),
    )  # fmt: skip


def operations() -> str:
    """What operations are called now, as a title."""
    return "FLOPs" if flops() else "MACs"


def said(quantity: Quantity, *, signed: bool = False) -> str:
    """A quantity in words, operations as chosen."""
    return human(quantity, signed=signed, flops=flops())


def bounds(quantity: Quantity) -> str:
    """Its interval in words, operations as chosen."""
    return interval(quantity, flops=flops())


def counted(value: float, unit: str) -> str:
    """A part of a total in words, operations as chosen."""
    return said(Quantity.exact(value, unit, "a part of the total"))


def axis(unit: str) -> tuple[float, str]:
    """What values of a unit are multiplied by for a chart, and what stands at its axis."""
    return (2.0, FLOP) if unit == MAC and flops() else (1.0, unit)
